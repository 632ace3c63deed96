import pytest

from import_platform.core.budget import MIB, MemoryBudget
from import_platform.core.repartition import RepartitionRecord
from import_platform.errors import ConfigError
from import_platform.pipeline.diagnose import diagnose
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import PAGE_BY_PAGE, SyncedTable, replaced, rows

BUDGET = MemoryBudget(512 * MIB, 200 * MIB)


def test_a_table_is_looked_at_without_changing_it(lake):
    table = SyncedTable(lake, ListSource(rows(range(2000))))
    table.sync()
    version = table.version

    found = diagnose(lake, "s", "t", budget=BUDGET, limit_bytes=1000)

    assert (found.waiting, table.version) == (None, version)
    assert sum(group.rows for group in found.findings.row_groups) == 2000
    assert found.findings.mean_overlaps == 0.0
    assert found.findings.first_key == "id"


def test_the_plan_of_a_flush_whose_rows_are_staged_is_shown(lake):
    table = SyncedTable(lake, ListSource(rows(range(2000))), budget=PAGE_BY_PAGE)
    table.sync()
    table.source.rows = replaced(table.source.rows, rows(range(300), day=1))
    table.source.fail_after = table.source.pages + 2
    with pytest.raises(ConnectionError):
        table.sync()

    waiting = diagnose(lake, "s", "t", budget=BUDGET, limit_bytes=1 << 30).waiting

    assert waiting is not None
    assert (waiting.staged_rows, waiting.plan.updated_rows, len(waiting.plan.removes)) == (200, 200, 1)
    assert BUDGET.base_bytes < waiting.plan.predicted_bytes < BUDGET.total_bytes


def test_a_table_that_the_lake_does_not_have_is_a_sentence(lake):
    with pytest.raises(ConfigError, match="no such table"):
        diagnose(lake, "s", "nothing", budget=BUDGET, limit_bytes=1)


def test_the_footers_tell_order_and_decoded_size(lake):
    table = SyncedTable(lake, ListSource(rows(range(2000))))
    table.sync()
    found = diagnose(lake, "s", "t", budget=BUDGET, limit_bytes=1000).findings
    assert found.ordered_share == 1.0
    assert 0.8 < found.decoded_bytes / table.source.rows.nbytes < 1.3


def test_without_staged_rows_the_peak_of_one_full_chunk_is_predicted(lake):
    table = SyncedTable(lake, ListSource(rows(range(2000))))
    table.sync()
    small = diagnose(lake, "s", "t", budget=BUDGET, limit_bytes=1000).findings
    large = diagnose(lake, "s", "t", budget=MemoryBudget(2048 * MIB, 200 * MIB), limit_bytes=1000).findings
    assert BUDGET.base_bytes < small.predicted_bytes < BUDGET.total_bytes
    assert small.predicted_bytes < large.predicted_bytes < 2048 * MIB


def test_leaves_that_cannot_be_split_are_known(lake):
    table = SyncedTable(lake, ListSource(rows(range(20))))
    table.sync()
    lake.store.put("_staging/s/t/repartition.json", RepartitionRecord(unsplittable={"2025-01": 1}).to_json())
    assert diagnose(lake, "s", "t", budget=BUDGET, limit_bytes=1).findings.unsplittable == {"2025-01"}
