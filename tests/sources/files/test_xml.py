"""Records of XML as rows, and what is refused."""

import io

import pytest

from import_platform.sources.files.declaration import parse
from import_platform.sources.files.opened import FileDamaged, Part
from import_platform.sources.files.piece import Reading
from import_platform.sources.files.xml_rows import read_xml

ROOT = b'<c:cases xmlns:c="urn:c">%s</c:cases>'
TWO = b'<c:case id="1"><c:t>a</c:t><c:p k="1"/><c:p k="2"/></c:case><c:case id="2"><c:t>b &amp; c</c:t></c:case>'


def read(xml, *, begin=None, limit_bytes=1 << 20, **words):
    said = {"name": "t", "pattern": "x.xml", "record": "c:case", "namespaces": {"c": "urn:c"}, **words}
    table = parse({"files": [said]})["t"]
    pieces, damage = [], None
    try:
        pieces.extend(
            read_xml(Reading(table, Part("x", lambda: io.BytesIO(xml), True), begin or {}, limit_bytes, 1 << 20))
        )
    except FileDamaged as error:
        damage = str(error)
    rows = [row for piece in pieces for row in piece.batch.to_pylist()]
    numbers = [int(n) for piece in pieces for n in piece.numbers]
    return rows, numbers, [bad.row for piece in pieces for bad in piece.bad], damage


def test_attributes_and_elements_are_columns_and_repeated_ones_json():
    rows, numbers, bad, damage = read(ROOT % TWO)
    assert rows == [{"id": "1", "t": "a", "p": '[{"@k":"1"},{"@k":"2"}]'}, {"id": "2", "t": "b & c", "p": None}]
    assert (numbers, bad, damage) == ([1, 2], [], None)


def test_child_rows_reach_up_to_their_record():
    rows, numbers, _, _ = read(ROOT % TWO, rows="c:p", columns={"case": {"path": "/@id"}, "k": {"path": "@k"}})
    assert rows == [{"case": "1", "k": "1"}, {"case": "1", "k": "2"}]
    assert numbers == [1, 1]


def test_a_path_to_several_elements_needs_a_list():
    declared = {"id": {"path": "@id"}, "k": {"path": "c:p/@k"}}
    assert read(ROOT % TWO, columns=declared)[0] == [{"id": "2", "k": None}]
    assert read(ROOT % TWO, columns=declared)[2] == [1]
    listed = {**declared, "k": {"path": "c:p/@k", "list": True}}
    assert read(ROOT % TWO, columns=listed)[0] == [{"id": "1", "k": '["1","2"]'}, {"id": "2", "k": None}]


@pytest.mark.parametrize("broken", [b"a & b", b"\x01", b"\xff", b"<c:x>a</c:y>", b"&nothing;"])
def test_a_record_that_does_not_parse_is_set_apart_and_the_file_goes_on(broken):
    many = b"".join(b'<c:case id="%d">x</c:case>' % i for i in range(3, 50))
    xml = ROOT % (b'<c:case id="1">x</c:case><c:case id="2">%s</c:case>' % broken + many)
    rows, numbers, bad, damage = read(xml)
    assert bad == [2]
    assert damage is None
    assert numbers == [1, *range(3, 50)]
    assert [row["id"] for row in rows] == [str(n) for n in numbers]


@pytest.mark.parametrize("entity", [b'a "x"', b'a SYSTEM "file:///etc/hostname"'])
def test_a_document_that_declares_entities_is_refused(entity):
    xml = b"<!DOCTYPE c:cases [<!ENTITY %s>]>" % entity + ROOT % b'<c:case id="1">&a;</c:case>'
    assert read(xml) == ([], [], [], "the document declares entities, which are refused")


def test_a_file_that_ends_too_early_keeps_its_whole_records_and_says_so():
    _, numbers, _, damage = read((ROOT % TWO)[:-20] + b'<c:case id="3">')
    assert numbers == [1]
    assert damage is not None


def test_reading_goes_on_behind_the_records_that_are_done():
    many = b"".join(b'<c:case id="%d">x</c:case>' % i for i in range(1, 2000))
    assert read(ROOT % many, begin={"row": 1990}, limit_bytes=64)[1] == list(range(1991, 2000))
