"""`demo`: the whole path on real data, in this project's own lake."""

from __future__ import annotations

from import_platform.cli.terminal import Failed, Terminal
from import_platform.demo.rest import run_rest_demo
from import_platform.demo.run import main_demo
from import_platform.errors import ConfigError


def run(screen: Terminal, *, months: int | None, rest: bool = False) -> None:
    """Raises Failed with the demo's exit code; it has said why by then."""
    if screen.is_json:
        raise ConfigError("the demo is for people and has no --json", remedy="Use `import-platform sync --json`.")
    exit_code = run_rest_demo(screen.out) if rest else main_demo(months=months)
    if exit_code:
        raise Failed(exit_code)
