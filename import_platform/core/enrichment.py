"""Columns that a table gets from a function or an endpoint: what is asked, by which key, and what an answer fills."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pyarrow as pa

from import_platform.core.wording import nearest
from import_platform.errors import ConfigError

OK = "ok"
FAILED = "failed"


class Blame(StrEnum):
    """Who has to act on a refusal: ROWS a row that is asked for, CALL somebody, later; OWNER before anything works."""

    ROWS = "rows"
    CALL = "call"
    OWNER = "owner"


@dataclass(frozen=True)
class Refusal:
    """Why there is no answer, in a sentence without values of rows or secrets."""

    sentence: str
    blame: Blame = Blame.ROWS


Answer = tuple[Any, ...] | Refusal
"""Values of the outputs in their order, all None where nothing was found, or why there are none."""


@dataclass(frozen=True)
class Output:
    """A column that an answer fills; `path` leads to its value, numbers in it count elements of a list."""

    name: str
    type: pa.DataType
    path: tuple[str, ...]


@dataclass(frozen=True)
class Enrichment:
    """A function or an endpoint, asked for the rows of a table in batches.

    `call` is what YAML says of it, with secrets once they are resolved. Rows with equal values of `key` get one
    answer, which is remembered below `cache_id`; it changes with anything that could change the answers. `rate` is
    requests per seconds, `retries` counts those after the first try, `in_flight` the batches asked for at a time.
    """

    name: str
    inputs: tuple[str, ...]
    key: tuple[str, ...]
    outputs: tuple[Output, ...]
    cache_id: str
    call: Mapping[str, Any] = field(repr=False)
    batch_rows: int = 100
    rate: tuple[float, float] | None = None
    retries: int = 4
    timeout_seconds: float = 30.0
    in_flight: int = 1

    @property
    def status(self) -> str:
        """The column that says `ok` or `failed`; NULL where there was nothing to ask or nobody has asked yet."""
        return f"{self.name}_status"

    @property
    def error(self) -> str:
        """The column with the sentence of a failure."""
        return f"{self.name}_error"

    @property
    def schema(self) -> pa.Schema:
        columns = [pa.field(output.name, output.type) for output in self.outputs]
        return pa.schema([*columns, pa.field(self.status, pa.string()), pa.field(self.error, pa.string())])


def cache_id(call: Mapping[str, Any], inputs: Sequence[str], key: Sequence[str], outputs: Sequence[Output]) -> str:
    """A name for what the answers depend on. Headers are left out, so a renewed token keeps the cache."""
    asked = {name: value for name, value in call.items() if name != "headers"}
    told = [[output.name, str(output.type), *output.path] for output in outputs]
    text = json.dumps([asked, list(inputs), list(key), told], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def enriched_schema(enrichments: Sequence[Enrichment]) -> pa.Schema:
    """The columns that enrichments add to a table."""
    return pa.schema([field for each in enrichments for field in each.schema])


def without_enriched(schema: pa.Schema, enrichments: Sequence[Enrichment]) -> pa.Schema:
    """The columns that come from the source."""
    added = set(enriched_schema(enrichments).names)
    return pa.schema([field for field in schema if field.name not in added])


def check_enrichments(enrichments: Sequence[Enrichment], columns: Sequence[str], *, sampled: bool) -> None:
    """Holds what is declared against the columns of the table, as the lake names them. Of a `sampled` table those that
    the first rows lack have to be declared.

    Raises:
        ConfigError: an input does not exist, or a column that an enrichment adds exists already.
    """
    taken = {name.lower() for name in columns}
    for each in enrichments:
        check_asked(each, (*each.inputs, *each.key), columns, sampled=sampled)
        for name in each.schema.names:
            if name.lower() in taken:
                raise ConfigError(
                    "an enrichment adds a column that is there already",
                    enrichment=each.name,
                    column=name,
                    remedy="Give the output, or the enrichment, another name.",
                )
            taken.add(name.lower())


def check_asked(enrichment: Enrichment, names: Sequence[str], columns: Sequence[str], *, sampled: bool = False) -> None:
    """Raises ConfigError: one of these inputs or keys is not among the columns."""
    for name in names:
        if name in columns:
            continue
        remedy = nearest(name, columns, none="The table has", most=1, shown=30)
        if sampled:
            remedy += " Declare the type of one that only later rows have, under columns:."
        raise ConfigError(
            "an enrichment asks with a column that the table does not have",
            enrichment=enrichment.name,
            column=name,
            remedy=remedy,
        )
