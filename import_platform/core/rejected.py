"""Rows that cannot be stored as the column types say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class RejectedRow:
    """A row kept for people and for replay instead of being stored.

    `key` holds the primary key values as text; `row` the whole row as JSON text where it could be had, else None.
    """

    key: Mapping[str, str | None]
    column: str
    reason: str
    row: str | None
