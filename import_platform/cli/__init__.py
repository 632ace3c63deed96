"""The terminal's way in. One module per command, imported when the command is called, so that `--help` is quick."""

from import_platform.cli.app import main

__all__ = ["main"]
