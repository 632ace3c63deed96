"""Changes told by a list of events instead of by a field of the rows: each event holds the row as it became."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from import_platform.core.cursor import decode
from import_platform.sources.json.columns import INSTANT
from import_platform.sources.json.typing import Row
from import_platform.sources.protocol import CursorWindow
from import_platform.sources.rest.declaration import Changes

CHANGED_AT, DELETED = "_changed_at", "_deleted"
"""When the event happened, null for rows of the first load; and whether it says that the row went away."""


def follows_events(changes: Changes | None, window: CursorWindow | None, now: datetime) -> bool:
    """Whether a read of changes may go by events: after the first load, and while the API still keeps them all."""
    if changes is None or window is None or window.after is None or window.column != CHANGED_AT:
        return False
    after: datetime = decode(window.after, INSTANT)
    return now - after < timedelta(days=changes.kept_days)


def event_params(changes: Changes, window: CursorWindow) -> dict[str, Any]:
    """The parameters that ask for the window's events, `lag` earlier because events are shown late."""
    after: datetime = decode(str(window.after), INSTANT)
    start = after - timedelta(seconds=changes.lag)
    since_1970 = (start - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    return {**changes.params, changes.start_param: since_1970}


def changed_rows(events: Iterable[Any], changes: Changes, key: tuple[str, ...], seen: set[Any]) -> list[Row]:
    """The rows of the events, the newest of each key only: events come newest first, several in one second."""
    rows: list[Row] = []
    for event in events:
        row = _at(event, changes.row_path)
        if not isinstance(row, dict) or changes.object not in (None, row.get(changes.object_path)):
            continue  # an event of this kind may also be about something that hangs on the row
        identity = tuple(str(row.get(name)) for name in key)
        if identity in seen:
            continue
        seen.add(identity)
        suffix = changes.deleted_suffix
        gone = suffix is not None and str(_at(event, changes.type_path) or "").endswith(suffix)
        rows.append({**row, CHANGED_AT: _at(event, changes.cursor_path), DELETED: gone or None})
    return rows


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
