"""What Dagster calls the things of a table; one place, so that assets, jobs and the command line agree."""

from __future__ import annotations

import hashlib
import re

import dagster as dg
from dagster._core.definitions.repository_definition.valid_definitions import SINGLETON_REPOSITORY_NAME
from dagster._core.storage.tags import HIDDEN_TAG_PREFIX, REPOSITORY_LABEL_TAG

from import_platform.core.names import escape
from import_platform.resources.connection import Connection

CODE_LOCATION = "import_platform.definitions"
"""What `import-platform ui`, `dagster dev` and workspace.yaml call this project's definitions."""

REPOSITORY_TAGS = {REPOSITORY_LABEL_TAG: f"{SINGLETON_REPOSITORY_NAME}@{CODE_LOCATION}"}
"""Without them the UI does not count a run as one of a job's, because nothing says which job of that name it was."""

SOURCE_TAG = "import_platform/source"
TABLE_TAG = "import_platform/table"
"""Of a run or step that works on one table: `shop/orders`."""
BILLABLE_TAG = "import_platform/billable"
"""Of a run: `true` or `false` overrides what the ledger would say of who pays."""

PASS_TAG = f"{HIDDEN_TAG_PREFIX}import_platform_pass"
PASS_TRY_TAG = f"{HIDDEN_TAG_PREFIX}import_platform_pass_try"
HOST_TAG = f"{HIDDEN_TAG_PREFIX}import_platform_host"
PROCESS_TAG = f"{HIDDEN_TAG_PREFIX}import_platform_process"
"""For machines only: the UI would show any other tag at every run."""

STOPPED = "The process was asked to stop"
GONE = "The process of this run is gone"
"""How the messages begin with which the platform itself ends a run; sensors tell from them who wanted its end."""

DEPLOYS_TAG = "import_platform/relaunched_after_deploy"
KILLS_TAG = "import_platform/relaunched_after_kill"
"""How often a run's forebears were started again, for which reason."""

EXPECTED_MEMORY = "expected_memory_bytes"
"""Metadata of a sync: what the table's next run is expected to hold, from what its steps held."""


def asset_key(source: str, table: str) -> dg.AssetKey:
    return dg.AssetKey([source, escape(table)])


def table_id(source: str, table: str) -> str:
    """`shop/orders`: how people, reports and logs name a table."""
    return f"{source}/{table}"


def partitions_def(source: str, table: str) -> dg.DynamicPartitionsDefinition:
    return dg.DynamicPartitionsDefinition(name=f"{source}/{escape(table)}")


def pool(source: str, table: str) -> str:
    """Of limit 1: orders the work on a table. Correctness never rests on it."""
    return f"delta/{source}/{escape(table)}"


def op_name(source: str, table: str) -> str:
    """Letters, digits and underscores, and distinct for distinct tables: Dagster allows nothing else in a
    step's name.
    """
    plain = re.sub(r"\W", "_", f"{source}__{table}", flags=re.ASCII)
    if plain == f"{source}__{table}" and "__" not in table:
        return plain
    return f"{plain}_{hashlib.sha256(table.encode()).hexdigest()[:8]}"


def order_tags(connection: Connection, table: str) -> dict[str, str]:
    """Puts a table after those that it hangs on, where one process works on both."""
    depth = connection.depths.get(table, 0)
    return {"dagster/priority": str(-depth)} if depth else {}


def read_step(source: str, table: str) -> str:
    """Of the job that shares a table's flush among steps; the one that commits is called as the table's own step."""
    return f"{op_name(source, table)}__read"


def part_step(source: str, table: str) -> str:
    return f"{op_name(source, table)}__part"


def table_step(step_key: str) -> str:
    """The table's own step behind the key of any that works for it."""
    return step_key.partition("[")[0].removesuffix("__read").removesuffix("__part")


def in_parts_job(source: str, table: str) -> str:
    return f"sync_{op_name(source, table)}_in_parts"


def sync_job(source: str) -> str:
    """The asset job that schedules and the command line run."""
    return f"sync_{source}"


def sync_now_job(source: str) -> str:
    """The op job with a Launchpad, for people."""
    return f"sync_{source}_now"


def maintain_job(source: str) -> str:
    """The op job that splits, merges back and compacts leaves."""
    return f"maintain_{source}"


def reconcile_schedule(source: str) -> str:
    """Starts the op job `maintain_job` with the task reconcile."""
    return f"reconcile_{source}"


def discover_job(source: str) -> str:
    return f"discover_{source}"
