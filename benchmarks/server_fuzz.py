"""The long run of hostile input: 100,000 messages that are none, at a server that others use meanwhile.

    python benchmarks/server_fuzz.py [--messages 100000] [--write]

Random bytes, truncated, reordered, doubled, oversize and deep ones, 200,000 frames, wrong shapes, lengths and types,
NaN; slow, half-open and broken peers; and at a second server with keys: no key, a wrong key, and what an allowed client
has said, said again. Bars: the server stays up, its memory bounded; good clients are served throughout; every refusal
is told in the log once per period. The short run is tests/backend/server/test_hostile.py.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import zmq

REPOSITORY = Path(__file__).parent.parent
TESTS = REPOSITORY / "tests"
sys.path[:0] = [str(REPOSITORY), str(TESTS), str(TESTS / "protocol"), str(TESTS / "backend" / "server")]

from hostile_clients import (  # noqa: E402
    BROKEN_MESSAGES,
    BROKEN_STREAMS,
    GoodClient,
    Recorder,
    SlowPeer,
    Storm,
    memory_bytes,
    open_broken_connections,
    replay,
    told_too_often,
)
from server_process import ServerProcess  # noqa: E402

from backend.server.auth import SERVER_KEY_FILE, KeyPair, allow_client, make_key_pair, write_key_file  # noqa: E402
from protocol.client import Client, CurveKeys  # noqa: E402
from protocol.errors import ProtocolError  # noqa: E402
from protocol.messages import ListJobs  # noqa: E402

RESULTS = Path(__file__).parent / "results"
LIMITS = "[limits]\nmessage_bytes = 4194304\n"  # oversize messages of the fuzz tests are above it
MESSAGES_BETWEEN_LOOKS = 5000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write the table to benchmarks/results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lines, is_well = storm_table(Path(folder), arguments.messages, arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        more, is_tight = key_table(Path(folder))
    today = datetime.date.today().isoformat()
    text = "\n".join([f"# Hostile input, {today}", "", *lines, *more, ""])
    print(text, flush=True)
    if arguments.write:
        (RESULTS / f"server_fuzz-{today}.md").write_text(text)
    return 0 if is_well and is_tight else 1


def storm_table(folder: Path, messages: int, seed: int) -> tuple[list[str], bool]:
    """The table, and whether all bars hold."""
    (folder / "limits.toml").write_text(LIMITS)
    server = ServerProcess(folder, "--config", str(folder / "limits.toml")).start()
    good = GoodClient(server.client())
    while not good.seconds:
        time.sleep(0.1)
    before, _ = memory_bytes(server.process.pid)
    slow, opened = SlowPeer(server.address, 0.5), open_broken_connections(server.address)
    context = zmq.Context()
    storm, began = Storm(context, server.address, seed), time.monotonic()
    memory = []
    for sent in range(0, messages, MESSAGES_BETWEEN_LOOKS):
        storm.send(min(MESSAGES_BETWEEN_LOOKS, messages - sent))
        memory.append(memory_bytes(server.process.pid)[0])
        print(f"{sent + MESSAGES_BETWEEN_LOOKS:,} sent, {memory[-1] / 2**20:.0f} MB", file=sys.stderr, flush=True)
    seconds = time.monotonic() - began
    good.stop()
    storm.close()
    context.term()
    slow.stop()
    for each in opened:
        each.close()
    after, most = memory_bytes(server.process.pid)
    lines = server.log("refused")
    too_often, is_up = told_too_often(lines), server.process.poll() is None
    server.close()

    answers = np.array(good.seconds)
    half = len(memory) // 2
    kinds = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in sorted(storm.sent.items()))
    codes = ", ".join(f"{code} {count:,}" for code, count in sorted(storm.refusals.items()))
    told = Counter(line["reason"] for line in lines)
    table = [
        f"`python benchmarks/server_fuzz.py --messages {messages}`, {platform.machine()}, shared machine.",
        "",
        f"{messages:,} messages over 8 connections in {seconds:.0f} s, one of which never reads; beside them "
        f"{len(opened)} connections that say {len(BROKEN_STREAMS | BROKEN_MESSAGES)} kinds of half or broken things "
        "and stay open, and a slow one.",
        "",
        f"Sent: {kinds}.",
        "",
        f"Refusals that came back (at most 20 a second for a connection): {codes}.",
        "",
        "| | bar | |",
        "|---|---|---|",
        f"| the server at the end | up | {'up' if is_up else 'ended'} |",
        f"| memory before, most, after, MB | bounded | {before / 2**20:.0f}, {most / 2**20:.0f}, {after / 2**20:.0f} |",
        f"| memory, most in the first half and in the second, MB | no growth | "
        f"{max(memory[:half] or [0]) / 2**20:.0f}, {max(memory[half:]) / 2**20:.0f} |",
        f"| a good client's requests, failures | 0 failures | {len(answers):,}, {len(good.failures)} |",
        f"| its answers took, ms, median, 99 of 100, most | served | {1000 * np.median(answers):.1f}, "
        f"{1000 * np.percentile(answers, 99):.0f}, {1000 * answers.max():.0f} |",
        f"| lines in the log, reasons | once a period | {len(lines)}, {len(told)} |",
        f"| told again within a period | 0 | {len(too_often)} |",
    ]
    is_bounded = max(memory[half:]) < 1.3 * max(memory[:half] or memory) + 2**25
    return table, is_up and is_bounded and not good.failures and not too_often


def key_table(folder: Path) -> tuple[list[str], bool]:
    """Of a server with keys, of which one client is allowed."""
    keys, server_keys, ann = folder / "keys", make_key_pair(), make_key_pair()
    write_key_file(keys / SERVER_KEY_FILE, server_keys)
    allow_client(keys, "ann", ann.public)
    server = ServerProcess(folder, "--keys", str(keys)).start()
    curve = _curve(server_keys.public, ann)
    recorder = Recorder(server.address)
    recorded = _is_served(recorder.address, curve)
    recorder.close()
    answered = replay(server.address, bytes(recorder.recorded))
    came_before = len(server.log("client-came"))
    got_in = {
        "no key": _is_served(server.address, None),
        "a key that is not on the list": _is_served(server.address, _curve(server_keys.public, make_key_pair())),
        "the key of another server": _is_served(server.address, _curve(make_key_pair().public, ann)),
        "what an allowed client said, once more": len(server.log("client-came")) > came_before or len(answered) > 300,
    }
    is_ann_served = _is_served(server.address, curve)
    server.close()
    table = ["", "## A server with keys", "", "| who | let in |", "|---|---|"]
    table += [f"| {name} | {'YES' if is_in else 'no'} |" for name, is_in in got_in.items()]
    table += [f"| the allowed client, before and after | {'yes' if recorded and is_ann_served else 'NO'} |"]
    return table, recorded and is_ann_served and not any(got_in.values())


def _curve(server_public: str, pair: KeyPair) -> CurveKeys:
    return CurveKeys(server_public, pair.public, pair.secret)


def _is_served(address: str, keys: CurveKeys | None) -> bool:
    with Client(address, "a benchmark", "0", keys=keys) as client:
        try:
            client.request(ListJobs(), 10.0)
        except ProtocolError:
            return False
        return True


if __name__ == "__main__":
    sys.exit(main())
