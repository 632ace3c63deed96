"""The Dagster component behind `type: import_platform.components.ExternalSource`."""

from __future__ import annotations

from typing import Any

import dagster as dg
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from import_platform.components.declaration import SourceYaml
from import_platform.components.origin import Origin
from import_platform.components.source_definitions import known_tables, source_definitions
from import_platform.core.imported import TablePatterns
from import_platform.core.table import CheckSettings, DeclaredTable, Labels
from import_platform.errors import ConfigError
from import_platform.resources.connection import Connection
from import_platform.resources.platform import SourceConfig
from import_platform.resources.project import read_settings
from import_platform.resources.snapshots import Snapshot, load_snapshot


class ExternalSource(dg.Component, dg.Model, dg.Resolvable):
    """A source of tables (database, API or files), imported into the lake as one partitioned asset each.

    The connection keeps `{{ env.NAME }}` as it stands: only a run resolves it, so loading needs no secret.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    name: str
    connection: Connection
    schedule: str | None = None
    reconcile: str | None = None
    tables: tuple[DeclaredTable, ...] | None = None
    patterns: TablePatterns | None = None
    labels: Labels = Field(default_factory=Labels)
    checks: CheckSettings = Field(default_factory=CheckSettings)
    _origin: Origin | None = PrivateAttr(default=None)

    @classmethod
    def model(cls) -> type[BaseModel]:
        """The schema of `attributes`. Ours instead of a derived one: it names the wrong key, and renders no
        templates.
        """
        return SourceYaml

    @classmethod
    def resolve_from_model(cls, context: Any, model: BaseModel) -> ExternalSource:
        assert isinstance(model, SourceYaml)
        tables = None if model.tables is None else tuple(table.declared() for table in model.tables)
        return cls(
            name=model.name,
            connection=model.declared_connection(),
            schedule=model.schedule,
            reconcile=model.reconcile,
            tables=tables,
            patterns=model.patterns(),
            labels=model.labels(),
            checks=model.check_settings(),
        )

    @property
    def config(self) -> SourceConfig:
        names = None if self.patterns is not None else frozenset(table.name for table in self.tables or ())
        return SourceConfig(
            self.name, self.connection, self.schedule, self.reconcile, self.patterns, self.labels, self.checks, names
        )

    @property
    def origin(self) -> Origin | None:
        return self._origin

    def at(self, origin: Origin) -> ExternalSource:
        """This source, remembering where it was declared, for code references and messages."""
        self._origin = origin
        return self

    def snapshot(self) -> Snapshot | None:
        """What discovery last saved; None where it never ran or no project says where it would be."""
        try:
            return load_snapshot(read_settings().snapshots_folder, self.name)
        except ConfigError:
            return None

    def known_tables(self) -> tuple[DeclaredTable, ...]:
        """The declared tables, and those of the last discovery that the patterns match."""
        return known_tables(self.config, self.tables, None if self.patterns is None else self.snapshot())

    @property
    def lacks_discovery(self) -> bool:
        """True when its tables are to be found at the source, and nobody has looked yet."""
        return self.patterns is not None and self.snapshot() is None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        return self.definitions()

    def definitions(self) -> dg.Definitions:
        """Assets, jobs, schedules and checks of this source. Opens no connection; reads the saved discovery only."""
        return source_definitions(self.config, self.tables, origin=self._origin, snapshot=self.snapshot())
