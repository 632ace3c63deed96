"""The memory class of a run, and the request of its pod, from what the tables' last syncs held."""

from __future__ import annotations

import json

import dagster as dg
import pytest

from import_platform.core.budget import GIB, MIB
from import_platform.core.run_size import KUBERNETES_TAG, MEMORY_TAG
from import_platform.resources.naming import EXPECTED_MEMORY, asset_key
from import_platform.resources.run_size import rewrite_tags, size_tags, step_pod, step_tags


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


def memory_of(pod):
    return {name: each["memory"] for name, each in pod["container_config"]["resources"].items()}


def test_a_steps_pod_asks_for_what_its_plan_or_its_table_needs(instance):
    assert memory_of(step_pod(instance, "write[part_0_100M]", step_tags("shop", "middle"))) == {
        "requests": "125Mi",
        "limits": "1280Mi",
    }
    assert memory_of(step_pod(instance, "shop__middle", step_tags("shop", "middle"))) == {
        "requests": "625Mi",
        "limits": "1280Mi",
    }
    for tags in (step_tags("shop", "never synced"), step_tags("shop", "odd"), {}):
        assert memory_of(step_pod(instance, "shop__other", tags)) == {"requests": "1280Mi", "limits": "1280Mi"}


def test_a_table_whose_name_has_a_slash_is_that_table(instance):
    metadata = {EXPECTED_MEMORY: 100 * MIB, "budget_bytes": GIB}
    instance.report_runless_asset_event(dg.AssetMaterialization(asset_key("shop", "a/b"), metadata=metadata))
    assert memory_of(step_pod(instance, "shop__a", step_tags("shop", "a/b")))["requests"] == "125Mi"


def test_the_limit_of_working_pods_goes_before_what_this_process_has_and_what_past_runs_had(instance, monkeypatch):
    """The code location places runs and is smaller than they are; a limit that is raised has to reach the next run."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("IMPORT_PLATFORM_POD_MEMORY", "4096Mi")
    for tables, asked in ((["small"], "250Mi"), (["never synced"], "4096Mi")):
        tags = size_tags(instance, "shop", tables)
        assert memory_of(json.loads(tags[KUBERNETES_TAG])) == {"requests": asked, "limits": "4096Mi"}
    assert size_tags(instance, "shop", ["large"])[MEMORY_TAG] == "small"
    assert memory_of(json.loads(rewrite_tags()[KUBERNETES_TAG]))["limits"] == "4096Mi"
    assert memory_of(step_pod(instance, "shop__small", step_tags("shop", "small"))) == {
        "requests": "250Mi",
        "limits": "4096Mi",
    }


def test_a_run_whose_steps_are_pods_is_as_large_as_its_deployment_says(instance, monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("IMPORT_PLATFORM_EXECUTOR", "kubernetes")
    assert size_tags(instance, "shop", ["small"]) == {MEMORY_TAG: "small"}
    assert KUBERNETES_TAG not in rewrite_tags()


def test_where_nobody_ever_said_how_much_there_is_the_pod_is_left_to_the_chart(instance, monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.delenv("IMPORT_PLATFORM_MEMORY")
    assert KUBERNETES_TAG not in size_tags(instance, "shop", ["never synced"])
    assert KUBERNETES_TAG in size_tags(instance, "shop", ["small"])
    assert step_pod(instance, "shop__small", step_tags("shop", "small")) == {}


@pytest.mark.parametrize(("memory", "size"), [("512MiB", "large"), ("1GiB", "medium"), ("4GiB", "small")])
def test_a_rewrite_takes_what_its_plan_says(monkeypatch, memory, size):
    """More memory buys larger buffers, so the share falls slowly."""
    monkeypatch.setenv("IMPORT_PLATFORM_MEMORY", memory)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert rewrite_tags() == {MEMORY_TAG: size}
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    pod = memory_of(json.loads(rewrite_tags()[KUBERNETES_TAG]))
    assert int(pod["requests"][:-2]) <= int(pod["limits"][:-2])
