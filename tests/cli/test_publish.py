"""`publish` from the terminal of a real project: what may be declared, and what goes wrong."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from import_platform.cli.app import app
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


def test_what_goes_wrong_is_a_sentence_and_an_exit_code(shop, monkeypatch):
    early = invoke("publish", "shop", "--json")
    assert early.exit_code == 1, early.output
    assert {name: "not in the lake yet" in line["error"] for name, line in reports(early).items()} == {
        "shop/orders": True, "shop/customers": True,
    }  # fmt: skip
    monkeypatch.delenv("WAREHOUSE")
    assert "WAREHOUSE is not set" in reports(invoke("publish", "shop/orders", "--json"))["shop/orders"]["error"]


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
