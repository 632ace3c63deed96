"""SQL text for MySQL and MariaDB, built without running it: quoted names and safely rendered values.

Text is written as hexadecimal with its character set, which means the same under every sql_mode.
"""

from __future__ import annotations

from collections.abc import Sequence

from import_platform.errors import ConfigError
from import_platform.sources.clauses import where

MARK = "/* import_platform reads */"
"""Stands behind SELECT in every read, by which a ceiling tells our own readers from writers."""


def quote(name: str) -> str:
    """`name` as one identifier, whatever it is made of."""
    if "\x00" in name:
        raise ConfigError(
            "a name holds the character NUL, which MySQL cannot store", remedy="Check the names in the declaration."
        )
    return "`" + name.replace("`", "``") + "`"


def column_reference(name: str) -> str:
    """A column of the relation that every statement calls `t`."""
    return f"t.{quote(name)}"


def literal(text: str) -> str:
    """`text` as a literal of characters."""
    return f"_utf8mb4 X'{text.encode().hex()}'" if text else "_utf8mb4 ''"


def binary_literal(text: str) -> str:
    """The UTF-8 bytes of `text`, which compare by their bytes."""
    return hex_literal(text.encode().hex())


def hex_literal(digits: str) -> str:
    return f"CAST(X'{digits}' AS BINARY)" if digits else "CAST('' AS BINARY)"


def relation(schema: str, name: str) -> str:
    return f"{quote(schema)}.{quote(name)}"


def source(relation_sql: str, conditions: Sequence[str] = ()) -> str:
    """FROM and WHERE of a statement over one relation."""
    return f" FROM {relation_sql} AS t{where(conditions)}"


def after_key(expressions: Sequence[str], values: Sequence[str]) -> str:
    """Rows behind a key in its order. A row-value comparison would not use the index, so it is written out, with a
    plain bound of the first column in front."""
    if len(expressions) == 1:
        return f"{expressions[0]} > {values[0]}"
    behind = [
        " AND ".join([*(f"{e} = {v}" for e, v in list(zip(expressions, values, strict=True))[:n]), f"{e} > {v}"])
        for n, (e, v) in enumerate(zip(expressions, values, strict=True))
    ]
    return f"{expressions[0]} >= {values[0]} AND ({' OR '.join(f'({part})' for part in behind)})"
