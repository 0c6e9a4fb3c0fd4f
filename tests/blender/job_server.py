"""A server without a worker: it keeps jobs as the real one does, and their meshes come when a test sends them.

A ROUTER socket in a thread. It speaks through the add-on's own copy of the protocol, like all tests here.
"""

import struct
import threading
import time
import uuid
import zlib

import numpy as np
import zmq

from blender_addon.protocol.errors import RemoteProtocolError
from blender_addon.protocol.frames import decode, encode
from blender_addon.protocol.messages import (
    CancelJob,
    ClientHello,
    Credit,
    DeleteJob,
    Failed,
    FetchResult,
    Finished,
    Heartbeat,
    JobList,
    JobState,
    ListJobs,
    MeshSnapshot,
    NamedPicture,
    PauseJob,
    Preview,
    Progress,
    Refused,
    ResultMesh,
    ResumeJob,
    ServerHello,
    SubmitAccepted,
    SubmitJob,
    Texture,
    UpdateJob,
    WatchJob,
)
from blender_addon.protocol.settings import Limits, Prior

FINAL = ("finished", "cancelled", "failed", "deleted")
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)


def picture(width=4, height=4, colour=(200, 100, 50)):
    """A PNG file of one colour."""
    return picture_of(np.full((height, width, 3), colour, np.uint8))


def picture_of(pixels):
    """A PNG file of pixels [height, width, 3], by the PNG specification."""
    height, width = pixels.shape[:2]

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = zlib.compress(b"".join(b"\x00" + row.tobytes() for row in np.asarray(pixels, np.uint8)))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def result_mesh():
    """The tetrahedron, with its first corner doubled for a seam of the texture."""
    return ResultMesh(
        positions=np.concatenate([CORNERS, CORNERS[:1]]),
        faces=np.array([[4, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32),
        normals=np.tile(np.array([0, 0, 1], np.float32), (5, 1)),
        uv=np.array([[0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0.25]], np.float32),
        source_vertices=np.array([0, 1, 2, 3, 0], np.int32),
    )


class JobServer:
    """Use as a context manager. Everything may be called from the test's thread."""

    def __init__(
        self,
        address="tcp://127.0.0.1:*",
        server_id=None,
        secret_key=None,
        tasks=("text", "texture", "sketch"),
        **limits,
    ):
        self.heard = []
        self.states = {}
        self.keys = {}
        self.results = {}
        self.refusals = {}
        """By the type of a request: what it is refused with, (code, sentence)."""
        self.is_silent = False
        self.hello = ServerHello(
            software_version="0.1.0",
            server_id=server_id or uuid.uuid4().hex,
            device="a test's device",
            priors=(Prior(name="embedded"), Prior(name="larger", tasks=("text",))),
            tasks=tasks,
            limits=Limits(**limits),
        )
        self._lock = threading.RLock()
        self._numbers = {}
        self._meshes = {}
        self._early = {}
        self._watchers = {}
        self._clients = set()
        self._unsent = []
        self._socket = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.linger = 0
        if secret_key is not None:
            self._socket.curve_server, self._socket.curve_secretkey = True, secret_key
        self._socket.bind(address)
        self.address = self._socket.last_endpoint.decode().rstrip("\0")
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._is_closing = True
        self._thread.join()

    # --- what a test does

    def of(self, kind):
        """The messages of a type that have come."""
        return [message for message in self.heard if isinstance(message, kind)]

    def set_state(self, job, status, **changes):
        with self._lock:
            given = {name: getattr(self.states[job], name) for name in ("key", "task", "title")}
            self.states[job] = JobState(job=job, status=status, **given | changes)
            self._tell(job, self.states[job])

    def progress(self, job, step, total=100, **changes):
        given = {"stage": "bridge", "steps_per_second": 5.0, "seconds_left": (total - step) / 5.0}
        self._tell(job, Progress(job=job, step=step, total_steps=total, **given | changes))

    def send_mesh(self, job, positions=CORNERS, faces=TETRAHEDRON, colours=None, step=1):
        """A full snapshot."""
        self._tell(job, self._snapshot(job, step, positions=positions, faces=faces, colours=colours), "mesh")

    def move(self, job, positions, step=2, colours=None):
        """New positions for the mesh that was sent last."""
        base = self._numbers[job][0]
        moved = self._snapshot(job, step, positions=positions, builds_on=base, colours=colours)
        self._tell(job, moved, "mesh")

    def send_preview(self, job, view="front", png=None):
        self._tell(job, Preview(job=job, step=1, view=view, picture=png or picture()), "preview")

    def finish(self, job, **changes):
        """With the tetrahedron as the result, and three textures."""
        given = {
            "mesh": result_mesh(),
            "textures": (
                Texture(use="base-colour", picture=picture()),
                Texture(use="metallic-roughness", picture=picture(colour=(0, 200, 0))),
                Texture(use="normal", picture=picture(colour=(128, 128, 255))),
            ),
            "pictures": (NamedPicture(name="turntable", picture=picture(8, 8)),),
        }
        self.results[job] = Finished(job=job, step=100, **given | changes)
        self.set_state(job, "finished", step=100, total_steps=100, has_result=True)

    def fail(self, job, code="empty-surface", sentence="The shape vanished; try another seed."):
        self.set_state(job, "failed")
        self._tell(job, Failed(job=job, code=code, sentence=sentence, log_id="log-1"))

    # --- the thread

    def _snapshot(self, job, step, **given):
        last = self._numbers.get(job, (0, 0))[1] + 1
        base = last if given.get("builds_on") is None else given["builds_on"]
        self._numbers[job] = (base, last)
        return MeshSnapshot(job=job, number=last, step=step, **given)

    def _tell(self, job, message, channel=None):
        with self._lock:
            if channel == "mesh":
                self._meshes[job] = message.superseding(self._meshes[job]) if job in self._meshes else message
            elif job not in self._watchers:
                self._early.setdefault(job, []).append((message, channel))
            for identity, channels in self._watchers.get(job, {}).items():
                if channel is None or channel in channels:
                    self._unsent.append((identity, encode(message)))

    def _catch_up(self, identity, job, channels):
        """The first mesh after a watch is a full one; what came before anybody watched comes now."""
        early = [] if self._watchers.get(job) else self._early.pop(job, [])
        if job in self._meshes:
            early.append((self._meshes[job], "mesh"))
        self._unsent += [(identity, encode(message)) for message, channel in early if channel in (None, *channels)]

    def _run(self):
        while not self._is_closing:
            with self._lock:
                unsent, self._unsent = self._unsent, []
            for identity, parts in unsent:
                self._socket.send_multipart([identity, *parts])
            if self._socket.poll(2):
                identity, *parts = self._socket.recv_multipart()
                if not self.is_silent:
                    self._hear(identity, parts)
        self._socket.close()

    def _hear(self, identity, parts):
        try:
            received = decode(parts, sent_by="client")
        except RemoteProtocolError as error:
            self._answer(identity, Refused(code="bad-message", sentence=str(error), path=error.path), error.request)
            return
        self.heard.append(received.message)
        with self._lock:
            if isinstance(received.message, ClientHello):
                self._clients.add(identity)
            if identity not in self._clients:
                answer = Refused(code="no-hello", sentence="say hello first")
            else:
                answer = self._answer_to(identity, received.message)
        self._answer(identity, answer, received.request)

    def _answer(self, identity, answer, number):
        if answer is not None:
            self._socket.send_multipart([identity, *encode(answer, number)])

    def _answer_to(self, identity, message):
        refusal = self.refusals.get(type(message).__name__)
        if refusal is not None:
            return Refused(code=refusal[0], sentence=refusal[1])
        if isinstance(message, ClientHello):
            return self.hello
        if isinstance(message, Heartbeat):
            return message
        if isinstance(message, Credit):
            return None
        if isinstance(message, SubmitJob):
            return self._submit(message)
        if isinstance(message, ListJobs):
            newest_first = tuple(reversed(self.states.values()))
            return JobList(jobs=newest_first[message.offset : message.offset + message.most], total=len(newest_first))
        if message.job not in self.states:
            return Refused(code="unknown-job", sentence="There is no such job.")
        return self._answer_about_job(identity, message)

    def _submit(self, message):
        was_known = message.key in self.keys
        job = self.keys.setdefault(message.key, f"job-{len(self.keys) + 1}")
        if not was_known:
            self.states[job] = JobState(
                job=job,
                key=message.key,
                task=message.task,
                title=message.prompt[:60],
                status="queued",
                queue_position=0,
            )
        return SubmitAccepted(job=job, key=message.key, was_known=was_known, queue_position=0)

    def _answer_about_job(self, identity, message):
        job = message.job
        if isinstance(message, WatchJob):
            if message.channels:
                self._catch_up(identity, job, message.channels)
            watchers = self._watchers.setdefault(job, {})
            watchers.pop(identity, None)
            if message.channels:
                watchers[identity] = message.channels
        elif isinstance(message, FetchResult):
            return self.results.get(job) or Refused(code="not-finished", sentence="There is no result yet.")
        elif isinstance(message, DeleteJob):
            self.set_state(job, "deleted")
        elif self.states[job].status in FINAL:
            return Refused(code="wrong-state", sentence=f"The job is {self.states[job].status} already.")
        elif isinstance(message, PauseJob | ResumeJob):
            self.set_state(job, "paused" if isinstance(message, PauseJob) else "running")
        elif isinstance(message, CancelJob):
            has_result = message.result == "keep" and job in self._numbers
            if has_result:
                self.results[job] = Finished(job=job, step=1, is_partial=True, mesh=result_mesh())
            self.set_state(job, "cancelled", has_result=has_result)
        elif isinstance(message, UpdateJob):
            self.set_state(job, self.states[job].status, updates=self.states[job].updates + 1)
        return self.states[job]


def wait_for(condition, seconds=10.0):
    """Until the server's thread has come so far."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.004)
    assert condition()
