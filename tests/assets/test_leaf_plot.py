"""The picture of a table's leaves: small, well-formed, and true to the sizes."""

from __future__ import annotations

import base64
from xml.etree import ElementTree as ET

from import_platform.assets.leaf_plot import GREEN, RED, TRACK, YELLOW, leaf_plot
from import_platform.assets.metadata import partition_metadata
from import_platform.core.table import UNPARTITIONED, Granularity, TimePartition
from import_platform.pipeline.inspect import LeafStatus

MONTHLY = TimePartition("created_at", Granularity.MONTH)
DAILY = TimePartition("created_at", Granularity.DAY)


def leaf(size, rows=1):
    return LeafStatus(rows=rows, bytes=size, files=1)


def picture(markdown):
    text, _, data = markdown.removesuffix(")").partition("](data:image/svg+xml;base64,")
    assert text.startswith("![")
    return ET.fromstring(base64.b64decode(data))


def texts(svg):
    return [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]


def test_every_leaf_is_named_with_its_size_and_coloured_by_its_share_of_the_limit():
    leaves = {"2025-01": leaf(100), "2025-02": leaf(900), "2025-03": leaf(2000)}
    svg = picture(leaf_plot(leaves, MONTHLY, limit_bytes=1000))
    assert texts(svg) == ["2025-01", "100 B", "2025-02", "900 B", "2025-03", "2.0 kB",
                          "limit 1.0 kB, the largest leaf has 200%"]  # fmt: skip
    paths = {path.get("fill"): path.get("d") for path in svg.iter("{http://www.w3.org/2000/svg}path")}
    assert set(paths) == {GREEN, YELLOW, RED, None}
    assert f"h{float(TRACK)}v" in paths[RED], "the largest fills the track"
    assert f"h{float(TRACK) / 20}v" in paths[GREEN]


def test_thousands_of_leaves_stay_a_small_picture():
    leaves = {f"{year}-{month:02}-{day:02}": leaf(day * 10**7) for year in range(2015, 2022) for month in range(1, 13)
              for day in range(1, 29)}  # fmt: skip
    assert len(leaves) > 2000
    markdown = leaf_plot(leaves, DAILY, limit_bytes=10**9)
    assert len(markdown) < 5000
    assert "280.0 MB, largest of 336" in texts(picture(markdown))


def test_bars_of_twenty_four_leaves_are_the_largest_picture():
    leaves = {f"2025-01-01T{hour:02}.h{bits}": leaf(1500 * 10**6) for hour in range(12) for bits in "01"}
    assert len(leaf_plot(leaves, DAILY, limit_bytes=10**9)) < 5000


def test_empty_tables_and_empty_leaves_have_no_trouble():
    assert leaf_plot({}, UNPARTITIONED, limit_bytes=1000) == ""
    assert texts(picture(leaf_plot({"all": leaf(0)}, UNPARTITIONED, limit_bytes=0)))[0] == "all"


def test_a_partition_carries_its_sizes_its_limit_and_its_layout():
    leaves = {"2025-01.h0": leaf(10, rows=2), "2025-01.h1": leaf(30, rows=5)}
    assert partition_metadata(leaves, MONTHLY, limit_bytes=25) == {
        "dagster/partition_row_count": 7,
        "partition_bytes": 40,
        "partition_files": 2,
        "partition_leaves": 2,
        "partition_largest_leaf_bytes": 30,
        "partition_max_bytes": 25,
        "layout": "month of created_at",
    }
