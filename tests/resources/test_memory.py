from __future__ import annotations

import psutil
import pytest

from import_platform.core.budget import GIB, MIB
from import_platform.errors import ConfigError
from import_platform.io import cgroup
from import_platform.resources import memory
from import_platform.resources.memory import default_bytes, memory_budget, shared_budget, shared_grants


def test_the_setting_is_the_total_and_what_is_held_already_is_its_base():
    budget = memory_budget("2GiB")
    assert budget.total_bytes == 2 * GIB
    assert 10 * MIB < budget.base_bytes < 2 * GIB


@pytest.mark.parametrize("setting", ["319MiB", "1kB"])
def test_less_than_320_mib_is_refused_with_a_sentence(setting):
    with pytest.raises(ConfigError, match="under 320 MiB"):
        memory_budget(setting)


def test_a_setting_that_is_no_size_names_the_variable():
    with pytest.raises(ConfigError, match="IMPORT_PLATFORM_MEMORY is not a size"):
        memory_budget("plenty")


def _cgroup(monkeypatch, tmp_path, lines):
    membership = tmp_path / "cgroup"
    membership.write_text("\n".join(lines))
    real = cgroup.Path
    monkeypatch.setattr(cgroup, "Path", lambda path: membership if path == "/proc/self/cgroup" else real(path))


def test_the_default_is_80_percent_of_the_tightest_limit_on_the_way_up(monkeypatch, tmp_path):
    root = tmp_path / "fs"
    (root / "pod" / "container").mkdir(parents=True)
    (root / "pod" / "memory.max").write_text("1000000000\n")
    (root / "pod" / "container" / "memory.max").write_text("max\n")
    _cgroup(monkeypatch, tmp_path, ["0::/pod/container"])
    assert default_bytes(root) == 800_000_000


def test_version_1_groups_count_too_and_their_huge_number_means_no_limit(monkeypatch, tmp_path):
    root = tmp_path / "fs"
    (root / "memory" / "docker").mkdir(parents=True)
    (root / "memory" / "docker" / "memory.limit_in_bytes").write_text("500000000")
    (root / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712")
    _cgroup(monkeypatch, tmp_path, ["5:memory:/docker", "4:cpu:/docker"])
    assert default_bytes(root) == 400_000_000


def test_without_a_limit_the_default_is_80_percent_of_what_is_free(tmp_path):
    free_bytes = psutil.virtual_memory().available
    assert default_bytes(tmp_path) == pytest.approx(free_bytes * 0.8, rel=0.3)


def test_steps_beside_one_another_share_one_budget_and_the_next_measures_anew(monkeypatch):
    held = iter([200 * MIB, 300 * MIB])
    monkeypatch.setattr(memory, "held_bytes", lambda: next(held))
    with shared_budget("2GiB") as first:
        with shared_budget("2GiB") as second:
            assert second is first
        with shared_budget("2GiB") as third:
            assert third is first
    with shared_budget("2GiB") as later:
        assert (first.base_bytes, later.base_bytes) == (200 * MIB, 300 * MIB)


def test_what_is_free_is_what_they_may_take_together(tmp_path):
    with shared_budget("2GiB") as budget:
        grants = shared_grants(tmp_path, budget)
        reading, flushing = grants.take(budget.extract_bytes), grants.take(budget.flush_bytes)
        assert {ticket.size_bytes for ticket in grants.tickets()} == {budget.extract_bytes, budget.flush_bytes}
        reading.give_back()
        flushing.give_back()
        with pytest.raises(ConfigError):
            grants.take(budget.free_bytes + 1)
