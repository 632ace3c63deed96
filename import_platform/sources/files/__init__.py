"""Files as tables: CSV, NDJSON, JSON, Parquet and XML, on disk, S3 or http(s), each version of a file read once."""
