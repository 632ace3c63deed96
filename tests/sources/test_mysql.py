"""What is MySQL's own: its types, collations, zero dates, transactions that commit late, and rights."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from import_platform.core.rejected import RejectedRow
from import_platform.errors import ConfigError, SourceRejected, SourceUnavailable
from import_platform.sources.mysql import MysqlSource
from import_platform.sources.protocol import ReadRequest
from tests.mariadb_server import MariaDatabase
from tests.sources.contract import info_of, request, rows_of

TYPES = """
CREATE TABLE t (
    id INT PRIMARY KEY, tiny TINYINT, flag BOOLEAN, utiny TINYINT UNSIGNED, small SMALLINT, usmall SMALLINT UNSIGNED,
    medium MEDIUMINT, i INT, ui INT UNSIGNED, big BIGINT, ubig BIGINT UNSIGNED, y YEAR, f FLOAT, d DOUBLE,
    exact DECIMAL(38, 10), huge DECIMAL(65, 5), b1 BIT(1), b9 BIT(9), b64 BIT(64), c CHAR(5), v VARCHAR(20),
    latin VARCHAR(20) CHARACTER SET latin1, e ENUM('z', 'a'), s SET('x', 'y'), j JSON, bin BINARY(3),
    vbin VARBINARY(9), blob_ BLOB, day DATE, at DATETIME(6), seconds DATETIME, stamp TIMESTAMP(6) NULL, span TIME(3),
    place POINT, u UUID, ip INET6
)
"""
MINIMA = """
INSERT INTO t VALUES (
    1, -128, 0, 0, -32768, 0, -8388608, -2147483648, 0, -9223372036854775808, 0, 1901, -3.4028234663852886e38,
    -1.7976931348623157e308, -9999999999999999999999999999.9999999999,
    -999999999999999999999999999999999999999999999999999999999999.99999, b'0', 0, 0, 'a  ', '', 'é', 'z', '', '{"a": 1}',
    X'000102', X'', X'FF00', '1000-01-01', '1000-01-01 00:00:00', '1000-01-01', '1970-01-01 00:00:01',
    '-838:59:59', POINT(1, 2), '123e4567-e89b-12d3-a456-426655440000', '::1')
"""
MAXIMA = """
INSERT INTO t VALUES (
    2, 127, 1, 255, 32767, 65535, 8388607, 2147483647, 4294967295, 9223372036854775807, 18446744073709551615, 2155,
    16777217, 5e-324, 9999999999999999999999999999.9999999999,
    999999999999999999999999999999999999999999999999999999999999.99999, b'1', 511, 18446744073709551615, 'a', 'x\\0y', 'ÿ',
    'a', 'x,y', '[]', X'FFFFFF', X'00', X'', '9999-12-31', '9999-12-31 23:59:59.999999', '9999-12-31',
    '2038-01-19 03:14:07.999999', '838:59:59', NULL, NULL, NULL)
"""


def rows(source: MysqlSource, table: str, **changes: Any) -> tuple[list[dict[str, Any]], list[RejectedRow]]:
    pages = list(source.read(request(info_of(source, table), **changes)))
    return [row for page in pages for row in page.batch.to_pylist()], [row for page in pages for row in page.rejected]


@pytest.fixture
def source(mariadb: MariaDatabase) -> MysqlSource:
    return MysqlSource({"kind": "mysql", "dsn": mariadb.dsn})


def test_every_type_comes_with_its_extreme_values(mariadb: MariaDatabase, source: MysqlSource) -> None:
    mariadb.execute("SET time_zone = '+00:00'", TYPES)
    with mariadb.connect(init_command="SET time_zone = '+00:00', sql_mode = ''") as connection:
        for statement in (MINIMA, MAXIMA, "INSERT INTO t (id) VALUES (3)"):
            connection.cursor().execute(statement)
    (low, high, empty), rejected = rows(source, "t")
    assert rejected == []
    assert set(empty.values()) == {3, None}
    assert [low[n] for n in ("tiny", "small", "medium", "i", "big", "y")] == [
        -128, -(2**15), -(2**23), -(2**31), -(2**63), 1901,
    ]  # fmt: skip
    assert [high[n] for n in ("flag", "utiny", "usmall", "ui", "ubig")] == [
        1, 255, 65535, 2**32 - 1, Decimal(2**64 - 1),
    ]  # fmt: skip
    assert (low["f"], high["f"]) == (-3.4028234663852886e38, 16777216.0)
    assert (low["d"], high["d"]) == (-1.7976931348623157e308, 5e-324)
    assert high["exact"] == Decimal("9999999999999999999999999999.9999999999")
    assert high["huge"] == "9" * 60 + ".99999"
    assert [high[n] for n in ("b1", "b9", "b64")] == [True, 511, Decimal(2**64 - 1)]
    assert [low[n] for n in ("c", "v", "latin", "e", "s", "j")] == ["a", "", "é", "z", "", '{"a": 1}']
    assert [high[n] for n in ("v", "latin", "e", "s")] == ["x\0y", "ÿ", "a", "x,y"]
    assert [low[n] for n in ("bin", "vbin", "blob_")] == [b"\0\1\2", b"", b"\xff\0"]
    assert (low["day"], high["day"]) == (date(1000, 1, 1), date(9999, 12, 31))
    assert high["at"] == datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    assert low["seconds"] == datetime(1000, 1, 1, tzinfo=UTC)
    assert high["stamp"] == datetime(2038, 1, 19, 3, 14, 7, 999999, tzinfo=UTC)
    assert (low["span"], high["span"]) == ("-838:59:59.000", "838:59:59.000")
    assert (low["place"], low["u"], low["ip"]) == ("POINT(1 2)", "123e4567-e89b-12d3-a456-426655440000", "::1")


def test_the_zero_date_is_null_and_a_date_of_no_calendar_is_rejected(
    mariadb: MariaDatabase, source: MysqlSource
) -> None:
    mariadb.execute("CREATE TABLE t (id INT PRIMARY KEY, day DATE NOT NULL, at DATETIME(6) NOT NULL)")
    with mariadb.connect(init_command="SET sql_mode = 'ALLOW_INVALID_DATES'") as connection:
        connection.cursor().execute(
            "INSERT INTO t VALUES (1, '0000-00-00', '0000-00-00'), (2, '2024-02-31', '2024-02-01'),"
            " (3, '2024-02-01', '2024-00-10 01:02:03'), (4, '2024-02-01', '2024-02-01 01:02:03.4')"
        )
    found, rejected = rows(source, "t")
    assert [(row["id"], row["day"], row["at"]) for row in found] == [
        (1, None, None),
        (4, date(2024, 2, 1), datetime(2024, 2, 1, 1, 2, 3, 400000, tzinfo=UTC)),
    ]
    assert [(row.key, row.column) for row in rejected] == [({"id": "2"}, "day"), ({"id": "3"}, "at")]
    assert "2024-02-31" in str(rejected[0].row)


def test_a_zero_date_in_a_key_is_read_once(mariadb: MariaDatabase, source: MysqlSource) -> None:
    mariadb.execute("CREATE TABLE t (day DATE NOT NULL, n INT, filler CHAR(60) DEFAULT 'x', PRIMARY KEY (day, n))")
    with mariadb.connect(init_command="SET sql_mode = ''") as connection:
        for n in range(40):
            connection.cursor().execute("INSERT INTO t (day, n) VALUES (%s, %s)", ("0000-00-00", n))
    mariadb.execute("INSERT INTO t (day, n) VALUES ('2024-01-01', 1)")
    assert_resumable(source, "t", rows=41)
    assert info_of(source, "t").columns[0].nullable


@pytest.mark.parametrize("collation", ["utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_bin"])
def test_a_key_goes_on_by_its_own_collation(mariadb: MariaDatabase, source: MysqlSource, collation: str) -> None:
    words = [f"{letter}{n}" for n in range(20) for letter in "aBcDé"]
    mariadb.execute(f"CREATE TABLE t (word VARCHAR(50) COLLATE {collation} PRIMARY KEY, filler CHAR(40) DEFAULT 'x')")
    mariadb.insert("INSERT INTO t (word) VALUES (%s)", [(word,) for word in words])
    assert_resumable(source, "t", rows=100)


@pytest.mark.parametrize("kind", ["ENUM('c', 'a', 'b')", "SET('c', 'a')", "BIT(8)", "FLOAT", "DECIMAL(20, 5)", "UUID"])
def test_a_composite_key_of_any_type_goes_on_from_any_token(
    mariadb: MariaDatabase, source: MysqlSource, kind: str
) -> None:
    values = {"ENUM": ["c", "a", "b"], "SET(": ["c", "a", "a,c"], "BIT(": [0, 7, 200], "FLOA": [0.1, -2.5, 1e10]}
    of_kind = values.get(kind[:4], [Decimal("-1.5"), Decimal(0), Decimal("12345678901234.12345")])
    if kind == "UUID":
        of_kind = [f"123e4567-e89b-12d3-a456-42665544{n:04}" for n in range(3)]
    mariadb.execute(f"CREATE TABLE t (k {kind}, n INT, filler CHAR(40) DEFAULT 'x', PRIMARY KEY (k, n))")
    mariadb.insert("INSERT INTO t (k, n) VALUES (%s, %s)", [(value, n) for value in of_kind for n in range(20)])
    assert_resumable(source, "t", rows=60)


def assert_resumable(source: MysqlSource, table: str, *, rows: int, **changes: Any) -> None:
    read = request(info_of(source, table), **changes)
    pages = list(source.read(read))
    assert len(pages) > 3
    assert len(rows_of(pages)) == rows
    for number, page in enumerate(pages):
        if page.token is not None:
            rest = rows_of(source.read(ReadRequest(**{**read.__dict__, "after": page.token})))
            assert sorted(map(repr, rest)) == sorted(map(repr, rows_of(pages[number + 1 :])))


def test_values_that_a_collation_holds_equal_are_each_read_once(mariadb: MariaDatabase, source: MysqlSource) -> None:
    mariadb.execute("CREATE TABLE t (word VARCHAR(50) COLLATE utf8mb4_general_ci, n INT)")
    mariadb.insert("INSERT INTO t VALUES (%s, %s)", [(word, n) for n in range(30) for word in ("a", "A", "a ", "á")])
    assert_resumable(source, "t", rows=120, primary_key=("word",))


def test_equal_rows_of_a_table_without_a_key_are_all_read(mariadb: MariaDatabase, source: MysqlSource) -> None:
    mariadb.execute("CREATE TABLE t (word VARCHAR(50), n INT)")
    mariadb.insert("INSERT INTO t VALUES (%s, %s)", [(f"w{n % 9}", None) for n in range(90)])
    assert_resumable(source, "t", rows=90)


def test_a_unique_index_is_a_key_unless_it_is_over_a_prefix_or_null(
    mariadb: MariaDatabase, source: MysqlSource
) -> None:
    mariadb.execute(
        "CREATE TABLE a (x INT NOT NULL, y INT NOT NULL, z INT NOT NULL, UNIQUE (x, y), UNIQUE (z))",
        "CREATE TABLE b (x INT, y TEXT NOT NULL, UNIQUE (x), UNIQUE (y(10)))",
    )
    assert [info.primary_key for info in source.discover()] == [("z",), ()]


def test_hundreds_of_wide_columns_are_measured_too(mariadb: MariaDatabase, source: MysqlSource) -> None:
    names = [f"c{n}" for n in range(160)]
    mariadb.execute(f"CREATE TABLE t (id INT PRIMARY KEY, {', '.join(f'{n} LONGTEXT' for n in names)}) ENGINE=MyISAM")
    for key, filler in ((1, "x"), (2, "y" * 9000), (3, "z")):
        marks = ", ".join("%s" for _ in names)
        mariadb.insert(f"INSERT INTO t VALUES (%s, {marks})", [(key, *[filler] * 160)])
    found, rejected = rows(source, "t", row_bytes_max=1_000_000)
    assert [row["id"] for row in found] == [1, 3]
    assert [row.key for row in rejected] == [{"id": "2"}]
    assert "1.4 MB" in rejected[0].reason


def test_a_view_is_found_by_name_and_read(mariadb: MariaDatabase, source: MysqlSource) -> None:
    mariadb.execute("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
    mariadb.execute("CREATE VIEW v AS SELECT id * 2 AS twice FROM t")
    assert [info.name for info in source.discover()] == ["t"]
    assert sorted(row["twice"] for row in rows(source, "v")[0]) == [2, 4]


def test_tables_of_other_databases_carry_their_database(mariadb: MariaDatabase) -> None:
    other = f"{mariadb.name}_other"
    mariadb.execute("CREATE TABLE t (id INT)", f"CREATE DATABASE {other}", f"CREATE TABLE {other}.t (id INT)")
    try:
        source = MysqlSource({"dsn": mariadb.dsn, "schemas": [mariadb.name, other]})
        assert [info.name_in_lake for info in source.discover()] == ["t", f"{other}__t"]
        assert [info.name_in_lake for info in source.discover([f"{other}__t"])] == [f"{other}__t"]
    finally:
        mariadb.execute(f"DROP DATABASE {other}")


def test_the_ceiling_stays_below_a_transaction_that_may_commit_late(
    mariadb: MariaDatabase, source: MysqlSource
) -> None:
    mariadb.execute("CREATE TABLE t (id INT PRIMARY KEY, at TIMESTAMP(6) NULL, day DATE)")
    with mariadb.connect(autocommit=False) as late, late.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (1, NOW(6), CURRENT_DATE)")
        stamped = datetime.now(UTC)
        mariadb.execute("DO SLEEP(1.2)", "INSERT INTO t VALUES (2, NOW(6), CURRENT_DATE)")
        ceiling = source.ceiling(info_of(source, "t"), "at")
        late.commit()
    assert ceiling is not None
    assert ceiling.value < stamped.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    after = source.ceiling(info_of(source, "t"), "at")
    assert after is not None
    assert after.value > stamped.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_a_naive_stamp_in_the_servers_own_zone_is_not_overtaken(mariadb: MariaDatabase, source: MysqlSource) -> None:
    """The test server's clock shows Tokyo: its stamps lie nine hours ahead of UTC."""
    mariadb.execute("CREATE TABLE t (id INT PRIMARY KEY, at DATETIME(6))", "INSERT INTO t VALUES (1, NOW(6))")
    ceiling = source.ceiling(info_of(source, "t"), "at")
    assert ceiling is not None
    assert ceiling.value <= (datetime.now(UTC) + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert not ceiling.settled


def test_without_the_right_to_see_transactions_the_ceiling_is_a_quarter_of_an_hour_ago(
    mariadb: MariaDatabase,
) -> None:
    mariadb.execute("CREATE TABLE t (id INT PRIMARY KEY, at TIMESTAMP(6))", "INSERT INTO t VALUES (1, NOW(6))")
    mariadb.execute("CREATE OR REPLACE USER reader IDENTIFIED BY 'r'", f"GRANT SELECT ON {mariadb.name}.* TO reader")
    source = MysqlSource({"dsn": mariadb.dsn.replace("owner:secret", "reader:r")})
    ceiling = source.ceiling(info_of(source, "t"), "at")
    assert ceiling is not None
    age = datetime.now(UTC) - datetime.strptime(ceiling.value, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert timedelta(minutes=15) <= age < timedelta(minutes=16)


def test_one_read_sees_one_moment(mariadb: MariaDatabase, source: MysqlSource) -> None:
    mariadb.execute("CREATE TABLE t (id INT PRIMARY KEY, filler CHAR(100) DEFAULT 'x')")
    mariadb.insert("INSERT INTO t (id) VALUES (%s)", [(n,) for n in range(0, 2000, 2)])
    pages = source.read(request(info_of(source, "t")))
    first = next(pages)
    mariadb.execute("UPDATE t SET filler = 'late'", "INSERT INTO t (id) VALUES (1999)")
    found = [row[1] for row in rows_of([first, *pages])]
    assert len(found) == 1000
    assert set(found) == {"x"}


def test_a_time_limit_ends_a_statement(mariadb: MariaDatabase, source: MysqlSource) -> None:
    mariadb.execute("CREATE TABLE t (id INT)", "INSERT INTO t SELECT seq FROM seq_1_to_2000000")
    from import_platform.core.table import NumberPartition

    info = info_of(source, "t")
    with pytest.raises(SourceUnavailable, match="time limit"):
        source.base_keys(info, NumberPartition("id", 1), limit=10**7, timeout_seconds=0.05)


@pytest.mark.parametrize("dsn", ["mysql://u:secret@h", "postgres://u:secret@h/d", "mysql://u:secret@h/d?x=1"])
def test_a_dsn_that_is_none_is_refused_without_its_password(dsn: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MysqlSource({"dsn": dsn})
    assert "secret" not in str(caught.value)


def test_a_wrong_password_is_a_sentence(mariadb: MariaDatabase) -> None:
    source = MysqlSource({"dsn": mariadb.dsn.replace("secret", "wr0ng")})
    with pytest.raises(SourceRejected, match="refused the user or its password") as caught:
        source.check()
    assert "wr0ng" not in str(caught.value)


def test_an_unreachable_server_is_retryable() -> None:
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        MysqlSource({"dsn": "mysql://u:p@127.0.0.1:1/d"}).check()
