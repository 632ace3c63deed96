"""`heal N --command`: a program may edit a copy of the source's folder; it is checked and shown, never applied."""

from __future__ import annotations

import difflib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.text import Text

from import_platform.cli.contract import contract_of
from import_platform.cli.incidents import bundle_of, incident_of
from import_platform.cli.terminal import Failed, Terminal
from import_platform.components.loading import load_sources
from import_platform.errors import ConfigError, ImportPlatformError
from import_platform.io.incidents import Incident
from import_platform.io.lake import Lake
from import_platform.pipeline.parents import LakeParents
from import_platform.resources.platform import PlatformResource
from import_platform.resources.project import read_settings
from import_platform.sources.live import live_check
from import_platform.sources.protocol import ReadsLake

SECONDS_MAX = 1800
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TERM")


def run(screen: Terminal, number: int, command: str) -> None:
    """Raises Failed: the program failed, or what it proposes does not pass."""
    incident = incident_of(number)
    source = load_sources().source(incident.source)
    if source.origin is None:
        raise ConfigError(
            "the source has no folder to heal", source=incident.source, remedy="Declare it in a defs.yaml."
        )
    original = source.origin.path.parent
    with tempfile.TemporaryDirectory(prefix="import_platform-heal-") as folder:
        copy = Path(folder) / "defs" / original.name
        shutil.copytree(original, copy, ignore=shutil.ignore_patterns("__pycache__", ".env*", "*.pem", "*.key"))
        bundle = bundle_of(incident)
        told = Path(folder) / "incident"
        told.mkdir()
        (told / "summary.md").write_text(str(bundle["summary"]), "utf-8")
        (told / "bundle.json").write_text(json.dumps(bundle, indent=1, default=str), "utf-8")
        _run(screen, command, copy, told)
        changes = "".join(_difference(original, copy))
        passes = _check(screen, copy, incident)
    screen.out.print(Text(changes or "the program changed nothing\n"), end="")
    words = "passes" if passes else "does not pass"
    screen.out.print(f"the copy {words} the checks; nothing was applied to {original}", markup=False)
    if not passes:
        raise Failed(1)


def _run(screen: Terminal, command: str, copy: Path, told: Path) -> None:
    """In the copy, with an environment that holds no secret of ours."""
    environ = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    environ |= {"HOME": str(told.parent), "INCIDENT": str(told / "bundle.json"), "SUMMARY": str(told / "summary.md")}
    try:
        done = subprocess.run(
            shlex.split(command),
            cwd=copy,
            env=environ,
            timeout=SECONDS_MAX,
            check=False,
            capture_output=True,
            text=True,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ConfigError(
            "the program could not be run", said=type(error).__name__, remedy="Give it by its full path."
        ) from None
    screen.err.print(Text(done.stdout[-4000:] + done.stderr[-4000:]))
    if done.returncode:
        raise ConfigError("the program failed", exit_code=done.returncode, remedy="Its output stands above.")


def _check(screen: Terminal, copy: Path, incident: Incident) -> bool:
    """The declaration loads, its contract holds on this machine, and the API gives a page of the failed table to the
    credentials of this process."""
    name = f"{incident.source}/{incident.table}"
    try:
        source = load_sources([copy.parent]).source(incident.source)
        contract = contract_of(source, incident)
        for line in contract.lines():
            screen.out.print(Text(f"contract: {line}", style="" if contract.passes else "red"), soft_wrap=True)
        with PlatformResource().source(source.config) as opened:
            if isinstance(opened, ReadsLake):
                opened.use_parents(LakeParents(Lake(read_settings().lake_uri), incident.source))
            found = [live_check(opened, info) for info in opened.discover([incident.table])]
    except ImportPlatformError as error:
        screen.out.print(Text(f"live: {name}: {error}", style="red"), soft_wrap=True)
        return False
    for live in found:
        screen.out.print(Text(f"live: {name}: {live.sentence}", style="red" if live.error else ""), soft_wrap=True)
    if not found:
        screen.out.print(Text(f"live: {name}: the copy declares no such table", style="red"))
    return contract.passes and bool(found) and all(live.error is None for live in found)


def _difference(before: Path, after: Path) -> Iterator[str]:
    names = {path.relative_to(root) for root in (before, after) for path in root.rglob("*") if path.is_file()}
    for name in sorted(names):
        if "__pycache__" in name.parts:
            continue
        old, new = (_lines(root / name) for root in (before, after))
        if old != new:
            yield from difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        return ["(not text)\n"]
    return [line if line.endswith("\n") else f"{line}\n" for line in text.splitlines(keepends=True)]
