"""The contract of kind `rest` as tests that the test class of each API inherits.

An API gives `api`: a running local server that behaves like it, and what is needed to ask it for one table.
"""

from __future__ import annotations

import pytest

from import_platform.sources.rest.contract.checks import (
    CHECKS,
    Api,
    Check,
    NotApplicable,
    ids,
    read,
    request_for,
    tokens,
)

__all__ = ["Api", "RestContract", "ids", "read", "request_for", "tokens"]

_SLOW = {"a_rate_limit_is_waited_for"}  # waits for real


class RestContract:
    """`untried` names the checks that say nothing about an API; every other one is tried."""

    untried: frozenset[str] = frozenset()

    @pytest.mark.parametrize(
        "check",
        [
            pytest.param(check, id=name, marks=[pytest.mark.slow] if name in _SLOW else [])
            for name, check in CHECKS.items()
        ],
    )
    def test_contract(self, api: Api, check: Check) -> None:
        if check.__name__ in self.untried:
            with pytest.raises(NotApplicable):
                check(api)
        else:
            check(api)
