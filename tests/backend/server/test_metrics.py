import urllib.request

import pytest

from backend.errors import BadInput
from backend.server.clients import Counters
from backend.server.metrics import MetricsServer, Observation, parse_address

SEEN = Observation(
    jobs={"running": 2, "finished": 7},
    steps_per_second=4.5,
    clients=3,
    snapshots_received=100,
    snapshots_dropped=40,
    counters=Counters(snapshots_sent=60),
)


def lines_of(observe):
    server = MetricsServer("0", observe)
    try:
        with urllib.request.urlopen(f"http://{server.address}/metrics", timeout=10) as answer:
            return answer.read().decode().splitlines()
    finally:
        server.close()


def test_the_numbers_are_there_as_prometheus_reads_them():
    lines = lines_of(lambda: SEEN)

    for expected in (
        'sketchbridge_jobs{status="running"} 2.0',
        'sketchbridge_jobs{status="queued"} 0.0',
        "sketchbridge_steps_per_second 4.5",
        "sketchbridge_clients 3.0",
        "sketchbridge_snapshots_received_total 100.0",
        "sketchbridge_snapshots_dropped_total 40.0",
        "sketchbridge_snapshots_sent_total 60.0",
    ):
        assert expected in lines
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)


def test_a_busy_server_leaves_its_numbers_out():
    def busy():
        raise TimeoutError

    assert not any(line.startswith("sketchbridge_") for line in lines_of(busy))


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("9110", ("127.0.0.1", 9110)),
        (":9110", ("127.0.0.1", 9110)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("[::1]:9110", ("::1", 9110)),
    ],
)
def test_without_a_host_it_is_the_loopback(given, meant):
    assert parse_address(given) == meant


@pytest.mark.parametrize("given", ["", "x", "1.2.3.4:", "http://127.0.0.1:9110", "127.0.0.1:99999", ":-1"])
def test_what_is_no_address_is_refused(given):
    with pytest.raises(BadInput, match=r"like 127\.0\.0\.1:9110"):
        parse_address(given)


def test_an_address_in_use_is_told():
    first = MetricsServer("0", lambda: SEEN)
    try:
        with pytest.raises(BadInput, match="choose another"):
            MetricsServer(first.address, lambda: SEEN)
    finally:
        first.close()
