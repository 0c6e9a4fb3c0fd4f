# SPDX-License-Identifier: GPL-3.0-or-later
"""The one connection of this Blender session, and what the panel says about it.

The protocol's client does the talking, in its own thread. Here, everything happens on Blender's main thread and
nothing waits: answers are handed out by `settle`, from the timer. The protocol and pyzmq are imported with the first
connection: Blender's start is no place for them, and the absence of pyzmq is a state of the connection like any other.
"""

from __future__ import annotations

import ipaddress
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import bpy

if TYPE_CHECKING:
    from concurrent.futures import Future

    from .protocol.client import Client
    from .protocol.inbox import Event
    from .protocol.messages import Channel, Message, ServerHello

DEFAULT_ADDRESS = "tcp://127.0.0.1:5710"
SOFTWARE_VERSION = "0.1.0"
NO_ZMQ = (
    "pyzmq is missing. Install the release zip of Sketchbridge, which brings it, or your system's package python3-zmq"
)
OFFLINE = "{host} is another machine, and Blender's online access is off. Allow it in the preferences, under System"

Then = Callable[[Any], None]
Otherwise = Callable[[str, str], None]


class Connection:
    """A client, or the reason why there is none."""

    def __init__(self) -> None:
        self.state = "off"
        """off, connecting, connected, lost, refused; no-zmq, offline, bad-address, bad-keys: see `sentence`."""
        self.sentence = "Not connected"
        self.server: ServerHello | None = None
        """Of the last connection; stays while that is lost, so that lists do not vanish."""
        self.live_per_second = 10
        """How often a new mesh is wanted; 0 for never. See the preferences."""
        self._client: Client | None = None
        self._asked: list[tuple[Future[Any], Then, Otherwise]] = []
        self._closing: list[threading.Thread] = []

    @property
    def is_open(self) -> bool:
        """Whether there is a client, connected or trying to be."""
        return self._client is not None

    @property
    def is_connected(self) -> bool:
        return self.state == "connected"

    def open(self, address: str, keys: tuple[str, str, str] = ("", "", ""), is_slow_link: bool = False) -> bool:
        """Connects, instead of to where it was connected before.

        Args:
            keys: The server's public key, and this side's public and secret one; all empty for a server without.

        Returns:
            Whether it is being tried. If not, `sentence` says why.
        """
        self.close()
        address = with_scheme(address)
        host, _ = tcp_endpoint(address)
        if host and not is_loopback(host) and not bpy.app.online_access:
            return self.cannot("offline", OFFLINE.format(host=host))
        try:
            from .protocol.client import Client, CurveKeys, Timing
            from .protocol.errors import LocalProtocolError
        except ImportError as error:
            missing = error.name is not None and error.name.split(".")[0] == "zmq"
            return self.cannot("no-zmq", NO_ZMQ if missing else f"pyzmq cannot be loaded: {error}")
        program = f"Blender {bpy.app.version_string}"
        try:
            curve = CurveKeys(*(key.strip() for key in keys)) if any(keys) else None
            # On this machine, to look for a server costs nothing, and one that was just started is found soon.
            timing = Timing(longest_retry=1.0) if not host or is_loopback(host) else Timing()
            self._client = Client(
                address, program, SOFTWARE_VERSION, keys=curve, is_slow_link=is_slow_link, timing=timing
            )
        except LocalProtocolError as error:
            return self.cannot("bad-address", str(error))
        self.state, self.sentence = "connecting", f"Connecting to {address}"
        return True

    def cannot(self, state: str, sentence: str) -> bool:
        """Notes why there is no connection."""
        self.state, self.sentence, self.server = state, sentence, None
        return False

    def close(self, wait: bool = False) -> None:
        """Ends the connection; for what is unanswered, `settle` will call `otherwise`.

        Args:
            wait: Until its thread has ended, which takes a quarter of a second if the server is dead.
        """
        if self._client is not None:
            thread = threading.Thread(target=self._client.close, name="sketchbridge closing", daemon=True)
            thread.start()
            self._closing.append(thread)
        self._client, self.server = None, None
        self.state, self.sentence = "off", "Not connected"
        if wait:
            for thread in self._closing:
                thread.join(1.0)
            self._asked = []  # nobody is there to be told
        self._closing = [thread for thread in self._closing if thread.is_alive()]

    def ask(self, message: Message, then: Then, otherwise: Otherwise, seconds: float = 15.0) -> None:
        """Sends a request.

        Args:
            then: Called with the answer.
            otherwise: Called with a sentence for the user and the server's code, "" if it was not the server's no.
                Either is called by `settle`, never at once.
            seconds: How long to try.
        """
        from concurrent.futures import Future

        from .protocol.errors import LocalProtocolError, ProtocolError

        try:
            if self._client is None:
                raise LocalProtocolError("There is no connection to a server: press Connect")
            self._asked.append((self._client.ask(message, seconds), then, otherwise))
        except ProtocolError as error:
            answer: Future[Any] = Future()
            answer.set_exception(error)
            self._asked.append((answer, then, otherwise))

    def watch(self, job: str, wants_mesh: bool = True) -> None:
        """Has a job's news, and its mesh if wanted, come in `events` from now on."""
        if self._client is not None:
            channels: tuple[Channel, ...] = ("progress", "preview")
            if wants_mesh and self.live_per_second > 0:
                channels = ("progress", "mesh", "colours", "preview")
            self._client.watch(job, channels, snapshots_per_second=float(self.live_per_second or 1))

    def unwatch(self, job: str) -> None:
        if self._client is not None:
            self._client.unwatch(job)

    def events(self) -> list[Event]:
        """What has arrived; how the connection changed is seen to here already."""
        if self._client is None:
            return []
        from .protocol.inbox import ConnectionChanged

        events = self._client.events()
        for event in events:
            if isinstance(event, ConnectionChanged):
                self.state, self.sentence = event.state, _capitalised(event.sentence)
                self.server = event.server or self.server
        return events

    def settle(self) -> bool:
        """Hands out the answers that have come; says whether there were any."""
        done = [each for each in self._asked if each[0].done()]
        if not done:
            return False
        from .protocol.errors import ProtocolError

        self._asked = [each for each in self._asked if not each[0].done()]
        for answer, then, otherwise in done:
            error = answer.exception()
            if error is None:
                then(answer.result())
            elif isinstance(error, ProtocolError):
                otherwise(_capitalised(str(error)), getattr(error, "code", ""))
            else:
                raise error
        return True

    @property
    def is_waiting(self) -> bool:
        """Whether there are requests without an answer."""
        return bool(self._asked)


def _capitalised(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def with_scheme(address: str) -> str:
    """What a user has typed, as an address: `studio:5710` and `localhost` will do."""
    address = address.strip()
    if "://" in address or not address:
        return address
    return f"tcp://{address}" if re.search(r":\d+$", address) else f"tcp://{address}:5710"


def tcp_endpoint(address: str) -> tuple[str, int]:
    """The host and the port of a tcp address; ("", 0) for addresses inside this machine, and for what is none."""
    match = re.fullmatch(r"tcp://(?:\[(.+)\]|([^\[\]/]+)):(\d+)", address)
    return (match[1] or match[2], int(match[3])) if match else ("", 0)


def is_loopback(host: str) -> bool:
    """Whether what is sent there stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


CONNECTION = Connection()
"""Of this Blender session."""
