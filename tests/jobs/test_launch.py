"""A sync from a terminal runs through Dagster: real SQLite in, real Delta out, and the history in between."""

from __future__ import annotations

import os
import signal
import time

import dagster as dg
import polars as pl
import pytest

from import_platform.core.report import Status
from import_platform.errors import ConfigError, Interrupted
from import_platform.jobs.launch import Order, launch_backfill, launch_sync
from import_platform.resources.naming import PROCESS_TAG
from tests.dagster_project import SHOP, WHOLE_SHOP

ORDERS = dg.AssetKey(["shop", "orders"])
MONTHS = ["2025-01", "2025-02", "2025-03", "2025-04"]


def _rows(project, table):
    return pl.read_delta(str(project.root / "lake" / "shop" / table)).height


def _sync(project, *words, **options):
    return launch_sync(words, sources=project.sources(), **options)


def test_a_whole_source_is_synced_and_its_history_is_kept(project):
    reports = _sync(project, "shop")
    assert [(r.table, r.status, r.rows_inserted) for r in reports] == [
        ("shop/orders", Status.DONE, 400),
        ("shop/customers", Status.DONE, 5),
    ]
    assert (_rows(project, "orders"), _rows(project, "customers")) == (400, 5)
    with project.instance() as instance:
        [run] = instance.get_runs()
        assert (run.job_name, run.status) == ("sync_shop", dg.DagsterRunStatus.SUCCESS)
        assert PROCESS_TAG in run.tags
        assert instance.get_dynamic_partitions("shop/orders") == MONTHS
        assert instance.get_materialized_partitions(ORDERS) == set(MONTHS)
        metadata = instance.get_latest_materialization_event(ORDERS).asset_materialization.metadata
    numbers = (
        "dagster/row_count",
        "dagster/size_bytes",
        "files",
        "rows_read",
        "seconds",
        "peak_memory_bytes",
        "budget_bytes",
        "delta_version",
    )
    assert all(isinstance(metadata[name].value, int | float) for name in numbers)
    assert metadata["dagster/row_count"].value == 400
    assert metadata["dagster/uri"].value.endswith("lake/shop/orders")
    assert metadata["cursor_after"].value == "2025-05-01T00:00:00.000000Z"
    columns = {column.name: column for column in metadata["dagster/column_schema"].value.columns}
    assert (columns["id"].type, columns["id"].description) == ("int64", "primary key")
    assert columns["created_at"].description == "partitioned by month"
    assert columns["updated_at"].description == "cursor"
    assert "_partition" not in columns


def test_the_second_sync_moves_the_changes_only_and_shows_the_cursor_before_and_after(project):
    _sync(project, "shop/orders")
    project.sql(
        "update orders set note = 'new', updated_at = '2025-06-01 00:00:00' where id = 7",
        "insert into orders values (1000, '2025-09-01 00:00:00', '2025-06-01 00:00:00', 'late')",
    )
    [report] = _sync(project, "shop/orders")
    assert (report.rows_inserted, report.rows_updated) == (1, 1)
    with project.instance() as instance:
        latest = instance.get_latest_materialization_event(ORDERS).asset_materialization.metadata
        assert latest["cursor_before"].value < latest["cursor_after"].value
        assert "2025-09" in instance.get_materialized_partitions(ORDERS)


def test_without_words_every_source_is_synced_and_a_broken_one_gives_a_failed_report(project):
    project.declare("type: nothing\n", "broken")
    reports = _sync(project)
    assert {r.table: r.status for r in reports} == {
        "broken": Status.FAILED,
        "shop/orders": Status.DONE,
        "shop/customers": Status.DONE,
    }
    assert "must be import_platform.components.ExternalSource" in reports[0].error


def test_a_failing_table_leaves_the_others_alone(project):
    project.declare(SHOP.replace("cursor: updated_at", "cursor: nosuch"))
    reports = _sync(project, "shop")
    assert [r.status for r in reports] == [Status.FAILED, Status.DONE]
    assert "nosuch" in reports[0].error
    with project.instance() as instance:
        [run] = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.FAILURE
        [failure] = [e for e in instance.all_logs(run.run_id) if e.is_dagster_event and e.dagster_event.is_step_failure]
        assert failure.dagster_event.step_failure_data.error_display_string.count("nosuch") == 1


def test_an_unset_variable_fails_its_source_with_a_sentence(project, monkeypatch):
    monkeypatch.delenv("SHOP_DB")
    reports = _sync(project, "shop")
    assert {r.status for r in reports} == {Status.FAILED}
    assert all("the variable SHOP_DB is not set" in r.error for r in reports)


@pytest.mark.parametrize(
    ("word", "hint"),
    [("shp", "did you mean shop"), ("shop/ordrs", "Did you mean orders"), ("shop/zzz", "orders, customers")],
)
def test_a_word_that_names_nothing_is_answered_with_what_there_is(project, word, hint):
    with pytest.raises(ConfigError, match=hint):
        _sync(project, word)
    assert not (project.root / "lake").exists(), "nothing may be created for a typing error"


def test_tables_are_reported_in_the_order_they_were_named(project):
    reports = _sync(project, "shop/customers", "shop/orders", "shop/customers")
    assert [r.table for r in reports] == ["shop/customers", "shop/orders"]


def test_a_full_refresh_of_an_incremental_table_forgets_what_the_source_deleted(project):
    _sync(project, "shop/orders")
    project.sql("delete from orders where id < 100")
    _sync(project, "shop/orders")
    assert _rows(project, "orders") == 400
    [report] = _sync(project, "shop/orders", order=Order(full_refresh=True))
    assert (report.status, _rows(project, "orders")) == (Status.DONE, 300)


def test_a_source_without_declared_tables_is_discovered_first(project):
    project.declare(WHOLE_SHOP)
    reports = _sync(project, "shop")
    assert [(r.table, r.status) for r in reports] == [("shop/customers", Status.DONE), ("shop/orders", Status.DONE)]


def test_a_source_that_cannot_be_discovered_gives_one_failed_report(project, monkeypatch):
    project.declare(WHOLE_SHOP)
    monkeypatch.delenv("SHOP_DB")
    [report] = _sync(project, "shop")
    assert (report.table, report.status) == ("shop", Status.FAILED)


def test_a_backfill_reads_one_partition_again(project):
    _sync(project, "shop/orders")
    project.sql("delete from orders where created_at < '2025-02-01'", "update orders set note = 'x'")
    [report] = launch_backfill("shop/orders", ["2025-01"], sources=project.sources())
    assert (report.status, report.rows_deleted) == (Status.DONE, 100)
    notes = pl.read_delta(str(project.root / "lake/shop/orders"))["note"]
    assert (len(notes), "x" in notes.to_list()) == (300, False)
    with project.instance() as instance:
        run = instance.get_runs()[0]
        assert run.tags["dagster/partition"] == "2025-01"


def test_several_partitions_are_several_runs_and_reports(project):
    _sync(project, "shop/orders")
    reports = launch_backfill("shop/orders", ["2025-02", "2025-01", "2025-02"], sources=project.sources())
    assert [r.status for r in reports] == [Status.DONE, Status.DONE]
    with project.instance() as instance:
        assert [run.tags.get("dagster/partition") for run in instance.get_runs()] == ["2025-01", "2025-02", None]


def test_a_never_synced_table_can_be_loaded_by_partition(project):
    [report] = launch_backfill("shop/orders", ["2025-03"], sources=project.sources())
    assert (report.status, report.rows_inserted) == (Status.DONE, 100)
    with project.instance() as instance:
        assert instance.get_materialized_partitions(ORDERS) == {"2025-03"}


def test_a_key_that_is_no_partition_fails_and_leaves_no_key_behind(project):
    _sync(project, "shop/orders")
    [report] = launch_backfill("shop/orders", ["january"], sources=project.sources())
    assert report.status is Status.FAILED
    assert "not a partition of this table" in report.error
    with project.instance() as instance:
        assert instance.get_dynamic_partitions("shop/orders") == MONTHS


def test_a_backfill_of_a_whole_source_is_refused(project):
    with pytest.raises(ConfigError, match="SOURCE/TABLE"):
        launch_backfill("shop", ["2025-01"], sources=project.sources())


def test_progress_reaches_the_caller_and_the_terminal_stays_quiet(project, capfd):
    seen = set()

    class Watching:
        def progress(self, table, stage, *, rows, bytes_, total_rows):
            seen.add(table)

        def note(self, table, message):
            pass

    _sync(project, "shop", observer=Watching())
    assert seen == {"shop/orders", "shop/customers"}
    assert capfd.readouterr() == ("", "")


def test_a_signal_between_two_tables_is_an_interruption_too(project, monkeypatch):
    def killed(checks, outcome):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)  # never: the handler raises at once

    monkeypatch.setattr("import_platform.components.source_definitions._judged", killed)
    with pytest.raises(Interrupted) as raised:
        _sync(project, "shop")
    assert {r.table for r in raised.value.report} == {"shop/orders", "shop/customers"}
    with project.instance() as instance:
        assert instance.get_runs()[0].status is dg.DagsterRunStatus.CANCELED


def test_no_secret_reaches_the_history(project, monkeypatch):
    hidden = project.root / "canary-5ecret" / "shop.db"
    hidden.parent.mkdir()
    project.database.rename(hidden)
    monkeypatch.setenv("SHOP_DB", str(hidden))
    _sync(project, "shop")
    launch_backfill("shop/orders", ["2025-01"], sources=project.sources())
    found = [path for path in project.root.rglob("*") if path.is_file() and b"canary-5ecret" in path.read_bytes()]
    assert found == []
