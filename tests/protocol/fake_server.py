"""A small ROUTER server in a thread, for tests of the client: it answers, and misbehaves when it is told to."""

import contextlib
import threading
import time

import numpy as np
import zmq

from examples import CORNERS, KEY, TETRAHEDRON, full_snapshot, job_state
from protocol.errors import RemoteProtocolError, VersionMismatch
from protocol.frames import decode, encode
from protocol.messages import (
    ClientHello,
    Credit,
    Heartbeat,
    JobList,
    ListJobs,
    MeshSnapshot,
    Refused,
    ServerHello,
    SubmitAccepted,
    SubmitJob,
    WatchJob,
)

HELLO = ServerHello(
    software_version="0.1.0", server_id=KEY, device="a fake device", priors=(), tasks=("text",), capabilities=("zlib",)
)


class FakeServer:
    """Use as a context manager. Attributes set how it behaves; `heard` is what it was told, in order."""

    def __init__(self, address="tcp://127.0.0.1:*", context=None, keys=None):
        self.heard = []
        self.hellos = 0
        self.is_silent = False
        """Hears everything and says nothing."""
        self.snapshots_after_watch = 0
        self.answers = {}
        """By the type of a request: what to answer instead; None for nothing."""
        self._submitted = {}
        self._clients = {}
        self._orders = []
        self._context = context or zmq.Context.instance()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.router_mandatory = True
        if keys is not None:
            self._socket.curve_server = True
            self._socket.curve_secretkey, self._socket.curve_publickey = keys
        self._socket.bind(address)
        self.address = self._socket.last_endpoint.decode().rstrip("\0")
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._is_closing = True
        self._thread.join()

    def say(self, *messages):
        """Sends these to every client that has said hello, soon."""
        self._orders += [encode(each) for each in messages]

    def say_raw(self, parts):
        self._orders.append(parts)

    def forget_clients(self):
        """As if it were started anew on the same connections."""
        self._clients.clear()

    def of(self, kind):
        return [message for message, _ in self.heard if isinstance(message, kind)]

    def wait_for(self, condition, seconds=10.0):
        until = time.monotonic() + seconds
        while not condition() and time.monotonic() < until:
            time.sleep(0.005)
        assert condition()

    def _run(self):
        while not self._is_closing:
            while self._orders:
                parts = self._orders.pop(0)
                for identity in list(self._clients):  # a test may clear them meanwhile
                    self._send_parts(identity, parts)
            if self._socket.poll(5):
                identity, *parts = self._socket.recv_multipart()
                self._hear(identity, parts)
        self._socket.close()

    def _send(self, identity, message, number=None):
        if not self.is_silent and message is not None:
            self._send_parts(identity, encode(message, number))

    def _send_parts(self, identity, parts):
        with contextlib.suppress(zmq.ZMQError):  # the client is gone
            self._socket.send_multipart([identity, *parts])

    def _hear(self, identity, parts):
        try:
            received = decode(parts, sent_by="client")
        except VersionMismatch as error:
            self._send(identity, Refused(code="wrong-version", sentence=str(error)), error.request)
            return
        except RemoteProtocolError as error:
            self._send(identity, Refused(code="bad-message", sentence=str(error), path=error.path), error.request)
            return
        message, number = received.message, received.request
        self.heard.append((message, number))
        if isinstance(message, ClientHello):
            self.hellos += 1
            self._clients[identity] = True
            self._send(identity, HELLO, number)
        elif identity not in self._clients:
            self._send(identity, Refused(code="no-hello", sentence="say hello first"), number)
        elif not isinstance(message, Credit):
            self._send(identity, self._answer(message), number)
        if isinstance(message, WatchJob) and message.channels and identity in self._clients:
            self._stream(identity, message)

    def _answer(self, message):
        name = type(message).__name__
        if name in self.answers:
            return self.answers[name]
        if isinstance(message, Heartbeat):
            return message
        if isinstance(message, SubmitJob):
            was_known = message.key in self._submitted
            job = self._submitted.setdefault(message.key, f"job-{len(self._submitted) + 1}")
            return SubmitAccepted(job=job, key=message.key, was_known=was_known)
        if isinstance(message, ListJobs):
            return JobList(jobs=(), total=0)
        return job_state(job=message.job)

    def _stream(self, identity, watch):
        for step in range(1, self.snapshots_after_watch + 1):
            self._send(identity, mesh(watch.job, step) if step == 1 else moved(watch.job, step))


def mesh(job, number):
    """A full snapshot whose height is its number."""
    positions = CORNERS + np.array([0, 0, number], np.float32)
    return full_snapshot(job=job, number=number, step=number, positions=positions, faces=TETRAHEDRON)


def moved(job, number, builds_on=1):
    positions = CORNERS + np.array([0, 0, number], np.float32)
    return MeshSnapshot(job=job, number=number, step=number, builds_on=builds_on, positions=positions)
