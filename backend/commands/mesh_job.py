"""How a job ends that makes a mesh: it is finished and written, with its turntable and the report."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from backend.appearance.bake import FinishedMesh
from backend.appearance.mesh_files import check_output_path, write_mesh
from backend.commands.displays import Display
from backend.commands.job_steps import Delivery, Job, Product, Progress, finish_report
from backend.errors import OutputNotWritable
from backend.render.rasteriser import Rasteriser
from backend.render.renderer import TextureImages
from backend.run_folder import RunFolder
from backend.turntable import render_turntable, write_contact_sheet, write_gif

RUN_MESH_NAME = "mesh.glb"

_log = logging.getLogger(__name__)


@runtime_checkable  # for the type checker of the tests
class MeshJob(Job, Protocol):
    """A job that ends in a mesh."""

    @property
    def rasteriser(self) -> Rasteriser: ...
    def finish(self, progress: Callable[[str], None]) -> FinishedMesh: ...


def deliver(job: MeshJob, run: RunFolder, display: Display, progress: Progress, output: Path | None) -> Delivery:
    """Turns the state of a job into a textured mesh and writes it, with its turntable and the report.

    The mesh goes to the run folder first and to `output` second, so that a full disk or a folder that has vanished
    meanwhile costs nothing.

    Raises:
        OutputNotWritable: Neither of the two could be written.
    """
    display.doing("finishing the mesh")
    started = time.perf_counter()
    finished = job.finish(display.doing)
    for note in finished.report.notes:
        run.notice(note, progress.step)
    display.doing("writing the mesh")
    mesh_path, problem = _write_meshes(run, finished, output)
    _log.info("mesh with %d faces on disk %.2f s after the last step", len(finished.mesh.faces), _since(started))
    _log.info("seconds of finishing: %s", finished.report.seconds)

    display.doing("rendering the turntable")
    turntable = _write_turntable(run, finished, job)
    report = finish_report(run, progress)
    return Delivery(
        report, _since(started), problem, mesh=mesh_path, faces=len(finished.mesh.faces), turntable=turntable
    )


def _write_meshes(run: RunFolder, finished: FinishedMesh, output: Path | None) -> tuple[Path, OutputNotWritable | None]:
    """Writes the mesh twice. Returns the best place it went to, and what was wrong with the one the user wanted.

    Raises:
        OutputNotWritable: Neither place could be written.
    """
    run_mesh = run.path / RUN_MESH_NAME
    run_problem: Exception | None = None
    try:
        write_mesh(run_mesh, finished)
    except (OSError, OutputNotWritable) as error:
        run_problem = error
        run.notice(f"{run_mesh} could not be written ({error})")

    if output is not None:
        try:
            write_mesh(output, finished)
            return output, None
        except (OSError, OutputNotWritable) as error:
            if run_problem is None:
                problem = OutputNotWritable(f"{output} could not be written ({error}). The mesh is in {run_mesh}")
                return run_mesh, problem
            run_problem = error
    if run_problem is not None:
        raise OutputNotWritable(f"the mesh could not be written anywhere ({run_problem})") from run_problem
    return run_mesh, None


def _write_turntable(run: RunFolder, finished: FinishedMesh, job: MeshJob) -> Path | None:
    """turntable.gif and contact_sheet.png; None, with a notice, where disk or memory is too small for them."""
    path = run.path / "turntable.gif"
    try:
        # A finished mesh is on the CPU, the rasteriser may be on the GPU.
        appearance = TextureImages(
            finished.uv.to(job.device), finished.base_colour.to(job.device), finished.normals.to(job.device)
        )
        frames = render_turntable(job.rasteriser, finished.mesh.to(job.device), appearance)
        write_contact_sheet(run.path / "contact_sheet.png", frames)
        write_gif(path, frames)
    except (OSError, MemoryError, torch.OutOfMemoryError) as error:
        run.notice(f"the turntable could not be made ({error})")
        return None
    return path


def _since(started: float) -> float:
    return time.perf_counter() - started


MESH = Product(
    name="mesh",
    deliver=deliver,
    check_output=check_output_path,
    smaller="--quality draft, --texture-size 512, ",
    needs_kernels=True,
)
