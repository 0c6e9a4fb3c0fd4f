"""What a job is asked for with, and what a server offers for that. Names stand for what the server has; never paths."""

from __future__ import annotations

from typing import Annotated, Literal

from .fields import Many, Number, Record, Text, Whole, record
from .geometry import Point

Task = Literal["text", "texture", "sketch", "image"]
ServedName = Annotated[str, Text(1, 64, "[A-Za-z0-9][A-Za-z0-9._-]*")]
Words = Annotated[str, Text(0, 2000, lines=True)]
ShortLine = Annotated[str, Text(0, 200)]
Steps = Annotated[int, Whole(1, 1_000_000)]
Guidance = Annotated[float, Number(0.0, 1000.0)]
Share = Annotated[float, Number(0.0, 1.0)]


@record
class Prior(Record):
    """A diffusion model that the server has."""

    name: ServedName
    """By which a job asks for it."""
    title: ShortLine = ""
    """For people."""
    resolution: Annotated[int, Whole(8, 4096)] = 512
    """Of its pictures, in pixels a side."""
    tasks: Annotated[tuple[Task, ...], Many(0, 4)] = ()
    """What it can be used for; empty for every task."""


@record
class Limits(Record):
    """What a server takes from one client. What is above is refused with too-large or too-many."""

    message_bytes: Annotated[int, Whole(1 << 16, 1 << 32)] = 1 << 28
    """Of all frames of a message together."""
    vertices: Annotated[int, Whole(4, 5_000_000)] = 2_000_000
    """Of a mesh."""
    faces: Annotated[int, Whole(4, 10_000_000)] = 4_000_000
    """Of a mesh."""
    sketches: Annotated[int, Whole(0, 16)] = 16
    """Of a job."""
    jobs: Annotated[int, Whole(1, 1_000_000)] = 1000
    """Of a client, finished ones included."""
    watches: Annotated[int, Whole(1, 1000)] = 32
    """Jobs that a client watches at a time."""
    requests_per_second: Annotated[float, Number(0.1, 1e6)] = 100.0
    """Of a client, on average."""
    texture_size: Annotated[int, Whole(64, 8192)] = 8192
    """Of a result's textures, in pixels a side."""


@record
class Settings(Record):
    """How a job is to be done. What is left out is the server's choice, by prior and quality."""

    prior: ServedName = "embedded"
    """One of `ServerHello.priors`."""
    lora: ServedName | None = None
    """One of `ServerHello.loras`."""
    environment: ServedName | None = None
    """The light, one of `ServerHello.environments`."""
    quality: Literal["draft", "normal", "high"] = "normal"
    """How much time a result may take."""
    steps: Steps | None = None
    """Of the optimisation."""
    seed: Annotated[int, Whole(0, 2**53 - 1)] = 0
    """The same seed and settings give the same result on the same machine."""
    texture_size: Annotated[int, Whole(64, 8192)] = 1024
    """Of the result's textures, in pixels a side."""
    faces: Annotated[int, Whole(100, 5_000_000)] | None = None
    """How many the result is to have at most."""
    symmetry: Annotated[tuple[Literal["x", "y", "z"], ...], Many(0, 3)] = ()
    """Axes across which shape and texture are mirrored at the middle of the placement: x for left and right."""
    to_real: bool = False
    """Takes the mesh of the task sketch for a sketch in 3D, from which a bridge leads to the real thing."""
    method: Literal["sds", "nfsd", "csd", "vsd", "bridge", "full-bridge", "vsd-full-bridge"] | None = None
    """The loss."""
    guidance_scale: Guidance | None = None
    """In diffusers' convention: E(0) + s (E(y) - E(0))."""
    bridge_start: Share | None = None
    """From which share of the steps on the bridge is used."""
    source_suffix: Words | None = None
    """Words after the prompt that say what is wrong with the picture as it is."""
    target_suffix: Words | None = None
    """Words after the prompt that say what is wanted."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What to compute on."""
    rasteriser: Literal["auto", "portable", "nvdiffrast", "cuda"] = "auto"
    """What to draw with."""


@record
class Placement(Record):
    """The ball in which the object grows, in the client's scene."""

    centre: Point = (0.0, 0.0, 0.0)
    """Metres."""
    radius_metres: Annotated[float, Number(1e-4, 1e6)] = 0.9
    """Of the ball."""
