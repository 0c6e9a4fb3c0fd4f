"""Who is connected: lets clients in, sends what is due, refuses, forgets. One thread uses it; it opens no socket."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.server.auth import AllowList
from backend.server.configuration import Housekeeping
from backend.server.front_door import Arrived, FrontDoor
from backend.server.log import ServerLog
from backend.server.outbox import ClientGone, Delivery, Outbox
from backend.server.rate_limits import Bucket, ClientLimits, ClientRates
from backend.server.stream import Variant
from backend.server.watched_jobs import WatchedJobs
from protocol.frames import Frame, encode
from protocol.messages import ClientHello, Heartbeat, Message, RefusalCode, Refused

SILENT_HEARTBEATS, SILENT_HEARTBEATS_AFTER_HELLO = 10, 300
"""A client that says nothing for so long is forgotten. Who has said hello may be sending a large mesh over a slow line,
which can be heard only at its end; if its machine is gone, ZeroMQ notices that sooner."""


@dataclass
class Allowance:
    """What a client may still do: one of a key, for all its connections together. Without keys all are one owner, so
    that every connection has its own.
    """

    limits: ClientLimits
    pending_requests: int = 0
    """Read or handed on and not answered yet."""
    pending_results: int = 0
    pending_bytes: int = 0
    """Of messages that are being read."""
    clients: list[Client] = field(default_factory=list)
    """The connections that share it."""

    @property
    def results_on_their_way(self) -> int:
        """Asked for, or made and not sent yet."""
        return self.pending_results + sum(each.outbox.large_answers for each in self.clients)

    @property
    def watches(self) -> int:
        """Jobs that are watched, once for each connection that does."""
        return sum(len(each.outbox.watched_jobs) for each in self.clients)


@dataclass(eq=False)
class Client:
    """One connection."""

    identity: bytes
    owner: str
    name: str
    """For the log: how the list of allowed clients calls it, or its address."""
    allowance: Allowance
    heard_at: float
    hello: ClientHello | None = None
    said_at: float = 0.0
    outbox: Outbox = field(default_factory=Outbox)
    is_gone: bool = False


@dataclass
class Counters:
    """What has happened since the server was started."""

    messages: int = 0
    bytes_received: int = 0
    refusals: int = 0
    unanswered_refusals: int = 0
    snapshots_sent: int = 0
    previews_sent: int = 0


class Clients:
    """All connections, and what they watch."""

    def __init__(
        self,
        door: FrontDoor,
        settings: Housekeeping,
        requests_per_second: float,
        log: ServerLog,
        *,
        order: Callable[[str, dict[str, Any]], None],
        make_elsewhere: Callable[[Variant, Callable[[], None]], None],
        allow_list: AllowList | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            requests_per_second: That each client may make.
            order: Sends an order to a worker.
            make_elsewhere: Makes a snapshot in another thread and calls a function in this one then.
            allow_list: Of a server with keys.
        """
        self._door, self._settings, self._log = door, settings, log
        self._make_elsewhere = make_elsewhere
        self._allow_list, self._clock = allow_list, clock
        self._rates = ClientRates(requests_per_second, bytes_per_second=settings.bytes_per_second)
        self._clients: dict[bytes, Client] = {}
        self._allowances: dict[str, Allowance] = {}
        """By owner, of a server with keys. They outlive connections: a new one is no new start."""
        self._due: dict[bytes, float] = {}
        self._stranger_refusals = Bucket(20.0, 40.0, clock())
        self.counters = Counters()
        self.jobs = WatchedJobs(tell=self._tell, news=self._pump, unwatch=self._unwatch, order=order)

    @property
    def count(self) -> int:
        """How many have said hello."""
        return sum(each.hello is not None for each in self._clients.values())

    @property
    def unsent_bytes(self) -> int:
        """Of answers that are not sent yet."""
        return sum(each.outbox.unsent_bytes for each in self._clients.values())

    def client_of(self, arrived: Arrived) -> Client | None:
        """Who has sent this, known or new; None for who is not let in."""
        name = arrived.address
        if self._allow_list is not None:
            known_as = self._allow_list.name_of(arrived.owner)
            if known_as is None:
                self._refuse_stranger(arrived, "no-hello", "this key is not allowed any more")
                return None
            name = known_as
        client = self._clients.get(arrived.identity)
        if client is not None and client.owner == arrived.owner:
            return client
        if client is not None:
            self.forget(client, "its routing id is another's now")
        if not arrived.identity.startswith(b"\0"):
            # Those that ZeroMQ gives out begin so and are never given out twice. One that a client has chosen could be
            # another client's tomorrow, which would then get what was meant for the first.
            self._refuse_stranger(arrived, "bad-message", "a client must not set ZMQ_ROUTING_ID; leave it unset")
            return None
        if len(self._clients) >= self._settings.clients:
            sentence = f"the server has {len(self._clients)} clients already; try again later"
            self._refuse_stranger(arrived, "too-many", sentence)
            return None
        now = self._clock()
        allowance = self._allowance_of(arrived.owner, now)
        if len(allowance.clients) >= self._settings.connections_per_key:
            sentence = f"this key has {len(allowance.clients)} connections already; close one of them"
            self._refuse_stranger(arrived, "too-many", sentence)
            return None
        client = Client(arrived.identity, arrived.owner, name, allowance, now)
        allowance.clients.append(client)
        self._clients[arrived.identity] = client
        return client

    def _allowance_of(self, owner: str, now: float) -> Allowance:
        if self._allow_list is None:
            return Allowance(ClientLimits(self._rates, now))
        if owner not in self._allowances:
            self._allowances[owner] = Allowance(ClientLimits(self._rates, now))
        return self._allowances[owner]

    def forget(self, client: Client, why: str) -> None:
        """Ends its watches and drops what it was to be sent. If it says something again, it must say hello first."""
        if client.is_gone:
            return
        client.is_gone = True
        client.allowance.clients.remove(client)
        self._clients.pop(client.identity, None)
        self._due.pop(client.identity, None)
        for job in client.outbox.watched_jobs:
            self.jobs.unwatch(client.identity, job, self._clock())
        if client.hello is not None:
            self._log.write("client-gone", client=client.name, owner=client.owner, why=why)

    # --- time

    def send_due(self) -> float:
        """Sends what had to wait; returns the seconds until there is more of that, infinite for not by itself."""
        now = self._clock()
        for identity in [each for each, at in self._due.items() if at <= now]:
            self._pump(identity)
        return max(0.0, min(self._due.values(), default=float("inf")) - self._clock())

    def tick(self) -> None:
        """What is to be done some times a second: heartbeats, and farewells to those who are silent."""
        now = self._clock()
        if self._allow_list is not None and self._allow_list.refresh():
            self._log.write("allow-list-changed", clients=len(self._allow_list))
            for owner in [each for each in self._allowances if self._allow_list.name_of(each) is None]:
                del self._allowances[owner]
        for client in list(self._clients.values()):
            count = SILENT_HEARTBEATS if client.hello is None else SILENT_HEARTBEATS_AFTER_HELLO
            if now - client.heard_at > count * self._settings.heartbeat_seconds:
                self.forget(client, "silent")
            elif self._allow_list is not None and self._allow_list.name_of(client.owner) is None:
                self.refuse(client, None, "no-hello", "this key is not allowed any more")
                self.forget(client, "not allowed any more")
            elif client.hello is not None and now - client.said_at >= self._settings.heartbeat_seconds:
                self.say(client, Heartbeat())
        self.jobs.update_all_demands(now)

    # --- sending

    def say(self, client: Client, message: Message, number: int | None = None) -> None:
        """Sends a message, as the answer to a request if a number is given."""
        client.said_at = self._clock()
        if number is None:
            client.outbox.say(message)
        else:
            client.outbox.answer(encode(message, number))
        self._pump(client.identity)

    def send_large(self, client: Client, frames: list[Frame]) -> None:
        """Sends the frames of an answer that may be large, when it is its turn."""
        client.outbox.answer_large(frames)
        self._pump(client.identity)

    def send_news(self, client: Client) -> None:
        """It has credit, or watches more than before."""
        self._pump(client.identity)

    def refuse(
        self, client: Client, number: int | None, code: RefusalCode, sentence: str, path: str = "", right: str = ""
    ) -> None:
        """Refuses something, and tells the log; both at a bounded rate."""
        self.counters.refusals += 1
        # What is wrong may be a prompt, which has no place in a log.
        logged = f"it must be {right}" if code == "bad-message" and right else sentence
        self._log.refusal(client.name, f"{code} {path}".strip(), owner=client.owner, sentence=logged[:500])
        if client.is_gone:
            return
        if client.allowance.limits.may_be_refused(self._clock()):
            self.say(client, _refused(code, sentence, path, right), number)
        else:
            self.counters.unanswered_refusals += 1

    def _refuse_stranger(self, arrived: Arrived, code: RefusalCode, sentence: str) -> None:
        self.counters.refusals += 1
        self._log.refusal(arrived.address, code, sentence=sentence)
        if self._stranger_refusals.take(1, self._clock()):
            try:
                self._door.send(arrived.identity, encode(_refused(code, sentence)))
            except ClientGone:
                return
        else:
            self.counters.unanswered_refusals += 1

    def _tell(self, identity: bytes, message: Message) -> None:
        client = self._clients.get(identity)
        if client is not None:
            self.say(client, message)

    def _unwatch(self, identity: bytes, job: str) -> None:
        client = self._clients.get(identity)
        if client is not None:
            client.outbox.unwatch(job)

    def _pump_all(self) -> None:
        """A snapshot is made, for which some wait."""
        for identity in list(self._clients):
            self._pump(identity)

    def _pump(self, identity: bytes) -> None:
        client = self._clients.get(identity)
        if client is None:
            return
        before = client.outbox.snapshots_sent, client.outbox.previews_sent
        try:
            again_at = client.outbox.pump(_Route(self, identity), self._clock())
        except ClientGone:
            self.forget(client, "disconnected")
            return
        self.counters.snapshots_sent += client.outbox.snapshots_sent - before[0]
        self.counters.previews_sent += client.outbox.previews_sent - before[1]
        if client.outbox.is_overfull:
            self.forget(client, "does not read")
        elif again_at is None:
            self._due.pop(identity, None)
        else:
            self._due[identity] = again_at


class _Route:
    """The way to one client, for its outbox."""

    def __init__(self, clients: Clients, identity: bytes) -> None:
        self._clients, self._identity = clients, identity

    def send(self, frames: Sequence[Frame]) -> bool:
        return self._clients._door.send(self._identity, frames)

    def send_large(self, frames: Sequence[Frame]) -> Delivery | None:
        return self._clients._door.send_large(self._identity, frames)

    def make(self, variant: Variant) -> None:
        self._clients._make_elsewhere(variant, self._clients._pump_all)  # others may wait for the same one


def _refused(code: RefusalCode, sentence: str, path: str = "", right: str = "") -> Refused:
    return Refused(code=code, sentence=sentence[:2000], path=path[:200], right=right[:500])
