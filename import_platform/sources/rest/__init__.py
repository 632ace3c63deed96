"""REST APIs as sources: declared in YAML, read page by page, resumed from any page."""
