"""What it costs to see a mesh form: messages against raw frames, the worker's steps, and how old a mesh is on arrival.

    python benchmarks/streaming.py [--rounds 60] [--steps 200] [--write]

Bars: encoding, sending, receiving and decoding a mesh of 67,000 faces at 0.7 times the speed of raw pyzmq frames of the
same bytes, or faster; a worker's CPU time per step at most 2 % more with one client that watches at 10 frames a second
than with none; a mesh younger than 50 ms when it arrives, at the median, beside an idle worker.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import zmq
from served_job import ServedJob, served_job, sphere, submit, wait_for_server

from protocol.frames import decode, encode
from protocol.messages import MeshSnapshot

RESULTS = Path(__file__).parent / "results"
FACES = 67_000
MESSAGES_IN_A_BATCH = 10
STEPS_IN_A_BLOCK = 5
FRAMES_PER_SECOND = 10.0
WAYS = (b"copied", b"raw", b"ours")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60, help="of messages and raw frames, in turns")
    parser.add_argument("--steps", type=int, default=200, help="of the job that is watched and not, in turns")
    parser.add_argument("--quality", default="draft", help="of that job")
    parser.add_argument("--ages", type=int, default=100, help="snapshots of which the age is taken")
    parser.add_argument("--parts", default="messages,steps,ages", help="what to measure")
    parser.add_argument("--receive", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="write the table to benchmarks/results")
    arguments = parser.parse_args()
    if arguments.receive:
        _receive(arguments.receive)
        return

    today = datetime.date.today().isoformat()
    lines = [
        f"# Streaming, {today}",
        "",
        f"`python benchmarks/streaming.py`, {platform.machine()}, shared machine, Python {platform.python_version()}, "
        f"pyzmq {zmq.__version__}, libzmq {zmq.zmq_version()}. Medians; in brackets the 95 % interval of the median.",
    ]
    parts = arguments.parts.split(",")
    if "messages" in parts:
        lines += message_table(arguments.rounds)
    if "steps" in parts:
        lines += step_table(arguments.steps, arguments.quality)
    if "ages" in parts:
        lines += age_table(arguments.ages)
    print("\n".join(lines), flush=True)
    if arguments.write:
        (RESULTS / f"streaming-{today}.md").write_text("\n".join([*lines, ""]))


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median and its 95 % interval, by drawing the values again and again (bootstrap)."""
    dice = random.Random(0)
    medians = sorted(statistics.median(dice.choices(values, k=len(values))) for _ in range(2000))
    return statistics.median(values), medians[50], medians[1949]


def shown(values: Sequence[float], digits: int = 3) -> str:
    middle, low, high = interval(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


# --- messages against raw frames


def message_table(rounds: int) -> list[str]:
    lines = [
        "",
        "## Messages against raw frames, between two processes over TCP",
        "",
        f"One after the other, each waited for, in turns of {MESSAGES_IN_A_BATCH}. Ours: encoded, sent, received and "
        "decoded, so that all is checked. Raw: the same bytes sent and received, as pyzmq does it by default; and "
        "without pyzmq's copies, of which ours needs none either, where the receiver does not even look at the data. "
        "Speed: raw time over ours, turn by turn. Bar: 0.7.",
        "",
        "| snapshot | bytes | raw, ms | raw without copies, ms | ours, ms | speed against raw | CPU time of both | "
        "speed against raw without copies | CPU time of both |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    positions, faces = sphere(FACES)
    colours = np.random.default_rng(0).integers(0, 256, positions.shape, np.uint8)
    full = MeshSnapshot(job="a-job", number=1, step=1, positions=positions, faces=faces, colours=colours)
    moved = MeshSnapshot(job="a-job", number=2, step=2, builds_on=1, positions=positions, colours=colours)
    plain = MeshSnapshot(job="a-job", number=3, step=3, builds_on=1, positions=positions)
    for name, snapshot in (
        (f"full, {len(faces):,} faces, with colours", full),
        ("positions and colours", moved),
        ("positions", plain),
    ):
        times = _times(snapshot, rounds)
        size = sum(len(each) for each in encode(snapshot))
        cells = [f"{1000 * statistics.median(each[0] for each in times[way]):.2f}" for way in WAYS]
        for way in WAYS[:2]:
            for index in (0, 1):
                ratios = [one[index] / other[index] for one, other in zip(times[way], times[b"ours"], strict=True)]
                cells.append(shown(ratios, 2))
        lines.append(f"| {name} | {size:,} | {' | '.join(cells)} |")
    return lines


def _times(snapshot: MeshSnapshot, rounds: int) -> dict[bytes, list[tuple[float, float]]]:
    """Seconds per message by the clock and by the CPU time of both processes, of each way, for each round."""
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.bind("tcp://127.0.0.1:*")
    address = socket.last_endpoint.decode().rstrip("\0")
    receiver = subprocess.Popen([sys.executable, __file__, "--receive", address])
    raw_frames = [bytes(each) for each in encode(snapshot)]

    def batch(way: bytes) -> tuple[float, float]:
        other_before = _ask(socket)
        before = time.perf_counter(), time.process_time()
        for _ in range(MESSAGES_IN_A_BATCH):
            frames = encode(snapshot) if way == b"ours" else raw_frames
            socket.send_multipart([way, *frames], copy=way == b"copied")
            socket.recv()
        clock, own = time.perf_counter() - before[0], time.process_time() - before[1]
        return clock / MESSAGES_IN_A_BATCH, (own + _ask(socket) - other_before) / MESSAGES_IN_A_BATCH

    found: dict[bytes, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for number in range(rounds + 1):
        for way in WAYS[number % 3 :] + WAYS[: number % 3]:
            taken = batch(way)
            if number:  # the first warms up
                found[way].append(taken)
    socket.send(b"end")
    receiver.wait()
    socket.close()
    context.term()
    return found


def _ask(socket: zmq.Socket[bytes]) -> float:
    """The CPU seconds of the other process."""
    socket.send(b"time")
    return float(socket.recv())


def _receive(address: str) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.connect(address)
    while (way := socket.recv()) != b"end":
        if way in WAYS:
            parts = socket.recv_multipart(copy=way == b"copied")
            if way == b"ours":
                decode([each.buffer for each in parts], "server")
        socket.send(str(time.process_time()).encode() if way == b"time" else b"")
    socket.close()
    context.term()


# --- a worker that is watched and not


def step_table(steps: int, quality: str) -> list[str]:
    lines = [
        "",
        f"## The worker's CPU time per step, one client watching at {FRAMES_PER_SECOND:g} frames a second or none",
        "",
        f"In one job of quality {quality}, in turns of {STEPS_IN_A_BLOCK} steps; the first step of each turn is left "
        "out. Bar: at most 1.02 for the mesh.",
        "",
        "| watched | CPU ms per step, not watched | watched | ratio | steps |",
        "|---|---|---|---|---|",
    ]
    for channels in (("progress", "mesh"), ("progress", "mesh", "colours")):
        with served_job("real") as served:
            alone, watched = _watched_in_turns(served, steps, quality, channels)
        ratios = [one / other for one, other in zip(watched, alone, strict=True)]
        middles = [1000 * statistics.median(each) for each in (alone, watched)]
        lines.append(
            f"| {', '.join(channels)} | {middles[0]:.1f} | {middles[1]:.1f} | {shown(ratios)} | "
            f"{2 * len(ratios) * (STEPS_IN_A_BLOCK - 1)} |"
        )
    return lines


def _watched_in_turns(
    served: ServedJob, steps: int, quality: str, channels: Sequence[str]
) -> tuple[list[float], list[float]]:
    """Mean CPU seconds of the steps of each turn: not watched, watched."""
    client = served.client()
    wait_for_server(client)
    job = submit(client, "watched-in-turns", quality=quality, steps=steps + 2 * STEPS_IN_A_BLOCK)
    turns: list[tuple[bool, int]] = []
    begins_at = STEPS_IN_A_BLOCK
    while begins_at + STEPS_IN_A_BLOCK <= steps:
        served.wait_for_step(begins_at)
        is_watched = len(turns) % 4 in (1, 2)  # alone, watched, watched, alone: steps get slower as the lattice grows
        (client.watch(job, channels, FRAMES_PER_SECOND) if is_watched else client.unwatch(job)).result()
        begun = len(served.cpu_seconds()) - 1  # the step in which it is heard
        turns.append((is_watched, begun + 1))
        begins_at = begun + STEPS_IN_A_BLOCK
    served.wait_for_step(begins_at + 1)
    client.close()
    cpu = served.cpu_seconds()
    found: tuple[list[float], list[float]] = ([], [])
    for (is_watched, first), (_, behind) in zip(turns, [*turns[1:], (False, begins_at + 1)], strict=True):
        last = behind - 1  # the step in which the next turn was asked for is not this one's alone
        found[is_watched].append((cpu[last] - cpu[first]) / (last - first))
    count = min(len(each) for each in found)
    return found[0][:count], found[1][:count]


# --- how old a mesh is


def age_table(count: int) -> list[str]:
    with served_job("idle") as served:
        client = served.client()
        wait_for_server(client)
        job = submit(client, "ages")
        client.watch(job, ("progress", "mesh"), 1000.0 / 10).result()
        ages: list[float] = []
        faces = 0
        while len(ages) < count:
            client.wait(5.0)
            now = time.time()
            for event in client.events():
                if isinstance(event, MeshSnapshot):
                    ages.append(1000 * (now - event.taken_at))
                    faces = len(event.faces)
        client.close()
    return [
        "",
        "## How old a mesh is when the client has it",
        "",
        f"{faces:,} faces, ten a second, from a worker that does nothing else, through the server. Bar: 50 ms.",
        "",
        "| median, ms | 95 of 100 are younger than, ms | snapshots |",
        "|---|---|---|",
        f"| {shown(ages[1:], 1)} | {np.percentile(ages[1:], 95):.1f} | {len(ages) - 1} |",
    ]


if __name__ == "__main__":
    main()
