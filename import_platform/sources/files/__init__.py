"""Files as tables: CSV, NDJSON, JSON, Parquet and XML, on disk or on S3, each version of a file read once."""
