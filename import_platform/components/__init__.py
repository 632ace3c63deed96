"""Dagster components: one defs.yaml is one source, or one grouping."""

from import_platform.components.external_source import ExternalSource
from import_platform.components.grouping import Grouping

__all__ = ["ExternalSource", "Grouping"]
