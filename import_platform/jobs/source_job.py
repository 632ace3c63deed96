"""An asset job over tables that are partitioned each in its own way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.assets.job.asset_job import build_asset_job, get_asset_graph_for_job
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


class SourceJob(UnresolvedAssetJobDefinition):
    """What `define_asset_job` gives, without its rule that all assets share one partitions definition.

    The rule protects runs of one partition key over many assets. Runs of this job have no key, and a subset of it is
    resolved by Dagster without the rule already; the job for ad-hoc runs that Dagster makes itself has no such rule.
    Remove when `define_asset_job` can be told so.
    """

    def resolve(
        self,
        asset_graph: AssetGraph,
        default_executor_def: dg.ExecutorDefinition | None = None,
        resource_defs: Mapping[str, dg.ResourceDefinition] | None = None,
    ) -> dg.JobDefinition:
        tables = get_asset_graph_for_job(asset_graph, self.selection, allow_different_partitions_defs=True)
        settings: dict[str, Any] = {"tags": self.tags, "run_tags": self.run_tags, "description": self.description}
        return build_asset_job(
            self.name,
            asset_graph=tables,
            executor_def=self.executor_def or default_executor_def,
            resource_defs=resource_defs,
            allow_different_partitions_defs=True,
            **settings,
        )
