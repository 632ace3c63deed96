"""The `publish:` mapping of a table in a defs.yaml."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictStr, WithJsonSchema, model_validator

from import_platform.components.yaml_model import YamlModel
from import_platform.core.publication import Publication, PublishMode, ToFolder, ToPostgres
from import_platform.errors import ConfigError
from import_platform.pipeline.publish import grouped
from import_platform.resources.connection import variable_of

_TYPE = re.compile(r"[a-z][a-z0-9_ ]*(\([0-9]+(,[0-9]+)?\))?( with(out)? time zone)?(\[\])?")


def _variable(text: str) -> str:
    if variable_of(text) is None:
        raise ValueError("must be one {{ env.NAME }}: the dsn holds a password")
    return text


def _type(text: str) -> str:
    if not _TYPE.fullmatch(text):
        raise ValueError("must be a type of PostgreSQL such as jsonb, text[] or numeric(12,2)")
    return text


class PublishYaml(YamlModel):
    """Where the table goes after each sync: a PostgreSQL database (`dsn`), or files in a folder (`folder`)."""

    dsn: Annotated[StrictStr, AfterValidator(_variable)] | None = Field(
        None, description="{{ env.NAME }}; its value is the DSN of a PostgreSQL database"
    )
    table: Annotated[StrictStr, Field(pattern=r"^[^.]+(\.[^.]+)?$")] | None = Field(
        None, description="table or schema.table in the target; the table's own name in public when left out"
    )
    mode: Literal["merge", "swap"] | None = Field(
        None, description="merge changed rows by primary key, or swap all rows; left out: merge where there is a key"
    )
    group: Annotated[StrictStr, Field(pattern="^[a-z][a-z0-9_]*$")] | None = Field(
        None, description="tables of one group are published in one transaction"
    )
    types: dict[StrictStr, Annotated[StrictStr, AfterValidator(_type)]] | None = Field(
        None, description="column: type of PostgreSQL, such as jsonb or text[] for JSON text"
    )
    folder: Annotated[StrictStr, Field(min_length=1)] | None = Field(
        None, description="a folder, or s3://bucket/prefix with the usual AWS_* variables"
    )
    format: Literal["parquet", "csv"] | None = Field(None, description="of the files; parquet when left out")
    archive: Annotated[StrictStr, Field(min_length=1)] | None = Field(
        None, description="a folder or s3:// where the set before goes; it is deleted when left out"
    )

    @model_validator(mode="after")
    def _one_target(self) -> PublishYaml:
        if (self.dsn is None) == (self.folder is None):
            raise ValueError("needs either dsn (PostgreSQL) or folder (files)")
        foreign = ("format", "archive") if self.dsn is not None else ("table", "mode", "group", "types")
        given = [name for name in foreign if getattr(self, name) is not None]
        if given:
            raise ValueError(f"{', '.join(given)} does not go with {'dsn' if self.dsn is not None else 'folder'}")
        return self

    def publication(self) -> Publication:
        if self.folder is not None:
            return ToFolder(self.folder, self.format or "parquet", self.archive)
        variable = variable_of(self.dsn or "")
        assert variable is not None
        schema, dot, table = (self.table or "").partition(".")
        mode = PublishMode(self.mode) if self.mode else None
        place = (schema, table) if dot else ("public", schema or None)
        return ToPostgres(variable, place[0], place[1], mode, self.group, self.types or {})


Publish = Annotated[PublishYaml | None, WithJsonSchema(PublishYaml.model_json_schema() | {"type": ["object", "null"]})]


def check_groups(tables: Sequence[tuple[str, PublishYaml]]) -> None:
    """Raises ValueError, which pydantic reports, for groups that contradict each other."""
    declared = [(name, publish.publication()) for name, publish in tables]
    try:
        grouped([(name, to) for name, to in declared if isinstance(to, ToPostgres)])
    except ConfigError as error:
        raise ValueError(str(error)) from None
