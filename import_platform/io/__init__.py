"""One outside system per module: object store, Delta log, Parquet files, process memory."""
