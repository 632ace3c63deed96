from __future__ import annotations

import pytest

from import_platform.errors import ConfigError
from import_platform.jobs.selection import select
from tests.dagster_project import SHOP, WHOLE_SHOP


def _selected(project, *words):
    return [(part.source.name, part.tables) for part in select(project.sources(), words)]


@pytest.mark.parametrize(
    ("words", "selected"),
    [
        ((), [("crm", None), ("shop", None)]),
        (("shop",), [("shop", None)]),
        (("shop/orders", "crm"), [("shop", ("orders",)), ("crm", None)]),
        (("shop/customers", "shop/orders", "shop/customers"), [("shop", ("customers", "orders"))]),
        (("shop/orders", "shop"), [("shop", None)]),
        (("shop", "shop/orders"), [("shop", None)]),
    ],
)
def test_words_select_tables_in_the_order_of_first_mention(project, words, selected):
    project.declare(SHOP.replace("name: shop", "name: crm"), "crm")
    assert _selected(project, *words) == selected


def test_any_table_may_exist_in_a_source_that_was_never_discovered(project):
    project.declare(WHOLE_SHOP)
    assert _selected(project, "shop/whatever") == [("shop", ("whatever",))]


@pytest.mark.parametrize("word", ["", "/", "shop/", "nosuch/orders", "shop/orders/x"])
def test_a_word_that_names_nothing_is_refused(project, word):
    with pytest.raises(ConfigError):
        _selected(project, word)
