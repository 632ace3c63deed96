"""Secrets that are planted where people put them are found nowhere else: not in the lake, in Dagster's storage, in what
is printed or logged, nor in an error or a repr.
"""

from __future__ import annotations

import json
import logging
import traceback
import uuid
from dataclasses import dataclass, field

import dagster as dg
import pytest
from typer.testing import CliRunner

from import_platform.cli.app import app
from import_platform.components.source_definitions import PLATFORM
from import_platform.errors import ImportPlatformError
from import_platform.resources.connection import Connection
from import_platform.resources.home import open_instance
from import_platform.sensors.alerts import WEBHOOK_VARIABLE, Told, alert_sensor
from import_platform.sources.registry import open_source
from tests.dagster_project import Project, empty_home, project
from tests.safety.haystack import found_in
from tests.sources.rest.api_server import ApiServer, Listed

__all__ = ["empty_home", "project"]

pytestmark = pytest.mark.slow

CANARY = "cAnArY+5f/1d:9e@77"
"""With characters that a URL and a shell treat specially."""
IN_URL = "cAnArY%2B5f%2F1d%3A9e%4077"
HOOK = "https://127.0.0.1:1/services/T0/hook-cAnArY-5f1d"


@dataclass
class Place:
    """A project whose only source is `shop`, and everything that was said while it was used."""

    project: Project
    said: list[str] = field(default_factory=list)

    def declare(self, connection, tables="orders"):
        self.project.declare(
            "type: import_platform.components.ExternalSource\nattributes:\n  name: shop\n"
            f"  connection: {json.dumps(connection)}\n  tables:\n    - name: {tables}\n      primary_key: [id]\n"
        )

    def run(self):
        """A run as the daemon's worker does it, with its output in Dagster's storage."""
        [source] = self.project.sources().sources
        job = source.definitions().resolve_job_def("sync_shop_now")
        with open_instance(self.project.home, keep_output=True) as instance:
            return job.execute_in_process(instance=instance, raise_on_error=False).success

    def invoke(self, *words):
        told = CliRunner().invoke(app, ["--debug", *words])
        self.said.append(told.output)
        return told

    def look_around(self):
        """What a person would type next."""
        for words in (("check",), ("tables", "shop"), ("status", "--json"), ("incidents", "show", "1")):
            self.invoke(*words)


@pytest.fixture
def place(project, monkeypatch, caplog, capfd):
    monkeypatch.setenv(WEBHOOK_VARIABLE, HOOK)
    monkeypatch.setattr("import_platform.assets.failure.OUTAGE_PAUSES_SECONDS", (0.0, 0.0, 0.0))
    caplog.set_level(logging.INFO)
    (project.root / "defs" / "shop" / "defs.yaml").unlink()
    made = Place(project)
    yield made
    project.database.unlink()
    made.said += [caplog.text, *capfd.readouterr()]
    assert any(made.said), "a control: something was said"
    for text in made.said:
        for secret in (CANARY, IN_URL, HOOK):
            assert secret not in text
    looked = found_in(project.root, [CANARY, HOOK])
    assert looked == []
    assert found_in(project.root, ["SHOP_SECRET"]), "a control: the search sees what is there"


def fails_quietly(place, connection):
    """The errors of a source that is opened by hand, with all that a log would make of them."""
    resolved = Connection(connection).resolve()
    try:
        source = open_source("shop", resolved)
        place.said.append(repr(source))
        source.discover()
        raise AssertionError("it should have failed")
    except ImportPlatformError as error:
        place.said += [str(error), repr(error), repr(error.facts), *traceback.format_exception(error)]
    place.said.append(repr(Connection(connection)))


def tell(place):
    sensor = alert_sensor([Told("shop", "orders")], lambda instance, now: {"shop/orders"})
    with open_instance(place.project.home) as instance, dg.build_sensor_context(
        instance=instance, resources={"platform": PLATFORM}
    ) as context:  # fmt: skip
        place.said.append(str(sensor(context)))


def test_postgres(place, postgres, monkeypatch):
    postgres.execute("create table orders (id int primary key, note text)", "insert into orders values (1, 'x')")
    role = f"canary_{uuid.uuid4().hex}"
    postgres.execute(f"create role {role} login superuser password '{CANARY}'")
    monkeypatch.setenv("SHOP_SECRET", postgres.as_user(role, IN_URL))
    connection = {"kind": "postgres", "dsn": "{{ env.SHOP_SECRET }}", "schemas": ["public"]}
    place.declare(connection)
    assert place.run()
    host = postgres.dsn.rpartition("@")[2].split("/")[0]
    for broken in (
        postgres.as_user("nobody", IN_URL),
        f"postgresql://{role}:{IN_URL}@127.0.0.1:1/nowhere",
        f"postgresql://{role}:{IN_URL}@{host}/no_such_database",
        f"postgresql://{role}:{CANARY}@{host}/x?sslmode={CANARY}",
        f"host=127.0.0.1 port=1 password={CANARY}",
    ):
        monkeypatch.setenv("SHOP_SECRET", broken)
        fails_quietly(place, connection)
    assert not place.run()
    place.look_around()
    tell(place)


def test_mysql(place, mariadb, monkeypatch):
    mariadb.execute(
        "create table orders (id int primary key, note text)",
        "insert into orders values (1, 'x')",
        f"create or replace user canary identified by '{CANARY}'",
        "grant all on *.* to canary",
    )
    connection = {"kind": "mysql", "dsn": "{{ env.SHOP_SECRET }}", "schemas": [mariadb.name]}
    monkeypatch.setenv("SHOP_SECRET", f"mysql://canary:{IN_URL}@127.0.0.1:{mariadb.port}/{mariadb.name}")
    place.declare(connection)
    assert place.run()
    for broken in (
        f"mysql://owner:{IN_URL}@127.0.0.1:{mariadb.port}/{mariadb.name}",
        f"mysql://canary:{IN_URL}@127.0.0.1:1/{mariadb.name}",
        f"mysql://canary:{CANARY}@127.0.0.1/{mariadb.name}?ssl_mode={CANARY}",
    ):
        monkeypatch.setenv("SHOP_SECRET", broken)
        fails_quietly(place, connection)
    assert not place.run()
    place.look_around()
    tell(place)


@pytest.mark.parametrize(
    "auth",
    [
        {"type": "bearer", "token": "{{ env.SHOP_SECRET }}"},
        {"type": "api_key", "name": "key", "location": "query", "api_key": "{{ env.SHOP_SECRET }}"},
        {"type": "http_basic", "username": "reader", "password": "{{ env.SHOP_SECRET }}"},
    ],
)
def test_rest(place, monkeypatch, auth):
    monkeypatch.setenv("SHOP_SECRET", CANARY)
    with ApiServer() as server:
        server.lists["/orders"] = Listed([{"id": i, "note": "x"} for i in range(5)])
        connection = {
            "kind": "rest",
            "client": {"base_url": server.url, "auth": auth, "retries": 0},
            "resources": [
                {"name": "orders", "primary_key": "id",
                 "endpoint": {"path": "orders", "data_selector": "data", "paginator": {"type": "page_number", "base_page": 1}}}
            ],
        }  # fmt: skip
        place.declare(connection)
        assert place.run()
        heard = server.asked[-1]
        for status in (401, 500):
            # An API that says everything back that it was sent, as some do when they refuse.
            server.refuse = lambda asked, status=status: (
                status,
                {"Content-Type": "application/json", "X-You-Said": str(asked.headers.get("Authorization"))},
                json.dumps({"error": f"no {CANARY}", "headers": asked.headers, "params": asked.params}).encode(),
            )
            fails_quietly(place, connection)
        assert not place.run()
        place.look_around()
        assert "Authorization" in heard.headers or CANARY in heard.params.values(), "a control: it was sent"
    tell(place)
