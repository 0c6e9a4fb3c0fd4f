"""Commands that change jobs on a server: pause, resume, cancel, delete, steer."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.commands.client_output import ClientOutput
from backend.commands.exit_codes import EXIT_BAD_INPUT, EXIT_DONE
from backend.commands.server_connection import ServerOptions, answer_of, find_job, find_jobs, run_client_command
from backend.errors import BadInput
from backend.geometry.mesh_input import UpAxis
from backend.sketches.sketch import doubled_name
from protocol.client import Client
from protocol.errors import RequestRefused
from protocol.geometry import InputMesh
from protocol.messages import CancelJob, DeleteJob, JobState, Message, PauseJob, ResumeJob, SketchChange, UpdateJob
from protocol.sketches import Sketch

STEER_SECONDS = 120.0
"""An edited mesh may be large and the way to the server slow."""
_WHAT_STEERS = (
    "--prompt, --guidance-scale, --source-suffix, --target-suffix, --learning-rate-factor, --smoothness-weight, "
    "--mesh-weight, --more-steps, --mesh, --add-view, --remove-view, --view-weight"
)


@dataclass(frozen=True)
class SketchWishes:
    """How the drawings of a job are to change."""

    add: Sequence[str] = ()
    """As behind `--view`; one with the name of another takes its place."""
    remove: Sequence[str] = ()
    """Names of views."""
    weights: Sequence[str] = ()
    """NAME=WEIGHT."""

    def __bool__(self) -> bool:
        return bool(self.add or self.remove or self.weights)

    def fields(self, notice: Callable[[str], None]) -> dict[str, Any]:
        """Those of `UpdateJob`.

        Raises:
            BadInput: A drawing cannot be used, a weight is none, or one view is changed in two ways.
        """
        changes = tuple(_weight_change(text) for text in self.weights)
        for names, what in ((self.remove, "removed"), ([each.name for each in changes], "given a weight")):
            doubled = doubled_name(names)
            if doubled is not None:
                raise BadInput(f"the view {doubled} is {what} twice")
        return {
            "add_sketches": self._added(notice),
            "remove_sketches": tuple(self.remove),
            "sketch_weights": changes,
        }

    def _added(self, notice: Callable[[str], None]) -> tuple[Sketch, ...]:
        if not self.add:
            return ()
        from backend.commands.wire_sketches import read_wire_sketch
        from backend.sketch_config import parse_views

        return tuple(read_wire_sketch(view, notice) for view in parse_views(self.add))


def _weight_change(text: str) -> SketchChange:
    """Of `az=30,el=20=0.5` what is behind the last `=`: names have some too."""
    name, _, value = text.rpartition("=")
    try:
        return SketchChange(name=name.strip(), weight=float(value))
    except ValueError as error:  # LocalProtocolError is one
        raise BadInput(
            f"--view-weight {text!r} must be the name of a view and a weight from 0 to 100, such as front=0.5 or "
            "az=30,el=20=0.5"
        ) from error


def run_pause_command(options: ServerOptions, jobs: list[str], output: ClientOutput | None = None) -> int:
    """Stops jobs after the step that they are in. Returns the exit code."""
    return _run_for_each(options, jobs, lambda job: PauseJob(job=job), output)


def run_resume_command(options: ServerOptions, jobs: list[str], output: ClientOutput | None = None) -> int:
    """Lets paused jobs go on. Returns the exit code."""
    return _run_for_each(options, jobs, lambda job: ResumeJob(job=job), output)


def run_cancel_command(
    options: ServerOptions, jobs: list[str], drops: bool = False, output: ClientOutput | None = None
) -> int:
    """Ends jobs for good; with `drops`, what is there is thrown away. Returns the exit code."""
    return _run_for_each(options, jobs, lambda job: CancelJob(job=job, result="drop" if drops else "keep"), output)


def run_delete_command(options: ServerOptions, jobs: list[str], output: ClientOutput | None = None) -> int:
    """Ends jobs if need be and deletes all that the server has of them. Returns the exit code."""
    return _run_for_each(options, jobs, lambda job: DeleteJob(job=job), output)


def run_steer_command(
    options: ServerOptions,
    job: str,
    changes: dict[str, Any],
    mesh: Path | None = None,
    up: UpAxis | None = None,
    views: SketchWishes | None = None,
    output: ClientOutput | None = None,
) -> int:
    """Changes a job between two of its steps. Returns the exit code.

    Args:
        changes: Fields of `UpdateJob`.
        mesh: A file with an edited mesh to go on from.
        up: Of the mesh; None for y.
        views: Drawings that are added, removed and re-weighted.
    """
    views = views or SketchWishes()

    def work(client: Client, output: ClientOutput) -> int:
        if not (changes or mesh or views):
            raise BadInput(f"nothing changes; give one of {_WHAT_STEERS}")
        if up is not None and mesh is None:
            raise BadInput("--up says how a mesh lies in its file; give one with --mesh, or leave it out")
        edited = None if mesh is None else _edited_mesh(mesh, up or "y", output)
        # Before the job is looked for: what is wrong with the values is known here.
        fields = changes | views.fields(output.say)
        update = UpdateJob(job="unknown", key=uuid.uuid4().hex, mesh=edited, **fields)
        state = find_job(client, job, output)
        if views and state.task != "sketch":
            raise BadInput(f"{state.job} is a job of the task {state.task}, which looks at no drawings")
        state = answer_of(client, dataclasses.replace(update, job=state.job), output, STEER_SECONDS)
        _show(state, output)
        return EXIT_DONE

    return run_client_command(options, work, output)


def _edited_mesh(path: Path, up: UpAxis, output: ClientOutput) -> InputMesh:
    from backend.commands.wire_meshes import read_wire_mesh

    return read_wire_mesh(path, up, output.say)


def _run_for_each(
    options: ServerOptions, jobs: list[str], message_for: Callable[[str], Message], output: ClientOutput | None
) -> int:
    """All jobs are found before the first is changed: a wrong id changes nothing. What the server refuses of one job is
    told, and the others are changed all the same.
    """

    def work(client: Client, output: ClientOutput) -> int:
        code = EXIT_DONE
        for state in find_jobs(client, jobs, output):
            try:
                _show(answer_of(client, message_for(state.job), output), output)
            except RequestRefused as refusal:
                code = EXIT_BAD_INPUT
                output.error(RequestRefused(refusal.code, f"{state.job}: {refusal}"), code)
        return code

    return run_client_command(options, work, output)


def _show(state: JobState, output: ClientOutput) -> None:
    output.object(**dataclasses.asdict(state))
    steps = f" after step {state.step} of {state.total_steps}" if state.total_steps else ""
    updates = f", {state.updates} update{'s' if state.updates > 1 else ''}" if state.updates else ""
    output.say(f"{state.job}: {state.status}{steps}{updates}")
    if state.sentence:
        output.say(state.sentence)
