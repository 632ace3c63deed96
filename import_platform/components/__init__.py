"""Dagster components: one defs.yaml is one source."""

from import_platform.components.external_source import ExternalSource

__all__ = ["ExternalSource"]
