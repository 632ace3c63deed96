"""The platform's key hash: specified here once, because it is stored in the names of leaves and in key filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash  # noqa: F401  registers the `nchash` namespace on expressions

HASH_VERSION: Final = 1
"""Stored in a table's properties; any change of this module's definition makes a new version."""

_NULL_HASH: Final = 0x9E3779B97F4A7C15
_GOLDEN: Final = 0x9E3779B97F4A7C15


def key_hashes(frame: pl.DataFrame, columns: Sequence[str]) -> npt.NDArray[np.uint64]:
    """One well-mixed 64-bit hash per row over `columns` in the order given."""
    result: npt.NDArray[np.uint64] | None = None
    for name in columns:
        text = pl.col(name).cast(pl.String)
        hashed = frame.select(text.nchash.xxh3_64().fill_null(_NULL_HASH)).to_series().to_numpy()  # type: ignore[attr-defined]
        result = hashed.copy() if result is None else _mixed(result) ^ hashed
    return np.zeros(frame.height, np.uint64) if result is None else result


def _mixed(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    h = hashes + np.uint64(_GOLDEN)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))
