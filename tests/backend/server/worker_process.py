"""The server's side of the link, for tests: starts real workers, sends them orders and hears what they say."""

import os
import subprocess
import sys
import time
from pathlib import Path

import zmq

from backend.server import link
from backend.server.message_files import write_message
from protocol.frames import decode

PATIENCE_SECONDS = 400  # a machine that builds something else beside the tests is slow
REPOSITORY = Path(__file__).parents[3]


class ServerSide:
    def __init__(self, folder):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.bind(f"ipc://{folder / 'w.sock'}")
        self.address = self.socket.get_string(zmq.LAST_ENDPOINT)
        self.workers = []
        self.name = None
        self.heard = []
        """What the last `until` heard: events as dictionaries, messages, and pairs of a token and a message."""

    def close(self):
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.socket.close()
        self.context.term()

    def start(self, *more):
        """A worker that is ready."""
        worker = self._begin((), more, start_new_session=True)
        self.until("ready")
        return worker

    def start_under_a_parent(self):
        """The same below a process of its own, which only waits. Returns the worker's process number."""
        script = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True).wait()"
        self._begin((sys.executable, "-c", script), ())
        return self.until("ready")["pid"]

    def _begin(self, parent, more, **options):
        self.name = f"worker-{len(self.workers) + 1}"
        command = [sys.executable, "-m", "backend.server.worker", "--link", self.address, "--name", self.name, *more]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        self.workers.append(subprocess.Popen([*parent, *command], cwd=REPOSITORY, env=environment, **options))
        return self.workers[-1]

    def order(self, name, **fields):
        frames = link.order_frames(link.order(name, **fields))
        self.socket.send_multipart([self.name.encode(), *frames])

    def run(self, folder, updates=0, checkpoint_seconds=1000.0):
        self.order(
            "run", job="job-1", folder=str(folder), attempt=1, updates=updates, checkpoint_seconds=checkpoint_seconds
        )

    def until(self, event_name, when=lambda event: True):
        """Waits for an event, and returns it. Fails at once if the job or the worker fails."""
        self.heard = []
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if not self.socket.poll(200):
                assert self.workers[-1].poll() in (None, 0), "the worker died"
                continue
            said = self.next_said()
            self.heard.append(said)
            if isinstance(said, dict):
                if said["event"] == event_name and when(said):
                    return said
                assert said["event"] != "failed", said
        raise AssertionError(f"no {event_name} came; the last words were {self.heard[-3:]}")

    def until_partial(self, token):
        """Waits for the answer to the order fetch."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if self.socket.poll(200):
                said = self.next_said()
                if isinstance(said, tuple) and said[0] == token:
                    return said[1]
        raise AssertionError("no partial result came")

    def next_said(self):
        _, *frames = self.socket.recv_multipart()
        tag = link.tag_of(frames)
        if tag == link.EVENT:
            return link.read_event(frames)
        if tag == link.DATA:
            return decode(link.read_data(frames), "server").message
        token, message_frames = link.read_partial(frames)
        return token, decode(message_frames, "server").message

    def heard_of(self, message_class):
        return [each for each in self.heard if isinstance(each, message_class)]


def job_folder(path, submit, *updates):
    """A job as the server stores it."""
    (path / "updates").mkdir(parents=True)
    write_message(path / "submit.message", submit)
    for number, update in enumerate(updates, start=1):
        add_update(path, number, update)
    return path


def add_update(folder, number, update):
    write_message(folder / "updates" / f"{number:06d}.message", update)
