"""Where this project keeps its lake, its history and its declared sources; the same answer from every folder.

Settings are read from the environment in this package only, and only when a process asks: importing or loading
definitions needs none of them.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from import_platform.core.budget import parse_bytes
from import_platform.errors import ConfigError

STATE_FOLDER = ".import_platform"
DEMO_DEFS = f"{STATE_FOLDER}/demo/defs"
PACKAGE_FOLDER = Path(__file__).resolve().parents[1]
BUILT_IN_DEFS = PACKAGE_FOLDER / "defs"
PARTITION_MAX = "1.5GB"


@dataclass(frozen=True)
class Settings:
    """Everything the environment decides, with defaults filled in; paths are absolute.

    `memory` stays text (None when unset) because measuring the machine is work that only a sync needs.
    """

    lake_uri: str
    home: Path
    defs_folders: tuple[Path, ...]
    memory: str | None
    partition_max_bytes: int

    @property
    def snapshots_folder(self) -> Path:
        """Where discovery keeps what it found: beside the run history, which CLI, UI and daemon share."""
        return self.home / "sources"


def read_settings(environ: Mapping[str, str] | None = None, start: Path | None = None) -> Settings:
    """The settings of this process. Relative paths, defaults included, count from the project root.

    Raises:
        ConfigError: IMPORT_PLATFORM_PARTITION_MAX is not a size, or a default is needed and no project was found.
    """
    env = os.environ if environ is None else environ
    root = _LazyRoot(start or Path.cwd())
    lake = env.get("IMPORT_PLATFORM_LAKE") or f"{STATE_FOLDER}/lake"
    home = env.get("DAGSTER_HOME") or f"{STATE_FOLDER}/dagster"
    return Settings(
        lake_uri=lake if "://" in lake else str(root.absolute(lake)),
        home=root.absolute(home),
        defs_folders=defs_folders(env, start),
        memory=env.get("IMPORT_PLATFORM_MEMORY") or None,
        partition_max_bytes=parse_bytes(
            env.get("IMPORT_PLATFORM_PARTITION_MAX") or PARTITION_MAX, name="IMPORT_PLATFORM_PARTITION_MAX"
        ),
    )


def defs_folders(environ: Mapping[str, str] | None = None, start: Path | None = None) -> tuple[Path, ...]:
    """Folders of `<source>/defs.yaml`: IMPORT_PLATFORM_DEFS, else the built-in one and, after a demo, its own."""
    declared = (os.environ if environ is None else environ).get("IMPORT_PLATFORM_DEFS", "")
    root = _LazyRoot(start or Path.cwd())
    named = tuple(root.absolute(part) for part in declared.split(":") if part)
    if named:
        return named
    project = project_root(start or Path.cwd())
    demo = project / DEMO_DEFS if project is not None else None
    return (BUILT_IN_DEFS, demo) if demo is not None and demo.is_dir() else (BUILT_IN_DEFS,)


def dbt_folder(environ: Mapping[str, str] | None = None, start: Path | None = None) -> Path | None:
    """The dbt project: IMPORT_PLATFORM_DBT, else `dbt` of this project; None where there is neither."""
    named = (os.environ if environ is None else environ).get("IMPORT_PLATFORM_DBT")
    root = project_root(start or Path.cwd())
    if named:
        return (root or Path.cwd()) / Path(named).expanduser()
    return root / "dbt" if root is not None and (root / "dbt" / "dbt_project.yml").is_file() else None


def validating() -> bool:
    """True inside `dg check defs` and `dagster definitions validate`, which set this variable to be told of
    mistakes.
    """
    return os.environ.get("DAGSTER_IS_DEFS_VALIDATION_CLI") == "1"


def project_root(start: Path) -> Path | None:
    """The nearest folder upwards whose pyproject.toml has [tool.dg], else the nearest with `.import_platform`, else the
    project this package is installed from; None when there is none of them."""
    upwards = [start, *start.parents]
    marked = (folder for folder in upwards if (folder / STATE_FOLDER).is_dir())
    ours = (folder for folder in PACKAGE_FOLDER.parents[:1] if _is_dagster_project(folder))
    return (
        next((folder for folder in upwards if _is_dagster_project(folder)), None)
        or next(marked, None)
        or next(ours, None)
    )


def _is_dagster_project(folder: Path) -> bool:
    try:
        return "dg" in tomllib.loads((folder / "pyproject.toml").read_text("utf-8")).get("tool", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return False


class _LazyRoot:
    """Looks for the root when the first relative path needs it, so that absolute settings work anywhere."""

    def __init__(self, start: Path) -> None:
        self._start = start.absolute()

    def absolute(self, text: str) -> Path:
        path = Path(text).expanduser()
        if path.is_absolute():
            return path
        root = project_root(self._start)
        if root is None:
            raise ConfigError(
                "no project was found from this folder upwards",
                folder=str(self._start),
                remedy=f"Run inside the project, or make a folder {STATE_FOLDER} where it shall live.",
            )
        return root / path
