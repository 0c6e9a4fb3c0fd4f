"""One example of every message, small, with as many fields as go together. The golden files are these."""

import struct
import zlib

import numpy as np

from protocol.geometry import InputMesh, NamedPicture, ResultMesh, Texture, quantise
from protocol.messages import (
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
    PauseJob,
    Preview,
    Progress,
    Refused,
    ResumeJob,
    ServerHello,
    SketchChange,
    SubmitAccepted,
    SubmitJob,
    UpdateJob,
    WatchJob,
)
from protocol.settings import Limits, Placement, Prior, Settings
from protocol.sketches import MatrixCamera, OrbitCamera, PresetCamera, Sketch

JOB, KEY = "red-mushroom-7f3a", "4f0c1c8e9b7d4a52"
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)


def tiny_png(width=2, height=1):
    """A grey picture, written by hand from the PNG specification."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = zlib.compress(b"".join(b"\x00" + b"\x7f" * width for _ in range(height)))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def strokes(**changes):
    given = {
        "name": "front",
        "camera": PresetCamera(view="front"),
        "points": np.array([[0.1, 0.2], [0.5, 0.9], [0.9, 0.2], [0.5, 0.5]], np.float32),
        "stroke_lengths": np.array([3, 1], np.int32),
        "pressure": np.array([0.5, 1, 0.5, 1], np.float32),
        "stroke_colours": np.array([[255, 0, 0], [0, 128, 0]], np.uint8),
    }
    return Sketch(**(given | changes))


def picture_sketch(**changes):
    matrix = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, -3.0, 0.0, 1.0, 0.0, 0.5, 0.0, 0.0, 0.0, 1.0)
    given = {
        "name": "Seite",
        "camera": MatrixCamera(camera_to_world=matrix, projection="orthographic", height_metres=2.5),
        "drawn": "outline",
        "picture": tiny_png(),
    }
    return Sketch(**(given | changes))


def input_mesh(**changes):
    given = {
        "positions": CORNERS,
        "faces": TETRAHEDRON,
        "colours": np.arange(12, dtype=np.uint8).reshape(4, 3),
        "locked": np.array([1, 0, 0, 0], np.uint8),
        "uv": np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 3, 2),
    }
    return InputMesh(**(given | changes))


def job_state(**changes):
    given = {"job": JOB, "key": KEY, "task": "text", "title": "a red mushroom", "status": "running"}
    return JobState(**(given | changes))


def submit_job(**changes):
    given = {
        "key": KEY,
        "task": "sketch",
        "prompt": "a red mushroom",
        "settings": Settings(quality="draft", steps=250, seed=7, method="bridge", guidance_scale=7.5, faces=5000),
        "mesh": input_mesh(),
        "sketches": (strokes(), picture_sketch()),
        "placement": Placement(centre=(1.0, 0.0, 0.5), radius_metres=0.5),
        "priority": 1,
    }
    return SubmitJob(**(given | changes))


def progress(**changes):
    given = {"job": JOB, "step": 120, "total_steps": 250, "stage": "bridge", "steps_per_second": 4.5}
    return Progress(**(given | changes))


def full_snapshot(**changes):
    given = {"job": JOB, "number": 12, "step": 118, "positions": CORNERS, "faces": TETRAHEDRON}
    return MeshSnapshot(**(given | changes))


def moved_snapshot(**changes):
    values, low, high = quantise(CORNERS * 2)
    given = {"job": JOB, "number": 13, "step": 120, "builds_on": 12, "positions": values, "low": low, "high": high}
    return MeshSnapshot(**(given | changes))


def result_mesh():
    return ResultMesh(
        positions=CORNERS,
        faces=TETRAHEDRON,
        normals=CORNERS,
        uv=CORNERS[:, :2],
        source_vertices=np.arange(4, dtype=np.int32),
        colours=np.full((4, 3), 200, np.uint8),
    )


EXAMPLES = {
    "ClientHello": ClientHello(program="Blender 4.3.2", software_version="0.1.0", capabilities=("zlib", "uint16")),
    "ServerHello": ServerHello(
        software_version="0.1.0",
        server_id="c0ffee00c0ffee00",
        device="NVIDIA RTX 4090",
        device_memory_bytes=24 * 2**30,
        priors=(Prior(name="embedded", title="the small one", resolution=64), Prior(name="sd-2.1", tasks=("image",))),
        environments=("studio",),
        tasks=("text", "texture"),
        limits=Limits(vertices=1_000_000),
        capabilities=("zlib",),
    ),
    "ServerHello-clients": ServerHello(
        software_version="0.1.0", server_id="c0ffee00c0ffee00", device="cpu", priors=(), tasks=("text",), clients=3
    ),
    "SubmitJob": submit_job(),
    "SubmitAccepted": SubmitAccepted(job=JOB, key=KEY, queue_position=3),
    "ListJobs": ListJobs(offset=100, most=50),
    "JobList": JobList(jobs=(job_state(), job_state(job="b-2", status="queued", queue_position=0)), total=2),
    "WatchJob": WatchJob(job=JOB, channels=("mesh", "preview"), credit=4, positions="uint16", compression="zlib"),
    "Credit": Credit(job=JOB, more=1, wants_full=True),
    "JobState": job_state(step=120, total_steps=250, updates=1, has_result=True, device="cpu", submitted_at=1.75e9),
    "Progress": progress(seconds_left=30.0, gradient_norm=0.25, losses={"normal": 0.1, "area": 2.0}, notices=("Oh.",)),
    "MeshSnapshot": full_snapshot(colours=np.full((4, 3), 9, np.uint8), taken_at=1.75e9),
    "MeshSnapshot-moved": moved_snapshot(),
    "Preview": Preview(job=JOB, step=120, view="front", picture=tiny_png(4, 4)),
    "UpdateJob": UpdateJob(
        job=JOB,
        key=KEY,
        prompt="a blue mushroom",
        source_suffix=", blurry",
        guidance_scale=20.0,
        learning_rate_factor=0.5,
        more_steps=100,
        mesh=input_mesh(),
        add_sketches=(strokes(name="side", camera=OrbitCamera(azimuth_degrees=90.0, elevation_degrees=10.0)),),
        remove_sketches=("front",),
        sketch_weights=(SketchChange(name="Seite", weight=2.0),),
    ),
    "PauseJob": PauseJob(job=JOB),
    "ResumeJob": ResumeJob(job=JOB),
    "CancelJob": CancelJob(job=JOB, result="drop"),
    "FetchResult": FetchResult(job=JOB, partial=True),
    "Finished": Finished(
        job=JOB,
        step=250,
        mesh=result_mesh(),
        textures=(Texture(use="base-colour", picture=tiny_png(4, 4)),),
        pictures=(NamedPicture(name="turntable", picture=tiny_png(3, 3)),),
        seconds=61.5,
    ),
    "Failed": Failed(job=JOB, code="out-of-memory", sentence="Take a smaller texture.", log_id="2026-11-25-0001"),
    "DeleteJob": DeleteJob(job=JOB),
    "Heartbeat": Heartbeat(),
    "Refused": Refused(code="bad-message", sentence="steps is 0", path="settings.steps", right="a whole number"),
}


def sender_of(message):
    return message.sent_by[0]


def pack(frames):
    """The frames of a message in one file: each after its length, 4 bytes, little-endian."""
    return b"".join(struct.pack("<I", len(each)) + bytes(each) for each in frames)


def unpack(data):
    frames = []
    while data:
        (length,) = struct.unpack("<I", data[:4])
        frames.append(data[4 : 4 + length])
        data = data[4 + length :]
    return frames
