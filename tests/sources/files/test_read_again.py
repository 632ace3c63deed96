"""Files read again on request, in any order: lost rows come back, older and deleted ones do not."""

import pytest
from deltalake import DeltaTable

from import_platform.core.report import Status
from import_platform.core.table import SyncMode
from import_platform.errors import ConfigError
from import_platform.pipeline.context import open_table
from import_platform.pipeline.sync import backfill_table, read_files_again
from tests.sources.files.conftest import case

DELETE = {"path": "@op", "value": "delete"}


def lose(lake, table, where):
    """As a person might, by mistake."""
    DeltaTable(lake.table_uri("s", table)).delete(where)


def again(records, table, *names):
    return read_files_again(records.context(table), names)


def state(records, table):
    opened = open_table(records.context(table))
    return opened.staging.state(opened.snapshot.transaction)


@pytest.fixture
def fed(court):
    """Case 1 has a later version with other parties, case 2 is deleted, cases 3 and 4 are of one file each."""
    records = court(delete_when=DELETE)
    records.put("1.xml", case(1, "old", "a", "b"), case(2, "two", "c"), case(3, "three", "d"))
    records.put("2.xml", case(1, "new", "e"), case(2, "", op="delete"), case(4, "four", "f"))
    records.sync_all()
    return records


CASES = [(1, "new"), (3, "three"), (4, "four")]
PARTIES = [(1, "e"), (3, "d"), (4, "f")]


@pytest.mark.parametrize("names", [["*"], ["*/1.xml"], ["*/2.xml"], ["*/2.xml", "*/1.xml"]])
def test_whichever_file_is_read_again_older_and_deleted_rows_stay_away(fed, names):
    before = [(state(fed, table).cursor, state(fed, table).files) for table in ("cases", "parties")]
    for table in ("cases", "parties"):
        assert again(fed, table, *names).rows_read
    assert (fed.cases, fed.parties) == (CASES, PARTIES)
    assert [(state(fed, table).cursor, state(fed, table).files) for table in ("cases", "parties")] == before
    assert fed.sync("cases").rows_read == 0


def test_rows_that_the_lake_has_lost_come_back_from_their_file_alone(fed):
    lose(fed.lake, "cases", "id IN (1, 3)")
    lose(fed.lake, "parties", "case_id = 3")
    again(fed, "cases", "*/1.xml")
    again(fed, "parties", "*/1.xml")
    assert (3, "three") in fed.cases
    assert fed.parties == PARTIES
    again(fed, "cases", "*")
    assert fed.cases == CASES, "of all files the latest version comes back"


def test_a_backfill_of_a_partition_reads_all_files_and_brings_nothing_back_that_is_gone(fed):
    for table, key in (("cases", "id"), ("parties", "case_id")):
        [leaf] = open_table(fed.context(table)).snapshot.leaves
        lose(fed.lake, table, f"{key} IN (1, 3)")
        assert backfill_table(fed.context(table), leaf).status is Status.DONE
    assert (fed.cases, fed.parties) == (CASES, PARTIES)


def test_a_column_of_versions_decides_there_too(court):
    records = court(delete_when=DELETE, version="at", columns={"at": {"path": "@at", "type": "date"}})
    records.put("1.xml", case(1, "new", "n", at="2025-06-01"), case(2, "", at="2025-06-01", op="delete"))
    records.put("2.xml", case(1, "old", "o", at="2025-03-01"), case(2, "two", "p", at="2025-01-01"))
    records.sync_all()
    for table in ("cases", "parties"):
        again(records, table, "*/2.xml")
    assert (records.cases, records.parties) == ([(1, "new")], [(1, "n")])


def test_without_versions_the_later_file_wins_whatever_is_read_again(feed):
    orders = feed(primary_key=["id"])
    orders.put("1.csv", "id,name\n1,one\n2,two\n")
    orders.sync()
    orders.put("2.csv", "id,name\n1,uno\n")
    orders.sync()
    lose(orders.lake, "t", "id = 2")
    read_files_again(orders.context(), ["*/1.csv"])
    assert orders.rows("id", "name") == [(1, "uno"), (2, "two")]


def test_rows_without_a_key_are_not_doubled(feed):
    orders = feed()
    orders.put("1.csv", "id\n1\n2\n")
    orders.put("2.csv", "id\n1\n")
    orders.sync()
    lose(orders.lake, "t", "id = 2")
    read_files_again(orders.context(), ["*"])
    assert orders.rows("id") == [(1,), (1,), (2,)]
    assert orders.sync().rows_read == 0


def test_what_was_not_read_or_has_changed_since_is_left_to_the_next_sync(feed):
    orders = feed(primary_key=["id"])
    orders.put("1.csv", "id,name\n1,one\n")
    orders.sync()
    orders.put("1.csv", "id,name\n1,another\n")
    orders.put("2.csv", "id,name\n2,two\n")
    assert read_files_again(orders.context(), ["*"]).rows_read == 0
    assert orders.rows("id", "name") == [(1, "one")]
    assert orders.sync().rows_read == 2


@pytest.mark.parametrize(("names", "said"), [(["*/9.csv"], "no file of this name was read"), (["1.csv"], "1.csv"),
                                             (["https://files.example/9.csv?sig=s3cret"], "https://files.example/9.csv")])  # fmt: skip
def test_a_name_that_fits_no_file_is_told_with_those_that_were_read(feed, names, said):
    orders = feed(primary_key=["id"])
    path = orders.put("1.csv", "id,name\n1,one\n")
    orders.sync()
    with pytest.raises(ConfigError, match=said) as caught:
        read_files_again(orders.context(), names)
    assert str(path) in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_table_that_is_swapped_whole_is_refused_with_what_to_do(court):
    records = court()
    records.put("1.xml", case(1, "one"))
    records.sync("cases", full_refresh=True)
    with pytest.raises(ConfigError, match="--full-refresh"):
        read_files_again(records.context("cases", sync=SyncMode.FULL_REFRESH), ["*"])


@pytest.mark.slow
@pytest.mark.parametrize("table", ["cases", "parties"])
def test_killed_at_any_durable_step_and_asked_again_the_table_is_whole(fed, table):
    wanted = {"cases": CASES, "parties": PARTIES}[table]
    kills = 0
    for step in (1, 2, 3, 4, 5, 6):
        lose(fed.lake, table, "true")
        kills += fed.killed(table, step, again=True)
        assert fed.sync(table).rows_read == 0, "a sync goes by what was read"
        again(fed, table, "*")
        assert (fed.cases if table == "cases" else fed.parties) == wanted
    assert kills >= 4, "most steps were met"


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 3, 5])
def test_files_are_read_again_beside_a_sync_that_was_killed(fed, step):
    fed.put("3.xml", case(4, "", op="delete"), case(5, "five", "g"))
    for table in ("cases", "parties"):
        assert fed.killed(table, step)
        lose(fed.lake, table, "true")
        again(fed, table, "*")
        fed.sync(table)
        assert fed.sync(table).rows_read == 0
    assert fed.cases == [(1, "new"), (3, "three"), (5, "five")]
    assert fed.parties == [(1, "e"), (3, "d"), (5, "g")]
