"""`sketchbridge submit`: a job for a server, from the options of the local commands."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.commands.client_output import ClientOutput
from backend.commands.exit_codes import EXIT_DONE, EXIT_NOT_FINISHED, EXIT_STOPPED
from backend.commands.fetch_result import FetchWishes, check_fetched_path, fetch_result
from backend.commands.server_connection import ServerOptions, answer_of, run_client_command, server_of
from backend.commands.watch_job import WatchWishes, exit_code_of_end, watch_to_the_end
from backend.errors import BadInput
from backend.geometry.mesh_input import UpAxis
from protocol.client import Client
from protocol.geometry import InputMesh
from protocol.messages import SubmitAccepted, SubmitJob
from protocol.settings import Settings, Task

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
    """Those of `protocol.settings.Settings` that were given."""
    mesh: Path | None = None
    up: UpAxis | None = None
    """Of the mesh, and of the file that is written unless that is a GLB; None for y."""
    picture: Path | None = None
    """What the task image begins with."""
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
        if self.prompt is None:
            suffix = "png" if self.task == "image" else "glb"
            raise BadInput(
                f'say what to make, such as: sketchbridge submit {self.task} "a red mushroom" --wait -o m.{suffix}'
            )
        if self.output is not None and not self.waits:
            raise BadInput(f"-o {self.output} needs --wait; without it, fetch the result later: sketchbridge fetch")
        if self.up is not None and self.mesh is None:
            raise BadInput("--up says how a mesh lies in its file; give one with --init-mesh, or leave it out")


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
    message = SubmitJob(
        key=uuid.uuid4().hex,
        task=command.task,
        prompt=command.prompt or "",
        settings=Settings(**command.settings),
        mesh=_mesh_of(command, output),
        picture=_picture_of(command, client, output),
        priority=command.priority,
    )
    accepted: SubmitAccepted = answer_of(client, message, output, SUBMIT_SECONDS)
    job, before = accepted.job, accepted.queue_position
    output.object(event="submitted", job=job, queue_position=before)
    output.say(f"submitted as {job}" + (f", {before} before it in the queue" if before else ""))
    if not command.waits:
        output.say(f"watch it with: sketchbridge watch {job}")
        output.result(job, job=job)
        return EXIT_DONE
    code = _wait_and_fetch(client, job, fetch, output)
    if output.as_json or fetch is None:
        output.result(job, job=job)
    return code


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

    return read_wire_mesh(command.mesh, command.up or "y", output.say)


def _picture_of(command: SubmitCommand, client: Client, output: ClientOutput) -> bytes | None:
    """The middle square of a picture file, in the size that the prior takes, as PNG."""
    if command.picture is None:
        return None
    from backend.pictures import encode_picture, read_picture, to_bytes

    name = command.settings.get("prior", Settings().prior)
    side = next((each.resolution for each in server_of(client).priors if each.name == name), PICTURE_SIDE)
    picture = read_picture(command.picture, side, output.say)
    return encode_picture(to_bytes(picture[None])[0], ".png")
