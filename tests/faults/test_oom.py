"""A step that the kernel itself kills for memory, in a cgroup of its own with a limit.

Such a group is only made where the machine says that it may be: `IMPORT_PLATFORM_TEST_CGROUP` names a memory cgroup
(version 1 or 2) that tests may make groups in, or this process's own group of version 2 was delegated to it, or systemd
runs scopes for us.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from import_platform.core.kills import KillFacts, Kind, classify
from import_platform.io.cgroup import memory_group, oom_kills
from import_platform.io.grants import Grants

LIMIT_BYTES = 200 << 20
STEP = """
import sys
from pathlib import Path
from import_platform.core.grants import Holder
from import_platform.io.grants import Grants
grant = Grants(Path(sys.argv[1]), 1 << 40).take(1, holder=Holder("shop/orders", "flush", run_id="run-1"))
held = []
while True:
    held.append(bytearray(8 << 20))
    held[-1][::4096] = b"x" * len(held[-1][::4096])
    grant.note(len(held) * (8 << 20))
"""


@dataclass(frozen=True)
class Limited:
    """How to start a command under the limit; a group that we make ourselves is removed afterwards."""

    prefix: tuple[str, ...] = ()
    group: Path | None = None

    def run(self, *command: str) -> int:
        group = self.group

        def join() -> None:
            if group is not None:
                (group / "cgroup.procs").write_text(str(os.getpid()))

        return subprocess.run([*self.prefix, *command], preexec_fn=join, check=False).returncode


def _made_below(parent: Path) -> Path:
    group = parent / f"import-platform-{uuid.uuid4().hex[:8]}"
    group.mkdir()
    name = "memory.max" if (group / "memory.max").exists() else "memory.limit_in_bytes"
    try:
        (group / name).write_text(str(LIMIT_BYTES))
        swap = group / "memory.swap.max"
        if swap.exists():
            swap.write_text("0")
    except OSError:
        group.rmdir()
        raise
    return group


def _delegated() -> Path | None:
    own = memory_group()
    if own is None or not (own / "cgroup.subtree_control").exists():
        return None
    controllers = (own / "cgroup.subtree_control").read_text().split()
    return own if "memory" in controllers and os.access(own / "cgroup.procs", os.W_OK) else None


@pytest.fixture
def limited():
    named = os.environ.get("IMPORT_PLATFORM_TEST_CGROUP")
    parent = Path(named) if named else _delegated()
    if parent is not None:
        group = _made_below(parent)
        yield Limited(group=group)
        group.rmdir()
        return
    scope = ("systemd-run", "--scope", "--quiet", *(() if os.geteuid() == 0 else ("--user",)))
    scope = (*scope, "-p", f"MemoryMax={LIMIT_BYTES}", "-p", "MemorySwapMax=0")
    try:
        works = subprocess.run([*scope, "true"], capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        works = False
    if not works:
        pytest.skip(
            "NOT TESTED HERE: a kill by the kernel's own out-of-memory killer. This machine lets a test limit no "
            "cgroup: systemd runs no scopes for it, and no memory cgroup was delegated. Name one that tests may make "
            "groups in with IMPORT_PLATFORM_TEST_CGROUP to run it."
        )
    yield Limited(prefix=scope)


def test_a_step_that_the_kernel_killed_for_memory_is_told_by_the_kernels_own_count(limited, tmp_path):
    assert limited.run(sys.executable, "-c", STEP, str(tmp_path)) in (-signal.SIGKILL, 128 + signal.SIGKILL)
    [dead] = Grants(tmp_path, 1).gone()
    assert not dead.ended
    assert 50 << 20 < dead.held_bytes < LIMIT_BYTES
    after = oom_kills(Path(dead.group))
    if limited.group is not None:  # a scope's group is gone with its last process
        assert after is not None
        assert after - dead.oom_kills >= 1
        facts = KillFacts(worker_signal=9, oom_kills_before=dead.oom_kills, oom_kills_after=after)
        verdict = classify(facts)
        assert (verdict.kind, "the kernel killed" in verdict.why) == (Kind.MEMORY, True)
