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


class Shell:
    """Commands with these variables, and all that they said."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.environ, self.said = environ, ""

    def run(self, *command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "import_platform.cli", "--json", *command],
            cwd=ROOT,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        self.said += done.stdout + done.stderr
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def use_the_lake(shell, project):
    """Sync, merge, query."""
    shell.run("sync", "shop")
    project.sql("update orders set note = 'new', updated_at = '2025-06-01 00:00:00' where id < 10")
    shell.run("sync", "shop")
    counted = shell.run("query", "select count(*) as n, count(*) filter (note = 'new') as new from shop.orders")
    assert json.loads(counted) == {"n": 400, "new": 10}


def tells_nobody(secret, shell, project):
    kept = [path for path in project.home.rglob("*") if path.is_file()]
    assert kept
    assert secret not in shell.said
    assert not [path for path in kept if secret.encode() in path.read_bytes()]


def test_every_command_works_with_a_profile_s_keys_and_tells_them_to_nobody(project, tmp_path):
    files = AwsFiles(tmp_path)
    files.keys("default", "DEFAULT", "of somebody else")
    files.keys("lake", "LAKE", SECRET)
    files.config("[profile lake]\nregion = eu-north-1\n")
    with s3_server() as server, fault_proxy(server) as (proxy, environ):
        own = {"IMPORT_PLATFORM_LAKE": new_bucket(server), "AWS_PROFILE": "lake"}
        leading = {"AWS_ENDPOINT_URL": environ["AWS_ENDPOINT_URL"]}
        shell = Shell(environment({**project.environment, **files.environ, **own, **leading}))
        use_the_lake(shell, project)
        assert proxy.access_keys() == {"LAKE"}
    tells_nobody(SECRET, shell, project)


def test_a_pod_s_web_identity_is_changed_for_keys_at_sts_while_the_bucket_lies_elsewhere(project, tmp_path):
    """As on EKS: the token of a service account and a role. STS and bucket have an address each, and that of all other
    services, AWS_ENDPOINT_URL, leads nowhere: who used it for either would fail."""
    token = tmp_path / "token"
    token.write_text(SECRET)
    with s3_server() as sts, s3_server() as server, fault_proxy(server) as (proxy, environ):
        own = {
            "IMPORT_PLATFORM_LAKE": new_bucket(server),
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/lake",
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
            "AWS_REGION": "eu-north-1",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
            "AWS_ENDPOINT_URL_STS": sts["AWS_ENDPOINT_URL"],
            "AWS_ENDPOINT_URL_S3": environ["AWS_ENDPOINT_URL"],
        }
        shell = Shell(environment({**project.environment, **AwsFiles(tmp_path).environ, **own}))
        shell.run("check", "shop")
        use_the_lake(shell, project)
        assert {key[:4] for key in proxy.access_keys()} == {"ASIA"}, "keys that STS made, and only those"
    tells_nobody(SECRET, shell, project)
