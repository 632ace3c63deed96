import random

import pytest

from import_platform.core.grants import Ticket, check_size, may_go
from import_platform.errors import ConfigError


def test_a_step_goes_when_its_bytes_are_free():
    mine = Ticket(3, 40, held=False)
    assert may_go(mine, [], total_bytes=40)
    assert may_go(mine, [Ticket(1, 60, held=True)], total_bytes=100)
    assert not may_go(mine, [Ticket(1, 61, held=True)], total_bytes=100)


def test_nobody_overtakes_who_came_first():
    waiting = Ticket(1, 90, held=False)
    assert not may_go(Ticket(2, 1, held=False), [waiting, Ticket(0, 50, held=True)], total_bytes=100)
    assert may_go(waiting, [Ticket(2, 1, held=False)], total_bytes=100)


def test_what_could_never_go_is_refused_at_once():
    with pytest.raises(ConfigError, match="more memory than the whole budget"):
        check_size(101, total_bytes=100)


@pytest.mark.parametrize("seed", range(20))
def test_every_step_has_its_turn_and_the_total_is_never_outgrown(seed):
    """Steps come, go and end at random; somebody can always go on."""
    rng, tickets, number, done = random.Random(seed), [], 0, 0
    while done < 200:
        if len(tickets) < 8 and rng.random() < 0.6:
            number += 1
            tickets.append(Ticket(number, rng.randint(1, 100), held=False))
        going = [t for t in tickets if not t.held and may_go(t, [o for o in tickets if o != t], total_bytes=100)]
        assert len(going) <= 1
        for ticket in going:
            tickets[tickets.index(ticket)] = Ticket(ticket.number, ticket.size_bytes, held=True)
        held = [t for t in tickets if t.held]
        assert sum(t.size_bytes for t in held) <= 100
        assert held or not tickets
        if held and rng.random() < 0.7:
            tickets.remove(rng.choice(held))
            done += 1


def test_the_base_of_another_process_counts_once_and_ones_own_does_not():
    mine = Ticket(9, 40, held=False, process="me", base_bytes=50)
    theirs = [Ticket(1, 20, held=True, process="other", base_bytes=30), Ticket(2, 10, True, "other", 30)]
    assert may_go(mine, theirs, total_bytes=100)
    assert not may_go(mine, theirs, total_bytes=99)
    assert may_go(mine, [Ticket(1, 60, held=True, process="me", base_bytes=50)], total_bytes=100)


def test_where_only_bases_are_in_the_way_the_first_in_the_queue_goes():
    waiting = [Ticket(2, 10, held=False, process="other", base_bytes=90)]
    assert may_go(Ticket(1, 40, held=False, process="me"), waiting, total_bytes=100)
