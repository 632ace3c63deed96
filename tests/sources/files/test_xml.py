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


RICH = """<c:case id="{i}" e=""><c:t>t{i} &#233; &lt;</c:t>{second}<c:k>a"{i}</c:k><c:k/><c:k>é</c:k>
 <c:p k="1" no=""><c:n>  n </c:n><c:m/></c:p><c:p k="2"><c:n>{nested}</c:n><c:q a="1"/><c:q/></c:p></c:case>"""
PATHS = {
    "id": {"path": "@id"},
    "empty": {"path": "@e"},
    "missing": {"path": "@x"},
    "title": {"path": "c:t"},
    "words": {"path": "c:k", "list": True},
    "keys": {"path": "c:p/@k", "list": True},
    "first": {"path": "c:p/c:q/@a"},
    "all": {"path": "c:p/c:q/@a", "list": True},
    "gone": {"path": "c:none/c:n"},
}
CHILDREN = {
    "case": {"path": "/@id"},
    "title": {"path": "/c:t"},
    "k": {"path": "@k"},
    "no": {"path": "@no"},
    "n": {"path": "c:n"},
    "m": {"path": "c:m"},
    "all": {"path": "."},
}


def rich(nested="n", second="", mark=""):
    records = [RICH.format(i=i, nested=nested if i % 7 == 0 else "n", second=second) + mark for i in range(1, 60)]
    return ROOT % "".join(records).encode()


@pytest.mark.parametrize(("columns", "rows"), [(PATHS, ""), (CHILDREN, "c:p"), ({"n": {"path": "c:n/c:x"}}, "c:p")])
@pytest.mark.parametrize(
    "xml",
    [
        rich(),
        rich(nested="a<c:x>b</c:x>"),
        rich(second="<c:t>again</c:t>"),
        rich(nested="\ue5a2"),
        rich(nested=" "),
        rich(nested="\r\n\t"),
        rich(nested=" " * 20_000),
        rich(nested=" &#32;<c:x> </c:x> <c:x>b</c:x> "),
    ],
    ids=["leaves", "nested", "twice", "a mark", "a space", "white space", "much space", "space between elements"],
)
def test_the_sheet_takes_what_is_taken_value_by_value(monkeypatch, columns, rows, xml):
    said = {"columns": columns, **({"rows": rows} if rows else {})}
    quick = read(xml, **said)
    monkeypatch.setattr("import_platform.sources.files.xml_sheet.Sheet.text", lambda *_: None)
    assert read(xml, **said) == quick
    assert quick[0] or quick[2]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (" ", " "),
        ("\n \n", "\n \n"),
        ("&#32;", " "),
        (" <!-- c --> x", "  x"),
        (" <c:x> </c:x> <c:x>b</c:x> ", '{"x":[" ","b"]}'),
        ("a <c:x>b</c:x>", '{"x":"b","#text":"a "}'),
    ],
)
def test_white_space_in_a_value_is_kept(text, value):
    """Between elements it is none of a value, and in plain records the parser leaves it out."""
    record = f"<c:case>\n <c:t>{text}</c:t>\n</c:case>"
    assert read(ROOT % (record * 3).encode(), columns={"t": {"path": "c:t"}})[0] == [{"t": value}] * 3


def test_a_record_that_does_not_parse_keeps_its_text_bounded():
    wide = b"x" * 100_000
    xml = ROOT % (b'<c:case id="1">a & b</c:case><c:case id="2"><c:t>' + wide + b'</c:u></c:case><c:case id="3"/>')
    table = parse({"files": [{"name": "t", "pattern": "x.xml", "record": "c:case", "namespaces": {"c": "urn:c"}}]})["t"]
    pieces = list(read_xml(Reading(table, Part("x", lambda: io.BytesIO(xml), True), {}, 1 << 20, 1 << 20)))
    first, second = (bad for piece in pieces for bad in piece.bad)
    assert first.values == {"_unparsed": '<c:case id="1">a & b</c:case>'}
    assert len(second.values["_unparsed"]) < 20_000


def test_a_record_without_an_end_costs_no_other():
    xml = ROOT % b'<c:case id="1"><c:t>a</c:t><c:case id="2"></c:case><c:case id="3"></c:case>'
    rows, numbers, bad, _ = read(xml, columns={"id": {"path": "@id"}})
    assert [row["id"] for row in rows] == ["2", "3"]
    assert (numbers, bad) == ([2, 3], [1])


def test_comments_and_cdata_may_hold_the_tags_of_records():
    inside = b'<!-- </c:case><c:case id="9"> --><![CDATA[</c:case>]]>'
    xml = ROOT % (b'<c:case id="1">%s</c:case><!-- <c:case id="8"/> --><c:case id="2" note="a > b"/>' % inside)
    rows, numbers, bad, damage = read(xml, columns={"id": {"path": "@id"}, "text": {"path": "."}})
    assert rows == [{"id": "1", "text": "</c:case>"}, {"id": "2", "text": None}]
    assert (numbers, bad, damage) == ([1, 2], [], None)


def test_groups_around_records_and_their_namespaces_may_change():
    xml = b'<r xmlns:a="urn:c"><g><a:case id="1"/></g><g xmlns:b="urn:c"><b:case id="2"/></g><case xmlns="urn:c" id="3"/></r>'
    rows, numbers, bad, damage = read(xml, columns={"id": {"path": "@id"}})
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert (numbers, bad, damage) == ([1, 2, 3], [], None)


@pytest.mark.parametrize("encoding", ["iso-8859-1", "utf-16", "utf-8-sig"])
def test_a_document_is_read_in_the_encoding_that_it_says(encoding):
    said = "" if encoding == "utf-8-sig" else f' encoding="{encoding}"'
    xml = f'<?xml version="1.0"{said}?><r><case id="é"/></r>'.encode(encoding)
    rows, _, bad, damage = read(xml, record="case", columns={"id": {"path": "@id"}})
    assert (rows, bad, damage) == ([{"id": "é"}], [], None)
