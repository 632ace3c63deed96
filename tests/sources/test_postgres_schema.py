"""Every pair of PostgreSQL types before and after a change at the source, in a lake that follows it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from tests.conftest import Database
from tests.sources.type_pairs import DAY, INSTANT, MOMENT, Follower, Kind, assert_met, assert_old_types, pairs_of

MOMENT_TEXT = "2025-01-02T03:04:05.000006Z"
UUID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
INFINITY, NAN = float("inf"), float("nan")
KINDS = {
    "smallint": Kind("7", pa.int16(), 7),
    "integer": Kind("2147483647", pa.int32(), 2**31 - 1),
    "bigint": Kind("9007199254740991", pa.int64(), 2**53 - 1),
    "numeric(10,2)": Kind("1.25", pa.decimal128(10, 2), Decimal("1.25")),
    "numeric(20,4)": Kind("12345.6789", pa.decimal128(20, 4), Decimal("12345.6789")),
    "numeric(38,30)": Kind("1.5", pa.decimal128(38, 30), Decimal("1.5"), "1.5" + "0" * 29),
    "numeric(76,2)": Kind(f"'{'9' * 74}.01'", pa.string(), "9" * 74 + ".01"),
    "numeric(77,2)": Kind("'NaN'", pa.string(), "NaN"),
    "numeric": Kind("1.5", pa.decimal128(38, 18), Decimal("1.5"), "1.5" + "0" * 17),
    "real": Kind("'NaN'", pa.float32(), NAN, "nan"),
    "double precision": Kind("'-Infinity'", pa.float64(), -INFINITY, "-inf"),
    "boolean": Kind("true", pa.bool_(), True, "true"),
    "date": Kind("'2025-01-02'", pa.date32(), DAY, "2025-01-02"),
    "timestamp": Kind("'2025-01-02 03:04:05.000006'", INSTANT, MOMENT, MOMENT_TEXT),
    "timestamptz": Kind("'2025-01-02 05:04:05.000006+02'", INSTANT, MOMENT, MOMENT_TEXT),
    "text": Kind("'ünï 🚀'", pa.string(), "ünï 🚀"),
    "bytea": Kind(r"'\xff00'", pa.binary(), b"\xff\x00", "ff00"),
    "uuid": Kind(f"'{UUID}'", pa.string(), UUID),
    "jsonb": Kind("""'{"a": [1, 2]}'""", pa.string(), '{"a": [1, 2]}'),
    "int[]": Kind("'{1,2}'", pa.string(), "[1,2]"),
    "mood": Kind("'it''s ok'", pa.string(), "it's ok"),
}
PAIRS = pairs_of(KINDS)


@pytest.fixture
def database(postgres: Database) -> Database:
    postgres.execute("CREATE TYPE mood AS ENUM ('bad', 'it''s ok')")
    return postgres


@pytest.fixture
def follower(database: Database, tmp_path: Path) -> Follower:
    return Follower({"kind": "postgres", "dsn": database.dsn}, tmp_path)


def test_every_pair_of_types_is_followed_in_place(database: Database, follower: Follower) -> None:
    columns = ", ".join(f"{name} {old}" for name, (old, _) in PAIRS.items())
    database.execute(f"CREATE TABLE t (id int PRIMARY KEY, updated_at timestamptz NOT NULL, {columns})")
    values = ", ".join(KINDS[old].literal for old, _ in PAIRS.values())
    database.execute(f"INSERT INTO t VALUES (1, '2025-01-01', {values})")
    schema, _ = follower.sync()
    assert_old_types(KINDS, PAIRS, schema)
    changes = ", ".join(f"ALTER {name} TYPE {new} USING NULL" for name, (_, new) in PAIRS.items())
    values = ", ".join(KINDS[new].literal for _, new in PAIRS.values())
    database.execute(f"ALTER TABLE t {changes}", f"INSERT INTO t VALUES (2, '2025-02-01', {values})")
    assert_met(KINDS, PAIRS, *follower.sync())


def test_a_new_column_of_every_type_is_added_and_a_dropped_one_kept(database: Database, follower: Follower) -> None:
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, updated_at timestamptz NOT NULL, gone text)",
        "INSERT INTO t VALUES (1, '2025-01-01', 'here')",
    )
    follower.sync()
    added = {f"n{n}": kind for n, kind in enumerate(KINDS)}
    database.execute("ALTER TABLE t DROP gone, " + ", ".join(f"ADD {name} {kind}" for name, kind in added.items()))
    values = ", ".join(KINDS[kind].literal for kind in added.values())
    database.execute(f"INSERT INTO t VALUES (2, '2025-02-01', {values})")
    _, frame = follower.sync()
    assert frame["gone"].to_list() == ["here", None]
    for name, kind in added.items():
        assert frame[name].is_null().to_list() == [True, False], kind


def test_numbers_that_no_decimal_holds_are_set_aside_and_taken_once_the_column_is_text(
    database: Database, follower: Follower
) -> None:
    """NaN, infinity and too many digits of a plain numeric."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, updated_at timestamptz NOT NULL, x numeric)",
        "INSERT INTO t VALUES (1, '2025-01-01', 1.5), (2, '2025-01-01', 'NaN'), (3, '2025-01-01', '-Infinity'),"
        " (4, '2025-01-01', 1e30)",
    )
    assert follower.sync()[1]["id"].to_list() == [1]
    ledger = pl.read_delta(f"{follower.lake.uri}/_ops/rejected_rows")
    assert sorted(ledger["key"]) == ['{"id": "2"}', '{"id": "3"}', '{"id": "4"}']
    database.execute("ALTER TABLE t ALTER x TYPE text", "UPDATE t SET updated_at = '2025-02-01' WHERE id > 1")
    _, frame = follower.sync()
    assert frame["x"].to_list() == ["1.5" + "0" * 17, "NaN", "-Infinity", "1" + "0" * 30]
