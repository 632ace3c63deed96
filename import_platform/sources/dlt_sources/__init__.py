"""Sources and resources of dlt as tables: the platform reads them page by page, dlt's pipeline takes no part."""
