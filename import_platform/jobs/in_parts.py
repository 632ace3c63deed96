"""The job of a table whose large flushes several steps share: read, write the parts side by side, commit once."""

# No postponed annotations: Dagster reads those of the decorated functions below at run time.

from collections.abc import Iterator, Mapping
from datetime import UTC
from typing import Any, Protocol

import dagster as dg

from import_platform.core.fan_out import FanOut, FanOutPlan
from import_platform.core.run_size import step_label
from import_platform.core.table import DeclaredTable
from import_platform.jobs.dead_runs import end_dead_runs
from import_platform.jobs.due import cron_of, fires, held_tables
from import_platform.jobs.schedules import CONTINUE_CRON, TIMEZONE, checkpointed_tables, paused_tables
from import_platform.resources.executors import executor, is_one_process
from import_platform.resources.naming import SOURCE_TAG, in_parts_job, op_name, part_step, pool, read_step
from import_platform.resources.platform import PlatformResource, SourceConfig
from import_platform.resources.run_size import size_tags, step_tags

TRIES = 3
PAUSE_SECONDS = 5.0


class InParts(Protocol):
    """What the steps do: a sync that may leave its flush to parts, one part, and the commit of what they wrote."""

    def read(
        self, context: dg.OpExecutionContext, platform: PlatformResource, *, fan_out: FanOut | None, full_refresh: bool
    ) -> FanOutPlan | None: ...

    def write(self, context: dg.OpExecutionContext, platform: PlatformResource, *, number: int) -> None: ...

    def commit(self, context: dg.OpExecutionContext, platform: PlatformResource) -> None: ...


def sync_in_parts(config: SourceConfig, table: DeclaredTable, steps: InParts) -> dg.JobDefinition:
    """A killed part is tried again alone. A flush under the table's limit, or a run in one process, has no parts: the
    first step does it all."""
    name = op_name(config.name, table.name)
    common: dict[str, Any] = {"pool": pool(config.name, table.name), "tags": step_tags(config.name, table.name)}
    read, write, commit = (
        _read_op(config, table, steps, common),
        _part_op(config, table, steps),
        _commit_op(config, table, steps, common),
    )

    @dg.graph(name=in_parts_job(config.name, table.name))
    def graph() -> None:
        parts = read.alias(read_step(config.name, table.name))().map(write.alias(part_step(config.name, table.name)))
        commit.alias(name)(parts.collect())

    return graph.to_job(
        name=in_parts_job(config.name, table.name),
        executor_def=executor(),
        tags={SOURCE_TAG: config.name},
        description=f"Syncs {config.name}/{table.name}; several steps share a large flush, each with a memory request "
        "of its own, and one commit makes it visible. Its schedule starts it; people may, from the Launchpad.",
    )


def _read_op(config: SourceConfig, table: DeclaredTable, steps: InParts, common: Mapping[str, Any]) -> dg.OpDefinition:
    declared = table.fan_out or FanOut(0)

    @dg.op(
        name=f"in_parts_read_{op_name(config.name, table.name)}",
        out=dg.DynamicOut(dg.Nothing),
        config_schema={
            "full_refresh": dg.Field(bool, default_value=False, description="Read the table whole and swap it in."),
            "over_bytes": dg.Field(int, default_value=declared.over_bytes, description="Share a flush from here on."),
            "steps": dg.Field(int, default_value=declared.steps, description="Parts at most."),
            "always": dg.Field(bool, default_value=False, description="Share it in a run of one process too."),
        },
        required_resource_keys={"platform"},
        **common,
    )
    def read(context: dg.OpExecutionContext) -> Iterator[dg.DynamicOutput]:  # type: ignore[type-arg]  # see table_asset
        asked = context.op_config
        alone = is_one_process(context) and not asked["always"]
        fan_out = None if alone else FanOut(asked["over_bytes"], max(asked["steps"], 1))
        platform = context.resources.platform
        plan = steps.read(context, platform, fan_out=fan_out, full_refresh=asked["full_refresh"])
        for part in plan.parts if plan is not None else ():
            yield dg.DynamicOutput(None, mapping_key=step_label(part.number, part.need_bytes))

    return read


def _part_op(config: SourceConfig, table: DeclaredTable, steps: InParts) -> dg.OpDefinition:
    @dg.op(
        name=f"in_parts_write_{op_name(config.name, table.name)}",
        ins={"part": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
        tags=step_tags(config.name, table.name),
        retry_policy=dg.RetryPolicy(max_retries=TRIES - 1, delay=PAUSE_SECONDS),
        required_resource_keys={"platform"},
    )
    def write(context: dg.OpExecutionContext) -> None:
        key = context.get_mapping_key() or ""
        steps.write(context, context.resources.platform, number=int(key.partition("_")[0]))

    return write


def _commit_op(
    config: SourceConfig, table: DeclaredTable, steps: InParts, common: Mapping[str, Any]
) -> dg.OpDefinition:
    @dg.op(
        name=f"in_parts_commit_{op_name(config.name, table.name)}",
        ins={"parts": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
        required_resource_keys={"platform"},
        **common,
    )
    def commit(context: dg.OpExecutionContext) -> None:
        steps.commit(context, context.resources.platform)

    return commit


def in_parts_schedule(config: SourceConfig, table: DeclaredTable, job: dg.JobDefinition) -> list[dg.ScheduleDefinition]:
    """In place of the source's schedule, which leaves such a table out."""
    cron = cron_of(config, table)
    if cron is None:
        return []

    @dg.schedule(
        name=job.name,
        cron_schedule=sorted({cron, CONTINUE_CRON}),
        job=job,
        execution_timezone=TIMEZONE,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Syncs {config.name}/{table.name} at {cron} (UTC), and goes on with what a time limit ended.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        at, instance = context.scheduled_execution_time.astimezone(UTC), context.instance
        end_dead_runs(instance)
        if not fires(cron, at) and not checkpointed_tables(instance, config.name, [table.name]):
            return dg.SkipReason("it is not due, and its last sync left nothing to go on with")
        paused = paused_tables(config.name, [table.name], now=at)
        if paused:
            return dg.SkipReason(f"{table.name} {paused[table.name]}"[:1000])
        held = held_tables(instance, config.name, [table.name])
        if held:
            return dg.SkipReason(f"it is still being worked on by run {held[table.name][:8]}")
        return dg.RunRequest(tags=size_tags(instance, config.name, [table.name]))

    return [tick]
