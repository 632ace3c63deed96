"""Rejected rows of a table with versions: replayed they come back by their version, like any other row."""

import pytest

from import_platform.core.report import Status
from import_platform.io.ledger import count_rejected
from import_platform.pipeline.replay import replay_rejected
from import_platform.pipeline.sync import read_files_again
from tests.sources.files.conftest import case

DELETE = {"path": "@op", "value": "delete"}
NUMBER, TEXT = "bigint", "text"


@pytest.fixture
def typed(court):
    """`pages` of cases, and of parties, are numbers until `loosened`, so that a row with text there is set apart."""

    def made(**words):
        records = court(delete_when=DELETE, columns={"pages": {"path": "@pages", "type": NUMBER}}, **words)
        records.tables[1]["columns"]["age"] = {"path": "@age", "type": NUMBER}
        return records

    return made


def loosened(records):
    records.tables[0]["columns"]["pages"]["type"] = TEXT
    records.tables[1]["columns"]["age"]["type"] = TEXT


def replayed(records, table):
    report = replay_rejected(records.context(table))
    assert count_rejected(records.lake, "s", table) == report.rows_rejected
    return report


def party(number, *parties, **attributes):
    """A case whose parties are (name, age)."""
    said = "".join(f' {name}="{value}"' for name, value in attributes.items())
    inside = "".join(f'<party name="{name}" age="{age}"/>' for name, age in parties)
    return f'<case id="{number}"{said}><title>t</title>{inside}</case>'


def test_a_row_comes_back_once_its_column_takes_it_and_not_before(typed):
    records = typed()
    records.put("1.xml", case(1, "one", pages="many"), case(2, "two", pages="2"))
    records.sync("cases")
    assert records.cases == [(2, "two")]
    assert (replayed(records, "cases").status, records.cases) == (Status.UNCHANGED, [(2, "two")])
    loosened(records)
    assert replayed(records, "cases").rows_inserted == 1
    assert records.rows("cases", "id", "title", "pages") == [(1, "one", "many"), (2, "two", "2")]
    assert replayed(records, "cases").rows_read == 0


@pytest.mark.parametrize("order", ["name", "modified"])
def test_an_older_row_never_wins_and_a_deletion_is_not_undone(typed, order):
    records = typed(order=order)
    records.put("1.xml", case(1, "old", pages="x"), case(2, "old", pages="x"), case(3, "three", pages="x"))
    records.sync("cases")
    records.put("2.xml", case(1, "new"), case(2, "", op="delete"))
    records.sync("cases")
    loosened(records)
    report = replayed(records, "cases")
    assert (report.rows_inserted, report.rows_updated, report.rows_deleted, report.rows_rejected) == (1, 0, 0, 0)
    assert records.cases == [(1, "new"), (3, "three")]


def test_a_replayed_row_keeps_its_version_so_an_older_file_changes_nothing(typed):
    records = typed()
    records.put("2.xml", case(1, "later", pages="x"))
    records.sync("cases")
    records.put("1.xml", case(1, "earlier"))
    records.sync("cases")
    assert records.cases == [(1, "earlier")]
    loosened(records)
    replayed(records, "cases")
    assert records.cases == [(1, "later")]
    read_files_again(records.context("cases"), ["*/1.xml"])
    assert records.cases == [(1, "later")]


def test_of_two_rejected_versions_the_later_one_comes_back(typed):
    records = typed()
    records.put("1.xml", case(1, "one", pages="x"))
    records.put("2.xml", case(1, "two", pages="y"))
    records.sync("cases")
    loosened(records)
    replayed(records, "cases")
    assert records.cases == [(1, "two")]


def test_a_rejected_deletion_deletes_once_it_fits_and_is_remembered(typed):
    records = typed()
    records.put("1.xml", case(1, "one"), case(2, "two"))
    records.put("2.xml", case(1, "", op="delete", pages="x"))
    records.sync("cases")
    assert (1, "one") in records.cases, "what was set apart deletes nothing"
    loosened(records)
    assert replayed(records, "cases").rows_deleted == 1
    read_files_again(records.context("cases"), ["*/1.xml"])
    assert records.cases == [(2, "two")]


def test_a_child_joins_the_others_of_its_record(typed):
    records = typed()
    records.put("1.xml", party(1, ("a", 5), ("b", "old")), party(2, ("c", "old")))
    records.sync("parties")
    assert records.parties == [(1, "a")]
    loosened(records)
    replayed(records, "parties")
    assert records.parties == [(1, "a"), (1, "b"), (2, "c")], "also where its record had no other child"


def test_a_child_of_a_record_that_came_again_or_was_deleted_does_not_come_back(typed):
    records = typed()
    records.put("1.xml", party(1, ("a", "x")), party(2, ("b", "x")), party(3, ("c", "x")))
    records.sync("parties")
    records.put("2.xml", party(1, ("A", 1)), party(2), party(3, ("C", "x"), op="delete"))
    records.sync("parties")
    loosened(records)
    assert replayed(records, "parties").rows_rejected == 0
    assert records.parties == [(1, "A")]


def test_a_row_without_the_version_that_its_table_goes_by_stays_set_apart(typed):
    records = typed(version="pages")
    records.put("1.xml", case(1, "one"), case(2, "two", pages="2"))
    records.sync("cases")
    assert replayed(records, "cases").rows_rejected == 1
    assert records.cases == [(2, "two")]
