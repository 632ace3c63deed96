"""A real project in a temporary folder: a SQLite source, a lake, a Dagster home, and the defs.yaml that ties them."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from import_platform.components.loading import Catalog, load_sources
from import_platform.core.budget import GIB
from import_platform.io.memory import held_bytes
from import_platform.resources.home import open_instance

SHOP = """\
type: import_platform.components.ExternalSource
attributes:
  name: shop
  connection: {kind: sqlite, path: "{{ env.SHOP_DB }}"}
  schedule: "*/15 * * * *"
  tables:
    - name: orders
      sync: incremental
      cursor: updated_at
      primary_key: [id]
      partition: {column: created_at, granularity: month}
    - name: customers
      sync: full_refresh
"""

NO_ROOM = """
create trigger no_room before insert on event_logs when new.dagster_event_type = 'ASSET_MATERIALIZATION'
begin select raise(abort, 'no room for history'); end
"""
"""A run whose work is done cannot be recorded: for `Project.history`."""

WHOLE_SHOP = SHOP.partition("  tables:")[0]


@dataclass(frozen=True)
class Project:
    root: Path

    @property
    def database(self) -> Path:
        return self.root / "shop.db"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "SHOP_DB": str(self.database),
            "DAGSTER_HOME": str(self.home),
            "IMPORT_PLATFORM_LAKE": str(self.root / "lake"),
            "IMPORT_PLATFORM_DEFS": str(self.root / "defs"),
            "IMPORT_PLATFORM_MEMORY": str(self.memory_bytes),
        }

    @cached_property
    def memory_bytes(self) -> int:
        """A gibibyte beside what hundreds of tests have left in this process."""
        return GIB + held_bytes()

    def declare(self, text: str, name: str = "shop") -> None:
        path = self.root / "defs" / name / "defs.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def sql(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.database)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def history(self, statement: str) -> None:
        """In the database where Dagster keeps the events of assets."""
        with closing(sqlite3.connect(self.home / "history" / "runs" / "index.db")) as connection, connection:
            connection.execute(statement)

    def sources(self) -> Catalog:
        return load_sources()

    def instance(self):
        return open_instance(self.home, keep_output=False)


def make_project(root: Path, months: int = 4, rows: int = 400) -> Project:
    """A shop of `rows` orders spread evenly over the first months of 2025, and five customers."""
    project = Project(root)
    project.sql(
        "create table orders (id integer primary key, created_at timestamp not null, updated_at timestamp not null,"
        " note text)",
        "create table customers (id integer primary key, name text)",
    )
    orders = [(i, f"2025-{i % months + 1:02}-05 00:00:00", "2025-05-01 00:00:00", f"note {i}") for i in range(rows)]
    with closing(sqlite3.connect(project.database)) as connection, connection:
        connection.executemany("insert into orders values (?, ?, ?, ?)", orders)
        connection.executemany("insert into customers values (?, ?)", [(i, f"name {i}") for i in range(5)])
    project.declare(SHOP)
    return project


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory) -> Path:
    """A Dagster home before its first run, made once: creating its databases takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", "restored after this")
        home = tmp_path_factory.mktemp("dagster") / "home"
        with open_instance(home, keep_output=False) as instance:
            instance.get_runs()
            instance.get_dynamic_partitions("none")
            instance.all_instigator_state()
    return home


@pytest.fixture
def project(tmp_path, monkeypatch, empty_home) -> Project:
    made = make_project(tmp_path)
    shutil.copytree(empty_home, made.home)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made
