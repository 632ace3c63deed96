"""A variable that a declaration names is looked up when it is needed."""

from __future__ import annotations

import pytest

from import_platform.errors import ConfigError
from import_platform.resources.variables import optional_variable, required_variable


def test_a_variable_has_its_value_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("one", "two"):
        monkeypatch.setenv("SHOP_HOOK", value)
        assert required_variable("SHOP_HOOK") == optional_variable("SHOP_HOOK") == value


def test_an_empty_variable_is_a_value_where_one_is_required_and_none_where_it_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOP_HOOK", "")
    assert (required_variable("SHOP_HOOK"), optional_variable("SHOP_HOOK")) == ("", None)


def test_a_missing_variable_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_HOOK", raising=False)
    assert optional_variable("SHOP_HOOK") is None
    with pytest.raises(ConfigError, match="the variable SHOP_HOOK is not set") as raised:
        required_variable("SHOP_HOOK", {"OTHER": "x"})
    assert "Set SHOP_HOOK" in raised.value.remedy
