"""The memory class of a run, and the request of its pod, from what the tables' last syncs held."""

from __future__ import annotations

import json

import dagster as dg
import pytest

from import_platform.core.budget import GIB, MIB
from import_platform.core.run_size import KUBERNETES_TAG, MEMORY_TAG
from import_platform.resources.naming import EXPECTED_MEMORY, asset_key
from import_platform.resources.run_size import rewrite_tags, size_tags, step_tags


@pytest.fixture
def instance(monkeypatch):
    monkeypatch.setenv("IMPORT_PLATFORM_MEMORY", "1GiB")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with dg.DagsterInstance.ephemeral() as made:
        for table, expected in {"small": 200 * MIB, "middle": 500 * MIB, "large": 900 * MIB}.items():
            metadata = {EXPECTED_MEMORY: expected, "budget_bytes": GIB}
            made.report_runless_asset_event(dg.AssetMaterialization(asset_key("shop", table), metadata=metadata))
        made.report_runless_asset_event(dg.AssetMaterialization(asset_key("shop", "odd"), partition="2025"))
        yield made


@pytest.mark.parametrize(
    ("tables", "size"),
    [
        (["small"], "small"),
        (["small", "middle"], "medium"),
        (["large", "small"], "large"),
        (["small", "never synced"], "large"),
        (["odd"], "large"),
    ],
)
def test_the_largest_table_of_a_run_says_its_class(instance, tables, size):
    assert size_tags(instance, "shop", tables) == {MEMORY_TAG: size}


def test_in_kubernetes_the_pod_asks_for_what_the_run_is_expected_to_hold(instance, monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    tags = size_tags(instance, "shop", ["small", "middle"])
    resources = json.loads(tags[KUBERNETES_TAG])["container_config"]["resources"]
    assert resources == {"requests": {"memory": "625Mi"}, "limits": {"memory": "1280Mi"}}
    unknown = json.loads(size_tags(instance, "shop", ["never synced"])[KUBERNETES_TAG])
    assert unknown["container_config"]["resources"]["requests"] == {"memory": "1280Mi"}
    assert step_tags()[KUBERNETES_TAG]["container_config"]["resources"]["limits"] == {"memory": "1280Mi"}


def test_where_nobody_ever_said_how_much_there_is_the_pod_is_left_to_the_chart(instance, monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.delenv("IMPORT_PLATFORM_MEMORY")
    assert KUBERNETES_TAG not in size_tags(instance, "shop", ["never synced"])
    assert KUBERNETES_TAG in size_tags(instance, "shop", ["small"])
    assert step_tags() == {}


def test_outside_of_kubernetes_no_step_carries_a_request(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert step_tags() == {}


@pytest.mark.parametrize(("memory", "size"), [("512MiB", "large"), ("1GiB", "medium"), ("4GiB", "small")])
def test_a_rewrite_takes_what_its_plan_says(monkeypatch, memory, size):
    """More memory buys larger buffers, so the share falls slowly."""
    monkeypatch.setenv("IMPORT_PLATFORM_MEMORY", memory)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert rewrite_tags() == {MEMORY_TAG: size}
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    memory = json.loads(rewrite_tags()[KUBERNETES_TAG])["container_config"]["resources"]
    assert int(memory["requests"]["memory"][:-2]) <= int(memory["limits"]["memory"][:-2])
