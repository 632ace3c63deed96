"""The PostgreSQL that everybody reads, and its tables. Made once per scratch folder."""

from __future__ import annotations

import psycopg

COLUMNS = (
    "id bigint PRIMARY KEY, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, n int,"
    " amount numeric(12,2), title text, digest text, note text, score float8, flag bool, doc jsonb"
)
ROWS = """
INSERT INTO {table} SELECT i, '2023-01-01'::timestamptz + (i * 20 || ' seconds')::interval,
    '2023-01-01'::timestamptz + (i * 20 || ' seconds')::interval, (random() * 1000)::int,
    (random() * 100000)::numeric(12,2), 'title ' || i, md5(i::text), repeat(md5((i * 7)::text), 3), random(), i % 2 = 0,
    jsonb_build_object('a', i, 'b', md5(i::text), 'c', array[1, 2, i % 10]) FROM generate_series(1, {rows}) i
"""
WIDE_ROWS, WIDE_BYTES = 60, 8_000_000


def make_tables(dsn: str, *, rows: int) -> None:
    """`big` of some rows, `tiny` of the same columns for warming up, and `wide` of 60 rows of 8 MB of JSON text."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for table, count in (("tiny", 500), ("big", rows)):
            if _rows(connection, table) == count:
                continue
            connection.execute(f"DROP TABLE IF EXISTS {table}")
            connection.execute(f"CREATE TABLE {table} ({COLUMNS})")
            connection.execute(ROWS.format(table=table, rows=count))
            connection.execute(f"CREATE INDEX ON {table} (updated_at)")
            connection.execute(f"VACUUM ANALYZE {table}")
        if _rows(connection, "wide") != WIDE_ROWS:
            connection.execute("DROP TABLE IF EXISTS wide")
            connection.execute("CREATE TABLE wide (id bigint PRIMARY KEY, updated_at timestamptz NOT NULL, doc text)")
            connection.execute("ALTER TABLE wide ALTER doc SET STORAGE external")
            for number in range(WIDE_ROWS):
                connection.execute(
                    "INSERT INTO wide SELECT %s, '2023-01-01', '{\"a\": \"' || string_agg(md5((%s * 1000000 + g)::text), '')"
                    " || '\"}' FROM generate_series(1, %s) g",
                    (number, number, WIDE_BYTES // 32),
                )
            connection.execute("VACUUM ANALYZE wide")


def touch(dsn: str, *, run: int) -> int:
    """Updates 1 % of the big table, spread over all of it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        changed = connection.execute(
            "UPDATE big SET updated_at = clock_timestamp(), n = n + 1 WHERE id %% 100 = %s", (run % 100,)
        ).rowcount
        connection.execute("VACUUM ANALYZE big")
        return changed


def _rows(connection: psycopg.Connection, table: str) -> int:
    found = connection.execute("SELECT to_regclass(%s)", (table,)).fetchone()
    if found is None or found[0] is None:
        return -1
    counted = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return -1 if counted is None else int(counted[0])
