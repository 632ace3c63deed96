"""What every command shares: results on stdout, everything else on stderr, and errors as sentences with exit codes."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import IO, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from import_platform.errors import ImportPlatformError, ended

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
PLAIN_WIDTH = 200
"""Columns of a table that goes to a file or a pipe; rich would cut it at 80."""


class Terminal:
    """The two streams of one command. `is_json` means that stdout carries JSON objects and nothing else."""

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json
        self.stdout = _own_stdout() if is_json else sys.stdout
        self.out = _console(self.stdout)
        self.err = _console(sys.stderr)

    def emit(self, value: Mapping[str, Any]) -> None:
        """One JSON object as one line on stdout, there at once for whoever reads along."""
        self.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
        self.stdout.flush()

    def fail(self, sentence: str) -> None:
        """The error sentence on stderr, never wrapped, so that it can be copied and searched."""
        self.err.print("[red]error:[/] ", end="")
        self.err.print(sentence, markup=False, soft_wrap=True)


class Failed(Exception):
    """Everything was said already; only the exit code is left."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(exit_code)


@contextmanager
def terminal(context: typer.Context, *, is_json: bool = False) -> Iterator[Terminal]:
    """The streams of a command, which leaves with the contracted exit code whatever happens inside."""
    options: dict[str, bool] = context.obj or {}
    screen = Terminal(is_json=is_json or options.get("json", False))
    previous = _interrupt_on_terminate()
    try:
        yield screen
        screen.stdout.flush()
    except Failed as error:
        raise typer.Exit(error.exit_code) from None
    except ImportPlatformError as error:
        screen.fail(ended(str(error)))
        _traceback(options)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        screen.err.print("interrupted")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        # The reader (`| head`) has seen enough. Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise typer.Exit(0) from None
    except typer.Exit:
        raise
    except Exception as error:  # noqa: BLE001 - the last resort of a command line
        # The message of a foreign exception may quote a connection string or a row, so only its kind is shown.
        screen.fail(
            f"unexpected {type(error).__name__}; this is a bug in import-platform. Run the command again with "
            "--debug to see the traceback, and report it."
        )
        _traceback(options)
        raise typer.Exit(EXIT_FAILED) from None
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


def grid(first: str, *others: str, left: frozenset[str] = frozenset(), first_is_left: bool = True) -> Table:
    """A table in the house style: the first column and those named in `left` stand left, figures stand right."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False)
    table.add_column(first, no_wrap=True, justify="left" if first_is_left else "right")
    for name in others:
        is_text = name in left
        table.add_column(
            name,
            justify="left" if is_text else "right",
            no_wrap=not is_text,
            overflow="fold" if is_text else "ellipsis",
        )
    return table


def _traceback(options: Mapping[str, bool]) -> None:
    if options.get("debug"):
        traceback.print_exc(file=sys.stderr)


def _console(file: IO[str]) -> Console:
    console = Console(file=file, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PLAIN_WIDTH
    return console


def _own_stdout() -> IO[str]:
    """A private copy of stdout; descriptor 1 itself now leads to stderr, whatever a library prints."""
    try:
        is_real = sys.stdout.fileno() == 1
    except (OSError, io.UnsupportedOperation):
        is_real = False  # a test's captured stream
    if not is_real:
        return sys.stdout
    sys.stdout.flush()
    copy = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return copy


def _interrupt_on_terminate() -> Any:
    """SIGTERM ends a command as Ctrl-C does: cleaning up, with exit code 130. Syncs replace both while they work."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        return signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        return None  # not the main thread
