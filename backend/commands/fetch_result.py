"""`sketchbridge fetch`: what a job on a server has made, as a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backend.commands.client_output import ClientOutput
from backend.commands.exit_codes import EXIT_DONE, EXIT_JOB_FAILED, EXIT_NOT_FINISHED, EXIT_STOPPED
from backend.commands.server_connection import (
    ServerOptions,
    answer_of,
    find_job,
    run_client_command,
)
from backend.commands.watch_display import watch_display
from backend.commands.watch_job import WatchWishes, watch_to_the_end
from backend.durable_files import write_output
from backend.errors import BadInput
from backend.geometry.mesh_input import UpAxis
from backend.readable import readable_seconds
from protocol.client import Client
from protocol.errors import RequestRefused
from protocol.messages import FINAL_STATUSES, Failed, FetchResult, Finished, JobState

FETCH_SECONDS = 1800.0
"""A partial mesh waits for a step to end and is large, like all results; links may be slow."""


@dataclass(frozen=True)
class FetchWishes:
    """What to fetch, and where to."""

    output: Path
    waits: bool = False
    """For the end of the job."""
    partial: bool = False
    """The mesh as it is, if the job has not ended."""
    up: UpAxis = "y"
    """Of the file; a GLB is always Y up."""

    def __post_init__(self) -> None:
        if self.waits and self.partial:
            raise BadInput("--wait wants the end and --partial what there is now; give one of them")
        if self.up == "z" and self.output.suffix.lower() == ".glb":
            raise BadInput(f"{self.output} cannot have Z upwards: a GLB is Y up always; use .obj, .ply or .stl")


def run_fetch_command(
    options: ServerOptions,
    job: str,
    output_path: Path | None,
    waits: bool = False,
    partial: bool = False,
    up: str = "y",
    output: ClientOutput | None = None,
) -> int:
    """Writes the result of a job. Returns the exit code."""

    def work(client: Client, output: ClientOutput) -> int:
        if output_path is None:
            raise BadInput(f"say where to write it: sketchbridge fetch {job} -o result.glb")
        wishes = FetchWishes(output_path.expanduser(), waits, partial, "z" if up == "z" else "y")
        state = find_job(client, job, output)
        check_fetched_path(state.task, wishes.output)
        if waits and state.status not in FINAL_STATUSES:
            end = watch_to_the_end(client, state.job, WatchWishes(), output)
            if end is None:
                return EXIT_STOPPED
            state = end
        return fetch_result(client, state, wishes, output)

    return run_client_command(options, work, output)


def check_fetched_path(task: str, path: Path) -> None:
    """Finds out before the work whether the result of a task can be written to a path.

    Raises:
        BadInput: The suffix is not one for the task's result.
        OutputNotWritable: It cannot be written there.
    """
    if task == "image":
        from backend.pictures import check_picture_output

        check_picture_output(path)
    else:
        from backend.appearance.mesh_files import check_output_path

        check_output_path(path)


def fetch_result(client: Client, state: JobState, wishes: FetchWishes, output: ClientOutput) -> int:
    """Fetches and writes the result of a job as it is now. Returns the exit code.

    Raises:
        ProtocolError: The server is away, or refuses.
        OutputNotWritable: The file cannot be written.
    """
    # What was kept of a job that was cancelled is partial too, and there will never be more.
    partial = wishes.partial or (state.status == "cancelled" and state.has_result)
    try:
        answer = answer_of(client, FetchResult(job=state.job, partial=partial), output, FETCH_SECONDS)
    except RequestRefused as refusal:
        if refusal.code != "not-finished":
            raise
        hint = "" if partial else "; --wait waits for it, --partial takes it as it is"
        output.error(RequestRefused(refusal.code, f"{refusal}{hint}"), EXIT_NOT_FINISHED)
        return EXIT_NOT_FINISHED
    if isinstance(answer, Failed):
        watch_display(output).failed(answer)
        return EXIT_JOB_FAILED
    write_result(answer, state, wishes)
    unfinished = f", unfinished: as it was after step {answer.step}" if answer.is_partial else ""
    faces = 0 if answer.mesh is None else len(answer.mesh.faces)
    size = f"{faces:,} faces, " if answer.mesh is not None else ""
    output.say(f"{wishes.output}: {size}{readable_seconds(answer.seconds)} of computing{unfinished}")
    output.result(
        str(wishes.output),
        event="fetched",
        job=state.job,
        file=wishes.output.absolute(),
        step=answer.step,
        is_partial=answer.is_partial,
        faces=faces,
    )
    return EXIT_DONE


def write_result(finished: Finished, state: JobState, wishes: FetchWishes) -> None:
    """Writes a mesh with its textures, a mesh with colours at its vertices where it has no textures, or a picture.

    Raises:
        BadInput: The server sent something that cannot be written.
        OutputNotWritable: The file cannot be written.
    """
    if finished.mesh is None:
        _write_picture(finished, wishes.output)
        return
    from backend.appearance.mesh_files import write_mesh
    from backend.commands.coloured_mesh_files import write_coloured_mesh
    from backend.commands.wire_meshes import finished_mesh

    textured = finished_mesh(finished, state.title or state.job, wishes.up)
    if textured is not None:
        write_mesh(wishes.output, textured)
    else:
        mesh = finished.mesh
        write_coloured_mesh(wishes.output, mesh.positions, mesh.faces, mesh.colours, wishes.up)


def _write_picture(finished: Finished, path: Path) -> None:
    pictures = {each.name: each.picture for each in finished.pictures}
    content = pictures.get("picture")
    if content is None:
        raise BadInput(f"the server sent no picture, only {', '.join(pictures) or 'nothing'}")
    write_output(path, content if path.suffix.lower() == ".png" else _in_format_of(path, content))


def _in_format_of(path: Path, png: bytes) -> bytes:
    from backend.commands.wire_meshes import decoded_png
    from backend.pictures import encode_picture

    return encode_picture(decoded_png(png, "picture").numpy(), path.suffix)
