"""Definitions keep the names of variables; only a run asks for their values."""

from __future__ import annotations

import pickle

import pytest

from import_platform.errors import ConfigError
from import_platform.resources.connection import Connection, foreign_templates

SHOP = Connection(
    {"kind": "postgres", "dsn": "postgres://reader:{{ env.SHOP_PASSWORD }}@db/shop", "schemas": ["{{env('SCHEMA')}}"]}
)


def test_a_variable_is_resolved_when_asked_for_and_not_before():
    resolved = SHOP.resolve({"SHOP_PASSWORD": "s3cret", "SCHEMA": "public"})
    assert resolved == {"kind": "postgres", "dsn": "postgres://reader:s3cret@db/shop", "schemas": ["public"]}


def test_an_unset_variable_is_named_in_one_sentence():
    with pytest.raises(ConfigError, match="the variable SHOP_PASSWORD is not set") as raised:
        SHOP.resolve({"SCHEMA": "public"})
    assert "Set SHOP_PASSWORD" in raised.value.remedy


def test_an_empty_variable_is_set():
    assert Connection({"kind": "x", "dsn": "{{ env.EMPTY }}"}).resolve({"EMPTY": ""})["dsn"] == ""


def test_a_value_that_looks_like_a_template_is_taken_as_it_is():
    assert Connection({"kind": "x", "dsn": "{{ env.A }}"}).resolve({"A": "{{ env.B }}"})["dsn"] == "{{ env.B }}"


def test_the_repr_shows_names_and_hides_what_was_written_out():
    literal = Connection({"kind": "postgres", "dsn": "postgres://reader:hunter2@db/shop"})
    assert "hunter2" not in f"{literal!r} {literal}"
    assert repr(SHOP) == "Connection(kind='postgres', variables=['SHOP_PASSWORD', 'SCHEMA'])"


def test_a_connection_travels_between_processes():
    assert pickle.loads(pickle.dumps(SHOP)) == SHOP


def test_numbers_and_flags_stay_what_they_are():
    connection = Connection(
        {"kind": "x", "port": 5432, "tls": True, "options": {"timeout": 3.5, "name": "{{ env.A }}"}}
    )
    assert connection.resolve({"A": "b"}) == {
        "kind": "x",
        "port": 5432,
        "tls": True,
        "options": {"timeout": 3.5, "name": "b"},
    }


def test_templates_of_another_kind_are_found_by_their_key_path():
    template = {"kind": "x", "dsn": "{{ secrets.A }}", "list": ["{{ env.B }}", "{{ env.C | upper }}"]}
    assert foreign_templates(template) == ["dsn", "list[1]"]
