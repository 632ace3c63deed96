"""The attributes of a defs.yaml that declares a grouping."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StrictBool, StrictStr, model_validator

from import_platform.components.declaration import Column, Cron
from import_platform.components.yaml_model import Group, LabelsYaml
from import_platform.core.grouping import DeclaredGrouping, order_problem, shares_problem


def _place(text: str) -> str:
    if "{{" in text:
        raise ValueError("is taken as it stands: templates are understood in connections only")
    return text


Place = Annotated[StrictStr, Field(min_length=1), AfterValidator(_place)]
Columns = Annotated[list[Column], Field(min_length=1)]


class GroupingYaml(LabelsYaml):
    """Rows in order by key and time, brought together as one row per key with lists."""

    name: Annotated[StrictStr, Field(pattern="^[a-z][a-z0-9_]*$")] = Field(
        description="letters a-z, digits and _; the asset's key"
    )
    files: Place | None = Field(None, description="Parquet files in order: a pattern, or s3://bucket/prefix/*.parquet")
    table: Annotated[StrictStr, Field(pattern="^[a-z][a-z0-9_]*/.+$")] | None = Field(
        None, description="instead of files: source/table, a table of the lake"
    )
    by: Columns = Field(description="the key: one row per key comes out")
    order_by: list[Column] = Field(default_factory=list, description="the order within a key, verified row by row")
    columns: Columns | None = Field(None, description="what becomes lists; left out: everything but the key")
    output: Place = Field(description="a folder of its own, or s3://bucket/prefix with the usual AWS_* variables")
    split: dict[Annotated[StrictStr, Field(pattern="^[A-Za-z0-9_-]+$")], float] | None = Field(
        None, description="folder: share of the keys, by their hash, such as {train: 0.8, test: 0.2}"
    )
    sort: StrictBool = Field(False, description="true orders the rows on disk first")
    schedule: Cron | None = Field(None, description="when to look whether the rows have changed, UTC")
    group: Group | None = Field(None, description="asset group; `grouped` when left out")

    @model_validator(mode="after")
    def _can_be_meant(self) -> GroupingYaml:
        if (self.files is None) == (self.table is None):
            raise ValueError("needs either files (a pattern) or table (source/table)")
        problem = order_problem(self.by, self.order_by, self.columns or ())
        problem = problem or shares_problem(list((self.split or {}).items()))
        if problem:
            raise ValueError(problem)
        return self

    def grouping(self) -> DeclaredGrouping:
        source, _, table = (self.table or "").partition("/")
        return DeclaredGrouping(
            name=self.name,
            output=self.output,
            by=tuple(self.by),
            order_by=tuple(self.order_by),
            columns=tuple(self.columns) if self.columns is not None else None,
            files=self.files,
            table=(source, table) if self.table is not None else None,
            shares=dict(self.split or {}),
            sort=self.sort,
            schedule=self.schedule,
            labels=self.labels(),
        )
