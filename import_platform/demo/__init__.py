"""The main job on real data with nothing to prepare: a PostgreSQL server, five tables, two syncs, one comparison."""
