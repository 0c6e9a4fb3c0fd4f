"""Some thousand hostile messages at a real server, in short. The long run is benchmarks/server_fuzz.py."""

import time

import numpy as np
import pytest
import zmq
from hostile_clients import (
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
from server_process import ServerProcess, wait_until

from backend.server.auth import ALLOW_FILE, SERVER_KEY_FILE, allow_client, make_key_pair, write_key_file
from backend.server.log import MOST_REASONS_OF_ONE
from protocol.client import CurveKeys
from protocol.errors import ServerUnreachable
from protocol.messages import ListJobs

MESSAGES = 5000
MOST_GROWTH_BYTES = 250 * 2**20
"""Of the server. Messages that wait for each other, of 8 connections and 4 MiB at most, are a part of it."""
LIMITS = "[limits]\nmessage_bytes = 4194304\n"
"""As those of the fuzz tests, whose oversize messages are above it."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "limits.toml").write_text(LIMITS)
    running = ServerProcess(folder, "--config", str(folder / "limits.toml")).start()
    yield running
    running.close()


@pytest.mark.slow
def test_a_storm_of_hostile_messages_stops_nobody_and_fills_neither_memory_nor_log(server):
    good, context = GoodClient(server.client()), zmq.Context()
    wait_until(lambda: good.seconds, "the first answer to a good client")
    before, _ = memory_bytes(server.process.pid)
    storm = Storm(context, server.address, seed=7)

    storm.send(MESSAGES)
    good.stop()
    storm.close()
    context.term()

    assert server.process.poll() is None
    assert server.client().request(ListJobs(), 30.0).total <= storm.whole_jobs
    assert good.failures == []
    assert np.percentile(good.seconds, 95) < 2.0  # on a machine that does something else as well
    assert memory_bytes(server.process.pid)[1] - before < MOST_GROWTH_BYTES
    assert {"bad-message", "too-large", "unknown-message"} <= set(storm.refusals)
    lines = server.log("refused")
    assert lines
    assert told_too_often(lines) == []
    minutes = 1 + (_seconds(lines[-1]) - _seconds(lines[0])) // 60
    assert len(lines) <= minutes * (MOST_REASONS_OF_ONE + 1) + 1  # all of them are of one address


@pytest.mark.slow
def test_peers_that_say_half_of_something_cost_the_others_nothing(server):
    slow = SlowPeer(server.address)
    opened = open_broken_connections(server.address)
    good = GoodClient(server.client())

    wait_until(lambda: len(good.seconds) >= 50, "50 answers to a good client")
    good.stop()
    slow.stop()
    for each in opened:
        each.close()

    assert len(opened) == 3 * len(BROKEN_STREAMS | BROKEN_MESSAGES)
    assert good.failures == []
    assert np.median(good.seconds) < 1.0
    assert server.process.poll() is None


@pytest.mark.slow
def test_what_an_allowed_client_said_gives_no_one_else_its_place(tmp_path):
    keys, server_keys, ann = tmp_path / "keys", make_key_pair(), make_key_pair()
    write_key_file(keys / SERVER_KEY_FILE, server_keys)
    allow_client(keys, "ann", ann.public)
    server = ServerProcess(tmp_path, "--keys", str(keys)).start()
    recorder = Recorder(server.address)
    curve = CurveKeys(server_keys.public, ann.public, ann.secret)
    direct, server.address = server.address, recorder.address
    recorded_client = server.client(keys=curve)
    server.address = direct
    recorded_client.request(ListJobs(), 30.0)
    recorded_client.close()
    recorder.close()

    answered = replay(server.address, bytes(recorder.recorded))
    strangers = [None, CurveKeys(server_keys.public, *_pair()), CurveKeys(make_key_pair().public, *_pair())]
    for stranger in strangers:
        with pytest.raises(ServerUnreachable):
            server.client(keys=stranger).request(ListJobs(), 1.0)
    served = server.client(keys=curve).request(ListJobs(), 30.0)
    came = server.log("client-came")
    reasons = {each["reason"] for each in server.log("refused")}
    server.close()

    assert len(recorder.recorded) > 500  # a whole handshake and a request
    assert len(answered) < 300  # the server's greeting and its WELCOME, and nothing of what was asked
    assert [each["client"] for each in came] == ["ann", "ann"]  # twice herself
    assert {"unknown-key", "handshake-failed"} <= reasons
    assert served.total == 0
    assert (keys / ALLOW_FILE).exists()


def _pair():
    pair = make_key_pair()
    return pair.public, pair.secret


def _seconds(line):
    return time.mktime(time.strptime(line["at"][:19], "%Y-%m-%dT%H:%M:%S"))
