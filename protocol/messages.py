"""What the two sides say to each other: one frozen record per message, which checks itself. docs/wire_protocol.md is
the same for other languages; tests keep the two alike.

Conventions are those of `geometry` (Blender's: right-handed, Z up, metres). Times are seconds since 1970, UTC. A field
that has a default is left out of the wire where it has it. Nothing here is a path, and nothing may become one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import numpy as np

from .arrays import Array, Png
from .errors import LocalProtocolError
from .fields import Many, Number, Record, Table, Text, Whole, record
from .geometry import Colours, InputMesh, NamedPicture, Point, ResultMesh, Texture, check_faces, dequantise
from .settings import Guidance, Limits, Placement, Prior, ServedName, Settings, ShortLine, Task, Words
from .sketches import Sketch, SketchName, SketchWeight

PROTOCOL_VERSION = 1
"""Goes up with every change that an older side would misunderstand. A new field with a default is no such change."""

Side = Literal["client", "server"]
Status = Literal["queued", "starting", "running", "paused", "finishing", "finished", "cancelled", "failed", "deleted"]
FINAL_STATUSES: tuple[Status, ...] = ("finished", "cancelled", "failed", "deleted")
Channel = Literal["progress", "mesh", "colours", "preview"]
RefusalCode = Literal[
    "bad-message",  # a field is wrong; `path` says which
    "unknown-message",
    "wrong-version",
    "no-hello",  # the server does not know this connection: say hello, then watch again
    "unknown-job",  # or somebody else's
    "unknown-name",  # a prior, LoRA or environment that the server does not have
    "wrong-state",  # the job is not in a state in which this can be done
    "not-finished",
    "too-large",
    "too-many",  # jobs, watches or requests
    "shutting-down",
    "internal",
]
FailureCode = Literal[
    "bad-mesh",
    "bad-picture",
    "bad-settings",
    "missing-model",
    "missing-rasteriser",
    "out-of-memory",
    "disk-full",
    "empty-surface",  # the shape vanished, or its numbers are not finite
    "worker-died",
    "worker-hung",
    "internal",
]

JobId = Annotated[str, Text(1, 64, "[a-z0-9][a-z0-9-]*")]
Key = Annotated[str, Text(8, 64, "[A-Za-z0-9_-]+")]
LossName = Text(1, 64, "[A-Za-z0-9_.-]+")
Prompt = Annotated[str, Text(1, 2000, lines=True)]
Sentence = Annotated[str, Text(1, 2000, lines=True)]
StepNumber = Annotated[int, Whole(0, 2_000_000)]
Weight = Annotated[float, Number(0.0, 100.0)]
Moment = Annotated[float, Number(0.0, 1e11)]
Seconds = Annotated[float, Number(0.0, 1e9)]
Count = Annotated[int, Whole(0, 2**53)]
CreditCount = Annotated[int, Whole(1, 64)]

_AnyMessage = TypeVar("_AnyMessage", bound="Message")


@record
class Message(Record):
    """Base of all messages."""

    sent_by: ClassVar[tuple[Side, ...]] = ()
    """Which sides may send it."""
    answers: ClassVar[tuple[str, ...]] = ()
    """The types that answer it, besides `Refused`; empty for what is no request."""

    @property
    def latest_wins_key(self) -> Hashable | None:
        """Unsent messages with the same key are of no use beside this one. None: every one counts."""
        return None

    def superseding(self: _AnyMessage, older: Message) -> _AnyMessage:
        """What is left to send when `older`, with the same key, was not sent: this one, or both in one."""
        return self


# --- what is in messages


@record
class SketchChange(Record):
    """A new weight for a sketch."""

    name: SketchName
    """Of the sketch."""
    weight: SketchWeight
    """Its new weight."""


@record
class JobState(Message):
    """Where a job is. Sent to its watchers when that changes, and as the answer to most requests about a job."""

    sent_by = ("server",)

    job: JobId
    """The job."""
    key: Key
    """Of its `SubmitJob`."""
    task: Task
    """What it makes."""
    title: ShortLine
    """The beginning of its prompt."""
    status: Status
    """Those from finished on are final. A paused job waits for ResumeJob."""
    step: StepNumber = 0
    """Steps done."""
    total_steps: StepNumber = 0
    """0 until it is known."""
    queue_position: Count | None = None
    """How many jobs are before it; null unless it is queued."""
    updates: Count = 0
    """How many `UpdateJob` it has taken."""
    restarts: Annotated[int, Whole(0, 1000)] = 0
    """How many times its worker was lost and it went on from a checkpoint."""
    has_result: bool = False
    """Whether FetchResult has something to give, be it partial."""
    device: ShortLine = ""
    """What it runs on."""
    sentence: Annotated[str, Text(0, 2000, lines=True)] = ""
    """More about the status, for people."""
    submitted_at: Moment = 0.0
    """When it came."""
    changed_at: Moment = 0.0
    """When the status changed last."""

    @property
    def latest_wins_key(self) -> Hashable:
        return ("JobState", self.job)


# --- from the client


@record
class ClientHello(Message):
    """The first message of every connection."""

    sent_by, answers = ("client",), ("ServerHello",)

    program: Annotated[str, Text(1, 200)]
    """What connects, with its version: "Blender 4.3.2"."""
    software_version: Annotated[str, Text(1, 64)]
    """Of Sketchbridge on this side."""
    capabilities: Annotated[tuple[Annotated[str, Text(1, 32, "[a-z0-9-]+")], ...], Many(0, 32)] = ()
    """Of zlib and uint16, those that it can read; and clients, if it knows that field of ServerHello. Unknown ones are
    ignored."""


@record
class SubmitJob(Message):
    """Asks for a job. The same key again, from the same client, gives the job that is there already."""

    sent_by, answers = ("client",), ("SubmitAccepted",)

    key: Key
    """Made by the client, random, new for every job that is really another."""
    task: Task
    """text: a mesh from the prompt; sketch: one that fits the sketches too; texture: colours for `mesh`, whose shape
    stays; image: a picture."""
    prompt: Prompt
    """What to make."""
    settings: Settings = dataclasses.field(default_factory=Settings)
    """How."""
    mesh: InputMesh | None = None
    """What to begin with; needed by the task texture."""
    sketches: Annotated[tuple[Sketch, ...], Many(0, 16)] = ()
    """What the object is to look like; at least one for the task sketch without a mesh. Their names differ."""
    placement: Placement | None = None
    """Where; null for the ball around `mesh`, or 0.9 m around the origin."""
    picture: Annotated[bytes, Png(4096)] | None = None
    """What the task image begins with; null for noise."""
    priority: Annotated[int, Whole(-10, 10)] = 0
    """Higher ones are begun earlier, among the jobs of one client."""

    def _check(self) -> None:
        if self.task == "texture" and self.mesh is None:
            raise LocalProtocolError.at("mesh", None, "an InputMesh, since the task is texture")
        if self.task == "sketch" and not self.sketches and self.mesh is None:
            raise LocalProtocolError.at("sketches", (), "at least one, since the task is sketch and there is no mesh")
        if self.settings.to_real and (self.task != "sketch" or self.mesh is None):
            raise LocalProtocolError.at("settings.to_real", True, "false, except for the task sketch with a mesh")
        if self.task != "image" and self.picture is not None:
            raise LocalProtocolError.at("picture", self.picture, "left out, since the task is not image")
        _check_names_differ("sketches", self.sketches)


@record
class ListJobs(Message):
    """Asks for the client's jobs, newest first."""

    sent_by, answers = ("client",), ("JobList",)

    offset: Count = 0
    """How many to leave out."""
    most: Annotated[int, Whole(1, 100)] = 100
    """How many to name."""


@record
class WatchJob(Message):
    """Asks to be told about a job from now on. Said again, it replaces what was said before."""

    sent_by, answers = ("client",), ("JobState",)

    job: JobId
    """The job."""
    channels: Annotated[tuple[Channel, ...], Many(0, 4)] = ("progress", "mesh")
    """What to send besides JobState and Failed: Progress, MeshSnapshot (mesh; with colours: its colours too), Preview.
    Empty ends the watch."""
    credit: CreditCount = 2
    """How many MeshSnapshot and Preview the server may send before it hears Credit."""
    snapshots_per_second: Annotated[float, Number(0.01, 100.0)] = 10.0
    """At most; fewer where the job, the link or the credit is slower."""
    positions: Literal["float32", "uint16"] = "float32"
    """uint16 is for slow links, and needs that capability."""
    compression: Literal["none", "zlib"] = "none"
    """zlib is for slow links, and needs that capability."""


@record
class Credit(Message):
    """Allows more MeshSnapshot and Preview of a job. Has no answer."""

    sent_by = ("client",)

    job: JobId
    """The job."""
    more: Annotated[int, Whole(0, 64)]
    """Added to what is left; together at most 64 count."""
    wants_full: bool = False
    """Whether the next MeshSnapshot must be a full one, since the one that it would build on is not there."""


@record
class UpdateJob(Message):
    """Steers a job that is queued, running or paused. What is null stays; at least one thing must change."""

    sent_by, answers = ("client",), ("JobState",)

    job: JobId
    """The job."""
    key: Key
    """Made by the client: the same key again does nothing twice."""
    prompt: Prompt | None = None
    """The new one."""
    source_suffix: Words | None = None
    """As in Settings."""
    target_suffix: Words | None = None
    """As in Settings."""
    guidance_scale: Guidance | None = None
    """As in Settings."""
    learning_rate_factor: Annotated[float, Number(0.001, 1000.0)] | None = None
    """On the learning rates of the settings, from now on."""
    mesh_weight: Weight | None = None
    """How strongly the surface is held to the mesh that was given, relative to the default."""
    smoothness_weight: Weight | None = None
    """How much the smoothness of the surface counts, relative to the default."""
    more_steps: Annotated[int, Whole(1, 1_000_000)] | None = None
    """To add to the job's steps."""
    mesh: InputMesh | None = None
    """An edited one, to go on from: shape and colours are fitted to it."""
    add_sketches: Annotated[tuple[Sketch, ...], Many(0, 16)] = ()
    """New ones, or new versions of those with the same names."""
    remove_sketches: Annotated[tuple[SketchName, ...], Many(0, 16)] = ()
    """The names of those to forget. Removed before new ones are added."""
    sketch_weights: Annotated[tuple[SketchChange, ...], Many(0, 16)] = ()
    """New weights. Taken after new ones are added."""

    def _check(self) -> None:
        changes = [each.name for each in dataclasses.fields(self) if each.name not in ("job", "key")]
        if all(getattr(self, name) in (None, ()) for name in changes):
            raise LocalProtocolError.at("prompt", None, f"given, or one of {', '.join(changes[1:])}: nothing changes")
        _check_names_differ("add_sketches", self.add_sketches)


@record
class PauseJob(Message):
    """Stops a job after the step that it is in; its state is kept."""

    sent_by, answers = ("client",), ("JobState",)

    job: JobId
    """The job."""


@record
class ResumeJob(Message):
    """Lets a paused job go on, from the queue."""

    sent_by, answers = ("client",), ("JobState",)

    job: JobId
    """The job."""


@record
class CancelJob(Message):
    """Ends a job for good."""

    sent_by, answers = ("client",), ("JobState",)

    job: JobId
    """The job."""
    result: Literal["keep", "drop"] = "keep"
    """keep: the mesh as it is becomes the result; drop: there is none."""


@record
class FetchResult(Message):
    """Asks for what a job has made."""

    sent_by, answers = ("client",), ("Finished", "Failed")

    job: JobId
    """The job. Of one that failed the answer is Failed."""
    partial: bool = False
    """Whether a job that is not finished is to give the mesh as it is; otherwise it is refused with not-finished."""


@record
class DeleteJob(Message):
    """Cancels a job if need be, and deletes all that the server has of it."""

    sent_by, answers = ("client",), ("JobState",)

    job: JobId
    """The job."""


# --- from the server


@record
class ServerHello(Message):
    """Who the server is and what it can do."""

    sent_by = ("server",)

    software_version: Annotated[str, Text(1, 64)]
    """Of Sketchbridge on the server."""
    server_id: Key
    """Random, made when its state was: tells whether job ids of before mean something here."""
    device: Annotated[str, Text(1, 200)]
    """What it computes on: "NVIDIA RTX 4090"."""
    device_memory_bytes: Count = 0
    """Of the device; 0 if not known."""
    priors: Annotated[tuple[Prior, ...], Many(0, 64)]
    """The diffusion models that a job can ask for by name."""
    loras: Annotated[tuple[ServedName, ...], Many(0, 256)] = ()
    """The adapters of these models that a job can ask for."""
    environments: Annotated[tuple[ServedName, ...], Many(0, 256)] = ()
    """The lights that a job can ask for."""
    tasks: Annotated[tuple[Task, ...], Many(0, 4)]
    """What it can do."""
    limits: Limits = dataclasses.field(default_factory=Limits)
    """What it takes."""
    capabilities: Annotated[tuple[Annotated[str, Text(1, 32, "[a-z0-9-]+")], ...], Many(0, 32)] = ()
    """Of zlib and uint16, those that it can write. Unknown ones are ignored."""
    heartbeat_seconds: Annotated[float, Number(0.1, 60.0)] = 1.0
    """A client that says nothing for 10 of these may be forgotten."""
    clients: Count = 0
    """How many connections have said hello, this one included; 0 if not known. Only for clients with this capability:
    older ones know no such field."""


@record
class SubmitAccepted(Message):
    """The job is stored on disk: it survives the server."""

    sent_by = ("server",)

    job: JobId
    """The new job's id, or that of the job with this key."""
    key: Key
    """Of the SubmitJob."""
    was_known: bool = False
    """Whether a job with this key was there already; nothing was done then."""
    queue_position: Count | None = None
    """How many jobs are before it; null if it is not queued."""


@record
class JobList(Message):
    """The client's jobs, newest first."""

    sent_by = ("server",)

    jobs: Annotated[tuple[JobState, ...], Many(0, 100)]
    """Those asked for."""
    total: Count
    """How many there are."""


@record
class Progress(Message):
    """How far a running job is; at most a few a second."""

    sent_by = ("server",)

    job: JobId
    """The job."""
    step: StepNumber
    """Steps done."""
    total_steps: StepNumber
    """Of all."""
    stage: ShortLine
    """What it does: "bridge", "unwrapping"."""
    steps_per_second: Annotated[float, Number(0.0, 1e6)]
    """Over the last seconds."""
    seconds_left: Seconds | None = None
    """Estimated; null if not known yet."""
    gradient_norm: Annotated[float, Number(0.0, 1e30)] | None = None
    """Of the diffusion model's gradient: what falls as the object takes shape."""
    losses: Annotated[dict[str, float], Table(32, LossName, Number(-1e30, 1e30))] = dataclasses.field(
        default_factory=dict
    )
    """The regularising terms by name."""
    vertices: Count = 0
    """Of the mesh."""
    faces: Count = 0
    """Of the mesh."""
    memory_bytes: Count = 0
    """Of the device, in use by this job; 0 if not known."""
    notices: Annotated[tuple[Sentence, ...], Many(0, 16)] = ()
    """What happened since the last Progress that was sent."""

    @property
    def latest_wins_key(self) -> Hashable:
        return ("Progress", self.job)

    def superseding(self, older: Message) -> Progress:
        """Notices are not lost with the numbers."""
        if not isinstance(older, Progress) or not older.notices:
            return self
        return dataclasses.replace(self, notices=(older.notices + self.notices)[-16:])


@record
class MeshSnapshot(Message):
    """The mesh as it forms: a full one, or new positions or colours for an earlier full one."""

    sent_by = ("server",)

    job: JobId
    """The job."""
    number: Annotated[int, Whole(1, 2**53)]
    """Grows with every snapshot of a job, over restarts of the server too (it may begin with the milliseconds since
    1970). That of a full one names its faces."""
    step: StepNumber
    """After which it was taken."""
    taken_at: Moment = 0.0
    """When, by the server's clock."""
    builds_on: Annotated[int, Whole(1, 2**53)] | None = None
    """The number of the full snapshot whose faces it has; null for a full one. Positions or colours that it lacks are
    those of the snapshot received before it."""
    positions: Annotated[np.ndarray, Array("float32|uint16", "vertices 3", -1e6, 1e6)] | None = None
    """Metres; as uint16, 0 and 65535 stand for low and high. Needed in a full one."""
    low: Point | None = None
    """Metres, for each axis; needed by uint16 and not allowed with float32."""
    high: Point | None = None
    """Metres, for each axis; not below low."""
    faces: Annotated[np.ndarray, Array("int32", "faces 3")] | None = None
    """Indices of vertices, counter-clockwise from outside. Needed in a full one; no other has them."""
    colours: Colours | None = None
    """sRGB, one per vertex."""

    def _check(self) -> None:
        if self.builds_on is None:
            self._check_full()
        elif self.builds_on >= self.number:
            raise LocalProtocolError.at("builds_on", self.builds_on, f"less than the number, {self.number}")
        elif self.faces is not None:
            raise LocalProtocolError.at("faces", self.faces, "left out, since builds_on is given")
        elif self.positions is None and self.colours is None:
            raise LocalProtocolError.at("positions", None, "given, since there are no colours either")
        self._check_box()

    def _check_full(self) -> None:
        for name in ("positions", "faces"):
            if getattr(self, name) is None:
                raise LocalProtocolError.at(name, None, "given, since builds_on is not")
        check_faces(self.faces, len(self.positions), "faces")  # type: ignore[arg-type]

    def _check_box(self) -> None:
        is_quantised = self.positions is not None and self.positions.dtype == np.uint16
        for name in ("low", "high"):
            if (getattr(self, name) is not None) != is_quantised:
                right = "given if and only if positions are uint16"
                raise LocalProtocolError.at(name, getattr(self, name), right)
        if self.low is not None and any(a > b for a, b in zip(self.low, self.high or (), strict=True)):
            raise LocalProtocolError.at("high", self.high, f"on no axis below low, {list(self.low)}")

    @property
    def is_full(self) -> bool:
        return self.builds_on is None

    @property
    def base(self) -> int:
        """The number of the full snapshot whose faces this one has: its own, if it is full."""
        return self.number if self.builds_on is None else self.builds_on

    @property
    def vertices(self) -> int:
        """How many it has."""
        return len(self.positions if self.positions is not None else self.colours)  # type: ignore[arg-type]

    def metres(self) -> np.ndarray | None:
        """float32 [vertices, 3], whatever the positions were sent as; None if there are none."""
        if self.positions is None or self.low is None or self.high is None:
            return self.positions
        return dequantise(self.positions, self.low, self.high)

    @property
    def latest_wins_key(self) -> Hashable:
        return ("MeshSnapshot", self.job)

    def superseding(self, older: Message) -> MeshSnapshot:
        """A full one takes the place of all. Another keeps what it lacks from an older one with the same faces.

        What a full one becomes keeps its number, so that later snapshots still build on it.

        Raises:
            LocalProtocolError: The two do not have the same number of vertices.
        """
        if not isinstance(older, MeshSnapshot) or self.is_full or self.base != older.base:
            return self
        if self.vertices != older.vertices:
            raise LocalProtocolError.at("the number of vertices", self.vertices, f"as before, {older.vertices}")
        kept: dict[str, Any] = {} if self.colours is None else {"colours": self.colours}
        if self.positions is not None:
            kept |= {"positions": self.positions, "low": self.low, "high": self.high}
        number = older.number if older.is_full else self.number
        return dataclasses.replace(older, number=number, step=self.step, taken_at=self.taken_at, **kept)


@record
class Preview(Message):
    """A picture of the object as the diffusion model sees it."""

    sent_by = ("server",)

    job: JobId
    """The job."""
    step: StepNumber
    """After which it was drawn."""
    view: ShortLine = ""
    """From where: "front"."""
    picture: Annotated[bytes, Png(4096)]
    """The file."""

    @property
    def latest_wins_key(self) -> Hashable:
        return ("Preview", self.job, self.view)


@record
class Finished(Message):
    """A job's result. Answers FetchResult; that a job is finished, JobState says."""

    sent_by = ("server",)

    job: JobId
    """The job."""
    step: StepNumber
    """After which it was made."""
    is_partial: bool = False
    """Whether the job goes on, or was cancelled."""
    mesh: ResultMesh | None = None
    """The mesh; null for the task image."""
    textures: Annotated[tuple[Texture, ...], Many(0, 3)] = ()
    """Its material; empty for what is partial, whose colours are at its vertices."""
    pictures: Annotated[tuple[NamedPicture, ...], Many(0, 16)] = ()
    """Of the task image, the picture; of others, what it looks like."""
    seconds: Seconds = 0.0
    """Of computing, without queue and pauses."""


@record
class Failed(Message):
    """A job ended without a result. Sent to its watchers after JobState, and answers FetchResult."""

    sent_by = ("server",)

    job: JobId
    """The job."""
    code: FailureCode
    """For programs."""
    sentence: Sentence
    """For the artist: what happened and what to do."""
    log_id: Annotated[str, Text(1, 64, "[A-Za-z0-9-]+")]
    """Where the server's log has the details."""


@record
class Refused(Message):
    """The server says no to a request, or to something that is no message."""

    sent_by = ("server",)

    code: RefusalCode
    """For programs."""
    sentence: Sentence
    """For people."""
    path: Annotated[str, Text(0, 200)] = ""
    """Of the field that is wrong, such as sketches[1].camera.fov_degrees."""
    right: Annotated[str, Text(0, 500)] = ""
    """What would be right."""


@record
class Heartbeat(Message):
    """Says that this side lives. The client sends it when it has nothing else to say; the server sends it back."""

    sent_by, answers = ("client", "server"), ("Heartbeat",)

    @property
    def latest_wins_key(self) -> Hashable:
        return ("Heartbeat",)


MESSAGE_TYPES: dict[str, type[Message]] = {
    each.__name__: each
    for each in (
        ClientHello,
        ServerHello,
        SubmitJob,
        SubmitAccepted,
        ListJobs,
        JobList,
        WatchJob,
        Credit,
        JobState,
        Progress,
        MeshSnapshot,
        Preview,
        UpdateJob,
        PauseJob,
        ResumeJob,
        CancelJob,
        FetchResult,
        Finished,
        Failed,
        DeleteJob,
        Heartbeat,
        Refused,
    )
}
"""By their name on the wire."""


def _check_names_differ(path: str, sketches: tuple[Sketch, ...]) -> None:
    names = [each.name for each in sketches]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise LocalProtocolError.at(f"{path}[{index}].name", name, "a name that no other sketch of the list has")
