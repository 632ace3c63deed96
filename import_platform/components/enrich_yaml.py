"""The `enrich:` list of a table in a defs.yaml."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictStr, WithJsonSchema, field_validator, model_validator

from import_platform.components.yaml_model import YamlModel
from import_platform.core.enrichment import Enrichment, Output, cache_id
from import_platform.core.table import PARTITION_COLUMN
from import_platform.resources.connection import foreign_templates
from import_platform.sources.json.columns import column_type

URL_IN_FLIGHT = 4
"""An endpoint is made to be asked by several; a function may not be, so it says so itself."""
IN_FLIGHT_MAX = 16
_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_PLACE = re.compile(r"(?<!\{)\{([^{}]+)\}(?!\})")
_CALL = ("function", "url", "method", "params", "headers", "answers")
Name = Annotated[StrictStr, Field(min_length=1)]
ColumnNames = Annotated[list[Name], Field(min_length=1)]


def _type(text: str) -> str:
    column_type(text)
    return text


def _path(text: str) -> str:
    if not text or "" in text.split("."):
        raise ValueError("must be names and positions such as results.0.lat")
    return text


Path = Annotated[StrictStr, AfterValidator(_path)]


class OutputYaml(YamlModel):
    """A column that an answer fills."""

    type: Annotated[StrictStr, AfterValidator(_type)] = Field(description="text, bigint, double, decimal(18,2), ...")
    path: Path | None = Field(None, description="where its value is, such as location.lat; its own name when left out")


class RateYaml(YamlModel):
    """How often at most; shared by all runs on one machine."""

    requests: Annotated[float, Field(gt=0)]
    per_seconds: Annotated[float, Field(gt=0)] = 1.0


class EnrichYaml(YamlModel):
    """Columns from a Python function or an HTTP endpoint, asked once per key for rows on their way into the lake."""

    name: Annotated[StrictStr, Field(pattern="^[a-z][a-z0-9_]*$")] = Field(
        description="names the columns <name>_status and <name>_error"
    )
    input: ColumnNames = Field(description="columns of the table that are sent, as the lake has them")
    output: Annotated[dict[Name, OutputYaml], Field(min_length=1)] = Field(
        description="column: its type, or {type, path}"
    )
    function: StrictStr | None = Field(None, description="module:function, given a list of dicts")
    url: StrictStr | None = Field(None, description="endpoint; {column} stands for a value with method GET")
    method: Literal["GET", "POST"] | None = Field(None, description="POST sends a JSON array; GET asks row by row")
    params: dict[Name, StrictStr] | None = Field(None, description="of the query; {column} with method GET")
    headers: dict[Name, StrictStr] | None = Field(None, description="such as Authorization: Bearer {{ env.NAME }}")
    answers: Path | None = Field(None, description="where the answers are in the response, if not its root")
    key: ColumnNames | None = Field(None, description="rows equal in these get one answer; input when left out")
    batch_rows: Annotated[int, Field(strict=True, ge=1, le=10_000)] | None = Field(
        None, description="100 when left out"
    )
    rate_limit: Annotated[
        RateYaml | None, WithJsonSchema(RateYaml.model_json_schema() | {"type": ["object", "null"]})
    ] = None
    in_flight: Annotated[int, Field(strict=True, ge=1, le=IN_FLIGHT_MAX)] | None = Field(
        None, description="requests or calls at a time; left out: 4 of a url, 1 of a function"
    )
    retries: Annotated[int, Field(strict=True, ge=0, le=20)] = 4
    timeout: Annotated[float, Field(gt=0)] = Field(30.0, description="seconds of one request or call")

    @field_validator("output", mode="before")
    @classmethod
    def _types(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: {"type": said} if isinstance(said, str) else said for name, said in value.items()}

    @model_validator(mode="after")
    def _one_call(self) -> EnrichYaml:
        if (self.function is None) == (self.url is None):
            raise ValueError("needs either function or url")
        if self.function is not None:
            self._check_function()
        else:
            self._check_url()
        names = [*self.output, f"{self.name}_status", f"{self.name}_error"]
        if PARTITION_COLUMN in names or len({name.lower() for name in names}) < len(names):
            raise ValueError("output names a column that is there already")
        return self

    def _check_function(self) -> None:
        if not _FUNCTION.fullmatch(self.function or ""):
            raise ValueError("function must be written like geo.lookup:locate")
        given = [name for name in _CALL[2:] if getattr(self, name) is not None]
        if given:
            raise ValueError(f"{', '.join(given)} does not go with function")

    def _check_url(self) -> None:
        url = self.url or ""
        if "{{" not in url and not re.match(r"https?://[^/]", url):
            raise ValueError("url must begin with https:// or http://")
        if foreign_templates(self._call):
            raise ValueError("only {{ env.NAME }} is understood in url, params and headers")
        places = {place.strip() for text in (url, *(self.params or {}).values()) for place in _PLACE.findall(text)}
        if self.method != "GET" and places:
            raise ValueError("{column} in url or params needs method: GET")
        if not places <= set(self.input):
            raise ValueError(f"{min(places - set(self.input))} stands in url or params and not under input")
        if self.method == "GET" and (not places or self.batch_rows not in (None, 1)):
            raise ValueError("method GET asks for one row: name its columns as {column}, and leave batch_rows out")

    @property
    def _call(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _CALL if getattr(self, name) is not None}

    def enrichment(self) -> Enrichment:
        outputs = tuple(
            Output(name, column_type(said.type), tuple(said.path.split(".")) if said.path else (name,))
            for name, said in self.output.items()
        )
        key = tuple(self.key or self.input)
        return Enrichment(
            self.name,
            tuple(self.input),
            key,
            outputs,
            cache_id(self._call, self.input, key, outputs),
            self._call,
            batch_rows=1 if self.method == "GET" else self.batch_rows or 100,
            rate=(self.rate_limit.requests, self.rate_limit.per_seconds) if self.rate_limit else None,
            retries=self.retries,
            timeout_seconds=self.timeout,
            in_flight=self.in_flight or (URL_IN_FLIGHT if self.function is None else 1),
        )


def _one_of_a_name(each: list[EnrichYaml] | None) -> list[EnrichYaml] | None:
    names = [enrich.name for enrich in each or ()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"lists {', '.join(twice)} more than once")
    return each


Enrich = Annotated[list[EnrichYaml] | None, AfterValidator(_one_of_a_name)]
