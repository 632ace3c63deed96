"""Folders on this machine's disk that are surely ours, though anybody may write where they lie."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from import_platform.errors import ConfigError


def own_folder(name: str, *, mode: int = 0o700) -> Path:
    """A folder of this user below the system's temporary one, made where it is missing, always the same for a name.

    Raises:
        ConfigError: nothing can be written there, or somebody else made what has this name: a folder he could look
            into, or a link to files of ours.
    """
    path = _temporary() / f"{name}-{os.getuid()}"
    with suppress(FileExistsError):
        path.mkdir(mode=mode)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConfigError(
            "a folder in the temporary folder belongs to somebody else",
            path=str(path),
            remedy="Have it removed, or point TMPDIR at a folder of your own.",
        )
    path.chmod(mode)
    return path


def _temporary() -> Path:
    """The first of TMPDIR, /tmp and the like, and the current folder that can be written to."""
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        raise ConfigError(
            "there is no temporary folder that can be written to",
            remedy="Point TMPDIR at a folder that you may write to, such as a volume that is mounted for it.",
        ) from None
