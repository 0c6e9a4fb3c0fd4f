"""The order of waiting jobs."""

from backend.server.job_queue import next_turn, queue_order
from backend.server.job_record import JobRecord


def waiting(job, owner="ann", number=1, **fields):
    given = {"key": f"key-{job}", "task": "text", "title": "", "status": "queued"}
    return JobRecord(job=job, owner=owner, number=number, **(given | fields))


def test_jobs_of_one_owner_go_by_priority_and_then_by_age():
    jobs = [waiting("a", number=1), waiting("b", number=2, priority=3), waiting("c", number=3, priority=3)]

    assert queue_order(jobs, {}) == ["b", "c", "a"]


def test_one_who_sends_many_jobs_does_not_keep_out_one_who_sends_one():
    jobs = [waiting(f"a{number}", "ann", number) for number in range(5)] + [waiting("b", "bob", 6)]

    assert queue_order(jobs, {"ann": 8}) == ["b", "a0", "a1", "a2", "a3", "a4"]


def test_owners_alternate_beginning_with_the_one_whose_turn_is_longest_ago():
    jobs = [waiting(f"{owner}{number}", owner, number) for number in range(2) for owner in ("x", "y", "z")]

    assert queue_order(jobs, {"x": 3, "y": 1, "z": 2}) == ["y0", "z0", "x0", "y1", "z1", "x1"]


def test_owners_who_had_no_turn_yet_go_by_the_age_of_their_first_job():
    jobs = [waiting("b", "bob", 2), waiting("a", "ann", 3), waiting("c", "cid", 1)]

    assert queue_order(jobs, {}) == ["c", "b", "a"]


def test_what_was_running_before_comes_before_everything():
    jobs = [waiting("a", priority=10), waiting("b", "bob", 5, is_first=True), waiting("c", "cid", 4, is_first=True)]

    assert queue_order(jobs, {}) == ["c", "b", "a"]


def test_turns_grow():
    assert next_turn({}) == 0
    assert next_turn({"ann": 4, "bob": 2}) == 5
