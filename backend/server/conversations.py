"""What clients say and are answered: hello, requests, watches, refusals. One thread uses it; it opens no socket.

Requests about jobs are handed on; everything that is answered here is answered at once. Whatever a client sends, the
worst that happens is a refusal.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backend.server.clients import Client, Clients
from backend.server.front_door import Arrived
from protocol.errors import RemoteProtocolError, UnknownMessage, VersionMismatch
from protocol.frames import DEFAULT_LIMITS, Frame, Received, ReceiveLimits, decode, encode
from protocol.messages import (
    FINAL_STATUSES,
    PROTOCOL_VERSION,
    ClientHello,
    Credit,
    FetchResult,
    Finished,
    Heartbeat,
    JobState,
    Message,
    Refused,
    ServerHello,
    WatchJob,
)

BYTES_READ_AT_ONCE = 2**16
"""Larger headers, and all messages with arrays, are read and checked by another thread: this one has others to serve.
A compressed array may be a thousand times as large as its frame."""
MOST_PENDING_REQUESTS = 64
"""Of one client, read or handed on and not answered yet; a client is as `Allowance` has it."""
MOST_PENDING_RESULTS = 4
"""Of one client: results may be large."""

Answer = Message | Sequence[Frame]
_NO_HELLO = "the server does not know this connection: say ClientHello first"
_TOO_MANY_RESULTS = "the server has too many results to send; ask again later"
_TOO_MUCH = "too many large messages at a time; wait for the answers and send it again"


class Conversations:
    """With all clients."""

    def __init__(
        self,
        clients: Clients,
        hello: ServerHello,
        most_pending_bytes: int,
        log: Callable[..., None],
        *,
        hand_on: Callable[[str, Message, Callable[[Answer], None]], None],
        look_up: Callable[[str, str, Callable[[JobState | None], None]], None],
        read_elsewhere: Callable[[Callable[[], Callable[[], None]]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            hello: What every client is answered first.
            most_pending_bytes: As `pending_bytes` counts them.
            log: Writes a line: the event, then fields by name.
            hand_on: Has a request about jobs done: the owner, the message, and what is called once, in this thread,
                with the answer.
            look_up: Has a job looked up: the owner, its id, and what is called in this thread with its state.
            read_elsewhere: Runs a function in another thread, and what that returns in this one.
        """
        self._clients, self._hello, self._most_pending_bytes, self._log = clients, hello, most_pending_bytes, log
        self._hand_on, self._look_up, self._read_elsewhere = hand_on, look_up, read_elsewhere
        self._clock = clock
        self._receive_limits = ReceiveLimits(
            min(DEFAULT_LIMITS.array_bytes, hello.limits.message_bytes), hello.limits.message_bytes
        )
        self._held_bytes = 0
        self.is_shutting_down = False

    def hear(self, arrived: Arrived) -> None:
        """Takes a message that came."""
        now = self._clock()
        self._clients.counters.messages += 1
        self._clients.counters.bytes_received += arrived.size
        client = self._clients.client_of(arrived)
        if client is None:
            return
        client.heard_at = now
        if reason := client.allowance.limits.refuse_message(arrived.size, now):
            self._clients.refuse(client, _request_of(arrived), "too-many", f"this client sends {reason}")
        elif arrived.size > self._hello.limits.message_bytes:
            self._refuse_too_large(client, arrived)
        elif len(arrived.frames) == 1 and arrived.size <= BYTES_READ_AT_ONCE:
            self._take(client, *self._read(arrived))
        else:
            self._read_later(client, arrived)

    @property
    def pending_bytes(self) -> int:
        """Of messages with arrays that are not answered yet, and of answers that are not sent yet."""
        return self._held_bytes + self._clients.unsent_bytes

    # --- reading

    def _read(self, arrived: Arrived) -> tuple[Received | RemoteProtocolError, float]:
        """The message, or what is wrong with it; and the seconds of computing that this took."""
        began = time.thread_time()
        result: Received | RemoteProtocolError
        try:
            result = decode(arrived.frames, sent_by="client", limits=self._receive_limits)
        except RemoteProtocolError as error:
            result = error
        return result, time.thread_time() - began

    def _read_later(self, client: Client, arrived: Arrived) -> None:
        if client.hello is None:
            self._clients.refuse(client, _request_of(arrived), "no-hello", _NO_HELLO)
        elif self._is_too_much(client, arrived.size) or client.allowance.pending_requests >= MOST_PENDING_REQUESTS:
            self._clients.refuse(client, _request_of(arrived), "too-many", _TOO_MUCH)
        else:
            self._hold(client, arrived.size)
            client.allowance.pending_requests += 1

            def read() -> Callable[[], None]:
                result, seconds = self._read(arrived)
                size = bytes_of(result.message) if isinstance(result, Received) else 0
                return lambda: self._take_read(client, result, seconds, arrived.size, size)

            self._read_elsewhere(read)

    def _take_read(
        self, client: Client, result: Received | RemoteProtocolError, seconds: float, came: int, size: int
    ) -> None:
        """Takes a message that another thread has read. Its arrays are held until it is answered.

        Args:
            came: Bytes of its frames, held so far.
            size: Bytes of its arrays.
        """
        client.allowance.pending_requests -= 1
        self._hold(client, -came)
        if isinstance(result, Received) and self._is_too_much(client, size):
            self._clients.refuse(client, result.request, "too-many", _TOO_MUCH)
        else:
            self._take(client, result, seconds, size)

    def _is_too_much(self, client: Client, size: int) -> bool:
        """Whether so many bytes more are too many, of this client or of all. One message of a client is not."""
        pending = client.allowance.pending_bytes
        if pending and pending + size > 2 * self._hello.limits.message_bytes:
            return True
        return self.pending_bytes > 0 and self.pending_bytes + size > self._most_pending_bytes

    def _hold(self, client: Client, size: int) -> None:
        client.allowance.pending_bytes += size
        self._held_bytes += size

    def _take(self, client: Client, result: Received | RemoteProtocolError, seconds: float, size: int = 0) -> None:
        client.allowance.limits.charge_work(seconds, self._clock())
        if client.is_gone:
            return
        if isinstance(result, Received):
            self._answer(client, result.message, result.request, size)
        elif isinstance(result, VersionMismatch):
            self._clients.refuse(client, result.request, "wrong-version", _version_sentence(result.value), result.path)
        elif isinstance(result, UnknownMessage):
            self._clients.refuse(client, result.request, "unknown-message", str(result), result.path, result.right)
        else:
            self._clients.refuse(client, result.request, "bad-message", str(result), result.path, result.right)

    # --- answering

    def _answer(self, client: Client, message: Message, number: int | None, size: int) -> None:
        if isinstance(message, ClientHello):
            self._greet(client, message, number)
        elif client.hello is None:
            self._clients.refuse(client, number, "no-hello", _NO_HELLO)
        elif isinstance(message, Heartbeat):
            self._clients.say(client, message, number)
        elif isinstance(message, Credit):
            self._take_credit(client, message)
        elif self.is_shutting_down:
            sentence = "the server is shutting down; its jobs go on when it is started again"
            self._clients.refuse(client, number, "shutting-down", sentence)
        elif reason := client.allowance.limits.refuse_request(self._clock()):
            self._clients.refuse(client, number, "too-many", f"this client makes {reason}; wait a little")
        elif client.allowance.pending_requests >= MOST_PENDING_REQUESTS:
            count = client.allowance.pending_requests
            sentence = f"{count} requests of this client are not answered yet; wait for the answers"
            self._clients.refuse(client, number, "too-many", sentence)
        elif isinstance(message, WatchJob):
            self._answer_watch(client, message, number)
        else:
            self._answer_request(client, message, number, size)

    def _greet(self, client: Client, hello: ClientHello, number: int | None) -> None:
        if client.hello is None:
            self._log("client-came", client=client.name, owner=client.owner, program=hello.program)
        client.hello = hello
        answer = self._hello
        if "clients" in hello.capabilities:  # an older client would refuse the field
            answer = dataclasses.replace(answer, clients=self._clients.count)
        self._clients.say(client, answer, number)

    def _take_credit(self, client: Client, message: Credit) -> None:
        watch = client.outbox.watch_of(message.job)
        if watch is not None:
            now = self._clock()
            was_attentive = watch.is_attentive(now)
            watch.add_credit(message.more, message.wants_full, now)
            if not was_attentive:
                self._clients.jobs.update_demand(message.job, now)
            self._clients.send_news(client)

    def _answer_request(self, client: Client, message: Message, number: int | None, size: int) -> None:
        is_result, allowance = isinstance(message, FetchResult), client.allowance
        if is_result and allowance.results_on_their_way >= MOST_PENDING_RESULTS:
            self._clients.refuse(
                client, number, "too-many", f"{MOST_PENDING_RESULTS} results are on their way; take them first"
            )
            return
        if is_result and self.pending_bytes > self._most_pending_bytes:
            self._clients.refuse(client, number, "too-many", _TOO_MANY_RESULTS)
            return
        allowance.pending_requests += 1
        allowance.pending_results += is_result
        self._hold(client, size)

        def take(answer: Answer) -> None:
            self._hold(client, -size)
            allowance.pending_requests -= 1
            allowance.pending_results -= is_result
            if isinstance(answer, Refused):
                self._clients.refuse(client, number, answer.code, answer.sentence, answer.path, answer.right)
            elif is_result and self.pending_bytes > self._most_pending_bytes:  # others were asked for meanwhile
                self._clients.refuse(client, number, "too-many", _TOO_MANY_RESULTS)
            elif not client.is_gone:
                self._send_answer(client, answer, number)

        self._hand_on(client.owner, message, take)

    def _send_answer(self, client: Client, answer: Answer, number: int | None) -> None:
        if isinstance(answer, Message) and not isinstance(answer, Finished):
            self._clients.say(client, answer, number)
            return
        frames = encode(answer, number) if isinstance(answer, Message) else with_request(answer, number)
        self._clients.send_large(client, frames)

    def _answer_watch(self, client: Client, message: WatchJob, number: int | None) -> None:
        assert client.hello is not None
        for name, wanted in (("positions", message.positions), ("compression", message.compression)):
            if wanted in ("uint16", "zlib") and wanted not in client.hello.capabilities:
                sentence = f"{name} is {wanted}, which is not among the capabilities of this client's hello"
                self._clients.refuse(
                    client, number, "bad-message", sentence, path=name, right="one that the hello has named"
                )
                return
        client.allowance.pending_requests += 1

        def take(state: JobState | None) -> None:
            client.allowance.pending_requests -= 1
            if not client.is_gone:
                self._begin_watch(client, message, number, state)

        self._look_up(client.owner, message.job, take)

    def _begin_watch(self, client: Client, message: WatchJob, number: int | None, state: JobState | None) -> None:
        now = self._clock()
        most = self._hello.limits.watches
        if state is None:
            self._clients.refuse(client, number, "unknown-job", f"there is no job {message.job} of this client")
            return
        if not message.channels or state.status in FINAL_STATUSES:
            client.outbox.unwatch(message.job)
            self._clients.jobs.unwatch(client.identity, message.job, now)
        elif message.job not in client.outbox.watched_jobs and client.allowance.watches >= most:
            self._clients.refuse(
                client, number, "too-many", f"a client can watch {most} jobs at a time; end a watch first"
            )
            return
        else:
            client.outbox.watch(*self._clients.jobs.watch(client.identity, message, now))
        self._clients.say(client, state, number)

    # --- refusing

    def _refuse_too_large(self, client: Client, arrived: Arrived) -> None:
        most = self._hello.limits.message_bytes
        sentence = f"the message has {arrived.size} bytes; this server takes at most {most}"
        self._clients.refuse(client, _request_of(arrived), "too-large", sentence, right=f"at most {most} bytes")


def with_request(frames: Sequence[Frame], number: int | None) -> list[Frame]:
    """The frames of a message with this request number in their header. The arrays are left as they are."""
    header = json.loads(bytes(frames[0]))
    header.pop("request", None)
    if number is not None:
        header["request"] = number
    return [json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode(), *frames[1:]]


def bytes_of(value: Any) -> int:
    """Of all arrays and pictures in a message, or in a part of one."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, tuple):
        return sum(bytes_of(each) for each in value)
    if dataclasses.is_dataclass(value):
        return sum(bytes_of(getattr(value, each.name)) for each in dataclasses.fields(value))
    return 0


def _version_sentence(version: str) -> str:
    side = "the server" if version.isdigit() and int(version) > PROTOCOL_VERSION else "the client's side"
    versions = f"the client speaks protocol {version} and the server protocol {PROTOCOL_VERSION}"
    return f"{versions}: update Sketchbridge on {side}"


def _request_of(arrived: Arrived) -> int | None:
    """The number of a request that is not read as a whole."""
    if not arrived.frames or len(arrived.frames[0]) > BYTES_READ_AT_ONCE:
        return None
    try:
        return decode(arrived.frames[:1], sent_by="client").request
    except RemoteProtocolError as error:
        return error.request
