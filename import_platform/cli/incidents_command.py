"""The commands `incidents list` and `incidents show`; what they do stands in `incidents`."""

from __future__ import annotations

from typing import Annotated

import typer

from import_platform.cli.terminal import terminal

JsonLines = Annotated[
    bool,
    typer.Option("--json", metavar="", help="JSON lines on stdout, one object per incident."),
]

incidents = typer.Typer(no_args_is_help=True, help="What went wrong at a source, and what it takes to mend it.")


@incidents.command("list")
def incidents_list(context: typer.Context, json_lines: JsonLines = False) -> None:
    """Open incidents first, then those that were closed."""
    with terminal(context, is_json=json_lines) as screen:
        from import_platform.cli import incidents as command

        command.show_all(screen)


@incidents.command("show")
def incidents_show(
    context: typer.Context,
    number: Annotated[int, typer.Argument(metavar="N", help="Of `incidents list`.")],
    json_lines: JsonLines = False,
) -> None:
    """Everything that is known of one: error, request and answer without secrets, declaration, columns, summary."""
    with terminal(context, is_json=json_lines) as screen:
        from import_platform.cli import incidents as command

        command.show(screen, number)
