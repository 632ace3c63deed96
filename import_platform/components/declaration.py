"""The attributes of a defs.yaml: what may be written, checked, and turned into the platform's own values.

The pydantic models are both the schema that `dg check yaml` and editors use and the check that loading runs.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from dagster._utils.schedules import is_valid_cron_schedule
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
    StrictStr,
    WithJsonSchema,
    model_validator,
)

from import_platform.components.enrich_yaml import Enrich
from import_platform.components.publish_yaml import Publish, check_groups
from import_platform.components.yaml_model import LabelledYaml, YamlModel
from import_platform.core.budget import parse_bytes
from import_platform.core.fan_out import STEPS, FanOut
from import_platform.core.imported import TablePatterns
from import_platform.core.table import (
    ColumnChoice,
    DeclaredTable,
    Granularity,
    HashPartition,
    Mask,
    NumberPartition,
    PartitionSpec,
    SchemaPolicy,
    SyncMode,
    TimePartition,
)
from import_platform.errors import ConfigError
from import_platform.resources.connection import Connection, foreign_templates, variable_of
from import_platform.sources.registry import check_connection_keys

NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]*")
HASH_LEAVES_MAX = 1 << 16


def _source_name(name: str) -> str:
    if not NAME_PATTERN.fullmatch(name):
        raise ValueError("must start with a letter a-z and go on with a-z, 0-9 or _")
    return name


def _cron(schedule: str) -> str:
    if not is_valid_cron_schedule(schedule):
        raise ValueError("must be a cron schedule of five parts such as */15 * * * *")
    return schedule


def _column(name: str) -> str:
    if not name:
        raise ValueError("must be the name of a column of the source")
    return name


def _condition(sql: str) -> str:
    if not sql.strip() or ";" in sql:
        raise ValueError("must be one condition in the source's SQL, such as country = 'NL', without a semicolon")
    return sql


def _size(text: str) -> str:
    try:
        parse_bytes(text, name="partition_max")
    except ConfigError:
        raise ValueError("must be a size such as 1.5GB or 512MiB") from None
    return text


Size = Annotated[StrictStr, AfterValidator(_size)]
Cron = Annotated[StrictStr, AfterValidator(_cron)]
Column = Annotated[StrictStr, AfterValidator(_column)]
Pattern = Annotated[StrictStr, Field(min_length=1)]


class PartitionYaml(YamlModel):
    """How rows are laid out in leaves: by time, by number, or by a hash of the key."""

    column: Column | None = Field(None, description="date, timestamp or integer column")
    granularity: Literal["year", "month", "day", "hour"] | None = Field(
        None, description="for a date or timestamp column"
    )
    width: Annotated[int, Field(strict=True)] | None = Field(None, description="for an integer column: a power of ten")
    hash: Annotated[int, Field(strict=True)] | None = Field(None, description="number of leaves: a power of two")
    stable: StrictBool = Field(False, description="true promises that a row's value never changes")
    pinned: StrictBool = Field(False, description="true leaves splits and merges of leaves to people")

    @model_validator(mode="after")
    def _one_kind(self) -> PartitionYaml:
        given = [name for name in ("granularity", "width", "hash") if getattr(self, name) is not None]
        if len(given) != 1 or (self.column is None) != (given == ["hash"]):
            raise ValueError("must be {column, granularity}, {column, width}, {hash} or none")
        if self.width is not None and not re.fullmatch("10{0,18}", str(self.width)):
            raise ValueError("width must be a power of ten such as 1000000")
        if self.hash is not None and not (1 <= self.hash <= HASH_LEAVES_MAX and self.hash.bit_count() == 1):
            raise ValueError("hash must be a power of two such as 16")
        return self

    def spec(self) -> PartitionSpec:
        if self.hash is not None:
            return HashPartition(self.hash.bit_length() - 1)
        assert self.column is not None
        if self.granularity is not None:
            return TimePartition(self.column, Granularity(self.granularity), self.stable)
        assert self.width is not None
        return NumberPartition(self.column, self.width, self.stable)


def _none_is_one_leaf(value: Any) -> Any:
    return {"hash": 1} if value == "none" else value


Partition = Annotated[
    PartitionYaml | None,
    BeforeValidator(_none_is_one_leaf),
    WithJsonSchema(PartitionYaml.model_json_schema() | {"type": ["object", "string", "null"]}),
]


class ColumnsYaml(YamlModel):
    """The columns to read: names, or patterns with * and ?. Keys and the cursor are read in any case."""

    include: Annotated[list[Column], Field(min_length=1)] | None = Field(None, description="only these")
    exclude: Annotated[list[Column], Field(min_length=1)] | None = Field(None, description="all but these")


Columns = Annotated[ColumnsYaml | None, WithJsonSchema(ColumnsYaml.model_json_schema() | {"type": ["object", "null"]})]


def _variable(text: str) -> str:
    if variable_of(text) is None:
        raise ValueError("must be one {{ env.NAME }}: the address of a webhook is a secret")
    return text


class OnSuccessYaml(YamlModel):
    """Whom to tell when a sync has changed the table."""

    webhook: Annotated[StrictStr, AfterValidator(_variable)] = Field(
        description="{{ env.NAME }}; its value gets a POST of JSON"
    )


OnSuccess = Annotated[
    OnSuccessYaml | None, WithJsonSchema(OnSuccessYaml.model_json_schema() | {"type": ["object", "null"]})
]


class FanOutYaml(YamlModel):
    """When several steps share a table's flush. They need an executor with processes, or the flush is done by one."""

    over: Size = Field(description="from so many bytes on, files that may be rewritten and rows that came in: 2GB")
    steps: Annotated[int, Field(strict=True, ge=2, le=64)] = Field(STEPS, description="at most so many parts")


FanOutChoice = Annotated[
    FanOutYaml | None, WithJsonSchema(FanOutYaml.model_json_schema() | {"type": ["object", "null"]})
]


class TableYaml(LabelledYaml):
    """One table. What is left out is chosen from what the source reveals; `import-platform tables SOURCE`
    explains it.
    """

    name: Annotated[StrictStr, Field(min_length=1)] = Field(
        description="as at the source; schema__table outside of its default schema"
    )
    sync: Literal["full_refresh", "incremental", "append"] | None = Field(
        None, description="read every row and swap, read what changed and merge it, or read what is new and add it"
    )
    cursor: Column | None = Field(None, description="the column that orders changes")
    primary_key: Annotated[list[Column], Field(min_length=1)] | None = Field(
        None, description="columns that identify a row, instead of the source's own key"
    )
    partition: Partition = None
    schedule: Cron | None = Field(None, description="instead of the source's schedule")
    partition_max: Size | None = Field(None, description="such as 3GB, instead of IMPORT_PLATFORM_PARTITION_MAX")
    reconcile: Cron | None = Field(None, description="when to compare the table with the source and repair it")
    columns: Columns = None
    where: Annotated[StrictStr, AfterValidator(_condition)] | None = Field(
        None, description="a condition in the source's own SQL, such as country = 'NL'; other rows are not read"
    )
    mask: dict[Column, Literal["hash", "redact"]] | None = Field(
        None, description="column: hash (its SHA-256) or redact, before anything of it is stored"
    )
    lookback: Annotated[StrictStr, Field(pattern="^[0-9]{1,9}[smhd]?$")] | None = Field(
        None, description="how far behind the cursor every sync reads again: 30m, 2h, 7d, or a number for numbers"
    )
    deleted: Column | None = Field(
        None, description="soft-delete column: rows where it is true, or holds any time or text, go away in the lake"
    )
    schema_policy: Literal["evolve", "freeze", "discard"] = Field(
        "evolve", description="when columns change: follow, stop the table, or keep new columns and misfits out"
    )
    on_success: OnSuccess = None
    publish: Publish = None
    fan_out: FanOutChoice = None
    enrich: Enrich = Field(
        None, description="columns from a Python function or an HTTP endpoint, asked once per key; see docs/enrich.md"
    )

    def declared(self) -> DeclaredTable:
        return DeclaredTable(
            name=self.name,
            sync=SyncMode(self.sync) if self.sync else None,
            cursor=self.cursor,
            schedule=self.schedule,
            primary_key=tuple(self.primary_key) if self.primary_key is not None else None,
            partition=self.partition.spec() if self.partition is not None else None,
            partition_max_bytes=parse_bytes(self.partition_max, name="partition_max") if self.partition_max else None,
            pinned=self.partition is not None and self.partition.pinned,
            schema_policy=SchemaPolicy(self.schema_policy),
            deleted=self.deleted,
            where=self.where,
            reconcile=self.reconcile,
            lookback=self.lookback,
            success_variable=variable_of(self.on_success.webhook) if self.on_success else None,
            publish=self.publish.publication() if self.publish else None,
            fan_out=FanOut(parse_bytes(self.fan_out.over, name="over"), self.fan_out.steps) if self.fan_out else None,
            enrich=tuple(each.enrichment() for each in self.enrich or ()),
            labels=self.labels(),
            checks=self.check_settings(),
            choice=ColumnChoice(
                tuple(self.columns.include) if self.columns and self.columns.include else None,
                tuple(self.columns.exclude or ()) if self.columns else (),
                {name: Mask(how) for name, how in (self.mask or {}).items()},
            ),
        )


def _connection(template: Any) -> Any:
    if not isinstance(template, dict) or not isinstance(template.get("kind"), str):
        raise ValueError("must be a mapping with a `kind`, such as {kind: postgres, dsn: '{{ env.SHOP_DSN }}'}")  # noqa: TRY004  pydantic catches ValueError
    foreign = foreign_templates(template)
    if foreign:
        raise ValueError(
            f"only {{{{ env.NAME }}}} is understood in a connection, {', '.join(foreign)} holds something else"
        )
    try:
        check_connection_keys(template)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return template


class SourceYaml(LabelledYaml):
    """A source of tables, imported into the lake as one partitioned asset each."""

    name: Annotated[StrictStr, AfterValidator(_source_name)] = Field(
        description="letters a-z, digits and _; the folder of its tables in the lake"
    )
    # Any: a schema violation quotes the value, and a connection may hold a secret.
    connection: Annotated[Any, AfterValidator(_connection)] = Field(description="kind and how to reach the source")
    schedule: Cron | None = Field(None, description="cron, for every table without its own")
    reconcile: Cron | None = Field(None, description="cron of comparisons, for every table without its own")
    tables: list[TableYaml] | None = Field(None, description="left out: every table found")
    include: Annotated[list[Pattern], Field(min_length=1)] | None = Field(
        None, description="patterns such as sales_*: tables found at the source, beside those under tables"
    )
    exclude: Annotated[list[Pattern], Field(min_length=1)] | None = Field(
        None, description="patterns of tables found that are not imported"
    )

    @model_validator(mode="after")
    def _no_table_twice(self) -> SourceYaml:
        names = [table.name for table in self.tables or ()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"tables lists {', '.join(twice)} more than once")
        check_groups([(table.name, table.publish) for table in self.tables or () if table.publish])
        return self

    def patterns(self) -> TablePatterns | None:
        """What is imported of the tables found; None where the tables are all named."""
        if self.include is None and self.exclude is None:
            return TablePatterns() if self.tables is None else None
        return TablePatterns(tuple(self.include or ("*",)), tuple(self.exclude or ()))

    def declared_connection(self) -> Connection:
        return Connection(self.connection)
