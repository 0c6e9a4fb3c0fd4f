"""How much one client may ask of the server: messages, requests, bytes, computing. Buckets that fill with time.

The clock is passed in with every call and must not jump (`time.monotonic`).
"""

from __future__ import annotations

from dataclasses import dataclass

BURST_SECONDS = 2.0
"""A client that was quiet may say at once what it could have said in this time."""


class Bucket:
    """A bucket that fills at a steady rate. What is taken may leave it in debt, which must be filled up first."""

    def __init__(self, per_second: float, most: float, now: float) -> None:
        """A full one.

        Args:
            per_second: How fast it fills.
            most: How much it holds.
        """
        self._per_second, self._most = per_second, most
        self._left, self._at = most, now

    def take(self, amount: int | float, now: float) -> bool:
        """Takes this much and says yes, or takes nothing if the bucket is empty or in debt, and says no.

        What is there may be less than the amount: a large message is allowed after a pause, and paid off afterwards.
        """
        self._fill(now)
        if self._left <= 0.0 or (amount > self._left and self._left < self._most):
            return False
        self._left -= amount
        return True

    def charge(self, amount: int | float, now: float) -> None:
        """Takes this much, whatever is there."""
        self._fill(now)
        self._left -= amount

    def is_empty(self, now: float) -> bool:
        """Whether nothing is left."""
        self._fill(now)
        return self._left <= 0.0

    def _fill(self, now: float) -> None:
        self._left = min(self._most, self._left + self._per_second * max(0.0, now - self._at))
        self._at = now


@dataclass(frozen=True)
class ClientRates:
    """What one client may do on average; for `BURST_SECONDS` it may do it all at once."""

    requests_per_second: float = 100.0
    """Of those that are answered, without hello and heartbeats."""
    messages_per_second: float = 5000.0
    """Of all kinds: credit comes with every snapshot."""
    bytes_per_second: float = 128.0 * 2**20
    """Of messages, as they come."""
    work_share: float = 0.25
    """Of one core's time, for reading and checking what it sends: compressed arrays cost more than their bytes."""
    refusals_per_second: float = 20.0
    """Refusals that are sent; what is refused beyond gets no answer."""


class ClientLimits:
    """The buckets of one client."""

    def __init__(self, rates: ClientRates, now: float) -> None:
        def bucket(per_second: float) -> Bucket:
            return Bucket(per_second, max(1.0, per_second * BURST_SECONDS), now)

        self._requests, self._messages = bucket(rates.requests_per_second), bucket(rates.messages_per_second)
        self._bytes, self._refusals = bucket(rates.bytes_per_second), bucket(rates.refusals_per_second)
        self._work = Bucket(rates.work_share, rates.work_share * BURST_SECONDS, now)
        self._rates = rates

    def refuse_message(self, size: int, now: float) -> str:
        """Counts a message that came. Returns why it is not to be looked at, or an empty text."""
        if not self._messages.take(1, now):
            return f"more than {self._rates.messages_per_second:g} messages a second"
        if not self._bytes.take(size, now):
            return f"more than {self._rates.bytes_per_second / 2**20:g} MiB a second"
        if self._work.is_empty(now):
            return "messages that take too long to read"
        return ""

    def refuse_request(self, now: float) -> str:
        """Counts a request that is to be answered. Returns why it is not, or an empty text."""
        if self._requests.take(1, now):
            return ""
        return f"more than {self._rates.requests_per_second:g} requests a second"

    def charge_work(self, seconds: float, now: float) -> None:
        """Counts the time that reading a message took."""
        self._work.charge(seconds, now)

    def may_be_refused(self, now: float) -> bool:
        """Whether one more refusal is to be sent."""
        return self._refusals.take(1, now)
