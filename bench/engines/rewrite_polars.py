"""A plain Polars anti-join per file: scan, join, sink, with Polars' streaming engine."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa

from bench.engines.rewrite import FileRewrite


class Engine(FileRewrite):
    """No limit is given to Polars: it takes none that holds."""

    def take_keys(self, keys: pa.Table) -> None:
        self._keys = pl.DataFrame(keys).lazy()

    def survivors(self, source: Path, target: Path) -> None:
        rows = pl.scan_parquet(source, hive_partitioning=False)
        rows.join(self._keys, on=self.at.key, how="anti").sink_parquet(target, compression="zstd", compression_level=1)
