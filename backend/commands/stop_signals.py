"""Ctrl+C, SIGTERM and SIGHUP: the first one asks the job to stop between two steps, the second one stops it at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class StopSignals:
    """Catches the signals while it is entered; must be entered in the main thread.

    Outside of `asking_first` each signal raises KeyboardInterrupt where the program is: there is nothing to save then,
    or it is saved already.
    """

    def __init__(self) -> None:
        self.is_requested = False
        self._asks_first = False
        self._has_raised = False
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            # An ignored signal stays ignored: nohup ignores SIGHUP, and a shell's `&` in a script ignores SIGINT.
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                self._previous_handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        self._previous_handlers.clear()

    @contextmanager
    def asking_first(self) -> Iterator[None]:
        """Inside, the first signal only sets `is_requested`."""
        self._asks_first = True
        try:
            yield
        finally:
            self._asks_first = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # Nothing is printed here: the program may be in the middle of printing. Displays look at `is_requested`.
        if self._has_raised:
            return  # impatience; the program is on its way out and has only its last words to say
        self._has_raised = not self._asks_first or self.is_requested
        self.is_requested = True
        if self._has_raised:
            raise KeyboardInterrupt
