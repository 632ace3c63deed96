"""The project's own sources: one folder with a `defs.yaml` each. IMPORT_PLATFORM_DEFS names other folders instead."""
