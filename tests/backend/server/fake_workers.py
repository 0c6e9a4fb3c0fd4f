"""Workers that are threads: they speak the link over a real socket, and make a mesh that rises with its steps."""

import threading
import time
from pathlib import Path

import numpy as np
import zmq

from backend.server import link
from backend.server.executors import WorkerProcess
from backend.server.message_files import write_message
from examples import CORNERS, TETRAHEDRON, progress, tiny_png
from protocol.frames import encode
from protocol.geometry import ResultMesh
from protocol.messages import Finished, MeshSnapshot, Preview


class ThreadExecutor:
    """Takes the place of LocalExecutor."""

    def __init__(self, address, send, **behaviour):
        self.devices = ("cpu",)
        self.workers = {}
        self._address, self._send, self._behaviour = address, send, behaviour
        self._ended = []

    def start(self, worker_id, device):
        self.workers[worker_id] = FakeWorker(self._address(), worker_id, self._ended, **self._behaviour)
        return WorkerProcess(worker_id, device, 1, "mark")

    def send(self, worker_id, order):
        if worker_id in self.workers:
            self._send(worker_id, order)

    def kill(self, worker_id):
        self.workers[worker_id].is_killed = True

    def poll(self):
        found, self._ended[:] = list(self._ended), []
        for worker_id, _ in found:
            self.workers.pop(worker_id, None)
        return found

    def kill_left_over(self, worker):
        return False


class FakeWorker:
    """One thread, one DEALER socket."""

    def __init__(
        self, address, worker_id, ended, steps=10**6, steps_per_second=200.0, positions=CORNERS, faces=TETRAHEDRON
    ):
        self.worker_id, self._ended = worker_id, ended
        self._steps, self._seconds = steps, 1.0 / steps_per_second
        self._positions, self._faces = positions, faces
        self.is_killed = False
        self.demand = {"mesh": False, "colours": False, "preview": False, "per_second": 0.0}
        self.demands = []
        self.says_more = []
        """Frames to send as they are."""
        self._thread = threading.Thread(target=self._run, args=(address,), daemon=True)
        self._thread.start()

    def _run(self, address):
        context = zmq.Context()
        self._socket = context.socket(zmq.DEALER)
        self._socket.linger = 100
        self._socket.identity = self.worker_id.encode()
        self._socket.connect(address)
        self._job, self._step, self._number, self._base = None, 0, int(time.time() * 1000), None
        self._made_at = 0.0
        exit_code = None
        self._say("ready", pid=1)
        while exit_code is None:
            exit_code = -9 if self.is_killed else self._turn()
        self._socket.close()
        context.term()
        self._ended.append((self.worker_id, exit_code))

    def _say(self, name, **fields):
        self._socket.send_multipart(link.event_frames(link.event(name, **fields)))

    def _turn(self):
        while self.says_more:
            self._socket.send_multipart(self.says_more.pop(0))
        if self._socket.poll(0 if self._job else 5):
            return self._obey(link.read_order(self._socket.recv_multipart()))
        if self._job:
            time.sleep(self._seconds)
            self._make_step()
        return None

    def _obey(self, order):
        name = order["order"]
        if name == "run":
            self._job, self._folder, self._step, self._base = order["job"], Path(order["folder"]), 0, None
            self._say("started", job=self._job, device="a thread", total_steps=self._steps, step=0)
        elif name == "demand":
            if order["mesh"] and not self.demand["mesh"]:
                self._base = None
            self.demand = order
            self.demands.append(order)
        elif name in ("pause", "cancel"):
            fields = {"has_result": False} if name == "cancel" else {}
            self._say({"pause": "paused", "cancel": "cancelled"}[name], job=self._job, step=self._step, **fields)
            self._job = None
        elif name == "fetch":
            self._socket.send_multipart(link.partial_frames(order["token"], encode(self._finished(True))))
        elif name == "stop":
            return 0
        return None

    def _make_step(self):
        self._step += 1
        self._say("beat", job=self._job, step=self._step, patience_seconds=30.0)
        self._send(progress(job=self._job, step=self._step, total_steps=self._steps))
        if self.demand["per_second"] and time.monotonic() - self._made_at >= 1.0 / self.demand["per_second"]:
            self._made_at = time.monotonic()
            self._send_what_is_wanted()
        if self._step >= self._steps:
            write_message(self._folder / "result.message", self._finished(False))
            self._say("finished", job=self._job, step=self._step)
            self._job = None

    def _send_what_is_wanted(self):
        if self.demand["mesh"]:
            self._number += 1
            colours = np.full((len(self._positions), 3), self._step % 256, np.uint8) if self.demand["colours"] else None
            fields = {"job": self._job, "number": self._number, "step": self._step, "taken_at": time.time()}
            positions = self._positions + np.array([0, 0, self._step], np.float32)
            if self._base is None:
                self._base = self._number
                snapshot = MeshSnapshot(**fields, positions=positions, faces=self._faces, colours=colours)
            else:
                snapshot = MeshSnapshot(**fields, builds_on=self._base, positions=positions, colours=colours)
            self._send(snapshot)
        if self.demand["preview"]:
            self._send(Preview(job=self._job, step=self._step, view="front", picture=tiny_png()))

    def _send(self, message):
        self._socket.send_multipart(link.data_frames(encode(message)))

    def _finished(self, is_partial):
        positions = self._positions + np.array([0, 0, self._step], np.float32)
        normals = np.zeros_like(positions)
        mesh = ResultMesh(positions=positions, faces=self._faces, normals=normals)
        return Finished(job=self._job, step=self._step, is_partial=is_partial, mesh=mesh)
