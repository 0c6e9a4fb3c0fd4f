"""The client against a small real server over real sockets: answers, lost servers, watching, credit, keys."""

import dataclasses
import threading
import time

import fake_server
import numpy as np
import pytest
import zmq
from fake_server import FakeServer, mesh, moved

from examples import CORNERS, JOB, KEY, full_snapshot, job_state, progress, tiny_png
from protocol.client import ORDERS, Client, CurveKeys, Timing
from protocol.errors import (
    LocalProtocolError,
    RemoteProtocolError,
    RequestRefused,
    RequestTimedOut,
    ServerUnreachable,
)
from protocol.frames import encode
from protocol.inbox import ConnectionChanged, Inbox, LiveMeshes, WatchRefused
from protocol.messages import (
    CancelJob,
    Credit,
    Failed,
    FetchResult,
    Finished,
    Heartbeat,
    JobState,
    ListJobs,
    MeshSnapshot,
    PauseJob,
    Preview,
    Progress,
    Refused,
    ResumeJob,
    SubmitJob,
    UpdateJob,
    WatchJob,
)

# A busy machine stands still for a good part of a second now and then.
FAST = Timing(heartbeat=0.05, lost_after=1.5, hello=0.5, first_retry=0.02, longest_retry=0.1)
SUBMIT = SubmitJob(key=KEY, task="text", prompt="a cup")


def connect(server, timing=FAST, **more):
    return Client(server.address, "a test", "0.1.0", timing=timing, **more)


def wait_until(condition, seconds=10.0):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.005)
    assert condition()


def events_until(client, condition, seconds=10.0):
    """All events up to one for which the condition holds."""
    seen, until = [], time.monotonic() + seconds
    while not any(condition(each) for each in seen):
        assert time.monotonic() < until, seen
        client.wait(0.05)
        seen += client.events()
    return seen


def changed_to(state):
    return lambda event: isinstance(event, ConnectionChanged) and event.state == state


def test_a_request_gets_its_answer():
    with FakeServer() as server, connect(server) as client:
        accepted = client.request(SUBMIT)

    assert (accepted.job, accepted.key, accepted.was_known) == ("job-1", KEY, False)


def test_it_says_hello_first_and_tells_what_the_server_is():
    with FakeServer() as server, connect(server) as client:
        events = events_until(client, changed_to("connected"))
        first, number = server.heard[0]

    assert (type(first).__name__, first.program, first.capabilities, number) == (
        "ClientHello", "a test", ("zlib", "uint16", "clients"), None,
    )  # fmt: skip
    assert events[-1].server.device == "a fake device"


def test_answers_find_their_requests_in_any_order_from_many_threads():
    answers = {}

    def ask(job):
        answers[job] = client.request(PauseJob(job=job)).job

    with FakeServer() as server, connect(server) as client:
        threads = [threading.Thread(target=ask, args=(f"job-{index}",)) for index in range(20)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    assert answers == {job: job for job in answers}
    assert len(answers) == 20


def test_a_refusal_is_raised_with_its_code_and_sentence():
    with FakeServer() as server, connect(server) as client:
        server.answers["PauseJob"] = Refused(code="wrong-state", sentence="it is finished")
        with pytest.raises(RequestRefused, match="it is finished") as caught:
            client.request(PauseJob(job=JOB))

    assert caught.value.code == "wrong-state"


def test_an_answer_of_another_type_is_an_error():
    with FakeServer() as server, connect(server) as client:
        server.answers["PauseJob"] = Finished(job=JOB, step=1)
        with pytest.raises(RemoteProtocolError, match="PauseJob was answered with Finished; it must be JobState"):
            client.request(PauseJob(job=JOB))


def test_an_answer_that_is_no_message_is_an_error_at_once():
    with FakeServer() as server, connect(server) as client:
        server.answers["PauseJob"] = None
        answer = client.ask(PauseJob(job=JOB))
        server.wait_for(lambda: server.of(PauseJob))
        number = next(number for message, number in server.heard if isinstance(message, PauseJob))
        server.say_raw([b'{"protocol":1,"type":"JobState","request":%d,"fields":{"job":7}}' % number])
        with pytest.raises(RemoteProtocolError, match="key is missing"):
            answer.result(5)


def test_a_request_without_answer_times_out_with_the_state_of_the_connection():
    with FakeServer() as server, connect(server) as client:
        server.answers["PauseJob"] = None
        began = time.monotonic()
        with pytest.raises(RequestTimedOut, match=r"no answer to PauseJob from tcp.* connected to"):
            client.request(PauseJob(job=JOB), seconds=0.2)

        assert 0.2 <= time.monotonic() - began < 2
        assert client.request(ListJobs()).total == 0  # others are answered


def test_only_requests_can_be_asked():
    with FakeServer() as server, connect(server) as client:
        for message in (Credit(job=JOB, more=1), Heartbeat(), job_state()):
            with pytest.raises(LocalProtocolError, match="a request that a client makes"):
                client.ask(message)


def test_an_address_must_be_one():
    for address in ("localhost", "http://x:1", "tcp://*:99 ", "tcp://a", "tcp://a:b", ""):
        with pytest.raises(LocalProtocolError, match=r"like tcp://127\.0\.0\.1:5710"):
            Client(address, "a test", "0.1.0")


def test_a_server_that_is_not_there_is_said_so_and_requests_time_out():
    client = Client("tcp://127.0.0.1:9", "a test", "0.1.0", timing=FAST)
    with client, pytest.raises(RequestTimedOut, match=r"no server answers at tcp://127\.0\.0\.1:9"):
        client.request(ListJobs(), seconds=1.0)


def test_a_request_made_before_the_server_is_there_is_answered_once_it_is():
    context = zmq.Context()
    with Client("inproc://later", "a test", "0.1.0", timing=FAST, context=context) as client:
        answer = client.ask(SUBMIT)
        time.sleep(0.2)
        with FakeServer("inproc://later", context=context):
            assert answer.result(10).job == "job-1"
    context.term()


# --- the server is lost


def test_a_silent_server_is_noticed_within_the_stated_time():
    with FakeServer() as server, connect(server) as client:
        events_until(client, changed_to("connected"))
        server.is_silent = True
        began = time.monotonic()
        lost = events_until(client, changed_to("lost"))[-1]

        assert 1.3 < time.monotonic() - began < 4
        assert "has said nothing for 1.5 s" in lost.sentence


def test_a_server_that_goes_away_is_noticed_long_before_it_is_silent_too_long():
    with FakeServer() as server, connect(server, Timing(heartbeat=1, lost_after=60)) as client:
        events_until(client, changed_to("connected"))
        server.close()

        assert "was lost" in events_until(client, changed_to("lost"), seconds=5)[-1].sentence


def test_a_silent_server_may_be_sending_a_large_result():
    with FakeServer() as server, connect(server) as client:
        server.answers["FetchResult"] = None
        answer = client.ask(FetchResult(job=JOB))
        server.wait_for(lambda: server.of(FetchResult))
        server.is_silent = True
        time.sleep(2.0)  # longer than a silence that counts as lost
        number = next(number for message, number in server.heard if isinstance(message, FetchResult))
        server.say_raw(encode(Failed(job=JOB, code="out-of-memory", sentence="no mesh", log_id="log-1"), number))

        assert answer.result(10).sentence == "no mesh"
        assert server.hellos == 1


def test_a_server_that_hangs_while_a_result_is_awaited_is_noticed_too():
    timing = Timing(heartbeat=0.05, lost_after=0.5, transfer=1.5, hello=0.5)
    with FakeServer() as server, connect(server, timing) as client:
        server.answers["FetchResult"] = None
        client.ask(FetchResult(job=JOB))
        server.wait_for(lambda: server.of(FetchResult))
        server.is_silent = True

        assert "has said nothing for 1.5 s" in events_until(client, changed_to("lost"))[-1].sentence


def test_heartbeats_keep_a_quiet_connection():
    with FakeServer() as server, connect(server) as client:
        events_until(client, changed_to("connected"))
        server.wait_for(lambda: len(server.of(Heartbeat)) >= 40)  # 2 s: longer than a silence that counts as lost

        assert client.connection.state == "connected"
        assert server.hellos == 1


def test_an_unanswered_request_is_made_again_after_a_reconnect():
    with FakeServer() as server, connect(server) as client:
        events_until(client, changed_to("connected"))
        server.is_silent = True
        answer = client.ask(SUBMIT)
        events_until(client, changed_to("lost"))
        server.is_silent = False

        accepted = answer.result(10)
        assert len(server.of(SubmitJob)) == 2
        assert (accepted.job, accepted.was_known) == ("job-1", True)


def test_an_order_that_was_not_answered_before_the_connection_was_lost_is_sent_again_once():
    first = FakeServer()
    first.answers["UpdateJob"] = None
    steer = UpdateJob(job=JOB, key=KEY, prompt="a blue cup")
    with connect(first) as client:
        answer = client.ask(steer, seconds=0.5)
        first.wait_for(lambda: first.of(UpdateJob))
        first.close()
        events_until(client, changed_to("lost"))
        time.sleep(0.6)  # longer than it had to be answered
        with FakeServer(first.address) as second:
            answer.result(10)
            client.request(ListJobs())

            assert second.of(UpdateJob) == [steer]  # with its key: the server takes it once, even if it had it before


def test_orders_given_while_the_connection_is_lost_are_sent_in_their_order_when_it_is_back():
    first = FakeServer()
    with connect(first) as client:
        events_until(client, changed_to("connected"))
        first.close()
        events_until(client, changed_to("lost"))
        orders = [
            PauseJob(job=JOB),
            UpdateJob(job=JOB, key=KEY, more_steps=5),
            ResumeJob(job=JOB),
            CancelJob(job="b-2"),
        ]
        answers = [client.ask(each, seconds=0.5) for each in orders]
        question = client.ask(ListJobs(), seconds=0.5)
        with pytest.raises(RequestTimedOut):
            question.result(10)
        with FakeServer(first.address) as second:
            for each in answers:
                each.result(10)
            client.request(ListJobs())
            heard = [message for message, _ in second.heard if isinstance(message, ORDERS)]

    assert heard == orders


def test_an_order_is_not_kept_for_ever():
    first = FakeServer()
    with connect(first, dataclasses.replace(FAST, kept_orders=0.8)) as client:
        events_until(client, changed_to("connected"))
        first.close()
        events_until(client, changed_to("lost"))
        began = time.monotonic()
        with pytest.raises(RequestTimedOut, match="no answer to PauseJob"):
            client.request(PauseJob(job=JOB), seconds=0.1)

    assert 0.7 < time.monotonic() - began < 5


def test_a_server_started_anew_is_greeted_again_and_what_was_watched_is_watched_again():
    with FakeServer() as server, connect(server) as client:
        server.snapshots_after_watch = 2
        client.watch(JOB).result(10)
        events_until(client, lambda event: isinstance(event, MeshSnapshot) and event.step == 2)
        server.forget_clients()

        again = events_until(client, lambda event: isinstance(event, MeshSnapshot) and event.step == 2)
        assert server.hellos >= 2
        assert [each.job for each in server.of(WatchJob)] == [JOB] * server.hellos
        assert np.array_equal(again[-1].positions[:, 2], CORNERS[:, 2] + 2)


def test_a_watch_that_is_refused_after_a_reconnect_is_given_up_and_said_so():
    with FakeServer() as server, connect(server) as client:
        client.watch(JOB).result(10)
        server.answers["WatchJob"] = Refused(code="unknown-job", sentence="it was deleted")
        server.forget_clients()

        refused = events_until(client, lambda event: isinstance(event, WatchRefused))[-1]
        assert refused == WatchRefused(JOB, "unknown-job", "it was deleted")
        server.forget_clients()
        server.wait_for(lambda: server.hellos >= 3)
        assert len(server.of(WatchJob)) == 2


def test_a_server_of_another_version_is_said_so_with_what_to_update():
    with FakeServer() as server, connect(server) as client:
        events_until(client, changed_to("connected"))
        server.say_raw([b'{"protocol":2,"type":"ServerHello","fields":{"new":true}}'])

        refused = events_until(client, changed_to("refused"))[-1]
        assert "speaks protocol 2 and this one protocol 1: update Sketchbridge on this side" in refused.sentence


def test_a_server_that_refuses_the_hello_is_quoted(monkeypatch):
    full = Refused(code="too-many", sentence="the server has 256 clients already; try again later")
    monkeypatch.setattr(fake_server, "HELLO", full)
    with FakeServer() as server, connect(server) as client:
        refused = events_until(client, changed_to("refused"))[-1]

    assert refused.sentence.endswith("refuses: the server has 256 clients already; try again later")


def test_nonsense_from_the_server_is_logged_once_and_harms_nothing(caplog):
    with FakeServer() as server, connect(server) as client:
        events_until(client, changed_to("connected"))
        for _ in range(50):
            server.say_raw([b"\xff\x00nonsense"])
        for _ in range(2):  # the first may be heard before the nonsense is said
            assert client.request(ListJobs()).total == 0

    assert len([record for record in caplog.records if "a message that is none" in record.message]) == 1


# --- watching


def test_snapshots_come_whole_and_say_whether_the_faces_are_the_same():
    with FakeServer() as server, connect(server) as client:
        client.watch(JOB).result(10)
        server.say(mesh(JOB, 1), moved(JOB, 2))
        seen = events_until(client, lambda event: isinstance(event, MeshSnapshot) and event.step == 2)

    newest = seen[-1]
    assert newest.is_full
    assert newest.number == 1  # the faces are still those of the first
    assert np.array_equal(newest.positions[:, 2], CORNERS[:, 2] + 2)


def test_a_slow_reader_finds_the_newest_mesh_and_no_other():
    with FakeServer() as server, connect(server) as client:
        client.watch(JOB).result(10)
        server.say(*[mesh(JOB, number) for number in range(1, 101)], job_state(step=7))
        server.wait_for(lambda: len(server.of(Credit)) == 100)
        events = events_until(client, lambda event: isinstance(event, JobState) and event.step == 7)

    assert [each.number for each in events if isinstance(each, MeshSnapshot)] == [100]


def test_credit_is_given_back_for_every_snapshot_and_preview():
    with FakeServer() as server, connect(server) as client:
        client.watch(JOB, channels=("mesh", "preview"), credit=3).result(10)
        server.say(mesh(JOB, 1), moved(JOB, 2), Preview(job=JOB, step=2, picture=tiny_png()), progress())
        server.wait_for(lambda: len(server.of(Credit)) == 3)
        client.request(ListJobs())

        assert server.of(WatchJob)[0].credit == 3
        assert server.of(Credit) == [Credit(job=JOB, more=1)] * 3


@pytest.mark.parametrize("lonely", [moved(JOB, 9, builds_on=8), full_snapshot(number=10, builds_on=1, faces=None)])
def test_a_snapshot_that_builds_on_none_that_came_asks_for_a_full_one(lonely):
    with FakeServer() as server, connect(server) as client:
        client.watch(JOB).result(10)
        client.events()
        server.say(lonely)
        server.wait_for(lambda: server.of(Credit))

        assert server.of(Credit) == [Credit(job=JOB, more=1, wants_full=True)]
        assert not [each for each in client.events() if isinstance(each, MeshSnapshot)]


def test_a_final_status_ends_the_watch():
    with FakeServer() as server, connect(server) as client:
        client.watch(JOB).result(10)
        failed = Failed(job=JOB, code="disk-full", sentence="make room", log_id="x")
        server.say(job_state(status="failed"), failed)
        events = events_until(client, lambda event: event == failed)
        server.forget_clients()
        server.wait_for(lambda: server.hellos >= 2)  # each heartbeat on its way is told to say hello
        client.request(ListJobs())

        assert [each.status for each in events if isinstance(each, JobState)][-1] == "failed"
        assert len(server.of(WatchJob)) == 1


def test_unwatching_is_told_to_the_server_and_not_undone_by_a_reconnect():
    with FakeServer() as server, connect(server) as client:
        client.watch(JOB).result(10)
        client.unwatch(JOB).result(10)
        server.forget_clients()
        server.wait_for(lambda: server.hellos >= 2)  # each heartbeat on its way is told to say hello
        client.request(ListJobs())

        assert [each.channels for each in server.of(WatchJob)] == [("progress", "mesh"), ()]


def test_a_slow_link_asks_for_what_the_server_can():
    with FakeServer() as server, connect(server, is_slow_link=True) as client:
        client.watch(JOB).result(10)  # asked before the server has said what it can

        assert (server.of(WatchJob)[0].compression, server.of(WatchJob)[0].positions) == ("zlib", "float32")


# --- keys, and the end


def z85(key):
    return key.decode()


def test_a_connection_with_keys_works():
    public, secret = zmq.curve_keypair()
    own_public, own_secret = zmq.curve_keypair()
    keys = CurveKeys(z85(public), z85(own_public), z85(own_secret))
    with FakeServer(keys=(secret, public)) as server, connect(server, keys=keys) as client:
        assert client.request(SUBMIT).job == "job-1"


def test_a_wrong_key_of_the_server_is_said_so():
    public, secret = zmq.curve_keypair()
    other_public, _ = zmq.curve_keypair()
    keys = CurveKeys(z85(other_public), *[z85(each) for each in zmq.curve_keypair()])
    with FakeServer(keys=(secret, public)) as server, connect(server, keys=keys) as client:
        assert "it may want other keys" in events_until(client, changed_to("refused"))[-1].sentence


def test_no_keys_for_a_server_that_wants_them_is_said_so():
    public, secret = zmq.curve_keypair()
    with FakeServer(keys=(secret, public)) as server, connect(server) as client:
        assert "it may want keys" in events_until(client, changed_to("refused"))[-1].sentence


def test_a_key_of_another_length_is_refused_and_a_secret_never_shown():
    with pytest.raises(LocalProtocolError, match="server_public is 'short'; it must be text of 40 characters"):
        CurveKeys("short", "p" * 40, "s" * 40)
    with pytest.raises(LocalProtocolError) as caught:
        CurveKeys("s" * 40, "p" * 40, "secret words")
    assert "secret words" not in str(caught.value)
    assert "tttt" not in repr(CurveKeys("s" * 40, "p" * 40, "t" * 40))


def test_closing_sends_what_was_asked_and_fails_what_is_unanswered():
    with FakeServer() as server:
        client = connect(server)
        events_until(client, changed_to("connected"))
        server.answers["PauseJob"] = None
        answer = client.ask(PauseJob(job=JOB))
        client.close()
        client.close()

        server.wait_for(lambda: server.of(PauseJob))
        with pytest.raises(ServerUnreachable, match="closed before"):
            answer.result(0)
        with pytest.raises(ServerUnreachable, match="this client is closed"):
            client.ask(ListJobs())
        assert client.connection.state == "closed"


def test_closing_never_waits_for_a_server_that_is_not_there():
    client = Client("tcp://127.0.0.1:9", "a test", "0.1.0")
    client.ask(SUBMIT)
    began = time.monotonic()

    client.close()

    assert time.monotonic() - began < 2
    assert not [each for each in threading.enumerate() if each.name.startswith("sketchbridge client")]


def test_too_large_a_message_for_this_server_is_refused_before_it_is_sent():
    with FakeServer() as server, connect(server) as client:
        events_until(client, changed_to("connected"))
        object.__setattr__(client.connection.server.limits, "message_bytes", 100)
        with pytest.raises(LocalProtocolError, match="at most 100 bytes for this server"):
            client.request(SUBMIT)

        assert server.of(SubmitJob) == []


# --- the inbox alone


def test_the_inbox_keeps_the_newest_of_a_kind_in_the_order_of_arrival():
    inbox = Inbox()
    for event in (mesh(JOB, 1), progress(notices=("a",)), mesh("b", 1), mesh(JOB, 2), progress(step=9)):
        inbox.put(event)

    assert inbox.take_all() == [mesh("b", 1), mesh(JOB, 2), progress(step=9, notices=("a",))]
    assert inbox.take_all() == []


def test_the_inbox_is_bounded():
    inbox = Inbox()
    for number in range(3000):
        inbox.put(Failed(job=JOB, code="internal", sentence=f"no. {number}", log_id="x"))

    kept = inbox.take_all()
    assert len(kept) == 1000
    assert kept[-1].sentence == "no. 2999"


def test_waiting_ends_when_something_comes():
    inbox = Inbox()
    threading.Timer(0.05, inbox.put, [progress()]).start()

    assert inbox.wait(5)
    assert isinstance(inbox.take_all()[0], Progress)
    assert not inbox.wait(0.01)


def test_live_meshes_take_over_positions_and_colours_one_after_the_other():
    live = LiveMeshes()
    colours = np.full((4, 3), 9, np.uint8)

    live.whole(mesh(JOB, 1))
    live.whole(MeshSnapshot(job=JOB, number=2, step=2, builds_on=1, colours=colours))
    whole = live.whole(moved(JOB, 3))

    assert np.array_equal(whole.colours, colours)
    assert np.array_equal(whole.positions[:, 2], CORNERS[:, 2] + 3)
    assert whole.number == 1


def test_live_meshes_refuse_what_does_not_fit():
    live = LiveMeshes()
    live.whole(mesh(JOB, 1))
    other = MeshSnapshot(job=JOB, number=2, step=2, builds_on=1, positions=np.zeros((5, 3), np.float32))

    assert live.whole(other) is None
    assert live.whole(moved("another", 2)) is None
    live.forget(JOB)
    assert live.whole(moved(JOB, 2)) is None


def test_the_credit_that_a_client_gives_has_no_answer():
    assert Credit.answers == ()
    assert encode(Credit(job=JOB, more=1))[0].startswith(b'{"protocol":1,"type":"Credit","fields"')
