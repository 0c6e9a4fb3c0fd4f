"""Two faults that nothing outside a process can make. Python imports this where a test puts it on PYTHONPATH.

SIGUSR1 hangs the main thread where it is, in the midst of a step; all other threads, ZeroMQ's too, go on. And
`time.time` is ahead by the seconds in the file that DISTURBANCE_CLOCK names, which is what a wall clock that is set
does; `time.monotonic` stays as it is, as the system's does.
"""

import os
import signal
import sys
import time

_wall_clock = time.time
_offset_file = os.environ.get("DISTURBANCE_CLOCK", "")


def _hang(number, frame):
    print(f"process {os.getpid()} hangs", file=sys.stderr, flush=True)
    while True:
        time.sleep(1.0)


def _set_clock():
    try:
        with open(_offset_file) as file:
            return _wall_clock() + float(file.read())
    except (OSError, ValueError):
        return _wall_clock()


signal.signal(signal.SIGUSR1, _hang)
if _offset_file:
    time.time = _set_clock
