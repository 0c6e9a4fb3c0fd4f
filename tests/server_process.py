"""`sketchbridge serve` as a process of its own that can be killed, stopped and started again, and jobs for it.

Workers are real: they compute on the embedded prior. Used by the tests of faults and by benchmarks.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from protocol.client import Client, Timing
from protocol.errors import RequestRefused
from protocol.messages import FINAL_STATUSES, FetchResult, ListJobs, Progress, SubmitJob
from protocol.settings import Settings

REPOSITORY = Path(__file__).parents[1]
DISTURBANCES = Path(__file__).parent / "disturbances"
SECONDS = 1200.0
"""What takes so long has failed: a machine that does something else beside the tests is slow."""


class ServerProcess:
    """At one address and with one state folder, over all its starts."""

    def __init__(self, folder, *options, **environment):
        self.folder, self._options = folder, options
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        self.state = folder / "state"
        self.clock = folder / "clock-offset"
        self.environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(DISTURBANCES), str(REPOSITORY)]),
            "DISTURBANCE_CLOCK": str(self.clock),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": "",
            **environment,
        }
        self._clients = []
        self.process = None

    def start(self):
        """Returns when clients can connect."""
        command = [sys.executable, "-m", "backend", "serve", "--listen", self.address, "--state", str(self.state)]
        self.process = subprocess.Popen(
            [*command, "--json", *self._options], cwd=self.folder, env=self.environment, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        line = self.process.stdout.readline()
        assert line, f"the server ended at once with {self.process.wait()}"
        assert json.loads(line)["event"] == "started"
        return self

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def terminate(self):
        """As systemd does. Returns the exit code."""
        self.process.terminate()
        self.process.communicate(timeout=120)
        return self.process.returncode

    def close(self):
        for each in self._clients:
            each.close()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.communicate(timeout=60)
        if self.process is not None and self.process.poll() is None:
            self.kill()
        for pid in self.living_workers():  # of a server that was killed and not started again
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def client(self, **fields):
        """One that comes back soon after it was lost."""
        timing = Timing(first_retry=0.1, longest_retry=1.0)
        self._clients.append(Client(self.address, "a test", "0", timing=timing, **fields))
        return self._clients[-1]

    def log(self, event, **fields):
        """The lines of the server's log about this event in which the fields are such."""
        text = (self.state / "log.jsonl").read_text() if self.state.exists() else ""
        lines = [json.loads(line) for line in text.splitlines()]
        return [each for each in lines if each["event"] == event and fields.items() <= each.items()]

    def living_workers(self):
        """The process numbers of all workers that any start of this server has begun and that live, stopped or not."""
        return [each["pid"] for each in self.log("worker-started") if is_alive(each["pid"])]

    @property
    def worker(self):
        """The process number of the worker, of which a server with one device has one."""
        (pid,) = self.living_workers()
        return pid


def is_alive(pid):
    """Whether there is such a process, and it is not one that has ended and nobody has asked for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def tiny_job(key, steps, **fields):
    """A job that is done in seconds. Those that differ in their key alone end with the same mesh, bit for bit."""
    settings = Settings(quality="draft", steps=steps, texture_size=64, faces=400, device="cpu", rasteriser="portable")
    return SubmitJob(key=f"a-test-{key}", task="text", prompt="a red mushroom", settings=settings, **fields)


def submit(client, message):
    return client.request(message, SECONDS).job


def state_of(client, job):
    (state,) = [each for each in client.request(ListJobs(), SECONDS).jobs if each.job == job]
    return state


def wait_until(condition, what, seconds=SECONDS):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, f"this did not come: {what}"
        time.sleep(0.02)
    return found


def wait_for_step(client, job, step):
    """Watches the job's progress until so many steps are done, and watches on."""
    return _wait_for_progress(client, job, lambda event: event.step >= step, f"step {step}")


def wait_for_notice(client, job, words):
    """The step after which watchers were told something with these words."""
    return _wait_for_progress(client, job, lambda event: words in " ".join(event.notices), f"a notice that {words}")


def _wait_for_progress(client, job, condition, what):
    client.watch(job, ("progress",)).result(SECONDS)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        client.wait(0.5)
        for event in client.events():
            if isinstance(event, Progress) and event.job == job and condition(event):
                return event.step
        status = state_of(client, job).status
        assert status not in FINAL_STATUSES, f"the job is {status} before {what}"
    raise AssertionError(f"this did not come: {what}")


def wait_for_result(client, job):
    """What is fetched when the job has ended."""

    def has_ended():
        state = state_of(client, job)
        return state if state.status in FINAL_STATUSES else None

    state = wait_until(has_ended, f"the end of job {job}")
    assert state.status == "finished", state
    try:
        return client.request(FetchResult(job=job), SECONDS)
    except RequestRefused as error:
        raise AssertionError(f"{state}: {error}") from error
