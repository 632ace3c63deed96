"""The leaves of a table against their limit, as a picture for the asset's page: an SVG of a few kilobytes."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from import_platform.core.budget import format_bytes
from import_platform.core.leaf_chart import Bar, Sizes, bars
from import_platform.core.table import PartitionSpec

BARS_MAX = 24
"""Every sync's event carries the picture: 24 bars are under 5 KB, whatever the number of leaves."""
ROW, LABEL, TRACK, FIGURES = 16, 120, 320, 150
GREEN, YELLOW, RED, GREY = "#2e8b57", "#d9a400", "#d64545", "#8a8f98"
"""They are told apart on light and dark pages."""
CLOSE_TO_LIMIT = 0.8
NAME_CHARS = 18


def leaf_plot(leaves: Mapping[str, Sizes], partition: PartitionSpec, *, limit_bytes: int) -> str:
    """Markdown: one picture. "" for a table without leaves."""
    if not leaves:
        return ""
    shown = bars(leaves, partition, bars_max=BARS_MAX)
    picture = base64.b64encode(_svg(shown, limit_bytes).encode()).decode()
    return f"![{len(leaves)} leaves against {format_bytes(limit_bytes)}](data:image/svg+xml;base64,{picture})"


def _svg(shown: Sequence[Bar], limit_bytes: int) -> str:
    largest = max(bar.largest_bytes for bar in shown)
    scale = TRACK / max(limit_bytes, largest, 1)
    height, end = ROW * (len(shown) + 1), LABEL + round(limit_bytes * scale)
    look = f'width="{LABEL + TRACK + FIGURES}" height="{height}" font-family="sans-serif" font-size="11" fill="{GREY}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {look}>']
    for colour in (GREEN, YELLOW, RED):
        boxes = [
            f"M{LABEL} {ROW * at + 3}h{max(round(bar.largest_bytes * scale, 1), 1)}v{ROW - 5}H{LABEL}z"
            for at, bar in enumerate(shown)
            if _colour(bar.largest_bytes, limit_bytes) == colour
        ]
        parts += [f'<path fill="{colour}" d="{"".join(boxes)}"/>'] if boxes else []
    for at, bar in enumerate(shown):
        y = ROW * at + ROW - 5
        parts.append(f'<text x="{LABEL - 6}" y="{y}" text-anchor="end">{escape(_name(bar))}</text>')
        parts.append(f'<text x="{LABEL + TRACK + 8}" y="{y}">{_figures(bar)}</text>')
    parts.append(f'<path stroke="{RED}" stroke-dasharray="3" d="M{end} 0V{height - ROW}"/>')
    limit = f"limit {format_bytes(limit_bytes)}, the largest leaf has {largest / max(limit_bytes, 1):.0%}"
    parts.append(f'<text x="{LABEL + TRACK}" y="{height - 4}" text-anchor="end">{limit}</text></svg>')
    return "".join(parts)


def _name(bar: Bar) -> str:
    return bar.name if len(bar.name) <= NAME_CHARS else f"{bar.name[: NAME_CHARS - 1]}…"


def _figures(bar: Bar) -> str:
    if bar.leaves == 1:
        return format_bytes(bar.bytes)
    return f"{format_bytes(bar.largest_bytes)}, largest of {bar.leaves:,}"


def _colour(size_bytes: int, limit_bytes: int) -> str:
    if size_bytes > limit_bytes:
        return RED
    return YELLOW if size_bytes >= limit_bytes * CLOSE_TO_LIMIT else GREEN
