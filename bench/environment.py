"""The environments that engines run in, made on first use under `build/bench` and kept. Standard library only.

`main` and `extract` see everything of the interpreter that runs the benchmark, plus bench/requirements.txt or
bench/requirements-extract.txt. `deltalite` is apart, because that wheel needs Python 3.12 or later, whatever the project
runs on.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "bench"
NEWER_PYTHONS = ("python3.12", "python3.13", "python3.14")


class Unavailable(Exception):
    """An environment cannot be made here; the text says why."""


def python_of(venv: str) -> Path:
    """The interpreter of an environment, which is made if it is missing.

    Raises:
        Unavailable: no suitable Python, or a package cannot be had.
    """
    interpreter = FOLDER / venv / "bin" / "python"
    done = FOLDER / venv / "done"
    if not done.exists():
        base = _newer_python() if venv == "deltalite" else sys.executable
        requirements = "requirements.txt" if venv == "main" else f"requirements-{venv}.txt"
        shutil.rmtree(FOLDER / venv, ignore_errors=True)
        _run([base, "-m", "venv", str(FOLDER / venv)])
        if venv != "deltalite":
            _inherit(interpreter)
        _install(interpreter, ROOT / "bench" / requirements)
        done.touch()
    return interpreter


def _inherit(interpreter: Path) -> None:
    """Lets the environment see the packages of this one; addsitedir also honours an editable install's .pth file."""
    mine = sysconfig.get_paths()["purelib"]
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    theirs = subprocess.run([interpreter, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    Path(theirs, "inherited.pth").write_text(f"import site; site.addsitedir({mine!r})\n")


def _install(interpreter: Path, requirements: Path) -> None:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is not None:
        try:
            return _run([uv, "pip", "install", "--quiet", "--python", str(interpreter), "-r", str(requirements)])
        except Unavailable:
            pass  # uv reads no pip configuration; pip may reach an index that uv cannot
    return _run(
        [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)]
    )


def _newer_python() -> str:
    found = [
        sys.executable,
        *filter(None, map(shutil.which, NEWER_PYTHONS)),
        *map(str, sorted(Path.home().glob(".pyenv/versions/3.1[2-9]*/bin/python"))),
    ]
    for candidate in found:
        answer = subprocess.run(
            [candidate, "-c", "import sys; print(sys.version_info >= (3, 12))"],
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.stdout.strip() == "True":
            return candidate
    raise Unavailable("no Python 3.12 or later was found")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{' '.join(command[:4])} failed: {done.stderr.strip().splitlines()[-1:]}")
