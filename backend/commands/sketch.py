"""`sketchbridge sketch`: a textured mesh from drawings and a sentence."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from backend.commands.displays import Display
from backend.commands.job_command import JobCommand, Task, run_job_command
from backend.commands.job_steps import Delivery, Progress
from backend.commands.mesh_job import MESH, MeshJob, deliver
from backend.durable_files import write_whole_file
from backend.pictures import encode_picture
from backend.report import SKETCH_PREFIX, SKETCHES_NAME
from backend.run_folder import RunFolder
from backend.sketch_config import SketchToMeshSettings
from backend.sketches.overlay import SketchScore, fit_sentence
from backend.sketches.view_argument import with_absolute_path
from backend.tasks.sketch_to_mesh import SketchToMesh


@runtime_checkable  # for the type checker of the tests
class SketchJob(MeshJob, Protocol):
    """A job that ends in a mesh which is to fit drawings."""

    def scores(self) -> list[SketchScore]: ...
    def overlays(self) -> list[np.ndarray]: ...


def deliver_with_sketches(
    job: SketchJob, run: RunFolder, display: Display, progress: Progress, output: Path | None
) -> Delivery:
    """As `mesh_job.deliver`; before, the run folder gets each drawing over the mesh, for the report."""
    display.doing("comparing with the drawings")
    scores = job.scores()
    if not scores:  # from a mesh alone
        return deliver(job, run, display, progress, output)
    try:
        _write_overlays(run, scores, job.overlays())
    except OSError as error:
        run.notice(f"the drawings over the mesh could not be written ({error.strerror or error})")
    run.notice(fit_sentence(scores), progress.step)
    return deliver(job, run, display, progress, output)


def _write_overlays(run: RunFolder, scores: list[SketchScore], pictures: list[np.ndarray]) -> None:
    record = []
    for number, (score, picture) in enumerate(zip(scores, pictures, strict=True), start=1):
        name = f"{SKETCH_PREFIX}{number}.png"  # what a drawing is called may not do for a file
        write_whole_file(run.path / name, encode_picture(picture, ".png"))
        record.append({"picture": name, "caption": str(score), **dataclasses.asdict(score)})
    write_whole_file(run.path / SKETCHES_NAME, (json.dumps(record, indent=2) + "\n").encode())


SKETCH = Task(
    name="sketch",
    settings_class=SketchToMeshSettings,
    product=dataclasses.replace(MESH, deliver=deliver_with_sketches),
    make_job=lambda settings, notice: SketchToMesh(settings, notice),
    needed=("prompt", "views"),
    what_is_needed="say what to make and from where it was drawn, or from which mesh, such as: "
    'sketchbridge sketch "a red mug" --view front=mug.png -o mug.glb',
    file_settings=("mesh", "lock"),
)


def run_sketch_command(command: JobCommand, as_json: bool = False) -> int:
    """See `run_job_command`. Files of views are named from the root, so that a run goes on from any folder."""
    settings = dict(command.settings)
    if "views" in settings:
        settings["views"] = tuple(with_absolute_path(view) for view in settings["views"])
    elif "mesh" in settings:
        settings["views"] = ()
    return run_job_command(SKETCH, dataclasses.replace(command, settings=settings), as_json)
