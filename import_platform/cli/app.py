"""The commands, their arguments and their help. What each does stands in the module of its name."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from import_platform import __version__
from import_platform.cli.dbt_command import dbt_sources
from import_platform.cli.group_command import group
from import_platform.cli.incidents_command import incidents
from import_platform.cli.publish_command import publish
from import_platform.cli.terminal import terminal
from import_platform.errors import ConfigError

app = typer.Typer(
    name="import-platform",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Imports external tables into partitioned Delta Lake tables and keeps them fresh, inside a memory budget.",
    epilog="Exit codes: 0 done, 1 some table failed, 2 bad usage or configuration, 130 interrupted after a checkpoint."
    "\n\nEnvironment: IMPORT_PLATFORM_LAKE, IMPORT_PLATFORM_MEMORY, IMPORT_PLATFORM_DEFS, "
    "IMPORT_PLATFORM_PARTITION_MAX, DAGSTER_HOME, and AWS_* for a lake on S3.",
)

Json = Annotated[
    bool, typer.Option("--json", metavar="", help="JSON lines on stdout, one object per table, and nothing else there.")
]


def main() -> None:
    """The console script `import-platform`."""
    app(prog_name="import-platform")


def _print_version(value: bool) -> None:
    if value:
        sys.stdout.write(f"import-platform {__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    json_lines: Json = False,
    debug: Annotated[bool, typer.Option("--debug", metavar="", help="Show the traceback of an error.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", metavar="", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    context.obj = {"json": json_lines, "debug": debug}


@app.command()
def check(
    context: typer.Context,
    source: Annotated[str | None, typer.Argument(metavar="[SOURCE]", help="One source; all when left out.")] = None,
    json_lines: Annotated[bool, typer.Option("--json", metavar="", help="One JSON object per check.")] = False,
) -> None:
    """Try everything a sync needs: declarations, variables, connections, tables, lake, memory."""
    with terminal(context, is_json=json_lines) as screen:
        from import_platform.cli import check as command

        command.run(screen, source)


@app.command()
def tables(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A declared source.")],
    json_lines: Json = False,
) -> None:
    """Show what a source holds, how each table would be imported, and why."""
    with terminal(context, is_json=json_lines) as screen:
        from import_platform.cli import tables as command

        command.run(screen, source)


@app.command()
def sync(  # noqa: PLR0917  options are keywords on a command line
    context: typer.Context,
    selection: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SOURCE[/TABLE]]...", help="Sources and tables; everything declared when left out."),
    ] = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", metavar="", help="Read every row again and swap the table in one step.")
    ] = False,
    drop: Annotated[
        bool, typer.Option("--drop", metavar="", help="Delete the tables first; asks, unless --yes is given.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", metavar="", help="Answer yes to --drop.")] = False,
    billable: Annotated[
        bool | None,
        typer.Option(
            "--billable/--not-billable",
            metavar="",
            help="What the ledger says of who pays; left out, syncs are and --full-refresh is not.",
        ),
    ] = None,
    parallel: Annotated[
        int, typer.Option(metavar="TABLES", min=1, max=16, help="Tables at a time; they share the memory budget.")
    ] = 2,
    json_lines: Json = False,
) -> None:
    """Bring tables up to date. Ctrl-C stops at a checkpoint; a second one at once."""
    with terminal(context, is_json=json_lines) as screen:
        from import_platform.cli import sync as command

        resync = command.Resync(full_refresh=full_refresh, drop=drop, is_sure=yes, billable=billable)
        command.run(screen, selection or [], resync, parallel=parallel)


@app.command()
def backfill(  # noqa: PLR0917  options are keywords on a command line
    context: typer.Context,
    table: Annotated[str, typer.Argument(metavar="SOURCE/TABLE", help="One table.")],
    partition: Annotated[
        list[str] | None,
        typer.Option("--partition", metavar="KEY", help="A partition key as the asset page shows it; may be repeated."),
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option("--file", metavar="NAME", help="A file that was read, as _file names it; '*' is any."),
    ] = None,
    only_missing: Annotated[
        bool,
        typer.Option("--only-missing", metavar="", help="Read nothing; ask again for rows without an enrichment."),
    ] = False,
    json_lines: Json = False,
) -> None:
    """Read partitions of a table again from the source, or files of it, and put their rows into the lake."""
    with terminal(context, is_json=json_lines) as screen:
        from import_platform.cli import sync as command

        command.backfill(screen, table, partition or [], files=file or [], only_missing=only_missing)


@app.command()
def repartition(  # noqa: PLR0917  options are keywords on a command line
    context: typer.Context,
    selection: Annotated[str, typer.Argument(metavar="SOURCE[/TABLE]", help="One source or one table.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", metavar="", help="Only print what would change.")] = False,
    max_bytes: Annotated[
        str | None,
        typer.Option("--max-bytes", metavar="SIZE", help="Limit of a leaf, such as 500MB, instead of the table's own."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="PARTITION",
            help="Another partition, every row rewritten in one commit: created_at:month, id:1000000, hash:16 or none.",
        ),
    ] = None,
    json_lines: Json = False,
) -> None:
    """Split leaves that outgrew the limit and merge small old ones back, in place, from the lake."""
    with terminal(context, is_json=json_lines) as screen:
        from import_platform.cli import repartition as command

        command.run(screen, selection, dry_run=dry_run, max_bytes=max_bytes, to=to)


@app.command()
def maintain(
    context: typer.Context,
    selection: Annotated[str, typer.Argument(metavar="SOURCE[/TABLE]", help="One source or one table.")],
    json_lines: Json = False,
) -> None:
    """Merge the small files of each leaf and delete files that no version of the last 7 days needs."""
    with terminal(context, is_json=json_lines) as screen:
        from import_platform.cli import maintain as command

        command.run(screen, selection)


@app.command()
def diagnose(
    context: typer.Context,
    selection: Annotated[str | None, typer.Argument(metavar="[SOURCE/TABLE]", help="One table of the lake.")] = None,
    parquet: Annotated[
        str | None,
        typer.Option(metavar="GLOB", help="Check any Parquet files instead: a quoted path pattern, or s3://bucket/.."),
    ] = None,
    order_by: Annotated[
        str | None, typer.Option(metavar="A,B", help="With --parquet: are the rows sorted by these columns?")
    ] = None,
    json_lines: Json = False,
) -> None:
    """Look inside one table: leaves, row groups, keys, the flush that waits for it, and what to do about it."""
    with terminal(context, is_json=json_lines) as screen:
        if (selection is None) == (parquet is None):
            raise ConfigError("diagnose looks at one table or at files", remedy="Name SOURCE/TABLE, or use --parquet.")
        if parquet is not None:
            from import_platform.cli import check_order

            check_order.run(screen, parquet, order_by)
        elif selection is not None:
            from import_platform.cli import diagnose as command

            command.run(screen, selection)


@app.command()
def reconcile(
    context: typer.Context,
    selection: Annotated[str, typer.Argument(metavar="SOURCE[/TABLE]", help="One source or one table.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", metavar="", help="Only say what differs.")] = False,
    json_lines: Json = False,
) -> None:
    """Compare every row with the source; put in what is missing, take out what is gone, mend what differs."""
    with terminal(context, is_json=json_lines) as screen:
        from import_platform.cli import reconcile as command

        command.run(screen, selection, dry_run=dry_run)


rejected = typer.Typer(no_args_is_help=True, help="Show rows that did not fit their columns, and replay them.")
app.add_typer(rejected, name="rejected")


@rejected.command("list")
def list_rejected(
    context: typer.Context,
    selection: Annotated[
        str | None, typer.Argument(metavar="[SOURCE[/TABLE]]", help="One source or table; all when left out.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="ROWS", min=1, help="The newest so many.")] = 50,
    resolved: Annotated[
        bool, typer.Option("--all", metavar="", help="Also rows whose key, file or table was imported since.")
    ] = False,
    json_lines: Annotated[bool, typer.Option("--json", metavar="", help="One JSON object per row.")] = False,
) -> None:
    """Show the newest rejected rows that are still open, with key, column and reason."""
    with terminal(context, is_json=json_lines) as screen:
        from import_platform.cli import rejected as command

        command.show(screen, selection, limit_rows=limit, resolved=resolved)


@rejected.command("replay")
def replay_rejected(
    context: typer.Context,
    table: Annotated[str, typer.Argument(metavar="SOURCE/TABLE", help="One table, or a source for all of its tables.")],
    json_lines: Json = False,
) -> None:
    """Put rejected rows that fit by now into the lake; those that do not stay listed."""
    with terminal(context, is_json=json_lines) as screen:
        from import_platform.cli import rejected as command

        command.replay(screen, table)


@app.command()
def status(
    context: typer.Context,
    selection: Annotated[
        str | None,
        typer.Argument(metavar="[SOURCE[/TABLE]]", help="Only these; one table is shown with all its leaves."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", metavar="", help="Again every 5 seconds, until Ctrl-C; troubles first.")
    ] = False,
    json_lines: Json = False,
) -> None:
    """Show every table: state, rows, bytes, leaves, last and next sync, incident; and where lake and history lie."""
    with terminal(context, is_json=json_lines) as screen:
        if watch:
            from import_platform.cli import watch as live

            live.run(screen, selection)
        else:
            from import_platform.cli import status as command

            command.run(screen, selection)


app.command()(group)
app.command()(publish)


@app.command()
def query(
    context: typer.Context,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One statement that reads; - reads it from stdin.")],
    json_lines: Annotated[bool, typer.Option("--json", metavar="", help="One JSON object per row.")] = False,
    *,
    csv: Annotated[bool, typer.Option("--csv", metavar="", help="Every row as CSV with a header.")] = False,
    limit: Annotated[
        int, typer.Option(metavar="ROWS", min=1, help="Rows shown in the table; --json and --csv give all.")
    ] = 50,
    release: Annotated[
        str | None, typer.Option(metavar="SOURCE[@N]", help="Tables made of the same files, as one release has them.")
    ] = None,
) -> None:
    """Ask the lake in SQL (DuckDB, read-only); tables are named source.table."""
    with terminal(context, is_json=json_lines) as screen:
        from import_platform.cli import query as command

        command.run(screen, sql, csv=csv, limit_rows=limit, release=release)


app.command("dbt-sources")(dbt_sources)
app.add_typer(incidents, name="incidents")


@app.command()
def heal(
    context: typer.Context,
    number: Annotated[int, typer.Argument(metavar="N", help="Of `incidents list`.")],
    command_line: Annotated[
        str, typer.Option("--command", metavar="PROGRAM", help="Run on a copy of the source's folder; may edit it.")
    ],
) -> None:
    """Let a program propose a repair on a copy, check it, and show the difference. Nothing is applied."""
    with terminal(context) as screen:
        from import_platform.cli import heal as command

        command.run(screen, number, command_line)


@app.command("new-source")
def new_source(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the source shall be called.")],
    openapi: Annotated[str, typer.Option("--openapi", metavar="FILE", help="An OpenAPI document, YAML or JSON.")],
    folder: Annotated[
        str | None, typer.Option("--folder", metavar="FOLDER", help="Where NAME/defs.yaml goes; printed when left out.")
    ] = None,
) -> None:
    """Write a first defs.yaml for an API from its OpenAPI document, and say what it could not decide."""
    with terminal(context) as screen:
        from import_platform.cli import new_source as command

        command.run(screen, name, openapi, folder)


@app.command()
def demo(
    context: typer.Context,
    months: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=12, help="Only the first months of the year.")
    ] = None,
    rest: Annotated[
        bool, typer.Option("--rest", metavar="", help="An API instead: a sync killed half-way, changes, a comparison.")
    ] = False,
) -> None:
    """Import a real PostgreSQL database, change it, sync again, and compare every row."""
    with terminal(context) as screen:
        from import_platform.cli import demo as command

        command.run(screen, months=months, rest=rest)


@app.command()
def ui(
    context: typer.Context,
    port: Annotated[int, typer.Option(metavar="PORT", min=1, max=65535, help="Port on 127.0.0.1.")] = 3000,
    json_lines: Annotated[
        bool, typer.Option("--json", metavar="", help='{"url": ...} on stdout once it answers.')
    ] = False,
) -> None:
    """Open Dagster's web pages and scheduler on this project's lake and history, until Ctrl-C."""
    with terminal(context, is_json=json_lines) as screen:
        from import_platform.cli import ui as command

        command.run(screen, port=port)
