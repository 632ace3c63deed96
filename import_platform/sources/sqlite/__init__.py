from import_platform.sources.sqlite.connector import SqliteSource

__all__ = ["SqliteSource"]
