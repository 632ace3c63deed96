"""Dagster's home: created with a dagster.yaml that suits imports, and opened as an instance."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import yaml
from dagster._core.instance.ref import InstanceRef

from import_platform.errors import ConfigError
from import_platform.resources.event_log import kept_open

DAGSTER_YAML = """\
# Written once by import-platform; yours to edit. Reference: https://docs.dagster.io/deployment/oss/dagster-yaml
# Runs, events, schedules and logs are kept in this folder (SQLite and files).

telemetry:
  enabled: false

nux:
  enabled: false            # no welcome dialog in front of the asset pages

concurrency:
  pools:
    granularity: op         # a run of many tables holds a table's pool only while it works on that table
    default_limit: 1        # pool delta/<source>/<table>: one writer per table at a time
  runs:
    max_concurrent_runs: 2  # runs of one machine share IMPORT_PLATFORM_MEMORY; more of them wait for each other
    tag_concurrency_limits: # the schedules and sensors say how large a run will be: small, medium or large
      - {key: import_platform/memory, value: large, limit: 1}

run_monitoring:
  enabled: true
  start_timeout_seconds: 300
  cancel_timeout_seconds: 180
  free_slots_after_run_end_seconds: 60  # a cancelled run would keep its table's pool otherwise

run_retries:
  enabled: true
  max_retries: 0                        # steps retry themselves; a run is not repeated unless its tags ask for it
  retry_on_asset_or_op_failure: false

retention:
  schedule:
    purge_after_days: {skipped: 3, success: 30, failure: 90, started: 30}
  sensor:
    purge_after_days: {skipped: 3, success: 30, failure: 90, started: 30}
"""


def prepare_home(home: Path) -> None:
    """Creates the folder and its dagster.yaml unless they exist, and makes it this process's DAGSTER_HOME.

    Raises:
        ConfigError: the folder cannot be written (set DAGSTER_HOME elsewhere).
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "dagster.yaml").exists():
            (home / "dagster.yaml").write_text(DAGSTER_YAML, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            "the Dagster home cannot be written",
            path=str(home),
            reason=error.strerror,
            remedy="Point DAGSTER_HOME at a folder you may write to.",
        ) from error
    os.environ["DAGSTER_HOME"] = str(home)


_NO_OUTPUT = {
    "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
}


def open_instance(home: Path, *, keep_output: bool = True) -> dg.DagsterInstance:
    """The instance of this home, created where needed; use it as a context manager.

    `keep_output` False leaves this process's stdout and stderr alone: Dagster would otherwise divert both into files
    while a step runs, and with them a terminal's progress bars.

    Raises:
        ConfigError: the folder cannot be written, or its dagster.yaml is not understood.
    """
    prepare_home(home)
    try:
        overrides = {} if keep_output else _NO_OUTPUT
        return dg.DagsterInstance.from_ref(kept_open(InstanceRef.from_dir(str(home), overrides=overrides)))
    except (dg.DagsterError, yaml.YAMLError) as error:
        raise ConfigError(
            "the Dagster home cannot be opened",
            path=str(home / "dagster.yaml"),
            reason=str(error).splitlines()[0][:200],
            remedy="Correct dagster.yaml, or move it away to get a fresh one.",
        ) from error
