from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.processes import Processes, World
from tests.s3_server import new_bucket, s3_server


@pytest.fixture(scope="session")
def processes() -> Iterator[Processes]:
    started = Processes()
    yield started
    started.close()


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    with s3_server() as environ:
        yield environ


@pytest.fixture
def world(tmp_path: Path, processes: Processes) -> World:
    """A lake on the local disk."""
    return World(processes, tmp_path, str(tmp_path / "lake"))


@pytest.fixture
def s3_world(tmp_path: Path, processes: Processes, s3_environment: dict[str, str]) -> World:
    return World(processes, tmp_path, new_bucket(s3_environment), s3_environment)
