"""The two pictures of bench/README.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

OURS = "#1b6ca8"
OTHERS = ("#e07a5f", "#f2a65a", "#c8553d", "#81b29a", "#b8b8c8", "#9aa5b1", "#6d597a")
DPI = 80


def bars(cases: Mapping[str, Mapping[str, tuple[float, float]]], path: Path, engines: Sequence[str]) -> None:
    """Seconds and peak megabytes of every engine (bars) in every case (groups); time on a logarithmic axis."""
    figure, axes = plt.subplots(2, 1, figsize=(11, 7), sharex=True)
    present = [e for e in engines if any(e in found for found in cases.values())]
    width = 0.85 / max(len(present), 1)
    for at, engine in enumerate(present):
        for axis, measure in zip(axes, (0, 1), strict=True):
            places = [
                (i + at * width, found[engine][measure]) for i, found in enumerate(cases.values()) if engine in found
            ]
            axis.bar(
                [x for x, _ in places], [y for _, y in places], width, label=engine, color=_colour(engine, present)
            )
    axes[0].set_ylabel("seconds")
    axes[1].set_ylabel("peak RSS, MB")
    axes[0].set_yscale("log")
    for axis in axes:
        axis.grid(axis="y", alpha=0.3)
    axes[1].set_xticks([i + 0.4 for i in range(len(cases))], list(cases))
    axes[0].legend(ncols=4, fontsize=8)
    _save(figure, path)


def growth(points: Mapping[str, Sequence[tuple[float, float, float]]], path: Path) -> None:
    """Seconds and peak megabytes over the size of the partition."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    present = [engine for engine, found in points.items() if found]
    for engine in present:
        found = sorted(points[engine])
        for axis, measure in zip(axes, (1, 2), strict=True):
            axis.plot(
                [p[0] for p in found],
                [p[measure] for p in found],
                marker="o",
                label=engine,
                color=_colour(engine, present),
            )
    for axis, label in zip(axes, ("seconds", "peak RSS, MB"), strict=True):
        axis.set_xlabel("partition at rest, MB")
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    if present:
        axes[0].legend(fontsize=8)
    _save(figure, path)


def _colour(engine: str, present: Sequence[str]) -> str:
    others = [e for e in present if e != "ours"]
    return OURS if engine == "ours" else OTHERS[others.index(engine) % len(OTHERS)]


def _save(figure: plt.Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
