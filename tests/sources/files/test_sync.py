"""Files into a lake by real syncs."""

import gzip
import os
import zipfile

import polars as pl
import pytest


def test_each_file_is_read_once_and_a_late_older_one_is_not_missed(feed):
    orders = feed()
    orders.put("b.csv", "id,name\n1,one\n2,two\n")
    assert orders.sync().rows_inserted == 2
    assert orders.sync().rows_read == 0
    old = orders.put("a.csv", "id,name\n3,three\n")
    os.utime(old, (1, 1))
    again = orders.sync()
    assert (again.rows_read, again.rows_inserted) == (1, 1)
    assert orders.rows("id", "name") == [(1, "one"), (2, "two"), (3, "three")]


def test_a_changed_file_replaces_its_rows_and_takes_those_away_that_it_lost(feed):
    orders = feed()
    orders.put("a.csv", "id,name\n1,one\n2,two\n3,three\n")
    orders.put("b.csv", "id,name\n9,nine\n")
    orders.sync()
    orders.put("a.csv", "id,name\n1,uno\n2,two\n")
    assert orders.sync().rows_deleted == 1
    assert orders.rows("id", "name") == [(1, "uno"), (2, "two"), (9, "nine")]


def test_rows_of_a_later_file_replace_those_of_the_same_key(feed):
    orders = feed(primary_key=["id"])
    orders.put("1.csv", "id,name\n1,one\n2,two\n")
    orders.put("2.csv", "id,name\n2,zwei\n")
    orders.sync()
    assert orders.rows("id", "name") == [(1, "one"), (2, "zwei")]


def test_a_full_refresh_reads_every_file_again(feed):
    orders = feed(primary_key=["id"])
    orders.put("1.csv", "id\n1\n2\n")
    orders.sync()
    assert orders.sync(full_refresh=True).rows_read == 2
    assert orders.sync().rows_read == 0


def test_columns_grow_and_widen_without_losing_what_was_spelled(feed):
    orders = feed()
    orders.put("1.csv", "id,code\n1,7\n")
    orders.sync()
    orders.put("2.csv", "id;code;more\n2;007;x\n")
    orders.sync()
    assert orders.rows("id", "code", "more") == [(1, "7", None), (2, "007", "x")]


def test_a_declared_type_wins_and_a_row_that_does_not_fit_is_kept_aside_with_its_place(feed):
    orders = feed(columns={"zip": "text", "amount": "decimal(10,2)"})
    orders.put("1.csv", "zip,amount\n1234,1.50\n5678,much\n9,2.25\nshort\n")
    report = orders.sync()
    assert (report.rows_inserted, report.rows_rejected) == (2, 2)
    assert [row[0] for row in orders.rows("zip")] == ["1234", "9"]
    assert {reason.split(":")[0] for reason in orders.rejected()["reason"]} == {"row 2", "row 4"}


@pytest.mark.parametrize("packing", ["gzip", "zip"])
def test_packed_files_are_read_as_streams(feed, packing):
    orders = feed("*.csv*")
    data = b"id,name\n" + b"".join(b"%d,n%d\n" % (i, i) for i in range(50_000))
    if packing == "gzip":
        orders.put("a.csv.gz", gzip.compress(data))
    else:
        with zipfile.ZipFile(orders.folder / "a.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("one.csv", data)
            archive.writestr("two.csv", b"id,name\n-1,minus\n")
    orders.words["format"] = "csv"
    assert orders.sync().rows_inserted == 50_000 + (packing == "zip")


def test_a_file_that_unpacks_to_too_much_or_is_cut_is_set_apart_and_the_others_pass(feed, monkeypatch):
    monkeypatch.setattr("import_platform.sources.files.opened.EXPANSION_BYTES_FREE", 1 << 20)
    orders = feed("*", format="csv", max_expansion=1)
    orders.put("bomb.gz", gzip.compress(b"id,name\n" + b"1,x\n" * 1_000_000, 9))
    orders.put("cut.gz", gzip.compress(b"id,name\n1,x\n" + os.urandom(9000).hex().encode())[:-400])
    orders.put("good.csv", "id,name\n5,five\n")
    orders.sync()
    assert set(orders.rejected()["row"]) == {None}
    assert (5, "five") in orders.rows("id", "name")


def test_lines_of_json_and_arrays_of_it_become_rows(feed):
    lines = feed("*.ndjson")
    lines.put("a.ndjson", '{"id": 1, "tags": ["x"]}\nnonsense\n{"id": 12345678901234567890}\n')
    assert lines.sync().rows_rejected == 1
    assert [str(row[0]) for row in lines.rows("id")] == ["1", "12345678901234567890"]


def test_an_array_of_json_is_streamed_from_the_path_of_its_record(feed):
    array = feed("*.json", record="data.items", columns={"price": "decimal(20,4)"})
    array.put("a.json", '{"data": {"items": [{"id": 1, "price": 1234567890123456.1234}, {"id": 2, "price": null}]}}')
    array.sync()
    assert [str(row[0]) for row in array.rows("price")] == ["1234567890123456.1234", "None"]


def test_parquet_keeps_its_types(feed):
    table = feed("*.parquet")
    frame = pl.DataFrame({"id": [1, 2], "tags": [["a"], None], "at": pl.Series(["2025-01-01", None]).str.to_date()})
    frame.write_parquet(table.folder / "a.parquet")
    table.put("b.parquet", b"no parquet")
    report = table.sync()
    assert (report.rows_inserted, report.rows_rejected) == (2, 1)
    assert table.rows("id", "tags")[0] == (1, '["a"]')
