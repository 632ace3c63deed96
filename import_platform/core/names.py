"""Names of sources, schemas, tables and columns as single parts of paths, asset keys and partition definitions.

An escaped name uses `[A-Za-z0-9_.-]` only, is never empty, and begins with a letter, a digit or `-`: readers of Delta
tables hide what begins with `_` or `.`, and no part can be `.`, `..` or hold a slash. Ordinary names stay as they are.

    orders  ->  orders        sales-2024  ->  sales-2024      (letters, digits, `_` and `-` inside a name)
    a b     ->  a.20b         naïve       ->  na.C3.AFve      (others: `.` and two hex digits per byte of UTF-8)
    _ops    ->  -.5Fops       ..          ->  -.2E.2E         (a first character outside letters and digits)

Upper case is kept, so names that differ only in case need a case-sensitive file system.
"""

from __future__ import annotations

import re
from typing import Final

from import_platform.errors import ConfigError

_SPECIAL: Final = re.compile(r"\A[^A-Za-z0-9]|[^A-Za-z0-9_-]")
_ESCAPE: Final = re.compile(r"(?:\.[0-9A-F]{2})+")
_MARK: Final = "-"


def escape(name: str) -> str:
    """The name as one part of a path or key; different names give different parts, ordinary names themselves."""
    escaped = _SPECIAL.sub(lambda match: "".join(f".{byte:02X}" for byte in _utf8(match[0])), name)
    return escaped if escaped and escaped[0] != "." else _MARK + escaped


def unescape(part: str) -> str:
    """The name that `escape` made the part of.

    Raises:
        ConfigError: no name escapes to this (a folder that the platform did not make).
    """
    try:
        name = _ESCAPE.sub(lambda match: _text(match[0]), part.removeprefix(_MARK))
    except UnicodeDecodeError:
        name = None
    if name is None or escape(name) != part:
        raise ConfigError("not an escaped name", part=part[:100], remedy="Name the table as the source does.")
    return name


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(escapes: str) -> str:
    return bytes.fromhex(escapes.replace(".", "")).decode("utf-8", "surrogatepass")
