import random
from collections import Counter

import numpy as np
import pytest

from import_platform.core.known import Known


def met(known, *hashes):
    return known.meet(np.array(hashes, dtype=np.uint64)).tolist()


def test_a_row_without_a_key_is_known_as_often_as_the_lake_has_it():
    known = Known([7, 7, 8], counted=True)
    assert met(known, 7, 9, 8, 7) == [True, False, True, True]
    assert met(known, 7, 8) == [False, False]


def test_a_key_is_known_for_good():
    known = Known([7], counted=False)
    assert met(known, 7, 7, 8) == [True, True, False]
    assert met(known, 7) == [True]


def test_what_a_killed_pass_met_is_met():
    assert met(Known([7, 7], counted=True, used=[7]), 7, 7) == [True, False]


def test_nothing_known_is_false():
    assert not Known([], counted=True)
    assert Known([2**64 - 1], counted=True)


@pytest.mark.parametrize("seed", range(10))
def test_batches_of_any_size_are_met_as_one(seed):
    rng = random.Random(seed)
    lake = [rng.randrange(5) for _ in range(20)]
    came = [rng.randrange(6) for _ in range(60)]
    known, kept, at = Known(lake, counted=True), [], 0
    while at < len(came):
        size = rng.randint(1, 15)
        part = came[at : at + size]
        kept += [h for h, is_known in zip(part, met(known, *part), strict=True) if not is_known]
        at += size
    assert Counter(kept) == Counter(came) - Counter(lake)
