"""What the models of a defs.yaml have in common, and the words that a source and a table share."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from dagster._core.definitions.utils import VALID_GROUP_NAME_REGEX, is_valid_owner
from dagster._utils.tags import is_valid_strict_tag_value, is_valid_tag_key
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr, WithJsonSchema

from import_platform.core.table import CheckSettings, Labels

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
OUR_TAGS = ("import_platform/", "dagster/")


def _flat_optionals(schema: dict[str, Any]) -> None:
    """Says `type: [string, null]` instead of anyOf, so that a validator names the wrong value and not the
    whole block.
    """
    for name, field in schema.get("properties", {}).items():
        options = [option for option in field.get("anyOf", ()) if option != {"type": "null"}]
        if len(options) == 1 and "type" in options[0]:
            rest = {key: value for key, value in field.items() if key != "anyOf"}
            schema["properties"][name] = rest | options[0] | {"type": [options[0]["type"], "null"]}
            if "enum" in options[0]:
                schema["properties"][name]["enum"] = [*options[0]["enum"], None]


class YamlModel(BaseModel):
    # Input is hidden because pydantic would otherwise quote whatever stands in the file, secrets included.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, json_schema_extra=_flat_optionals)


def _owner(text: str) -> str:
    if not is_valid_owner(text):
        raise ValueError("must be an e-mail address or team:name")
    return text


def _group(text: str) -> str:
    if not VALID_GROUP_NAME_REGEX.fullmatch(text):
        raise ValueError("must be letters, digits and _, with / between levels")
    return text


def _tags(tags: dict[str, str]) -> dict[str, str]:
    for key, value in tags.items():
        if not is_valid_tag_key(key) or key.startswith(OUR_TAGS):
            raise ValueError("has a key that Dagster does not take: letters, digits, _ . - and one / at most")
        if not is_valid_strict_tag_value(value):
            raise ValueError("has a value that Dagster does not take: up to 63 letters, digits, _ . -")
    return tags


Owner = Annotated[StrictStr, AfterValidator(_owner)]
Group = Annotated[StrictStr, AfterValidator(_group)]
Tags = Annotated[dict[StrictStr, StrictStr], AfterValidator(_tags)]
CheckName = Literal[
    "key_is_unique",
    "is_fresh",
    "rows_match_source",
    "keeps_its_rows",
    "partitions_fit",
    "columns_unchanged",
    "nothing_rejected",
]


class ChecksYaml(YamlModel):
    """What is verified after every sync; all checks are on unless they are named under disable."""

    disable: list[CheckName] | None = Field(None, description="checks that are not made")
    row_tolerance: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="rows_match_source: share of the rows that may differ; 0.01 when left out"
    )
    kept_share: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="keeps_its_rows: share of the rows that has to be left; 0.5 when left out"
    )
    fresh_within: Annotated[StrictStr, Field(pattern="^[0-9]{1,6}[smhd]$")] | None = Field(
        None, description="is_fresh: 90m, 6h or 2d instead of two pauses of the schedule and an hour"
    )
    key_seconds: Annotated[float, Field(gt=0)] | None = Field(None, description="key_is_unique: time limit of a sync")
    count_seconds: Annotated[float, Field(gt=0)] | None = Field(
        None, description="rows_match_source: time limit of counting at the source"
    )

    def settings(self) -> CheckSettings:
        within = re.fullmatch("([0-9]+)([smhd])", self.fresh_within or "")
        return CheckSettings(
            off=frozenset(self.disable) if self.disable is not None else None,
            row_tolerance=self.row_tolerance,
            kept_share=self.kept_share,
            fresh_within_seconds=int(within[1]) * _SECONDS[within[2]] if within else None,
            key_seconds=self.key_seconds,
            count_seconds=self.count_seconds,
        )


Checks = Annotated[ChecksYaml | None, WithJsonSchema(ChecksYaml.model_json_schema() | {"type": ["object", "null"]})]


class LabelsYaml(YamlModel):
    """What an asset's page shows beside its figures."""

    description: Annotated[StrictStr, Field(min_length=1)] | None = Field(None, description="for the asset's page")
    group: Group | None = Field(None, description="asset group; the source's name when left out")
    owners: list[Owner] | None = Field(None, description="e-mail addresses or team:name")
    tags: Tags | None = Field(None, description="tags of the asset; a table's come beside the source's")

    def labels(self) -> Labels:
        return Labels(tuple(self.owners or ()), dict(self.tags or {}), self.group, self.description)


class LabelledYaml(LabelsYaml):
    """What a source says of all its tables, and a table of itself."""

    checks: Checks = None

    def check_settings(self) -> CheckSettings:
        return self.checks.settings() if self.checks is not None else CheckSettings()
