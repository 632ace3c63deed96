from __future__ import annotations

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from import_platform.resources.naming import asset_key, op_name, partitions_def, pool


def test_ordinary_names_stay_readable():
    assert asset_key("shop", "orders") == dg.AssetKey(["shop", "orders"])
    assert partitions_def("shop", "orders").name == "shop/orders"
    assert pool("shop", "orders") == "delta/shop/orders"
    assert op_name("shop", "orders") == "shop__orders"


@given(st.sets(st.text(min_size=1, max_size=12), min_size=2, max_size=2))
def test_distinct_tables_have_distinct_names_everywhere(tables):
    first, second = tables
    for name in (asset_key, pool, op_name):
        assert name("shop", first) != name("shop", second)


@pytest.mark.parametrize(("one", "other"), [(("a", "b__c"), ("a__b", "c")), (("a", "x-y"), ("a", "x_y"))])
def test_names_do_not_run_together(one, other):
    assert op_name(*one) != op_name(*other)


@given(st.text(min_size=1, max_size=20))
def test_any_table_name_makes_a_valid_step_and_pool(table):
    @dg.op(name=op_name("shop", table), pool=pool("shop", table))
    def step():
        pass

    assert step.name.isascii()
    assert " " not in pool("shop", table)
