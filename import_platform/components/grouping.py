"""The component `Grouping`: one defs.yaml declares one grouping."""

from __future__ import annotations

from typing import Any

import dagster as dg
from dagster._utils.warnings import suppress_dagster_warnings
from pydantic import BaseModel, ConfigDict, PrivateAttr

from import_platform.assets.group_asset import group_asset, grouping_key, input_spec
from import_platform.components.grouping_yaml import GroupingYaml
from import_platform.components.origin import Origin
from import_platform.components.source_definitions import PLATFORM
from import_platform.core.grouping import DeclaredGrouping


class Grouping(dg.Component, dg.Model, dg.Resolvable):
    """Ordered rows of Parquet files or of a table in the lake, as one row per key with lists, kept up to date."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    declared: DeclaredGrouping
    _origin: Origin | None = PrivateAttr(default=None)

    @classmethod
    def model(cls) -> type[BaseModel]:
        """The schema of `attributes`. Ours instead of a derived one, as in `ExternalSource`."""
        return GroupingYaml

    @classmethod
    def resolve_from_model(cls, context: Any, model: BaseModel) -> Grouping:
        assert isinstance(model, GroupingYaml)
        return cls(declared=model.grouping())

    @property
    def name(self) -> str:
        return self.declared.name

    @property
    def key(self) -> dg.AssetKey:
        return grouping_key(self.name)

    @property
    def origin(self) -> Origin | None:
        return self._origin

    def at(self, origin: Origin) -> Grouping:
        """This grouping, remembering where it was declared, for code references and messages."""
        self._origin = origin
        return self

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        return self.definitions()

    @suppress_dagster_warnings  # code references are in beta
    def definitions(self) -> dg.Definitions:
        """The asset, what it is made of, and where a schedule is declared its job. Looks at no file."""
        files = input_spec(self.declared)
        assets: list[dg.AssetsDefinition | dg.AssetSpec] = [group_asset(self.declared, self._metadata())]
        if files is not None:
            assets.append(files)
        schedules = [self._schedule(self.declared.schedule)] if self.declared.schedule is not None else []
        return dg.Definitions(assets=assets, schedules=schedules, resources={"platform": PLATFORM})

    def _metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = {"dagster/uri": self.declared.output}
        if self._origin is not None:
            path, line = str(self._origin.path), self._origin.line
            reference = dg.LocalFileCodeReference(file_path=path, line_number=line, label="defs.yaml")
            found["dagster/code_references"] = dg.CodeReferencesMetadataValue(code_references=[reference])
        return found

    def _schedule(self, cron: str) -> dg.ScheduleDefinition:
        return dg.ScheduleDefinition(
            name=f"group_{self.name}",
            job=dg.define_asset_job(f"group_{self.name}", selection=dg.AssetSelection.assets(self.key)),
            cron_schedule=cron,
            execution_timezone="UTC",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=f"Groups the rows of {self.name} again where they have changed. Times are UTC.",
        )
