"""What a `connection: {kind: rest, ...}` may say. The words are those of dlt's `rest_api` configuration.

    client:             base_url, headers, auth, paginator, response_actions, rate_limit, timeout, parallel
    resource_defaults:  a resource whose keys the others start from
    resources:          name, endpoint (path, method, params, json, data_selector, paginator, incremental, ...),
                        primary_key, columns, include_from_parent

Reading it needs neither dlt nor a secret: templates of the environment may still stand in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from import_platform.errors import ConfigError
from import_platform.sources.http.words import Client, PaginatorWords, ResponseAction, Words
from import_platform.sources.json.columns import DeclaredColumn, declared_columns

PLACEHOLDER = re.compile(r"\{resources\.([A-Za-z_][A-Za-z0-9_]*)\.([^{}]+)\}")
"""A field of the parent's row in a path or parameter: `invoices/{resources.invoices.id}/lines`."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Incremental(Words):
    """The field that orders changes, and the parameters that ask for changes only.

    `row_order: desc` says that the newest rows come first. `lag` seconds are read again by every sync, for APIs that
    show a change late. Without `start_param` the API gives everything and older rows are left out here.
    """

    cursor_path: str
    initial_value: str | int | None = None
    start_param: str | None = None
    end_param: str | None = None
    format: str = "iso"
    start_exclusive: bool = False
    row_order: Literal["asc", "desc"] | None = None
    lag: float = Field(0, ge=0)

    @field_validator("format")
    @classmethod
    def _format(cls, text: str) -> str:
        if text in ("iso", "date", "epoch", "epoch_ms") or "%" in text:
            return text
        raise ValueError("format must be iso, date, epoch, epoch_ms or a pattern such as %Y-%m-%d %H:%M")

    @property
    def column(self) -> str:
        return self.cursor_path.removeprefix("$.")


class Changes(Words):
    """A list of events that tell how rows changed, newest first, each with the row as it became. The first load reads
    the rows' own list; later syncs read events, unless the last was longer ago than the API keeps them."""

    path: str
    params: Mapping[str, Any] = Field(default_factory=dict)
    start_param: str = "created[gte]"
    cursor_path: str = "created"
    row_path: str = "data.object"
    type_path: str = "type"
    deleted_suffix: str | None = ".deleted"
    object: str | None = None
    object_path: str = "object"
    kept_days: float = 29
    lag: float = 300


class Endpoint(Words):
    """One list of the API, or one list per row of a parent."""

    path: str
    method: Literal["GET", "POST", "get", "post"] = "GET"
    params: Mapping[str, Any] = Field(default_factory=dict, repr=False)
    json_body: Mapping[str, Any] | None = Field(None, alias="json", repr=False)
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False)
    data_selector: str | None = None
    empty_when_absent: bool = False
    paginator: PaginatorWords | None = None
    incremental: Incremental | None = None
    response_actions: tuple[ResponseAction, ...] = ()

    @field_validator("path")
    @classmethod
    def _path(cls, text: str) -> str:
        if re.match(r"[a-z]+://", text):
            raise ValueError("path is relative to base_url")
        return text


def _keys(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class Resource(Words):
    """One table. `parent` is found from `{resources.<parent>.<field>}` in the path or a resolved parameter."""

    name: str
    endpoint: Endpoint
    primary_key: Annotated[tuple[str, ...], BeforeValidator(_keys)] = ()
    columns: Annotated[tuple[DeclaredColumn, ...], BeforeValidator(declared_columns)] = ()
    include_from_parent: tuple[str, ...] = ()
    changes: Changes | None = None

    @field_validator("name")
    @classmethod
    def _name(cls, text: str) -> str:
        if not _NAME.fullmatch(text):
            raise ValueError("a resource's name is made of letters, digits and _")
        return text

    @property
    def parent(self) -> str | None:
        return next((name for name, _ in self.parent_fields), None)

    @property
    def parent_fields(self) -> tuple[tuple[str, str], ...]:
        """(parent, field) of every value that a request takes from the parent's row."""
        texts = [self.endpoint.path, *(v for v in self.endpoint.params.values() if isinstance(v, str))]
        found = [match.groups() for text in texts for match in PLACEHOLDER.finditer(text)]
        resolved = [(p["resource"], p["field"]) for p in self.endpoint.params.values() if _is_resolve(p)]
        return tuple(dict.fromkeys([*((a, b) for a, b in found), *resolved]))


class RestApi(Words):
    """The whole declaration of an API."""

    client: Client
    resources: tuple[Resource, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _parents_exist(self) -> RestApi:
        names = [resource.name for resource in self.resources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"resources lists {', '.join(twice)} more than once")
        for resource in self.resources:
            parents = {parent for parent, _ in resource.parent_fields}
            if len(parents) > 1:
                raise ValueError(f"{resource.name} names {len(parents)} parents; a table has one")
            unknown = sorted(parents - set(names))
            if unknown or resource.name in parents:
                raise ValueError(f"{resource.name} has a parent that is no other resource: {(unknown or names)[0]}")
            if parents and resource.endpoint.incremental is not None:
                raise ValueError(
                    f"{resource.name} follows the changes of its parent, so it has no incremental of its own"
                )
            if resource.changes is not None and (parents or not resource.primary_key or resource.endpoint.incremental):
                raise ValueError(
                    f"{resource.name} has changes, so it needs a primary key, no parent and no incremental"
                )
            if resource.include_from_parent and not parents:
                raise ValueError(f"{resource.name} has include_from_parent but no parent")
        return self

    def resource(self, name: str) -> Resource | None:
        return next((each for each in self.resources if each.name == name), None)


def parse(connection: Mapping[str, Any]) -> RestApi:
    """The declaration with defaults filled in.

    Raises:
        ConfigError: the sentence names the key; values are not shown.
    """
    resources = whole_resources(connection)
    try:
        return RestApi.model_validate({"client": connection.get("client"), "resources": resources})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "connection"
        raise ConfigError(
            first["msg"].removeprefix("Value error, "), key=place, remedy="See docs/rest.md for the words."
        ) from None


def whole_resources(connection: Mapping[str, Any]) -> list[Any]:
    """The resources as written, each with the defaults filled in."""
    defaults = connection.get("resource_defaults") or {}
    resources = connection.get("resources")
    if not isinstance(defaults, Mapping):
        raise ConfigError(
            "resource_defaults is not a mapping", key="resource_defaults", remedy="Write what all resources share."
        )
    if not isinstance(resources, Sequence) or isinstance(resources, str):
        raise ConfigError("resources is not a list", key="resources", remedy="Write resources: [{name: ...}].")
    return [_merged(defaults, each) for each in resources]


def depths(connection: Mapping[str, Any]) -> dict[str, int]:
    """How many parents each child hangs on; raises as `parse`."""
    api = parse(connection)
    parents = {resource.name: resource.parent for resource in api.resources}

    def depth(name: str | None) -> int:
        seen = set()
        while name is not None and (parent := parents.get(name)) is not None and name not in seen:
            seen.add(name)
            name = parent
        return len(seen)

    return {name: found for name in parents if (found := depth(name))}


def _merged(defaults: Mapping[str, Any], resource: Any) -> Any:
    if isinstance(resource, str):
        resource = {"name": resource}
    if not isinstance(resource, Mapping):
        return resource
    merged = _deep(_endpoint_as_mapping(defaults), _endpoint_as_mapping(resource))
    endpoint = _incremental_moved(merged.get("endpoint"))
    merged = merged if endpoint is None else {**merged, "endpoint": endpoint}
    if "name" in merged and (endpoint is None or (isinstance(endpoint, dict) and "path" not in endpoint)):
        merged["endpoint"] = {**(endpoint or {}), "path": str(merged["name"])}
    return {key: value for key, value in merged.items() if key not in _TOLERATED}


def _endpoint_as_mapping(resource: Mapping[str, Any]) -> dict[str, Any]:
    endpoint = resource.get("endpoint")
    return {**resource, "endpoint": {"path": endpoint}} if isinstance(endpoint, str) else dict(resource)


def _incremental_moved(endpoint: Any) -> Any:
    """dlt also lets a parameter itself be incremental; here that is said in one place."""
    params = endpoint.get("params") if isinstance(endpoint, Mapping) else None
    if not isinstance(params, Mapping):
        return endpoint
    kept, incremental = {}, dict(endpoint.get("incremental") or {})
    for name, value in params.items():
        if isinstance(value, Mapping) and value.get("type") == "incremental":
            incremental |= {key: said for key, said in value.items() if key != "type"} | {"start_param": name}
        elif isinstance(value, str) and value in _START:
            incremental["start_param"] = name
        elif isinstance(value, str) and value in _END:
            incremental["end_param"] = name
        else:
            kept[name] = value
    return {**endpoint, "params": kept, **({"incremental": incremental} if incremental else {})}


_START = ("{incremental.start_value}", "{incremental.last_value}")
_END = ("{incremental.end_value}",)


def _deep(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        mine = merged.get(key)
        both = isinstance(mine, Mapping) and isinstance(value, Mapping)
        merged[key] = _deep(mine, value) if both and key != "paginator" else value  # type: ignore[arg-type]
    return merged


def _is_resolve(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("type") == "resolve" and {"resource", "field"} <= set(value)


_TOLERATED = ("write_disposition", "max_table_nesting", "parallelized", "selected", "table_name", "merge_key")
"""dlt's words for what the platform decides by itself or in `tables:`; a configuration that has them still loads."""
