"""`reconcile` on a real project: told first, repaired then, shown in Dagster's history."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import dagster as dg
import pytest
from typer.testing import CliRunner

from import_platform.cli.app import app
from import_platform.core.report import Status
from import_platform.jobs.launch import launch_sync
from tests.dagster_project import SHOP, empty_home, project

__all__ = ["empty_home", "project"]


@pytest.fixture
def drifted(project):
    [report] = launch_sync(["shop/orders"], sources=project.sources())
    assert report.status is Status.DONE
    project.sql("delete from orders where id in (5, 6)", "update orders set note = 'changed' where id = 7")
    return project


def invoke(*words):
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})


def figures(ended):
    assert ended.exit_code == 0, ended.output
    [line] = ended.stdout.splitlines()
    report = json.loads(line)
    return report["rows_missing"], report["rows_extra"], report["rows_differing"]


def test_a_dry_run_tells_and_changes_nothing_and_a_run_repairs(drifted):
    told = invoke("reconcile", "shop", "--dry-run")
    assert (told.exit_code, "differs" in told.stdout) == (0, True)
    assert figures(invoke("reconcile", "shop/orders", "--json")) == (0, 2, 1)
    assert figures(invoke("reconcile", "shop/orders", "--json")) == (0, 0, 0)
    assert "equal" in invoke("reconcile", "shop/orders").stdout
    with drifted.instance() as instance:
        assert {run.job_name for run in instance.get_runs()} == {"sync_shop", "maintain_shop"}


def test_a_schedule_compares_the_tables_that_are_due(drifted):
    drifted.declare(SHOP.replace("name: orders\n", 'name: orders\n      reconcile: "0 4 * * 0"\n'))
    source = drifted.sources().source("shop")
    schedule = source.definitions().resolve_schedule_def("reconcile_shop")
    with drifted.instance() as instance:
        at = datetime(2026, 11, 22, 4, tzinfo=UTC)  # a Sunday
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at)
        request = schedule(context)
    assert request.run_config == {"tables": ["orders"], "task": "reconcile"}


def test_without_a_cron_there_is_no_schedule(project):
    definitions = project.sources().source("shop").definitions()
    assert "reconcile_shop" not in {schedule.name for schedule in definitions.schedules}
