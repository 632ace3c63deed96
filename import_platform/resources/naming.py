"""What Dagster calls the things of a table; one place, so that assets, jobs and the command line agree."""

from __future__ import annotations

import hashlib
import re

import dagster as dg

from import_platform.core.names import escape

SOURCE_TAG = "import_platform/source"
HOST_TAG = "import_platform/host"
PROCESS_TAG = "import_platform/process"


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


def sync_job(source: str) -> str:
    """The asset job that schedules and the command line run."""
    return f"sync_{source}"


def sync_now_job(source: str) -> str:
    """The op job with a Launchpad, for people."""
    return f"sync_{source}_now"


def discover_job(source: str) -> str:
    return f"discover_{source}"
