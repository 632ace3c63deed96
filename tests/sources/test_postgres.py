"""What only the PostgreSQL connector promises: ceilings, wide rows, rewritten tables, errors, secrets."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from import_platform.core.cursor import decode, encode
from import_platform.core.postgres_text import literal, quoted
from import_platform.errors import ConfigError, ImportPlatformError, SourceRejected, SourceUnavailable
from import_platform.sources.postgres import PostgresSource
from import_platform.sources.postgres.session import PostgresSession
from import_platform.sources.protocol import CursorWindow, TokenExpired
from tests.conftest import Database
from tests.sources.contract import info_of, request, rows_of

TIMESTAMP = pa.timestamp("us", "UTC")


def open_source(database: Database) -> PostgresSource:
    return PostgresSource({"dsn": database.dsn})


class TestCeiling:
    @pytest.fixture
    def orders(self, postgres: Database) -> Database:
        postgres.execute(
            "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, naive timestamp, day date)",
            "INSERT INTO t SELECT n, now() - n * interval '1 minute', (now() - n * interval '1 minute')::timestamp,"
            " current_date - n FROM generate_series(1, 5) n",
        )
        return postgres

    def ceiling(self, database: Database, cursor: str = "at") -> tuple[datetime, bool]:
        source = open_source(database)
        found = source.ceiling(info_of(source, "t"), cursor)
        assert found is not None
        value = decode(found.value, TIMESTAMP) if cursor != "day" else decode(found.value, pa.date32())
        return value, found.settled

    def test_a_value_of_the_past_is_settled(self, orders: Database) -> None:
        value, settled = self.ceiling(orders)
        assert (value, settled) == (orders.rows("SELECT max(at) FROM t")[0][0].astimezone(UTC), True)

    @pytest.mark.parametrize("wrote", [True, False])
    def test_it_is_not_past_the_start_of_an_open_transaction(self, orders: Database, wrote: bool) -> None:
        with psycopg.connect(orders.dsn) as writer:
            (began,) = writer.execute("SELECT now()").fetchone() or ()
            if wrote:
                writer.execute("INSERT INTO t VALUES (100, now(), now(), current_date)")
            orders.execute("INSERT INTO t VALUES (101, clock_timestamp(), clock_timestamp(), current_date)")
            for cursor in ("at", "naive"):
                value, settled = self.ceiling(orders, cursor)
                assert value <= began
                assert not settled

    def test_a_late_commit_is_read_by_the_window_after_the_ceiling(self, orders: Database) -> None:
        source = open_source(orders)
        info = info_of(source, "t")
        with psycopg.connect(orders.dsn) as writer:
            writer.execute("INSERT INTO t (id, at) VALUES (100, now())")
            orders.execute("INSERT INTO t (id, at) VALUES (101, clock_timestamp())")
            ceiling = source.ceiling(info, "at")
        assert ceiling is not None
        later = rows_of(source.read(request(info, window=CursorWindow("at", after=ceiling.value, upto=None))))
        assert {100, 101} <= {row[0] for row in later}

    def test_our_own_long_reads_do_not_hold_it_back(self, orders: Database) -> None:
        source = open_source(orders)
        pages = source.read(request(info_of(source, "t"), page_bytes=1))
        next(pages)
        orders.execute("INSERT INTO t VALUES (101, clock_timestamp() - interval '2 s')")
        assert self.ceiling(orders) == (orders.rows("SELECT max(at) FROM t")[0][0].astimezone(UTC), True)
        pages.close()

    def test_a_prepared_transaction_holds_it_back(self, orders: Database) -> None:
        with psycopg.connect(orders.dsn, autocommit=True) as writer:
            writer.execute("BEGIN")
            writer.execute("INSERT INTO t VALUES (100, now())")
            writer.execute("PREPARE TRANSACTION 'held'")
            orders.execute("INSERT INTO t VALUES (101, clock_timestamp())")
            try:
                assert self.ceiling(orders)[0] < datetime.now(UTC) - timedelta(minutes=50)
            finally:
                writer.execute("ROLLBACK PREPARED 'held'")

    def test_sessions_that_the_user_may_not_see_into_hold_it_back(self, orders: Database) -> None:
        orders.execute(
            "DROP ROLE IF EXISTS plain_reader",
            "CREATE ROLE plain_reader LOGIN PASSWORD 'pw'",
            "GRANT SELECT ON t TO plain_reader",
        )
        orders.execute("INSERT INTO t VALUES (101, clock_timestamp())")
        limited = Database(orders.as_user("plain_reader", "pw"))
        free, _ = self.ceiling(limited)
        with psycopg.connect(orders.dsn) as writer:
            writer.execute("INSERT INTO t VALUES (100, now())")
            held, settled = self.ceiling(limited)
        orders.execute("DROP OWNED BY plain_reader", "DROP ROLE plain_reader")
        assert free > datetime.now(UTC) - timedelta(minutes=1)
        assert held < datetime.now(UTC) - timedelta(minutes=14)
        assert not settled

    def test_a_day_is_settled_when_it_is_over(self, orders: Database) -> None:
        assert self.ceiling(orders, "day")[1]
        orders.execute("INSERT INTO t (id, day) VALUES (100, current_date), (101, current_date + 9)")
        value, settled = self.ceiling(orders, "day")
        assert (value, settled) == (orders.rows("SELECT current_date")[0][0], False)

    def test_a_float_is_no_cursor(self, postgres: Database) -> None:
        postgres.execute("CREATE TABLE t (v float8)")
        with pytest.raises(ConfigError, match="cursor must be"):
            open_source(postgres).ceiling(info_of(open_source(postgres), "t"), "v")


class TestWideRows:
    def test_compressed_json_arrays_and_text_are_measured_decoded(self, postgres: Database) -> None:
        postgres.execute(
            "CREATE TABLE t (id int PRIMARY KEY, j jsonb, a int[], x text, n int)",
            "INSERT INTO t SELECT n, '{}', '{}', 'small', 7 FROM generate_series(1, 9) n",
            "UPDATE t SET j = to_jsonb(repeat('z', 5000000)) WHERE id = 2",
            "UPDATE t SET a = array_fill(1000000, ARRAY[600000]) WHERE id = 4",
            "UPDATE t SET x = repeat('ä', 2500000) WHERE id = 6",
        )
        assert postgres.rows("SELECT pg_column_size(j) < 100000 FROM t WHERE id = 2") == [(True,)]
        source = open_source(postgres)
        for key in (("id",), ()):
            pages = list(source.read(request(info_of(source, "t"), primary_key=key, row_bytes_max=4_000_000)))
            rejected = [row for page in pages for row in page.rejected]
            assert [row.column for row in rejected] == ["j", "a", "x"]
            assert sorted(row[0] for row in rows_of(pages)) == [1, 3, 5, 7, 8, 9]
            assert {row[4] for row in rows_of(pages)} == {7}

    def test_a_small_limit_is_kept_where_nothing_is_stored_out_of_line(self, postgres: Database) -> None:
        postgres.execute(
            "CREATE TABLE t (k text PRIMARY KEY, v text)", "INSERT INTO t VALUES ('a', 'x'), ('b', repeat('y', 1500))"
        )
        source = open_source(postgres)
        pages = list(source.read(request(info_of(source, "t"), row_bytes_max=1000)))
        assert rows_of(pages) == [("a", "x")]
        assert [row.key for page in pages for row in page.rejected] == [{"k": "b"}]

    def test_a_wide_key_still_names_its_row(self, postgres: Database) -> None:
        postgres.execute(
            "CREATE TABLE t (k text, v text NOT NULL)", "INSERT INTO t VALUES (repeat('k', 3000), 'v'), ('b', 'v')"
        )
        source = open_source(postgres)
        pages = list(source.read(request(info_of(source, "t"), primary_key=("k",), row_bytes_max=1000)))
        assert [row.key for page in pages for row in page.rejected] == [{"k": "k" * 3000}]

    @pytest.mark.parametrize("limit", [None, 100_000])
    def test_a_table_of_1600_columns_is_read(self, postgres: Database, limit: int | None) -> None:
        kinds = ["int", "numeric(9,2)", "text", "timestamptz", "date"]
        columns = ", ".join(f"c{n} {kinds[n % 5]}" for n in range(1, 1600))
        postgres.execute(f"CREATE TABLE t (id int PRIMARY KEY, {columns})")
        postgres.execute(
            "INSERT INTO t (id, c1599, c1, c2) SELECT n, '2024-01-01', n / 7.0, 'x' FROM generate_series(1, 60) n"
        )
        source = open_source(postgres)
        info = info_of(source, "t")
        pages = list(source.read(request(info, page_bytes=100_000, row_bytes_max=limit)))
        assert len(info.columns) == 1600
        assert [row[0] for row in rows_of(pages)] == list(range(1, 61))
        assert pages[0].batch.schema == info.arrow_schema


class TestKeyless:
    def test_a_token_of_a_rewritten_table_says_so(self, postgres: Database) -> None:
        postgres.execute("CREATE TABLE t (n int)", "INSERT INTO t SELECT generate_series(1, 2000)")
        source = open_source(postgres)
        info = info_of(source, "t")
        page = next(iter(source.read(request(info))))
        postgres.execute("VACUUM FULL t")
        with pytest.raises(TokenExpired) as caught:
            next(iter(source.read(request(info, after=page.token))))
        assert caught.value.retryable

    def test_one_read_sees_one_moment(self, postgres: Database) -> None:
        postgres.execute(
            "CREATE TABLE t (n int, filler text)",
            "INSERT INTO t SELECT n, repeat('x', 500) FROM generate_series(1, 3000) n",
        )
        source = open_source(postgres)
        pages = source.read(request(info_of(source, "t"), page_bytes=100_000))
        first = next(pages)
        postgres.execute("UPDATE t SET n = n + 10000", "DELETE FROM t WHERE n % 2 = 0", "VACUUM t")
        assert sorted(row[0] for row in (*rows_of([first]), *rows_of(pages))) == list(range(1, 3001))

    def test_pages_follow_the_physical_order_also_under_a_window_with_an_index(self, postgres: Database) -> None:
        postgres.execute(
            "CREATE TABLE t (n int, at timestamptz)",
            "INSERT INTO t SELECT n, now() - n * interval '1 s' FROM generate_series(1, 5000) n",
            "CREATE INDEX ON t (at)",
            "ANALYZE t",
        )
        source = open_source(postgres)
        window = CursorWindow("at", after=None, upto=encode(datetime.now(UTC), TIMESTAMP))
        pages = list(source.read(request(info_of(source, "t"), window=window)))
        assert [row[0] for row in rows_of(pages)] == list(range(1, 5001))
        assert all(page.token is not None for page in pages)


class TestErrors:
    @pytest.mark.parametrize(
        ("change", "kind", "words"),
        [
            (
                lambda dsn: dsn.replace("postgres:", "postgres:wrong-"),
                SourceRejected,
                "refused the user or its password",
            ),
            (
                lambda dsn: dsn.replace("//postgres:", "//nobody-here:"),
                SourceRejected,
                "refused the user or its password",
            ),
            (lambda dsn: f"{dsn.rpartition('/')[0]}/nowhere", SourceRejected, "no such database"),
            (lambda dsn: f"{dsn.rpartition(':')[0]}:1/x", SourceUnavailable, "cannot be reached"),
            (lambda dsn: "postgresql://u:hidden-secret@no-such-host.invalid/x", SourceUnavailable, "cannot be reached"),
            (lambda dsn: "postgresql://u:hidden-secret@127.0.0.1:port/x", ConfigError, "dsn"),
            (lambda dsn: "mysql://u:hidden-secret@127.0.0.1/x", ConfigError, "dsn"),
            (lambda dsn: "hidden-secret", ConfigError, "dsn"),
            (lambda dsn: "host=127.0.0.1 port=1 password='hidden secret'", SourceUnavailable, "cannot be reached"),
            (lambda dsn: f"{dsn}?sslmode=hidden-secret", ConfigError, "dsn"),
        ],
    )
    def test_a_connection_that_fails_is_one_sentence_without_secrets(
        self, postgres: Database, change: Callable[[str], str], kind: type[ImportPlatformError], words: str
    ) -> None:
        password = postgres.dsn.split(":")[2].split("@")[0]
        with pytest.raises(kind, match=words) as caught:
            PostgresSource({"dsn": change(postgres.dsn)}).check()
        shown = f"{caught.value!r} {caught.value} {caught.value.facts}"
        assert caught.value.remedy
        assert "hidden" not in shown
        assert password not in shown
        assert caught.value.__context__ is None or caught.value.__suppress_context__
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)

    def test_what_the_user_may_not_read_is_not_found_but_said_when_named(self, postgres: Database) -> None:
        postgres.execute(
            "DROP ROLE IF EXISTS narrow_reader",
            "CREATE ROLE narrow_reader LOGIN PASSWORD 'pw'",
            "CREATE TABLE hidden (a int)",
            "CREATE TABLE partly (a int PRIMARY KEY, b int)",
            "GRANT SELECT (a) ON partly TO narrow_reader",
            "INSERT INTO partly VALUES (1, 2)",
        )
        try:
            source = PostgresSource({"dsn": postgres.as_user("narrow_reader", "pw")})
            assert [(info.name, [c.name for c in info.columns]) for info in source.discover()] == [("partly", ["a"])]
            assert rows_of(source.read(request(info_of(source, "partly")))) == [(1,)]
            hidden = info_of(open_source(postgres), "hidden")
            with pytest.raises(SourceRejected, match="may not read"):
                list(source.read(request(hidden)))
            source.close()
        finally:
            postgres.execute("DROP OWNED BY narrow_reader", "DROP ROLE narrow_reader")

    def test_a_connection_that_breaks_while_reading_can_be_tried_again(self, postgres: Database) -> None:
        postgres.execute(
            "CREATE TABLE t (id int PRIMARY KEY, filler text)",
            "INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n",
        )
        source = open_source(postgres)
        info = info_of(source, "t")
        pages = source.read(request(info, page_bytes=1_000_000))
        first = next(pages)
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'import_platform'"
        )
        with pytest.raises(SourceUnavailable) as caught:
            list(pages)
        assert caught.value.retryable
        assert (
            len(rows_of(source.read(request(info, after=first.token, page_bytes=1_000_000))))
            == 20000 - first.batch.num_rows
        )

    def test_a_count_that_takes_too_long_is_unavailable(self, postgres: Database) -> None:
        postgres.execute("CREATE VIEW v AS SELECT 1 AS a FROM pg_sleep(30)")
        source = open_source(postgres)
        info = info_of(source, "v")
        with pytest.raises(SourceUnavailable, match="time limit"):
            source.row_count(info, timeout_seconds=0.2)

    def test_a_value_in_a_failing_view_does_not_reach_the_message(self, postgres: Database) -> None:
        postgres.execute(
            "CREATE TABLE t (v text)",
            "INSERT INTO t VALUES ('private-value')",
            "CREATE VIEW v AS SELECT v::int AS n FROM t",
        )
        source = open_source(postgres)
        with pytest.raises(SourceRejected) as caught:
            list(source.read(request(info_of(source, "v"))))
        assert "private" not in str(caught.value)

    def test_the_source_cannot_be_written_to(self, postgres: Database) -> None:
        with pytest.raises(ImportPlatformError), PostgresSession(postgres.dsn).transaction() as transaction:
            transaction.execute("CREATE TABLE t (a int)")
        assert postgres.rows("SELECT count(*) FROM pg_class WHERE relname = 't'") == [(0,)]


def test_connections_say_who_they_are_and_end(postgres: Database) -> None:
    source = open_source(postgres)
    others = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE application_name = 'import_platform' AND datname = current_database()"
    )
    source.check()
    assert postgres.rows(others) == [(1,)]
    source.close()
    for _ in range(50):
        if postgres.rows(others) == [(0,)]:
            break
    assert postgres.rows(others) == [(0,)]


def test_a_dsn_keeps_its_own_parameters(postgres: Database) -> None:
    with PostgresSession(f"{postgres.dsn}?application_name=mine").transaction() as transaction:
        assert transaction.rows("SELECT current_setting('application_name') AS name") == [{"name": "mine"}]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(
        st.text(st.characters(blacklist_characters="\x00", blacklist_categories=["Cs"])), min_size=1, max_size=20
    )
)
def test_any_text_passes_as_a_literal_and_as_a_name(postgres_server: str, texts: list[str]) -> None:
    named = [text for text in texts if 0 < len(text.encode()) < 60]
    values = ", ".join(f"({literal(text)})" for text in texts)
    columns = ", ".join(f"{number} AS {quoted(name)}" for number, name in enumerate(named)) or "1"
    with PostgresSession(postgres_server).transaction() as transaction:
        for conforming in ("on", "off"):
            transaction.set({"standard_conforming_strings": conforming, "escape_string_warning": "off"})
            assert [row["v"] for row in transaction.rows(f"SELECT v FROM (VALUES {values}) x(v)")] == texts
            assert list(transaction.rows(f"SELECT {columns}")[0]) == list(dict.fromkeys(named)) or not named
