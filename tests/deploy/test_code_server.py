"""The code location ends when it is told to, within the grace that its pod has, whatever it is busy with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster._grpc.client import DagsterGrpcClient
from dagster._utils import find_free_port

from tests.deploy.conftest import ROOT, Render
from tests.deploy.kubelet import variables
from tests.deploy.test_chart import SECRETS, container, of_kind

pytestmark = pytest.mark.slow

GRACE = "DAGSTER_GRPC_SHUTDOWN_GRACE_PERIOD"


class CodeServer:
    """As its pod starts it, in a folder of this machine."""

    def __init__(self, objects: list[dict[str, Any]], folder: Path) -> None:
        self.port, self.log = find_free_port(), folder / "log"
        made = container(objects)
        replaced = {"0.0.0.0": "127.0.0.1", "3030": str(self.port)}
        name, *arguments = [replaced.get(each, each) for each in made["args"]]
        env = variables(made, SECRETS) | {"DAGSTER_HOME": str(folder), "TMPDIR": str(folder), "HOME": str(folder)}
        env |= {"IMPORT_PLATFORM_DEFS": str(folder), "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).with_name(name)), *arguments], env=env, cwd=folder, stdout=log, stderr=log
            )

    def wait_for(self, text: str) -> None:
        while text not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)

    def ended(self) -> int:
        """Its exit code after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait()


@pytest.fixture
def objects(render: Render) -> list[dict[str, Any]]:
    return render()


@pytest.fixture
def server(objects: list[dict[str, Any]], tmp_path: Path) -> Iterator[CodeServer]:
    made = CodeServer(objects, tmp_path)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()


def test_a_call_that_does_not_end_holds_it_up_no_longer_than_its_pod_may_take(
    objects: list[dict[str, Any]], server: CodeServer
) -> None:
    """Dagster's own patience is a minute, and what is killed at the end of it has said nothing to whoever asked."""
    seconds = int(variables(container(objects), SECRETS)[GRACE])
    assert 2 * seconds <= of_kind(objects, "Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    server.wait_for("Started Dagster code server")
    answers = DagsterGrpcClient(port=server.port, host="127.0.0.1").streaming_ping(1_000_000, "x" * 100_000)
    assert next(answers)["sequence_number"] == 0  # and nobody reads on
    assert server.ended() == 0
    assert f"or {seconds} seconds pass" in server.log.read_text()


def test_it_ends_while_it_is_still_loading(server: CodeServer) -> None:
    server.wait_for("Starting Dagster code server")
    assert server.ended() in (0, 1)  # interrupted, or done with loading before the signal came
