"""A lake whose keys stand in a profile alone, from a shell: sync, merge, query."""

import json
import subprocess
import sys

import pytest

from tests.aws_files import AwsFiles
from tests.dagster_project import empty_home, project
from tests.fault_proxy import fault_proxy
from tests.s3_server import ROOT, environment, new_bucket, s3_server

__all__ = ["empty_home", "project"]
pytestmark = pytest.mark.slow

SECRET = "a7Rj0secretOfTheLake"


def test_every_command_works_with_a_profile_s_keys_and_tells_them_to_nobody(project, tmp_path):
    files = AwsFiles(tmp_path)
    files.keys("default", "DEFAULT", "of somebody else")
    files.keys("lake", "LAKE", SECRET)
    files.config("[profile lake]\nregion = eu-north-1\n")
    with s3_server() as server, fault_proxy(server) as (proxy, environ):
        own = {"IMPORT_PLATFORM_LAKE": new_bucket(server), "AWS_PROFILE": "lake"}
        leading = {"AWS_ENDPOINT_URL": environ["AWS_ENDPOINT_URL"]}
        whole = environment({**project.environment, **files.environ, **own, **leading})
        said = []

        def run(*command: str) -> str:
            done = subprocess.run(
                [sys.executable, "-m", "import_platform.cli", "--json", *command],
                cwd=ROOT,
                env=whole,
                capture_output=True,
                text=True,
                check=False,
            )
            said.append(done.stdout + done.stderr)
            assert done.returncode == 0, said[-1]
            return done.stdout

        run("sync", "shop")
        project.sql("update orders set note = 'new', updated_at = '2025-06-01 00:00:00' where id < 10")
        run("sync", "shop")
        counted = run("query", "select count(*) as n, count(*) filter (note = 'new') as new from shop.orders")
        assert json.loads(counted) == {"n": 400, "new": 10}
        assert proxy.access_keys() == {"LAKE"}
    kept = [path for path in project.home.rglob("*") if path.is_file()]
    assert kept
    assert SECRET not in "".join(said)
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]
