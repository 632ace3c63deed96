"""Which rows at the last cursor value are in the lake already, told by their hashes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]


class Known:
    """Hashes of rows in the lake. With `counted` a hash is known as often as the lake has it, because rows without a
    key may be there twice; `used` are those that a killed pass has met before.
    """

    def __init__(self, tail: Iterable[int], *, counted: bool, used: Iterable[int] = ()) -> None:
        self._left = Counter(tail)
        self._counted = counted
        if counted:
            self._left.subtract(used)

    def __bool__(self) -> bool:
        return bool(self._left)

    def meet(self, hashes: Hashes) -> npt.NDArray[Any]:
        """True for rows that the lake has; each is met once where they are counted."""
        values, which, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        left = np.array([max(self._left.get(int(value), 0), 0) for value in values], dtype=np.int64)
        if not self._counted:
            return left[which] > 0
        order = np.argsort(which, kind="stable")
        first = np.repeat(np.cumsum(counts) - counts, counts)
        rank = np.empty(len(hashes), dtype=np.int64)
        rank[order] = np.arange(len(hashes)) - first
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            if value in self._left:
                self._left[value] -= count
        return rank < left[which]
