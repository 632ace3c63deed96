"""Folders for what does not fit in memory, on this machine's disk and for their owner only."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from import_platform.errors import ConfigError


def scratch_folder(name: str) -> Path:
    """A folder of this user below the system's temporary one, made where it is missing, always the same for a name.

    Raises:
        ConfigError: somebody else made a folder of this name, who could look into what is written there.
    """
    path = Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if found.st_uid != os.getuid() or path.is_symlink():
        raise ConfigError(
            "the scratch folder belongs to somebody else",
            path=str(path),
            remedy="Have it removed, or point TMPDIR at a folder of your own.",
        )
    path.chmod(0o700)
    return path
