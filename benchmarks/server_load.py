"""A server with many clients: its memory, the worker's CPU time per step, and whether every live watcher is current.

    python benchmarks/server_load.py [--steps 120] [--write]

50 clients are connected, 200 jobs wait, 20 of the clients watch one job, and 5 of those are processes that SIGSTOP has
stopped. Bars: the server's memory stays bounded; the job's CPU time per step is unchanged, within the interval, by the
other 19 watchers and 49 clients; every live watcher is current.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from served_job import SECONDS, ServedJob, memory_bytes, served_job, submit, wait_for_server
from streaming import interval, shown

from protocol.client import Client
from protocol.errors import ProtocolError
from protocol.messages import MeshSnapshot

RESULTS = Path(__file__).parent / "results"
CLIENTS, WATCHERS, STOPPED, QUEUED_JOBS = 50, 20, 5, 200
FRAMES_PER_SECOND = 10.0
STEPS_IN_A_TURN = 8
TOML = "[limits]\njobs = 1000\nrequests_per_second = 1000\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--quality", default="draft")
    parser.add_argument("--watch", nargs=4, metavar=("ADDRESS", "JOB", "WATCHERS", "IDLE"), help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="write the table to benchmarks/results")
    arguments = parser.parse_args()
    if arguments.watch:
        address, job, watchers, idle = arguments.watch
        _watch(address, job, int(watchers), int(idle))
        return

    with served_job("real", TOML) as served:
        lines = measure(served, arguments.steps, arguments.quality)
    print("\n".join(lines), flush=True)
    if arguments.write:
        (RESULTS / f"server_load-{datetime.date.today().isoformat()}.md").write_text("\n".join([*lines, ""]))


class Crowd:
    """Watchers and idle clients in processes of their own; the stopped ones have one each."""

    def __init__(self, served: ServedJob, job: str) -> None:
        self._served, self._job = served, job
        self._stopped = [self._start(1, 0) for _ in range(STOPPED)]
        self._live = [self._start(WATCHERS - STOPPED, CLIENTS - WATCHERS - 1)]  # and the benchmark's own client

    def _start(self, watchers: int, idle: int) -> subprocess.Popen[str]:
        given = [self._served.address, self._job, str(watchers), str(idle)]
        process = subprocess.Popen(
            [sys.executable, __file__, "--watch", *given], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return process

    def wait_until_connected(self) -> None:
        for each in (*self._stopped, *self._live):
            assert each.stdout is not None
            if each.stdout.readline().strip() != "connected":
                raise SystemExit("not all clients could connect")

    def stop_some(self) -> None:
        for each in self._stopped:
            each.send_signal(signal.SIGSTOP)

    def ask(self) -> list[dict[str, float]]:
        """Of each live watcher: the newest step it has, how many snapshots came, and their median age."""
        found = []
        for each in self._live:
            assert each.stdin is not None
            assert each.stdout is not None
            each.stdin.write("?\n")
            each.stdin.flush()
            found += json.loads(each.stdout.readline())
        return found

    def say(self, word: str) -> None:
        """`+` for to watch, `-` for not to."""
        for each in self._live:
            assert each.stdin is not None
            each.stdin.write(f"{word}\n")
            each.stdin.flush()

    def end(self) -> None:
        for each in (*self._stopped, *self._live):
            each.kill()
            each.wait()


@contextmanager
def crowd_around(served: ServedJob, job: str) -> Iterator[Crowd]:
    crowd = Crowd(served, job)
    try:
        yield crowd
    finally:
        crowd.end()


def measure(served: ServedJob, steps: int, quality: str) -> list[str]:
    client = served.client()
    wait_for_server(client)
    empty = memory_bytes(served.pid)
    job = submit(client, "watched-job", quality=quality, steps=steps + 4 * STEPS_IN_A_TURN)
    for number in range(QUEUED_JOBS):
        submit(client, f"queued-{number:05d}", quality="draft", steps=10)
    queued = memory_bytes(served.pid)
    client.watch(job, ("progress", "mesh"), FRAMES_PER_SECOND).result()
    with crowd_around(served, job) as crowd:
        crowd.wait_until_connected()
        served.wait_for_step(4)
        connected = memory_bytes(served.pid)
        crowd.stop_some()
        alone, crowded, memory = _take_turns(served, crowd, steps)
        began = time.monotonic()
        before = [each["snapshots"] for each in crowd.ask()]
        made = len(served.cpu_seconds())
        served.wait_for_step(made + STEPS_IN_A_TURN)
        watchers = crowd.ask()
        step = len(served.cpu_seconds()) - 1
        seconds = time.monotonic() - began
    client.close()

    megabytes = [f"{each / 2**20:.0f}" for each in (empty, queued, connected, max(memory), memory[-1])]
    behind = [step - each["step"] for each in watchers]
    got = [each["snapshots"] - first for each, first in zip(watchers, before, strict=True)]
    ages = [each["age"] for each in watchers]
    ratios = [one / other for one, other in zip(crowded, alone, strict=True)]
    middle, low, high = interval(ratios)
    verdict = "unchanged within the interval" if low <= 1.0 <= high else f"changed by {100 * (middle - 1):+.1f} %"
    return [
        f"# A server with many clients, {datetime.date.today().isoformat()}",
        "",
        f"`python benchmarks/server_load.py --steps {steps} --quality {quality}`, {platform.machine()}, shared "
        f"machine. {CLIENTS} clients, {QUEUED_JOBS} jobs that wait, {WATCHERS} watchers of one job at "
        f"{FRAMES_PER_SECOND:g} frames a second, {STOPPED} of them stopped by SIGSTOP.",
        "",
        "## Memory of the server, MB",
        "",
        "| started | + jobs | + clients and watchers | most while some are stopped | at the end |",
        "|---|---|---|---|---|",
        f"| {' | '.join(megabytes)} |",
        "",
        "## CPU time of the worker per step",
        "",
        f"One watcher and all others in turns of {STEPS_IN_A_TURN} steps; the stopped ones stay.",
        "",
        "| one watcher, ms | all watchers, ms | ratio | |",
        "|---|---|---|---|",
        f"| {1000 * statistics.median(alone):.1f} | {1000 * statistics.median(crowded):.1f} | {shown(ratios)} | "
        f"{verdict} |",
        "",
        "## The live watchers",
        "",
        f"{len(watchers)} of them, over {seconds:.0f} s in which the job made {step - made + 1} steps.",
        "",
        "| steps behind the job, most | snapshots each, least to most | age on arrival, ms, median and worst watcher |",
        "|---|---|---|",
        f"| {max(behind):.0f} | {min(got):.0f} to {max(got):.0f} | {statistics.median(ages):.0f}, {max(ages):.0f} |",
    ]


def _take_turns(served: ServedJob, crowd: Crowd, steps: int) -> tuple[list[float], list[float], list[int]]:
    """Mean CPU seconds of the steps of each turn, one watcher and all of them; and the server's memory after each."""
    turns: list[tuple[bool, int]] = []
    memory = []
    begins_at = len(served.cpu_seconds())
    while begins_at + STEPS_IN_A_TURN <= steps:
        is_crowded = len(turns) % 4 in (1, 2)  # as in streaming.py
        crowd.say("+" if is_crowded else "-")
        served.wait_for_step(begins_at + 1)  # the step in which it is heard
        first = len(served.cpu_seconds())
        turns.append((is_crowded, first))
        served.wait_for_step(first + STEPS_IN_A_TURN)
        memory.append(memory_bytes(served.pid))
        begins_at = len(served.cpu_seconds())
    crowd.say("+")
    cpu = served.cpu_seconds()
    found: tuple[list[float], list[float]] = ([], [])
    for is_crowded, first in turns:
        found[is_crowded].append((cpu[first + STEPS_IN_A_TURN - 1] - cpu[first]) / (STEPS_IN_A_TURN - 1))
    count = min(len(each) for each in found)
    return found[0][:count], found[1][:count], memory


# --- a process of clients


class _Watcher:
    """One client, which reads what comes in a thread of its own."""

    def __init__(self, address: str, job: str) -> None:
        self._client, self._job = Client(address, "a watcher", "0"), job
        self.step, self.ages = 0, [0.0]
        self._client.watch(job, ("progress", "mesh"), FRAMES_PER_SECOND).result(SECONDS)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            self._client.wait(1.0)
            now = time.time()
            for event in self._client.events():
                if isinstance(event, MeshSnapshot):
                    self.step = event.step
                    self.ages.append(1000 * (now - event.taken_at))

    def change(self, word: str) -> None:
        with suppress(ProtocolError):
            watches = word == "+"
            (self._client.watch(self._job, ("progress", "mesh"), FRAMES_PER_SECOND) if watches
             else self._client.unwatch(self._job)).result(SECONDS)  # fmt: skip

    def told(self) -> dict[str, float]:
        return {"step": self.step, "snapshots": len(self.ages) - 1, "age": statistics.median(self.ages)}


def _watch(address: str, job: str, watchers: int, idle: int) -> None:
    watching = [_Watcher(address, job) for _ in range(watchers)]
    idlers = [Client(address, "an idle client", "0") for _ in range(idle)]
    for each in idlers:
        wait_for_server(each)
    print("connected", flush=True)
    for line in sys.stdin:
        word = line.strip()
        if word == "?":
            print(json.dumps([each.told() for each in watching]), flush=True)
        else:
            for watcher in watching:
                watcher.change(word)


if __name__ == "__main__":
    main()
