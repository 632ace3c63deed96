"""Every text is one name or one literal of PostgreSQL; a server reads them back in tests/sources/test_postgres.py."""

from __future__ import annotations

import pytest

from import_platform.core.postgres_text import literal, quoted
from import_platform.errors import ConfigError


@pytest.mark.parametrize(("name", "sql"), [("a", '"a"'), ('a"b', '"a""b"'), ("Ü; --", '"Ü; --"'), ("a\\b", '"a\\b"')])
def test_a_name_is_one_identifier(name: str, sql: str) -> None:
    assert quoted(name) == sql


@pytest.mark.parametrize(
    ("text", "sql"), [("", "''"), ("a", "'a'"), ("a'b", "'a''b'"), ("a\\b", " E'a\\\\b'"), ("\\'", " E'\\\\'''")]
)
def test_a_text_is_one_literal(text: str, sql: str) -> None:
    assert literal(text) == sql


def test_nul_is_refused_before_it_reaches_a_server() -> None:
    for render in (literal, quoted):
        with pytest.raises(ConfigError, match="NUL"):
            render("a\x00b")
