"""A JobManager with workers that do what a test says, and clocks that go when a test says."""

import itertools

from backend.server.executors import WorkerProcess
from backend.server.jobs import JobManager, JobsConfig
from backend.server.link import event
from backend.server.message_files import write_message
from backend.server.store import JobStore
from examples import CORNERS, TETRAHEDRON
from protocol.frames import decode
from protocol.geometry import ResultMesh
from protocol.messages import CancelJob, DeleteJob, FetchResult, Finished, PauseJob, ResumeJob, SubmitJob, UpdateJob
from protocol.settings import Limits


class FakeExecutor:
    """Workers that are nothing but names. They end when they are killed, or when a test ends them."""

    def __init__(self, devices=("cpu",), kills_at_once=True):
        self.devices = devices
        self.kills_at_once = kills_at_once
        self.living = {}
        self.killed = []
        self.left_over = set()
        self.start_error = None
        self.orders = []
        """All that were sent, as (worker, order)."""
        self._exits = []

    def start(self, worker_id, device):
        if self.start_error is not None:
            raise self.start_error
        assert device not in self.living.values(), "one worker per device"
        self.living[worker_id] = device
        return WorkerProcess(worker_id, device, 1000 + len(self.living), "mark")

    def send(self, worker_id, order):
        self.orders.append((worker_id, order))

    def kill(self, worker_id):
        self.killed.append(worker_id)
        if self.kills_at_once:
            self.end(worker_id, -9)

    def end(self, worker_id, exit_code):
        if self.living.pop(worker_id, None) is not None:
            self._exits.append((worker_id, exit_code))

    def poll(self):
        exits, self._exits = self._exits, []
        return exits

    def kill_left_over(self, worker):
        was_there = worker.worker_id in self.left_over
        self.left_over.discard(worker.worker_id)
        return was_there

    def names(self, worker_id=None):
        """The names of the orders sent, to all workers or to one."""
        return [order["order"] for worker, order in self.orders if worker_id in (None, worker)]


class Listener:
    """Keeps what it is told."""

    def __init__(self):
        self.states, self.failures, self.demands, self.lines = [], [], [], []

    def job_changed(self, state):
        self.states.append(state)

    def job_failed(self, failed):
        self.failures.append(failed)

    def demand_reset(self, job_id, worker_id):
        self.demands.append((job_id, worker_id))

    def log(self, event, level="info", **fields):
        self.lines.append((event, level, fields))

    def logged(self, event):
        return [fields for name, _, fields in self.lines if name == event]


class Clock:
    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


class Bench:
    """One server's jobs. `restart` is what happens after its process was killed."""

    def __init__(self, folder, devices=("cpu",), limits=None, **config):
        self.folder, self.limits = folder, limits or Limits()
        self.read_elsewhere = lambda read: read()
        self.config = JobsConfig(**config)
        self.clock, self.wall = Clock(5000.0), Clock(1.8e9)
        self.devices = devices
        self._keys = itertools.count(1)
        self._open()

    def _open(self):
        self.executor, self.listener = FakeExecutor(self.devices), Listener()
        self.store = JobStore(self.folder)
        self.manager = JobManager(
            self.store, self.executor, self.limits, self.listener, self.config, clock=self.clock, wall=self.wall,
            read_elsewhere=lambda read: self.read_elsewhere(read),
        )  # fmt: skip

    def restart(self, config=None):
        """Nothing of the old server is asked: whatever it has not written is lost."""
        self.store.close()
        self.config = config or self.config
        self._open()
        self.manager.recover()

    def pass_time(self, seconds, tick=0.25):
        for _ in range(round(seconds / tick)):
            self.clock.now += tick
            self.wall.now += tick
            self.manager.tick()

    # --- the client's side

    def ask(self, message, owner="ann"):
        """The answer; None if it has not come yet."""
        answers = []
        self.manager.handle(owner, message, answers.append)
        self.manager.tick()
        assert len(answers) <= 1
        if answers and isinstance(answers[0], list):
            return decode(answers[0], "server").message
        return answers[0] if answers else None

    def submit(self, owner="ann", **fields):
        return self.ask(self.submission(**fields), owner).job

    def submission(self, **fields):
        return SubmitJob(**({"key": f"key-{next(self._keys):06d}", "task": "text", "prompt": "a red cube"} | fields))

    def update(self, job, owner="ann", **fields):
        given = {"key": f"key-{next(self._keys):06d}", "guidance_scale": 3.0} | fields
        return self.ask(UpdateJob(job=job, **given), owner)

    def pause(self, job):
        return self.ask(PauseJob(job=job))

    def resume(self, job):
        return self.ask(ResumeJob(job=job))

    def cancel(self, job, result="keep"):
        return self.ask(CancelJob(job=job, result=result))

    def delete(self, job):
        return self.ask(DeleteJob(job=job))

    def fetch(self, job, partial=False):
        return self.ask(FetchResult(job=job, partial=partial))

    def state(self, job, owner="ann"):
        return self.manager.state_of(owner, job)

    def status(self, job):
        return self.state(job).status

    # --- the worker's side

    @property
    def worker(self):
        """The only one that lives."""
        (worker_id,) = self.executor.living
        return worker_id

    def say(self, name, worker=None, **fields):
        self.manager.on_event(worker or self.worker, event(name, **fields))
        self.manager.tick()

    def bring_up(self, worker=None):
        self.say("ready", worker, pid=1)

    def begin(self, job, worker=None, step=0, total_steps=100):
        """The job's worker makes its first step."""
        worker = worker or self.worker
        if "run" not in self.executor.names(worker):
            self.bring_up(worker)
        self.say("started", worker, job=job, device="a CPU", total_steps=total_steps, step=step)
        self.say("beat", worker, job=job, step=step, patience_seconds=30.0)

    def running_job(self, step=0, **fields):
        job = self.submit(**fields)
        self.begin(job, step=step)
        return job

    def write_checkpoint(self, job, step=20):
        (self.store.job_folder(job) / "run" / "checkpoints" / f"step-{step:06d}").mkdir(parents=True)

    def write_result(self, job, step=100, is_partial=False):
        mesh = ResultMesh(positions=CORNERS, faces=TETRAHEDRON, normals=CORNERS)
        finished = Finished(job=job, step=step, is_partial=is_partial, mesh=mesh)
        write_message(self.store.result_file(job), finished)
        return finished

    def finish(self, job, step=100):
        self.write_result(job, step)
        self.say("finished", job=job, step=step)
        return job
