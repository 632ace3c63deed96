"""What Dagster loads: every declared source of IMPORT_PLATFORM_DEFS, or of the built-in defs/ folder.

Loading opens no connection and reads no secret, and works with an empty environment.
"""

from __future__ import annotations

import logging

import dagster as dg

from import_platform.components.loading import BrokenSource, Catalog, load_sources
from import_platform.components.source_definitions import PLATFORM
from import_platform.resources.project import validating

_log = logging.getLogger("dagster.import_platform")


@dg.definitions
def defs() -> dg.Definitions:
    return build_definitions(load_sources(), strict=validating())


def build_definitions(catalog: Catalog, *, strict: bool) -> dg.Definitions:
    """The definitions of all usable sources; broken ones are logged, and listed in the metadata `broken_sources`.

    Raises:
        SystemExit: `strict` (the commands that validate) and a source is broken, after saying why, because an exception
            would reach the person as a traceback.
    """
    if strict and catalog.broken:
        for broken in catalog.broken:
            for problem in broken.problems:
                _log.error("%s", problem)
        raise SystemExit(1)
    for broken in catalog.broken:
        _log.warning("%s", broken.error)
    return dg.Definitions.merge(
        dg.Definitions(
            resources={"platform": PLATFORM},
            executor=dg.in_process_executor,
            metadata={"broken_sources": dg.MetadataValue.json(_as_json(catalog.broken))},
        ),
        *(source.definitions() for source in catalog.sources),
    )


def _as_json(broken: tuple[BrokenSource, ...]) -> list[dict[str, str]]:
    return [{"source": source.name, "error": str(source.error)} for source in broken]
