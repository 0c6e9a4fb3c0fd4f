"""A real server in this process, on the loopback, with workers that are threads; and the real client."""

import contextlib
import gc
import itertools
import json
import random
import socket as sockets
import time
import tracemalloc

import numpy as np
import pytest
import zmq
from fake_workers import ThreadExecutor
from test_fuzz import MUTATIONS, many_frames, oversize

from backend.errors import BadInput, UnusableState
from backend.server.auth import ALLOW_FILE, SERVER_KEY_FILE, allow_client, make_key_pair, write_key_file
from backend.server.clients import SILENT_HEARTBEATS, Clients
from backend.server.configuration import Housekeeping, ServerConfig
from backend.server.server import Server, ServerOptions
from backend.server.state_folder import SERVER_ID
from examples import EXAMPLES, input_mesh, sender_of
from protocol.client import Client, CurveKeys, Timing
from protocol.errors import RequestRefused, ServerUnreachable
from protocol.frames import decode, encode
from protocol.messages import (
    CancelJob,
    ClientHello,
    Credit,
    DeleteJob,
    FetchResult,
    Finished,
    Heartbeat,
    JobList,
    JobState,
    ListJobs,
    MeshSnapshot,
    PauseJob,
    Preview,
    Progress,
    Refused,
    ServerHello,
    SubmitAccepted,
    SubmitJob,
    WatchJob,
)
from protocol.settings import Limits, Settings

SECONDS = 30.0
"""A test that waits so long has failed: these machines are busy."""
HELLO = ClientHello(program="a test", software_version="0", capabilities=("zlib", "uint16"))


class Running:
    """A server that runs, and what is connected to it."""

    def __init__(self, folder, listen="tcp://127.0.0.1:*", keys=None, config=None, **workers):
        def make_executor(devices, address, send):
            self.executor = ThreadExecutor(address, send, **workers)
            return self.executor

        self.folder = folder
        options = ServerOptions(folder, listen, keys, config or ServerConfig())
        self.server = Server(options, make_executor=make_executor)
        self.server.start()
        self.address = self.server.address
        self._clients, self._sockets, self._context = [], [], zmq.Context()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for each in self._clients:
            each.close()
        for each in self._sockets:
            each.close(linger=0)
        self.server.stop(5.0)
        self._context.term()

    def client(self, **fields):
        self._clients.append(Client(self.address, "a test", "0", timing=Timing(first_retry=0.05), **fields))
        return self._clients[-1]

    def socket(self, says_hello=True, routing_id=None, keys=None):
        """A bare socket, for what no client of ours does."""
        socket = self._context.socket(zmq.DEALER)
        self._sockets.append(socket)
        socket.linger = 0
        if keys is not None:
            socket.curve_serverkey, socket.curve_publickey = keys.server_public.encode(), keys.public.encode()
            socket.curve_secretkey = keys.secret.encode()
        if routing_id is not None:
            socket.identity = routing_id
        socket.connect(self.address)
        if says_hello:
            socket.send_multipart(encode(HELLO, 1))
            assert isinstance(hear(socket).message, ServerHello)
        return socket

    def log(self, event):
        lines = (self.folder / "log.jsonl").read_text().splitlines()
        return [each for each in map(json.loads, lines) if each["event"] == event]

    @property
    def worker(self):
        (worker,) = self.executor.workers.values()
        return worker


@pytest.fixture
def running(tmp_path):
    with Running(tmp_path / "state") as found:
        yield found


def hear(socket, kind=None, seconds=SECONDS):
    """The next message, or the next of a kind."""
    until = time.monotonic() + seconds
    while socket.poll(int(max(0.0, until - time.monotonic()) * 1000)):
        received = decode(socket.recv_multipart(), "server")
        if kind is None or isinstance(received.message, kind):
            return received
    raise AssertionError(f"no {kind} came")


def wait_until(condition, seconds=SECONDS):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    assert condition()


def wait_for(client, kind, condition=lambda event: True, seconds=SECONDS):
    """The first event of a kind for which something holds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        client.wait(0.1)
        for event in client.events():
            if isinstance(event, kind) and condition(event):
                return event
    raise AssertionError(f"no such {kind} came")


def submit(client, key="key-00000001", **fields):
    return client.request(SubmitJob(key=key, task="text", prompt="a red cube", **fields), SECONDS).job


def refusal(client, message):
    with pytest.raises(RequestRefused) as caught:
        client.request(message, SECONDS)
    return caught.value.code


# --- jobs


def test_a_job_is_submitted_watched_and_fetched(tmp_path):
    with Running(tmp_path / "state", steps=40) as running:
        client = running.client()
        job = submit(client)
        client.watch(job, snapshots_per_second=100.0).result()

        snapshot = wait_for(client, MeshSnapshot)
        wait_for(client, JobState, lambda state: state.status == "finished")
        finished = client.request(FetchResult(job=job), SECONDS)

    assert snapshot.is_full
    assert isinstance(finished, Finished)
    assert finished.step == 40
    assert finished.mesh.positions[0, 2] == 40  # the fake worker's mesh rises by a metre with each step


def test_a_result_is_refused_where_too_many_were_made_since_it_was_asked_for(tmp_path, monkeypatch):
    with Running(tmp_path / "state", steps=2) as running:
        client = running.client()
        job = submit(client)
        wait_until(lambda: running.log("job-finished"))
        sizes = itertools.chain([0], itertools.repeat(2**40))  # when it is asked for, and when it is there
        monkeypatch.setattr(Clients, "unsent_bytes", property(lambda self: next(sizes)))

        with pytest.raises(RequestRefused, match="too many results"):
            client.request(FetchResult(job=job), SECONDS)


def test_the_hello_says_what_the_server_has(running):
    client = running.client()
    submit(client)
    hello = client.connection.server

    assert [each.name for each in hello.priors] == ["embedded"]
    assert hello.server_id == (running.folder / "server_id").read_text()
    assert set(hello.capabilities) == {"zlib", "uint16"}
    assert hello.device


def test_the_hello_counts_the_clients_for_those_who_know_the_field(running):
    new, old = running.client(), running.socket(says_hello=False)
    wait_until(lambda: new.connection.server)
    old.send_multipart(encode(HELLO, 1))
    header = json.loads(old.recv_multipart()[0])
    newer = running.client()
    wait_until(lambda: newer.connection.server)

    assert "clients" not in header["fields"]  # whose strict reader would refuse it
    assert (new.connection.server.clients, newer.connection.server.clients) == (1, 3)


def test_the_same_key_gives_the_same_job(running):
    client = running.client()
    first = submit(client, "key-00000001")

    again = client.request(SubmitJob(key="key-00000001", task="text", prompt="a red cube"), SECONDS)

    assert again == SubmitAccepted(job=first, key="key-00000001", was_known=True, queue_position=again.queue_position)


def test_an_unfinished_mesh_is_fetched_from_the_worker(running):
    client = running.client()
    job = submit(client)
    client.watch(job).result()
    wait_for(client, MeshSnapshot)

    partial = client.request(FetchResult(job=job, partial=True), SECONDS)

    assert partial.is_partial
    assert partial.mesh.positions[0, 2] == partial.step
    assert refusal(client, FetchResult(job=job)) == "not-finished"


def test_a_paused_job_stops_and_a_deleted_one_is_gone(running):
    client = running.client()
    job = submit(client)
    client.watch(job).result()
    wait_for(client, JobState, lambda state: state.status == "running")

    client.request(PauseJob(job=job), SECONDS)
    wait_for(client, JobState, lambda state: state.status == "paused")
    client.request(DeleteJob(job=job), SECONDS)

    assert client.request(ListJobs(), SECONDS).total == 0
    assert refusal(client, CancelJob(job=job)) == "unknown-job"


def test_what_the_server_does_not_have_is_refused_by_name(running):
    client = running.client()
    given = SubmitJob(key="key-00000001", task="text", prompt="x", settings=Settings(prior="sd15"))

    assert refusal(client, given) == "unknown-name"


def test_a_large_mesh_is_taken(running):
    client = running.client()
    grid = np.random.default_rng(0).random((300_000, 3), dtype=np.float32)  # 3.6 MB: read by the other thread
    faces = np.arange(300_000, dtype=np.int32).reshape(-1, 3)
    mesh = input_mesh(positions=grid, faces=faces, colours=None, locked=None, uv=None)

    accepted = client.request(SubmitJob(key="key-00000001", task="texture", prompt="x", mesh=mesh), SECONDS)

    assert (running.folder / "jobs" / accepted.job / "submit.message").stat().st_size > grid.nbytes


# --- streaming


def test_every_watcher_gets_the_newest_mesh_and_none_costs_nothing(running):
    clients = [running.client() for _ in range(3)]
    job = submit(clients[0])
    for each in clients:
        each.watch(job, snapshots_per_second=50.0).result()

    for each in clients:
        step = wait_for(each, MeshSnapshot).step
        assert wait_for(each, MeshSnapshot, lambda snapshot, step=step: snapshot.step > step).is_full
    for each in clients:
        each.unwatch(job).result()

    wait_until(lambda: running.worker.demand["mesh"] is False)
    assert running.worker.demand["per_second"] == 0.0


def test_the_worker_is_told_what_all_watchers_want_together(running):
    one, other = running.client(), running.client()
    job = submit(one)
    one.watch(job, ("mesh",), snapshots_per_second=5.0).result()
    other.watch(job, ("mesh", "colours", "preview"), snapshots_per_second=2.0).result()

    wanted = {"mesh": True, "colours": True, "preview": True, "per_second": 5.0}
    wait_until(lambda: running.executor.workers and wanted.items() <= running.worker.demand.items())
    assert wait_for(other, MeshSnapshot, lambda snapshot: snapshot.colours is not None)
    assert wait_for(other, Preview)


def test_a_slow_reader_gets_no_more_than_its_credit_and_then_the_newest(running):
    client = running.client()
    job = submit(client)
    slow = running.socket()
    slow.send_multipart(encode(WatchJob(job=job, channels=("mesh",), credit=2, snapshots_per_second=100.0), 2))
    client.watch(job, snapshots_per_second=100.0).result()
    got = [hear(slow, MeshSnapshot).message for _ in range(2)]
    wait_for(client, MeshSnapshot, lambda snapshot: snapshot.step > got[1].step + 20)
    while slow.poll(50):
        assert not isinstance(decode(slow.recv_multipart(), "server").message, MeshSnapshot)

    newest = wait_for(client, MeshSnapshot).step
    slow.send_multipart(encode(Credit(job=job, more=1)))

    assert hear(slow, MeshSnapshot).message.step >= newest


def test_a_client_without_credit_is_not_worked_for(running):
    client = running.client()
    job = submit(client)
    mute = running.socket()
    mute.send_multipart(encode(WatchJob(job=job, credit=1), 2))
    hear(mute, MeshSnapshot)

    wait_until(lambda: running.worker.demand["mesh"] is False)  # after SECONDS_WITHOUT_CREDIT

    mute.send_multipart(encode(Credit(job=job, more=1)))
    assert hear(mute, MeshSnapshot)


def test_a_slow_link_gets_small_snapshots(tmp_path):
    positions = np.random.default_rng(0).random((20_000, 3), dtype=np.float32)
    faces = np.arange(19_998, dtype=np.int32).reshape(-1, 3)
    with Running(tmp_path / "state", positions=positions, faces=faces, steps_per_second=20.0) as running:
        client = running.client()
        job = submit(client)
        slow = running.socket()
        wish = WatchJob(job=job, channels=("mesh",), credit=1, positions="uint16", compression="zlib")
        slow.send_multipart(encode(wish, 2))
        while True:
            parts = slow.recv_multipart()
            snapshot = decode(parts, "server").message
            if isinstance(snapshot, MeshSnapshot):
                break

    assert snapshot.positions.dtype == np.uint16
    assert sum(len(part) for part in parts) < 0.6 * (positions.nbytes + faces.nbytes)
    # Half a step of 1 / 65535 of the unit box, and float32's rounding at the height of the mesh.
    np.testing.assert_allclose(snapshot.metres()[:, :2], positions[:, :2], atol=1e-5)


def test_capabilities_that_were_not_named_are_refused(running):
    job = submit(running.client())
    socket = running.socket(says_hello=False)
    socket.send_multipart(encode(ClientHello(program="old", software_version="0"), 1))
    hear(socket, ServerHello)

    socket.send_multipart(encode(WatchJob(job=job, compression="zlib"), 2))
    refused = hear(socket, Refused).message

    assert (refused.code, refused.path) == ("bad-message", "compression")


def test_a_client_that_returns_under_another_socket_gets_a_full_mesh(running):
    first = running.socket()
    first.send_multipart(encode(SubmitJob(key="key-00000001", task="text", prompt="x"), 2))
    job = hear(first, SubmitAccepted).message.job
    first.send_multipart(encode(WatchJob(job=job), 3))
    hear(first, MeshSnapshot)
    first.close(linger=0)

    second = running.socket()
    second.send_multipart(encode(WatchJob(job=job), 2))

    assert hear(second, MeshSnapshot).message.is_full
    wait_until(lambda: running.server.observe().clients == 1)


def test_snapshots_are_young(running):
    client = running.client()
    job = submit(client)
    client.watch(job, snapshots_per_second=50.0).result()
    ages = []
    until = time.monotonic() + 2.0
    while time.monotonic() < until:
        client.wait(0.1)
        ages += [time.time() - event.taken_at for event in client.events() if isinstance(event, MeshSnapshot)]

    # The benchmark measures how young (the bar is 50 ms); here a busy machine must not fail the test.
    assert np.median(ages) < 0.5


# --- what is no message, and who is no client


def test_whoever_does_not_say_hello_is_told_to(running):
    socket = running.socket(says_hello=False)

    socket.send_multipart(encode(ListJobs(), 7))
    received = hear(socket)

    assert (received.message.code, received.request) == ("no-hello", 7)


def test_another_version_is_told_both_and_which_side_to_update(running):
    socket = running.socket(says_hello=False)

    socket.send_multipart([b'{"protocol": 2, "type": "ClientHello", "request": 1}'])
    received = hear(socket)

    assert received.message.code == "wrong-version"
    assert received.message.sentence == (
        "the client speaks protocol 2 and the server protocol 1: update Sketchbridge on the server"
    )
    assert received.request == 1


def test_a_bad_field_is_told_with_its_path_and_the_connection_stays(running):
    socket = running.socket()

    socket.send_multipart([b'{"protocol": 1, "type": "ListJobs", "request": 2, "fields": {"most": 1000}}'])
    received = hear(socket, Refused)
    socket.send_multipart(encode(ListJobs(), 3))

    assert (received.message.code, received.message.path, received.request) == ("bad-message", "most", 2)
    assert received.message.right == "a whole number from 1 to 100"
    assert hear(socket).request == 3


def test_heartbeats_come_back_and_come_by_themselves(running):
    socket = running.socket()

    socket.send_multipart(encode(Heartbeat(), 9))
    answered = hear(socket, Heartbeat)
    unasked = hear(socket, Heartbeat)  # after a second in which the server had nothing to say

    assert (answered.request, unasked.request) == (9, None)


def test_a_message_that_is_too_large_is_refused_and_its_request_named(tmp_path):
    config = ServerConfig(limits=Limits(message_bytes=2**16))
    with Running(tmp_path / "state", config=config) as running:
        socket = running.socket()
        parts = encode(SubmitJob(key="key-00000001", task="text", prompt="x"), 2)
        socket.send_multipart([*parts, bytes(2**15), bytes(2**15)])
        received = hear(socket, Refused)

    assert (received.message.code, received.request) == ("too-large", 2)
    assert "65536" in received.message.right


def test_one_message_that_we_handle_wrongly_stops_nothing(running, monkeypatch):
    client = running.client()
    client.request(ListJobs(), SECONDS)

    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(running.server.conversations, "_take_credit", fail)
    socket = running.socket()
    socket.send_multipart(encode(Credit(job="a", more=1)))

    wait_until(lambda: running.log("refused"))
    assert "ZeroDivisionError" in running.log("refused")[0]["traceback"]
    assert client.request(ListJobs(), SECONDS).total == 0


def test_compressed_zeros_are_charged_for_what_they_become(tmp_path):
    """A message of some kB that becomes 24 MB: read in another thread, and held against its sender until answered."""
    limits = Limits(message_bytes=2**25, vertices=4_000_000)
    with Running(tmp_path / "state", config=ServerConfig(limits=limits)) as running:
        socket, calm = running.socket(), running.client()
        zeros = np.zeros((2_000_000, 3), np.float32)
        mesh = input_mesh(positions=zeros, colours=None, locked=None, uv=None)
        for number in range(2, 12):
            message = SubmitJob(key=f"key-{number:08d}", task="texture", prompt="x", mesh=mesh)
            parts = encode(message, number, "zlib")
            assert sum(len(part) for part in parts) < 2**17
            socket.send_multipart(parts)
        for _ in range(5):
            assert calm.request(ListJobs(), SECONDS).total <= 10
        answers = [hear(socket, (SubmitAccepted, Refused)).message for _ in range(10)]
        wait_until(lambda: running.server.observe().pending_bytes == 0)

    codes = {getattr(each, "code", "accepted") for each in answers}
    assert codes <= {"accepted", "too-many"}
    assert "accepted" in codes


def test_a_routing_id_that_a_client_has_chosen_is_refused(running):
    """It could be another's tomorrow, who would then get what was meant for the first."""
    socket = running.socket(says_hello=False, routing_id=b"ann")

    socket.send_multipart(encode(HELLO, 1))

    assert "ROUTING_ID" in hear(socket, Refused).message.sentence


def test_requests_above_the_rate_are_refused_and_others_are_served(tmp_path):
    config = ServerConfig(limits=Limits(requests_per_second=5.0))
    with Running(tmp_path / "state", config=config) as running:
        flood, calm = running.socket(), running.client()
        for number in range(2, 42):
            flood.send_multipart(encode(ListJobs(), number))
        answers = [hear(flood) for _ in range(40)]
        total = calm.request(ListJobs(), SECONDS).total

    refused = [each for each in answers if isinstance(each.message, Refused)]
    assert total == 0
    assert 10 <= len(refused) <= 30  # a burst of two seconds, 10, is allowed; and a few more while they come in
    assert {each.message.code for each in refused} == {"too-many"}
    assert {each.request for each in answers} == set(range(2, 42))


def test_no_more_clients_than_allowed(tmp_path):
    config = ServerConfig(server=Housekeeping(clients=2))
    with Running(tmp_path / "state", config=config) as running:
        first, _ = running.socket(), running.socket()
        third = running.socket(says_hello=False)
        third.send_multipart(encode(HELLO, 1))
        refused = hear(third, Refused).message
        first.close(linger=0)
        wait_until(lambda: running.server.observe().clients == 1)
        third.send_multipart(encode(HELLO, 2))

        assert refused.code == "too-many"
        assert hear(third, ServerHello)


def test_who_never_says_hello_is_forgotten(tmp_path):
    config = ServerConfig(server=Housekeeping(heartbeat_seconds=0.1, clients=1))
    with Running(tmp_path / "state", config=config) as running:
        silent = running.socket(says_hello=False)
        silent.send_multipart(encode(Heartbeat()))
        hear(silent, Refused)
        time.sleep(0.1 * SILENT_HEARTBEATS + 1.0)

        assert running.socket()  # the only place is free again


def test_no_more_watches_than_allowed(tmp_path):
    with Running(tmp_path / "state", config=ServerConfig(limits=Limits(watches=1))) as running:
        client = running.client()
        jobs = [submit(client, f"key-0000000{number}") for number in range(2)]
        client.watch(jobs[0]).result()

        assert refusal(client, WatchJob(job=jobs[1])) == "too-many"
        client.unwatch(jobs[0]).result()
        assert client.request(WatchJob(job=jobs[1]), SECONDS).job == jobs[1]


def test_garbage_of_all_kinds_is_survived_and_logged_briefly(running):
    good, hostile = running.client(), running.socket()
    job = submit(good)
    good.watch(job).result()
    said = [[bytes(part) for part in encode(each, 1)] for each in EXAMPLES.values() if sender_of(each) == "client"]
    dice = random.Random(5)
    mutations = [each for each in MUTATIONS if each not in (oversize, many_frames)]
    for _ in range(1500):
        parts = dice.choice(mutations)(dice, list(dice.choice(said)))
        with contextlib.suppress(zmq.Again):
            hostile.send_multipart(parts, zmq.NOBLOCK)
        while hostile.poll(0):
            hostile.recv_multipart()

    step = wait_for(good, MeshSnapshot).step
    assert wait_for(good, MeshSnapshot, lambda snapshot: snapshot.step > step)
    assert running.server.is_alive
    wait_until(lambda: running.server.observe(SECONDS).counters.refusals > 300)
    assert 1 <= len(running.log("refused")) <= 25


def test_a_message_of_200000_frames_is_one_refusal(running):
    socket = running.socket()
    gc.collect()
    tracemalloc.start()

    socket.send_multipart([b"{}"] + [b""] * 200_000)
    refused = hear(socket, Refused).message
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert refused.path == "the number of frames"
    assert peak < 60 * 2**20  # this side's list of frames is most of it


def test_bytes_that_are_not_even_zeromq_are_survived(running):
    host, port = running.address.removeprefix("tcp://").split(":")
    strangers = [sockets.create_connection((host, int(port))) for _ in range(20)]
    for index, each in enumerate(strangers):
        each.sendall(random.Random(index).randbytes(200) if index % 2 else b"")

    assert running.client().request(ListJobs(), SECONDS).total == 0
    for each in strangers:
        each.close()


def test_bad_data_of_a_worker_is_dropped_and_told(running):
    client = running.client()
    job = submit(client)
    client.watch(job).result()
    wait_for(client, MeshSnapshot)

    running.worker.says_more += [
        [b"data", b"{}"],
        [b"data"],
        [b"nonsense"],
        [b"event", b"[]"],
        [b"partial", b"{}", b""],
    ]

    assert wait_for(client, Progress)
    wait_until(lambda: len(running.log("refused")) >= 1)
    assert running.server.is_alive


# --- keys


class Keyed:
    """A folder with a server's keys, and clients by name."""

    def __init__(self, folder):
        self.folder, self.server_keys, self._pairs = folder, make_key_pair(), {}
        write_key_file(folder / SERVER_KEY_FILE, self.server_keys)

    def keys(self, name, is_allowed=True):
        pair = self._pairs.setdefault(name, make_key_pair())
        if is_allowed:
            allow_client(self.folder, name, pair.public)
        return CurveKeys(self.server_keys.public, pair.public, pair.secret)


def test_clients_see_and_touch_only_their_own_jobs(tmp_path):
    keyed = Keyed(tmp_path / "keys")
    with Running(tmp_path / "state", keys=keyed.folder) as running:
        ann, bob = running.client(keys=keyed.keys("ann")), running.client(keys=keyed.keys("bob"))
        job = submit(ann)

        assert bob.request(ListJobs(), SECONDS).total == 0
        for message in (
            WatchJob(job=job), PauseJob(job=job), CancelJob(job=job), DeleteJob(job=job), FetchResult(job=job),
        ):  # fmt: skip
            assert refusal(bob, message) == "unknown-job"
        assert submit(bob) != job  # the same key of another client is another job
        assert ann.request(ListJobs(), SECONDS).total == 1


def answer_to(socket, message):
    """What a server answers first that is not said by itself."""
    socket.send_multipart(encode(message, 99))
    while True:
        received = hear(socket)
        if received.request == 99:
            return received.message


ONE_REQUEST = ServerConfig(limits=Limits(requests_per_second=0.1))
"""At once, and the next one ten seconds later."""


def test_the_connections_of_a_key_share_its_allowance_and_another_key_has_its_own(tmp_path):
    keyed = Keyed(tmp_path / "keys")
    ann, bob = keyed.keys("ann"), keyed.keys("bob")
    with Running(tmp_path / "state", keys=keyed.folder, config=ONE_REQUEST) as running:
        first = answer_to(running.socket(keys=ann), ListJobs())
        second = answer_to(running.socket(keys=ann), ListJobs())
        others = answer_to(running.socket(keys=bob), ListJobs())

    assert isinstance(first, JobList)
    assert (second.code, second.sentence) == (
        "too-many", "this client makes more than 0.1 requests a second; wait a little"
    )  # fmt: skip
    assert isinstance(others, JobList)


def test_a_new_connection_of_a_key_is_no_new_start(tmp_path):
    keyed = Keyed(tmp_path / "keys")
    ann = keyed.keys("ann")
    with Running(tmp_path / "state", keys=keyed.folder, config=ONE_REQUEST) as running:
        socket = running.socket(keys=ann)
        assert isinstance(answer_to(socket, ListJobs()), JobList)
        socket.close(linger=0)
        wait_until(lambda: running.server.observe().clients == 0)

        assert answer_to(running.socket(keys=ann), ListJobs()).code == "too-many"


def test_without_keys_every_connection_has_its_own_allowance(tmp_path):
    with Running(tmp_path / "state", config=ONE_REQUEST) as running:
        answers = [answer_to(running.socket(), ListJobs()) for _ in range(3)]

    assert [type(each) for each in answers] == [JobList] * 3


def test_a_key_has_so_many_connections_and_watches_and_no_more(tmp_path):
    keyed = Keyed(tmp_path / "keys")
    ann, bob = keyed.keys("ann"), keyed.keys("bob")
    config = ServerConfig(limits=Limits(watches=1), server=Housekeeping(connections_per_key=2))
    with Running(tmp_path / "state", keys=keyed.folder, config=config) as running:
        one, other = running.socket(keys=ann), running.socket(keys=ann)
        third = running.socket(says_hello=False, keys=ann)
        third.send_multipart(encode(HELLO))
        refused = hear(third, Refused).message
        running.socket(keys=bob)  # says hello and is answered
        jobs = [answer_to(one, SubmitJob(key=f"key-{index:08d}", task="text", prompt="x")).job for index in range(2)]
        first = answer_to(one, WatchJob(job=jobs[0]))
        second = answer_to(other, WatchJob(job=jobs[1]))
        one.close(linger=0)
        wait_until(lambda: running.server.observe().clients == 2)

        assert isinstance(answer_to(third, HELLO), ServerHello)
        assert isinstance(answer_to(other, WatchJob(job=jobs[1])), JobState)
    assert (refused.code, refused.sentence) == ("too-many", "this key has 2 connections already; close one of them")
    assert isinstance(first, JobState)
    assert (second.code, second.sentence) == ("too-many", "a client can watch 1 jobs at a time; end a watch first")


@pytest.mark.parametrize("how", ["another server's key", "not on the list", "no keys"])
def test_nobody_gets_in_without_the_right_keys(tmp_path, how):
    keyed = Keyed(tmp_path / "keys")
    keyed.keys("ann")
    keys = {
        "another server's key": CurveKeys(make_key_pair().public, *_pair()),
        "not on the list": keyed.keys("mallory", is_allowed=False),
        "no keys": None,
    }[how]
    with Running(tmp_path / "state", keys=keyed.folder) as running:
        stranger = running.client(keys=keys)
        with pytest.raises(ServerUnreachable):
            stranger.request(ListJobs(), 2.0)

        wait_until(lambda: running.log("refused"))
        assert running.client(keys=keyed.keys("ann")).request(ListJobs(), SECONDS).total == 0
        assert len(running.log("refused")) <= 3


def _pair():
    pair = make_key_pair()
    return pair.public, pair.secret


def test_a_client_gets_in_when_it_is_allowed_and_out_when_it_is_not_any_more(tmp_path):
    keyed = Keyed(tmp_path / "keys")
    keys = keyed.keys("ann", is_allowed=False)
    with Running(tmp_path / "state", keys=keyed.folder) as running:
        keyed.keys("ann")
        ann = running.client(keys=keys)
        assert ann.request(ListJobs(), SECONDS).total == 0

        (keyed.folder / ALLOW_FILE).write_text("")
        wait_until(lambda: running.server.observe().clients == 0)

        with pytest.raises(ServerUnreachable):
            ann.request(ListJobs(), 1.0)


def test_no_key_and_no_prompt_is_in_the_log(tmp_path):
    keyed = Keyed(tmp_path / "keys")
    keys = keyed.keys("ann")
    with Running(tmp_path / "state", keys=keyed.folder) as running:
        submit(running.client(keys=keys))
    text = (tmp_path / "state" / "log.jsonl").read_text()

    assert keys.secret not in text
    assert keyed.server_keys.secret not in text
    assert "a red cube" not in text


def test_a_prompt_that_is_refused_is_not_in_the_log(running):
    socket = running.socket()
    header = {"protocol": 1, "type": "SubmitJob", "request": 2}
    fields = {"key": "key-00000001", "task": "text", "prompt": "a secret\x07castle"}
    socket.send_multipart([json.dumps(header | {"fields": fields}).encode()])

    assert "secret" in hear(socket, Refused).message.sentence  # its sender may know

    (line,) = running.log("refused")
    assert (line["reason"], line["sentence"]) == ("bad-message prompt", "it must be text of 1 to 2000 characters")


def test_other_addresses_need_keys(tmp_path):
    with pytest.raises(BadInput, match="sketchbridge keygen"):
        Running(tmp_path / "state", listen="tcp://0.0.0.0:*")


def test_a_folder_without_keys_is_told(tmp_path):
    with pytest.raises(BadInput, match=r"server\.key is not there.*sketchbridge keygen"):
        Running(tmp_path / "state", keys=tmp_path)


def test_a_list_of_clients_that_others_can_write_stops_the_start(tmp_path):
    keyed = Keyed(tmp_path / "keys")
    keyed.keys("ann")
    (keyed.folder / ALLOW_FILE).chmod(0o622)

    with pytest.raises(BadInput, match=r"others can write .*allowed .*chmod go-w"):
        Running(tmp_path / "state", keys=keyed.folder)


# --- starting and stopping


def test_a_second_server_on_the_same_state_is_refused(running):
    with pytest.raises(UnusableState, match="another server"):
        Running(running.folder)

    assert running.client().request(ListJobs(), SECONDS).total == 0


def test_a_state_folder_where_workers_cannot_be_heard_is_told(tmp_path):
    (tmp_path / "state" / "workers.sock").mkdir(parents=True)
    (tmp_path / "state" / SERVER_ID).write_text("an-id-of-a-test")

    with pytest.raises(UnusableState, match=r"workers cannot be listened to at .*workers\.sock"):
        Running(tmp_path / "state")


def test_a_port_in_use_is_told(running, tmp_path):
    with pytest.raises(BadInput, match="--listen"):
        Running(tmp_path / "other", listen=running.address)


def test_an_address_that_is_none_is_told(tmp_path):
    with pytest.raises(BadInput, match=r"like tcp://127\.0\.0\.1:5710"):
        Running(tmp_path / "state", listen="ipc:///not/there/at/all")


def test_after_a_restart_the_jobs_are_there_and_the_client_finds_them_by_itself(tmp_path):
    with Running(tmp_path / "state") as running:
        client = running.client()
        job = submit(client)
        client.watch(job).result()
        wait_for(client, MeshSnapshot)
        running.server.stop(5.0)
        wait_until(lambda: client.connection.state == "lost")

        with Running(tmp_path / "state", listen=running.address) as again:
            snapshot = wait_for(client, MeshSnapshot)
            total = again.client().request(ListJobs(), SECONDS).total

    assert snapshot.is_full
    assert total == 1


def test_while_it_stops_new_requests_are_told_so(running):
    socket = running.socket()
    running.server.conversations.is_shutting_down = True

    socket.send_multipart(encode(ListJobs(), 2))

    assert hear(socket, Refused).message.code == "shutting-down"


def test_what_is_seen_of_it(running):
    client = running.client()
    job = submit(client)
    client.watch(job).result()
    wait_for(client, MeshSnapshot)

    wait_until(lambda: running.server.observe().steps_per_second > 0)
    seen = running.server.observe()

    assert (seen.jobs, seen.clients, seen.connections, seen.watches) == ({"running": 1}, 1, 1, 1)
    assert seen.snapshots_received >= seen.counters.snapshots_sent > 0
