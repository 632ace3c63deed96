"""Rejected rows of files are open until their file, or their key in another file, was read once more."""

import json

from import_platform.io.ledger import latest_rejected
from import_platform.pipeline.replay import replay_rejected
from import_platform.pipeline.sync import read_files_again


def still_open(table):
    found = latest_rejected(table.lake, "s", "t", limit=99)["key"]
    return sorted((json.loads(key)["_file"].rpartition("/")[2], json.loads(key)["_row"]) for key in found)


def test_a_file_that_is_mended_resolves_its_rows_and_no_others(feed):
    table = feed(columns={"qty": "bigint"})
    table.put("1.csv", "sku,qty\nA,1\nB,x\nC,1,2\n")
    table.put("2.csv", "sku,qty\nD,y\n")
    table.sync()
    assert still_open(table) == [("1.csv", "2"), ("1.csv", "3"), ("2.csv", "1")]
    table.put("1.csv", "sku,qty\nA,1\nB,22\nC,one\n")
    table.sync()
    assert still_open(table) == [("1.csv", "3"), ("2.csv", "1")]


def test_a_row_that_its_file_has_lost_is_not_replayed(feed):
    table = feed()
    table.words["columns"] = {"qty": "bigint"}
    table.put("1.csv", "sku,qty\nA,1\nB,x\n")
    table.sync()
    table.put("1.csv", "sku,qty\nAA,1\n")
    table.sync()
    assert still_open(table) == []
    replay_rejected(table.context())
    assert table.rows("sku") == [("AA",)]


def test_a_key_that_comes_in_another_file_resolves_its_row(feed):
    table = feed(primary_key=["id"], columns={"id": "bigint", "amount": "decimal(12,2)"})
    table.put("1.csv", "id,amount\n1,x\n2,y\n")
    table.sync()
    table.put("2.csv", "id,amount\n02,5.00\n")
    table.sync()
    assert still_open(table) == [("1.csv", "1")]


def test_an_older_version_of_a_key_resolves_nothing_and_a_newer_one_does(feed):
    table = feed(primary_key=["id"], version="at", columns={"id": "bigint", "at": "bigint", "n": "bigint"})
    table.put("1.csv", "id,at,n\n1,10,x\n2,10,x\n")
    table.sync()
    table.put("2.csv", "id,at,n\n1,9,1\n2,11,1\n")
    table.sync()
    assert still_open(table) == [("1.csv", "1")]


def test_a_file_that_is_read_again_as_it_was_is_listed_once(feed):
    table = feed(columns={"qty": "bigint"})
    table.put("1.csv", "sku,qty\nA,1\nB,x\n")
    table.sync()
    read_files_again(table.context(), ["*"])
    assert still_open(table) == [("1.csv", "2")]
