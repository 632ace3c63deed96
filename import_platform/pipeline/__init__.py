"""Extract, flush, sync: joins core decisions to io and sources. Knows no Dagster."""
