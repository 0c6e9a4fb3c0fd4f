"""A server without clients: jobs, real workers and their socket in one thread. As a program, it runs until it is
killed.
"""

import os
import sys
import time
from pathlib import Path

import zmq
from job_bench import Listener

from backend.server import link
from backend.server.executors import LocalExecutor
from backend.server.jobs import JobManager, JobsConfig
from backend.server.store import JobStore
from protocol.messages import SubmitJob
from protocol.settings import Limits

SCRIPT = Path(__file__).parent / "scripted_worker.py"
ROOT = Path(__file__).parents[3]


class Server:
    """A JobManager, a LocalExecutor and the link's socket, in one thread."""

    def __init__(self, folder, address, habit="good", devices=("cpu",), **environment):
        self.listener = Listener()
        self.store = JobStore(folder)
        self.socket = zmq.Context.instance().socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.bind(address)
        self.executor = LocalExecutor(
            devices,
            lambda: address,
            lambda worker, order: self.socket.send_multipart([worker.encode(), *link.order_frames(order)]),
            output_file=folder / "workers.log",
            command=(sys.executable, str(SCRIPT), "--habit", habit),
            environment=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        )
        self.manager = JobManager(self.store, self.executor, Limits(), self.listener, JobsConfig(stop_seconds=5.0))
        self.manager.recover()

    def look(self, seconds=0.02):
        if self.socket.poll(1000 * seconds):
            worker, *frames = self.socket.recv_multipart()
            self.manager.on_event(worker.decode(), link.read_event(frames))
        self.manager.tick()

    def until(self, condition, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.listener.lines
            self.look()

    def submit(self, key="key-000001"):
        answers = []
        self.manager.handle("ann", SubmitJob(key=key, task="text", prompt="a cube"), answers.append)
        return answers[0].job

    def state(self, job):
        return self.manager.state_of("ann", job)

    def leave(self):
        """What is left of a server that was killed: nothing but its workers and its files."""
        self.socket.close()
        self.store.close()

    def close(self):
        self.manager.shut_down(5.0, self.look)
        self.leave()


if __name__ == "__main__":
    server = Server(Path(sys.argv[1]), sys.argv[2], "is-stopped")
    for number in range(3):
        server.submit(f"key-{number:06d}")
    while True:
        server.look()
