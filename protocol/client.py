"""The client: one thread that owns one DEALER socket, and a thread-safe inbox. The only file here that knows ZeroMQ.

Every request may be sent twice without harm (the server does nothing twice), so a lost connection loses no request: it
is made again with growing pauses, what is unanswered is asked again, and what was watched is watched again from a full
snapshot. Times are measured with a clock that does not jump.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import random
import re
import socket as sockets
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any, Literal

import zmq
from zmq.utils.monitor import recv_monitor_message

from . import frames
from .errors import (
    Described,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    RequestRefused,
    RequestTimedOut,
    ServerUnreachable,
    VersionMismatch,
)
from .inbox import ConnectionChanged, Event, Inbox, LiveMeshes, WatchRefused
from .messages import (
    FINAL_STATUSES,
    CancelJob,
    Channel,
    ClientHello,
    Credit,
    DeleteJob,
    FetchResult,
    Heartbeat,
    JobState,
    MeshSnapshot,
    Message,
    PauseJob,
    Preview,
    Refused,
    ResumeJob,
    ServerHello,
    UpdateJob,
    WatchJob,
)

CAPABILITIES = ("zlib", "uint16", "clients")
ORDERS = (PauseJob, ResumeJob, CancelJob, DeleteJob, UpdateJob)
"""What changes a job. Its sender counts on it, so that it waits for a lost connection longer than other requests."""
_MOST_RECEIVED_AT_ONCE = 64
_CLOSING_MILLISECONDS = 250
"""How long the last messages may take to leave. Without a bound, closing Blender would wait for a dead server."""
_ADDRESS = re.compile(r"tcp://[^\s/:]+:\d{1,5}|tcp://\[[0-9a-fA-F:.%]+\]:\d{1,5}|ipc://\S+|inproc://\S+")
_Z85_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timing:
    """When the client does what, in seconds."""

    heartbeat: float = 1.0
    """It says something at least so often, or as often as the server wants."""
    lost_after: float = 4.0
    """A server that says nothing for so long is lost. Must be some heartbeats long."""
    transfer: float = 120.0
    """The same while a result is on its way: it may be large and the link slow, nothing else comes in meanwhile, and
    ZeroMQ does not tell how much of it is there. A server that dies is noticed at once, by its closed connection.
    """
    hello: float = 3.0
    """A server that does not say hello within this is not there."""
    first_retry: float = 0.25
    """The pause after the connection was lost; doubles every time, up to the longest."""
    longest_retry: float = 8.0
    kept_orders: float = 600.0
    """An order that was given while the connection is lost, or was not answered before that, is kept for so long to be
    sent when there is a connection again; its own time to be answered begins then."""


@dataclass(frozen=True)
class CurveKeys:
    """Keys for an encrypted connection, each of 40 characters (Z85)."""

    server_public: str
    public: str
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        for name in ("server_public", "public", "secret"):
            if not isinstance(getattr(self, name), str) or not _Z85_KEY.fullmatch(getattr(self, name)):
                shown = "something else" if name == "secret" else getattr(self, name)
                raise LocalProtocolError.at(f"the key {name}", shown, "text of 40 characters (Z85)")


@dataclass
class _Request:
    number: int
    message: Message
    deadline: float
    answer: Future[Any]
    seconds: float
    """From asking, or from a new connection on, to the deadline."""
    asked_at: float
    watches: str = ""
    """The job, if the client itself asked for it after a reconnect."""


class _ConnectionEnded(Exception):  # not an error: what ends a conversation
    """Why the socket is given up."""

    def __init__(self, state: Literal["lost", "refused"], sentence: str) -> None:
        super().__init__(sentence)
        self.state, self.sentence = state, sentence


class Client:
    """A connection to a server that makes itself again. All methods may be called from any thread; none touches the
    socket, and only `request` and `wait` wait.
    """

    def __init__(
        self,
        address: str,
        program: str,
        software_version: str,
        *,
        keys: CurveKeys | None = None,
        is_slow_link: bool = False,
        timing: Timing | None = None,
        context: zmq.Context[Any] | None = None,
    ) -> None:
        """Starts the thread, which connects.

        Args:
            address: Such as tcp://127.0.0.1:5710.
            program: What connects, with its version.
            software_version: Of Sketchbridge on this side.
            is_slow_link: Asks for positions in 16 bits and compressed arrays, where the server can.
            context: A ZeroMQ context to share, such as for inproc addresses; it is not ended by `close`.

        Raises:
            LocalProtocolError: The address is none, or the program's name is not allowed.
        """
        if not _ADDRESS.fullmatch(address):
            raise LocalProtocolError.at("the server's address", address, "like tcp://127.0.0.1:5710")
        self.address = address
        self._hello = ClientHello(program=program, software_version=software_version, capabilities=CAPABILITIES)
        self._keys, self._is_slow_link, self._timing = keys, is_slow_link, timing or Timing()
        self._owns_context = context is None
        self._context = context or zmq.Context()
        self._inbox, self._meshes = Inbox(), LiveMeshes()
        self._lock = threading.Lock()  # for what follows; the socket belongs to the thread
        self._numbers = itertools.count(1)
        self._unsent: list[_Request] = []
        self._unanswered: dict[int, _Request] = {}
        self._watches: dict[str, WatchJob] = {}
        self._is_closing = self._was_connected = False
        self._connection = ConnectionChanged("connecting", f"connecting to {address}")
        self._waker, self._wake_up_call = sockets.socketpair()
        self._waker.setblocking(False)
        self._wake_up_call.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"sketchbridge client {address}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connection(self) -> ConnectionChanged:
        """How the connection is right now."""
        return self._connection

    def ask(self, message: Message, seconds: float = 10.0) -> Future[Any]:
        """Sends a request, now or once there is a connection, and gives its answer to a future.

        The future raises `RequestRefused`, `RequestTimedOut`, `ServerUnreachable` (the client was closed), or
        `RemoteProtocolError` (the answer was none).

        Args:
            seconds: How long to go on trying. One of `ORDERS` outlives a connection that is lost: see
                `Timing.kept_orders`. Orders are sent in the order in which they were given, each once per connection.

        Raises:
            LocalProtocolError: The message is no request that a client makes.
            ServerUnreachable: The client is closed.
        """
        if "client" not in message.sent_by or not message.answers or isinstance(message, ClientHello | Heartbeat):
            raise LocalProtocolError.at(
                "the message", Described(type(message).__name__), "a request that a client makes"
            )
        with self._lock:
            return self._ask(message, seconds)

    def request(self, message: Message, seconds: float = 10.0) -> Any:
        """Like `ask`, and waits for the answer."""
        return self.ask(message, seconds).result()

    def watch(
        self,
        job: str,
        channels: Iterable[Channel] = ("progress", "mesh"),
        snapshots_per_second: float = 10.0,
        credit: int = 2,
    ) -> Future[JobState]:
        """Watches a job until it is done or `unwatch` is called, over lost connections too. What comes is in `events`.

        Snapshots in `events` are always full; while their `number` stays the same, so do their faces. Credit is given
        back when a snapshot has arrived: whoever reads rarely finds the newest, and only the newest.
        """
        message = WatchJob(job=job, channels=tuple(channels), snapshots_per_second=snapshots_per_second, credit=credit)
        with self._lock:
            answer = self._ask(message, 10.0)
            self._watches[job] = message
        return answer

    def unwatch(self, job: str) -> Future[JobState]:
        """Ends the watch of a job."""
        with self._lock:
            self._watches.pop(job, None)
            self._meshes.forget(job)
            return self._ask(WatchJob(job=job, channels=()), 10.0)

    def events(self) -> list[Event]:
        """What has arrived since the last call; of a job's snapshots, only the newest. Never waits."""
        return self._inbox.take_all()

    def wait(self, seconds: float) -> bool:
        """Waits until there are events, at most so long; says whether there are."""
        return self._inbox.wait(seconds)

    def close(self) -> None:
        """Sends what was asked before, ends the thread and fails what is unanswered. May be called twice."""
        with self._lock:
            self._is_closing = True
        self._wake()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _ask(self, message: Message, seconds: float, watches: str = "") -> Future[Any]:
        """Called with the lock held."""
        if self._is_closing:
            raise ServerUnreachable("this client is closed; make a new one")
        answer: Future[Any] = Future()
        now = time.monotonic()
        self._unsent.append(_Request(next(self._numbers), message, now + seconds, answer, seconds, now, watches))
        self._wake()
        return answer

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # enough calls are waiting already, or the thread has ended
            self._waker.send(b"x")

    def _for_this_link(self, message: WatchJob) -> WatchJob:
        server = self._connection.server
        if not self._is_slow_link or server is None:
            return message
        can = server.capabilities
        return dataclasses.replace(
            message,
            positions="uint16" if "uint16" in can else "float32",
            compression="zlib" if "zlib" in can else "none",
        )

    # --- the thread

    def _run(self) -> None:
        pause = self._timing.first_retry
        try:
            while not self._is_closing:
                try:
                    _Conversation(self).run()
                except _ConnectionEnded as end:
                    was_connected = self._connection.state == "connected"
                    pause = self._timing.first_retry if was_connected else min(2 * pause, self._timing.longest_retry)
                    if end.state == "refused":
                        pause = self._timing.longest_retry
                    self._change(ConnectionChanged(end.state, end.sentence))
                    self._ask_again()
                    self._wait_before_retry(pause * random.uniform(0.8, 1.2))  # not all clients at once
        finally:
            self._end()

    def _change(self, connection: ConnectionChanged) -> None:
        if connection != self._connection:
            self._connection = connection
            self._inbox.put(connection)

    def _ask_again(self) -> None:
        """What was sent and not answered is to be sent again, before anything newer."""
        with self._lock:
            unanswered = [each for each in self._unanswered.values() if not each.watches]
            self._unsent = unanswered + [each for each in self._unsent if not each.watches]
            self._unanswered.clear()

    def _wait_before_retry(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        poller = zmq.Poller()
        poller.register(self._wake_up_call, zmq.POLLIN)
        while not self._is_closing and (left := until - time.monotonic()) > 0:
            if poller.poll(_milliseconds(min(left, self._seconds_to_deadline()))):
                self._answer_wake_up_call()
            self._expire_requests()

    def _answer_wake_up_call(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_up_call.recv(4096)

    def _deadline_of(self, request: _Request) -> float:
        """When it is given up, as things are now."""
        is_kept = self._was_connected and self._connection.state != "connected" and isinstance(request.message, ORDERS)
        return max(request.deadline, request.asked_at + self._timing.kept_orders) if is_kept else request.deadline

    def _renew_orders(self) -> None:
        """There is a new connection: orders that were kept for it get their time to be answered. Called with the lock
        held.
        """
        for each in self._unsent:
            if isinstance(each.message, ORDERS):
                each.deadline = max(each.deadline, time.monotonic() + each.seconds)

    def _seconds_to_deadline(self) -> float:
        with self._lock:
            deadlines = [self._deadline_of(each) for each in [*self._unsent, *self._unanswered.values()]]
        return max(0.0, min(deadlines, default=float("inf")) - time.monotonic())

    def _expire_requests(self) -> None:
        now = time.monotonic()
        with self._lock:
            waiting = [*self._unsent, *self._unanswered.values()]
            expired = [each for each in waiting if self._deadline_of(each) <= now]
            self._unsent = [each for each in self._unsent if self._deadline_of(each) > now]
            for each in expired:
                self._unanswered.pop(each.number, None)
        for each in expired:
            name = type(each.message).__name__
            sentence = f"no answer to {name} from {self.address} in time; the connection: {self._connection.sentence}"
            _give(each.answer, RequestTimedOut(sentence))

    def _end(self) -> None:
        with self._lock:
            self._is_closing = True
            left = [*self._unsent, *self._unanswered.values()]
            self._unsent, self._unanswered = [], {}
        for each in left:
            _give(each.answer, ServerUnreachable(f"the client was closed before {self.address} answered"))
        self._change(ConnectionChanged("closed", f"not connected to {self.address}"))
        self._waker.close()
        self._wake_up_call.close()
        if self._owns_context:
            self._context.term()  # all sockets are closed, and linger for a bounded time


class _Conversation:
    """What the thread says and hears over one socket, from hello until the connection is lost or the client closed."""

    def __init__(self, client: Client) -> None:
        self._client, self._timing = client, client._timing
        self._heard_at = self._said_at = self._began_at = time.monotonic()
        self._is_connected = False
        self._heartbeat = self._timing.heartbeat
        self._complaints: set[str] = set()
        self._socket = client._context.socket(zmq.DEALER)
        try:
            self._set_up()
            self._monitor = self._socket.get_monitor_socket()
        except zmq.ZMQError as error:
            self._socket.close(linger=0)
            raise _ConnectionEnded("lost", f"cannot open a socket: {error}") from None
        self._poller = zmq.Poller()
        for each in (self._socket, self._monitor, client._wake_up_call):
            self._poller.register(each, zmq.POLLIN)

    def _set_up(self) -> None:
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, frames.DEFAULT_LIMITS.array_bytes)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        keys = self._client._keys
        if keys is not None:
            self._socket.curve_serverkey = keys.server_public.encode()
            self._socket.curve_publickey = keys.public.encode()
            self._socket.curve_secretkey = keys.secret.encode()

    def run(self) -> None:
        """Returns when the client is closed.

        Raises:
            _ConnectionEnded: The connection is lost, or the server does not want this client.
        """
        linger = 0
        try:
            self._socket.connect(self._client.address)
            self._send(self._client._hello, None)
            while not self._client._is_closing:
                self._turn()
            if self._is_connected:
                self._send_requests()
                linger = _CLOSING_MILLISECONDS
        except zmq.ZMQError as error:
            raise _ConnectionEnded("lost", f"cannot connect to {self._client.address}: {error}") from None
        finally:
            self._socket.disable_monitor()
            self._monitor.close(linger=0)
            self._socket.close(linger=linger)

    def _turn(self) -> None:
        """Waits until something is to be done, and does it."""
        ready = dict(self._poller.poll(_milliseconds(self._seconds_to_wait())))
        if self._client._wake_up_call.fileno() in ready:
            self._client._answer_wake_up_call()
        if self._socket in ready:
            self._receive()
        if self._monitor in ready:
            self._hear_monitor()
        self._client._expire_requests()
        if self._is_connected:
            self._send_requests()
            if time.monotonic() - self._said_at >= self._heartbeat:
                self._send(Heartbeat(), None)
        self._notice_silence()

    def _seconds_to_wait(self) -> float:
        now = time.monotonic()
        until = self._heard_at + self._patience()
        if not self._is_connected:
            until = self._began_at + self._timing.hello
        else:
            until = min(until, self._said_at + self._heartbeat)
        return max(0.0, min(until - now, self._client._seconds_to_deadline()))

    def _notice_silence(self) -> None:
        now = time.monotonic()
        address = self._client.address
        if not self._is_connected and now - self._began_at >= self._timing.hello:
            raise _ConnectionEnded("lost", f"no server answers at {address}; trying again")
        if self._is_connected and now - self._heard_at >= self._patience():
            seconds = f"{self._patience():g}"
            raise _ConnectionEnded("lost", f"the server at {address} has said nothing for {seconds} s; trying again")

    def _patience(self) -> float:
        """How many seconds the server may be silent right now."""
        with self._client._lock:
            is_fetching = any(isinstance(each.message, FetchResult) for each in self._client._unanswered.values())
        return max(self._timing.lost_after, self._timing.transfer) if is_fetching else self._timing.lost_after

    # --- saying

    def _send(self, message: Message, request: int | None) -> bool:
        """Says whether there was room for it."""
        if isinstance(message, WatchJob):
            message = self._client._for_this_link(message)
        server = self._client._connection.server
        is_compressed = self._client._is_slow_link and server is not None and "zlib" in server.capabilities
        parts = frames.encode(message, request, "zlib" if is_compressed else "none")
        size = sum(len(each) for each in parts)
        if server is not None and size > server.limits.message_bytes:
            right = f"at most {server.limits.message_bytes} bytes for this server"
            raise LocalProtocolError.at(f"the {type(message).__name__} message", Described(f"{size} bytes"), right)
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        self._said_at = time.monotonic()
        return True

    def _send_requests(self) -> None:
        client = self._client
        while True:
            with client._lock:
                if not client._unsent:
                    return
                request = client._unsent.pop(0)
                client._unanswered[request.number] = request
            try:
                was_sent = self._send(request.message, request.number)
            except ProtocolError as error:
                self._forget(request.number)
                _give(request.answer, error)
                continue
            if not was_sent:
                with client._lock:
                    client._unanswered.pop(request.number, None)
                    client._unsent.insert(0, request)
                return

    # --- hearing

    def _receive(self) -> None:
        """Takes what has come, but not forever: there are other things to do."""
        for _ in range(_MOST_RECEIVED_AT_ONCE):
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._heard_at = time.monotonic()
            try:
                received = frames.decode([each.buffer for each in parts], sent_by="server")
            except VersionMismatch as error:
                raise _ConnectionEnded("refused", str(error)) from None
            except RemoteProtocolError as error:
                self._complain(error)
            else:
                self._hear(received.message, received.request)

    def _complain(self, error: RemoteProtocolError) -> None:
        request = self._forget(error.request)
        if request is not None:
            _give(request.answer, error)
        if error.path not in self._complaints and len(self._complaints) < 20:
            self._complaints.add(error.path)
            _log.warning("%s sent a message that is none: %s", self._client.address, error)

    def _hear(self, message: Message, number: int | None) -> None:
        if isinstance(message, ServerHello):
            self._greet(message)
        elif isinstance(message, Refused) and message.code == "no-hello":
            raise _ConnectionEnded("lost", f"the server at {self._client.address} was started anew; trying again")
        elif isinstance(message, Refused) and message.code == "wrong-version":
            raise _ConnectionEnded("refused", message.sentence)
        elif isinstance(message, Refused) and not self._is_connected:  # only hello was said yet
            raise _ConnectionEnded("refused", f"the server at {self._client.address} refuses: {message.sentence}")
        elif number is not None:
            self._hear_answer(message, number)
        elif isinstance(message, MeshSnapshot):
            self._hear_snapshot(message)
        elif not isinstance(message, Heartbeat):
            self._hear_news(message)

    def _greet(self, server: ServerHello) -> None:
        client = self._client
        self._is_connected = True
        self._heartbeat = min(self._timing.heartbeat, server.heartbeat_seconds)
        with client._lock:  # before the state changes: while it is another, they are kept
            client._renew_orders()
        client._was_connected = True
        client._change(ConnectionChanged("connected", f"connected to {client.address}: {server.device}", server))
        with client._lock:
            asked = {each.message.job for each in client._unsent if isinstance(each.message, WatchJob)}
            for job, watch in client._watches.items():
                client._meshes.forget(job)
                if job not in asked and not client._is_closing:
                    client._ask(watch, 3600.0, watches=job)

    def _hear_answer(self, message: Message, number: int) -> None:
        request = self._forget(number)
        if request is None:
            return  # it was given up
        if isinstance(message, Refused):
            _give(request.answer, RequestRefused(message.code, message.sentence))
            if isinstance(request.message, WatchJob) and self._end_watch(request.message.job):
                self._client._inbox.put(WatchRefused(request.message.job, message.code, message.sentence))
        elif type(message).__name__ in request.message.answers:
            _give(request.answer, None, message)
            if isinstance(message, JobState):
                self._hear_news(message)
        else:
            name, asked = type(message).__name__, type(request.message).__name__
            right = f"{', '.join(request.message.answers)} or Refused"
            error = RemoteProtocolError(
                f"{asked} was answered with {name}; it must be {right}", value=name, right=right
            )
            _give(request.answer, error)

    def _hear_snapshot(self, snapshot: MeshSnapshot) -> None:
        """Whole ones go to the inbox. Credit goes back at once: the inbox replaces what is unread, nothing piles up."""
        if snapshot.job not in self._client._watches:
            return  # it was sent before the server heard that the watch is over
        whole = self._client._meshes.whole(snapshot)
        if whole is not None:
            self._client._inbox.put(whole)
        self._send(Credit(job=snapshot.job, more=1, wants_full=whole is None), None)

    def _hear_news(self, message: Message) -> None:
        if isinstance(message, Preview) and message.job in self._client._watches:
            self._send(Credit(job=message.job, more=1), None)
        if isinstance(message, JobState) and message.status in FINAL_STATUSES:
            self._end_watch(message.job)
        self._client._inbox.put(message)

    def _end_watch(self, job: str) -> bool:
        self._client._meshes.forget(job)
        with self._client._lock:
            return self._client._watches.pop(job, None) is not None

    def _forget(self, number: int | None) -> _Request | None:
        with self._client._lock:
            return None if number is None else self._client._unanswered.pop(number, None)

    def _hear_monitor(self) -> None:
        """What ZeroMQ says about the connection itself: sooner than any silence could."""
        event = recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"]
        address = self._client.address
        failures = (
            zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
            zmq.EVENT_HANDSHAKE_FAILED_AUTH,
            zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
        )
        if event == zmq.EVENT_DISCONNECTED and self._is_connected:
            raise _ConnectionEnded("lost", f"the connection to {address} was lost; trying again")
        if event == zmq.EVENT_DISCONNECTED or event in failures:  # which of them comes first is chance
            wants = "other keys" if self._client._keys else "keys"
            raise _ConnectionEnded("refused", f"the server at {address} ended the connection: it may want {wants}")


def _milliseconds(seconds: float) -> int:
    """Rounded up: a poll that ends just before its time would be one of very many."""
    return int(seconds * 1000) + 1


def _give(answer: Future[Any], error: Exception | None, message: Message | None = None) -> None:
    """Unless whoever asked has given up."""
    with contextlib.suppress(InvalidStateError):
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(message)
