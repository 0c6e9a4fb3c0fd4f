"""What becomes of jobs whose worker dies, hangs, or is to end: with a clock that goes when the test says."""

import sqlite3

import pytest
from job_bench import Bench

from protocol.messages import FetchResult, ListJobs, Refused


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "state")


def die(bench, exit_code=-9):
    bench.executor.end(bench.worker, exit_code)
    bench.manager.tick()


def test_a_job_whose_worker_dies_goes_on_in_another_before_all_others(bench):
    job = bench.running_job(step=40)
    bench.submit(priority=10)
    bench.submit("bob")
    old = bench.worker

    die(bench)
    assert bench.status(job) == "starting"
    assert "SIGKILL" in bench.state(job).sentence
    bench.bring_up()

    worker, order = bench.executor.orders[-1]
    assert worker != old
    assert (order["order"], order["job"], order["attempt"]) == ("run", job, 2)
    assert bench.state(job).restarts == 1


def test_the_device_and_step_are_those_of_the_checkpoint_after_a_loss(bench):
    job = bench.running_job(step=40)
    die(bench)

    bench.begin(job, step=20)

    assert (bench.state(job).step, bench.state(job).sentence, bench.status(job)) == (20, "", "running")


def test_a_job_fails_when_its_worker_has_died_four_times(bench):
    job = bench.running_job()
    for _ in range(3):  # each lets it go on, though it came further than the time before
        die(bench, exit_code=1)
        bench.begin(job)
        bench.say("checkpointed", job=job, step=50)

    die(bench)

    (failed,) = bench.listener.failures
    assert (failed.code, bench.state(job).restarts) == ("worker-died", 3)
    assert "lost 4 times" in failed.sentence
    assert "memory" in failed.sentence  # the last one was killed by the system, as when memory runs out
    assert [line["log_id"] for line in bench.listener.logged("job-failed")] == [failed.log_id]


def test_a_worker_that_is_silent_for_longer_than_its_patience_is_killed_and_its_job_goes_on(bench):
    job = bench.running_job()
    hung = bench.worker
    bench.say("beat", job=job, step=5, patience_seconds=10.0)

    bench.pass_time(9.5)
    assert bench.executor.killed == []
    bench.pass_time(1)

    assert bench.executor.killed == [hung]
    assert (bench.status(job), bench.state(job).restarts) == ("starting", 1)
    assert "not heard of in time" in bench.state(job).sentence


def test_a_job_whose_workers_hang_again_and_again_fails_as_hung(bench):
    job = bench.running_job()
    for _ in range(3):
        bench.pass_time(31)
        bench.begin(job)

    bench.pass_time(31)

    assert bench.listener.failures[0].code == "worker-hung"


def test_beats_keep_a_worker_alive_for_as_long_as_they_come(bench):
    job = bench.running_job()

    for step in range(20):
        bench.say("beat", job=job, step=step, patience_seconds=10.0)
        bench.pass_time(9)

    assert bench.executor.killed == []
    assert bench.state(job).step == 19


def test_a_job_is_not_begun_again_before_the_system_says_that_its_worker_has_ended(bench):
    bench.executor.kills_at_once = False
    job = bench.running_job()
    hung = bench.worker

    bench.pass_time(60)
    bench.say("paused", hung, job=job, step=5)  # what it says now comes too late
    assert bench.executor.names() == ["run"]
    assert bench.status(job) == "running"
    bench.executor.end(hung, -9)
    bench.manager.tick()

    assert bench.status(job) == "starting"


def test_a_worker_that_does_not_come_up_in_time_is_killed(tmp_path):
    bench = Bench(tmp_path, ready_seconds=20.0)
    job = bench.submit()

    bench.pass_time(21)

    assert len(bench.executor.killed) == 1
    assert (bench.status(job), bench.state(job).restarts) == ("starting", 1)


def test_a_worker_that_says_nothing_after_its_order_is_killed(tmp_path):
    bench = Bench(tmp_path, first_beat_seconds=15.0)
    job = bench.submit()
    bench.bring_up()

    bench.pass_time(16)

    assert len(bench.executor.killed) == 1
    assert bench.state(job).restarts == 1


def test_workers_are_not_killed_because_the_server_itself_was_stopped(bench):
    job = bench.running_job()

    bench.clock.now += 3600  # nobody called tick: the beats of this hour are still waiting to be read
    bench.manager.tick()
    assert bench.executor.killed == []
    bench.say("beat", job=job, step=6, patience_seconds=10.0)
    bench.pass_time(11)

    assert len(bench.executor.killed) == 1


def test_a_jump_of_the_wall_clock_does_no_harm(bench):
    job = bench.running_job()

    for jump in (1e9, -3e9):  # to before 1970 even
        bench.wall.now += jump
        bench.pass_time(1)
        bench.pause(job)
        bench.resume(job)

    assert bench.executor.killed == []
    assert bench.status(job) == "running"
    assert bench.ask(ListJobs()).jobs[0].submitted_at == 1.8e9


def test_a_job_that_was_to_pause_is_paused_when_its_worker_dies(bench):
    job = bench.running_job()
    bench.pause(job)

    die(bench)

    assert (bench.status(job), bench.state(job).restarts) == ("paused", 1)


def test_a_job_that_was_to_end_with_what_is_there_gets_another_worker_for_that(bench):
    job = bench.running_job()
    bench.write_checkpoint(job)
    bench.cancel(job)

    die(bench)
    assert bench.status(job) == "finishing"
    bench.bring_up()

    assert bench.executor.names()[-2:] == ["run", "cancel"]


def test_a_result_that_was_written_before_its_worker_died_counts(bench):
    job = bench.running_job()
    result = bench.write_result(job)

    die(bench)

    assert (bench.status(job), bench.state(job).restarts, bench.state(job).step) == ("finished", 0, 100)
    assert bench.fetch(job) == result


def test_a_partial_result_that_was_written_before_its_worker_died_counts_too(bench):
    job = bench.running_job()
    bench.cancel(job)
    bench.write_result(job, step=30, is_partial=True)

    die(bench)

    assert (bench.status(job), bench.state(job).has_result) == ("cancelled", True)


def test_who_waits_for_a_partial_result_hears_that_the_worker_died(bench):
    job = bench.running_job()
    answers = []
    bench.manager.handle("ann", FetchResult(job=job, partial=True), answers.append)

    die(bench)

    assert [(type(each), each.code) for each in answers] == [(Refused, "not-finished")]


def test_events_of_unknown_workers_and_of_other_jobs_change_nothing(bench):
    job = bench.running_job(step=3)
    other = bench.submit()

    bench.say("finished", "stranger", job=job, step=100)
    bench.say("finished", job=other, step=100)

    assert (bench.status(job), bench.status(other)) == ("running", "queued")
    assert len(bench.listener.logged("event-of-another-job")) == 1


@pytest.mark.parametrize(
    ("ask", "order"),
    [
        (lambda bench, job: bench.pause(job), {"order": "pause"}),
        (lambda bench, job: bench.cancel(job), {"order": "cancel", "keep": True}),
        (lambda bench, job: bench.cancel(job, "drop"), {"order": "cancel", "keep": False}),
        (lambda bench, job: bench.update(job), {"order": "update", "number": 1}),
        (lambda bench, job: bench.manager.begin_shut_down(), {"order": "stop"}),
    ],
)
def test_an_order_is_repeated_to_a_worker_whose_connection_was_made_again(bench, ask, order):
    job = bench.running_job()
    ask(bench, job)
    worker = bench.worker
    before = len(bench.executor.orders)

    bench.say("ready", worker, pid=1)

    assert bench.executor.orders[before:] == [(worker, order)]
    assert len(bench.listener.logged("worker-connected-again")) == 1


def test_what_nobody_wants_any_more_is_not_repeated(bench):
    job = bench.running_job()
    bench.pause(job)
    bench.resume(job)
    bench.update(job)
    bench.say("update_taken", job=job, number=1, step=5)
    before, demands = len(bench.executor.orders), len(bench.listener.demands)

    bench.say("ready", pid=1)
    assert bench.executor.orders[before:] == []
    assert len(bench.listener.demands) == demands + 1  # what watchers want was lost perhaps, too

    bench.pause(job)
    assert bench.executor.names()[before:] == ["pause"]  # the first one may never have come


def test_a_worker_that_dies_without_a_job_is_forgotten(bench):
    bench.finish(bench.running_job())

    die(bench, exit_code=1)
    job = bench.submit()

    assert bench.status(job) == "starting"
    assert [worker.worker_id for worker in bench.store.workers()] == [bench.worker]


def test_a_job_whose_folder_is_damaged_fails_and_the_worker_takes_the_next(bench):
    running = bench.running_job()
    damaged, whole = bench.submit(), bench.submit()
    path = bench.store.submit_file(damaged)
    path.write_bytes(path.read_bytes()[:-8])

    bench.finish(running)
    bench.manager.tick()

    assert (bench.status(damaged), bench.status(whole)) == ("failed", "starting")
    assert "submit.message" in bench.state(damaged).sentence


def test_a_job_that_cannot_be_marked_as_begun_waits_and_is_not_run(bench, monkeypatch):
    def fail(*_):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "begin", fail)
        job = bench.submit()
        bench.bring_up()
        bench.pass_time(2)
        assert (bench.status(job), bench.executor.orders) == ("queued", [])
        assert len(bench.listener.logged("database-not-written")) == 1
    bench.pass_time(5)

    assert bench.executor.names() == ["run"]


# --- shutting down


def shut_down(bench, seconds=5.0, meanwhile=lambda: None):
    def wait(pause):
        bench.clock.now += pause
        meanwhile()

    bench.manager.shut_down(seconds, wait)


def test_shutting_down_lets_workers_keep_their_state_and_ends_when_they_have(bench):
    job = bench.running_job()
    waiting = bench.submit()
    worker, before = bench.worker, bench.clock.now

    shut_down(bench, meanwhile=lambda: bench.executor.end(worker, 0))

    assert bench.executor.names() == ["run", "stop"]
    assert bench.executor.killed == []
    assert bench.clock.now - before < 1
    assert [(record.job, record.status, record.restarts) for record in bench.store.jobs()] == [
        (job, "running", 0), (waiting, "queued", 0)
    ]  # fmt: skip


def test_a_worker_that_does_not_end_in_time_is_killed_at_shut_down(bench):
    bench.running_job()
    worker = bench.worker

    shut_down(bench)

    assert bench.executor.killed == [worker]
    assert not bench.manager.has_workers
    assert bench.store.workers() == []


def test_a_job_that_finishes_during_shut_down_is_finished(bench):
    job, worker = bench.running_job(), bench.worker

    def finish():
        if bench.executor.living:
            bench.finish(job)
            bench.executor.end(worker, 0)

    shut_down(bench, meanwhile=finish)

    assert bench.store.jobs()[0].status == "finished"


def test_while_it_shuts_down_nothing_is_changed_and_known_keys_are_answered(bench):
    message = bench.submission()
    job = bench.ask(message).job
    bench.manager.begin_shut_down()

    refused = [bench.ask(bench.submission()), bench.pause(job), bench.cancel(job), bench.delete(job), bench.update(job)]

    assert [answer.code for answer in refused] == ["shutting-down"] * 5
    assert bench.ask(message).was_known
    assert bench.ask(ListJobs()).total == 1
    assert len(bench.executor.living) == 0  # one that was not ready yet had nothing to keep
