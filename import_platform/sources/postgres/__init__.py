from import_platform.sources.postgres.connector import PostgresSource

__all__ = ["PostgresSource"]
