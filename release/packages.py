"""Which packages come with the platform, read from what is installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distribution, distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "import-platform"
SHIPPED = ("demo", "dbt", "cluster")
"""Extras that a user installs; `docs` and `dev` are for those who work on the project."""


def shipped_packages(*extras: str) -> dict[str, Distribution]:
    """Everything that `pip install 'import_platform[extras]'` brings on this Python and machine, by name; the project left out.

    Raises:
        PackageNotFoundError: a package that is asked for is not installed: run `make setup`.
    """
    found: dict[str, Distribution] = {}
    waiting = [(PROJECT, frozenset(extras))]
    done: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in done:
            continue
        done.add((name, wanted))
        found[name] = distribution(name)
        waiting += ((asked.name, frozenset(asked.extras)) for asked in requirements(found[name], wanted))
    return {canonicalize_name(name): package for name, package in sorted(found.items()) if name != PROJECT}


def requirements(package: Distribution, extras: frozenset[str] = frozenset()) -> Iterator[Requirement]:
    """What a package asks for here with these extras."""
    environments: list[Mapping[str, str]] = [{"extra": extra} for extra in ("", *sorted(extras))]
    for text in package.requires or []:
        asked = Requirement(text)
        asked.name = canonicalize_name(asked.name)
        if asked.marker is None or any(asked.marker.evaluate(dict(given)) for given in environments):
            yield asked


def installed_packages() -> dict[str, Distribution]:
    """Everything that is installed here, the project itself too."""
    return {canonicalize_name(package.name): package for package in distributions()}
