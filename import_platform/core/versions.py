"""Rows whose versions arrive in any order: which stay, whatever came first.

Pure: rows as frames with the key as c0, c1, .., the version as v0, v1, .. (most significant first, NULL least), `gone`
for those that say that their key was deleted, and ROW. The names are ours, because a source's may look like patterns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from import_platform.core.merge import ROW, repeated

GONE, EMPTY = "gone", "empty"


@dataclass(frozen=True)
class Versions:
    """Of all rows of one `key` those of the greatest version stay. `order` are the columns that make a version.

    With `is_set` the key names a parent: the rows of one version are its children, which replace those before as a
    whole; a row marked as gone only says that there is a version. Of `few` there are few different values.
    """

    key: tuple[str, ...]
    order: tuple[str, ...]
    is_set: bool = False
    few: tuple[str, ...] = ()

    @property
    def keys(self) -> list[str]:
        return [f"c{at}" for at in range(len(self.key))]

    @property
    def versions(self) -> list[str]:
        return [f"v{at}" for at in range(len(self.order))]

    @property
    def columns(self) -> list[str]:
        """What a version is read from."""
        return list(dict.fromkeys([*self.key, *self.order]))

    def newest(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The greatest version of each key, and whether it leaves no row (EMPTY)."""
        again = repeated(rows, self.keys)
        once = rows.filter(~again).select(*self.keys, *self.versions, pl.col(GONE).alias(EMPTY))
        each = rows.filter(again).group_by(self.keys + self.versions).agg(pl.col(GONE).all().alias(EMPTY))
        last = each.sort(self.versions, nulls_last=False).unique(self.keys, keep="last", maintain_order=True)
        return pl.concat([once, last.select(once.columns)])

    def superseded(self, rows: pl.DataFrame, newest: pl.DataFrame) -> pl.Series:
        """ROW of the rows that are of no version in `newest`."""
        return rows.join(newest, on=self.keys + self.versions, how="anti", nulls_equal=True)[ROW]

    def overtaken(self, newest: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
        """Keys of `newest` of which `known` has a later version."""
        both = known.join(newest, on=self.keys, how="inner", nulls_equal=True, suffix="_new")
        mine = [f"{name}_new" for name in self.versions]
        return both.filter(comes_after(self.versions, mine)).select(self.keys).unique()

    def without(self, newest: pl.DataFrame, keys: pl.DataFrame) -> pl.DataFrame:
        return newest.join(keys, on=self.keys, how="anti", nulls_equal=True)


def comes_after(left: Sequence[str], right: Sequence[str]) -> pl.Expr:
    """Whether one version comes after the other, column by column; null comes first."""
    found = pl.lit(value=False)
    for ours, theirs in zip(reversed(left), reversed(right), strict=True):
        a, b = pl.col(ours), pl.col(theirs)
        after = (a > b).fill_null(value=False) | (a.is_not_null() & b.is_null())
        found = after | (a.eq_missing(b) & found)
    return found
