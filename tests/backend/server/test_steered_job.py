"""When updates are taken, over kills and resumptions, with a task that only counts."""

import pytest
import torch

from backend.server.conversion import JobRequest
from backend.server.message_files import write_message
from backend.server.steered_job import SteeredJob, UpdateJournal
from backend.server.worker_config import WorkerConfig
from protocol.messages import SubmitJob, UpdateJob


class CountingTask:
    total_steps = 9
    device = torch.device("cpu")

    def __init__(self):
        self.taken = []

    def steer(self, change):
        self.taken.append(change.prompt)
        return []

    def steps(self):
        return iter(())

    def preview(self):
        return torch.zeros(1, 2, 2, 3, dtype=torch.uint8)

    def state(self):
        return {}, {"step": 0}

    def load_state(self, tensors, metadata):
        self.taken = []


class Bench:
    """A job's folder with some updates, and jobs that are made from it again and again."""

    def __init__(self, folder, updates):
        self.folder, self.said, self.notices = folder, [], []
        (folder / "updates").mkdir()
        for number in range(1, updates + 1):
            message = UpdateJob(job="job-1", key="a-key-of-a-test", prompt=f"prompt {number}")
            write_message(folder / "updates" / f"{number:06d}.message", message)

    def job(self, known):
        request = JobRequest.of(SubmitJob(key="a-key-of-a-test", task="image", prompt="a mug"), WorkerConfig())
        journal = UpdateJournal(self.folder / "updates.jsonl")
        job = SteeredJob(
            CountingTask(),
            request,
            self.folder / "updates",
            journal,
            lambda number, step, change: self.said.append((number, step)),
            self.notices.append,
        )
        job.note_updates(known)
        return job


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path, updates=3)


def test_updates_are_taken_in_order_as_soon_as_they_are_known(bench):
    job = bench.job(known=1)
    job.take_updates(0)
    job.note_updates(3)
    job.take_updates(1)

    assert bench.said == [(1, 0), (2, 1), (3, 1)]
    assert job.task.taken == ["prompt 1", "prompt 2", "prompt 3"]


def test_another_attempt_takes_them_at_the_same_steps_and_new_ones_after_them(bench):
    first = bench.job(known=1)
    first.take_updates(4)
    first.note_updates(2)
    first.take_updates(6)
    bench.said.clear()

    again = bench.job(known=3)  # the third came while there was no worker
    for step in range(8):
        again.take_updates(step)

    assert bench.said == [(1, 4), (2, 6), (3, 6)]


def test_what_is_in_a_checkpoint_is_not_taken_again(bench):
    first = bench.job(known=1)
    first.take_updates(4)
    state = first.state()
    first.note_updates(2)
    first.take_updates(6)
    bench.said.clear()

    again = bench.job(known=2)
    again.load_state(*state)
    for step in range(4, 8):
        again.take_updates(step)

    assert bench.said == [(2, 6)]


def test_a_line_that_a_kill_has_torn_counts_as_not_written(bench):
    bench.job(known=1).take_updates(4)
    journal = bench.folder / "updates.jsonl"
    journal.write_bytes(journal.read_bytes() + b'{"number": 2, "st')
    bench.said.clear()

    again = bench.job(known=2)
    for step in range(8):
        again.take_updates(step)

    assert bench.said == [(1, 4), (2, 4)]
    assert UpdateJournal(journal).entries == [(1, 4), (2, 4)]


def test_an_update_that_cannot_be_read_is_told_and_passed_over(bench):
    (bench.folder / "updates" / "000001.message").write_bytes(b"SBframes and then nothing of use")
    job = bench.job(known=2)

    job.take_updates(0)

    assert job.task.taken == ["prompt 2"]
    assert bench.notices[0].startswith("update 1 could not be taken")


def test_an_update_that_waits_for_a_full_disk_is_told_once(bench, monkeypatch):
    def fail(self, number, step):
        raise OSError(28, "No space left on device")

    job = bench.job(known=1)
    with monkeypatch.context() as full:
        full.setattr(UpdateJournal, "append", fail)
        for step in range(3):
            job.take_updates(step)
    job.take_updates(3)

    assert bench.notices == ["update 1 waits until there is room on the disk (No space left on device)"]
    assert bench.said == [(1, 3)]
