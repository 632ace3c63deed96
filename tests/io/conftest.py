from collections.abc import Iterator
from pathlib import Path

import pytest

from import_platform.io.store import Store
from tests.s3_server import new_bucket, s3_server


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    with s3_server() as environ:
        yield environ


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A fresh store of each kind."""
    if request.param == "local":
        return Store(str(tmp_path / "lake"))
    environ = request.getfixturevalue("s3_environment")
    return Store(new_bucket(environ), env=environ)
