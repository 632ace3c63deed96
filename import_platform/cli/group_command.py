"""The command `group` with its arguments and help; `cli.app` adds it to the others."""

from __future__ import annotations

from typing import Annotated

import typer

from import_platform.cli.terminal import terminal


def group(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(metavar="NAME|GLOB", help="A declared grouping, or Parquet files in order: quoted; s3:// too."),
    ],
    *,
    by: Annotated[str, typer.Option(metavar="COLUMNS", help="Of files: the key, one row per key comes out.")] = "",
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Where Parquet files of groups go; s3:// too.")] = "",
    order_by: Annotated[str, typer.Option(metavar="COLUMNS", help="The order within a key, verified row by row.")] = "",
    columns: Annotated[str, typer.Option(metavar="COLUMNS", help="What becomes lists; everything but the key.")] = "",
    split: Annotated[
        list[str] | None, typer.Option(metavar="NAME=SHARE", help="Keys by hash into folders; may be repeated.")
    ] = None,
    sort: Annotated[bool, typer.Option("--sort", metavar="", help="Sort on disk first.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", metavar="", help="Empty the folder first.")] = False,
    json_lines: Annotated[bool, typer.Option("--json", metavar="", help="One JSON object.")] = False,
) -> None:
    """Group ordered rows: one row per key with lists, streamed, never held, resumed after a kill. A declared grouping
    is made again only where its rows have changed; files need --by and --out."""
    with terminal(context, is_json=json_lines) as screen:
        from import_platform.cli import group as command

        asked = command.Asked(what, by, order_by, out, columns, split or (), sort, overwrite)
        command.run(screen, asked)
