"""Every pair of MySQL types before and after a change at the source, in a lake that follows it, on a real MariaDB."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from tests.mariadb_server import MariaDatabase
from tests.sources.type_pairs import DAY, INSTANT, MOMENT, Follower, Kind, assert_met, assert_old_types, pairs_of

MOMENT_TEXT = "2025-01-02T03:04:05.000006Z"
UUID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
KINDS = {
    "TINYINT": Kind("-128", pa.int16(), -128),
    "TINYINT UNSIGNED": Kind("255", pa.int16(), 255),
    "SMALLINT UNSIGNED": Kind("65535", pa.int32(), 65535),
    "INT": Kind("-2147483648", pa.int32(), -(2**31)),
    "INT UNSIGNED": Kind("4294967295", pa.int64(), 2**32 - 1),
    "BIGINT": Kind("-9007199254740991", pa.int64(), -(2**53) + 1),
    "BIGINT UNSIGNED": Kind("18446744073709551615", pa.decimal128(20, 0), Decimal(2**64 - 1)),
    "DECIMAL(10,2)": Kind("1.25", pa.decimal128(10, 2), Decimal("1.25")),
    "DECIMAL(20,4)": Kind("12345.6789", pa.decimal128(20, 4), Decimal("12345.6789")),
    "DECIMAL(38,30)": Kind("1.5", pa.decimal128(38, 30), Decimal("1.5"), "1.5" + "0" * 29),
    "DECIMAL(65,5)": Kind(f"-{'9' * 60}.00001", pa.string(), f"-{'9' * 60}.00001"),
    "FLOAT": Kind("1.5", pa.float32(), 1.5),
    "DOUBLE": Kind("1e300", pa.float64(), 1e300, "1e+300"),
    "BIT(1)": Kind("b'1'", pa.bool_(), True, "true"),
    "BIT(9)": Kind("b'111111111'", pa.int64(), 511),
    "BIT(64)": Kind("18446744073709551615", pa.decimal128(20, 0), Decimal(2**64 - 1)),
    "DATE": Kind("'2025-01-02'", pa.date32(), DAY, "2025-01-02"),
    "DATETIME(6)": Kind("'2025-01-02 03:04:05.000006'", INSTANT, MOMENT, MOMENT_TEXT),
    "TIMESTAMP(6) NULL": Kind("'2025-01-02 03:04:05.000006'", INSTANT, MOMENT, MOMENT_TEXT),
    "TIME(3)": Kind("'-838:59:59'", pa.string(), "-838:59:59.000"),
    "TEXT": Kind("'te\\0xt ünï 🚀'", pa.string(), "te\0xt ünï 🚀"),
    "CHAR(9) CHARACTER SET latin1": Kind("'é'", pa.string(), "é"),
    "BLOB": Kind("X'FF00'", pa.binary(), b"\xff\x00", "ff00"),
    "JSON": Kind("""'{"a": [1, 2]}'""", pa.string(), '{"a": [1, 2]}'),
    "ENUM('z', 'it''s ok')": Kind("'it''s ok'", pa.string(), "it's ok"),
    "SET('x', 'y')": Kind("'x,y'", pa.string(), "x,y"),
    "UUID": Kind(f"'{UUID}'", pa.string(), UUID),
}
PAIRS = pairs_of(KINDS)


@pytest.fixture
def follower(mariadb: MariaDatabase, tmp_path: Path) -> Follower:
    return Follower({"kind": "mysql", "dsn": mariadb.dsn}, tmp_path)


def run(mariadb: MariaDatabase, *statements: str) -> None:
    with mariadb.connect(init_command="SET time_zone = '+00:00', sql_mode = ''") as connection:
        for statement in statements:
            connection.cursor().execute(statement)


def test_every_pair_of_types_is_followed_in_place(mariadb: MariaDatabase, follower: Follower) -> None:
    columns = ", ".join(f"{name} {old}" for name, (old, _) in PAIRS.items())
    fixed = "id INT PRIMARY KEY, updated_at DATETIME(6) NOT NULL"
    values = ", ".join(KINDS[old].literal for old, _ in PAIRS.values())
    run(mariadb, f"CREATE TABLE t ({fixed}, {columns})", f"INSERT INTO t VALUES (1, '2025-01-01', {values})")
    schema, _ = follower.sync()
    assert_old_types(KINDS, PAIRS, schema)
    changes = ", ".join(f"MODIFY {name} {new}" for name, (_, new) in PAIRS.items())
    values = ", ".join(KINDS[new].literal for _, new in PAIRS.values())
    # Without the row, because MySQL would convert its values, most of them to nothing that was meant.
    run(mariadb, "DELETE FROM t", f"ALTER TABLE t {changes}", f"INSERT INTO t VALUES (2, '2025-02-01', {values})")
    assert_met(KINDS, PAIRS, *follower.sync())


def test_a_new_column_of_every_type_is_added_and_a_dropped_one_kept(mariadb: MariaDatabase, follower: Follower) -> None:
    fixed = "id INT PRIMARY KEY, updated_at DATETIME(6) NOT NULL, gone TEXT"
    run(mariadb, f"CREATE TABLE t ({fixed})", "INSERT INTO t VALUES (1, '2025-01-01', 'here')")
    follower.sync()
    added = {f"n{n}": kind for n, kind in enumerate(KINDS)}
    columns = ", ".join(f"ADD {name} {kind}" for name, kind in added.items())
    values = ", ".join(KINDS[kind].literal for kind in added.values())
    run(mariadb, f"ALTER TABLE t DROP gone, {columns}", f"INSERT INTO t VALUES (2, '2025-02-01', {values})")
    _, frame = follower.sync()
    assert frame["gone"].to_list() == ["here", None]
    for name, kind in added.items():
        assert frame[name].is_null().to_list() == [True, False], kind


def test_a_zero_date_stays_null_whatever_its_column_becomes(mariadb: MariaDatabase, follower: Follower) -> None:
    fixed = "id INT PRIMARY KEY, updated_at DATETIME(6) NOT NULL"
    run(
        mariadb,
        f"CREATE TABLE t ({fixed}, a DATE NOT NULL, b DATE NOT NULL, c DATETIME NOT NULL, d TIMESTAMP NOT NULL)",
        "INSERT INTO t VALUES (1, '2025-01-01', 0, 0, 0, 0)",
    )
    _, frame = follower.sync()
    assert frame.select("a", "b", "c", "d").rows() == [(None,) * 4]
    run(
        mariadb,
        "ALTER TABLE t MODIFY a DATETIME(6) NOT NULL, MODIFY b VARCHAR(30), MODIFY c VARCHAR(30), MODIFY d DATE",
        "INSERT INTO t VALUES (2, '2025-02-01', 0, '0000-00-00', 'x', 0)",
    )
    schema, frame = follower.sync()
    assert [schema.field(name).type for name in "abcd"] == [INSTANT, pa.string(), pa.string(), INSTANT]
    assert frame.select("a", "b", "c", "d").rows() == [(None,) * 4, (None, "0000-00-00", "x", None)]


def test_text_that_is_not_utf8_is_set_aside_with_its_row_and_the_others_go_on(
    mariadb: MariaDatabase, follower: Follower
) -> None:
    """Such text comes from old tables whose bytes were never looked at; here they are written into the table's file."""
    fixed = "id INT PRIMARY KEY, updated_at DATETIME(6) NOT NULL"
    run(
        mariadb,
        f"CREATE TABLE t ({fixed}, word VARCHAR(20) CHARACTER SET utf8mb4) ENGINE=MyISAM",
        "INSERT INTO t VALUES (1, '2025-01-01', 'fine'), (2, '2025-01-01', 'BrOkEn')",
        "FLUSH TABLES t",
    )
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@datadir")
        file = Path(cursor.fetchone()[0]) / mariadb.name / "t.MYD"
    data = file.read_bytes()
    assert data.count(b"BrOkEn") == 1
    file.write_bytes(data.replace(b"BrOkEn", b"Br\xff\xfeEn"))
    run(mariadb, "FLUSH TABLES t")
    _, frame = follower.sync()
    assert frame.select("id", "word").rows() == [(1, "fine")]
    ledger = pl.read_delta(f"{follower.lake.uri}/_ops/rejected_rows")
    assert ledger.select("key", "column").rows() == [('{"id": "2"}', "word")]
    assert r"Br\\xff\\xfeEn" in ledger["row"][0]
