import pytest

from import_platform.core.imported import TablePatterns, imported_tables
from import_platform.core.table import DeclaredTable, SyncMode

FOUND = ["orders", "order_lines", "tmp_orders", "audit__log"]


def names(declared, patterns):
    return [table.name for table in imported_tables(declared, patterns, FOUND)]


@pytest.mark.parametrize(
    ("include", "exclude", "left"),
    [
        (("*",), (), FOUND),
        (("order*",), (), ["orders", "order_lines"]),
        (("*orders", "audit__*"), ("tmp_*",), ["orders", "audit__log"]),
        (("*",), ("*",), []),
        (("ORDERS",), (), []),
    ],
)
def test_an_exclusion_wins(include, exclude, left):
    assert names(None, TablePatterns(include, exclude)) == left


def test_without_patterns_only_declared_tables_are_imported():
    assert names([DeclaredTable("orders")], None) == ["orders"]


def test_a_declared_table_keeps_its_settings_and_comes_whatever_the_patterns_say():
    declared = DeclaredTable("tmp_orders", sync=SyncMode.FULL_REFRESH)
    tables = imported_tables([declared, DeclaredTable("gone")], TablePatterns(exclude=("tmp_*",)), FOUND)
    assert tables[0] is declared
    assert [table.name for table in tables] == ["tmp_orders", "gone", "orders", "order_lines", "audit__log"]
