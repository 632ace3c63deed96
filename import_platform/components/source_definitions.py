"""Wires one declared source: its assets with their checks, its jobs and its schedules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import dagster as dg
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext
from dagster._utils.warnings import suppress_dagster_warnings

from import_platform.assets.in_parts import Record, TableInParts
from import_platform.assets.maintain_table import maintain_in_step
from import_platform.assets.materialize import Outcome, Reading, materialize_table
from import_platform.assets.metadata import found_schema
from import_platform.assets.publish_asset import publish_assets
from import_platform.assets.repair_table import REPAIRS, repair_in_step
from import_platform.assets.table_asset import Dressing, description, table_asset
from import_platform.checks import table_checks
from import_platform.components.origin import Origin
from import_platform.core.imported import imported_tables
from import_platform.core.repartition import RepartitionRecord
from import_platform.core.report import Status
from import_platform.core.table import DeclaredTable
from import_platform.errors import ConfigError
from import_platform.jobs.discovery import discovery_job, discovery_schedule
from import_platform.jobs.due import cron_of, stale_after
from import_platform.jobs.in_parts import in_parts_schedule, sync_in_parts
from import_platform.jobs.reconcile import reconcile_schedules
from import_platform.jobs.repartition import maintenance_job
from import_platform.jobs.schedules import sync_schedules
from import_platform.jobs.sync_jobs import asset_sync_job, sync_now
from import_platform.jobs.table_job import TableStep
from import_platform.resources.naming import CODE_LOCATION, asset_key, sync_now_job
from import_platform.resources.platform import PlatformResource, SourceConfig
from import_platform.resources.project import read_settings
from import_platform.resources.snapshots import Snapshot

COUNTING_KINDS = frozenset({"postgres", "mysql", "sqlite", "duckdb"})
"""An API or a dlt resource would have to be read whole to be counted."""

PLATFORM = PlatformResource()


@suppress_dagster_warnings  # code references are in beta; a warning per table and load would hide real ones
def source_definitions(
    config: SourceConfig, tables: Sequence[DeclaredTable] | None, *, origin: Origin | None, snapshot: Snapshot | None
) -> dg.Definitions:
    """Everything Dagster shows of the source. `tables` None means every table of the snapshot; without one,
    none yet.
    """
    known = known_tables(config, tables, snapshot)
    discover = discovery_job(config, tables, known=len(known))
    definitions = dg.Definitions(
        jobs=[discover], schedules=[discovery_schedule(config, discover)], resources={"platform": PLATFORM}
    )
    if not known:
        return definitions
    job = asset_sync_job(config, known)
    maintenance = maintenance_job(config, known, _maintain(config))
    in_parts = [(table, _in_parts(config, table, snapshot)) for table in known if table.fan_out is not None]
    return dg.Definitions.merge(
        definitions,
        dg.Definitions(
            assets=[
                *(table_asset(config, table, _dressing(config, table, origin, snapshot)) for table in known),
                *publish_assets(config.name, known),
            ],
            jobs=[
                job,
                sync_now(config, known, _sync_and_record(config, snapshot)),
                maintenance,
                *(made for _, made in in_parts),
            ],
            schedules=[
                *sync_schedules(config, [table for table in known if table.fan_out is None], job),
                *(each for table, made in in_parts for each in in_parts_schedule(config, table, made)),
                *reconcile_schedules(config, known, maintenance),
            ],
            resources={"platform": PLATFORM},
        ),
    )


def _maintain(config: SourceConfig) -> TableStep:
    def maintain(
        context: dg.OpExecutionContext, platform: PlatformResource, table: DeclaredTable, options: Mapping[str, Any]
    ) -> None:
        if options["task"] in REPAIRS:
            repair_in_step(context, platform, config, table, options)
        else:
            maintain_in_step(context, platform, config.name, table, options)

    return maintain


def known_tables(
    config: SourceConfig, tables: Sequence[DeclaredTable] | None, snapshot: Snapshot | None
) -> tuple[DeclaredTable, ...]:
    return imported_tables(tables, config.patterns, [table.name for table in snapshot.tables] if snapshot else [])


def _dressing(config: SourceConfig, table: DeclaredTable, origin: Origin | None, snapshot: Snapshot | None) -> Dressing:
    key = asset_key(config.name, table.name)
    metadata: dict[str, Any] = {"source": config.name, "source_kind": config.connection.kind}
    with suppress(ConfigError):  # no project says where the lake is
        metadata |= {"dagster/uri": f"{read_settings().lake_uri.rstrip('/')}/{'/'.join(key.path)}"}
    metadata |= {"dagster/table_name": f"{config.name}.{table.name}", "dagster/storage_kind": "deltalake"}
    found = snapshot.table(table.name) if snapshot else None
    if found is not None:
        metadata["dagster/column_schema"] = found_schema(found, table)
        if found.row_estimate >= 0:
            metadata["source_row_estimate"] = found.row_estimate
    if origin is not None:
        line = origin.table_lines.get(table.name, origin.line)
        metadata["dagster/code_references"] = dg.CodeReferencesMetadataValue(
            code_references=[dg.LocalFileCodeReference(file_path=str(origin.path), line_number=line, label="defs.yaml")]
        )
    checks = _checks(config, table, snapshot)
    return Dressing(
        description=description(
            config,
            table,
            table_url=sync_now_url(config.name, table.name),
            source_url=sync_now_url(config.name, None),
        ),
        metadata=metadata,
        labels=table.labels.over(config.labels),
        wanted=checks.wanted,
        check_specs=checks.specs(key),
        evaluate=lambda outcome: [table_checks.as_result(verdict, key) for verdict in _judged(checks, outcome)],
        stale_after=checks.stale_after,
    )


def _checks(config: SourceConfig, table: DeclaredTable, snapshot: Snapshot | None) -> table_checks.TableChecks:
    """Those that can say something of this table, as far as is known without asking its source."""
    found = snapshot.table(table.name) if snapshot else None
    cron = cron_of(config, table)
    return table_checks.checks_of(
        table,
        table.checks.over(config.checks),
        stale_after=stale_after(cron, datetime.now(UTC)) if cron else None,
        has_key=bool(table.primary_key or found is None or found.primary_key),
        counts=config.connection.kind in COUNTING_KINDS,
    )


def _judged(checks: table_checks.TableChecks, outcome: Outcome) -> list[table_checks.Verdict]:
    """The verdicts on a sync; one that blocks makes its report a failed one."""
    limit_bytes, record = outcome.partition_max_bytes, outcome.record or RepartitionRecord()
    verdicts = checks.verdicts(
        table_checks.Checked(outcome.report, outcome.before, outcome.after, limit_bytes, outcome.findings, record)
    )
    wrong = table_checks.blocking_sentence(verdicts)
    if wrong is not None:
        outcome.report.status, outcome.report.error = Status.FAILED, wrong
    return verdicts


def _sync_and_record(config: SourceConfig, snapshot: Snapshot | None) -> Any:
    """What an op of the sync-now job does: the asset's own work, and as events what an asset would return."""

    def run_table(
        context: dg.OpExecutionContext, platform: PlatformResource, table: DeclaredTable, *, full_refresh: bool
    ) -> None:
        checks = _checks(config, table, snapshot)
        _record(config, table, checks)(context, platform, Reading(full_refresh=full_refresh, wanted=checks.wanted))

    return run_table


def _in_parts(config: SourceConfig, table: DeclaredTable, snapshot: Snapshot | None) -> dg.JobDefinition:
    checks = _checks(config, table, snapshot)
    steps = TableInParts(config.name, table.name, checks.wanted, _record(config, table, checks))
    return sync_in_parts(config, table, steps)


def _record(config: SourceConfig, table: DeclaredTable, checks: table_checks.TableChecks) -> Record:
    """The asset's own work, and as events what an asset would return; none yet where a flush was left to steps."""

    def record(context: dg.OpExecutionContext, platform: PlatformResource, reading: Reading) -> Outcome:
        outcome = materialize_table(context, platform, config, table, reading)
        key = asset_key(config.name, table.name)
        if outcome.plan is None:
            context.log_event(dg.AssetMaterialization(asset_key=key, metadata=outcome.metadata))
            for verdict in _judged(checks, outcome):
                # Dagster handles this event, its annotation has not learned of it.
                context.log_event(table_checks.as_evaluation(verdict, key))  # type: ignore[arg-type]
        return outcome

    return record


def sync_now_url(source: str, table: str | None) -> str:
    """A path of the UI: the Launchpad of the source's sync-now job, filled in with this table, or with all for None."""
    config = quote(f"tables: {json.dumps([table] if table is not None else [])}\nfull_refresh: false\n")
    return f"/locations/{quote(code_location())}/jobs/{sync_now_job(source)}/playground/setup?config={config}"


def code_location() -> str:
    """What the loading process calls this code location; the project's own name outside of one."""
    name = DefinitionsLoadContext.get().code_location_name if DefinitionsLoadContext.is_set() else None
    return name or CODE_LOCATION
