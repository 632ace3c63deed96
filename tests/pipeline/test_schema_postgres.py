"""Every pair of PostgreSQL types as one column of one table: what the old and the new type meet in, in place."""

import itertools

import polars as pl
import pytest

from import_platform.core.lattice import join, widened
from import_platform.core.schema import lake_type
from import_platform.core.table import DeclaredTable, SyncMode
from import_platform.io.delta import DeltaLog
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import sync_table
from import_platform.sources.registry import open_source
from tests.pipeline.synced_table import ROOMY

TYPES = {
    "smallint": "7",
    "integer": "2147483647",
    "bigint": "9007199254740991",
    "numeric(10,2)": "1.25",
    "numeric(20,4)": "12345.6789",
    "numeric(76,2)": "'NaN'",
    "numeric": "1.5",
    "real": "1.5",
    "double precision": "'Infinity'",
    "boolean": "true",
    "date": "'2025-01-02'",
    "timestamp": "'2025-01-02 03:04:05.000006'",
    "timestamptz": "'2025-01-02 03:04:05.000006+02'",
    "text": "'text'",
    "bytea": r"'\xff00'",
    "uuid": "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
    "jsonb": """'{"a": [1, 2]}'""",
    "int[]": "'{1,2}'",
}
PAIRS = {f"c{n}": pair for n, pair in enumerate(itertools.permutations(TYPES, 2))}


@pytest.fixture
def sync(postgres, lake):
    source = open_source("pg", {"kind": "postgres", "dsn": postgres.dsn})

    def run(name):
        declared = DeclaredTable("t", SyncMode.INCREMENTAL, "updated_at", ("id",))
        sync_table(TableContext(name, declared, source, lake, ROOMY))
        frame = pl.read_delta(lake.table_uri(name, "t")).sort("id")
        return DeltaLog(lake.store, lake.table_path(name, "t")).snapshot().schema, frame

    yield run
    source.close()


def test_every_pair_of_types_is_followed_in_place(postgres, sync):
    columns = ", ".join(f"{name} {old}" for name, (old, _) in PAIRS.items())
    postgres.execute(f"CREATE TABLE t (id int PRIMARY KEY, updated_at timestamptz NOT NULL, {columns})")
    values = ", ".join(TYPES[old] for old, _ in PAIRS.values())
    postgres.execute(f"INSERT INTO t VALUES (1, '2025-01-01', {values})")
    old_schema, old = sync("followed")
    postgres.execute(
        "ALTER TABLE t " + ", ".join(f"ALTER {name} TYPE {new} USING NULL" for name, (_, new) in PAIRS.items())
    )
    values = ", ".join(TYPES[new] for _, new in PAIRS.values())
    postgres.execute(f"INSERT INTO t VALUES (2, '2025-02-01', {values})")
    new_schema, new = sync("fresh")
    schema, frame = sync("followed")
    for name, pair in PAIRS.items():
        meeting = join(lake_type(old_schema.field(name).type), lake_type(new_schema.field(name).type))
        assert schema.field(name).type == meeting, pair
        before = widened(old[name].to_arrow().cast(old_schema.field(name).type), meeting)[0].as_py()
        after = widened(new[name].to_arrow().cast(new_schema.field(name).type), meeting)[1].as_py()
        assert before is not None
        assert after is not None
        assert frame[name].to_list() == [before, after], pair


def test_a_new_column_of_every_type_is_added_and_a_dropped_one_kept(postgres, sync):
    postgres.execute(
        "CREATE TABLE t (id int PRIMARY KEY, updated_at timestamptz NOT NULL, gone text)",
        "INSERT INTO t VALUES (1, '2025-01-01', 'here')",
    )
    sync("followed")
    added = {f"n{n}": kind for n, kind in enumerate(TYPES)}
    postgres.execute("ALTER TABLE t DROP gone, " + ", ".join(f"ADD {name} {kind}" for name, kind in added.items()))
    postgres.execute(f"INSERT INTO t VALUES (2, '2025-02-01', {', '.join(TYPES[kind] for kind in added.values())})")
    _, frame = sync("followed")
    assert frame["gone"].to_list() == ["here", None]
    for name, kind in added.items():
        assert frame[name].is_null().to_list() == [True, False], kind
