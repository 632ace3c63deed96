"""Those rows of a flush that go to some of the leaves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from import_platform.core.budget import MemoryBudget
from import_platform.core.fan_out import Share
from import_platform.core.identity import Identity
from import_platform.core.merge import Mask
from import_platform.pipeline.growth import Layout
from import_platform.pipeline.incoming import Placing, Rows


@dataclass(frozen=True)
class PartOfRows:
    """All rows of a flush still, because keys are compared with all; only their share counts as what is to be held."""

    rows: Rows
    decoded_bytes: int

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        return self.rows.batches(columns)


@dataclass(frozen=True)
class LeafShare:
    """A share of the leaves, told for the layout `leaves` of one version of the table."""

    share: Share
    leaves: frozenset[str]

    def cut(self, rows: Rows, schema: pa.Schema, identity: Identity, budget: MemoryBudget) -> tuple[PartOfRows, Mask]:
        """The rows, with a mark for each that goes to one of these leaves. Reads what places a row. A byte per row."""
        placing = Placing(rows, schema, identity, budget)
        marks = [
            self.share.of(names).to_numpy()
            for _, names in placing.batches(Layout(self.leaves), None, only_placing=True)
        ]
        mine = np.concatenate([np.empty(0, dtype=bool), *marks])
        return PartOfRows(rows, int(rows.decoded_bytes * mine.sum() / max(mine.size, 1))), mine


def both(keep: Mask | None, mine: Mask | None) -> Mask | None:
    """Rows that both marks have; None marks all."""
    if keep is None or mine is None:
        return mine if keep is None else keep
    return np.asarray(keep & mine)
