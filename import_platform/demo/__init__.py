"""The demo: a real PostgreSQL with real rows, imported by the same commands that anyone types."""
