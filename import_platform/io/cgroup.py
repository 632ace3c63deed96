"""What the kernel says of this process's memory cgroup, of version 1 or 2: its limits and how many it killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
_NO_LIMIT_BYTES = 1 << 60  # cgroup v1 writes a huge number where there is no limit


def limits_bytes(root: Path = CGROUP_ROOT) -> Iterator[int]:
    """Limits of this group and those above it; a group without a limit gives none."""
    for folder, is_first in _groups(root):
        for level in [folder, *folder.parents]:
            if level == root.parent:
                break
            yield from _limit(level / ("memory.limit_in_bytes" if is_first else "memory.max"))


def memory_group(root: Path = CGROUP_ROOT) -> Path | None:
    """The folder that counts kills of this process's group. In a container, which sees its own group as the root
    but may be told the host's name for it, that is the nearest folder upwards that counts."""
    for folder, _ in _groups(root):
        for level in [folder, *folder.parents]:
            if level == root.parent:
                break
            if oom_kills(level) is not None:
                return level
    return None


def oom_kills(group: Path | None) -> int | None:
    """How many processes of the group, and of those below it, the kernel killed for memory since the group was made;
    None where nothing counts them."""
    if group is None:
        return None
    for name in ("memory.events", "memory.oom_control"):
        try:
            lines = (group / name).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            word, _, count = line.partition(" ")
            if word == "oom_kill" and count.strip().isdigit():
                return int(count)
    return None


def _groups(root: Path) -> Iterator[tuple[Path, bool]]:
    """Folders of this process's memory groups, and whether each is of version 1."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers or "memory" in controllers.split(","):
            yield root / ("memory" if controllers else "") / group.lstrip("/"), bool(controllers)


def _limit(path: Path) -> list[int]:
    try:
        text = path.read_text().strip()
    except OSError:
        return []
    return [int(text)] if text.isdigit() and int(text) < _NO_LIMIT_BYTES else []
