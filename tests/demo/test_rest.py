"""The demo of an API runs from its kill to its last comparison."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from import_platform.demo.rest import run_rest_demo

pytestmark = pytest.mark.slow


def test_every_table_equals_the_api_after_a_kill_and_after_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMPORT_PLATFORM_MEMORY", "1GiB")
    told = io.StringIO()
    assert run_rest_demo(Console(file=told, width=160), base=tmp_path) == 0, told.getvalue()
    text = told.getvalue()
    assert text.count(": equal") == 6, text
    assert "different" not in text
    assert "went on after the kill" in text, text
    until_kill, more, changes = (int(n.replace(",", "")) for n in re.findall(r"([0-9,]+) requests", text))
    assert until_kill >= 700
    assert more < 1555  # a whole sync: 1,500 lists of lines, 55 pages of objects
    assert changes < 60
    assert (tmp_path / "demo-rest" / "defs" / "pay" / "defs.yaml").is_file()
