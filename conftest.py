"""Marks what is slow as a whole, to keep `make check` under a minute; single tests are marked where they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent / "tests"
SLOW = [
    TESTS / "demo",  # a whole demo each
    TESTS / "jobs",  # a Dagster run each
    TESTS / "faults",  # processes killed and started again
    TESTS / "io" / "test_store_faults.py",  # networks that fail
    TESTS / "io" / "test_delta_faults.py",
    TESTS / "sources" / "test_mysql.py",  # a MariaDB
    TESTS / "sources" / "test_mysql_contract.py",
    TESTS / "sources" / "test_postgres_contract.py",  # the contract runs on SQLite in `make check`
    TESTS / "sources" / "test_ended_reads.py",
    TESTS / "sources" / "test_many_tables.py",
    TESTS / "sources" / "test_wide_rows.py",
    TESTS / "pipeline" / "test_histories.py",
    TESTS / "pipeline" / "test_relayout.py",
    TESTS / "pipeline" / "test_s3_faults.py",
    TESTS / "pipeline" / "test_no_disk.py",
    TESTS / "pipeline" / "test_sync_resume.py",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(item.path.is_relative_to(path) for path in SLOW):
            item.add_marker(pytest.mark.slow)
