"""As much of the Kubernetes API as Dagster asks for, on loopback: it takes jobs and runs their commands on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"


class Cluster:
    """Jobs by name as they were posted; while `runs`, each gets a process."""

    def __init__(self, folder: Path, *, runs: bool) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.kubeconfig = folder / "kubeconfig.json"
        self.requests: list[tuple[str, str, str]] = []
        """Verb, group and resource of everything asked for, as a role would name them."""
        self.environ: Callable[[dict[str, Any]], dict[str, str]] | None = None
        """The variables of a pod's only container; without it, those that it names and all of this process."""
        self._folder = folder
        self.runs = runs

    def create(self, job: dict[str, Any]) -> None:
        name = job["metadata"]["name"]
        self.jobs[name] = job
        if self.runs:
            (container,) = job["spec"]["template"]["spec"]["containers"]
            given = {each["name"]: each["value"] for each in container["env"] if "value" in each}
            with (self._folder / f"{name}.log").open("wb") as log:
                # A pod has its variables from the job, and from config maps that this machine has in its environment;
                # its image has `dagster` on the PATH.
                here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
                env = {**given, **os.environ} if self.environ is None else self.environ(container)
                self.processes[name] = subprocess.Popen(
                    [str(Path(sys.executable).with_name(container["args"][0])), *container["args"][1:]],
                    env={**env, "PATH": here},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )

    def status(self, name: str) -> dict[str, Any] | None:
        if name not in self.jobs:
            return None
        code = self.processes[name].poll() if name in self.processes else None
        ended = {} if code is None else {"succeeded": 1} if code == 0 else {"failed": 1}
        return {**self.jobs[name], "status": ended or {"active": 1}}

    def resources(self, step: str) -> dict[str, Any]:
        """Of the pod of the first step whose key begins so."""
        job = next(job for job in self.jobs.values() if step_of(job).startswith(step))
        resources: dict[str, Any] = job["spec"]["template"]["spec"]["containers"][0]["resources"]
        return resources


def step_of(job: dict[str, Any]) -> str:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return next((each["value"] for each in container["env"] if each["name"] == "DAGSTER_RUN_STEP_KEY"), "")


@contextmanager
def kubernetes_api(folder: Path, *, runs: bool) -> Iterator[Cluster]:
    """A cluster for as long as the block lasts; what it still runs then is ended."""
    cluster = Cluster(folder, runs=runs)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            cluster.requests.append(("create", *_resource(self.path)[:2]))
            cluster.create(job)
            self._answer(job)

        def do_GET(self) -> None:
            group, resource, name = _resource(self.path)
            cluster.requests.append(("get" if name else "list", group, resource))
            if resource == "pods":
                pod = {"metadata": {"name": "a-pod", "namespace": "imports"}}
                self._answer({"apiVersion": "v1", "kind": "PodList", "items": [pod]})
            else:
                self._answer(cluster.status(name))

        def do_DELETE(self) -> None:
            group, resource, _name = _resource(self.path)
            cluster.requests.append(("delete", group, resource))
            self._answer({"apiVersion": "v1", "kind": "Status", "status": "Success"})

        def _answer(self, body: dict[str, Any] | None) -> None:
            data = json.dumps(body or {"kind": "Status", "code": 404}).encode()
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None: ...

    server = ThreadingHTTPServer((HOST, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    cluster.kubeconfig.write_text(json.dumps(_kubeconfig(server.server_port)))
    try:
        yield cluster
    finally:
        server.shutdown()
        server.server_close()
        for process in cluster.processes.values():
            process.kill()
            process.wait()


def _resource(path: str) -> tuple[str, str, str]:
    """Group, resource with its subresource, and name: `batch`, `jobs/status` and `x` of
    `/apis/batch/v1/namespaces/imports/jobs/x/status`."""
    before, _, rest = path.partition("?")[0].partition("/namespaces/")
    _namespace, resource, *of = rest.split("/")
    group = before.split("/")[2] if before.startswith("/apis/") else ""
    return group, "/".join([resource, *of[1:]]), of[0] if of else ""


def _kubeconfig(port: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "nobody"}}],
        "clusters": [{"name": "here", "cluster": {"server": f"http://{HOST}:{port}"}}],
        "users": [{"name": "nobody", "user": {}}],
    }
