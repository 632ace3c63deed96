"""Imports external tables into partitioned Delta Lake tables inside a memory budget."""

__version__ = "0.1.0"
