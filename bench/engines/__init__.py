"""One module per engine, each with a class `Engine` that keeps the protocol of `bench.engines.protocol`.

A module imports what its engine needs and nothing else: its imports are part of what is measured.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Registered:
    """Where an engine is and what it runs in. `venv` names an environment of `bench.environment`; `first` a package
    to import before anything else, as its own command line would: it may set up libraries that come after it."""

    module: str
    venv: str = "main"
    mode: str = ""
    first: str = ""
    on_s3: bool = True
    delta: bool = True


ENGINES = {
    "ours": Registered("bench.engines.ours", first="import_platform"),
    "delta-rs": Registered("bench.engines.delta_rs", mode="default"),
    "delta-rs-literal": Registered("bench.engines.delta_rs", mode="literal"),
    "delta-rs-per-leaf": Registered("bench.engines.delta_rs", mode="per-leaf"),
    "deltalite": Registered("bench.engines.delta_lite", venv="deltalite"),
    "polars": Registered("bench.engines.rewrite_polars", on_s3=False),
    "duckdb": Registered("bench.engines.rewrite_duckdb", on_s3=False),
    "ducklake": Registered("bench.engines.ducklake", on_s3=False, delta=False),
}
