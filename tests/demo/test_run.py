"""The demo as a person runs it, in a process of its own, on the flights of January."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import psutil
import pytest
from rich.console import Console

from import_platform.demo.place import DSN_VARIABLE, DemoPlace, declare, held
from import_platform.demo.run import run_demo
from import_platform.demo.server import running_source, source_for_commands, source_for_ui
from import_platform.errors import ConfigError

_SCRIPT = """
import sys
from pathlib import Path
from import_platform.demo.run import run_demo
from import_platform.demo.show import console_of_width
sys.exit(run_demo(console=console_of_width(), folder=Path(sys.argv[1]), months=1))
"""


@contextmanager
def demo(place: DemoPlace) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(place.base)],
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.STDOUT,
        cwd=place.base.parent,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(stream: IO[str] | None, text: str) -> str:
    assert stream is not None
    seen = ""
    for line in stream:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"the demo ended before it said {text!r}:\n{seen}")


def started_by(pid: int) -> list[psutil.Process]:
    """Every process below `pid`; taken while it lives, because orphans belong to nobody."""
    found = psutil.Process(pid).children(recursive=True)
    assert any(process.name() == "postgres" for process in found)
    return found


def all_gone(processes: list[psutil.Process]) -> bool:
    """Soon: the kernel takes a process away behind the signal, and a busy machine far behind it."""
    _, alive = psutil.wait_procs(processes, timeout=120)
    return all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


def run_whole(place: DemoPlace) -> str:
    with demo(place) as process:
        output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def test_the_demo_ends_with_every_row_equal_again_after_a_kill_and_serves_the_ui(
    place: DemoPlace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with demo(place) as process:
        read_until(process.stdout, "First sync")
        started = started_by(process.pid)
        process.send_signal(signal.SIGKILL)
    assert all_gone(started)

    monkeypatch.setenv("IMPORT_PLATFORM_LAKE", "s3://not-for-the-demo")
    output = run_whole(place)
    monkeypatch.delenv("IMPORT_PLATFORM_LAKE")

    equal = dict(re.findall(r"✓ (\w+) +([\d,]+) rows equal", output))
    assert equal == {"flights": "29,004", "weather": "2,226", "planes": "3,314", "airports": "1,458", "airlines": "16"}
    assert "✗" not in output
    assert f"IMPORT_PLATFORM_LAKE={place.base}/lake import-platform ui" in output
    assert all(len(line) <= 100 for line in output.splitlines() if "import_platform/" not in line)

    monkeypatch.delenv(DSN_VARIABLE, raising=False)
    monkeypatch.delenv("IMPORT_PLATFORM_DEFS", raising=False)
    before = set(psutil.Process().children(recursive=True))  # servers of other tests
    with source_for_ui(place) as changed:
        started = [process for process in started_by(os.getpid()) if process not in before]
        assert changed is not None
        assert changed > 0
        assert os.environ[DSN_VARIABLE].startswith("postgresql://")
        assert str(place.defs_folder) in os.environ["IMPORT_PLATFORM_DEFS"].split(":")
    assert DSN_VARIABLE not in os.environ
    assert all_gone(started)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_ends_the_database_and_the_demo_with_130(place: DemoPlace, number: int) -> None:
    with demo(place) as process:
        read_until(process.stdout, "First sync")
        started = started_by(process.pid)
        process.send_signal(number)
        output, _ = process.communicate()
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert all_gone(started)


def said(place: DemoPlace) -> tuple[int, str]:
    """Exit code and output of a demo in this process, for runs that end before they begin."""
    console = Console(file=io.StringIO(), width=100)
    exit_code = run_demo(console=console, folder=place.base, months=1)
    return exit_code, cast("io.StringIO", console.file).getvalue()


def test_another_demo_is_told_who_uses_the_database(place: DemoPlace) -> None:
    with held(place):
        exit_code, output = said(place)
    assert exit_code == 2
    assert f"by_process '{os.getpid()}'" in output


def test_a_server_that_outlived_its_supervisor_is_ended_and_replaced(place: DemoPlace) -> None:
    before = set(psutil.Process().children(recursive=True))  # servers of other tests
    with running_source(place):
        found = [process for process in started_by(os.getpid()) if process not in before]
        started = {process.pid: process for process in found if process.name() == "postgres"}
        (server,) = [process for process in started.values() if process.ppid() not in started]
        psutil.Process(server.ppid()).kill()
        with running_source_in_its_place(place):
            assert all_gone([server])


@contextmanager
def running_source_in_its_place(place: DemoPlace) -> Iterator[None]:
    # The lock of the demo that "died" is still ours here, so it is let go first, as the kernel would.
    (place.folder / "lock").unlink()
    with running_source(place, fresh=True):
        yield


def test_a_budget_too_small_for_any_table_is_refused_before_anything_starts(
    place: DemoPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMPORT_PLATFORM_MEMORY", "100MiB")
    exit_code, output = said(place)
    assert exit_code == 2
    assert "Set IMPORT_PLATFORM_MEMORY to 320MiB or more." in output
    assert not place.base.exists()


def test_a_demo_leaves_the_environment_as_it_found_it(place: DemoPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPORT_PLATFORM_MEMORY", "100MiB")
    monkeypatch.setenv("IMPORT_PLATFORM_LAKE", "s3://somewhere/else")
    before = dict(os.environ)
    said(place)
    assert dict(os.environ) == before


def test_without_a_demo_nothing_is_started_for_the_ui(tmp_path: Path) -> None:
    place = DemoPlace(tmp_path / ".import_platform")
    with source_for_ui(place) as changed:
        assert changed is None
    assert not place.base.exists()


def test_who_declares_other_sources_is_not_given_the_demo(place: DemoPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(place)
    monkeypatch.setenv("IMPORT_PLATFORM_DEFS", "my_defs")
    with source_for_commands(place) as dsn:
        assert dsn is None
        assert os.environ["IMPORT_PLATFORM_DEFS"] == "my_defs"
    assert not place.postgres_folder.exists()


def test_two_users_of_one_database_are_refused_in_one_process_too(place: DemoPlace) -> None:
    with held(place), pytest.raises(ConfigError, match="in use"), held(place):
        raise AssertionError("the second one must not get in")
