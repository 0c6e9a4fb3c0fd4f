"""Numbers about a running server for Prometheus, as text over HTTP. Counts only: no prompt, no name, no job id.

Whoever reaches the address can read them, so that it is on the loopback unless it is said otherwise.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from backend.errors import BadInput
from backend.server.clients import Counters
from protocol.messages import Status

_ADDRESS = re.compile(r"(?:(?P<host>[^\s:\[\]]+|\[[0-9a-fA-F:.%]+\])?:)?(?P<port>\d{1,5})")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Observation:
    """What is to be said of a server at one moment."""

    jobs: Mapping[str, int] = field(default_factory=dict)
    """How many, by status."""
    steps_per_second: float = 0.0
    """Of all running jobs together."""
    device_memory_bytes: int = 0
    """That running jobs use."""
    clients: int = 0
    connections: int = 0
    watches: int = 0
    pending_bytes: int = 0
    """Of messages that are being read, and of answers that are not sent yet."""
    snapshots_received: int = 0
    snapshots_dropped: int = 0
    """That no watcher of their job got, since a newer one took their place."""
    counters: Counters = field(default_factory=Counters)


class ServerCollector(Collector):
    """Asks a server whenever Prometheus asks."""

    def __init__(self, observe: Callable[[], Observation]) -> None:
        self._observe = observe

    def describe(self) -> list[Metric]:
        return []  # otherwise the server would be asked when this is registered

    def collect(self) -> Iterator[Metric]:
        try:
            seen = self._observe()
        except TimeoutError:
            _log.warning("the server was too busy to be observed")
            return
        jobs = GaugeMetricFamily("sketchbridge_jobs", "Jobs by status.", labels=["status"])
        for status in get_args(Status):
            if status != "deleted":
                jobs.add_metric([status], seen.jobs.get(status, 0))
        yield jobs
        for name, text, value in (
            ("steps_per_second", "Steps that all running jobs make in a second.", seen.steps_per_second),
            ("device_memory_bytes", "Memory of the devices that running jobs use.", seen.device_memory_bytes),
            ("clients", "Clients that have said hello.", seen.clients),
            ("connections", "TCP connections.", seen.connections),
            ("watches", "Jobs that are watched, once for each watcher.", seen.watches),
            ("pending_bytes", "Messages that are being read, and answers that are not sent yet.", seen.pending_bytes),
        ):
            yield GaugeMetricFamily(f"sketchbridge_{name}", text, value)
        counters = seen.counters
        for name, text, value in (
            ("messages_received", "Messages from clients.", counters.messages),
            ("bytes_received", "Bytes of messages from clients.", counters.bytes_received),
            ("refusals", "Messages and requests that were refused.", counters.refusals),
            ("unanswered_refusals", "Refusals that were not sent: there were too many.", counters.unanswered_refusals),
            ("snapshots_received", "Mesh snapshots from workers.", seen.snapshots_received),
            ("snapshots_dropped", "Of those, the ones that no watcher got.", seen.snapshots_dropped),
            ("snapshots_sent", "Mesh snapshots sent to watchers.", counters.snapshots_sent),
            ("previews_sent", "Preview pictures sent to watchers.", counters.previews_sent),
        ):
            yield CounterMetricFamily(f"sketchbridge_{name}", text, value)


def parse_address(given: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, `:PORT` or `PORT`; without a host, the loopback.

    Raises:
        BadInput: It is none.
    """
    found = _ADDRESS.fullmatch(given)
    if found is None or not 0 <= int(found["port"]) <= 65535:
        raise BadInput(f"--metrics is {given[:100]!r}; it must be like 127.0.0.1:9110, or a port alone")
    return (found["host"] or "127.0.0.1").strip("[]"), int(found["port"])


class MetricsServer:
    """Answers HTTP with the numbers, until it is closed."""

    def __init__(self, address: str, observe: Callable[[], Observation]) -> None:
        """
        Args:
            address: As `parse_address` takes it; port 0 is a free one.
            observe: May be called from any thread.

        Raises:
            BadInput: The address is none, or is in use.
        """
        host, port = parse_address(address)
        registry = CollectorRegistry()
        registry.register(ServerCollector(observe))
        ProcessCollector(registry=registry)  # memory, processor time and open files of this process
        PlatformCollector(registry=registry)
        try:
            self._http, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise BadInput(f"--metrics {address} cannot be used ({error.strerror or error}); choose another") from error
        bound: Any = self._http.server_address
        self.address = f"{host}:{bound[1]}"

    def close(self) -> None:
        """Stops answering."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
