"""The record of a row that was measured at its source and not fetched."""

from __future__ import annotations

from collections.abc import Mapping

from import_platform.core.budget import format_bytes
from import_platform.core.rejected import RejectedRow


def wide_row(sizes: Mapping[str, int], *, limit_bytes: int, key: Mapping[str, str | None]) -> RejectedRow:
    """`sizes` are the bytes of its columns, or of those that may be wide."""
    widest = sorted(sizes, key=lambda name: -sizes[name])[:5]
    listed = ", ".join(f"{name} {sizes[name]} B" for name in widest)
    found, limit = format_bytes(sum(sizes.values())), format_bytes(limit_bytes)
    reason = f"the row has {found} and at most {limit} are fetched ({listed})"
    return RejectedRow(key=key, column=widest[0], reason=reason, row=None)
