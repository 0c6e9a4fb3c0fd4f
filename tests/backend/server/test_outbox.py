"""What overtakes what on the way to one client."""

import pytest

from backend.server.outbox import MOST_UNSENT, ClientGone, Outbox
from backend.server.stream import JobStream, Watch
from examples import CORNERS, JOB, TETRAHEDRON, job_state, progress
from protocol.frames import decode, encode
from protocol.messages import Heartbeat, ListJobs, MeshSnapshot, WatchJob


class FakeDelivery:
    done = False


class FakeRoute:
    """Keeps what is sent. Large messages stay in flight until the test says otherwise."""

    def __init__(self):
        self.sent, self.deliveries, self.has_room, self.is_gone = [], [], True, False

    def send(self, frames):
        if self.is_gone:
            raise ClientGone
        if self.has_room:
            self.sent.append(frames)
        return self.has_room

    def send_large(self, frames):
        if not self.send(frames):
            return None
        self.deliveries.append(FakeDelivery())
        return self.deliveries[-1]

    def make(self, variant):
        raise AssertionError("nothing here is for slow links")

    @property
    def messages(self):
        """Those sent: message and number of the request."""
        found = [decode(each, "server") for each in self.sent]
        return [(each.message, each.request) for each in found]

    @property
    def kinds(self):
        return [type(message).__name__ for message, _ in self.messages]


def snapshot(number, builds_on=None):
    faces = TETRAHEDRON if builds_on is None else None
    return MeshSnapshot(job=JOB, number=number, step=1, builds_on=builds_on, positions=CORNERS * number, faces=faces)


def take(stream, *arguments):
    each = snapshot(*arguments)
    assert stream.take_snapshot(each, encode(each))


def watched(outbox, **wish):
    stream = JobStream()
    outbox.watch(Watch(WatchJob(job=JOB, **({"snapshots_per_second": 100.0, "credit": 64} | wish)), 0.0), stream)
    return stream


def test_what_controls_overtakes_a_snapshot_that_waits():
    outbox, route = Outbox(), FakeRoute()
    take(watched(outbox), 10)
    outbox.say(job_state())

    outbox.pump(route, 0.0)

    assert route.kinds == ["JobState", "MeshSnapshot"]


def test_one_snapshot_is_in_flight_and_then_comes_the_newest():
    outbox, route = Outbox(), FakeRoute()
    stream = watched(outbox)
    take(stream, 10)
    outbox.pump(route, 0.0)
    for number in range(11, 20):
        take(stream, number, 10)
        assert outbox.pump(route, float(number)) is not None  # it wants to look again soon
    assert len(route.sent) == 1

    route.deliveries[0].done = True
    outbox.pump(route, 30.0)

    assert [message.number for message, _ in route.messages] == [10, 19]


def test_what_controls_goes_out_while_a_snapshot_is_in_flight():
    outbox, route = Outbox(), FakeRoute()
    take(watched(outbox), 10)
    outbox.pump(route, 0.0)

    outbox.say(job_state(status="finished"))
    outbox.pump(route, 0.1)

    assert route.kinds == ["MeshSnapshot", "JobState"]


def test_a_large_answer_goes_before_snapshots_and_alone():
    outbox, route = Outbox(), FakeRoute()
    take(watched(outbox), 10)
    outbox.answer_large(encode(job_state(), 5))

    outbox.pump(route, 0.0)
    assert outbox.large_answers == 0
    route.deliveries[0].done = True
    outbox.pump(route, 0.1)

    assert [number for _, number in route.messages] == [5, None]
    assert route.kinds == ["JobState", "MeshSnapshot"]


def test_unsent_states_are_replaced_and_notices_are_kept():
    outbox, route = Outbox(), FakeRoute()
    route.has_room = False
    outbox.say(job_state(status="queued"))
    outbox.say(progress(step=1, notices=("one",)))
    outbox.pump(route, 0.0)
    outbox.say(progress(step=2, notices=("two",)))
    outbox.say(job_state(status="running"))
    outbox.say(Heartbeat())
    outbox.say(Heartbeat())
    route.has_room = True

    outbox.pump(route, 1.0)

    (first, _), (state, _), (_, _) = route.messages
    assert route.kinds == ["Progress", "JobState", "Heartbeat"]
    assert (first.step, first.notices) == (2, ("one", "two"))
    assert state.status == "running"


def test_pauses_grow_while_there_is_no_room():
    outbox, route = Outbox(), FakeRoute()
    route.has_room = False
    outbox.say(Heartbeat())

    pauses = [outbox.pump(route, 0.0) for _ in range(10)]

    assert pauses == sorted(pauses)
    assert pauses[0] < 0.005
    assert pauses[-1] == 0.05


def test_nothing_to_do_means_no_call_by_the_clock():
    outbox, route = Outbox(), FakeRoute()
    stream = watched(outbox)
    take(stream, 10)

    assert outbox.pump(route, 0.0) is None
    route.deliveries[0].done = True
    assert outbox.pump(route, 0.1) is None


def test_several_watches_take_turns():
    outbox, route = Outbox(), FakeRoute()
    streams = {}
    for job in ("a", "b"):
        streams[job] = JobStream()
        wish = WatchJob(job=job, snapshots_per_second=100.0, credit=64)
        outbox.watch(Watch(wish, 0.0), streams[job])
    for number in range(10, 14):
        for job, stream in streams.items():
            each = MeshSnapshot(job=job, number=number, step=1, positions=CORNERS, faces=TETRAHEDRON)
            stream.take_snapshot(each, encode(each))
        outbox.pump(route, float(number))
        route.deliveries[-1].done = True

    assert [message.job for message, _ in route.messages] == ["a", "b", "a", "b"]


def test_an_ended_watch_sends_nothing_more():
    outbox, route = Outbox(), FakeRoute()
    take(watched(outbox), 10)

    outbox.unwatch(JOB)
    outbox.pump(route, 0.0)

    assert route.sent == []
    assert outbox.watched_jobs == []


def test_a_client_that_never_reads_is_overfull_in_the_end():
    outbox, route = Outbox(), FakeRoute()
    route.has_room = False
    frames = encode(ListJobs(), 1)
    for _ in range(MOST_UNSENT):
        outbox.answer(frames)
    assert not outbox.is_overfull
    assert outbox.unsent_bytes == MOST_UNSENT * len(frames[0])

    outbox.answer(frames)

    assert outbox.is_overfull


def test_a_closed_connection_is_told():
    outbox, route = Outbox(), FakeRoute()
    route.is_gone = True
    outbox.say(Heartbeat())

    with pytest.raises(ClientGone):
        outbox.pump(route, 0.0)
