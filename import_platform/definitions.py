"""What Dagster loads: every declared source of IMPORT_PLATFORM_DEFS, or of the built-in defs/ folder.

Loading opens no connection and reads no secret, and works with an empty environment.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec

import dagster as dg

from import_platform.components.external_source import ExternalSource
from import_platform.components.loading import BrokenSource, Catalog, load_sources
from import_platform.components.source_definitions import PLATFORM
from import_platform.jobs.due import cron_of
from import_platform.jobs.stale import stale_tables
from import_platform.resources.executors import executor
from import_platform.resources.naming import maintain_job
from import_platform.resources.project import dbt_folder, validating
from import_platform.sensors.alerts import Told, alert_sensor
from import_platform.sensors.import_failures import end_sensors, known_ends
from import_platform.sensors.repartition_oversized import repartition_sensor, watched_tables

BROKEN_GROUP = "broken_sources"

_log = logging.getLogger("dagster.import_platform")


@dg.definitions
def defs() -> dg.Definitions:
    return build_definitions(load_sources(), strict=validating())


def build_definitions(catalog: Catalog, *, strict: bool) -> dg.Definitions:
    """The definitions of all usable sources and groupings; broken ones are logged, and listed in the metadata
    `broken_sources`.

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
    parts = [source.definitions() for source in catalog.sources]
    return dg.Definitions.merge(
        dg.Definitions(
            resources={"platform": PLATFORM},
            executor=executor(),
            assets=[_placeholder(source) for source in catalog.broken],
            metadata={"broken_sources": dg.MetadataValue.json(_as_json(catalog.broken))},
        ),
        *parts,
        *(grouping.definitions() for grouping in catalog.groupings),
        dg.Definitions(sensors=_sensors(catalog.sources, parts)),
        _dbt_models(),
    )


def _dbt_models() -> dg.Definitions:
    """The models of the dbt project, where dbt is installed and `dbt parse` or `dbt build` has left a manifest."""
    project = dbt_folder()
    manifest = project / "target" / "manifest.json" if project is not None else None
    if project is None or manifest is None or not manifest.is_file() or find_spec("dagster_dbt") is None:
        return dg.Definitions()
    # By name, as dbt is an extra that need not be installed, and takes seconds to import.
    models: dg.Definitions = import_module("import_platform.assets.dbt_models").dbt_definitions(project, manifest)
    return models


def _sensors(sources: Sequence[ExternalSource], parts: Sequence[dg.Definitions]) -> list[dg.SensorDefinition]:
    """Of all sources together: one tick looks at every table."""
    jobs = {job.name: job for part in parts for job in part.jobs or () if isinstance(job, dg.JobDefinition)}
    maintained = [source for source in sources if maintain_job(source.name) in jobs]
    if not maintained:
        return []
    tables = [each for source in maintained for each in watched_tables(source.name, source.known_tables())]
    names = {source.name: [table.name for table in source.known_tables()] for source in maintained}
    startable = [job for part in parts for job in part.jobs or ()]
    return [
        repartition_sensor(tables, [jobs[maintain_job(source.name)] for source in maintained]),
        *end_sensors(known_ends(names, startable), startable),
        _alerts(maintained),
    ]


def _alerts(sources: Sequence[ExternalSource]) -> dg.SensorDefinition:
    tables = [(source, table) for source in sources for table in source.known_tables()]
    crons = {(source.name, table.name): cron for source, table in tables if (cron := cron_of(source.config, table))}

    def stale(instance: dg.DagsterInstance, now: datetime) -> Collection[str]:
        return stale_tables(instance, crons, now=now)

    return alert_sensor([Told(source.name, table.name, table.success_variable) for source, table in tables], stale)


def _placeholder(broken: BrokenSource) -> dg.AssetSpec:
    """What the catalog shows in place of a source that could not be read; it goes when the file is mended."""
    lines = "\n".join(f"- {problem}" for problem in broken.problems)
    return dg.AssetSpec(
        dg.AssetKey([BROKEN_GROUP, broken.name]),
        group_name=BROKEN_GROUP,
        description=f"This source does not load, the others do.\n\n{lines}\n\nCorrect it and reload the code location.",
    )


def _as_json(broken: tuple[BrokenSource, ...]) -> list[dict[str, str]]:
    return [{"source": source.name, "error": str(source.error)} for source in broken]
