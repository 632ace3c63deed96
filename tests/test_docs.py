"""The pages at the root name only what exists, and name all of what a person types or sets."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main

from import_platform.cli.app import app

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "import_platform"
PAGES = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "bench/README.md"]
SITE = [str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs").rglob("*.md"))]
"""Their links and files are checked when the site is built."""
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
TARGETS = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
READ = [*sorted(PACKAGE.rglob("*.py")), ROOT / "dbt" / "profiles.yml"]
SOURCES = "\n".join(path.read_text("utf-8") for path in READ).replace("'", '"')
FOLDERS = {path.name for path in [*ROOT.iterdir(), *PACKAGE.iterdir()] if path.is_dir()}
NAMES = {path.name for base in (PACKAGE, ROOT / "tests") for path in base.rglob("*.*")}
USERS_OWN = {"defs.yaml", "dagster.yaml"}
"""Files that a person or the first run makes, not this repository."""
MADE_AT_RUN_TIME = ("build/", ".import_platform/", ".venv/", "_staging/", "_ops/", "state/")


def text_of(page: str) -> str:
    path = ROOT / page
    assert path.is_file(), f"{page} is missing"
    return path.read_text("utf-8")


def code_of(text: str) -> list[str]:
    """Every line of a code block and every span of inline code."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```[^\n]*\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", prose)


def missing_files(text: str) -> set[str]:
    """Words of code that look like a file or folder of the repository and are none. A bare name may lie anywhere."""
    words = {
        word
        for code in code_of(text)
        for word in re.findall(r"(?<![\w/:<>.-])\.?[\w-]+(?:[./][\w.-]+)*/?(?![\w<>*=])", code)
    }
    files = {word for word in words if re.search(r"\w\.(py|toml|ya?ml|md|lock|sh)$", word)}
    folders = {word for word in words if "/" in word and word.split("/")[0] in FOLDERS}
    return {
        word
        for word in files | folders
        if Path(word).name not in USERS_OWN
        and not word.startswith(MADE_AT_RUN_TIME)
        and word not in NAMES
        and not any((base / word).exists() for base in (ROOT, PACKAGE))
    }


def dead_links(text: str) -> set[str]:
    links = {link.split("#")[0] for link in re.findall(r"!?\[[^\]]*\]\(([^)\s]+)\)", text)}
    return {
        link
        for link in links
        if "://" not in link
        and not link.startswith("mailto:")
        and not any((folder / link).exists() for folder in (ROOT, ROOT / "bench", ROOT / "docs"))
    }


def unknown_targets(text: str) -> set[str]:
    pattern = r"\bmake (?:[A-Z_]+=\S+ )*([a-z]+)"
    return {target for code in code_of(text) for target in re.findall(pattern, code)} - TARGETS


def unknown_commands(text: str) -> set[str]:
    """Commands and options after `import-platform` that the command line does not have."""
    unknown = set()
    for code in code_of(text):
        for command, rest in re.findall(r"\bimport-platform ([a-z][a-z-]*)([^|;&#]*)", code):
            if command in COMMANDS:
                options = {option for parameter in COMMANDS[command].params for option in parameter.opts}
                used = set(re.findall(r"(?<!\S)\[?(--[a-z-]+)", rest))
                unknown |= {f"{command} {option}" for option in used - options - {"--help"}}
            else:
                unknown.add(command)
    return unknown


def unread_variables(text: str) -> set[str]:
    return {
        name for name in re.findall(r"\b(?:IMPORT_PLATFORM_[A-Z_]+|DAGSTER_HOME)\b", text) if f'"{name}"' not in SOURCES
    }


def missing_objects(text: str) -> set[str]:
    return {name for name in re.findall(r"\bimport_platform(?:\.\w+)+", " ".join(code_of(text))) if not is_object(name)}


def is_object(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    try:
        return hasattr(importlib.import_module(module), attribute) or importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


CHECKS = [missing_files, dead_links, unknown_targets, unknown_commands, unread_variables, missing_objects]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("check", CHECKS)
def test_a_page_names_only_what_exists(page: str, check: Callable[[str], set[str]]) -> None:
    assert check(text_of(page)) == set()


@pytest.mark.parametrize("page", SITE)
@pytest.mark.parametrize("check", [unknown_targets, unknown_commands, unread_variables, missing_objects])
def test_a_page_of_the_site_names_only_what_exists(page: str, check: Callable[[str], set[str]]) -> None:
    assert check(text_of(page)) == set()


def test_what_does_not_exist_is_found() -> None:
    page = """
See `import_platform/core/nowhere.py`, `core/budget.py`, `budget.py`, `nowhere.toml` and [this](docs/nowhere.md#top).

```
make nothing
import-platform sync shop/orders --full-refresh --fast   # and `import-platform dance`
IMPORT_PLATFORM_MOOD=good import-platform status
type: import_platform.components.Nothing
```
"""
    assert missing_files(page) == {"import_platform/core/nowhere.py", "nowhere.toml"}
    assert dead_links(page) == {"docs/nowhere.md"}
    assert unknown_targets(page) == {"nothing"}
    assert unknown_commands(page) == {"sync --fast", "dance"}
    assert unread_variables(page) == {"IMPORT_PLATFORM_MOOD"}
    assert missing_objects(page) == {"import_platform.components.Nothing"}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_readme_names_every_command(command: str) -> None:
    assert re.search(rf"\bimport-platform {command}\b|`{command}\b", text_of("README.md"))


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"\bIMPORT_PLATFORM_(?:LAKE|MEMORY|DEFS|PARTITION_MAX)\b", SOURCES)))
)
def test_the_readme_names_every_variable_of_the_contract(name: str) -> None:
    assert name in text_of("README.md")


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_contributing_names_every_make_target(target: str) -> None:
    assert f"`make {target}" in text_of("CONTRIBUTING.md")
