"""`new-source NAME --openapi FILE`: a first defs.yaml from an OpenAPI document, and what is left to decide."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from import_platform.cli.terminal import Terminal
from import_platform.core.wording import counted
from import_platform.errors import ConfigError
from import_platform.resources.connection import Connection
from import_platform.sources.rest.openapi import Draft, draft


def run(screen: Terminal, name: str, file: str, folder: str | None) -> None:
    """Writes `FOLDER/NAME/defs.yaml`, or prints it. Never replaces a file.

    Raises:
        ConfigError: the file is no OpenAPI document, or the declaration exists.
    """
    made = draft(name, read_document(Path(file)))
    text = _text(made)
    if folder is None:
        screen.out.print(text, markup=False, highlight=False, soft_wrap=True)
        screen.err.print(
            f"nothing was written; with --folder FOLDER it becomes FOLDER/{name}/defs.yaml",
            markup=False,
            soft_wrap=True,
        )
    else:
        path = Path(folder) / name / "defs.yaml"
        if path.exists():
            raise ConfigError("the declaration exists", path=str(path), remedy="Choose another name or remove it.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", "utf-8")
        screen.out.print(f"wrote {path}: {counted(len(made.resources), 'table')}", markup=False, soft_wrap=True)
        for line in _grouped(made.undecided):
            screen.err.print(f"to decide: {line}", markup=False, soft_wrap=True)
        variables = Connection(made.declaration["attributes"]["connection"]).variables
        set_first = f"set {', '.join(variables)}, then " if variables else ""
        screen.out.print(f"next: {set_first}import-platform check {name}", markup=False, soft_wrap=True)


def read_document(path: Path) -> dict[str, Any]:
    """Raises ConfigError: the file is not there, or holds something else."""
    try:
        text = path.read_text("utf-8")
        found = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            "the OpenAPI document cannot be read", path=str(path), said=type(error).__name__, remedy="Give a file."
        ) from None
    if not isinstance(found, dict) or not isinstance(found.get("paths"), dict):
        raise ConfigError("this is no OpenAPI document", path=str(path), remedy="It needs `paths`.")
    return found


def _text(made: Draft) -> str:
    head = "".join(f"# to decide: {line}\n" for line in _grouped(made.undecided))
    return head + yaml.safe_dump(made.declaration, sort_keys=False, allow_unicode=True, width=110).rstrip("\n")


def _grouped(notes: Sequence[str]) -> list[str]:
    """What is said of several tables, once: `links, logs: no field looks like its primary key`."""
    subjects: dict[str, list[str]] = {}
    for note in notes:
        subject, _, said = note.rpartition(": ")
        subjects.setdefault(said, []).append(subject)
    return [f"{', '.join(names)}: {said}" if any(names) else said for said, names in subjects.items()]
