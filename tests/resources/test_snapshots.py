from __future__ import annotations

import pyarrow as pa
import pytest

from import_platform.core.table import ColumnInfo, TableInfo
from import_platform.resources.snapshots import load_snapshot, save_snapshot

ORDERS = TableInfo(
    "public",
    "orders",
    (ColumnInfo("id", pa.int64(), "bigint", nullable=False), ColumnInfo("note", pa.string(), "text")),
    ("id",),
    row_estimate=12,
)


def test_what_was_saved_is_loaded(tmp_path):
    saved = save_snapshot(tmp_path / "sources", "shop", [ORDERS])
    assert load_snapshot(tmp_path / "sources", "shop") == saved
    assert saved.table("orders").columns[0].type == "int64"
    assert saved.table("nothing") is None


def test_a_table_outside_the_default_schema_goes_by_its_name_in_the_lake(tmp_path):
    info = TableInfo("audit", "log", (), default_schema=False)
    assert save_snapshot(tmp_path, "shop", [info]).tables[0].name == "audit__log"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 99}', '{"version": 1, "tables": [{}]}'])
def test_a_damaged_snapshot_counts_as_none(tmp_path, text):
    (tmp_path / "shop.json").write_text(text)
    assert load_snapshot(tmp_path, "shop") is None


def test_no_snapshot_is_none(tmp_path):
    assert load_snapshot(tmp_path / "nowhere", "shop") is None


def test_saving_leaves_no_draft_behind(tmp_path):
    save_snapshot(tmp_path, "shop", [ORDERS])
    save_snapshot(tmp_path, "shop", [])
    assert [path.name for path in tmp_path.iterdir()] == ["shop.json"]
    assert load_snapshot(tmp_path, "shop").tables == ()
