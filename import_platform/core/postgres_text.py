"""Names and texts inside of SQL for PostgreSQL, as a source and as a target: quoted, whatever they are made of."""

from __future__ import annotations

from import_platform.errors import ConfigError


def quoted(name: str) -> str:
    """`name` as one SQL identifier."""
    _no_nul(name)
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as a string literal that means the same whatever `standard_conforming_strings` says."""
    _no_nul(text)
    plain = "'" + text.replace("'", "''") + "'"
    return " E" + plain.replace("\\", "\\\\") if "\\" in text else plain


def _no_nul(text: str) -> None:
    if "\x00" in text:
        raise ConfigError(
            "a name or value holds the character NUL, which PostgreSQL cannot store",
            remedy="Check the names in the declaration.",
        )
