from __future__ import annotations

import os

import dagster as dg
import pytest

from import_platform.errors import ConfigError
from import_platform.resources.home import DAGSTER_YAML, open_instance, prepare_home


@pytest.fixture(autouse=True)
def _home_of_before(monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "restored after each test")


def test_a_new_home_limits_every_pool_to_one_and_frees_leaked_slots(tmp_path):
    with open_instance(tmp_path / "home") as instance:
        pools = instance.event_log_storage.get_pool_config()
        assert (str(pools.pool_granularity.value), pools.default_pool_limit) == ("op", 1)
        assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] == 60
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
    assert os.environ["DAGSTER_HOME"] == str(tmp_path / "home")


def test_an_edited_dagster_yaml_is_left_alone(tmp_path):
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: true}\n")
    prepare_home(tmp_path)
    assert (tmp_path / "dagster.yaml").read_text() == "telemetry: {enabled: true}\n"


def test_a_home_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="the Dagster home cannot be written"):
        prepare_home(tmp_path / "file" / "home")


@pytest.mark.parametrize("text", ["concurrency: {pools: {granularity: table}}\n", "unknown_key: 1\n", "a: [\n"])
def test_a_dagster_yaml_that_dagster_refuses_is_a_sentence(tmp_path, text):
    (tmp_path / "dagster.yaml").write_text(text)
    with pytest.raises(ConfigError, match="the Dagster home cannot be opened") as raised:
        open_instance(tmp_path)
    assert "\n" not in str(raised.value)


def test_leaving_output_alone_keeps_everything_else(tmp_path):
    with open_instance(tmp_path, keep_output=False) as instance:
        assert type(instance.compute_log_manager).__name__ == "NoOpComputeLogManager"
        assert isinstance(instance, dg.DagsterInstance)
    assert (tmp_path / "dagster.yaml").read_text() == DAGSTER_YAML
