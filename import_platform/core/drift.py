"""How the columns of a source differ from those of the sync before. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Drift:
    """Columns by name, in the order in which the source has them; `retyped` with both types."""

    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    retyped: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.new or self.gone or self.retyped)

    def __str__(self) -> str:
        told = (("new", self.new), ("gone", self.gone), ("changed", self.retyped))
        return "; ".join(f"{word}: {', '.join(names)}" for word, names in told if names)


def drift(before: Mapping[str, str], after: Mapping[str, str]) -> Drift:
    """Both map names to types. Nothing is known before a first sync, so nothing has changed then."""
    if not before or not after:
        return Drift()
    changed = [name for name in after if name in before and before[name] != after[name]]
    return Drift(
        tuple(f"{name} {after[name]}" for name in after if name not in before),
        tuple(name for name in before if name not in after),
        tuple(f"{name} {before[name]} to {after[name]}" for name in changed),
    )
