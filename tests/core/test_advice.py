"""What is recommended for which facts, and in which order."""

from __future__ import annotations

import polars as pl
import pytest

from import_platform.core.advice import (
    MANY_FILES,
    TINY_LEAF_BYTES,
    TINY_LEAVES,
    WIDE_ROW_GROUP_BYTES,
    Effect,
    advice,
)
from import_platform.core.diagnosis import Findings, RowGroup, SourceStatistics
from import_platform.core.maintenance import COMPACT_FILES

GB = 10**9
APART = [(i * 10, i * 10 + 9) for i in range(4)]
TOGETHER = [(0, 99)] * 4


def files(bounds, *, leaf="2025", size_bytes=GB // 4, rows=10):
    return pl.DataFrame({
        "path": [f"{leaf}/{i}" for i in range(len(bounds))],
        "leaf": [leaf] * len(bounds),
        "size_bytes": [size_bytes] * len(bounds),
        "rows": [rows] * len(bounds),
        "min.id": pl.Series([low for low, _ in bounds], dtype=pl.Int64),
        "max.id": pl.Series([high for _, high in bounds], dtype=pl.Int64),
    })  # fmt: skip


def findings(frame=None, **changed):
    facts = {
        "table": "s/t",
        "first_key": "id",
        "is_stable": False,
        "files": files(APART) if frame is None else frame,
        "row_groups": [],
        "filtered_paths": frozenset(),
        "limit_bytes": 2 * GB,
        "budget_bytes": 2 * GB,
    }
    return Findings(**(facts | changed))


def source(rows):
    return SourceStatistics(rows, 3, ("id",), "2025-01-01T00:00:00+00:00")


def leaves(count, size_bytes):
    return pl.concat([files([(i, i)], leaf=f"n1_{i}", size_bytes=size_bytes) for i in range(count)])


def effects(found):
    return [said.effect for said in advice(found)]


@pytest.mark.parametrize(
    ("found", "effect", "text", "command"),
    [
        (findings(predicted_bytes=3 * GB), Effect.FITS, "predicted to take 3.0 GB", None),
        (
            findings(row_groups=[RowGroup("2025/0", 5, WIDE_ROW_GROUP_BYTES + 1)]),
            Effect.MEMORY,
            "a row group of 67.1 MB in 2025/0",
            None,
        ),
        (findings(limit_bytes=GB // 2), Effect.MEMORY, "1 of 1 leaf over", "import-platform repartition s/t"),
        (
            findings(limit_bytes=GB // 2, unsplittable=frozenset({"2025"})),
            Effect.MEMORY,
            "one key fills 2025 with 1.0 GB",
            None,
        ),
        (findings(files(TOGETHER)), Effect.READS, "rule out 0% of the bytes for a key of id", None),
        (findings(files([(None, None)] * 4)), Effect.READS, "have no bounds of id", None),
        (findings(first_key=None), Effect.READS, "no primary key", None),
        (
            findings(leaves(TINY_LEAVES, TINY_LEAF_BYTES - 1)),
            Effect.FILES,
            "200 of 200 leaves with less than 4.2 MB",
            "import-platform repartition s/t",
        ),
        (
            findings(files([(i, i) for i in range(COMPACT_FILES)], size_bytes=1000)),
            Effect.FILES,
            f"{COMPACT_FILES} small files in 1 leaf",
            "import-platform maintain s/t",
        ),
        (
            findings(files([(i, i) for i in range(MANY_FILES + 1)]), limit_bytes=10**15),
            Effect.FILES,
            "the log lists 20,001 files",
            None,
        ),
        (
            findings(files(APART, rows=1000), source=source(5000)),
            Effect.ROWS,
            "the lake has 4,000 rows, the source's own estimate was 5,000",
            "import-platform reconcile s/t --dry-run",
        ),
    ],
)
def test_each_finding_has_one_recommendation(found, effect, text, command):
    (said,) = advice(found)
    assert (said.effect, said.command) == (effect, command)
    assert text in said.text


@pytest.mark.parametrize(
    "found",
    [
        findings(),
        findings(files(TOGETHER), is_stable=True),
        findings(files(TOGETHER[:1])),
        findings(predicted_bytes=2 * GB),
        findings(row_groups=[RowGroup("2025/0", 5, WIDE_ROW_GROUP_BYTES)]),
        findings(leaves(TINY_LEAVES, TINY_LEAF_BYTES)),
        findings(files(APART, rows=1000), source=source(4100)),
        findings(files(APART, rows=1000), source=source(-1)),
        findings(files(APART, rows=1), source=source(40)),
    ],
)
def test_nothing_is_recommended_where_nothing_would_change(found):
    assert advice(found) == []


def test_the_strongest_effect_comes_first_and_then_what_concerns_most_bytes():
    mixed = pl.concat([files(TOGETHER, size_bytes=GB), files(TOGETHER * 2, leaf="2026", size_bytes=1000)])
    found = findings(
        mixed,
        row_groups=[RowGroup("2025/0", 5, WIDE_ROW_GROUP_BYTES + 1)],
        predicted_bytes=3 * GB,
        source=source(10_000),
    )
    assert effects(found) == [
        Effect.FITS,
        Effect.MEMORY,
        Effect.MEMORY,
        Effect.READS,
        Effect.FILES,
        Effect.ROWS,
    ]
    assert " over " in advice(found)[1].text, "4 GB of leaves before a row group of 67 MB"


def test_a_sentence_ends_with_what_to_type():
    (said,) = advice(findings(limit_bytes=GB // 2))
    assert said.sentence.endswith("with 1.0 GB: import-platform repartition s/t")
