from import_platform.sources.duckdb.connector import DuckdbSource

__all__ = ["DuckdbSource"]
