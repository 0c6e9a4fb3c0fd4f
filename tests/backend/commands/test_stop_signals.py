"""The first Ctrl+C asks, the second insists."""

import os
import signal

import pytest

from backend.commands.stop_signals import StopSignals


@pytest.fixture(autouse=True)
def _python_handles_signals():
    """A test runner in the background of a script has SIGINT ignored, which StopSignals respects."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_insists(number):
    with StopSignals() as stop, stop.asking_first():
        os.kill(os.getpid(), number)
        assert stop.is_requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


def test_where_nothing_is_to_be_saved_one_signal_is_enough():
    with StopSignals(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_further_signals_do_not_disturb_the_way_out():
    with StopSignals():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)

    assert not stop.is_requested


def test_the_handlers_of_before_come_back():
    with StopSignals():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
