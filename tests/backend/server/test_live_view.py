"""What watchers are sent, of a mesh that the test moves about, by a clock that it sets."""

import torch

from backend.geometry.mesh_input import Placement
from backend.geometry.triangle_mesh import TriangleMesh
from backend.server.link import Demand
from backend.server.live_view import MOST_NOTICES, NUMBERS_KEPT_FREE, LiveView, loss_names
from backend.tasks.mesh_task import MeshTask
from protocol.messages import MeshSnapshot, Preview, Progress

FACES = torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]], dtype=torch.int32)
WATCHED = Demand(per_second=10.0, mesh=True)


class MovingMesh(MeshTask):
    """Counts what is asked of it."""

    def __init__(self):
        self.positions, self.faces = torch.rand(4, 3), FACES
        self.asked = []

    def current_mesh(self):
        self.asked.append("mesh")
        return TriangleMesh(self.positions, self.faces)

    def vertex_colours(self):
        self.asked.append("colours")
        return torch.full((len(self.positions), 3), 7, dtype=torch.uint8)

    def preview(self, view_count=4, resolution=256):
        self.asked.append("preview")
        return torch.zeros(view_count, resolution, resolution, 3, dtype=torch.uint8)


class Watched:
    """A view whose clock is `seconds`, and what it has sent."""

    def __init__(self, demand=WATCHED):
        self.seconds, self.sent, self.takes_data = 100.0, [], True
        placement = Placement((0.0, 0.0, 0.0), 1.0, "z")
        self.task = MovingMesh()
        self.view = LiveView("job-1", placement, self.send, lambda: self.seconds, lambda: 1000.0)
        self.view.set_demand(demand)

    def send(self, message):
        if self.takes_data:
            self.sent.append(message)
        return self.takes_data

    def step(self, number, seconds=1.0):
        self.seconds += seconds
        self.view.show(self.task, number)


def progress(**more):
    return Progress(job="job-1", step=1, total_steps=9, stage="SDS", steps_per_second=1.0, **more)


def test_with_nobody_watching_nothing_is_asked_of_the_task():
    watched = Watched(Demand())

    watched.step(1)

    assert watched.task.asked == []


def test_faces_are_sent_when_they_have_changed_alone():
    watched = Watched()
    watched.step(1)
    watched.task.positions = torch.rand(4, 3)
    watched.step(2)
    watched.task.faces = FACES.flip(0)
    watched.step(3)

    first, second, third = watched.sent
    assert first.is_full
    assert (second.builds_on, second.faces) == (first.number, None)
    assert third.is_full


def test_colours_are_asked_for_only_if_they_are_wanted():
    watched = Watched()
    watched.step(1)
    asked_before = list(watched.task.asked)
    watched.view.set_demand(Demand(per_second=10.0, mesh=True, colours=True))
    watched.step(2)

    assert asked_before == ["mesh"]
    assert watched.sent[0].colours is None
    assert watched.sent[1].colours.tolist() == [[7, 7, 7]] * 4


def test_the_rate_is_kept_on_average_whatever_a_step_takes():
    watched = Watched()

    for number in range(1, 101):
        watched.step(number, seconds=0.09)

    # 9 seconds at 10 a second: with a limit from one snapshot to the next it would be 50.
    assert 88 <= len(watched.sent) <= 92


def test_after_a_time_of_nobody_watching_the_first_snapshot_is_full():
    watched = Watched()
    watched.step(1)
    watched.view.set_demand(Demand())
    watched.view.set_demand(WATCHED)
    watched.step(2)

    assert watched.sent[1].is_full


def test_nothing_builds_on_a_snapshot_that_did_not_go_out():
    watched = Watched()
    watched.takes_data = False
    watched.step(1)
    watched.takes_data = True
    watched.step(2)

    assert watched.sent[0].is_full


def test_an_edit_does_not_wait_for_its_turn():
    watched = Watched(Demand(per_second=0.01, mesh=True))
    watched.step(1)

    watched.view.show(watched.task, 1, at_once=True)

    assert len(watched.sent) == 2


def test_numbers_grow_though_the_clock_was_set_back():
    watched = Watched()
    watched.view.number_from(2_000_000_000_000)  # of an attempt in 2033; the clock says 1970

    watched.step(1)

    assert watched.sent[0].number == 2_000_000_000_000 + NUMBERS_KEPT_FREE + 1


def test_previews_come_every_two_seconds():
    watched = Watched(Demand(per_second=100.0, preview=True))

    for number in range(1, 11):
        watched.step(number, seconds=0.5)

    assert [each.step for each in watched.sent] == [1, 5, 9]
    assert all(isinstance(each, Preview) for each in watched.sent)


def test_an_empty_surface_can_be_shown():
    watched = Watched()
    watched.task.positions, watched.task.faces = torch.zeros(0, 3), FACES[:0]

    watched.step(1)

    assert isinstance(watched.sent[0], MeshSnapshot)
    assert watched.sent[0].vertices == 0


def test_notices_wait_for_a_progress_that_goes_out():
    watched = Watched()
    watched.takes_data = False
    for number in range(MOST_NOTICES + 1):
        watched.view.notice(f"notice {number}")
    watched.view.show_progress(progress(), at_once=True)
    watched.takes_data = True
    watched.view.show_progress(progress(), at_once=True)
    watched.view.show_progress(progress(), at_once=True)

    assert watched.sent[0].notices == tuple(f"notice {number}" for number in range(1, MOST_NOTICES + 1))
    assert watched.sent[1].notices == ()


def test_progress_is_sent_a_few_times_a_second_at_most():
    watched = Watched()

    for _ in range(100):
        watched.seconds += 0.01
        watched.view.show_progress(progress())

    assert len(watched.sent) == 4  # one second, 0.3 between


def test_losses_have_names_that_the_wire_takes_and_numbers_that_are_finite():
    losses = {"normal consistency": 0.5, "area": float("nan"), "laplacian": float("inf")}

    assert progress(losses=loss_names(losses)).losses == {"normal-consistency": 0.5}
