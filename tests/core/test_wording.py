"""Counts, types and names as sentences spell them."""

from __future__ import annotations

import pyarrow as pa
import pytest

from import_platform.core.wording import close_names, counted, nearest, type_text


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (0, "row", "0 rows"),
        (1, "row", "1 row"),
        (1200, "leaf", "1,200 leaves"),
        (1, "rejected row", "1 rejected row"),
        (2, "rejected row", "2 rejected rows"),
    ],
)
def test_a_count_agrees_with_its_noun(number, noun, said):
    assert counted(number, noun) == said


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        (pa.decimal128(12, 2), "decimal(12,2)"),
        (pa.int64(), "bigint"),
        (pa.timestamp("us", "UTC"), "timestamp"),
        (pa.binary(), "binary"),
    ],
)
def test_a_type_is_spelled_as_a_declaration_spells_it(dtype, said):
    assert type_text(dtype) == said


def test_near_names_are_found_whatever_their_case_and_keep_their_own():
    assert close_names("ordrs", ["Customers", "Orders"]) == ["Orders"]
    assert close_names("xyz", ["Customers", "Orders"]) == []


def test_a_name_near_none_is_told_which_there_are():
    assert nearest("amuont", ["amount", "id"], none="The table has") == "Did you mean amount?"
    assert nearest("xyz", ["amount", "id"], none="The table has") == "The table has: amount, id."
    assert nearest("xyz", ["a", "b", "c"], none="The table has", shown=2) == "The table has: a, b."
    assert nearest("xyz", [], none="The table has") == "The table has: none."
