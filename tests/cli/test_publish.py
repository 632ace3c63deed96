"""`publish` on a real project and a real PostgreSQL, from the terminal and off the back of a sync in Dagster."""

from __future__ import annotations

import json

import dagster as dg
import pytest
from typer.testing import CliRunner

from import_platform.assets.publish_asset import published_key
from import_platform.cli.app import app
from import_platform.definitions import build_definitions
from import_platform.jobs.launch import launch_sync
from tests.dagster_project import SHOP, empty_home, project

__all__ = ["empty_home", "project"]

PUBLISHED = SHOP.replace(
    "    - name: customers\n      sync: full_refresh\n",
    '      publish: {dsn: "{{ env.WAREHOUSE }}", group: shop}\n'
    "    - name: customers\n      sync: full_refresh\n"
    '      publish: {dsn: "{{ env.WAREHOUSE }}", table: public.clients, group: shop}\n',
)


@pytest.fixture
def shop(project, postgres, monkeypatch):
    monkeypatch.setenv("WAREHOUSE", postgres.dsn)
    project.declare(PUBLISHED)
    assert not project.sources().broken
    return project


def invoke(*words):
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})


def reports(ended):
    return {line["table"]: line for line in map(json.loads, ended.stdout.splitlines())}


def test_a_group_is_published_off_the_back_of_a_sync_and_shown_in_dagsters_history(shop, postgres):
    definitions = build_definitions(shop.sources(), strict=True)
    with shop.instance() as instance:
        cursor = dg.evaluate_automation_conditions(definitions, instance).cursor
        launch_sync(["shop"], sources=shop.sources())
        asked = dg.evaluate_automation_conditions(definitions, instance, cursor=cursor)
        assert {result.key for result in asked.results if result.true_subset.size} == {
            published_key("shop", "orders"), published_key("shop", "customers"),
        }  # fmt: skip
        ended = invoke("publish", "shop/orders", "--json")
        assert ended.exit_code == 0, ended.output
        told = reports(ended)
        assert {name: (line["how"], line["rows_inserted"]) for name, line in told.items()} == {
            "shop/orders": ("create", 400), "shop/customers": ("create", 5),
        }  # fmt: skip
        assert postgres.rows("select (select count(*) from orders), (select count(*) from clients)") == [(400, 5)]
        event = instance.get_latest_materialization_event(published_key("shop", "orders"))
        assert event.asset_materialization.metadata["target"].value == "public.orders"
        shop.sql("update orders set note = 'new', updated_at = '2025-06-01 00:00:00' where id = 7")
        launch_sync(["shop/orders"], sources=shop.sources())
        told = reports(invoke("publish", "shop", "--json"))
        assert [told[f"shop/{name}"]["how"] for name in ("orders", "customers")] == ["merge", "nothing"]
        assert told["shop/orders"]["rows_updated"] == 1
        assert postgres.rows("select note from orders where id = 7") == [("new",)]


def test_what_goes_wrong_is_a_sentence_without_the_password_and_an_exit_code(shop, postgres, monkeypatch):
    early = invoke("publish", "shop", "--json")
    assert early.exit_code == 1
    assert "not in the lake yet" in reports(early)["shop/orders"]["error"]
    launch_sync(["shop"], sources=shop.sources())
    monkeypatch.setenv("WAREHOUSE", "postgresql://me:sesame@127.0.0.1:1/x")
    dead = invoke("publish", "shop", "--json")
    assert dead.exit_code == 1
    assert "cannot be reached" in reports(dead)["shop/customers"]["error"]
    assert "sesame" not in dead.output
    monkeypatch.delenv("WAREHOUSE")
    assert "WAREHOUSE is not set" in reports(invoke("publish", "shop", "--json"))["shop/orders"]["error"]
    assert postgres.rows("select to_regclass('orders')") == [(None,)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ('{dsn: "postgresql://me:sesame@db/x"}', "must be one {{ env.NAME }}"),
        ("{format: csv}", "needs either dsn"),
        ('{dsn: "{{ env.W }}", archive: old}', "archive does not go with dsn"),
        ('{dsn: "{{ env.W }}", types: {a: "int; drop table x"}}', "must be a type of PostgreSQL"),
        ('{dsn: "{{ env.OTHER }}", group: shop}', "different databases"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused(shop, wrong, said):
    shop.declare(PUBLISHED.replace('{dsn: "{{ env.WAREHOUSE }}", group: shop}', wrong))
    [broken] = shop.sources().broken
    assert said in str(broken.error)
    assert "sesame" not in str(broken.error)


def test_a_source_that_publishes_nothing_says_so(project):
    assert invoke("publish", "shop").exit_code == 2
