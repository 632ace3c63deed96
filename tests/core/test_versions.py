"""Which of many versions stays, whatever order they come in and however they are cut into flushes."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from import_platform.core.merge import ROW
from import_platform.core.versions import GONE, Versions

ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 3)),  # key
        st.one_of(st.none(), st.sampled_from(["a", "b", "c"])),  # version: file
        st.integers(0, 2),  # version: record
        st.booleans(),  # gone
    ),
    max_size=14,
)
ONE = Versions(("id",), ("file", "record"), few=("file",))
SET = Versions(("id",), ("file", "record"), is_set=True, few=("file",))
TYPES = {"c0": pl.Int64, "v0": pl.Categorical, "v1": pl.Int64, GONE: pl.Boolean}


def frame(rows):
    return pl.DataFrame(rows, schema=TYPES, orient="row").with_row_index(ROW)


def order(version):
    file, record = version
    return (file is not None, file or "", record)


def flushed(versions, lake, dead, rows):
    """The lake's rows and the deleted keys after one flush: what `pipeline.versioned` and a merge do, as sets."""
    staged = frame(rows)
    newest = versions.newest(staged)
    for known in (lake, dead):
        newest = versions.without(newest, versions.overtaken(newest, frame(known).drop(ROW, GONE)))
    superseded = set(versions.superseded(staged, newest))
    keys = set(newest["c0"])
    put = [row for at, row in enumerate(rows) if at not in superseded and not row[3]]
    empty = [(key, file, record, True) for key, file, record, is_empty in newest.rows() if is_empty]
    return [row for row in lake if row[0] not in keys] + put, dead + empty


def expected(rows):
    """By the definition: of each key the rows of its greatest version, unless they only say that it is gone."""
    left = set()
    for key in {row[0] for row in rows}:
        top = max((row[1:3] for row in rows if row[0] == key), key=order)
        left |= {(key, *top) for row in rows if row[:3] == (key, *top) and not row[3]}
    return left


def different(rows):
    """Versions of one key differ, as rows of one file do."""
    return list({row[:3]: row for row in rows}.values())


@given(ROWS, st.integers(1, 5), st.randoms(use_true_random=False))
def test_the_greatest_version_stays_in_any_order_and_any_cuts_even_if_all_comes_twice(rows, size, random):
    rows = different(rows)
    lake, dead = [], []
    for _ in range(2):
        random.shuffle(rows)
        for at in range(0, len(rows), size):
            lake, dead = flushed(ONE, lake, dead, rows[at : at + size])
    assert {row[:3] for row in lake} == expected(rows)
    assert len(lake) == len({row[0] for row in lake}), "a key is there once"


@given(ROWS, st.randoms(use_true_random=False))
def test_children_are_those_of_the_newest_record_whatever_came_before(rows, random):
    records = {}
    for key, file, record, gone in rows:
        records.setdefault((key, file, record), [(key, file, record, True)]).append((key, file, record, gone))
    every = list(records.values())
    lake, dead = [], []
    for _ in range(2):
        random.shuffle(every)
        for record in every:
            lake, dead = flushed(SET, lake, dead, record)
    wanted = expected([row for record in every for row in record])
    assert {row[:3] for row in lake} == wanted
    assert len(lake) == sum(1 for record in every for row in record if row[:3] in wanted and not row[3])
