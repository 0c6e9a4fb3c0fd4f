"""What each watcher gets of a job's meshes. The clock is a number that the test passes in."""

import numpy as np
import pytest

from backend.server.stream import Format, JobStream, Variant, Watch, next_parcel
from examples import CORNERS, JOB, TETRAHEDRON, tiny_png
from protocol.frames import decode, encode
from protocol.inbox import LiveMeshes
from protocol.messages import MeshSnapshot, Preview, WatchJob


class Watcher:
    """A client's side and its watch, with variants that are made when the test says."""

    def __init__(self, stream, now=0.0, **wish):
        self.stream, self.watch = stream, Watch(WatchJob(job=JOB, **wish), now)
        self.meshes, self.to_make = LiveMeshes(), []

    def next(self, now=0.0):
        """The message of the next parcel, or None."""
        parcel, self.soonest = next_parcel([(self.watch, self.stream)], now, self.to_make.append)
        return None if parcel is None else decode(parcel.frames, "server").message

    def make_all(self):
        for variant in self.to_make:
            variant.make()
        self.to_make.clear()


def full(number, height=0.0, **fields):
    return MeshSnapshot(job=JOB, number=number, step=number, positions=raised(height), faces=TETRAHEDRON, **fields)


def moved(number, height, builds_on, **fields):
    return MeshSnapshot(job=JOB, number=number, step=number, builds_on=builds_on, positions=raised(height), **fields)


def raised(height):
    return CORNERS + np.array([0, 0, height], np.float32)


def coloured(value):
    return np.full((4, 3), value, np.uint8)


def stream_of(*snapshots):
    stream = JobStream()
    for each in snapshots:
        assert stream.take_snapshot(each, encode(each))
    return stream


def test_the_first_snapshot_of_a_watcher_is_full_and_the_newest():
    stream = stream_of(full(10), moved(11, 1.0, 10), moved(12, 2.0, 10))

    snapshot = Watcher(stream).next()

    assert snapshot.is_full
    assert snapshot.number == 10  # it keeps the number of its faces: later ones build on that
    assert snapshot.step == 12
    np.testing.assert_array_equal(snapshot.positions, raised(2.0))


def test_later_snapshots_carry_positions_alone_and_those_in_between_are_left_out():
    stream = stream_of(full(10))
    watcher = Watcher(stream)
    watcher.next(0.0)
    for number in (11, 12, 13):
        stream.take_snapshot(moved(number, number, 10), encode(moved(number, number, 10)))

    snapshot = watcher.next(1.0)

    assert (snapshot.number, snapshot.builds_on, snapshot.faces) == (13, 10, None)
    assert stream.dropped == 2  # 11 and 12


def test_nothing_is_sent_without_credit_and_the_newest_when_it_comes():
    stream = stream_of(full(10))
    watcher = Watcher(stream, credit=1)
    watcher.next(0.0)
    stream.take_snapshot(moved(11, 1.0, 10), encode(moved(11, 1.0, 10)))
    assert watcher.next(1.0) is None
    stream.take_snapshot(moved(12, 2.0, 10), encode(moved(12, 2.0, 10)))

    watcher.watch.add_credit(1, wants_full=False, now=2.0)

    assert watcher.next(2.0).number == 12
    assert watcher.next(3.0) is None


def test_no_more_than_the_wanted_rate_is_sent():
    stream = stream_of(full(10))
    watcher = Watcher(stream, snapshots_per_second=2.0)
    watcher.next(0.0)
    stream.take_snapshot(moved(11, 1.0, 10), encode(moved(11, 1.0, 10)))

    assert watcher.next(0.4) is None
    assert watcher.soonest == 0.5  # a rate of 2 is one every half second
    assert watcher.next(0.5).number == 11


def test_a_client_that_lost_the_base_gets_a_full_one():
    stream = stream_of(full(10), moved(11, 1.0, 10))
    watcher = Watcher(stream)
    watcher.next(0.0)

    watcher.watch.add_credit(1, wants_full=True, now=1.0)

    assert watcher.next(1.0).is_full


def test_a_new_topology_comes_full():
    stream = stream_of(full(10))
    watcher = Watcher(stream)
    watcher.next(0.0)

    stream.take_snapshot(full(20, 5.0), encode(full(20, 5.0)))

    assert watcher.next(1.0).number == 20


def test_colours_go_to_those_who_want_them_only():
    stream = stream_of(full(10, colours=coloured(1)))

    assert Watcher(stream).next().colours is None
    assert (Watcher(stream, channels=("mesh", "colours")).next().colours == 1).all()


def test_colours_alone_are_sent_when_nothing_moved():
    stream = stream_of(full(10, colours=coloured(1)))
    watcher = Watcher(stream, channels=("mesh", "colours"))
    watcher.next(0.0)
    still = moved(11, 0.0, 10, colours=coloured(2))

    stream.take_snapshot(still, encode(still))
    snapshot = watcher.next(1.0)

    assert snapshot.positions is None
    assert (snapshot.colours == 2).all()


def test_a_mesh_that_did_not_change_is_not_sent_again():
    stream = stream_of(full(10))
    watcher = Watcher(stream)
    watcher.next(0.0)

    stream.take_snapshot(moved(11, 0.0, 10), encode(moved(11, 0.0, 10)))

    assert watcher.next(1.0) is None


def test_snapshots_that_come_too_late_or_build_on_nothing_are_refused():
    stream = stream_of(full(10), moved(12, 1.0, 10))

    assert not stream.take_snapshot(moved(11, 2.0, 10), [])
    assert not stream.take_snapshot(moved(30, 2.0, 20), [])
    assert not JobStream().take_snapshot(moved(11, 2.0, 10), [])


def test_watchers_share_the_frames_and_get_those_of_the_worker_where_they_can():
    snapshot = moved(11, 1.0, 10)
    frames = encode(snapshot)
    stream = stream_of(full(10))
    watches = [Watch(WatchJob(job=JOB), 0.0) for _ in range(3)]
    for watch in watches:
        next_parcel([(watch, stream)], 0.0, print)
    stream.take_snapshot(snapshot, frames)

    sent = [next_parcel([(watch, stream)], 1.0, print)[0].frames for watch in watches]

    assert all(each is frames for each in sent)


def test_what_is_for_slow_links_is_made_elsewhere_once_for_all():
    stream = stream_of(full(10))
    wish = {"positions": "uint16", "compression": "zlib"}
    first, second = Watcher(stream, **wish), Watcher(stream, **wish)

    assert first.next() is None
    assert second.next() is None
    assert len(first.to_make) == 1
    assert second.to_make == []
    first.make_all()

    for each in (first, second):
        snapshot = each.next()
        assert snapshot.positions.dtype == np.uint16
        # Half a step of 1 / 65535 of the box, whose sides are 1 m, and float32's rounding.
        np.testing.assert_allclose(snapshot.metres(), CORNERS, atol=1e-5)


def test_a_variant_that_could_not_be_made_is_asked_for_again():
    watcher = Watcher(stream_of(full(10)), compression="zlib", credit=1)
    watcher.next(0.0)
    watcher.to_make.pop().give_up()

    watcher.next(1.0)
    watcher.make_all()

    assert watcher.next(2.0).is_full


@pytest.mark.parametrize("seed", range(5))
def test_whatever_a_watcher_misses_it_ends_with_the_newest_mesh(seed):
    """Any mix of topologies, colours and credit: what LiveMeshes puts together is the worker's mesh of that moment."""
    dice = np.random.default_rng(seed)
    stream = JobStream()
    watcher = Watcher(stream, channels=("mesh", "colours"), snapshots_per_second=100.0, credit=1)
    base, truth, seen, now = None, {}, None, 0.0
    for number in range(10, 210):
        now += 0.05
        colours = coloured(number % 256) if dice.random() < 0.5 else None
        if base is None or dice.random() < 0.1:
            base = number
            snapshot = full(number, number, colours=colours)
            truth = {"colours": colours}
        else:
            snapshot = moved(number, number, base, colours=colours)
            truth = {"colours": colours if colours is not None else truth["colours"]}
        stream.take_snapshot(snapshot, encode(snapshot))
        sent = watcher.next(now)
        if sent is not None:
            seen = watcher.meshes.whole(sent)
            assert seen is not None  # never one that builds on what did not come
            np.testing.assert_array_equal(seen.positions, raised(number))
            assert (seen.colours is None) == (truth["colours"] is None)
            assert truth["colours"] is None or (seen.colours == truth["colours"]).all()
        if dice.random() < 0.4:
            watcher.watch.add_credit(1, wants_full=False, now=now)

    assert seen is not None


def test_pictures_and_meshes_take_turns():
    preview = Preview(job=JOB, step=1, view="front", picture=tiny_png())
    stream = stream_of(full(10))
    stream.take_preview(preview, encode(preview))
    watcher = Watcher(stream, channels=("mesh", "preview"), credit=64, snapshots_per_second=100.0)
    kinds = []
    for number in range(11, 15):
        stream.take_snapshot(moved(number, number, 10), encode(moved(number, number, 10)))
        stream.take_preview(preview, encode(preview))
        kinds.append(type(watcher.next(float(number))).__name__)

    assert kinds == ["MeshSnapshot", "Preview", "MeshSnapshot", "Preview"]


def test_each_view_is_sent_and_only_its_newest_picture():
    stream = JobStream()
    for step, view in ((1, "front"), (1, "side"), (2, "front")):
        preview = Preview(job=JOB, step=step, view=view, picture=tiny_png())
        stream.take_preview(preview, encode(preview))
    watcher = Watcher(stream, channels=("preview",), snapshots_per_second=100.0)

    sent = [watcher.next(1.0), watcher.next(2.0), watcher.next(3.0)]

    assert [(each.view, each.step) for each in sent if each] == [("side", 1), ("front", 2)]


def test_a_watcher_that_gives_no_credit_is_not_there():
    watch = Watch(WatchJob(job=JOB, credit=1), 0.0)
    watch.spend_credit(10.0)

    assert watch.is_attentive(11.9)
    assert not watch.is_attentive(12.1)  # SECONDS_WITHOUT_CREDIT is 2
    watch.add_credit(1, wants_full=False, now=100.0)
    assert watch.is_attentive(100.0)


def test_a_variant_is_compressed_as_its_format_says():
    large = np.zeros((5000, 3), np.float32)
    snapshot = MeshSnapshot(job=JOB, number=10, step=1, positions=large, faces=TETRAHEDRON)
    variant = Variant(snapshot, Format(True, True, False, is_compressed=True))

    variant.make()

    assert sum(len(each) for each in variant.frames) < large.nbytes / 10
    np.testing.assert_array_equal(decode(variant.frames, "server").message.positions, large)
