"""Deleted keys stay deleted and newer rows stay, whichever file is processed again and in whatever order."""

import os
from itertools import permutations

import pytest

from import_platform.core.state import state_from_json
from import_platform.errors import ConfigError
from import_platform.io.tombstones import FILES_MAX
from import_platform.pipeline.reconcile import reconcile
from import_platform.pipeline.sync import sync_table
from import_platform.sources.files.connector import FilesSource
from tests.sources.files.conftest import case

DELETE = {"path": "@op", "value": "delete"}


def touch(path, seconds):
    os.utime(path, (seconds, seconds))


def test_a_deleted_key_goes_away_and_no_older_file_brings_it_back(court):
    records = court(delete_when=DELETE)
    old = records.put("1.xml", case(1, "one"), case(2, "two"))
    records.sync("cases")
    records.put("2.xml", case(2, "", op="delete"), case(3, "three"))
    assert records.sync("cases").rows_deleted == 1
    for again in range(1, 4):
        touch(old, again)
        assert records.sync("cases").rows_read == 2
        assert records.cases == [(1, "one"), (3, "three")]
    records.put("3.xml", case(2, "again"))
    records.sync("cases")
    assert (2, "again") in records.cases, "a newer file may"


def test_a_key_that_was_never_there_is_remembered_as_deleted(court):
    records = court(delete_when=DELETE)
    records.put("2.xml", case(7, "", op="delete"))
    records.sync("cases")
    records.put("1.xml", case(7, "late"), case(8, "late"))
    records.sync("cases")
    assert records.cases == [(8, "late")]


@pytest.mark.parametrize("order", list(permutations("123")))
def test_files_that_arrive_in_any_order_end_as_if_they_had_come_in_theirs(court, order):
    records = court(delete_when=DELETE)
    files = {
        "1": [case(1, "a", "x", "y", "z"), case(2, "b", "u"), case(3, "c", "v"), case(4, "d")],
        "2": [case(1, "A", "q"), case(2, "", "w", op="delete"), case(4, "D", "n")],
        "3": [case(3, "C"), case(2, "B", "t"), case(4, "", op="delete")],
    }
    for name in order:
        records.put(f"{name}.xml", *files[name])
        records.sync_all()
    for name in reversed(order):
        touch(records.folder / f"{name}.xml", 5)
        records.sync_all()
    assert records.cases == [(1, "A"), (2, "B"), (3, "C")]
    assert records.parties == [(1, "q"), (2, "t")]
    for table in ("cases", "parties"):
        records.sync(table, full_refresh=True)
    assert (records.cases, records.parties) == ([(1, "A"), (2, "B"), (3, "C")], [(1, "q"), (2, "t")])


def test_keys_that_need_several_passes_end_alike(court, monkeypatch):
    monkeypatch.setattr("import_platform.pipeline.versioned.COPIES", 2_000_000)
    monkeypatch.setattr("import_platform.pipeline.keys.COPIES", 2_000_000)
    records = court(delete_when=DELETE)
    records.put("2.xml", *(case(i, "new", "n") for i in range(0, 90, 3)), *(case(i, "", op="delete") for i in range(9)))
    records.sync_all()
    records.put("1.xml", *(case(i, "old", "o", "p") for i in range(90)))
    records.sync_all()
    new, old = list(range(0, 90, 3)), [i for i in range(9, 90) if i % 3]
    living = [i for i in new if i >= 9]
    assert records.cases == sorted([(i, "new") for i in living] + [(i, "old") for i in old])
    assert records.parties == sorted([(i, "n") for i in living] + [(i, name) for i in old for name in "op"])


def test_a_full_refresh_forgets_what_no_file_deletes_any_more(court):
    records = court(delete_when=DELETE)
    records.put("1.xml", case(1, "one"))
    gone = records.put("2.xml", case(1, "", op="delete"))
    records.sync("cases")
    gone.unlink()
    records.sync("cases", full_refresh=True)
    assert records.cases == [(1, "one")]


def test_a_column_may_say_which_version_is_newer_and_orders_deletions_too(court):
    records = court(delete_when=DELETE, version="at", columns={"at": {"path": "@at", "type": "date"}})
    records.put("1.xml", case(1, "new", "n", at="2025-06-01"), case(2, "x", at="2025-01-01"))
    records.put("2.xml", case(1, "old", "o", at="2025-03-01"), case(2, "", at="2024-01-01", op="delete"))
    records.sync_all()
    assert (records.cases, records.parties) == ([(1, "new"), (2, "x")], [(1, "n")])
    records.put("0.xml", case(1, "newest", at="2025-07-01"), case(2, "", at="2025-02-01", op="delete"))
    records.sync_all()
    assert (records.cases, records.parties) == ([(1, "newest")], [])


def test_a_row_without_the_version_that_its_table_goes_by_is_set_apart(court):
    records = court(version="at", columns={"at": {"path": "@at", "type": "date"}})
    records.put("1.xml", case(1, "one", "p"), case(2, "two", at="2025-01-01"))
    assert str(records.sync("cases").status) == "done with rejects"
    assert records.cases == [(2, "two")]


def test_the_time_of_change_may_order_files(court):
    records = court(version="file", order="modified")
    touch(records.put("a.xml", case(1, "late", "l")), 200)
    touch(records.put("b.xml", case(1, "early", "e")), 100)
    records.sync_all()
    assert (records.cases, records.parties) == ([(1, "late")], [(1, "l")])
    touch(records.folder / "b.xml", 300)
    records.sync_all()
    assert (records.cases, records.parties) == ([(1, "early")], [(1, "e")])


def test_a_column_of_csv_marks_deletions_as_well(feed):
    orders = feed(primary_key=["id"], delete_when={"column": "op", "value": ["D", "X"]})
    orders.put("1.csv", "id,name,op\n1,one,U\n2,two,U\n3,three,U\n")
    orders.put("2.csv", "id,name,op\n1,,D\n3,,X\n")
    orders.sync()
    assert orders.rows("id", "name") == [(2, "two")]
    assert orders.rows("_gone") == [(None,)], "rows that stay are not marked"


def test_a_full_refresh_of_files_that_share_keys_has_each_once(feed):
    orders = feed(primary_key=["id"])
    orders.put("1.csv", "id,name\n1,one\n2,two\n")
    orders.put("2.csv", "id,name\n2,zwei\n")
    orders.sync()
    orders.sync(full_refresh=True)
    assert orders.rows("id", "name") == [(1, "one"), (2, "zwei")]


def test_many_deletions_are_kept_in_few_files_and_all_remembered(court):
    records = court(delete_when=DELETE)
    count = FILES_MAX + 3
    for number in range(count):
        records.put(f"5-{number:02}.xml", case(number, "", op="delete"))
        records.sync("cases")
    folder = records.folder.parent / "lake/_staging/s/cases"
    states = sorted((folder / "state").iterdir())
    assert len(states) == count
    records.put("1.xml", *(case(number, "old") for number in range(count)))
    records.sync("cases")
    assert records.cases == []
    assert len(state_from_json(states[-1].read_bytes()).tombstones) <= FILES_MAX


def test_what_would_bring_older_rows_back_is_refused(court):
    records = court(delete_when=DELETE)
    records.put("1.xml", case(1, "one"))
    records.sync("cases")
    with pytest.raises(ConfigError, match="bring back") as caught:
        reconcile(records.context("cases"))
    assert "backfill s/cases --file '*'" in str(caught.value)
    with pytest.raises(ConfigError, match="decide otherwise"):
        sync_table(records.context("cases", primary_key=("title",)))


CASES = {
    "name": "cases",
    "pattern": "*.xml",
    "record": "case",
    "primary_key": ["id"],
    "columns": {"id": {"path": "@id"}},
}
PARTIES = {
    "name": "parties",
    "pattern": "*.xml",
    "record": "case",
    "rows": "party",
    "parent": "cases",
    "columns": {"case_id": {"path": "/@id"}},
}


@pytest.mark.parametrize(
    ("cases", "parties", "said"),
    [
        ({"delete_when": {"value": "x"}}, {}, "no mapping of column or path"),
        ({"delete_when": {"column": "x"}, "primary_key": []}, {}, "without a primary_key"),
        ({"version": "title"}, {}, "declared type"),
        ({}, {"parent": "case"}, "no table of this connection"),
        ({}, {"columns": {"name": {"path": "@name"}}}, 'no column with the path "/@id"'),
        ({}, {"primary_key": ["case_id"]}, "takes this from it"),
        ({}, {"pattern": "b*.xml"}, "another pattern"),
        ({}, {"rows": ""}, "only child rows of XML"),
    ],
)
def test_a_declaration_that_cannot_be_is_told_in_a_sentence(cases, parties, said):
    with pytest.raises(ConfigError, match=said):
        FilesSource({"kind": "files", "files": [CASES | cases, PARTIES | parties]})


@pytest.mark.slow
def test_killed_at_any_durable_step_and_run_again_nothing_comes_back_and_no_child_is_doubled(court):
    records = court(delete_when=DELETE)
    old = records.put("1.xml", *(case(i, f"old {i}", "a", "b") for i in range(60)))
    records.sync_all()
    kills = 0
    for again in (2, 3, 4, 6, 8):
        newer = [case(i, f"{again}", "c") for i in range(0, 60, 3)]
        deleted = [case(i, "", op="delete") for i in range(1, 60, 3)]
        records.put("2.xml", *newer, *deleted)
        touch(old, again)
        for table in ("cases", "parties"):
            kills += records.killed(table, again)
            records.sync(table)
        assert records.cases == sorted(
            [(i, f"{again}") for i in range(0, 60, 3)] + [(i, f"old {i}") for i in range(2, 60, 3)]
        )
        both = [(i, "c") for i in range(0, 60, 3)] + [(i, name) for i in range(2, 60, 3) for name in "ab"]
        assert records.parties == sorted(both)
    assert kills >= 8, "most steps were met"
