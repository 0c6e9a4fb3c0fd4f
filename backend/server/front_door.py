"""The socket that clients connect to: bytes in and out, who is let in, how many. Knows nothing of what they say.

All of it belongs to one thread, and nothing in it waits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from backend.errors import BadInput
from backend.server.auth import ZAP_ADDRESS, ZAP_DOMAIN, AllowList, KeyPair, zap_reply
from backend.server.outbox import ClientGone, Delivery
from protocol.frames import MOST_FRAMES, Frame

SEND_QUEUE, RECEIVE_QUEUE = 64, 64
"""Messages that ZeroMQ keeps for each connection."""
BYTES_COPIED = 2**16
"""ZeroMQ copies smaller frames; larger ones it sends from where they are."""
MOST_CONNECTIONS = 1024
"""TCP connections, those that have said nothing yet included. Beyond that nobody is let in until some have gone."""
HANDSHAKE_SECONDS = 5.0
DEAD_SECONDS = 15
"""A peer whose machine acknowledges nothing for so long is disconnected: it is gone, or stopped."""
_DISCONNECTIONS = (
    zmq.EVENT_DISCONNECTED,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
)


@dataclass(frozen=True)
class Arrived:
    """One message as it came."""

    identity: bytes
    """Of the connection."""
    owner: str
    """Whose it is; made certain by ZeroMQ."""
    address: str
    frames: list[Any]
    """ZeroMQ's frames; one more than allowed where there were more than allowed."""
    size: int
    """Bytes."""


class FrontDoor:
    """The clients' socket."""

    def __init__(
        self,
        context: zmq.Context[Any],
        address: str,
        most_frame_bytes: int,
        *,
        keys: KeyPair | None = None,
        allow_list: AllowList | None = None,
        refused: Callable[[str, str, str], None] = lambda reason, address, key: None,
        most_connections: int = MOST_CONNECTIONS,
    ) -> None:
        """Opens it.

        Args:
            most_frame_bytes: A peer that sends a larger one is disconnected before it is in memory.
            keys: With them only the clients on `allow_list` are let in; without, everybody.
            refused: Told the reason, the address and the public key of who is not let in.

        Raises:
            BadInput: Nothing can listen at this address.
        """
        self._allow_list, self._refused, self._most_connections = allow_list, refused, most_connections
        self._connections: set[int] = set()
        self._gatekeeper = context.socket(zmq.REP)
        self._gatekeeper.linger = 0
        self._gatekeeper.bind(ZAP_ADDRESS)
        self._socket = context.socket(zmq.ROUTER)
        self._set_up(address, most_frame_bytes, keys)
        self._monitor = self._socket.get_monitor_socket()
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            raise BadInput(_why_not(address, error)) from error
        self.address = self._socket.last_endpoint.decode().rstrip("\0")

    def _set_up(self, address: str, most_frame_bytes: int, keys: KeyPair | None) -> None:
        socket = self._socket
        socket.linger = 0
        socket.router_mandatory = True  # a client that is gone is told, instead of sent to nowhere
        # No ROUTER_HANDOVER: who takes another's routing id must not get what is meant for it. See `Conversations`.
        socket.maxmsgsize = most_frame_bytes
        socket.sndhwm, socket.rcvhwm = SEND_QUEUE, RECEIVE_QUEUE
        socket.handshake_ivl = int(HANDSHAKE_SECONDS * 1000)
        # No ZMQ_HEARTBEAT_TIMEOUT: whatever comes resets it at its end only, so that it would cut off a client that
        # sends a large mesh over a slow line, again and again. TCP itself notices who is gone.
        socket.tcp_maxrt = DEAD_SECONDS * 1000
        socket.tcp_keepalive, socket.tcp_keepalive_cnt = 1, 3
        socket.tcp_keepalive_idle = socket.tcp_keepalive_intvl = DEAD_SECONDS // 3
        socket.ipv6 = "[" in address
        socket.zap_domain = ZAP_DOMAIN
        if keys is not None:
            socket.curve_server = True
            socket.curve_secretkey = keys.secret.encode()

    @property
    def sockets(self) -> tuple[zmq.Socket[Any], ...]:
        """What to wait for."""
        return self._socket, self._gatekeeper, self._monitor

    @property
    def connections(self) -> int:
        """TCP connections, as far as ZeroMQ has told of them."""
        return len(self._connections)

    def receive(self) -> Arrived | None:
        """The next message, or None if there is none."""
        try:
            parts = [self._socket.recv(zmq.NOBLOCK, copy=False)]
            while parts[-1].more:  # all of a message are there when the first one is
                part = self._socket.recv(copy=False)
                if len(parts) <= MOST_FRAMES + 1:
                    parts.append(part)
                else:
                    parts[-1] = part  # whatever it is, it is too much
        except zmq.Again:
            return None
        size = sum(len(each) for each in parts)
        return Arrived(
            parts[0].bytes, _metadata(parts[-1], "User-Id"), _metadata(parts[-1], "Peer-Address"), parts[1:], size
        )

    def send(self, identity: bytes, frames: Sequence[Frame]) -> bool:
        """Sends a message; False if there is no room now.

        Raises:
            ClientGone: The connection is closed.
        """
        try:
            self._socket.send_multipart([identity, *frames], zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            raise ClientGone(str(error)) from None
        return True

    def send_large(self, identity: bytes, frames: Sequence[Frame]) -> Delivery | None:
        """As `send`, without copying large frames; says when ZeroMQ is rid of them."""
        large = [index for index, frame in enumerate(frames) if len(frame) >= BYTES_COPIED]
        tracker = zmq.MessageTracker()
        try:
            self._socket.send(identity, zmq.NOBLOCK | zmq.SNDMORE)
            for index, frame in enumerate(frames):
                flags = zmq.NOBLOCK | (zmq.SNDMORE if index < len(frames) - 1 else 0)
                if not large or index != large[-1]:
                    self._socket.send(frame, flags, copy=index not in large)
                else:  # frames leave in their order: when ZeroMQ is rid of this one, it is of all
                    tracker = self._socket.send(frame, flags, copy=False, track=True)
        except zmq.Again:
            return None  # of the first frame: those that follow one that was taken are taken too
        except zmq.ZMQError as error:
            raise ClientGone(str(error)) from None
        return tracker

    def let_in(self) -> None:
        """Answers ZeroMQ's questions whether peers may connect."""
        with contextlib.suppress(zmq.Again):
            while True:
                request = self._gatekeeper.recv_multipart(zmq.NOBLOCK)
                is_full = len(self._connections) > self._most_connections
                reply = zap_reply(request, self._allow_list, self._refused, is_full)
                self._gatekeeper.send_multipart(reply, zmq.NOBLOCK)

    def count_connections(self) -> None:
        """Hears from ZeroMQ who came and went."""
        with contextlib.suppress(zmq.Again):
            while True:
                event = recv_monitor_message(self._monitor, zmq.NOBLOCK)
                if event["event"] == zmq.EVENT_ACCEPTED:
                    self._connections.add(event["value"])
                elif event["event"] in _DISCONNECTIONS:
                    self._connections.discard(event["value"])
                    if event["event"] != zmq.EVENT_DISCONNECTED:
                        self._refused("handshake-failed", "unknown", "")  # ZeroMQ does not tell whose

    def close(self, linger_milliseconds: int = 0) -> None:
        """Closes the sockets. What is unsent is lost after this time, at the latest."""
        self._socket.disable_monitor()
        self._socket.close(linger=linger_milliseconds)
        for each in (self._monitor, self._gatekeeper):
            each.close(linger=0)


def _metadata(part: zmq.Frame, name: str) -> str:
    try:
        return str(part.get(name))
    except zmq.ZMQError:
        return ""


def _why_not(address: str, error: zmq.ZMQError) -> str:
    if error.errno == zmq.EADDRINUSE:
        return f"{address} is in use, perhaps by another sketchbridge serve; stop it, or choose another --listen"
    return f"cannot listen at {address} ({error.strerror}); it must be like tcp://127.0.0.1:5710"
