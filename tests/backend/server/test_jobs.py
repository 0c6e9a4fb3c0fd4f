"""Requests about jobs, and how jobs move through their states, with workers that are told what to do."""

import dataclasses
import sqlite3

import pytest
from job_bench import Bench

from backend.server.job_record import JobsConfig
from examples import input_mesh, strokes
from protocol.frames import decode, encode
from protocol.messages import DeleteJob, FetchResult, Heartbeat, ListJobs, PauseJob, Refused, SubmitAccepted, UpdateJob
from protocol.settings import Limits, Settings


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "state")


def is_refusal(answer, code, *words):
    """Whether it is a refusal with this code whose sentence or right value has all these words."""
    text = f"{answer.sentence} {answer.right} {answer.path}" if isinstance(answer, Refused) else ""
    return isinstance(answer, Refused) and answer.code == code and all(word in text for word in words)


# --- submitting


def test_a_job_is_accepted_and_given_to_a_worker_once_that_is_ready(bench):
    job = bench.submit(prompt="a  red\ncube")
    assert bench.state(job).title == "a red cube"
    assert bench.status(job) == "starting"
    assert bench.executor.orders == []

    bench.bring_up()

    ((worker, order),) = bench.executor.orders
    folder = str(bench.store.job_folder(job))
    assert order == {
        "order": "run", "job": job, "folder": folder, "attempt": 1, "updates": 0, "checkpoint_seconds": 60.0
    }  # fmt: skip
    assert bench.listener.demands == [(job, worker)]


def test_a_job_goes_its_whole_way(bench):
    job = bench.submit(settings=Settings(steps=100))
    bench.begin(job)
    bench.say("beat", job=job, step=100, patience_seconds=5.0)
    result = bench.write_result(job)
    bench.say("finished", job=job, step=100)

    seen = [state.status for state in bench.listener.states if state.job == job]
    assert list(dict.fromkeys(seen)) == ["queued", "starting", "running", "finishing", "finished"]
    assert bench.state(job).has_result
    assert bench.state(job).device == "a CPU"
    assert bench.fetch(job) == result


def test_the_same_key_again_gives_the_same_job_and_does_nothing(bench):
    message = bench.submission()
    first = bench.ask(message)

    second = bench.ask(message)

    assert second == SubmitAccepted(job=first.job, key=message.key, was_known=True)
    assert bench.ask(ListJobs()).total == 1


def test_the_same_key_of_another_owner_is_another_job(bench):
    message = bench.submission()

    assert bench.ask(message, "ann").job != bench.ask(message, "bob").job


def test_the_key_of_a_deleted_job_makes_no_new_one(bench):
    message = bench.submission()
    job = bench.ask(message).job
    bench.delete(job)

    again = bench.ask(message)

    assert (again.job, again.was_known) == (job, True)
    assert bench.ask(ListJobs()).total == 0


def test_an_owner_sees_and_touches_their_own_jobs_only(bench):
    job = bench.submit("ann")

    assert bench.state(job, "bob") is None
    assert bench.ask(ListJobs(), "bob").total == 0
    for request in (PauseJob(job=job), DeleteJob(job=job), FetchResult(job=job)):
        assert is_refusal(bench.ask(request, "bob"), "unknown-job")
    assert bench.status(job) == "starting"


def test_jobs_are_listed_newest_first_by_pages(bench):
    jobs = [bench.submit() for _ in range(5)]

    page = bench.ask(ListJobs(offset=1, most=2))

    assert [state.job for state in page.jobs] == [jobs[3], jobs[2]]
    assert page.total == 5


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"settings": Settings(prior="sd21")}, "unknown-name", ("sd21", "embedded", "settings.prior")),
        ({"settings": Settings(lora="clay")}, "unknown-name", ("clay", "no other", "left out")),
        ({"settings": Settings(environment="moon")}, "unknown-name", ("moon", "studio, sunset")),
        ({"settings": Settings(environment="sunset")}, "bad-message", ("sunset yet", "studio, sunset", "left out")),
        ({"settings": Settings(device="cuda")}, "unknown-name", ("it has cpu.", "auto or cpu", "settings.device")),
        ({"task": "sketch", "sketches": (strokes(),)}, "bad-message", ("sketch", "not served yet", "text, texture")),
        ({"sketches": (strokes(),)}, "bad-message", ("Sketches are not served yet",)),
        ({"mesh": input_mesh()}, "too-large", ("mesh.faces has 4 faces", "at most 3")),
        ({"settings": Settings(texture_size=2048)}, "too-large", ("2048", "at most 1024")),
        ({"settings": Settings(faces=5000)}, "too-large", ("settings.faces", "at most 3")),
    ],
)
def test_what_the_server_does_not_have_is_refused_with_what_is_right(tmp_path, fields, code, words):
    limits = Limits(texture_size=1024)
    object.__setattr__(limits, "faces", 3)  # the wire allows no less than 4, as many as the example has
    served = ("text", "texture", "image")
    bench = Bench(tmp_path, limits=limits, environments=frozenset({"sunset", "studio"}), tasks=served)

    answer = bench.ask(bench.submission(**fields))

    assert is_refusal(answer, code, *words), answer
    assert list(bench.store.jobs_folder.iterdir()) == []


def test_a_job_for_the_processor_is_refused_where_there_are_gpus_only(tmp_path):
    bench = Bench(tmp_path, devices=("cuda:0", "cuda:1"))

    answer = bench.ask(bench.submission(settings=Settings(device="cpu")))

    assert is_refusal(answer, "unknown-name", "no device cpu", "it has cuda:0, cuda:1", "auto or cuda")


def test_a_job_whose_device_is_gone_after_a_restart_says_so_and_goes_on_when_it_is_back(tmp_path):
    bench = Bench(tmp_path, devices=("cuda:0",))
    bench.running_job()
    waiting = bench.submit(settings=Settings(device="cuda"))

    bench.devices = ("cpu",)
    bench.restart()
    bench.pass_time(1.0)  # the other job takes the processor
    told = bench.state(waiting)
    bench.devices = ("cuda:0", "cuda:1")
    bench.restart()
    bench.pass_time(1.0)

    assert told.status == "queued"
    assert "waits for a device cuda" in told.sentence
    assert "now has cpu only" in told.sentence
    assert "device auto" in told.sentence
    assert (bench.status(waiting), bench.state(waiting).sentence) == ("starting", "")


def test_sketches_are_counted_where_they_are_served(tmp_path):
    bench = Bench(tmp_path, limits=Limits(sketches=0), tasks=("text", "sketch"))

    answer = bench.ask(bench.submission(task="sketch", sketches=(strokes(),)))

    assert is_refusal(answer, "too-large", "sketches", "at most 0")


def test_scribbles_are_refused_before_they_cost_a_job_of_a_model_without_a_controlnet(tmp_path):
    priors = frozenset({"embedded", "sd", "sd15"})
    bench = Bench(tmp_path, priors=priors, controlled_priors=frozenset({"embedded", "sd15"}))
    sketches = (strokes(), strokes(name="idea", drawn="scribble"))

    refused = bench.ask(bench.submission(task="sketch", sketches=sketches, settings=Settings(prior="sd")))
    taken = [
        bench.ask(bench.submission(task="sketch", sketches=sketches, settings=Settings(prior=prior)))
        for prior in ("embedded", "sd15")
    ]

    assert is_refusal(refused, "bad-message", "idea is a scribble", "sketches[1].drawn", "lines or outline")
    assert "none for the model sd" in refused.sentence
    assert all(isinstance(answer, SubmitAccepted) for answer in taken)


def test_jobs_of_one_client_are_limited_and_others_are_not_affected(tmp_path):
    bench = Bench(tmp_path, limits=Limits(jobs=2))
    first = bench.submit("ann")
    bench.submit("ann")

    assert is_refusal(bench.ask(bench.submission(), "ann"), "too-many", "2 jobs")
    assert bench.submit("bob")
    bench.delete(first)
    assert bench.submit("ann")


@pytest.mark.parametrize("failing", ["write_message", "add"])
def test_a_full_disk_refuses_a_job_and_leaves_nothing_behind(bench, monkeypatch, failing):
    def fail(*_):
        if failing == "add":
            raise sqlite3.OperationalError("database or disk is full")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if failing == "add":
            patch.setattr(bench.store, "add", fail)
        else:
            patch.setattr("backend.server.job_intake.write_message", fail)
        answer = bench.ask(bench.submission())

    assert is_refusal(answer, "internal", "disk")
    assert list(bench.store.jobs_folder.iterdir()) == []
    assert bench.ask(ListJobs()).total == 0
    assert bench.submit()


def test_a_fault_of_ours_is_answered_and_its_details_stay_in_the_log(bench, monkeypatch):
    monkeypatch.setattr(bench.store, "make_job_folder", lambda job: 1 / 0)

    answer = bench.ask(bench.submission())

    (logged,) = bench.listener.logged("request-failed")
    assert is_refusal(answer, "internal", logged["log_id"])
    assert "ZeroDivision" not in answer.sentence


def test_what_is_no_request_about_jobs_is_refused(bench):
    assert is_refusal(bench.ask(Heartbeat()), "unknown-message", "Heartbeat")


# --- the queue


def test_priorities_order_the_jobs_of_one_client_and_positions_are_told(bench):
    running = bench.running_job()
    low, high, middle = (bench.submit(priority=priority) for priority in (-1, 5, 0))

    positions = {job: bench.state(job).queue_position for job in (running, low, high, middle)}

    assert positions == {running: None, high: 0, middle: 1, low: 2}
    told = {state.job: state.queue_position for state in bench.listener.states}
    assert told == positions


def test_clients_take_turns(bench):
    bench.running_job(owner="ann")
    of_ann = [bench.submit("ann") for _ in range(3)]
    of_bob = [bench.submit("bob", priority=-5) for _ in range(2)]

    positions = [
        bench.state(job, owner).queue_position for owner, jobs in (("bob", of_bob), ("ann", of_ann)) for job in jobs
    ]

    # Ann has just had a turn, so Bob is first; whatever the priority, which counts among his own jobs only.
    assert positions == [0, 2, 1, 3, 4]


def test_a_job_begins_on_each_device_that_suits_it(tmp_path):
    bench = Bench(tmp_path, devices=("cpu", "cuda:0"))
    cuda = bench.submit(settings=Settings(device="cuda"))
    waiting = bench.submit(settings=Settings(device="cuda"))
    cpu = bench.submit(settings=Settings(device="cpu"))

    assert [bench.status(job) for job in (cuda, waiting, cpu)] == ["starting", "queued", "starting"]
    assert sorted(bench.executor.living.values()) == ["cpu", "cuda:0"]


def test_a_worker_that_has_ended_a_job_gets_the_next_one(bench):
    first = bench.running_job()
    second = bench.submit()
    worker = bench.worker

    bench.finish(first)

    assert bench.status(second) == "starting"
    asked, order = bench.executor.orders[-1]
    assert (asked, order["order"], order["job"]) == (worker, "run", second)
    assert bench.state(second).queue_position is None


def test_an_idle_worker_is_stopped_and_another_is_started_when_a_job_comes(tmp_path):
    bench = Bench(tmp_path, idle_seconds=10.0)
    bench.finish(bench.running_job())
    old = bench.worker

    bench.pass_time(11)
    assert bench.executor.orders[-1] == (old, {"order": "stop"})
    bench.executor.end(old, 0)
    job = bench.submit()
    bench.pass_time(1)

    assert bench.worker != old
    assert bench.status(job) == "starting"


def test_a_worker_that_cannot_be_started_is_tried_again_later(bench):
    bench.executor.start_error = OSError(12, "Cannot allocate memory")
    job = bench.submit()
    bench.pass_time(2)
    assert bench.status(job) == "queued"
    assert len(bench.listener.logged("worker-not-started")) == 1

    bench.executor.start_error = None
    bench.pass_time(4)

    assert bench.status(job) == "starting"


# --- pausing and resuming


def test_a_queued_job_pauses_at_once_and_goes_back_into_the_queue(bench):
    bench.running_job()
    first, second = bench.submit(), bench.submit()

    assert bench.pause(first).status == "paused"
    assert bench.state(first).queue_position is None
    assert bench.state(second).queue_position == 0
    assert (bench.resume(first).status, bench.state(first).queue_position) == ("queued", 0)


def test_a_running_job_pauses_when_its_worker_says_so(bench):
    job = bench.running_job(step=7)

    assert bench.pause(job).status == "running"
    assert bench.state(job).sentence == "It pauses after its step."
    assert bench.pause(job).status == "running"
    assert bench.executor.names() == ["run", "pause"]
    bench.say("paused", job=job, step=8)

    assert (bench.status(job), bench.state(job).step, bench.state(job).sentence) == ("paused", 8, "")
    assert bench.pause(job).status == "paused"


def test_a_paused_job_is_run_again_from_its_folder(bench):
    job = bench.running_job()
    bench.pause(job)
    bench.say("paused", job=job, step=8)

    assert bench.resume(job).status == "queued"

    assert bench.status(job) == "starting"
    assert bench.executor.names() == ["run", "pause", "run"]


def test_a_resumed_job_keeps_its_step_while_its_worker_loads(bench):
    job = bench.running_job(step=30)
    bench.pause(job)
    bench.say("paused", job=job, step=30)

    bench.resume(job)
    bench.say("beat", job=job, step=0, patience_seconds=600.0)

    assert (bench.status(job), bench.state(job).step) == ("starting", 30)


def test_a_job_that_is_resumed_while_it_pauses_goes_on_before_others(bench):
    job = bench.running_job()
    bench.submit(priority=10)
    bench.pause(job)

    assert bench.resume(job).status == "running"
    bench.say("paused", job=job, step=8)

    assert bench.executor.orders[-1][1]["order"] == "run"
    assert bench.executor.orders[-1][1]["job"] == job
    assert bench.state(job).restarts == 0


def test_a_job_whose_worker_is_still_coming_up_pauses_at_once(bench):
    job = bench.submit()

    assert bench.pause(job).status == "paused"
    bench.bring_up()

    assert bench.executor.orders == []
    assert bench.status(job) == "paused"


def test_resuming_what_is_on_its_way_does_nothing(bench):
    job = bench.running_job()

    assert bench.resume(job).status == "running"
    assert bench.executor.names() == ["run"]


# --- cancelling and deleting


def test_cancelling_a_running_job_with_keep_gives_its_mesh_as_a_partial_result(bench):
    job = bench.running_job(step=30)

    assert bench.cancel(job).status == "finishing"
    assert bench.cancel(job).status == "finishing"
    assert bench.executor.orders[-1][1] == {"order": "cancel", "keep": True}
    assert bench.executor.names() == ["run", "cancel"]
    result = bench.write_result(job, step=31, is_partial=True)
    bench.say("cancelled", job=job, step=31, has_result=True)

    assert (bench.status(job), bench.state(job).has_result) == ("cancelled", True)
    assert bench.fetch(job) == result
    assert bench.cancel(job).status == "cancelled"


def test_cancelling_with_drop_ends_a_job_at_once_and_clears_its_folder_when_the_worker_lets_go(bench):
    job = bench.running_job(step=30)
    bench.write_checkpoint(job)
    other = bench.submit()

    assert bench.cancel(job, "drop").status == "cancelled"
    assert bench.executor.orders[-1][1] == {"order": "cancel", "keep": False}
    assert bench.status(other) == "queued"
    assert (bench.store.job_folder(job) / "run").exists()
    bench.say("cancelled", job=job, step=30, has_result=False)

    assert not (bench.store.job_folder(job) / "run").exists()
    assert bench.status(other) == "starting"
    assert is_refusal(bench.fetch(job), "not-finished", "cancelled")


def test_a_dropped_job_may_be_lost_with_its_worker(bench):
    job = bench.running_job()
    bench.cancel(job, "drop")

    bench.pass_time(31)  # its patience was 30 s

    assert (bench.status(job), bench.state(job).restarts) == ("cancelled", 0)
    assert bench.listener.failures == []


def test_drop_after_keep_drops(bench):
    job = bench.running_job()
    bench.cancel(job)

    assert bench.cancel(job, "drop").status == "cancelled"
    bench.write_result(job, is_partial=True)
    bench.say("cancelled", job=job, step=30, has_result=True)

    assert not bench.state(job).has_result
    assert not bench.store.result_file(job).exists()


def test_a_queued_job_without_a_step_is_cancelled_without_a_result(bench):
    bench.running_job()
    job = bench.submit()

    answer = bench.cancel(job)

    assert (answer.status, answer.has_result) == ("cancelled", False)
    assert "nothing that could be kept" in answer.sentence


def test_a_paused_job_with_a_checkpoint_gets_a_worker_to_make_its_result(bench):
    job = bench.running_job()
    bench.pause(job)
    bench.write_checkpoint(job)
    bench.say("paused", job=job, step=20)

    assert bench.cancel(job).status == "finishing"

    assert [order for _, order in bench.executor.orders[-2:]] == [
        bench.executor.orders[-2][1] | {"order": "run", "job": job},
        {"order": "cancel", "keep": True},
    ]
    bench.say("started", job=job, device="a CPU", total_steps=100, step=20)
    assert bench.status(job) == "finishing"
    bench.write_result(job, step=20, is_partial=True)
    bench.say("cancelled", job=job, step=20, has_result=True)
    assert (bench.status(job), bench.state(job).has_result) == ("cancelled", True)


def test_a_job_that_is_cancelled_while_it_pauses_ends_with_what_is_there(bench):
    job = bench.running_job()
    bench.write_checkpoint(job)
    bench.pause(job)
    bench.cancel(job)

    bench.say("paused", job=job, step=20)

    assert bench.status(job) == "finishing"
    assert bench.executor.names()[-2:] == ["run", "cancel"]


def test_a_job_that_finishes_before_it_hears_that_it_is_cancelled_is_finished(bench):
    job = bench.running_job(step=99)
    bench.cancel(job)

    bench.finish(job)

    assert (bench.status(job), bench.state(job).has_result) == ("finished", True)


@pytest.mark.parametrize("status", ["queued", "starting", "running", "paused", "finished", "cancelled", "failed"])
def test_a_job_can_be_deleted_in_every_state(bench, status):
    job = job_in(bench, status)

    assert bench.delete(job).status == "deleted"
    if status == "running":
        bench.say("cancelled", job=job, step=3, has_result=False)

    assert not bench.store.job_folder(job).exists()
    assert bench.state(job) is None
    assert bench.delete(job).status == "deleted"
    assert is_refusal(bench.fetch(job), "unknown-job")
    assert "deleted" in [state.status for state in bench.listener.states if state.job == job]


def job_in(bench, status):
    """A job in this state, made by the shortest way."""
    if status == "queued":
        bench.running_job()
        return bench.submit()
    if status == "starting":
        return bench.submit()
    job = bench.running_job(step=3)
    if status == "paused":
        bench.pause(job)
        bench.say("paused", job=job, step=3)
    elif status == "finishing":
        bench.cancel(job)
    elif status == "finished":
        bench.finish(job)
    elif status == "cancelled":
        bench.cancel(job, "drop")
        bench.say("cancelled", job=job, step=3, has_result=False)
    elif status == "failed":
        bench.say("failed", job=job, code="bad-mesh", sentence="Its faces cross.", log_id="a1")
    assert bench.status(job) == status
    return job


@pytest.mark.parametrize(
    ("request_name", "statuses"),
    [
        ("pause", ("finishing", "finished", "cancelled", "failed")),
        ("resume", ("finishing", "finished", "cancelled", "failed")),
        ("update", ("finishing", "finished", "cancelled", "failed")),
        ("cancel", ("finished", "failed")),
    ],
)
def test_what_a_state_does_not_allow_is_refused_with_a_sentence(tmp_path, request_name, statuses):
    for status in statuses:
        bench = Bench(tmp_path / status)
        job = job_in(bench, status)
        orders = len(bench.executor.orders)

        answer = getattr(bench, request_name)(job)

        assert is_refusal(answer, "wrong-state", status), (status, answer)
        assert bench.status(job) == status
        assert len(bench.executor.orders) == orders


# --- steering


def test_an_update_of_a_running_job_is_stored_before_its_worker_hears_of_it(bench):
    job = bench.running_job()

    answer = bench.update(job, guidance_scale=9.0)

    assert answer.updates == 1
    assert bench.executor.orders[-1][1] == {"order": "update", "number": 1}
    assert bench.store.update_file(job, 1).exists()


def test_updates_of_a_queued_or_paused_job_are_taken_when_it_runs(bench):
    job = job_in(bench, "paused")
    bench.update(job)
    bench.update(job)
    assert bench.executor.names() == ["run", "pause"]

    bench.resume(job)

    assert bench.executor.orders[-1][1]["updates"] == 2


def test_the_same_update_again_does_nothing(bench):
    job = bench.running_job()
    message = UpdateJob(job=job, key="the-same-key", more_steps=50)

    answers = [bench.ask(message), bench.ask(message)]

    assert [(answer.updates, answer.total_steps) for answer in answers] == [(1, 150), (1, 150)]
    assert bench.executor.names() == ["run", "update"]


def test_a_known_update_is_answered_even_when_the_job_has_ended(bench):
    job = bench.running_job()
    message = UpdateJob(job=job, key="the-same-key", prompt="a blue cube")
    bench.ask(message)
    bench.say("update_taken", job=job, number=1, step=40)
    bench.finish(job)

    assert bench.ask(message).status == "finished"


def test_more_steps_than_a_job_can_have_are_refused(bench):
    job = bench.running_job()
    bench.say("steps", job=job, total_steps=1_999_990)

    answer = bench.update(job, more_steps=11)

    assert is_refusal(answer, "bad-message", "more_steps", "at most 10")
    assert not bench.store.update_file(job, 1).exists()


def test_the_sum_of_more_steps_is_bounded_before_the_total_is_known_and_over_a_restart(bench):
    """2,000,000 in all, of which a job may be submitted with 1,000,000."""
    bench.submit()
    job = bench.submit()  # behind the first: nobody knows yet how many steps it has
    assert bench.update(job, more_steps=600_000).updates == 1
    bench.restart()

    too_many = bench.update(job, more_steps=400_001)
    just_right = bench.update(job, more_steps=400_000)
    nothing_left = bench.update(job, more_steps=1)

    assert is_refusal(too_many, "bad-message", "more_steps", "at most 400000")
    assert just_right.updates == 2
    assert is_refusal(nothing_left, "bad-message", "left out")
    assert bench.update(job, guidance_scale=5.0).updates == 3


def test_more_steps_count_that_a_worker_has_not_taken_yet(bench):
    job = bench.submit(settings=Settings(steps=1_000_000))
    bench.update(job, more_steps=900_000)
    bench.begin(job, total_steps=1_000_000)  # the worker has not looked at the update

    assert is_refusal(bench.update(job, more_steps=100_001), "bad-message", "at most 100000")


def test_updates_are_limited_in_size_and_number(tmp_path):
    bench = Bench(tmp_path, limits=Limits(vertices=4), most_updates=1, tasks=("text",))
    job = bench.running_job()

    assert is_refusal(bench.update(job, add_sketches=(strokes(),)), "bad-message", "Sketches are not served yet")
    assert bench.update(job, mesh=input_mesh()).updates == 1
    assert is_refusal(bench.update(job), "too-many")


def test_a_full_disk_refuses_an_update_and_leaves_nothing_behind(bench, monkeypatch):
    job = bench.running_job()

    def fail(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(bench.store, "add_update", fail)
    answer = bench.update(job, more_steps=5)

    assert is_refusal(answer, "internal", "disk")
    assert not bench.store.update_file(job, 1).exists()
    assert (bench.state(job).updates, bench.state(job).total_steps) == (0, 100)
    assert bench.executor.names() == ["run"]


def test_a_job_that_gets_more_steps_when_it_is_done_runs_on(bench):
    job = bench.running_job()
    bench.say("beat", job=job, step=100, patience_seconds=30.0)
    assert bench.status(job) == "finishing"

    bench.say("steps", job=job, total_steps=150)

    assert (bench.status(job), bench.state(job).total_steps) == ("running", 150)


def test_an_update_that_its_worker_heard_too_late_is_taken_by_another_run(bench):
    job = bench.running_job()
    bench.update(job)
    bench.write_result(job)
    bench.say("finished", job=job, step=100)  # without having said update_taken

    assert bench.status(job) == "starting"
    assert bench.executor.orders[-1][1]["updates"] == 1
    assert not bench.store.result_file(job).exists()
    bench.begin(job)
    assert bench.status(bench.finish(job)) == "finished"


def test_a_job_that_has_taken_its_updates_finishes(bench):
    job = bench.running_job()
    bench.update(job)
    bench.say("update_taken", job=job, number=1, step=40)

    assert bench.status(bench.finish(job)) == "finished"


# --- results


def test_a_result_that_is_not_there_yet_is_refused(bench):
    job = bench.running_job()

    assert is_refusal(bench.fetch(job), "not-finished", "running")


def test_a_failed_job_tells_why_to_watchers_and_to_whoever_fetches(bench):
    job = bench.running_job()

    bench.say("failed", job=job, code="empty-surface", sentence="The shape vanished.", log_id="f00")

    (failed,) = bench.listener.failures
    assert (failed.code, failed.sentence, failed.log_id) == ("empty-surface", "The shape vanished.", "f00")
    assert bench.fetch(job) == failed
    assert bench.state(job).sentence == "The shape vanished."


def test_a_job_that_says_it_is_done_without_a_result_has_failed(bench):
    job = bench.running_job()

    bench.say("finished", job=job, step=100)

    assert bench.status(job) == "failed"
    assert bench.listener.failures[0].code == "internal"


def test_a_result_is_read_where_nothing_waits_for_it(bench):
    """It may have 100 MB, for which the jobs' thread would stand still for a tenth of a second."""
    result = bench.write_result(job := bench.running_job())
    bench.say("finished", job=job, step=100)
    reads, answers = [], []
    bench.read_elsewhere = reads.append

    bench.manager.handle("ann", FetchResult(job=job), answers.append)
    assert (len(reads), answers) == (1, [])
    reads[0]()

    assert decode(answers[0], "server").message == result


def test_a_damaged_result_is_refused_with_a_sentence(bench):
    job = bench.finish(bench.running_job())
    path = bench.store.result_file(job)
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")

    assert is_refusal(bench.fetch(job), "internal", "damaged")


def test_all_who_ask_for_a_partial_result_get_the_one_the_worker_makes(bench):
    job = bench.running_job()
    answers = []
    for _ in range(2):
        bench.manager.handle("ann", FetchResult(job=job, partial=True), answers.append)
    assert answers == []
    order = bench.executor.orders[-1][1]
    assert bench.executor.names() == ["run", "fetch"]

    frames = encode(bench.write_result(job, step=5, is_partial=True))
    bench.manager.on_partial(bench.worker, order["token"], frames)
    bench.manager.on_partial(bench.worker, order["token"], frames)

    assert answers == [frames, frames]


def test_a_partial_result_that_does_not_come_is_refused_after_a_while(tmp_path):
    bench = Bench(tmp_path, partial_seconds=5.0)
    job = bench.running_job()
    answers = []
    bench.manager.handle("ann", FetchResult(job=job, partial=True), answers.append)

    bench.pass_time(4)
    assert answers == []
    bench.pass_time(2)

    assert is_refusal(answers[0], "not-finished", "in time")


def test_who_waits_for_a_partial_result_gets_the_whole_one_if_the_job_ends_first(bench):
    job = bench.running_job()
    answers = []
    bench.manager.handle("ann", FetchResult(job=job, partial=True), answers.append)

    result = bench.write_result(job)
    bench.say("finished", job=job, step=100)

    assert [bytes(frame) for frame in answers[0]] == [bytes(frame) for frame in encode(result)]


def test_a_paused_job_has_no_worker_to_give_a_partial_result(bench):
    job = job_in(bench, "paused")

    assert is_refusal(bench.fetch(job, partial=True), "not-finished", "paused")


# --- keeping


def test_the_oldest_results_are_deleted_for_the_quota_and_the_newest_stays(tmp_path):
    bench = Bench(tmp_path, quota_bytes=1)
    jobs = [bench.finish(bench.running_job())]
    for _ in range(2):
        jobs.append(bench.submit())
        bench.say("started", job=jobs[-1], device="a CPU", total_steps=100, step=0)
        bench.finish(jobs[-1])

    bench.pass_time(31)

    assert [bench.state(job) is None for job in jobs] == [True, True, False]
    assert [line["job"] for line in bench.listener.logged("job-expired")] == jobs[:2]
    assert not bench.store.job_folder(jobs[0]).exists()


def test_what_a_dropped_job_still_had_on_disk_does_not_count_against_the_quota(tmp_path):
    bench = Bench(tmp_path, quota_bytes=100_000)
    kept = bench.finish(bench.running_job())
    dropped = bench.submit()
    bench.begin(dropped)
    bench.write_checkpoint(dropped)
    (bench.store.job_folder(dropped) / "run" / "checkpoints" / "step-000020" / "state").write_bytes(bytes(200_000))

    bench.cancel(dropped, "drop")
    bench.pass_time(31, tick=1.0)  # its worker does not answer, and is lost
    bench.pass_time(31, tick=1.0)

    assert not (bench.store.job_folder(dropped) / "run").exists()
    assert bench.status(kept) == "finished"


def test_results_are_deleted_by_age_and_a_jump_of_the_wall_clock_deletes_none(tmp_path):
    bench = Bench(tmp_path, keep_days=1.0, idle_seconds=0.0)
    job = bench.finish(bench.running_job())

    bench.wall.now += 10 * 365 * 86_400
    bench.pass_time(60)
    assert bench.status(job) == "finished"
    bench.clock.now += 86_400
    bench.manager.tick()

    assert bench.state(job) is None
    assert bench.listener.logged("job-expired")[0]["reason"] == "It was deleted after 1 days."


def test_the_age_of_results_goes_on_after_a_restart(tmp_path):
    bench = Bench(tmp_path, keep_days=1.0)
    job = bench.finish(bench.running_job())
    bench.clock.now += 80_000
    bench.manager.tick()
    bench.clock.now = 17.0  # another boot of the machine

    bench.restart()
    bench.pass_time(1)
    assert bench.status(job) == "finished"
    bench.clock.now += 6_500  # more than a day together
    bench.manager.tick()

    assert bench.state(job) is None


def test_only_so_many_keys_of_deleted_jobs_are_remembered(tmp_path):
    bench = Bench(tmp_path, tombstones=1)
    messages = [bench.submission() for _ in range(2)]
    first, second = (bench.ask(message).job for message in messages)
    for job in (first, second):
        bench.delete(job)

    bench.pass_time(31)

    assert bench.ask(messages[1]).was_known
    assert not bench.ask(messages[0]).was_known


def test_what_the_disk_does_not_take_is_written_later(bench, monkeypatch):
    job = bench.running_job()

    def fail(*_):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "save", fail)
        bench.finish(job)
        assert bench.status(job) == "finished"
        assert len(bench.listener.logged("database-not-written")) == 1
    bench.pass_time(2)

    assert [record.status for record in bench.store.jobs()] == ["finished"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ready_seconds": 0.0}, "ready_seconds is 0.0"),
        ({"most_restarts": -1}, "most_restarts is -1"),
        ({"most_restarts": 1001}, "most_restarts is 1001"),
        ({"quota_bytes": -5}, "quota_bytes is -5"),
        ({"keep_days": float("nan")}, "keep_days is nan"),
        ({"tasks": ()}, "tasks is empty"),
    ],
)
def test_a_wrong_configuration_is_refused_with_the_value(changes, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(JobsConfig(), **changes)
