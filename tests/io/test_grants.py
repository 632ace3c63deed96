"""One budget for the steps of several threads and processes; a killed one's share comes back."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from import_platform.core.budget import MemoryBudget
from import_platform.core.grants import Holder, Ticket
from import_platform.errors import ConfigError, Interrupted
from import_platform.io.grants import ENDED_KEPT, Grants
from import_platform.pipeline.turns import Turns


def test_what_is_free_is_granted_at_once_and_comes_back(tmp_path):
    grants = Grants(tmp_path, 100)
    one, two = grants.take(60), grants.take(40)
    assert grants.tickets() == [Ticket(1, 60, True), Ticket(2, 40, True)]
    one.give_back()
    one.give_back()
    assert grants.tickets() == [Ticket(2, 40, True)]
    two.give_back()
    assert grants.tickets() == []


def test_more_than_there_is_altogether_is_refused_at_once(tmp_path):
    with pytest.raises(ConfigError):
        Grants(tmp_path, 100).take(101)
    assert Grants(tmp_path, 100).tickets() == []


def test_a_step_that_waits_is_stopped_and_leaves_no_ticket(tmp_path):
    grants = Grants(tmp_path, 100)
    held = grants.take(100)
    with pytest.raises(Interrupted):
        grants.take(1, stop=lambda: True)
    assert grants.tickets() == [Ticket(1, 100, True)]
    held.give_back()


def test_steps_go_in_the_order_in_which_they_came(tmp_path):
    grants, went, held = Grants(tmp_path, 100), [], None
    held = grants.take(100)

    def step(name, size):
        with_grant = grants.take(size)
        went.append(name)
        time.sleep(0.05)
        with_grant.give_back()

    threads = []
    for name, size in [("large", 100), ("small", 1), ("another", 1)]:
        threads.append(threading.Thread(target=step, args=(name, size)))
        threads[-1].start()
        until = time.monotonic() + 120
        while len(grants.tickets()) < len(threads) + 1:
            assert time.monotonic() < until
            time.sleep(0.01)
    held.give_back()
    for thread in threads:
        thread.join(timeout=300)
    assert went[0] == "large"
    assert sorted(went) == ["another", "large", "small"]


def test_a_killed_process_holds_nothing(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from import_platform.io.grants import Grants\n"
        "grant = Grants(Path(sys.argv[1]), 100).take(80); print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        grants = Grants(tmp_path, 100)
        assert grants.tickets() == [Ticket(1, 80, True)]
        with pytest.raises(Interrupted):
            grants.take(50, stop=lambda: True)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        grants.take(50).give_back()


class Counted(Grants):
    """Knows how many bytes were held at once, at most."""

    def __init__(self, folder, total_bytes):
        super().__init__(folder, total_bytes)
        self.most = 0

    def take(self, size_bytes, *, stop=lambda: False, holder=None):
        grant = super().take(size_bytes, stop=stop, holder=holder)
        self.most = max(self.most, sum(ticket.size_bytes for ticket in self.tickets() if ticket.held))
        return grant


@pytest.mark.parametrize("tables", [2, 5])
def test_tables_that_each_want_to_read_and_to_flush_never_wait_for_each_other(tmp_path, tables):
    """Each holds the one while it asks for the other in a naive order; together both do not fit."""
    budget = MemoryBudget(512 << 20, 312 << 20)
    assert budget.extract_bytes + budget.flush_bytes <= budget.free_bytes
    grants = Counted(tmp_path, max(budget.extract_bytes, budget.flush_bytes))

    def table(_):
        with Turns(grants, budget, lambda: False) as turns:
            for _round in range(5):
                turns.read()
                turns.flush()
        return True

    with ThreadPoolExecutor(tables) as pool:
        assert list(pool.map(table, range(tables), timeout=300)) == [True] * tables
    assert grants.tickets() == []
    assert 0 < grants.most <= max(budget.extract_bytes, budget.flush_bytes)


def test_a_table_holds_one_grant_at_a_time_and_none_afterwards(tmp_path):
    budget = MemoryBudget(512 << 20, 312 << 20)
    grants = Grants(tmp_path, budget.free_bytes)
    with pytest.raises(ValueError, match="on the way"), Turns(grants, budget, lambda: False) as turns:
        turns.read()
        turns.read()
        assert [ticket.size_bytes for ticket in grants.tickets()] == [budget.extract_bytes]
        turns.flush()
        assert [ticket.size_bytes for ticket in grants.tickets()] == [budget.flush_bytes]
        raise ValueError("on the way")
    assert grants.tickets() == []


STEP = Holder("shop/orders", "flush", run_id="run-1", budget_bytes=1000, base_bytes=30, planned_bytes=80)


def test_what_a_killed_step_held_can_be_asked_for_afterwards(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from import_platform.core.grants import Holder; from import_platform.io.grants import Grants\n"
        "grant = Grants(Path(sys.argv[1]), 100).take(80, holder=Holder('shop/orders', 'flush', run_id='run-1'))\n"
        "grant.note(123); os.kill(os.getpid(), signal.SIGKILL)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) as process:
        assert process.wait() == -signal.SIGKILL
    grants = Grants(tmp_path, 100)
    [dead] = grants.gone()
    assert not dead.ended
    assert (dead.table, dead.run_id, dead.granted_bytes, dead.held_bytes, dead.pid) == (
        "shop/orders",
        "run-1",
        80,
        123,
        process.pid,
    )
    assert grants.tickets() == []
    grants.take(50).give_back()
    assert grants.gone() == [dead], "and is still there for the next who asks"


def test_a_step_that_ended_by_itself_is_told_from_a_killed_one(tmp_path):
    grants = Grants(tmp_path, 100)
    grant = grants.take(10, holder=STEP)
    assert [(holder.table, holder.granted_bytes, holder.held_bytes) for holder in grants.holders()] == [
        ("shop/orders", 10, 0)
    ]
    grant.note(55)
    assert [holder.held_bytes for holder in grants.holders()] == [55]
    grant.give_back()
    grant.note(66)
    assert grants.holders() == []
    assert [(holder.ended, holder.held_bytes) for holder in grants.gone()] == [(True, 55)]


def test_only_the_last_dead_are_kept(tmp_path):
    grants = Grants(tmp_path, 100)
    for number in range(ENDED_KEPT + 5):
        (tmp_path / f"{number + 1:012d}-1.held").write_bytes(replace(STEP, pid=number).to_json())
    assert len(grants.gone()) == ENDED_KEPT


def test_a_ticket_that_says_nothing_is_only_a_ticket(tmp_path):
    (tmp_path / "000000000001-5.held").write_text("")
    assert Grants(tmp_path, 100).gone() == []


def test_what_another_process_holds_without_work_is_not_free_for_ours(tmp_path):
    """Its base counts while somebody works, so that two processes together stay inside the budget."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from import_platform.core.grants import Holder; from import_platform.io.grants import Grants\n"
        "grant = Grants(Path(sys.argv[1]), 100).take(40, holder=Holder('a/b', 'read', base_bytes=30))\n"
        "print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        grants = Grants(tmp_path, 100)
        with pytest.raises(Interrupted):
            grants.take(40, stop=lambda: True, holder=STEP)
        grants.take(30, holder=STEP).give_back()
        process.kill()
