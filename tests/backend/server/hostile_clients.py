"""Peers that mean harm or are broken, and a good client beside them. For tests and for benchmarks/server_fuzz.py."""

import contextlib
import random
import socket as sockets
import threading
import time
from collections import Counter

import zmq
from test_fuzz import MUTATIONS, SAID

from protocol.errors import ProtocolError
from protocol.frames import decode, encode
from protocol.messages import ClientHello, ListJobs, Refused, SubmitJob

HELLO = encode(ClientHello(program="hostile", software_version="0", capabilities=("zlib", "uint16")), 1)
SAID_BY_CLIENTS = [parts for parts, side in SAID if side == "client"]
SECONDS_UNTIL_STUCK = 60.0
MOST_FRAMES_OFTEN = 2000
"""Of a message; one in some hundred has more. Its 200,000 frames take the sender longer than all other messages."""
MESSAGES_BETWEEN_HELLOS = 100

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)
"""Of ZMTP 3.0, RFC 23: signature, version, mechanism, as a client."""
_READY_BODY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"
READY = b"\x04" + bytes([len(_READY_BODY)]) + _READY_BODY
BROKEN_STREAMS = {
    "nothing": b"",
    "half a greeting": GREETING[:20],
    "a greeting and nothing": GREETING,
    "another protocol": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no mechanism": GREETING[:12] + b"WHAT" + GREETING[16:],
    "a message before the handshake": GREETING + b"\x00\x02{}",
}
"""What a peer sends at once, before it is silent."""
BROKEN_MESSAGES = {
    "a frame of 2**62 bytes": b"\x02" + (2**62).to_bytes(8, "big"),
    "a frame of -1 bytes": b"\x02" + b"\xff" * 8,
    "half a frame": b"\x02" + (2**20).to_bytes(8, "big") + bytes(1000),
    "a message that does not end": b"\x01\x02{}" * 10_000,
    "commands of no kind": b"\x04\x05\x04WHAT" * 100,
    "ready twice": READY,
}
"""The same after a handshake that was right."""


class Storm:
    """Some connections that send what is no message, as fast as the server takes it. The last one reads no answer."""

    def __init__(self, context, address, seed=0, connections=8):
        self._dice = random.Random(seed)
        self._sockets = [self._connect(context, address) for _ in range(connections)]
        self.sent = Counter()
        """By mutation."""
        self.refusals = Counter()
        """That came back, by code."""
        self.whole_jobs = 0
        """Sent, as some mutations leave a message whole."""

    def _connect(self, context, address):
        socket = context.socket(zmq.DEALER)
        socket.linger, socket.sndhwm = 0, 20
        socket.connect(address)
        socket.send_multipart(HELLO)
        return socket

    def send(self, count):
        for number in range(count):
            socket = self._dice.choice(self._sockets)
            if number % MESSAGES_BETWEEN_HELLOS < len(self._sockets):
                self._send(self._sockets[number % MESSAGES_BETWEEN_HELLOS], HELLO)
            mutation = self._dice.choice(MUTATIONS)
            parts = mutation(self._dice, list(self._dice.choice(SAID_BY_CLIENTS)))
            if len(parts) > MOST_FRAMES_OFTEN and self._dice.random() > 0.03:
                parts = parts[:MOST_FRAMES_OFTEN]
            self._send(socket, parts)
            self.whole_jobs += _is_whole_job(parts)
            self.sent[mutation.__name__] += 1
            self._read()

    def _send(self, socket, parts):
        until = time.monotonic() + SECONDS_UNTIL_STUCK
        while not socket.poll(10, zmq.POLLOUT):
            self._read()
            assert time.monotonic() < until, f"the server has taken nothing for {SECONDS_UNTIL_STUCK:g} s"
        socket.send_multipart(parts)

    def _read(self):
        for socket in self._sockets[:-1]:
            with contextlib.suppress(zmq.Again):
                while True:
                    self._count(socket.recv_multipart(zmq.NOBLOCK))

    def _count(self, parts):
        message = decode(parts, "server").message  # even what hostile clients are told is a message
        if isinstance(message, Refused):
            self.refusals[message.code] += 1

    def close(self):
        for each in self._sockets:
            each.close()


def _is_whole_job(parts):
    try:
        return isinstance(decode(parts, "client").message, SubmitJob)
    except ProtocolError:
        return False


class GoodClient:
    """Asks for its jobs again and again in a thread of its own, and takes the time."""

    def __init__(self, client, seconds_between=0.05):
        self.client = client
        self.seconds, self.failures = [], []
        self._is_over = threading.Event()
        self._between = seconds_between
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._is_over.wait(self._between):
            began = time.monotonic()
            try:
                self.client.request(ListJobs(), 30.0)
            except ProtocolError as error:
                self.failures.append(error)
            self.seconds.append(time.monotonic() - began)

    def stop(self):
        self._is_over.set()
        self._thread.join()


def connect_raw(address):
    host, port = address.removeprefix("tcp://").split(":")
    return sockets.create_connection((host, int(port)), timeout=10.0)


def shake_hands(address):
    """A connection after ZeroMQ's own handshake."""
    socket, heard = connect_raw(address), b""
    socket.sendall(GREETING)
    while b"READY" not in heard:
        heard += socket.recv(4096)
    socket.sendall(READY)
    return socket


def open_broken_connections(address, each=3):
    """Connections that say what is broken, or too little, and stay open."""
    opened = []
    for connect, kinds in ((connect_raw, BROKEN_STREAMS), (shake_hands, BROKEN_MESSAGES)):
        for said in list(kinds.values()) * each:
            opened.append(connect(address))
            with contextlib.suppress(OSError):  # it may be cut off in the midst of it
                opened[-1].sendall(said)
    return opened


class SlowPeer:
    """Says a greeting and then a message byte by byte, in a thread of its own."""

    def __init__(self, address, seconds_between=0.02):
        self.sent = 0
        self._socket, self._between = connect_raw(address), seconds_between
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        said = GREETING + READY + b"\x00" + bytes([len(HELLO[0])]) + HELLO[0]
        for byte in said:
            if self._is_over.wait(self._between):
                return
            try:
                self._socket.send(bytes([byte]))
            except OSError:
                return
            self.sent += 1

    def stop(self):
        self._is_over.set()
        self._thread.join()
        self._socket.close()


class Recorder:
    """A stranger between a client and the server, who keeps every byte that the client sends."""

    def __init__(self, address):
        self._server = address
        self._listening = sockets.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        self.recorded = bytearray()
        self._threads = [threading.Thread(target=self._run, daemon=True)]
        self._threads[0].start()

    def _run(self):
        client, _ = self._listening.accept()
        server = connect_raw(self._server)
        self._threads.append(threading.Thread(target=self._hand_on, args=(server, client), daemon=True))
        self._threads[1].start()
        self._hand_on(client, server, self.recorded)

    def _hand_on(self, source, target, keep=None):
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if keep is not None:
                    keep += data
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(sockets.SHUT_RDWR)

    def close(self):
        self._listening.close()
        for each in self._threads:
            each.join(10.0)


def replay(address, recorded, seconds=5.0):
    """Says again what a client has said. Returns what the server answers until it ends the connection, or so long."""
    answered = bytearray()
    with connect_raw(address) as stranger:
        stranger.settimeout(seconds)
        with contextlib.suppress(OSError):
            stranger.sendall(recorded)
            while data := stranger.recv(65_536):
                answered += data
    return bytes(answered)


def memory_bytes(pid):
    """Of a process: what it takes now, and the most that it has taken."""
    with open(f"/proc/{pid}/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    return tuple(1024 * int(lines[name].split()[0]) for name in ("VmRSS", "VmHWM"))


def told_too_often(lines, seconds=60.0):
    """The refusals in a server's log that were told again within the period, which must be none."""
    told_at, wrong = {}, []
    for line in lines:
        key = (line["client"], line["reason"])
        stem, milliseconds = line["at"].removesuffix("Z").split(".")
        at = time.mktime(time.strptime(stem, "%Y-%m-%dT%H:%M:%S")) + int(milliseconds) / 1000
        if key in told_at and at - told_at[key] < seconds - 0.01:
            wrong.append(line)
        told_at[key] = at
    return wrong
