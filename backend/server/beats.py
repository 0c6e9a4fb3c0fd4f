"""Signs of life of a job's own thread, each with the time until the next one: a worker that misses it is hung."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

LEAST_PATIENCE_SECONDS = 30.0
"""On cores that are busy with something else a step takes 10 to 50 times as long; a growing lattice takes seconds."""
PATIENCE_IN_STEPS = 20
PHASE_PATIENCE_SECONDS = 600.0
"""For what makes no steps: loading a model of gigabytes, compiling, unwrapping, and the first step after them."""
_STEPS_LOOKED_AT = 20


class Beats:
    """Says how long the server is to wait.

    Args:
        send: Takes the number of steps done and the patience in seconds.
    """

    def __init__(self, send: Callable[[int, float], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._send, self._clock = send, clock
        self._durations: deque[float] = deque(maxlen=_STEPS_LOOKED_AT)
        self._last: float | None = None  # when the step that is being made began
        self._is_warming_up = False

    def step(self, step: int) -> None:
        """A step is about to be made, or the job to end."""
        now = self._clock()
        if self._last is not None and not self._is_warming_up:
            self._durations.append(now - self._last)
        self._is_warming_up = self._last is None  # the first step compiles, and says nothing of the others
        self._last = now
        if self._durations:
            self._send(step, max(LEAST_PATIENCE_SECONDS, PATIENCE_IN_STEPS * max(self._durations)))
        else:
            self._send(step, PHASE_PATIENCE_SECONDS)

    def phase(self, step: int) -> None:
        """Something begins that takes an unknown time; the step after it too."""
        self._last = None
        self._durations.clear()
        self._send(step, PHASE_PATIENCE_SECONDS)
