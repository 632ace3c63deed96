"""The command `publish` with its arguments and help; `cli.app` adds it to the others."""

from __future__ import annotations

from typing import Annotated

import typer

from import_platform.cli.terminal import terminal


def publish(
    context: typer.Context,
    selection: Annotated[str, typer.Argument(metavar="SOURCE[/TABLE]", help="One source or one table.")],
    json_lines: Annotated[bool, typer.Option("--json", metavar="", help="One JSON object per table.")] = False,
) -> None:
    """Bring tables of the lake to PostgreSQL or to files, as publish: says; tables of a group all or none."""
    with terminal(context, is_json=json_lines) as screen:
        from import_platform.cli import publish as command

        command.run(screen, selection)
