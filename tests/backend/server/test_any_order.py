"""Requests, worker's answers, losses of workers and restarts in any order: nothing is lost, stuck or run twice."""

import random

import pytest
from job_bench import Bench

from protocol.messages import Refused

FINAL = ("finished", "cancelled", "failed", "deleted")
STEPS = 6


class Workers:
    """Do what they are told, one thing at a time, as real ones do: a step, or the next order."""

    def __init__(self, bench):
        self.bench = bench
        self.jobs = {}
        self.read = {}

    def act(self, worker):
        orders = [order for each, order in self.bench.executor.orders if each == worker]
        place = self.read.setdefault(worker, -1)
        if place < 0:
            self.read[worker] = 0
            self.bench.say("ready", worker, pid=1)
        elif place < len(orders):
            self.read[worker] += 1
            getattr(self, orders[place]["order"])(worker, orders[place])
        elif worker in self.jobs:
            self.step(worker)

    def run(self, worker, order):
        job = order["job"]
        assert worker not in self.jobs, "a worker that has a job was given another"
        assert job not in self.jobs.values(), "two workers were given one job"
        assert not self.bench.store.result_file(job).exists(), "a job with a result was begun again"
        self.jobs[worker] = job
        checkpoints = self.bench.store.job_folder(job) / "run" / "checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        step = self.steps(job)
        self.bench.say("started", worker, job=job, device="a CPU", total_steps=STEPS, step=step)

    def steps(self, job):
        return len(list((self.bench.store.job_folder(job) / "run" / "checkpoints").glob("step-*")))

    def step(self, worker):
        job, step = self.jobs[worker], self.steps(self.jobs[worker])
        if step == STEPS:
            self.bench.write_result(job, step)
            del self.jobs[worker]
            self.bench.say("finished", worker, job=job, step=step)
        else:
            (self.bench.store.job_folder(job) / "run" / "checkpoints" / f"step-{step:06d}").mkdir()
            self.bench.say("beat", worker, job=job, step=step + 1, patience_seconds=30.0)

    def pause(self, worker, order):
        job = self.jobs.pop(worker, None)
        if job is not None:
            self.bench.say("paused", worker, job=job, step=self.steps(job))

    def cancel(self, worker, order):
        job = self.jobs.pop(worker, None)
        if job is not None:
            if order["keep"]:
                self.bench.write_result(job, self.steps(job), is_partial=True)
            self.bench.say("cancelled", worker, job=job, step=self.steps(job), has_result=order["keep"])

    def update(self, worker, order):
        job = self.jobs.get(worker)
        assert job is None or self.bench.store.update_file(job, order["number"]).exists()

    def stop(self, worker, order):
        self.end(worker, 0)

    def end(self, worker, exit_code):
        job = self.jobs.pop(worker, None)
        if job is not None and self.steps(job) == STEPS:
            self.bench.write_result(job, STEPS)  # it had no time to say so
        self.bench.executor.end(worker, exit_code)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_in_whatever_order_every_job_comes_to_its_end_once(tmp_path, seed):
    chance = random.Random(seed)
    bench = Bench(tmp_path, devices=("cpu", "cuda:0"), most_restarts=1000)
    workers = Workers(bench)
    jobs, ended = [], {}

    def any_worker():
        return chance.choice(sorted(bench.executor.living)) if bench.executor.living else None

    for _ in range(150):
        what = chance.choices(("submit", "ask", "work", "lose", "restart"), (10, 25, 60, 4, 1))[0]
        if what == "submit" and len(jobs) < 12:
            jobs.append(bench.submit(priority=chance.randint(-2, 2)))
        elif what == "ask" and jobs:
            name = chance.choice(("pause", "resume", "resume", "cancel", "update", "delete"))
            answer = getattr(bench, name)(chance.choice(jobs))
            assert not isinstance(answer, Refused) or answer.code in ("wrong-state", "unknown-job"), answer
        elif what == "work" and any_worker():
            workers.act(any_worker())
        elif what == "lose" and any_worker():
            workers.end(any_worker(), -9)
        elif what == "restart":
            bench.restart()
            workers.jobs.clear()
        bench.manager.tick()
        for job in jobs:
            status = "deleted" if bench.state(job) is None else bench.status(job)
            before = ended.get(job)
            assert before in (None, status) or (status == "deleted"), f"{job} was {before} and is {status}"
            if status in FINAL:
                ended[job] = status
    for job in jobs:
        if bench.state(job) is not None and bench.status(job) not in FINAL:
            bench.resume(job)
    for _ in range(600):
        if any_worker():
            workers.act(any_worker())
        bench.manager.tick()

    assert {bench.status(job) for job in jobs if bench.state(job) is not None} <= {"finished", "cancelled"}
    assert all(bench.fetch(job).job == job for job in jobs if bench.state(job) and bench.status(job) == "finished")
    assert bench.store.job_folders() == {job for job in jobs if bench.state(job) is not None}
