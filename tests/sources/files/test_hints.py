"""A declaration that no file bears out is most likely a slip: the sync goes on and says so, with the nearest names."""

from pathlib import Path

import pytest

from import_platform.core.report import Status


def test_a_declared_column_that_no_header_has_is_told_with_the_nearest(feed):
    table = feed(columns={"id": "bigint", "amout": "decimal(12,2)"})
    table.put("1.csv", "id,Amount\n1,2.50\n")
    report = table.sync()
    assert report.status is Status.DONE
    [said] = report.warnings
    assert said == (
        "no file has the declared column amout, which stays empty (1 file looked at); there are Amount, id "
        "(did you mean Amount?)"
    )


def test_a_column_that_only_newer_files_have_is_no_slip(feed):
    table = feed(columns={"id": "bigint", "note": "text"})
    for number in range(5):
        table.put(f"{number}.csv", "id,note\n1,x\n" if number == 3 else "id\n1\n")
    assert table.sync().warnings == ()


@pytest.mark.parametrize(("words", "text"), [({"header": False}, "1,2\n"), ({}, "id,n\n1,2\n"), ({}, "id,n\n")])
def test_what_is_there_is_not_told(feed, words, text):
    table = feed(columns={"id": "bigint", "n": "bigint"}, **words)
    table.put("1.csv", text)
    assert table.sync().warnings == ()


LIST = "<list><item id='1'><name>a</name></item></list>"


def warned(feed, text, **words):
    table = feed("*.xml", columns={"id": {"path": "@id", "type": "bigint"}}, **words)
    table.put("1.xml", text)
    report = table.sync()
    assert report.rows_read == 0
    return report.warnings


def test_a_record_that_no_document_has_is_told_with_the_elements_there_are(feed):
    assert warned(feed, LIST, record="itm") == (
        "no file has a record itm (1 file looked at); there are the elements list, item, name (did you mean item?)",
    )


def test_a_record_of_another_namespace_is_told(feed):
    text = LIST.replace("<list>", "<list xmlns='urn:example:x'>")
    [said] = warned(feed, text, record="item")
    assert said.startswith("no file has a record item (1 file looked at); there are elements item in the namespace urn")


@pytest.mark.parametrize("text", ["<list/>", "<list></list>", "<list><item id='1' /><broken</list>"])
def test_an_empty_or_broken_list_is_no_slip(feed, text):
    table = feed("*.xml", record="item", columns={"id": {"path": "@id", "type": "bigint"}})
    table.put("1.xml", text)
    assert table.sync().warnings == ()


def test_child_rows_that_no_record_has_are_no_slip(feed):
    words = {"rows": "party", "columns": {"name": {"path": "@name", "type": "text"}}}
    table = feed("*.xml", record="item", **words)
    table.put("1.xml", LIST)
    assert table.sync().warnings == ()


def test_entities_are_not_expanded_to_find_names(feed):
    secret = Path(feed("x").folder / "secret.txt")
    secret.write_text("<stolen/>")
    text = f"<!DOCTYPE l [<!ENTITY e SYSTEM 'file://{secret}'>]><l><a>&e;</a></l>"
    table = feed("*.xml", record="item", columns={"id": {"path": "@id", "type": "bigint"}})
    table.put("1.xml", text)
    assert "stolen" not in str(table.sync().warnings)
