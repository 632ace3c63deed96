"""Alerts and success webhooks against a real HTTP server: each told once, and again where the server refused."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg
import pytest

from import_platform.core.alerts import Said
from import_platform.io import webhook
from import_platform.io.incidents import Incidents
from import_platform.io.lake import Lake
from import_platform.jobs.launch import launch_sync
from import_platform.jobs.stale import stale_tables
from import_platform.resources.naming import SOURCE_TAG, op_name
from import_platform.sensors.alerts import SETTLES, WEBHOOK_VARIABLE, Tick, Told, alert_sensor
from tests.dagster_project import SHOP

ORDERS = Told("shop", "orders", "ORDERS_HOOK")
REJECTED = {"error_class": "SourceRejected", "error": "the source says no", "is_fault": True}


class Hook:
    """A server on this machine that keeps what it is sent and answers as told."""

    def __init__(self) -> None:
        self.got: list[dict] = []
        self.answer: tuple[int, dict[str, str]] = (200, {})
        self.sleep_seconds = 0.0
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(hook.sleep_seconds)
                status, headers = hook.answer
                if status == 200:
                    hook.got.append(json.loads(body))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/services/T0/B0/canary"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hook():
    made = Hook()
    yield made
    made.close()


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


@pytest.fixture(scope="module")
def empty_instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


class Ticks:
    """Ticks of one sensor: its cursor goes from one to the next."""

    def __init__(self, instance, lake, environ, *, tables=(ORDERS,), stale=lambda instance, now: ()):
        self._made = (instance, lake, tables, stale)
        self._began_at = datetime.now(UTC)  # not this module's import: runs are told by their age
        self.environ, self.said = environ, Said()

    def __call__(self, after_seconds=0.0):
        instance, lake, tables, stale = self._made
        tick = Tick(instance, lake, tables, stale, self._began_at + timedelta(seconds=after_seconds), self.environ.get)
        return list(tick.run(self.said))


@pytest.fixture
def ticks(empty_instance, lake, hook):
    return Ticks(empty_instance, lake, {WEBHOOK_VARIABLE: hook.url})


def test_an_incident_is_posted_once_with_the_command_that_shows_it(ticks, hook, lake):
    Incidents(lake).record("shop", "orders", **REJECTED)
    ticks()
    ticks(30)
    [document] = hook.got
    assert list(document) == ["text"]
    assert document["text"].startswith("*shop/orders*: incident 1\nthe source says no")
    assert "`import-platform incidents show 1`" in document["text"]


def test_a_pause_is_another_message_and_a_closed_incident_is_none(ticks, hook, lake):
    incidents = Incidents(lake)
    incidents.record("shop", "orders", **REJECTED)
    ticks()
    for _ in range(4):
        incidents.record("shop", "orders", **REJECTED)
    ticks(30)
    incidents.resolve("shop", "orders")
    ticks(60)
    assert ["is paused by incident 1" in document["text"] for document in hook.got] == [False, True]


@pytest.mark.parametrize("status", [302, 400, 404, 500, 503])
def test_what_a_webhook_refuses_is_told_by_a_later_tick(ticks, hook, lake, status):
    Incidents(lake).record("shop", "orders", **REJECTED)
    hook.answer = (status, {"Location": hook.url})
    [line] = ticks()
    assert f"answered {status}" in line
    hook.answer = (200, {})
    ticks(31)
    ticks(61)
    assert len(hook.got) == 1


def test_a_webhook_that_asks_for_patience_gets_it(ticks, hook, lake):
    Incidents(lake).record("shop", "orders", **REJECTED)
    hook.answer = (429, {"Retry-After": "120"})
    ticks()
    hook.answer = (200, {})
    ticks(90)
    assert hook.got == []
    ticks(121)
    assert len(hook.got) == 1


def test_a_webhook_that_hangs_or_is_away_costs_a_tick_a_moment_and_its_address_is_never_told(
    ticks, hook, lake, monkeypatch
):
    monkeypatch.setattr(webhook, "TIMEOUT_SECONDS", (0.3, 0.3))
    Incidents(lake).record("shop", "orders", **REJECTED)
    hook.sleep_seconds = 30.0
    started = time.monotonic()
    lines = ticks()
    assert time.monotonic() - started < 25
    ticks.environ = {WEBHOOK_VARIABLE: "http://127.0.0.1:9/services/canary"}
    lines += ticks(31)
    ticks.environ = {WEBHOOK_VARIABLE: "no address at all: canary"}
    lines += ticks(62)
    assert ["could not be reached" in line for line in lines] == [True] * 3
    assert not any("canary" in line for line in lines)
    assert "canary" not in ticks.said.to_cursor()
    hook.sleep_seconds, ticks.environ = 0.0, {WEBHOOK_VARIABLE: hook.url}
    ticks(93)
    assert len(hook.got) >= 1


def test_without_a_webhook_the_log_has_each_cause_once(ticks, lake):
    ticks.environ = {}
    Incidents(lake).record("shop", "orders", **REJECTED)
    assert len(ticks()) == 1
    assert ticks(30) == []


def test_a_lake_that_is_away_stops_no_tick(empty_instance, hook, tmp_path):
    (tmp_path / "file").write_text("")
    away = Lake.__new__(Lake)
    away.__dict__.update(Lake(str(tmp_path / "other")).__dict__)
    (tmp_path / "other").rmdir()
    (tmp_path / "other").write_text("a file where a folder was")
    assert Ticks(empty_instance, away, {WEBHOOK_VARIABLE: hook.url})() == []


@pytest.fixture
def failed_instance():
    """A run of the table orders that failed in a way that leaves no incident: the lake was away."""

    @dg.op(name=op_name("shop", "orders"))
    def orders():
        raise dg.Failure("the lake's store did not answer", metadata={"error_class": "StoreUnavailable"})

    @dg.job(tags={SOURCE_TAG: "shop"})
    def sync_shop():
        orders()

    with dg.DagsterInstance.ephemeral() as instance:
        yield instance, lambda: sync_shop.execute_in_process(instance=instance, raise_on_error=False)


def test_a_failed_run_without_an_incident_is_told_once_and_again_after_a_success(failed_instance, lake, hook):
    instance, fail = failed_instance
    ticks = Ticks(instance, lake, {WEBHOOK_VARIABLE: hook.url})
    ticks()
    fail()
    ticks(5)
    assert hook.got == [], "its incident may still be on its way"
    settled = SETTLES.total_seconds() + 30
    ticks(settled)
    fail()
    ticks(2 * settled)
    [document] = hook.got
    assert "shop/orders*: its sync failed\nthe lake's store did not answer" in document["text"]
    instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(["shop", "orders"])))
    ticks(2 * settled + 60)
    assert ticks.said.failing == {}


def test_a_failed_run_with_an_incident_is_told_by_the_incident_alone(failed_instance, lake, hook):
    instance, fail = failed_instance
    ticks = Ticks(instance, lake, {WEBHOOK_VARIABLE: hook.url})
    ticks()
    fail()
    Incidents(lake).record("shop", "orders", **REJECTED)
    ticks(SETTLES.total_seconds() + 30)
    assert [document["text"].partition("\n")[0] for document in hook.got] == ["*shop/orders*: incident 1"]


WITH_HOOK = SHOP.replace(
    "      partition: {column: created_at, granularity: month}",
    '      partition: {column: created_at, granularity: month}\n      on_success: {webhook: "{{ env.ORDERS_HOOK }}"}',
)


@pytest.fixture
def shop(project, hook):
    """The project, a sync of its table orders, and ticks of the sensor with its history."""
    project.declare(WITH_HOOK)
    table = next(table for table in project.sources().source("shop").known_tables() if table.name == "orders")
    assert table.success_variable == "ORDERS_HOOK"
    with project.instance() as instance:
        ticks = Ticks(instance, Lake(str(project.root / "lake")), {"ORDERS_HOOK": hook.url})
        ticks(-1)
        yield project, ticks, instance


def test_a_success_is_posted_to_the_tables_own_webhook_until_it_is_taken(shop, hook):
    project, ticks, _instance = shop
    launch_sync(["shop/orders"], sources=project.sources())
    hook.answer = (500, {})
    assert "ORDERS_HOOK: it answered 500" in ticks(1)[0]
    hook.answer = (200, {})
    ticks(40)
    ticks(80)
    [document] = hook.got
    assert document["text"] == "*shop/orders*: 400 inserted, 0 updated, 0 deleted"
    assert (document["source"], document["table"], document["rows_inserted"]) == ("shop", "orders", 400)
    assert document["uri"].endswith("lake/shop/orders")
    launch_sync(["shop/orders"], sources=project.sources())
    ticks(120)
    assert len(hook.got) == 1, "a sync that changed nothing is no news"
    project.sql("insert into orders values (1000, '2025-09-01 00:00:00', '2025-06-01 00:00:00', 'late')")
    launch_sync(["shop/orders"], sources=project.sources())
    ticks(160)
    assert [document["rows_inserted"] for document in hook.got] == [400, 1]


def test_a_success_before_the_sensor_began_is_told_to_nobody_and_a_missing_variable_is_said(shop, hook):
    project, ticks, instance = shop
    [report] = launch_sync(["shop/orders"], sources=project.sources())
    assert report.status == "done", "no webhook is asked by a sync"
    late = Ticks(instance, Lake(str(project.root / "lake")), {"ORDERS_HOOK": hook.url})
    late(3600)
    late(3660)
    assert hook.got == []
    ticks.environ = {}
    assert ticks(1) == ["shop/orders: ORDERS_HOOK is not set, so nobody is told of its success"]


def test_a_table_behind_its_schedule_is_told_by_real_history(shop, hook):
    project, _ticks, instance = shop
    launch_sync(["shop"], sources=project.sources())
    crons = {("shop", "orders"): "*/15 * * * *", ("shop", "customers"): "0 0 * * *"}

    def stale(instance, now):
        return stale_tables(instance, crons, now=now)

    lake = Lake(str(project.root / "lake"))
    ticks = Ticks(instance, lake, {WEBHOOK_VARIABLE: hook.url}, stale=stale, tables=[Told("shop", "orders")])
    ticks(3600)
    assert hook.got == []
    ticks(2 * 3600)
    ticks(3 * 3600)
    [document] = hook.got
    assert document["text"].startswith("*shop/orders*: is stale")


def test_the_sensor_itself_reads_its_variable_when_it_ticks(project, hook, monkeypatch):
    Incidents(Lake(str(project.root / "lake"))).record("shop", "orders", **REJECTED)
    monkeypatch.setenv(WEBHOOK_VARIABLE, hook.url)
    from import_platform.components.source_definitions import PLATFORM

    sensor = alert_sensor([ORDERS], lambda instance, now: ())
    with dg.build_sensor_context(instance=project.instance(), resources={"platform": PLATFORM}) as context:
        result = sensor(context)
    assert result.skip_reason.skip_message == "1 messages told"
    assert len(hook.got) == 1
    with dg.build_sensor_context(
        instance=project.instance(), resources={"platform": PLATFORM}, cursor=result.cursor
    ) as context:
        assert sensor(context).skip_reason.skip_message == "0 messages told"


@pytest.mark.parametrize("text", ["https://hooks.example.com/T0/canary", "{{ env.A }}/x", "", "{{ canary }}"])
def test_the_address_of_a_webhook_never_stands_in_a_declaration(project, text):
    project.declare(WITH_HOOK.replace("{{ env.ORDERS_HOOK }}", text))
    [broken] = project.sources().broken
    assert "{{ env.NAME }}" in str(broken.error)
    assert "canary" not in str(broken.error)
