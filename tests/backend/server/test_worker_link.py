"""The worker's end of the link over a real socket that is closed and opened again."""

import os
import time

import pytest
import zmq

from backend.server import link
from backend.server.worker_link import SECONDS_UNTIL_LOST, WorkerLink

SECONDS = 30.0


@pytest.fixture
def context():
    found = zmq.Context()
    yield found
    found.destroy(linger=0)


def server_at(context, address):
    socket = context.socket(zmq.ROUTER)
    socket.linger = 0
    socket.bind(address)
    return socket


def look_until(worker, socket, condition):
    """What the server hears while the worker looks after its connection, as it does between two steps."""
    heard, until = [], time.monotonic() + SECONDS
    while not condition(heard):
        assert time.monotonic() < until, heard
        assert not worker.is_lost
        while socket is not None and socket.poll(20):
            heard.append(link.read_event(socket.recv_multipart()[1:]))
    return heard


def test_a_worker_says_ready_again_when_its_connection_was_made_again_and_only_then(context, tmp_path):
    address = f"ipc://{tmp_path / 'w.sock'}"
    server = server_at(context, address)
    worker = WorkerLink(address, "worker-1")
    worker.send_event("ready", pid=7)
    first = look_until(worker, server, lambda heard: heard and worker._was_connected)
    server.close()
    server = server_at(context, address)

    again = look_until(worker, server, lambda heard: heard)

    assert first == [{"event": "ready", "pid": 7}]
    assert again == [{"event": "ready", "pid": os.getpid()}]
    server.close()
    worker.close()


def test_a_server_that_does_not_come_back_is_lost(context, tmp_path):
    now = [0.0]
    worker = WorkerLink(f"ipc://{tmp_path / 'w.sock'}", "worker-1", clock=lambda: now[0])
    assert not worker.is_lost

    now[0] = SECONDS_UNTIL_LOST

    assert worker.is_lost
    worker.close()
