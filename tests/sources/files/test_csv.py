"""CSV that is cut short, whose quotes do not close, or whose columns are called like the table's own."""

import gzip
import json
import zipfile
import zlib

import polars as pl
import pyarrow as pa
import pytest

from import_platform.core.report import Status
from import_platform.sources.files.csv_rows import read_csv
from import_platform.sources.files.declaration import parse
from import_platform.sources.files.opened import Part
from import_platform.sources.files.piece import Reading

LINES = [b"%d,%s\n" % (number, str(number * 7919 % 99991).encode()) for number in range(60_000)]
DATA = b"id,code\n" + b"".join(LINES)
PATTERNS = {"gz": lambda data: gzip.compress(data, 1), "zst": lambda data: pa.compress(data, "zstd", asbytes=True)}


@pytest.mark.parametrize("ending", PATTERNS)
@pytest.mark.parametrize("part", [0.3, 0.5, 0.9])
def test_every_whole_line_of_a_packed_file_that_is_cut_is_stored_and_half_a_line_is_not(feed, ending, part):
    orders = feed(f"*.csv.{ending}")
    packed = PATTERNS[ending](DATA)
    orders.put(f"a.csv.{ending}", packed[: int(len(packed) * part)])
    report = orders.sync()
    stored = [row[0] for row in orders.rows("_row")]
    assert report.status is Status.DONE_WITH_REJECTS
    assert len(stored) >= len(LINES) * (part - 0.25)
    ids = sorted(orders.rows("id", "code"))
    assert [b"%d,%d\n" % row for row in ids] == LINES[: len(stored)]
    assert orders.rejected()["reason"].to_list() == ["the packed data is damaged or ends too early"]


def test_as_many_rows_of_a_cut_gzip_are_stored_as_can_be_unpacked(feed):
    packed = gzip.compress(DATA, 1)
    half = packed[: len(packed) // 2]
    orders = feed("*.csv.gz")
    orders.put("a.csv.gz", half)
    assert orders.sync().rows_inserted == zlib.decompressobj(31).decompress(half).count(b"\n") - 1


def test_rows_before_the_damage_in_a_member_of_a_zip_are_stored_and_other_members_pass(feed):
    orders = feed("*.csv.zip", format="csv")
    path = orders.folder / "a.csv.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one.csv", DATA)
        archive.writestr("two.csv", "id,code\n-1,1\n")
    packed = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("one.csv").compress_size // 2
    at = packed.index(b"PK\x01\x02") + 20
    packed[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(packed)
    orders.sync()
    begin = 30 + len("one.csv")
    readable = zlib.decompressobj(-15).decompress(bytes(packed[begin : begin + size]))
    assert [row[0] for row in sorted(orders.rows("id"))] == list(range(-1, readable.count(b"\n") - 1))
    assert orders.rejected()["reason"].to_list() == ["the packed data is damaged or ends too early"]


def test_rows_before_the_damage_in_packed_json_are_stored(feed):
    values = [{"id": number, "code": f"c{number * 7919 % 99991}"} for number in range(3000)]
    array = feed("*.json.gz")
    packed = gzip.compress(json.dumps(values).encode())
    array.put("a.json.gz", packed[: len(packed) // 2])
    array.sync()
    found = array.rows("id")
    assert sorted(found) == [(number,) for number in range(len(found))]
    assert len(found) > 500
    assert array.rejected().height == 1


def test_a_quote_that_never_closes_sets_its_record_apart_with_its_number_and_text(feed):
    orders = feed()
    orders.put("a.csv", 'a,b\n0,"two\nlines"\n1,"x\n2,y\n3,z\n')
    report = orders.sync()
    assert report.status is Status.DONE_WITH_REJECTS
    assert orders.rows("a", "b") == [(0, "two\nlines")]
    [(key, reason, row)] = orders.rejected().select("key", "reason", "row").rows()
    assert json.loads(key)["_row"] == "2"
    assert reason == "row 2: a quote that opens in the row is never closed"
    assert json.loads(row) == {"_unparsed": '1,"x\n2,y\n3,z\n'}


def test_of_a_long_record_whose_quote_never_closes_only_its_beginning_is_kept(feed):
    orders = feed()
    orders.put("a.csv", 'a,b\n0,"zero"\n1,"x\n' + "2,y\n" * 300_000)
    assert orders.sync().rows_rejected == 1
    assert orders.rows("a", "b") == [(0, "zero")]
    assert len(orders.rejected()["row"][0]) < 40_000


def test_a_quote_inside_of_a_value_is_a_sign_like_any_other(feed):
    orders = feed()
    orders.put("a.csv", 'a,b\n1,5" pipe\n2,"two\nlines"\n3,"a ""quote"""\n4,y')
    assert orders.sync().status is Status.DONE
    assert orders.rows("a", "b") == [(1, '5" pipe'), (2, "two\nlines"), (3, 'a "quote"'), (4, "y")]


def test_lines_that_a_missing_quote_swallows_are_set_apart_although_the_columns_fit(feed):
    orders = feed("*.csv")
    orders.put("a.csv", 'id,note\n0,zero\n1,"abc\n2,def\n3,"x"\n4,"d"\n')
    assert orders.sync().rows_inserted == 2
    assert orders.rows("_row", "id", "note") == [(1, 0, "zero"), (3, 4, "d")]
    [(key, reason, row)] = orders.rejected().select("key", "reason", "row").rows()
    assert json.loads(key)["_row"] == "2"
    said = "a quoted value runs over 3 lines and goes on behind its closing quote: a quote is missing"
    assert reason == f"row 2: {said}"
    assert json.loads(row) == {"_unparsed": '1,"abc\n2,def\n3,"x"'}


def test_each_of_several_such_rows_is_told_beside_rows_of_another_length(feed):
    orders = feed("*.csv")
    orders.put("a.csv", 'id,note\n1,"a\n2,"b"\n\n3,c,d\n4,"e\nf"\n5,"g\n6,"h"')
    orders.sync()
    assert orders.rows("_row", "id", "note") == [(3, 4, "e\nf")]
    found = orders.rejected().sort("row_number").select("key", "row").rows()
    assert [(json.loads(key)["_row"], json.loads(row)["_unparsed"]) for key, row in found] == [
        ("1", '1,"a\n2,"b"'),
        ("2", "3,c,d"),
        ("4", '5,"g\n6,"h"'),
    ]


def test_values_of_several_lines_and_text_behind_a_quote_in_one_line_stay_values(feed):
    orders = feed("*.csv")
    orders.put("a.csv", 'id,note\n1,"a\nb ""c"""\n2,"5"" inch" nail\n3,"d"\r\n')
    orders.sync()
    assert orders.rows("id", "note") == [(1, 'a\nb "c"'), (2, '5" inch nail'), (3, "d")]


def test_a_header_whose_quote_never_closes_is_told(feed):
    orders = feed()
    orders.put("a.csv", 'a,"b\n1,2\n')
    orders.put("b.csv", "a,b\n1,2\n")
    orders.sync()
    assert orders.rows("a", "b") == [(1, 2)]
    assert orders.rejected()["reason"].to_list() == ["a quote that opens in the header is never closed"]


@pytest.mark.parametrize("kind", ["csv", "ndjson", "json", "parquet"])
def test_columns_of_a_file_that_are_called_as_the_tables_own_are_kept_under_another_name(feed, kind):
    frame = pl.DataFrame({"id": [1], "_file": ["theirs"], "_row": ["x"], "_row_": ["y"], "_item": [5], "_gone": ["no"]})
    table = feed(f"*.{kind}")
    path = table.folder / f"a.{kind}"
    write = {"csv": frame.write_csv, "ndjson": frame.write_ndjson, "json": frame.write_json}
    write.get(kind, frame.write_parquet)(path)
    assert table.sync().status is Status.DONE
    assert table.rows("id", "_file_", "_row__", "_row_", "_item", "_gone_") == [(1, "theirs", "x", "y", 5, "no")]
    assert table.rows("_file", "_row") == [(str(path), 1)]


def test_elements_of_xml_that_are_called_as_the_tables_own_are_kept_under_another_name(feed):
    table = feed("*.xml", record="case")
    table.put("a.xml", "<r><case _file='theirs'><_row>x</_row></case></r>")
    assert table.sync().status is Status.DONE
    assert table.rows("_file_", "_row_", "_row") == [("theirs", "x", 1)]


def test_a_quoted_row_wider_than_memory_allows_is_set_apart_up_to_its_closing_quote(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'a,b\n1,"' + b"x,y\n" * 100_000 + b'"\n2,z\n')
    [table] = parse({"files": [{"name": "t", "pattern": str(path)}]}).values()
    reading = Reading(table, Part("a.csv", lambda: path.open("rb"), True), {}, 1 << 17, 1 << 17)
    pieces = list(read_csv(reading))
    assert [(bad.row, "wider" in bad.reason) for piece in pieces for bad in piece.bad] == [(1, True)]
    assert [row for piece in pieces for row in piece.batch.to_pylist()] == [{"a": "2", "b": "z"}]
