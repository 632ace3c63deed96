"""Escaped names: reversible, distinct, and harmless as a folder, an asset key part and a partition definition."""

from __future__ import annotations

import re
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from import_platform.core.names import escape, unescape
from import_platform.errors import ConfigError

seeded = settings(deadline=None, derandomize=True)

_names = st.one_of(st.text(), st.text("._-/\\ ~%aA0é\x00"), st.text(st.characters(categories=["Cs", "Lu", "Po"])))


@pytest.mark.parametrize(
    "name",
    [
        "orders",
        "public_orders",
        "auth__users",
        "Orders2",
        "sales-2024",
        "a",
        "0",
        "x_",
        "x-",
        "a" * 63,
    ],
)
def test_an_ordinary_name_stays_as_it_is(name: str) -> None:
    assert escape(name) == name
    assert unescape(name) == name


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("a b", "a.20b"),
        ("naïve", "na.C3.AFve"),
        ("a.b", "a.2Eb"),
        ("a/b", "a.2Fb"),
        ("_ops", "-.5Fops"),
        ("_staging", "-.5Fstaging"),
        ("_delta_log", "-.5Fdelta_log"),
        (".", "-.2E"),
        ("..", "-.2E.2E"),
        ("-x", "-.2Dx"),
        ("", "-"),
        ("/etc", "-.2Fetc"),
        ("日本", "-.E6.97.A5.E6.9C.AC"),
        ("a..b", "a.2E.2Eb"),
        ("c:\\x", "c.3A.5Cx"),
        ("a%2Fb", "a.252Fb"),
    ],
)
def test_other_names_are_escaped_like_this(name: str, part: str) -> None:
    assert escape(name) == part
    assert unescape(part) == name


@seeded
@given(_names)
def test_unescape_gives_the_name_back(name: str) -> None:
    assert unescape(escape(name)) == name


@seeded
@given(_names, _names)
def test_different_names_have_different_parts(a: str, b: str) -> None:
    assert (escape(a) == escape(b)) is (a == b)


@seeded
@given(_names)
def test_a_part_is_a_visible_folder_inside_its_parent(name: str) -> None:
    part = escape(name)
    assert re.fullmatch(r"[A-Za-z0-9-][A-Za-z0-9_.-]*", part)
    assert ".." not in part
    lake = Path("/lake/shop")
    assert (lake / part).resolve().parent == lake


@seeded
@given(st.one_of(st.text("._-2EF5aé/"), _names))
def test_only_what_escape_makes_is_unescaped(part: str) -> None:
    try:
        name = unescape(part)
    except ConfigError:
        return
    assert escape(name) == part


@pytest.mark.parametrize("part", ["", "..", "_ops", "-a", "--", "a/b", "a.2", "a.41", "a.2e", "a.FF", ".2E", "a b"])
def test_a_folder_the_platform_did_not_make_is_refused(part: str) -> None:
    with pytest.raises(ConfigError, match="not an escaped name"):
        unescape(part)


def test_dagster_takes_escaped_names_as_keys_partitions_pools_and_op_names() -> None:
    parts = [escape(name) for name in ("orders", "a b", "..", "_ops", "naïve", "select", "in", "", "a,b[c]|d:e\n")]
    assets = []
    for part in parts:
        partitions = dg.DynamicPartitionsDefinition(name=f"shop/{part}")

        @dg.asset(key=["shop", part], partitions_def=partitions, pool=f"delta/shop/{part}")
        def table() -> None: ...

        assets.append(table)
    definitions = dg.Definitions(assets=assets)
    dg.Definitions.validate_loadable(definitions)
    keys = definitions.resolve_asset_graph().get_all_asset_keys()
    assert {key.path[1] for key in keys} == set(parts)
    assert {dg.AssetKey.from_user_string(key.to_user_string()) for key in keys} == set(keys)
