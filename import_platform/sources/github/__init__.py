"""GitHub, as a `source.yaml` of kind `rest`."""
