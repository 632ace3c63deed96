"""The commands, their arguments and their help. What each does stands in the module of its name."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from import_platform import __version__
from import_platform.cli.terminal import terminal

app = typer.Typer(
    name="import-platform", no_args_is_help=True, add_completion=False, rich_markup_mode="rich",
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
    help="Imports external tables into partitioned Delta Lake tables and keeps them fresh, inside a memory budget.",
    epilog="Exit codes: 0 done, 1 some table failed, 2 bad usage or configuration, 130 interrupted after a checkpoint. "
           "Settings: IMPORT_PLATFORM_LAKE, IMPORT_PLATFORM_MEMORY, IMPORT_PLATFORM_DEFS, IMPORT_PLATFORM_PARTITION_MAX, "
           "DAGSTER_HOME.",
)

Json = Annotated[bool, typer.Option("--json", help="JSON lines on stdout, one object per table, and nothing else there.")]
Table = Annotated[str, typer.Argument(metavar="SOURCE/TABLE", help="One table.")]


def main() -> None:
    """The console script `import-platform`."""
    app(prog_name="import-platform")


def _version(value: bool) -> None:
    if value:
        sys.stdout.write(f"import-platform {__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    json_lines: Json = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    context.obj = {"json": json_lines, "debug": debug}


@app.command()
def query(
    context: typer.Context,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One statement that reads; - reads it from stdin.")],
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object per row.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Every row as CSV with a header.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Rows shown in the table; --json and --csv give all.")] = 50,
) -> None:
    """Ask the lake in SQL (DuckDB, read-only); tables are named source.table."""
    with terminal(context, is_json=json_lines) as screen:
        from import_platform.cli import query as command

        command.run(screen, sql, csv=csv, limit_rows=limit)
