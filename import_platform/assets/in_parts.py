"""The steps of a table whose large flushes are shared: what each does inside Dagster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from import_platform.assets.failure import for_unexpected, retry_or_failure
from import_platform.assets.materialize import Outcome, Reading, end_as_canceled, observer_of
from import_platform.core.budget import format_bytes
from import_platform.core.fan_out import FanOut, FanOutPlan
from import_platform.core.report import SyncReport
from import_platform.core.wording import counted
from import_platform.errors import ImportPlatformError, Interrupted
from import_platform.io.memory import MemoryWatch, tame_allocators
from import_platform.pipeline.fan_out import PlannedTable, planned_table, write_part
from import_platform.pipeline.table_checks import Wanted
from import_platform.resources.interrupts import stop_on_signals
from import_platform.resources.naming import table_id
from import_platform.resources.platform import PlatformResource
from import_platform.resources.process import tag_run
from import_platform.resources.session import current_session

Record = Callable[[Any, PlatformResource, Reading], Outcome]
"""Does what is asked of the table and records it as the asset would; nothing where its flush was left to steps."""


@dataclass(frozen=True)
class TableInParts:
    """`jobs.in_parts.InParts` for one table."""

    source: str
    table: str
    wanted: Wanted
    record: Record

    def read(
        self, context: Any, platform: PlatformResource, *, fan_out: FanOut | None, full_refresh: bool
    ) -> FanOutPlan | None:
        reading = Reading(full_refresh=full_refresh, wanted=self.wanted, fan_out=fan_out)
        return self.record(context, platform, reading).plan

    def commit(self, context: Any, platform: PlatformResource) -> None:
        """Goes on with the pass that was read; its flush takes the parts that are there. Nothing where none waits."""
        planned = planned_table(platform.lake(), self.source, self.table)
        if planned is not None:
            self.record(context, platform, Reading(wanted=self.wanted, read_before=planned.plan.read))

    def write(self, context: Any, platform: PlatformResource, *, number: int) -> None:
        """One part, inside its own share of the memory. Raises as `materialize_table`."""
        tag_run(context)
        tame_allocators()
        session, name = current_session(), table_id(self.source, self.table)
        with stop_on_signals(session.stop) as stop:
            try:
                planned = planned_table(platform.lake(), self.source, self.table)
                if planned is not None:
                    self._write(context, platform, planned, number, stop)
            except Interrupted:
                end_as_canceled(context)
            except ImportPlatformError as error:
                report = SyncReport(table=name)
                raise retry_or_failure(error, report, retries=context.retry_number, patient=True) from None
            except Exception as error:  # noqa: BLE001  the last net: whatever it is becomes one sentence
                raise for_unexpected(error) from None

    def _write(
        self,
        context: Any,
        platform: PlatformResource,
        planned: PlannedTable,
        number: int,
        stop: Callable[[], bool],
    ) -> None:
        part = next((part for part in planned.plan.parts if part.number == number), None)
        if part is None:
            return
        observer = observer_of(context, current_session())
        with (
            platform.share(self.source, self.table, part.need_bytes, stop=stop) as budget,
            MemoryWatch(budget.total_bytes) as watch,
        ):
            done = write_part(planned, part, budget, watch=watch, observer=observer)
        size = format_bytes(sum(int(file["size_bytes"]) for file in done.adds))
        held = f"held {format_bytes(watch.peak_bytes)} of {format_bytes(budget.total_bytes)}"
        observer.note(
            planned.id,
            f"part {number}: {counted(len(part.leaves), 'leaf')}, {counted(len(done.adds), 'file')}, {size}; {held}",
        )
