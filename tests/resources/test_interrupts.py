from __future__ import annotations

import os
import signal
import threading

import pytest

from import_platform.resources.interrupts import stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_to_stop_and_interrupts_nothing(number):
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
    assert signal.getsignal(number) is before


def test_a_second_signal_goes_to_the_handler_of_before():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("insisted"))
    try:
        with stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            assert (stop(), seen) == (True, [])
            os.kill(os.getpid(), signal.SIGTERM)
            assert seen == ["insisted"]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_outside_the_main_thread_nothing_is_installed():
    seen = []

    def work():
        with stop_on_signals() as stop:
            seen.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def test_outside_the_main_thread_somebody_else_may_say_that_it_is_time():
    seen, told = [], threading.Event()

    def work():
        with stop_on_signals(told.is_set) as stop:
            seen.append(stop())
            told.set()
            seen.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, True]
