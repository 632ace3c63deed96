"""The reference, made from the code that reads declarations, takes commands and raises errors."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import typer.main

from docs.generate.pages import with_includes
from import_platform import errors
from import_platform.cli.app import app
from import_platform.components.declaration import SourceYaml
from import_platform.components.grouping_yaml import GroupingYaml
from import_platform.components.yaml_model import LabelledYaml
from import_platform.sources.registry import KINDS, Kind

PACKAGE = Path(errors.__file__).parent
LABELS = LabelledYaml.model_fields
"""Words that a source and a table share; they are listed last."""


@dataclass(frozen=True)
class Raised:
    """A place that raises an error: its sentence with … for what is filled in, and its remedy, empty where it is put together."""

    kind: str
    sentence: str
    remedy: str


# --- declaration -------------------------------------------------------------------------------------------------


def declaration() -> str:
    schema = SourceYaml.model_json_schema()
    head = (
        "# Declaration\n\nMade from the models that check a `defs.yaml`; what is not here is refused with file and line. "
        "`dg check yaml` and editors know the same schema.\n"
    )
    parts = [
        head,
        "```yaml\ntype: import_platform.components.ExternalSource\nattributes:\n  name: shop\n  connection: {kind: ..., ...}\n```\n",
        "## attributes\n\n" + _fields(schema),
        "## tables\n\nEach entry of `tables:`.\n\n" + _fields(schema["$defs"]["TableYaml"]),
    ]
    table = schema["$defs"]["TableYaml"]["properties"]
    parts += [
        f"## {word}\n\n{_prose(field.get('description', ''))}\n\n{_fields(field)}"
        for word, field in table.items()
        if "properties" in field
    ]
    lists = {
        word: field["items"]["$ref"].rpartition("/")[2]
        for word, field in table.items()
        if "$ref" in field.get("items", {})
    }
    for word, model in lists.items():
        entry = schema["$defs"][model]
        parts.append(f"## {word}\n\n{_prose(entry.get('description', ''))}\n\n{_fields(entry)}")
        parts += [
            f"## {inner}\n\n{_prose(field.get('description', ''))}\n\n{_fields(field)}"
            for inner, field in entry["properties"].items()
            if "properties" in field
        ]
    parts.append(
        "## Grouping\n\nThe `attributes` of a file whose `type` is `import_platform.components.Grouping`; "
        "see [Grouping](../group.md).\n\n" + _fields(GroupingYaml.model_json_schema())
    )
    parts.append("## connection\n\n" + "\n".join(_kind(name, kind) for name, kind in sorted(KINDS.items())))
    return "\n".join(parts)


def _fields(schema: Mapping[str, Any]) -> str:
    rows = ["| word | value | meaning |", "|---|---|---|"]
    fields = sorted(schema["properties"].items(), key=lambda named: named[0] in LABELS)
    for name, field in fields:
        needed = " **(needed)**" if name in schema.get("required", ()) else ""
        rows.append(f"| `{name}`{needed} | {_value(name, field)} | {_cell(field.get('description', ''))} |")
    return "\n".join(rows) + "\n"


def _value(name: str, field: Mapping[str, Any]) -> str:
    if "properties" in field:
        return f"mapping, see [{name}](#{name})" + (" or `none`" if "string" in field["type"] else "")
    if field.get("enum"):
        default = field.get("default")
        known = " \\| ".join(f"`{value}`" for value in field["enum"] if value is not None)
        return known + (f"; left out: `{default}`" if default else "")
    if "$ref" in field.get("items", {}):
        return f"list, see [{name}](#{name})"
    types = [kind for kind in _types(field) if kind != "null"]
    spelled = {
        "array": "list",
        "object": "mapping",
        "string": "text",
        "integer": "whole number",
        "boolean": "`true`, `false`",
    }
    text = ", ".join(dict.fromkeys(spelled.get(kind, kind) for kind in types))
    return text or f"mapping, see [{name}](#{name})"


def _types(field: Mapping[str, Any]) -> list[str]:
    if "anyOf" in field:
        return [kind for option in field["anyOf"] for kind in _types(option)]
    found = field.get("type", [])
    return [found] if isinstance(found, str) else list(found)


def _kind(name: str, kind: Kind) -> str:
    words = [
        f"`{key}` ({_python(value)})" + (" **(needed)**" if key in kind.required else "")
        for key, value in kind.keys.items()
    ]
    return f"### {name}\n\n{', '.join(words)}\n\n```yaml\nconnection: {kind.example}\n```\n"


def _python(kind: type) -> str:
    return {str: "text", int: "whole number", list: "list of text", dict: "mapping"}.get(kind, "list")


# --- commands ----------------------------------------------------------------------------------------------------


def commands() -> str:
    root: Any = typer.main.get_command(app)
    told = [
        f"# Commands\n\n{root.help}\n\n{_prose(root.epilog or '')}\n\n## Options of every command\n\n{_parameters(root)}"
    ]
    told += [_command(command, ["import-platform"]) for _, command in sorted(root.commands.items())]
    return "\n".join(told)


def _command(command: Any, above: list[str]) -> str:
    path = [*above, str(command.name)]
    wanted = [parameter.metavar for parameter in command.params if parameter.param_type_name == "argument"]
    usage = " ".join([*path, *(["COMMAND"] if hasattr(command, "commands") else []), *map(str, wanted), "[OPTIONS]"])
    text = f"{'#' * len(path)} {' '.join(path[1:])}\n\n{_prose(command.help or '')}\n\n```\n{usage}\n```\n\n{_parameters(command)}"
    if hasattr(command, "commands"):
        text += "\n" + "\n".join(_command(below, path) for _, below in sorted(command.commands.items()))
    return text


def _parameters(command: Any) -> str:
    shown = [
        parameter
        for parameter in command.params
        if not getattr(parameter, "hidden", False) and parameter.name != "help"
    ]
    if not shown:
        return ""
    return (
        "| argument or option | meaning |\n|---|---|\n" + "\n".join(_parameter(parameter) for parameter in shown) + "\n"
    )


def _parameter(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = parameter.metavar or str(parameter.name).upper()
    else:
        name = ", ".join([*parameter.opts, *parameter.secondary_opts])
        name += f" {parameter.metavar}" if parameter.metavar else ""
    default = parameter.default
    given = (
        default is not None
        and not callable(default)
        and not isinstance(default, bool)
        and str(default) not in ("", "()")
    )
    left_out = (
        f" Left out: `{default}`." if given and "left out" not in str(getattr(parameter, "help", "")).lower() else ""
    )
    return f"| `{_cell(name)}` | {_cell(getattr(parameter, 'help', None) or '')}{left_out} |"


# --- errors ------------------------------------------------------------------------------------------------------


def error_kinds() -> list[type[errors.ImportPlatformError]]:
    """Every class of error that is raised, in the order of the module."""
    found = [
        kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.ImportPlatformError)
    ]
    concrete = [kind for kind in found if kind not in (errors.ImportPlatformError, errors.RetryableError)]
    return sorted(concrete, key=lambda kind: inspect.getsourcelines(kind)[1])


@cache
def raised(package: Path = PACKAGE) -> Sequence[Raised]:
    """Every place that raises one of our errors with a sentence that stands there, by class and sentence."""
    names = {kind.__name__ for kind in error_kinds()}
    found = {
        Raised(node.func.id, sentence, _remedy(node))
        for module in sorted(package.rglob("*.py"))
        for node in ast.walk(ast.parse(module.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names and node.args
        for sentence in _texts(node.args[0])
    }
    return tuple(sorted(found, key=lambda one: (one.kind, one.sentence, one.remedy)))


def _texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body)
        yield from _texts(node.orelse)


def _remedy(call: ast.Call) -> str:
    return " ".join(text for word in call.keywords if word.arg == "remedy" for text in _texts(word.value))


def error_pages() -> str:
    head = (
        "# Errors\n\nMade from the code. An error is one sentence, facts in brackets, and what to do. Its class says who acts; "
        "Dagster retries only those that can succeed later. `…` is filled in when it happens.\n"
    )
    parts = [head, "| class | meaning | exit code | tried again |\n|---|---|---|---|"]
    for kind in error_kinds():
        again = "yes" if kind.retryable else "no"
        parts.append(
            f"| [{kind.__name__}](#{kind.__name__.lower()}) | {_cell(kind.__doc__ or '')} | {kind.exit_code} | {again} |"
        )
    places = raised()
    for kind in error_kinds():
        said: dict[str, list[str]] = {}
        for one in places:
            if one.kind == kind.__name__:
                said.setdefault(one.sentence, []).append(_cell(one.remedy))
        rows = [f"| {_cell(sentence)} | {'<br>'.join(filter(None, remedies))} |" for sentence, remedies in said.items()]
        listed = (
            "| sentence | what to do |\n|---|---|\n" + "\n".join(rows)
            if rows
            else "Its sentences are put together where it is raised."
        )
        parts.append(f"\n## {kind.__name__}\n\n{_prose(kind.__doc__ or '')}\n\n{listed}")
    return "\n".join(parts) + "\n"


# --- the rest ----------------------------------------------------------------------------------------------------


def contract() -> str:
    text = """# Environment and contract

## Environment

<!-- include: README.md # Environment -->

A lake on S3 takes the usual `AWS_*` variables, with `AWS_ENDPOINT_URL` for another store than Amazon's.

## What scripts may rely on

<!-- include: README.md # What scripts may rely on -->
"""
    return with_includes(text, "reference/contract.md")


def _cell(text: str) -> str:
    """Text for a cell of a table: on one line, with signs that would end the cell or be taken for HTML spelled out."""
    plain = re.sub(r"\s+", " ", text).strip()
    return re.sub(
        r"(`[^`]*`)|([*_])", lambda found: found[1] or f"\\{found[2]}", plain.replace("|", "\\|").replace("<", "&lt;")
    )


def _prose(text: str) -> str:
    return inspect.cleandoc(text)


PAGES: Mapping[str, Callable[[], str]] = {
    "reference/declaration.md": declaration,
    "reference/commands.md": commands,
    "reference/errors.md": error_pages,
    "reference/contract.md": contract,
}
