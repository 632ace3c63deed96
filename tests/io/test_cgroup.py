"""The kernel's count of kills, from the files of either version of cgroups."""

from pathlib import Path

import pytest

from import_platform.io.cgroup import limits_bytes, memory_group, oom_kills


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("memory.events", "low 0\nhigh 12\nmax 30\noom 4\noom_kill 3\noom_group_kill 0\n"),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
    ],
)
def test_kills_are_counted_under_both_versions(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert oom_kills(tmp_path) == 3


def test_where_nothing_counts_nobody_pretends_to_know(tmp_path):
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\n")  # before Linux 4.13
    assert oom_kills(tmp_path) is None
    assert oom_kills(None) is None
    assert memory_group(tmp_path) is None


def test_a_containers_own_group_is_found_at_its_root(tmp_path):
    """It is told the host's name of its group, and sees its files one level up."""
    for folder in (tmp_path, tmp_path / "memory"):
        folder.mkdir(exist_ok=True)
        (folder / "memory.events").write_text("oom_kill 1\n")
        (folder / "memory.max").write_text("1000000\n")
        (folder / "memory.limit_in_bytes").write_text("1000000\n")
    assert memory_group(tmp_path) in (tmp_path, tmp_path / "memory")
    assert set(limits_bytes(tmp_path)) == {1_000_000}


def test_this_machines_own_group_is_read_where_it_has_one():
    group = memory_group()
    if not Path("/sys/fs/cgroup").exists() or group is None:
        pytest.skip("this machine has no memory cgroup that counts kills")
    assert oom_kills(group) is not None
