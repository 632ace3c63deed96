"""The law of ARCHITECTURE.md holds, and the tools that enforce it really refuse what it forbids."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "import_platform"
MODULES = sorted(PACKAGE.rglob("*.py"))
MODULE_LINES, FUNCTION_LINES = 400, 40
HANDS_ON_THE_ENVIRONMENT = {
    "__init__.py",  # chooses Arrow's allocator before Arrow is imported
    "s3.py",  # AWS's own variables
    "cli/heal.py",
    "cli/terminal.py",
    "cli/ui.py",
    "demo/place.py",
    "demo/postgres_server.py",
    "demo/rest.py",
    "demo/run.py",
    "demo/server.py",
}
LINTER = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"


def contracts(folder: Path) -> tuple[int, str]:
    """Exit code and output of import-linter on the package below `folder`."""
    done = subprocess.run(
        [sys.executable, "-c", LINTER],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def banned(text: str, *, path: str, rules: str = "TID251") -> str:
    """What ruff's banned-api rule, or another, says of `text` if it stood at `path`."""
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", f"--select={rules}", "--stdin-filename", path, "-"],
        cwd=ROOT,
        input=text,
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


def functions(module: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    assert function.end_lineno is not None
    first = function.body[0]
    docstring = 0
    if ast.get_docstring(function, clean=False) is not None:
        assert first.end_lineno is not None
        docstring = first.end_lineno - first.lineno + 1
    return function.end_lineno - function.lineno + 1 - docstring


def names_the_environment(text: str) -> bool:
    names = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv", "expandvars"}
    nodes = list(ast.walk(ast.parse(text)))
    taken = {a.name for n in nodes if isinstance(n, ast.ImportFrom) and n.module in ("os", "os.path") for a in n.names}
    asked = {n.attr for n in nodes if isinstance(n, ast.Attribute) and ast.unparse(n.value) in ("os", "os.path")}
    return bool(names & (taken | asked))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package's modules and the contracts, free to be broken."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(PACKAGE, tmp_path / "import_platform", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_imports_point_down_and_the_core_is_pure() -> None:
    code, output = contracts(ROOT)
    assert code == 0, output


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("core/budget.py", "import time", "core is pure"),
        ("core/budget.py", "def now():\n    import os.path", "core is pure"),
        ("core/new.py", "import deltalake", "core is pure"),
        ("core/budget.py", "import import_platform.io", "imports point down"),
        ("errors.py", "import import_platform.core", "imports point down"),
        ("io/__init__.py", "import import_platform.sources", "imports point down"),
        ("pipeline/__init__.py", "def late():\n    import import_platform.resources", "imports point down"),
        ("jobs/__init__.py", "import import_platform.assets", "imports point down"),
        ("components/__init__.py", "import import_platform.cli", "imports point down"),
        ("pipeline/__init__.py", "import dagster", "only the upper layers know dagster"),
        ("utils/__init__.py", "", "imports point down"),
    ],
)
def test_a_forbidden_import_breaks_its_contract(copy: Path, module: str, line: str, contract: str) -> None:
    path = copy / "import_platform" / module
    path.parent.mkdir(exist_ok=True)
    before = path.read_text("utf-8") if path.exists() else ""
    path.write_text(f"{before}\n{line}\n", "utf-8")
    code, output = contracts(copy)
    assert code == 1, output
    assert f"{contract} BROKEN" in output


@pytest.mark.parametrize(
    "text",
    [
        "from datetime import datetime\nvalue = datetime.now()\n",
        "import datetime\nvalue = datetime.datetime.utcnow()\n",
        "from datetime import date\nvalue = date.today()\n",
        "import polars as pl\nvalue = pl.scan_parquet('x')\n",
        "from polars import read_csv\n",
        "import pyarrow.parquet as pq\n",
        "from pyarrow import dataset\n",
        "import numpy as np\nvalue = np.random.default_rng()\n",
        "import uuid\nvalue = uuid.uuid4()\n",
        "import secrets\n",
    ],
)
def test_the_core_may_not_read_ask_the_time_or_roll_dice(text: str) -> None:
    assert "TID251" in banned(text, path="import_platform/core/new.py")
    assert "TID251" not in banned(text, path="import_platform/pipeline/new.py")


@pytest.mark.parametrize(("text", "rule"), [("value = open('x')\n", "PTH123"), ("print('x')\n", "T201")])
def test_built_in_reading_and_writing_is_refused_too(text: str, rule: str) -> None:
    assert rule in banned(text, path="import_platform/core/new.py", rules=rule)


def test_no_module_of_the_core_uses_a_banned_name() -> None:
    found = "".join(
        banned(path.read_text("utf-8"), path=str(path.relative_to(ROOT))) for path in MODULES if "core" in path.parts
    )
    assert "TID251" not in found


def test_no_module_is_longer_than_400_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > MODULE_LINES} == {}


def test_no_function_is_longer_than_40_lines_without_its_docstring() -> None:
    long = {
        f"{module.relative_to(ROOT)}:{function.name}": body_lines(function)
        for module in MODULES
        for function in functions(module)
        if body_lines(function) > FUNCTION_LINES
    }
    assert long == {}


def test_imports_hide_in_functions_only_at_the_command_line() -> None:
    hidden = [
        f"{module.relative_to(ROOT)}:{node.lineno}"
        for module in MODULES
        if module.relative_to(PACKAGE).parts[0] != "cli"
        for function in functions(module)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom) and "import_platform" in ast.unparse(node)
    ]
    assert hidden == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import os\nvalue = os.environ['A']\n", True),
        ("import os\nvalue = os.getenv('A')\n", True),
        ("from os import environ\n", True),
        ("from os.path import expandvars\n", True),
        ("import os\nvalue = os.path.expandvars('$A')\n", True),
        ("import os\nvalue = os.cpu_count()\n", False),
        ("value = request.environ\n", False),
    ],
)
def test_a_module_that_names_the_environment_is_told(text: str, names: bool) -> None:
    assert names_the_environment(text) is names


def test_only_resources_and_those_that_hand_it_on_name_the_environment() -> None:
    found = {str(path.relative_to(PACKAGE)) for path in MODULES if names_the_environment(path.read_text("utf-8"))}
    assert {name for name in found if not name.startswith("resources/")} == HANDS_ON_THE_ENVIRONMENT


def test_what_is_marked_slow_as_a_whole_exists() -> None:
    marked = re.findall(r"TESTS((?: / \"[\w.]+\")+)", (ROOT / "conftest.py").read_text("utf-8"))
    assert marked
    paths = [ROOT.joinpath("tests", *re.findall(r"\"([\w.]+)\"", parts)) for parts in marked]
    assert [str(path) for path in paths if not path.exists()] == []


def test_no_module_is_named_after_nothing() -> None:
    vague = {"util", "utils", "helper", "helpers", "common", "misc", "base", "shared"}
    assert [str(path) for path in MODULES if vague & set(path.relative_to(PACKAGE).with_suffix("").parts)] == []


def test_the_law_and_the_tree_on_the_page_are_those_of_the_package() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][0]
    layers = [layer for layer in contract["layers"] if layer != "defs"]  # declarations, which import nothing
    assert " -> ".join(layers) in text.partition("## The law")[2].partition("## ")[0]
    tree = text.partition("## The tree")[2].partition("## ")[0]
    places = {path.name for path in PACKAGE.iterdir() if not path.name.startswith("__")}
    entries = re.findall(r"^  (\S+(?: \S+/)*)", tree, re.MULTILINE)
    assert {name.rstrip("/") for entry in entries for name in entry.split()} == places


def test_decisions_are_numbered_in_order_and_a_replaced_one_says_by_which() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8").partition("## Decisions")[2]
    said = {
        int(n): note for n, note in re.findall(r"^(\d+)\. \*\*.+?\*\*(?:,[^.(]*)? ?(\([^)]*\))?", text, re.MULTILINE)
    }
    numbers = [int(n) for n in re.findall(r"^(\d+)\. ", text, re.MULTILINE)]
    assert numbers == sorted(set(numbers)) == list(said)
    by_later, of_earlier = set(), set()
    for number, note in said.items():
        by_later |= {
            (how, number, int(later)) for how, later in re.findall(r"(replace|narrow|sharpen)e?d by (\d+)", note)
        }
        of_earlier |= {
            (how, int(earlier), number) for how, earlier in re.findall(r"(replace|narrow|sharpen)s (\d+)", note)
        }
    assert by_later
    assert by_later == of_earlier
    assert [pair for pair in by_later if pair[1] >= pair[2]] == []
