"""The only module that opens dlt's resources. It leans on three names that dlt keeps to itself (the pipe of a resource,
its iterator, the context that holds its state), which is why pyproject.toml holds dlt within one minor release."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from importlib import import_module
from typing import Any

import pyarrow as pa
from dlt.common.configuration.container import Container
from dlt.common.configuration.resolve import inject_section
from dlt.common.json import json as dlt_json
from dlt.common.pipeline import StateInjectableContext
from dlt.extract import DltResource, DltSource
from dlt.extract.incremental import Incremental, IncrementalResourceWrapper
from dlt.extract.pipe_iterator import ManagedPipeIterator

from import_platform.errors import ConfigError, SourceRejected, SourceUnavailable
from import_platform.sources.protocol import TokenExpired
from import_platform.sources.rest.client import Fetched

# dlt asks in the thread that fetches whether a row is a pandas frame, and Arrow imports pandas when it first converts
# one: dlt would then find a module that is not whole yet.
with suppress(ImportError):
    import_module("pandas")


_INSTANT = re.compile(r"\d{4}-\d\d-\d\d(T|$)")


@dataclass(frozen=True)
class Hints:
    """What a resource says of itself. `resumes` promises that its rows come in the cursor's order."""

    primary_key: tuple[str, ...]
    cursor: str | None
    resumes: bool


def open_resources(path: str, arguments: Mapping[str, Any]) -> dict[str, DltResource]:
    """The resources of `package.module:name`, a source, a resource or a function that makes one.

    Raises:
        ConfigError: nothing of that name can be imported, or it is none of these.
    """
    module, _, name = path.partition(":")
    try:
        found: Any = getattr(import_module(module), name)
        if not isinstance(found, DltSource) and (arguments or not isinstance(found, DltResource)):
            found = found(**arguments)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            "the dlt source cannot be opened",
            source=path,
            said=type(error).__name__,
            remedy="Write source: package.module:function, and its parameters under arguments.",
        ) from None
    if isinstance(found, DltResource):
        return {found.name: found}
    if not isinstance(found, DltSource):
        raise ConfigError("this is neither a dlt source nor a resource", source=path, remedy="Name one of both.")
    return {name: resource for name, resource in found.resources.items() if name in found.selected_resources}


class Reading:
    """Pages of a resource. `hints` are complete after the first page: dlt binds a cursor when the resource starts."""

    def __init__(self, resource: DltResource, hints: Hints | None = None) -> None:
        self._resource = resource
        columns = resource.compute_table_schema().get("columns", {})
        key = tuple(name for name, column in columns.items() if column.get("primary_key"))
        self.hints = hints or Hints(key, None, resumes=False)

    def pages(self, begin: Mapping[str, Any] | None, after: Any) -> Iterator[Fetched]:
        """`begin` is the state after an earlier page, `after` a cursor value to start at.

        Raises:
            TokenExpired: the state is of another make.
            SourceUnavailable: the resource failed.
        """
        section = self._resource._get_config_section_context()  # noqa: SLF001  see the module
        state: Any = _restored(begin) if begin is not None else {"sources": {}}
        if begin is None and after is not None and self.hints.cursor is not None:
            known = {"initial_value": after, "last_value": after, "unique_hashes": []}
            held = {"resources": {self._resource.name: {"incremental": {self.hints.cursor: known}}}}
            state["sources"][section.source_state_key or "default"] = held
        context = StateInjectableContext(state=state)
        with inject_section(section), Container().injectable_context(context):
            found: Any = ManagedPipeIterator.from_pipes([self._resource._pipe])  # noqa: SLF001
        found.set_context([section, context])
        number = int(begin["page"]) if begin is not None else 0
        while (item := _next(found, self._resource.name)) is not None:
            number += 1
            self._look_at(item)
            resumes = self.hints.resumes
            following = {"page": number, "state": dlt_json.typed_dumps(state) if resumes else ""}
            rows = [_row(row) for row in _rows(item.item)]
            yield Fetched(rows, following, 200 * len(rows), number, resumable=resumes)

    def _look_at(self, item: Any) -> None:
        if self.hints.cursor is not None:
            return
        wrapper: Any = item.pipe.get_by_type(IncrementalResourceWrapper, Incremental)
        incremental = wrapper.incremental if isinstance(wrapper, IncrementalResourceWrapper) else wrapper
        if incremental is not None:
            self.hints = replace(
                self.hints, cursor=str(incremental.cursor_path), resumes=incremental.row_order == "asc"
            )


def _next(found: Any, name: str) -> Any:
    try:
        return next(found, None)
    except Exception as error:  # noqa: BLE001  a source may raise anything
        # Whatever a source raises: its text may quote rows or a password.
        status = getattr(getattr(error.__cause__ or error, "response", None), "status_code", None)
        kind = SourceRejected if status in (400, 401, 403, 404) else SourceUnavailable
        raise kind(
            "the dlt resource failed",
            table=name,
            said=type(error.__cause__ or error).__name__,
            status=status,
            remedy="Run the resource by itself to see its whole message.",
        ) from None


def _restored(begin: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = dlt_json.typed_loads(begin["state"])
    except (KeyError, ValueError, TypeError):
        raise TokenExpired("the state of the dlt resource is not understood", remedy="It is read again.") from None
    return copy.deepcopy(found)


def _rows(item: Any) -> list[Any]:
    if isinstance(item, (pa.Table, pa.RecordBatch)):
        return item.to_pylist()  # type: ignore[no-any-return]
    if hasattr(item, "to_dict") and hasattr(item, "columns"):  # a pandas frame
        return item.to_dict("records")  # type: ignore[no-any-return]
    return list(item) if isinstance(item, (list, tuple)) else [item]


def _row(row: Any) -> Any:
    return {str(name): _value(value) for name, value in row.items()} if isinstance(row, Mapping) else row


def _value(value: Any) -> Any:
    """What JSON would say of it, exact; instants and numbers stay what they are."""
    if value is None or isinstance(value, (str, int, float, bool, Decimal, datetime, date)):
        return datetime.fromisoformat(value.isoformat()) if isinstance(value, datetime) else value
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, (Mapping, list, tuple)):
        return json.loads(dlt_json.dumps(value))
    return str(value)


def starts_at(text: str, like: Any) -> Any:
    """A cursor value of the make that the resource's rows have."""
    if isinstance(like, (int, Decimal)):
        return type(like)(text)
    if not _INSTANT.match(text):
        return text
    at = datetime.fromisoformat(text)
    if isinstance(like, datetime):
        return at if like.tzinfo is not None else at.replace(tzinfo=None)
    if isinstance(like, date):
        return at.date()
    return text[: len(str(like))] if isinstance(like, str) and len(like) == len("2025-01-01") else text
