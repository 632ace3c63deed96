"""The stated rule of every PostgreSQL type, on a real server."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from import_platform.sources.postgres import PostgresSource
from import_platform.sources.protocol import CursorWindow, ReadRequest
from tests.conftest import Database
from tests.sources.contract import info_of, request, rows_of

TIMESTAMP = pa.timestamp("us", "UTC")
LAST, FIRST = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)
UUID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"

RULES: list[tuple[str, pa.DataType, dict[str, Any]]] = [
    ("smallint", pa.int16(), {"-32768": -32768, "32767": 32767}),
    ("integer", pa.int32(), {"-2147483648": -(2**31)}),
    ("bigint", pa.int64(), {"9223372036854775807": 2**63 - 1, "-9223372036854775808": -(2**63)}),
    ("real", pa.float32(), {"1.5": 1.5, "infinity": math.inf}),
    ("double precision", pa.float64(), {"0.1": 0.1, "-infinity": -math.inf, "1e308": 1e308}),
    ("numeric(10,2)", pa.decimal128(10, 2), {"12345678.90": Decimal("12345678.90"), "-0.01": Decimal("-0.01")}),
    ("numeric(38,0)", pa.decimal128(38, 0), {"9" * 38: Decimal("9" * 38)}),
    ("numeric(3,5)", pa.decimal128(5, 5), {"0.00999": Decimal("0.00999")}),
    ("numeric(3,-2)", pa.decimal128(5, 0), {"12345": Decimal(12300)}),
    (
        "numeric",
        pa.decimal128(38, 18),
        {"0.000000000000000001": Decimal("1e-18"), "1.5e0": Decimal("1.5"), "9" * 20: Decimal("9" * 20)},
    ),
    ("numeric(76,10)", pa.string(), {"9" * 60 + ".5": "9" * 60 + ".5000000000", "NaN": "NaN"}),
    ("money", pa.decimal128(22, 3), {"-12.34": Decimal("-12.340")}),
    ("boolean", pa.bool_(), {"true": True, "f": False}),
    ("text", pa.string(), {"": "", "漢字 '\\": "漢字 '\\"}),
    ("varchar(20)", pa.string(), {"x ": "x "}),
    ("char(5)", pa.string(), {"ab": "ab"}),
    ("name", pa.string(), {"ab": "ab"}),
    ('"char"', pa.string(), {"x": "x"}),
    ("uuid", pa.string(), {UUID.upper(): UUID}),
    ("json", pa.string(), {'{"b": 1,  "a": [1.0]}': '{"b": 1,  "a": [1.0]}'}),
    ("jsonb", pa.string(), {'{"b":1,"a":[1.0]}': '{"a": [1.0], "b": 1}', '"\\u00e9"': '"é"'}),
    ("integer[]", pa.string(), {"{1,NULL,3}": "[1,null,3]", "{{1,2},{3,4}}": "[[1,2],[3,4]]"}),
    ("text[]", pa.string(), {'{"a\\"b",c}': '["a\\"b","c"]'}),
    ("timestamptz[]", pa.string(), {"{2024-01-01 00:00:00+02}": '["2023-12-31T22:00:00+00:00"]'}),
    ("mood", pa.string(), {"it's ok": "it's ok"}),
    ("point3", pa.string(), {"(1,x)": '{"a":1,"b":"x"}'}),
    ("percent", pa.decimal128(5, 2), {"12.5": Decimal("12.50")}),
    ("nested_percent", pa.decimal128(5, 2), {"12.5": Decimal("12.50")}),
    ("interval", pa.string(), {"1 year 2 mons -3 days 04:05:06.7": "P1Y2M-3DT4H5M6.7S", "0": "PT0S"}),
    (
        "date",
        pa.date32(),
        {
            "2024-02-29": date(2024, 2, 29),
            "infinity": date.max,
            "-infinity": date.min,
            "0044-03-15 BC": date.min,
            "12024-01-01": date.max,
            "9999-12-31": date.max,
        },
    ),
    ("time", pa.string(), {"23:59:59.123456": "23:59:59.123456"}),
    ("timetz", pa.string(), {"01:02:03+05:30": "01:02:03+05:30"}),
    (
        "timestamp",
        TIMESTAMP,
        {
            "2024-01-01 12:00:00.000001": datetime(2024, 1, 1, 12, 0, 0, 1, UTC),
            "infinity": LAST,
            "-infinity": FIRST,
            "0044-03-15 BC": FIRST,
            "294276-01-01": LAST,
        },
    ),
    (
        "timestamptz",
        TIMESTAMP,
        {
            "2024-01-01 12:00:00+02": datetime(2024, 1, 1, 10, tzinfo=UTC),
            "infinity": LAST,
            "-infinity": FIRST,
            "294276-01-01 00:00+00": LAST,
        },
    ),
    ("timestamptz(0)", TIMESTAMP, {"2024-01-01 12:00:00.6+00": datetime(2024, 1, 1, 12, 0, 1, tzinfo=UTC)}),
    ("bytea", pa.binary(), {"\\x00ff27": b"\x00\xff'"}),
    ("oid", pa.int64(), {"4294967295": 4294967295}),
    ("xid", pa.int64(), {"4294967295": 4294967295}),
    ("inet", pa.string(), {"10.0.0.1/8": "10.0.0.1/8"}),
    ("macaddr", pa.string(), {"08:00:2b:01:02:03": "08:00:2b:01:02:03"}),
    ("int4range", pa.string(), {"[1,5]": "[1,6)"}),
    ("int4multirange", pa.string(), {"{[1,5],[7,9)}": "{[1,6),[7,9)}"}),
    ("point", pa.string(), {"(1.5,2)": "(1.5,2)"}),
    ("tsvector", pa.string(), {"a fat cat": "'a':1 'cat':3 'fat':2"}),
    ("bit(3)", pa.string(), {"101": "101"}),
    ("varbit", pa.string(), {"10": "10"}),
    ("pg_lsn", pa.string(), {"16/B374D848": "16/B374D848"}),
    ("regclass", pa.string(), {"pg_class": "pg_class"}),
]


@pytest.fixture(scope="module")
def rules(postgres_server: str) -> Database:
    """One table per type, each with its values in order and one NULL."""
    database = Database(postgres_server)
    database.execute(
        "DROP SCHEMA IF EXISTS rules CASCADE",
        "CREATE SCHEMA rules",
        "SET search_path = rules",
    )
    statements = [
        "SET search_path = rules",
        "CREATE TYPE mood AS ENUM ('sad', 'it''s ok')",
        "CREATE TYPE point3 AS (a int, b text)",
        "CREATE DOMAIN percent AS numeric(5,2) CHECK (value >= 0)",
        "CREATE DOMAIN nested_percent AS percent",
    ]
    for number, (name, _, values) in enumerate(RULES):
        statements.append(f"CREATE TABLE t{number} (id int PRIMARY KEY, v {name})")
        for position, text in enumerate([*values, None]):
            literal = "NULL" if text is None else "'" + text.replace("'", "''") + "'"
            if name == "tsvector":
                literal = f"to_tsvector('simple', {literal})"
            statements.append(f"INSERT INTO t{number} VALUES ({position}, {literal})")
    database.execute("; ".join(statements))
    return database


@pytest.mark.parametrize("number", range(len(RULES)), ids=[name for name, _, _ in RULES])
def test_a_type_becomes_what_its_rule_says(rules: Database, number: int) -> None:
    _, dtype, values = RULES[number]
    source = PostgresSource({"dsn": rules.dsn, "schemas": ["rules"]})
    info = info_of(source, f"t{number}")
    assert info.columns[1].type == dtype
    pages = list(source.read(request(info)))
    assert [row[1] for row in rows_of(pages)] == [*values.values(), None]
    assert all(page.batch.schema == info.arrow_schema and not page.rejected for page in pages)


def test_a_nan_of_a_float_is_kept(postgres: Database) -> None:
    postgres.execute("CREATE TABLE t (id int PRIMARY KEY, v float8, w real)", "INSERT INTO t VALUES (1, 'NaN', 'NaN')")
    source = PostgresSource({"dsn": postgres.dsn})
    ((_, v, w),) = rows_of(source.read(request(info_of(source, "t"))))
    assert math.isnan(v)
    assert math.isnan(w)


@pytest.mark.parametrize(
    ("kind", "misfits"),
    [
        ("numeric", ["NaN", "Infinity", "-Infinity", "1e20", "0.0000000000000000001", "1" * 30 + ".5"]),
        ("numeric(6,2)", ["NaN"]),
    ],
)
def test_a_number_that_does_not_fit_is_a_rejected_row(postgres: Database, kind: str, misfits: list[str]) -> None:
    postgres.execute(
        f"CREATE TABLE t (id int PRIMARY KEY, v {kind}, note text)", "INSERT INTO t VALUES (0, 1.50, 'ok')"
    )
    postgres.insert(
        "INSERT INTO t VALUES (%s, %s::text::numeric, 'bad')", [(n + 1, text) for n, text in enumerate(misfits)]
    )
    source = PostgresSource({"dsn": postgres.dsn})
    pages = list(source.read(request(info_of(source, "t"))))
    assert rows_of(pages) == [(0, Decimal("1.50"), "ok")]
    rejected = [row for page in pages for row in page.rejected]
    assert [row.key for row in rejected] == [{"id": str(n + 1)} for n in range(len(misfits))]
    assert {row.column for row in rejected} == {"v"}
    kept = [json.loads(row.row or "{}") for row in rejected]
    assert [row["note"] for row in kept] == ["bad"] * len(misfits)
    assert [Decimal(row["v"]).normalize().to_eng_string() for row in kept] == [
        Decimal(text).normalize().to_eng_string() for text in misfits
    ]


def test_a_keyless_table_rejects_a_row_with_the_row_itself(postgres: Database) -> None:
    postgres.execute("CREATE TABLE t (v numeric, note text)", "INSERT INTO t VALUES ('NaN', 'bad'), (1, 'good')")
    source = PostgresSource({"dsn": postgres.dsn})
    for window in (None, CursorWindow("note", after="a", upto=None)):
        pages = list(source.read(request(info_of(source, "t"), window=window)))
        assert [row[1] for row in rows_of(pages)] == ["good"]
        (rejected,) = [row for page in pages for row in page.rejected]
        assert rejected.key == {}
        assert '"bad"' in (rejected.row or "")


def test_text_that_is_not_utf8_is_a_rejected_row(postgres_server: str) -> None:
    admin = Database(postgres_server)
    admin.execute(
        "DROP DATABASE IF EXISTS ascii", "CREATE DATABASE ascii ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0"
    )
    database = Database(f"{postgres_server.rpartition('/')[0]}/ascii")
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t VALUES (1, 'good'), (2, convert_from('\\xff41', 'SQL_ASCII'))",
        "INSERT INTO t VALUES (3, convert_from('\\xc3a9', 'SQL_ASCII'))",
    )
    source = PostgresSource({"dsn": database.dsn})
    pages = list(source.read(request(info_of(source, "t"))))
    assert rows_of(pages) == [(1, "good"), (3, "é")]
    (rejected,) = [row for page in pages for row in page.rejected]
    assert rejected.key == {"id": "2"}
    assert "\\\\xffA" in (rejected.row or "")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("uuid", [f"00000000-0000-0000-0000-{n:012x}" for n in range(40)]),
        ("numeric", [f"{n}.{n:018d}" for n in range(40)]),
        ("numeric(50,4)", [f"{n}.5" for n in range(40)]),
        (
            "timestamptz",
            ["-infinity", "infinity", "0044-03-15 BC", *(f"2024-01-01 00:00:00.{n:06d}+00" for n in range(40))],
        ),
        ("date", ["-infinity", "infinity", *(f"2024-01-{n:02d}" for n in range(1, 32))]),
        ("interval", [f"{n} days {n} hours" for n in range(40)]),
        ("float8", ["NaN", "-infinity", "infinity", "-0.1", *(f"{n}.1" for n in range(40))]),
        ("mood", ["sad", "it's ok", "a", "B"]),
        ("inet", [f"10.0.0.{n}" for n in range(40)]),
        ("char(9)", [f"x{n}" for n in range(40)]),
        ("boolean", ["true", "false"]),
        ("bytea", [f"\\x{n:02x}27" for n in range(40)]),
        ("integer[]", [f"{{{n},1}}" for n in range(40)]),
        ("code", [f"A{n}" for n in range(40)]),
    ],
)
def test_a_read_goes_on_behind_a_key_of_any_type(postgres: Database, kind: str, values: list[str]) -> None:
    postgres.execute("CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'a', 'B')", "CREATE DOMAIN code AS text NOT NULL")
    postgres.execute(f"CREATE TABLE t (k {kind} PRIMARY KEY, n int)")
    postgres.insert(f"INSERT INTO t VALUES (%s::text::{kind}, %s)", [(text, n) for n, text in enumerate(values)])
    source = PostgresSource({"dsn": postgres.dsn})
    read: ReadRequest = request(info_of(source, "t"), page_bytes=20)
    pages = list(source.read(read))
    assert {row[1] for row in rows_of(pages)} | {
        int(json.loads(r.row or "")["n"]) for p in pages for r in p.rejected
    } == set(range(len(values)))
    middle = len(pages) // 2
    rest = source.read(request(info_of(source, "t"), after=pages[middle].token))
    assert [row[1] for row in rows_of(rest)] == [row[1] for row in rows_of(pages[middle + 1 :])]
