"""The worker's end of the link: takes orders without waiting, sends what it has to say, and notices a lost server.

A connection that was lost, such as that of a server that was stopped for a while, is made again by ZeroMQ. Orders may
be lost with it: the worker says `ready` once more, and the server repeats them.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from backend.server.link import LinkError, data_frames, event, event_frames, partial_frames, read_order
from protocol.frames import encode
from protocol.messages import Message

SECONDS_UNTIL_LOST = 30.0
"""Without a connection. A server that is started anew kills the workers of before anyway."""
_HEARTBEAT_MILLISECONDS = 5000  # ZeroMQ's own: finds a server whose process is stopped
_MOST_UNSENT = 16
"""Messages in ZeroMQ's hands while the server does not read. What is more is dropped, or waits if it matters."""
_MOST_WAITING = 10_000

_log = logging.getLogger(__name__)


class WorkerLink:
    """Used by one thread alone. `close` it."""

    def __init__(self, address: str, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            address: Where the server listens for workers.
            name: The worker's id, as the server gave it.
        """
        self._clock = clock
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.IDENTITY, name.encode())
        self._socket.setsockopt(zmq.LINGER, 2000)  # the last words of a worker that ends
        self._socket.setsockopt(zmq.SNDHWM, _MOST_UNSENT)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MILLISECONDS)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3 * _HEARTBEAT_MILLISECONDS)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._waiting: deque[list[Any]] = deque(maxlen=_MOST_WAITING)
        self._parent = os.getppid()
        self._was_connected = False
        self._apart_since: float | None = clock()
        self._socket.connect(address)

    def close(self) -> None:
        """Gives what is unsent two seconds to leave."""
        self._send_waiting()
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close()
        self._context.term()

    @property
    def is_lost(self) -> bool:
        """Whether there is no server any more: its process has ended, or nothing was heard of it for long. To be asked
        again and again: it is here that a connection that is back is noticed.
        """
        if os.getppid() != self._parent:  # the system gives orphans to another parent
            return True
        while self._monitor.poll(0):
            if recv_monitor_message(self._monitor)["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._apart_since = None
                if self._was_connected:
                    self.send_event("ready", pid=os.getpid())
                self._was_connected = True
            else:
                self._apart_since = self._clock()
        return self._apart_since is not None and self._clock() - self._apart_since >= SECONDS_UNTIL_LOST

    def wait(self, seconds: float) -> None:
        """Returns when an order is there, or after so long."""
        self._send_waiting()
        self._socket.poll(int(1000 * seconds))

    def next_order(self) -> dict[str, Any] | None:
        """The next one, if it has come. Does not wait. What is no order is logged and dropped."""
        self._send_waiting()
        while self._socket.poll(0):
            try:
                return read_order(self._socket.recv_multipart(zmq.NOBLOCK))
            except LinkError as error:
                _log.warning("dropped what the server sent: %s", error)
        return None

    def send_event(self, name: str, **fields: Any) -> None:
        """Sends an event; it waits here if the server does not read."""
        self._waiting.append(event_frames(event(name, **fields)))
        self._send_waiting()

    def send_partial(self, token: str, message: Message) -> None:
        """Answers the order fetch."""
        self._waiting.append(partial_frames(token, encode(message)))
        self._send_waiting()

    def send_data(self, message: Message) -> bool:
        """Sends a Progress, MeshSnapshot or Preview. False if it was dropped since the server does not read."""
        self._send_waiting()
        if self._waiting:
            return False
        return self._try(data_frames(encode(message)))

    def _send_waiting(self) -> None:
        while self._waiting and self._try(self._waiting[0]):
            self._waiting.popleft()

    def _try(self, frames: list[Any]) -> bool:
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True
