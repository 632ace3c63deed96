"""What becomes of everything JSON can hold, from a server's answer to the table in the lake."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from import_platform.errors import SourceRejected, SourceUnavailable
from tests.sources.rest.api_server import Answer, ApiServer, Asked, Listed
from tests.sources.rest.contract import read, request_for
from tests.sources.rest.rest_table import RestTable

pytestmark = pytest.mark.usefixtures("small_groups")


def connection(server: ApiServer, *, selector: str = "data", columns: Any = None, **endpoint: Any) -> dict[str, Any]:
    paginator = {"type": "page_number", "base_page": 1}
    return {
        "kind": "rest",
        "client": {"base_url": server.url, "retries": 2},
        "resources": [
            {
                "name": "things",
                "primary_key": "id",
                "endpoint": {"path": "things", "data_selector": selector, "paginator": paginator, **endpoint},
                **({"columns": columns} if columns else {}),
            }
        ],
    }


def raw(server: ApiServer, *bodies: bytes, headers: dict[str, str] | None = None) -> None:
    """The n-th page is the n-th body as it stands; then comes an empty one."""

    def answer(asked: Asked) -> Answer:
        page = int(asked.params.get("page", 1))
        body = bodies[page - 1] if page <= len(bodies) else b'{"data": []}'
        return 200, dict(headers or {}), body

    server.refuse = answer


def pages(server: ApiServer, *found: Sequence[Any]) -> None:
    raw(server, *(json.dumps({"data": rows}).encode() for rows in found))


@pytest.fixture
def table(server: ApiServer, tmp_path: Path) -> RestTable:
    return RestTable(connection(server), "things", str(tmp_path), page_by_page=True)


def column(table: RestTable, name: str) -> list[Any]:
    return table.frame().sort("id")[name].to_list()


def test_integers_first_and_decimals_later_become_doubles(server: ApiServer, table: RestTable) -> None:
    pages(server, [{"id": 1, "v": 1}, {"id": 2, "v": 2}], [{"id": 3, "v": 2.5}], [{"id": 4, "v": 4}])
    report = table.sync()
    assert (report.rows_inserted, report.rows_rejected) == (4, 0)
    assert column(table, "v") == [1.0, 2.0, 2.5, 4.0]


def test_a_column_widens_between_syncs_too(server: ApiServer, table: RestTable) -> None:
    pages(server, [{"id": 1, "v": 1}])
    table.sync()
    pages(server, [{"id": 1, "v": 1}, {"id": 2, "v": 1.25}])
    table.sync()
    pages(server, [{"id": 1, "v": 1}, {"id": 2, "v": "many"}])
    table.sync()
    assert column(table, "v") == ["1", "many"]


def test_a_declared_type_stays_and_takes_numbers_written_as_text(server: ApiServer, tmp_path: Path) -> None:
    columns = {"price": "decimal(18,4)", "at": "timestamp", "ms": "timestamp_ms", "n": "bigint"}
    table = RestTable(connection(server, columns=columns), "things", str(tmp_path))
    pages(
        server,
        [{"id": 1, "price": 1, "at": 1735689600, "ms": 1735689600123, "n": "12"}],
        [{"id": 2, "price": "0.1000", "at": "2025-01-01T00:00:00+02:00", "ms": None, "n": 3.0}],
        [{"id": 3, "price": 1234567890.1234, "at": None, "ms": None, "n": None}],
    )
    table.sync()
    assert column(table, "price") == [Decimal("1.0000"), Decimal("0.1000"), Decimal("1234567890.1234")]
    assert column(table, "at")[:2] == [datetime(2025, 1, 1, tzinfo=UTC), datetime(2024, 12, 31, 22, tzinfo=UTC)]
    assert column(table, "ms")[0] == datetime(2025, 1, 1, 0, 0, 0, 123000, tzinfo=UTC)
    assert column(table, "n") == [12, 3, None]


def test_a_value_that_a_declared_type_cannot_hold_sets_its_row_apart(server: ApiServer, tmp_path: Path) -> None:
    table = RestTable(connection(server, columns={"price": "decimal(6,2)"}), "things", str(tmp_path))
    pages(server, [{"id": 1, "price": 1.5}, {"id": 2, "price": 1.555}, {"id": 3, "price": "free"}])
    report = table.sync()
    assert (report.rows_inserted, report.rows_rejected) == (1, 2)
    assert table.ids() == [1]


def test_a_key_of_another_kind_is_rejected_instead_of_changing_every_key(server: ApiServer, table: RestTable) -> None:
    pages(server, [{"id": 1}], [{"id": "two"}, {"id": 3}])
    report = table.sync()
    assert report.rows_rejected == 1
    assert table.ids() == [1, 3]


def test_the_order_of_fields_and_missing_ones_do_not_matter(server: ApiServer, table: RestTable) -> None:
    pages(server, [{"id": 1, "a": 1, "b": "x"}, {"b": "y", "id": 2}], [{"a": 3, "id": 3}])
    table.sync()
    assert column(table, "a") == [1, None, 3]
    assert column(table, "b") == ["x", "y", None]


def test_a_field_that_comes_later_is_a_new_column(server: ApiServer, table: RestTable) -> None:
    pages(server, [{"id": 1}], [{"id": 2, "new": "x"}], [{"id": 3, "other": True, "new": None}])
    report = table.sync()
    assert report.rows_read == 3
    assert column(table, "new") == [None, "x", None]
    assert column(table, "other") == [None, None, True]


def test_a_field_of_nulls_is_no_column_until_a_value_says_of_which_type(server: ApiServer, table: RestTable) -> None:
    pages(server, [{"id": 1, "v": None}])
    table.sync()
    assert table.frame().columns == ["id"]
    pages(server, [{"id": 1, "v": None}, {"id": 2, "v": 7}])
    table.sync()
    assert column(table, "v") == [None, 7]


def test_an_empty_page_in_the_middle_ends_nothing(server: ApiServer, tmp_path: Path) -> None:
    paginator = {"type": "cursor", "cursor_path": "next", "cursor_param": "page"}
    table = RestTable(connection(server, paginator=paginator), "things", str(tmp_path))
    first, last = {"data": [{"id": 1}], "next": 2}, {"data": [{"id": 2}], "next": None}
    raw(server, *(json.dumps(body).encode() for body in (first, {"data": [], "next": 3}, last)))
    table.sync()
    assert table.ids() == [1, 2]


def test_a_list_without_any_row_makes_no_table_and_is_no_failure(server: ApiServer, table: RestTable) -> None:
    pages(server)
    assert table.sync().status == "unchanged"
    assert table.log().snapshot() is None
    pages(server, [{"id": 1}])
    assert table.sync().rows_inserted == 1
    pages(server)
    assert table.sync(full_refresh=True).rows_read == 0
    assert table.ids() == []


def test_nested_values_are_json_text_however_deep(server: ApiServer, table: RestTable) -> None:
    deep: Any = "ground"
    for _ in range(400):
        deep = {"d": deep}
    pages(server, [{"id": 1, "v": {"ü": [1, {"a": None}]}}, {"id": 2, "v": [1, 2]}, {"id": 3, "v": deep}])
    table.sync()
    found = column(table, "v")
    assert json.loads(found[0]) == {"ü": [1, {"a": None}]}
    assert "ü" in found[0]
    assert json.loads(found[2]) == deep


def test_json_that_is_nested_beyond_reading_is_the_owners(server: ApiServer, table: RestTable) -> None:
    raw(server, b'{"data": [{"id": 1, "v": ' + b"[" * 200_000 + b"]" * 200_000 + b"}]}")
    with pytest.raises(SourceRejected, match="nested too deeply"):
        table.sync()


def test_an_object_of_30_mb_comes_whole(server: ApiServer, table: RestTable) -> None:
    pages(server, [{"id": 1, "v": {"text": "x" * (30 << 20)}}], [{"id": 2, "v": {"text": "y"}}])
    table.sync()
    assert [len(text) for text in column(table, "v")] == [(30 << 20) + 11, 12]


def test_a_row_beyond_what_memory_allows_is_recorded_by_key_and_size(server: ApiServer) -> None:
    from import_platform.sources.registry import open_source

    pages(server, [{"id": 1, "v": "x" * 5000}, {"id": 2, "v": "small"}])
    source = open_source("api", connection(server))
    found = read(source, request_for(source, "things", row_bytes_max=4000))
    (rejected,) = [row for page in found for row in page.rejected]
    assert rejected.key == {"id": "1"}
    assert "5 kB" in rejected.reason or "5.0" in rejected.reason
    assert rejected.row is None
    assert [v for page in found for v in page.batch.column("id").to_pylist()] == [2]


def test_of_a_field_given_twice_the_last_counts(server: ApiServer, table: RestTable) -> None:
    raw(server, b'{"data": [{"id": 1, "v": "first", "v": "last"}]}')
    table.sync()
    assert column(table, "v") == ["last"]


def test_fields_that_differ_by_case_only_are_two_columns_for_ever(server: ApiServer, table: RestTable) -> None:
    pages(server, [{"id": 1, "name": "a", "Name": "A"}])
    table.sync()
    pages(server, [{"id": 1, "name": "a", "Name": "A"}, {"id": 2, "Name": "B"}])
    table.sync()
    spare = [name for name in table.frame().columns if name not in ("id", "name")]
    assert len(spare) == 1
    assert column(table, "name") == ["a", None]
    assert column(table, spare[0]) == ["A", "B"]


def test_text_that_is_not_utf8_sets_only_its_row_apart(server: ApiServer, table: RestTable) -> None:
    raw(server, b'{"data": [{"id": 1, "v": "caf\xe9"}, {"id": 2, "v": "caf\xc3\xa9"}, {"id": 3, "v": "\\ud800"}]}')
    report = table.sync()
    assert report.rows_rejected == 2
    assert column(table, "v") == ["café"]


def test_another_charset_that_the_header_names_is_read(server: ApiServer, table: RestTable) -> None:
    body = '{"data": [{"id": 1, "v": "café"}]}'.encode("latin-1")
    raw(server, body, headers={"Content-Type": "application/json; charset=ISO-8859-1"})
    table.sync()
    assert column(table, "v") == ["café"]


def test_json_cut_in_the_middle_is_tried_again(server: ApiServer, table: RestTable) -> None:
    server.lists["/things"] = Listed([{"id": n} for n in range(5)], "page_number")
    server.faults.extend(
        [(200, {}, b'{"data": [{"id": 1}, {"id'), (200, {"X-Cut": "9"}, b'{"data": [{"id": 1}]}'), None]
    )
    table.sync()
    assert table.ids() == list(range(5))
    raw(server, b'{"data": [{"id": 1}, {"id"')
    with pytest.raises(SourceUnavailable, match="ends in the middle"):
        table.sync()


@pytest.mark.parametrize(
    "body", [b"<html><body>Please log in</body></html>", b"<!DOCTYPE html>", b"Service is fine", b""]
)
def test_html_or_text_instead_of_json_is_the_owners_after_a_few_tries(
    body: bytes, server: ApiServer, table: RestTable
) -> None:
    raw(server, body, headers={"Content-Type": "text/html"})
    with pytest.raises(SourceRejected, match=r"instead of JSON|no JSON"):
        table.sync()
    assert len(server.asked) == 3


def test_an_error_inside_a_good_answer_is_no_empty_table(server: ApiServer, table: RestTable) -> None:
    pages(server, [{"id": 1}, {"id": 2}])
    table.sync()
    raw(server, b'{"error": {"code": 17, "message": "the secret plan"}}')
    with pytest.raises(SourceRejected, match="error inside a good answer") as raised:
        table.sync()
    assert "secret plan" not in str(raised.value)
    assert table.ids() == [1, 2]


def test_a_list_that_is_left_out_may_be_declared_empty(server: ApiServer, tmp_path: Path) -> None:
    table = RestTable(connection(server, empty_when_absent=True, columns={"id": "bigint"}), "things", str(tmp_path))
    raw(server, b'{"total": 0}')
    assert table.sync().rows_read == 0


def test_rows_that_are_no_objects_have_one_column(server: ApiServer) -> None:
    from import_platform.sources.registry import open_source

    said = connection(server)
    del said["resources"][0]["primary_key"]
    pages(server, ["a", "b"])
    source = open_source("api", said)
    assert [
        v for page in read(source, request_for(source, "things")) for v in page.batch.column("value").to_pylist()
    ] == [
        "a",
        "b",
    ]


def test_dates_and_timestamps_are_told_from_text(server: ApiServer, table: RestTable) -> None:
    pages(
        server,
        [{"id": 1, "day": "2025-02-28", "at": "2025-01-01T10:00:00.5Z", "code": "2025-1"}],
        [{"id": 2, "day": "2025-03-01T00:00:00Z", "at": "2025-01-01T10:00:00+01:00", "code": "x"}],
    )
    table.sync()
    assert column(table, "day") == [datetime(2025, 2, 28, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC)]
    assert column(table, "at")[1] == datetime(2025, 1, 1, 9, tzinfo=UTC)
    assert column(table, "code") == ["2025-1", "x"]
    assert date(2025, 2, 28) <= column(table, "day")[0].date()


def test_integers_beyond_64_bits_stay_exact(server: ApiServer, table: RestTable) -> None:
    pages(server, [{"id": 1, "v": 1}], [{"id": 2, "v": 2**70}])
    table.sync()
    assert column(table, "v") == [Decimal(1), Decimal(2**70)]


def test_true_is_not_one(server: ApiServer, table: RestTable) -> None:
    pages(server, [{"id": 1, "v": 1, "f": 0.5}], [{"id": 2, "v": True, "f": False}])
    table.sync()
    assert column(table, "v") == ["1", "true"]
    assert column(table, "f") == ["0.5", "false"]
