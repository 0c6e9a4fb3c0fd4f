"""A FakeServer with jobs: it lists, changes and shows them as it is told to, without computing anything."""

import dataclasses
import io

import numpy as np
from fake_server import FakeServer
from PIL import Image

from examples import CORNERS, TETRAHEDRON, job_state
from protocol.geometry import NamedPicture, ResultMesh, Texture
from protocol.messages import (
    CancelJob,
    DeleteJob,
    FetchResult,
    Finished,
    JobList,
    ListJobs,
    PauseJob,
    Refused,
    ResumeJob,
    SubmitAccepted,
    SubmitJob,
    UpdateJob,
)

STATUS_AFTER = {PauseJob: "paused", ResumeJob: "queued", CancelJob: "cancelled", DeleteJob: "deleted"}


class FakeJobServer(FakeServer):
    """`jobs` are its jobs by id, newest first; `news` is sent to whoever begins to watch a job."""

    def __init__(self, *jobs, **options):
        self.jobs = {each.job: each for each in jobs}
        self.news = {}
        """Messages by job; a JobState among them becomes the job's state."""
        self.results = {}
        """Finished or Failed by job."""
        super().__init__(**options)

    def _answer(self, message):
        if type(message).__name__ in self.answers:
            return super()._answer(message)
        if isinstance(message, SubmitJob):
            job = f"new-{len(self.jobs) + 1}"
            new = job_state(job=job, key=message.key, task=message.task, title=message.prompt, status="running")
            self.jobs = {job: new, **self.jobs}
            self.news.setdefault(job, self.news.get("new", []))
            return SubmitAccepted(job=job, key=message.key, queue_position=2)
        if isinstance(message, ListJobs):
            page = list(self.jobs.values())[message.offset : message.offset + message.most]
            return JobList(jobs=tuple(page), total=len(self.jobs))
        if isinstance(message, FetchResult):
            return self._result(message)
        if hasattr(message, "job"):
            return self._changed(message)
        return super()._answer(message)

    def _result(self, message):
        state, result = self.jobs[message.job], self.results.get(message.job, self.results.get("new"))
        if result is None or (state.status not in ("finished", "failed") and not message.partial):
            return Refused(code="not-finished", sentence=f"{message.job} is {state.status}")
        return dataclasses.replace(result, job=message.job)

    def _changed(self, message):
        state = self.jobs.get(message.job)
        if state is None:
            return Refused(code="unknown-job", sentence=f"there is no job {message.job}")
        status = STATUS_AFTER.get(type(message), state.status)
        updates = state.updates + isinstance(message, UpdateJob)
        self.jobs[message.job] = dataclasses.replace(state, status=status, updates=updates)
        return self.jobs[message.job]

    def _stream(self, identity, watch):
        for message in self.news.get(watch.job, []):
            message = dataclasses.replace(message, job=watch.job)
            if type(message).__name__ == "JobState":
                self.jobs[watch.job] = message
            self._send(identity, message)


def png(colour, side=4):
    """A picture whose first row is white and whose others have one colour."""
    pixels = np.full((side, side, 3), colour, np.uint8)
    pixels[0] = 255
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def textured_result(**changes):
    """A tetrahedron of the wire, one metre high in Z; its base colour is red but for the row at V = 1."""
    mesh = ResultMesh(
        positions=CORNERS,
        faces=TETRAHEDRON,
        normals=np.array([[0, 0, -1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32),
        uv=np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32),
        source_vertices=np.arange(4, dtype=np.int32),
        colours=np.full((4, 3), 200, np.uint8),
    )
    textures = (
        Texture(use="base-colour", picture=png([200, 0, 0])),
        Texture(use="metallic-roughness", picture=png([255, 128, 0])),
    )
    return Finished(**({"job": "any", "step": 20, "mesh": mesh, "textures": textures, "seconds": 61.0} | changes))


def partial_result(**changes):
    """The same tetrahedron without UVs and textures, with orange at its vertices."""
    mesh = ResultMesh(
        positions=CORNERS,
        faces=TETRAHEDRON,
        normals=np.zeros((4, 3), np.float32),
        colours=np.tile(np.array([[255, 188, 0]], np.uint8), (4, 1)),
    )
    return Finished(**({"job": "any", "step": 7, "is_partial": True, "mesh": mesh} | changes))


def picture_result():
    picture = NamedPicture(name="picture", picture=png([0, 0, 200]))
    return Finished(job="any", step=50, pictures=(picture,), seconds=2.0)
