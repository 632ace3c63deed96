"""Step children and run workers really killed, by SIGKILL and SIGTERM, under Dagster's own daemon and code server."""

from __future__ import annotations

import os
import signal

import polars as pl
import pytest

from import_platform.core.budget import MIB
from import_platform.core.measures import Measures
from import_platform.io.incidents import Incidents
from import_platform.io.lake import Lake
from import_platform.io.table_memory import read_memory
from import_platform.resources.naming import DEPLOYS_TAG, KILLS_TAG
from tests.dagster_project import make_project
from tests.sensors.daemon import daemon

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """One daemon for all: its code server alone takes half a minute to start on a busy machine."""
    project = make_project(tmp_path_factory.mktemp("killed"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (project.environment | {"IMPORT_PLATFORM_MEMORY": "2GiB"}).items():
            patch.setenv(name, value)
        with daemon(project) as made:
            yield made


@pytest.fixture
def lake(running):
    return Lake(str(running.project.root / "lake"))


def rows(running, table):
    return pl.read_delta(str(running.project.root / "lake" / "shop" / table)).height


def test_a_worker_killed_in_a_flush_is_relaunched_carefully_and_its_incident_closes(running, lake):
    running.hold("orders")
    run = running.launch("sync_shop", "orders", "customers", tags={"team": "data"})
    os.kill(running.pid("orders"), signal.SIGKILL)
    running.ended(run, "FAILURE")
    running.tick_until(lambda: running.relaunched(run))
    incident = Incidents(lake).of_table("shop", "orders")
    assert (incident.kind, incident.run) == ("memory", run)
    assert "killed by signal 9" in incident.error
    assert Incidents(lake).of_table("shop", "customers") is None, "it was done before the kill"
    assert read_memory(lake, "shop", "orders").measures == Measures(1)
    again = running.relaunched(run)
    assert (again.tags["team"], again.tags[KILLS_TAG], again.asset_selection) == (
        "data",
        "1",
        running.run(run).asset_selection,
    )
    running.release()
    running.start_queued()
    running.ended(again.run_id, "SUCCESS")
    assert Incidents(lake).of_table("shop", "orders") is None
    assert (rows(running, "orders"), rows(running, "customers")) == (400, 5)


def test_of_two_step_processes_the_one_that_grew_is_blamed_and_not_the_one_that_was_killed(running, lake):
    running.project.sql(
        "update orders set note = 'changed', updated_at = '2025-07-01 00:00:00' where id < 50",
        "insert into customers values (99, 'late')",
    )
    running.grow("orders.read", 550 * MIB)  # while one flushes the other can only read: both do not fit
    running.hold("orders.read", "customers")
    run = running.launch("sync_shop_multi", "orders", "customers")
    victim, grown = running.pid("customers"), running.pid("orders.read")
    assert victim != grown
    os.kill(victim, signal.SIGKILL)
    running.until(lambda: any("signal 9" in line for line in running.said(run)))
    running.release()
    running.ended(run, "FAILURE")
    running.tick_until(lambda: Incidents(lake).of_table("shop", "orders"))
    incident = Incidents(lake).of_table("shop", "orders")
    assert (incident.kind, incident.run) == ("memory", run)
    assert "a step's process was killed by signal 9" in incident.error
    assert incident.facts["held_bytes"] > 500 * MIB
    [beside] = incident.beside
    assert (beside["table"], beside["killed"]) == ("shop/customers", True)
    assert Incidents(lake).of_table("shop", "customers") is None
    assert read_memory(lake, "shop", "customers").measures == Measures()
    assert running.relaunched(run) is None, "the job is nobody's that the sensor may start"


def test_a_worker_that_a_deploy_stops_is_relaunched_with_the_same_tags(running, lake):
    running.project.sql("update orders set note = 'again', updated_at = '2025-08-01 00:00:00' where id < 50")
    running.hold("orders")
    run = running.launch("sync_shop", "orders", tags={"team": "data"})
    pid = running.pid("orders")
    before = len(Incidents(lake).every())
    os.kill(pid, signal.SIGTERM)
    running.release()
    running.ended(run, "CANCELED")
    running.tick_until(lambda: running.relaunched(run))
    again = running.relaunched(run)
    assert (again.tags["team"], again.tags[DEPLOYS_TAG]) == ("data", "1")
    assert again.asset_selection == running.run(run).asset_selection
    assert len(Incidents(lake).every()) == before
    running.start_queued()
    running.ended(again.run_id, "SUCCESS")


def test_a_persons_terminate_is_left_alone(running, lake):
    running.project.sql("update orders set note = 'more', updated_at = '2025-09-01 00:00:00' where id < 50")
    running.hold("orders")
    run = running.launch("sync_shop", "orders")
    running.pid("orders")
    running.terminate(run)
    running.release()
    running.ended(run, "CANCELED")
    running.tick_until(lambda: "import_cancellations" in " ".join(running.said(run)))
    assert running.relaunched(run) is None
