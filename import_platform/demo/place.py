"""Where the demo lives: its source and declaration in a folder of its own, its tables and history with the project's.

.import_platform/
  demo/defs/nyc/defs.yaml   the declared source; `import-platform ui` finds it here
  demo/postgres/            the source's data
  lake/nyc/                 the imported tables
  dagster/                  the runs, with those of the project's own sources
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from import_platform.demo.flights import TABLES
from import_platform.errors import ConfigError
from import_platform.io.lake import Lake
from import_platform.resources.home import open_instance
from import_platform.resources.project import STATE_FOLDER, project_root

SOURCE = "nyc"
DSN_VARIABLE = "NYC_DSN"

_DEFS_YAML = f"""\
# One source of the demo: five tables of a PostgreSQL database. Written by `import-platform demo`.
type: import_platform.components.ExternalSource
attributes:
  name: {SOURCE}
  connection: {{kind: postgres, dsn: "{{{{ env.{DSN_VARIABLE} }}}}", schemas: [public]}}
  schedule: "*/15 * * * *"
  tables:
    - name: flights
      sync: incremental           # reads what changed since the cursor, merges it by key
      cursor: updated_at
      primary_key: [id]
      partition: {{column: created_at, granularity: month}}
    - {{name: weather, sync: full_refresh, primary_key: [origin, time_hour]}}
    - {{name: planes, sync: full_refresh, primary_key: [tailnum]}}
    - {{name: airports, sync: full_refresh, primary_key: [faa]}}
    - {{name: airlines, sync: full_refresh, primary_key: [carrier]}}
"""


@dataclass(frozen=True)
class DemoPlace:
    """Folders of one demo; `base` is the project's `.import_platform`."""

    base: Path

    @property
    def folder(self) -> Path:
        return self.base / "demo"

    @property
    def defs_folder(self) -> Path:
        return self.folder / "defs"

    @property
    def postgres_folder(self) -> Path:
        return self.folder / "postgres"

    @property
    def lake(self) -> Lake:
        return Lake(str(self.base / "lake"))

    @property
    def dagster_home(self) -> Path:
        return self.base / "dagster"

    @property
    def environment(self) -> dict[str, str]:
        """What makes every layer below work in this place, whatever the caller's environment says."""
        return {
            "IMPORT_PLATFORM_LAKE": str(self.base / "lake"),
            "DAGSTER_HOME": str(self.dagster_home),
            "IMPORT_PLATFORM_DEFS": str(self.defs_folder),
        }


def demo_place(base: Path | None = None) -> DemoPlace:
    """The place in this project; outside of any project, in `.import_platform` of the current folder."""
    return DemoPlace(base or (project_root(Path.cwd()) or Path.cwd()) / STATE_FOLDER)


def declare(place: DemoPlace) -> Path:
    """Writes the defs.yaml and returns its path.

    Raises:
        ConfigError: the folder cannot be written.
    """
    path = place.defs_folder / SOURCE / "defs.yaml"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_DEFS_YAML, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            "the demo's folder cannot be written",
            path=str(place.folder),
            reason=error.strerror,
            remedy="Run it in a folder you may write to.",
        ) from error
    return path


def forget(place: DemoPlace) -> None:
    """Removes what an earlier demo imported: its tables, their staging and their asset history; nothing else."""
    lake = place.lake
    lake.store.remove_folder(SOURCE)
    lake.store.remove_folder(f"_staging/{SOURCE}")
    with open_instance(place.dagster_home) as instance:
        instance.wipe_assets([dg.AssetKey([SOURCE, table.name]) for table in TABLES])
        for table in TABLES:
            name = f"{SOURCE}/{table.name}"
            for key in instance.get_dynamic_partitions(name):
                instance.delete_dynamic_partition(name, key)


@contextmanager
def held(place: DemoPlace) -> Iterator[None]:
    """One process at a time uses the demo's server; the kernel lets go when that process ends, however it ends.

    Raises:
        ConfigError: another one does, such as an open `import-platform ui`, or the demo's folder cannot be made.
    """
    try:
        place.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            "the demo's folder cannot be made",
            folder=str(place.folder),
            reason=error.strerror,
            remedy="Run the demo in a folder that you may write to.",
        ) from None
    with (place.folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise ConfigError(
                "the demo's database is in use",
                by_process=lock.read().strip(),
                remedy="End that `import-platform demo` or `import-platform ui` first.",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Sets variables of this process and puts back what was there."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
