"""Which packages come with the platform, read from what is installed."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = "import-platform"
SHIPPED = ("demo", "dbt", "dask", "cluster")
"""Extras that a user installs; `docs` and `dev` are for those who work on the project."""


def shipped_packages(*extras: str) -> dict[str, Distribution]:
    """Everything that `pip install 'import_platform[extras]'` brings on this Python and machine, by name; the project left out.

    Raises:
        PackageNotFoundError: a package that is asked for is not installed: run `make setup`.
    """
    found: dict[str, Distribution] = {}
    waiting = list(project_requirements(*extras))
    done: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        asked = waiting.pop()
        key = (asked.name, frozenset(asked.extras))
        if key not in done:
            done.add(key)
            found[asked.name] = distribution(asked.name)
            waiting += requirements(found[asked.name], key[1])
    return dict(sorted(found.items()))


def project_requirements(*extras: str) -> Iterator[Requirement]:
    """What the project itself asks for; from pyproject.toml, because what an editable installation says may be old."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    yield from _here(project["dependencies"], extras)
    for extra in extras:
        yield from _here(project["optional-dependencies"][extra], extras)


def requirements(package: Distribution, extras: Iterable[str] = ()) -> Iterator[Requirement]:
    """What a package asks for here with these extras."""
    return _here(package.requires or [], extras)


def _here(texts: Iterable[str], extras: Iterable[str]) -> Iterator[Requirement]:
    given = [{"extra": extra} for extra in ("", *sorted(extras))]
    for text in texts:
        asked = Requirement(text)
        asked.name = canonicalize_name(asked.name)
        if asked.marker is None or any(asked.marker.evaluate(dict(one)) for one in given):
            yield asked


def installed_packages() -> dict[str, Distribution]:
    """Everything that is installed here, the project itself too."""
    return {canonicalize_name(package.name): package for package in distributions()}
