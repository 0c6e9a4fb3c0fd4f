"""`sketchbridge submit`: a job for a server, from the options of the local commands."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.commands.client_output import ClientOutput
from backend.commands.exit_codes import EXIT_DONE, EXIT_NOT_FINISHED, EXIT_STOPPED
from backend.commands.fetch_result import FetchWishes, check_fetched_path, fetch_result
from backend.commands.server_connection import ServerOptions, answer_of, run_client_command, server_of
from backend.commands.watch_job import WatchWishes, exit_code_of_end, watch_to_the_end
from backend.config import check_axes, check_number
from backend.errors import BadInput
from backend.geometry.mesh_input import OTHER_AXES, UpAxis
from protocol.client import Client
from protocol.geometry import InputMesh
from protocol.messages import SubmitAccepted, SubmitJob, UpdateJob
from protocol.settings import Settings, Task
from protocol.sketches import Sketch

SUBMIT_SECONDS = 120.0
"""A mesh may be large and the way to the server slow."""
PICTURE_SIDE = 512
"""Of a picture to begin with, where the server does not say what its prior takes."""


@dataclass(frozen=True)
class SubmitCommand:
    """What the command line asked for."""

    task: Task
    prompt: str | None
    settings: dict[str, Any] = field(default_factory=dict)
    """Those of `protocol.settings.Settings` that were given; axes of symmetry in one text, as the local commands have
    them."""
    mesh: Path | None = None
    up: UpAxis | None = None
    """Of the mesh, and of the file that is written unless that is a GLB; None for y."""
    picture: Path | None = None
    """What the task image begins with."""
    views: Sequence[str] = ()
    """Drawings of the task sketch, as behind `--view`."""
    sketch_weight: float = 1.0
    """On everything that the drawings ask for."""
    strength: float | None = None
    """How strongly the surface is held to the mesh, 0 to 1; None for the server's choice."""
    lock: Path | None = None
    """A copy of the mesh on which what is to stay is painted white."""
    priority: int = 0
    waits: bool = False
    """For the end of the job, with its progress."""
    output: Path | None = None
    """Where to write the result; needs `waits`."""

    def __post_init__(self) -> None:
        if self.task == "texture" and (self.mesh is None or self.prompt is None):
            raise BadInput(
                "say which mesh and what it is to look like, such as: "
                'sketchbridge submit texture mug.glb "a red mug" --wait -o red-mug.glb'
            )
        if self.task == "sketch":
            self._check_sketch_job()
        if self.prompt is None:
            suffix = "png" if self.task == "image" else "glb"
            raise BadInput(
                f'say what to make, such as: sketchbridge submit {self.task} "a red mushroom" --wait -o m.{suffix}'
            )
        if self.output is not None and not self.waits:
            raise BadInput(f"-o {self.output} needs --wait; without it, fetch the result later: sketchbridge fetch")
        if self.up is not None and self.mesh is None:
            option = "--mesh" if self.task == "sketch" else "--init-mesh"
            raise BadInput(f"--up says how a mesh lies in its file; give one with {option}, or leave it out")
        if "symmetry" in self.settings:
            check_axes("symmetry", self.settings["symmetry"])

    def _check_sketch_job(self) -> None:
        if self.prompt is None or not (self.views or self.mesh):
            raise BadInput(
                "say what to make and from where it was drawn, or from which mesh, such as: "
                'sketchbridge submit sketch "a red mug" --view front=mug.png --wait -o mug.glb'
            )
        check_number("strength", self.strength, 0.0, 1.0)
        check_number("sketch weight", self.sketch_weight, 0.0, 100.0)
        if self.settings.get("to_real") and self.mesh is None:
            raise BadInput("--to-real makes a blocked-out mesh real, and none is given; give --mesh too")
        for name in ("lock", "strength"):
            if getattr(self, name) is not None and self.mesh is None:
                raise BadInput(f"--{name} says what of a mesh is kept, and none is given; give --mesh too")


def run_submit_command(options: ServerOptions, given: dict[str, Any], output: ClientOutput | None = None) -> int:
    """Submits a job; waits for it and fetches it if that was asked for. Returns the exit code.

    Args:
        given: The fields of `SubmitCommand`.
    """

    def work(client: Client, output: ClientOutput) -> int:
        return _submit(client, SubmitCommand(**given), output)

    return run_client_command(options, work, output)


def _submit(client: Client, command: SubmitCommand, output: ClientOutput) -> int:
    fetch = _fetch_wishes(command)
    message = submission(command, uuid.uuid4().hex, client, output)
    accepted: SubmitAccepted = answer_of(client, message, output, SUBMIT_SECONDS)
    job, before = accepted.job, accepted.queue_position
    output.object(event="submitted", job=job, queue_position=before)
    output.say(f"submitted as {job}" + (f", {before} before it in the queue" if before else ""))
    if command.strength is not None:
        # A submission cannot say it. A job that begins at once may make a few steps with the server's choice before.
        answer_of(client, UpdateJob(job=job, key=uuid.uuid4().hex, mesh_weight=command.strength), output)
    if not command.waits:
        output.say(f"watch it with: sketchbridge watch {job}")
        output.result(job, job=job)
        return EXIT_DONE
    code = _wait_and_fetch(client, job, fetch, output)
    if output.as_json or fetch is None:
        output.result(job, job=job)
    return code


def submission(command: SubmitCommand, key: str, client: Client, output: ClientOutput) -> SubmitJob:
    """The message that asks for the job, with what its files hold.

    Args:
        key: Of the job; the same one again asks for the same job.

    Raises:
        BadInput: A file cannot be used.
        LocalProtocolError: A setting is none that the wire allows.
    """
    return SubmitJob(
        key=key,
        task=command.task,
        prompt=command.prompt or "",
        settings=_settings_of(command),
        mesh=_mesh_of(command, output),
        sketches=_sketches_of(command, output),
        picture=_picture_of(command, client, output),
        priority=command.priority,
    )


def _wait_and_fetch(client: Client, job: str, fetch: FetchWishes | None, output: ClientOutput) -> int:
    end = watch_to_the_end(client, job, WatchWishes(), output)
    if end is None:
        return EXIT_STOPPED
    code = exit_code_of_end(end)
    if fetch is None or not (end.status == "finished" or (code == EXIT_NOT_FINISHED and end.has_result)):
        output.say(f"{end.status} after step {end.step}")
        return code
    return fetch_result(client, end, fetch, output) or code


def _fetch_wishes(command: SubmitCommand) -> FetchWishes | None:
    """Checked before anything is submitted."""
    if command.output is None:
        return None
    path = command.output.expanduser()
    check_fetched_path(command.task, path)
    if command.mesh is not None and path.resolve() == command.mesh.expanduser().resolve():
        raise BadInput(f"-o {command.output} is the mesh that the job begins with; choose another name for the result")
    return FetchWishes(path, up="z" if command.up == "z" and path.suffix.lower() != ".glb" else "y")


def _mesh_of(command: SubmitCommand, output: ClientOutput) -> InputMesh | None:
    if command.mesh is None:
        return None
    from backend.commands.wire_meshes import read_wire_mesh

    # A texture job begins grey, here as in the local command.
    with_colours = command.task != "texture"
    return read_wire_mesh(command.mesh, command.up or "y", output.say, command.lock, with_colours)


def _settings_of(command: SubmitCommand) -> Settings:
    chosen = dict(command.settings)
    if "symmetry" in chosen:
        chosen["symmetry"] = tuple(sorted(OTHER_AXES[axis] for axis in chosen["symmetry"]))
    return Settings(**chosen)


def _sketches_of(command: SubmitCommand, output: ClientOutput) -> tuple[Sketch, ...]:
    if not command.views:
        return ()
    from backend.commands.wire_sketches import read_wire_sketch
    from backend.sketch_config import parse_views

    views = parse_views(command.views)  # all of them before the first file is opened
    return tuple(read_wire_sketch(view, output.say, command.sketch_weight) for view in views)


def _picture_of(command: SubmitCommand, client: Client, output: ClientOutput) -> bytes | None:
    """The middle square of a picture file, in the size that the prior takes, as PNG."""
    if command.picture is None:
        return None
    from backend.pictures import encode_picture, read_picture, to_bytes

    name = command.settings.get("prior", Settings().prior)
    side = next((each.resolution for each in server_of(client).priors if each.name == name), PICTURE_SIDE)
    picture = read_picture(command.picture, side, output.say)
    return encode_picture(to_bytes(picture[None])[0], ".png")
