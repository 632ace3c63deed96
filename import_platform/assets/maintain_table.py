"""One table repartitioned or compacted inside a Dagster step, with its new partitions recorded.

The same rows lie in other leaves afterwards, so what turns green is what was green before, under other names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from import_platform.assets.materialize import translated
from import_platform.assets.metadata import leaves_by_base
from import_platform.assets.partitions import record_partitions
from import_platform.core.report import Observer, SyncReport
from import_platform.core.table import DeclaredTable
from import_platform.errors import ConfigError
from import_platform.pipeline.context import open_lake_table
from import_platform.pipeline.inspect import TableStatus, table_status
from import_platform.pipeline.maintain import maintain_table
from import_platform.pipeline.repartition import repartition
from import_platform.resources.interrupts import stop_on_signals
from import_platform.resources.memory import memory_budget
from import_platform.resources.naming import table_id
from import_platform.resources.partition_keys import reconcile_keys
from import_platform.resources.platform import PlatformResource
from import_platform.resources.process import tag_run
from import_platform.resources.project import read_settings
from import_platform.resources.run_log import RunLog
from import_platform.resources.session import current_session
