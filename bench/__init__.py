"""Benchmarks: `python -m bench.merge`. Only `environment`, `cases`, `measure` and `report` run in the caller's
interpreter, and they use the standard library alone, so that nothing heavy shares the parent of a measured process."""
