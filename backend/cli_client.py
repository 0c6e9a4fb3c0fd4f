"""Commands for jobs on a server: names of options, their help, nothing else. Only typer is imported here."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from backend.cli_client_options import (
    DEFAULT_SERVER,
    EXIT_CODES,
    ClientJsonOption,
    JobArgument,
    JobsArgument,
    KeyOption,
    MeshUpOption,
    ServerOption,
)
from backend.cli_options import Up, given_settings
from backend.cli_submit import submit

PANEL = "Jobs on a server"


class FrameFormatName(StrEnum):
    GLB = "glb"
    PLY = "ply"


def add_commands(app: typer.Typer) -> None:
    """Registers `submit`, `batch` and the commands for jobs that are there."""
    app.add_typer(submit, name="submit", rich_help_panel=PANEL)
    for command in (batch, jobs, watch, steer, pause, resume, cancel, fetch, delete, status):
        app.command(epilog=EXIT_CODES, rich_help_panel=PANEL)(command)


def batch(
    table: Annotated[Path, typer.Argument(metavar="FILE.csv", help="A row per job.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="For meshes and page.")],
    variations: Annotated[
        int, typer.Option(metavar="N", help="So many of each row, with the seeds that follow its own.")
    ] = 1,
    no_turntables: Annotated[
        bool, typer.Option("--no-turntables", metavar="", help="No turning pictures, which take seconds each here.")
    ] = False,
    server: ServerOption = DEFAULT_SERVER,
    key: KeyOption = None,
    as_json: ClientJsonOption = False,
) -> None:
    """Makes a table of prompts into a folder of meshes, with a page that shows them turning.

    The first line of the CSV names the columns: prompt, and if need be name, task, seed, quality, steps, faces, \
texture_size, symmetry, mesh, lock, views (drawings as behind --view, parted by |), to_real, picture, method, \
guidance_scale, bridge_start, source_suffix, target_suffix, prior, device and priority. Empty cells mean the \
defaults; files are named from the table's folder. All rows are checked before any is sent.

    After an interruption the same command goes on: what is made stays, nothing is made twice, and a row that has \
changed is made anew.

    [bold]Examples[/bold]

      sketchbridge batch prompts.csv -o meshes
      sketchbridge batch prompts.csv -o meshes --variations 4
    """
    from backend.commands.batch import BatchWishes, run_batch_command
    from backend.commands.server_connection import ServerOptions

    options = ServerOptions(server, key, as_json)
    raise typer.Exit(run_batch_command(options, BatchWishes(table, output, variations, not no_turntables)))


def jobs(server: ServerOption = DEFAULT_SERVER, key: KeyOption = None, as_json: ClientJsonOption = False) -> None:
    """Lists your jobs on the server, newest first."""
    from backend.commands.job_table import run_jobs_command
    from backend.commands.server_connection import ServerOptions

    raise typer.Exit(run_jobs_command(ServerOptions(server, key, as_json)))


def status(server: ServerOption = DEFAULT_SERVER, key: KeyOption = None, as_json: ClientJsonOption = False) -> None:
    """Shows what the server has and does: device, memory, models, clients, jobs by state, steps a second."""
    from backend.commands.job_table import run_status_command
    from backend.commands.server_connection import ServerOptions

    raise typer.Exit(run_status_command(ServerOptions(server, key, as_json)))


def watch(
    job: JobArgument,
    save_frames: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the mesh as it forms, and previews: step-000120.glb, ..."),
    ] = None,
    frame_format: Annotated[FrameFormatName, typer.Option(help="Of the meshes.")] = FrameFormatName.GLB,
    frames_per_second: Annotated[
        float, typer.Option(metavar="X", min=0.01, max=100.0, help="How many meshes a second at most.")
    ] = 1.0,
    give_up_after: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.0, help="How long a lost server may stay away. Default: for ever."),
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
    key: KeyOption = None,
    as_json: ClientJsonOption = False,
) -> None:
    """Shows a job live until it ends: stage, step, time left.

    A lost connection is told of at once and made again; the job is picked up where it is then.

    [bold]Ctrl+C[/bold] ends the watching only: the job goes on.

    [bold]Examples[/bold]

      sketchbridge watch red-mushroom-7f3a
      sketchbridge watch red --save-frames frames --frames-per-second 5
    """
    from backend.commands.server_connection import ServerOptions
    from backend.commands.watch_job import WatchWishes, run_watch_command

    wishes = WatchWishes(save_frames, frame_format.value, frames_per_second, give_up_after)
    raise typer.Exit(run_watch_command(ServerOptions(server, key, as_json), job, wishes))


def pause(
    jobs: JobsArgument,
    server: ServerOption = DEFAULT_SERVER,
    key: KeyOption = None,
    as_json: ClientJsonOption = False,
) -> None:
    """Stops jobs after the step that they are in. They keep their state and wait for `resume`."""
    from backend.commands.change_job import run_pause_command
    from backend.commands.server_connection import ServerOptions

    raise typer.Exit(run_pause_command(ServerOptions(server, key, as_json), jobs))


def resume(
    jobs: JobsArgument,
    server: ServerOption = DEFAULT_SERVER,
    key: KeyOption = None,
    as_json: ClientJsonOption = False,
) -> None:
    """Lets paused jobs go on, from the queue."""
    from backend.commands.change_job import run_resume_command
    from backend.commands.server_connection import ServerOptions

    raise typer.Exit(run_resume_command(ServerOptions(server, key, as_json), jobs))


def cancel(
    jobs: JobsArgument,
    drop: Annotated[
        bool, typer.Option("--drop", metavar="", help="Throw away what is there instead of keeping it as the result.")
    ] = False,
    server: ServerOption = DEFAULT_SERVER,
    key: KeyOption = None,
    as_json: ClientJsonOption = False,
) -> None:
    """Ends jobs for good. The mesh as it is becomes the result."""
    from backend.commands.change_job import run_cancel_command
    from backend.commands.server_connection import ServerOptions

    raise typer.Exit(run_cancel_command(ServerOptions(server, key, as_json), jobs, drop))


def delete(
    jobs: JobsArgument,
    server: ServerOption = DEFAULT_SERVER,
    key: KeyOption = None,
    as_json: ClientJsonOption = False,
) -> None:
    """Deletes all that the server has of jobs, and cancels them before if need be."""
    from backend.commands.change_job import run_delete_command
    from backend.commands.server_connection import ServerOptions

    raise typer.Exit(run_delete_command(ServerOptions(server, key, as_json), jobs))


def steer(
    job: JobArgument,
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="The new prompt, in quotes.")] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(metavar="X", help="How strongly the prompt pulls, from now on.")
    ] = None,
    source_suffix: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Words that describe the flaws to move away from.")
    ] = None,
    target_suffix: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Words that describe the qualities to move to.")
    ] = None,
    learning_rate_factor: Annotated[
        float | None, typer.Option(metavar="X", help="On the learning rates, from 0.001 to 1000; 1 is as it was.")
    ] = None,
    smoothness_weight: Annotated[
        float | None, typer.Option(metavar="X", help="How much a smooth surface counts, from 0 to 100; 1 is usual.")
    ] = None,
    mesh_weight: Annotated[
        float | None,
        typer.Option(metavar="X", help="How strongly the surface is held to the mesh given, from 0 to 100."),
    ] = None,
    more_steps: Annotated[int | None, typer.Option(metavar="N", help="To add to the job's steps.")] = None,
    mesh: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An edited mesh to go on from, such as a partial result.")
    ] = None,
    up: MeshUpOption = None,
    add_view: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SIDE=FILE",
            help="Of a sketch job: one more drawing, as behind --view of `submit sketch`, or a new one of the same "
            "view. Can be given several times, as can the next two.",
            show_default=False,
        ),
    ] = None,
    remove_view: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Forget a drawing, such as front or az=30,el=20.", show_default=False),
    ] = None,
    view_weight: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=X", help="How much a drawing counts from now on, 0 to 100.", show_default=False),
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
    key: KeyOption = None,
    as_json: ClientJsonOption = False,
) -> None:
    """Changes a job that is queued, running or paused, between two of its steps. What is not given stays.

    [bold]Examples[/bold]

      sketchbridge steer red --prompt "a blue mushroom" --more-steps 100
      sketchbridge fetch red --partial -o so-far.glb
      sketchbridge steer red --mesh edited.glb
      sketchbridge steer red --add-view left=left.svg --view-weight front=0.5
    """
    from backend.commands.change_job import SketchWishes, run_steer_command
    from backend.commands.server_connection import ServerOptions

    changes = given_settings(
        prompt=prompt,
        guidance_scale=guidance_scale,
        source_suffix=source_suffix,
        target_suffix=target_suffix,
        learning_rate_factor=learning_rate_factor,
        smoothness_weight=smoothness_weight,
        mesh_weight=mesh_weight,
        more_steps=more_steps,
    )
    options = ServerOptions(server, key, as_json)
    views = SketchWishes(add_view or (), remove_view or (), view_weight or ())
    raise typer.Exit(run_steer_command(options, job, changes, mesh, None if up is None else up.value, views))


def fetch(
    job: JobArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to write it; the suffix chooses the format: .glb, .obj, .ply or .stl; of a picture .png, .jpg "
            "or .webp.",
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", metavar="", help="Watch the job until it ends, then fetch.")] = False,
    partial: Annotated[
        bool, typer.Option("--partial", metavar="", help="The mesh as it is now, with colours at its vertices.")
    ] = False,
    up: Annotated[
        Up, typer.Option(help="Which axis points upwards in the file. A GLB is Y up always.", show_default=True)
    ] = Up.Y,
    server: ServerOption = DEFAULT_SERVER,
    key: KeyOption = None,
    as_json: ClientJsonOption = False,
) -> None:
    """Writes what a job has made: a mesh with UVs and textures, or a picture.

    Of a job that has not ended there is nothing to fetch without --wait or --partial; the exit code is 3 then.

    [bold]Examples[/bold]

      sketchbridge fetch red-mushroom-7f3a -o mushroom.glb
      sketchbridge fetch red --wait -o mushroom.glb
      sketchbridge fetch red --partial -o so-far.ply --up z
    """
    from backend.commands.fetch_result import run_fetch_command
    from backend.commands.server_connection import ServerOptions

    options = ServerOptions(server, key, as_json)
    raise typer.Exit(run_fetch_command(options, job, output, wait, partial, up.value))
