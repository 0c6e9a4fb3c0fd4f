"""What a server finds when the one before it was killed: every job that was accepted, and none twice."""

import dataclasses

import pytest
from job_bench import Bench

from backend.errors import UnusableState
from backend.server.executors import WorkerProcess
from backend.server.job_record import JobRecord
from backend.server.jobs import JobsConfig
from backend.server.message_files import write_message
from protocol.messages import ListJobs, UpdateJob


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "state")


def test_nothing_is_lost_and_nothing_runs_twice_when_the_server_is_killed(bench):
    finished = bench.finish(bench.running_job(prompt="one"))
    result = bench.fetch(finished)
    running = bench.submit(prompt="two")
    bench.begin(running, step=40)
    bench.update(running, guidance_scale=9.0)
    queued = [bench.submit(priority=priority) for priority in (0, 5)]
    paused = bench.submit()
    bench.pause(paused)

    bench.restart()
    bench.manager.tick()

    states = {state.job: state for state in bench.ask(ListJobs()).jobs}
    assert {job: state.status for job, state in states.items()} == {
        finished: "finished", running: "starting", queued[0]: "queued", queued[1]: "queued", paused: "paused"
    }  # fmt: skip
    assert [states[job].queue_position for job in queued] == [1, 0]
    assert bench.fetch(finished) == result
    assert states[running].restarts == 0  # its worker was not lost by a fault of the job
    bench.bring_up()
    ((_, order),) = bench.executor.orders
    assert (order["order"], order["job"], order["updates"]) == ("run", running, 1)


def test_submits_and_updates_are_known_after_a_restart(bench):
    message = bench.submission()
    job = bench.ask(message).job
    update = UpdateJob(job=job, key="the-same-key", more_steps=5)
    bench.ask(update)

    bench.restart()

    assert (bench.ask(message).job, bench.ask(message).was_known) == (job, True)
    assert bench.ask(update).updates == 1


def test_workers_of_the_old_server_are_killed_before_any_job_goes_on(bench):
    bench.running_job()
    old = bench.store.workers()[0]
    bench.store.close()
    bench._open()
    bench.executor.left_over.add(old.worker_id)

    bench.manager.recover()

    assert bench.executor.left_over == set()
    assert bench.store.workers() == []
    assert bench.listener.logged("left-over-worker-killed")[0]["pid"] == old.pid


def test_a_worker_is_known_by_its_name_before_its_process_is_there(bench, monkeypatch):
    known = []
    start = bench.executor.start
    monkeypatch.setattr(bench.executor, "start", lambda *given: known.extend(bench.store.workers()) or start(*given))

    bench.submit()

    assert known == [WorkerProcess(bench.worker, "cpu", 0, "")]
    assert bench.store.workers()[0].pid > 0


def test_a_job_that_was_to_pause_is_paused_after_a_restart(bench):
    job = bench.running_job()
    bench.pause(job)

    bench.restart()

    assert (bench.status(job), bench.state(job).sentence) == ("paused", "")


def test_a_job_that_was_to_end_with_what_is_there_still_does_after_a_restart(bench):
    job = bench.running_job()
    bench.write_checkpoint(job)
    bench.cancel(job)

    bench.restart()
    bench.manager.tick()
    assert bench.status(job) == "finishing"
    bench.bring_up()

    assert bench.executor.names() == ["run", "cancel"]


def test_a_dropped_or_deleted_job_is_cleared_away_after_a_restart(bench):
    dropped = bench.running_job()
    bench.write_checkpoint(dropped)
    bench.cancel(dropped, "drop")

    bench.restart()
    assert not (bench.store.job_folder(dropped) / "run").exists()
    bench.begin(deleted := bench.submit())
    bench.delete(deleted)
    assert bench.store.job_folder(deleted).exists()  # its worker may still write there
    bench.restart()

    assert not bench.store.job_folder(deleted).exists()
    assert bench.status(dropped) == "cancelled"


def test_a_result_that_the_old_server_did_not_hear_of_is_found(bench):
    job = bench.running_job()
    result = bench.write_result(job)

    bench.restart()

    assert bench.status(job) == "finished"
    assert bench.fetch(job) == result


def test_a_job_with_a_damaged_folder_fails_with_a_sentence_and_the_others_go_on(bench):
    bench.running_job()
    without_folder, cut_off, without_update, whole = (bench.submit() for _ in range(4))
    bench.update(without_update)
    bench.store.remove_job_folder(without_folder)
    path = bench.store.submit_file(cut_off)
    path.write_bytes(path.read_bytes()[:40])
    bench.store.update_file(without_update, 1).unlink()

    bench.restart()

    assert [bench.status(job) for job in (without_folder, cut_off, without_update, whole)] == [
        "failed", "failed", "failed", "queued"
    ]  # fmt: skip
    assert "submit.message" in bench.state(without_folder).sentence
    assert "submit.message has 40 bytes" in bench.state(cut_off).sentence
    assert "000001.message" in bench.state(without_update).sentence
    assert bench.fetch(cut_off).code == "internal"
    assert all(str(bench.folder) not in failed.sentence for failed in bench.listener.failures)


def test_a_result_that_is_gone_is_told(bench):
    job = bench.finish(bench.running_job())
    bench.store.result_file(job).unlink()

    bench.restart()

    assert (bench.status(job), bench.state(job).has_result) == ("finished", False)
    assert "not on the server's disk" in bench.state(job).sentence


def test_what_was_being_accepted_when_the_server_was_killed_leaves_nothing(bench):
    job = bench.submit()
    bench.store.make_job_folder("half-made")
    write_message(bench.store.submit_file("half-made"), bench.submission())
    write_message(bench.store.update_file(job, 1), UpdateJob(job=job, key="half-made", prompt="x"))

    bench.restart()

    assert bench.store.job_folders() == {job}
    assert not bench.store.update_file(job, 1).exists()
    assert bench.update(job).updates == 1


def test_the_work_of_jobs_that_the_database_does_not_know_is_put_aside(bench):
    job = bench.finish(bench.running_job())
    bench.store.forget([job])

    bench.restart()

    assert (bench.folder / "unknown-jobs" / job / "result.message").exists()
    assert bench.store.job_folders() == set()


def test_turns_of_clients_are_remembered(bench):
    bench.running_job(owner="ann")
    of_ann, of_bob = bench.submit("ann"), bench.submit("bob")

    bench.restart()

    assert bench.state(of_bob, "bob").queue_position == 1  # after the one that was running
    assert bench.state(of_ann, "ann").queue_position == 2


def test_two_servers_cannot_use_one_state_folder(bench):
    with pytest.raises(UnusableState, match="in use by another server"):
        Bench(bench.folder)


def test_a_restart_with_fewer_restarts_allowed_changes_nothing_by_itself(bench):
    job = bench.running_job()

    bench.restart(JobsConfig(most_restarts=0))
    bench.manager.tick()

    assert bench.status(job) == "starting"


def test_every_field_of_a_job_is_as_it_was_after_a_restart(bench):
    record = JobRecord(
        job="a1", owner="ann", key="key-000001", task="image", title="ü", status="failed", number=7, wish="keep",
        step=3, total_steps=9, priority=-4, is_first=True, updates=2, restarts=1, has_result=True, device="a CPU",
        wants_device="cpu", sentence="Why.", failure_code="bad-mesh", failure_log_id="f0", submitted_at=1.5,
        changed_at=2.5, ended_at_uptime=3.5, result_bytes=11,
    )  # fmt: skip
    defaults = {each.name: each.default for each in dataclasses.fields(JobRecord)}
    assert all(getattr(record, name) != default for name, default in defaults.items())
    bench.store.add(record)
    bench.store.close()

    bench._open()

    assert bench.store.jobs() == [record]
