"""How the benchmarks take time. No benchmark itself: `make bench` leaves it out."""

from __future__ import annotations

import time
from collections.abc import Callable


def milliseconds(work: Callable[[], object], repeats: int = 15) -> float:
    """CPU time of this process, the least of some runs after one to warm up: others may use the machine as well."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1000 * min(times)
