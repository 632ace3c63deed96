"""The changelog has the form of Keep a Changelog, and the version stands in one place."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from packaging.version import Version

from import_platform import __version__

ROOT = Path(__file__).parents[2]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
SEMANTIC = r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?"


def test_what_is_not_released_comes_first_then_releases_with_their_day_the_newest_first() -> None:
    headings = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    released = [re.fullmatch(rf"\[({SEMANTIC})\] - \d{{4}}-\d\d-\d\d", heading) for heading in headings[1:]]
    versions = [Version(match[1]) for match in released if match]
    assert len(versions) == len(released)
    assert all(newer > older for newer, older in pairwise(versions))
    assert Version(__version__) >= max(versions, default=Version("0"))


def test_every_change_stands_under_a_kind_that_is_named_once_per_version() -> None:
    for part in re.split(r"^## .*$", CHANGELOG, flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (.*)$", part, re.MULTILINE)
        assert set(kinds) <= KINDS
        assert len(kinds) == len(set(kinds))
        assert part.strip().startswith("### ") or not part.strip()
        lines = [line for line in part.splitlines() if line]
        assert [line for line in lines if not line.startswith(("- ", "  ", "### "))] == []


def test_the_version_is_a_semantic_one_and_stands_in_one_place() -> None:
    assert re.fullmatch(SEMANTIC, __version__)
    declared = (ROOT / "pyproject.toml").read_text("utf-8")
    assert 'dynamic = ["version"]' in declared
    assert re.search(r'^path = "import_platform/__init__.py"$', declared, re.MULTILINE)
    assert f'"{__version__}"' not in declared


def test_other_files_that_name_the_version_name_this_one() -> None:
    for page in ("Dockerfile", "docs/deploy.md"):
        assert set(re.findall(r"import[-_]platform[:-](\d+\.\d+\.\d+)", (ROOT / page).read_text("utf-8"))) == {
            __version__
        }, page
