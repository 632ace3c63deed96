"""The command `dbt-sources` with its arguments; what it does stands in `dbt_sources`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from import_platform.cli.terminal import terminal


def dbt_sources(
    context: typer.Context,
    project: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="A dbt project; by default the folder dbt/ of this one.")
    ] = None,
    json_lines: Annotated[
        bool, typer.Option("--json", metavar="", help="JSON lines on stdout, one object per table.")
    ] = False,
) -> None:
    """Tell the dbt project which tables the lake holds: columns, types, places. Run before dbt."""
    with terminal(context, is_json=json_lines) as screen:
        from import_platform.cli import dbt_sources as command

        command.run(screen, project)
