"""The command line: names of commands and options, their help, nothing else.

Only typer is imported here. What a command does is in backend.commands and imported when it runs, so that `--help`
and a wrong option answer at once instead of after torch.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from backend import cli_client, cli_pictures, cli_server, cli_sketch, cli_table
from backend.cli_options import (
    BridgeStartOption,
    DeviceOption,
    GuidanceScaleOption,
    JsonOption,
    LookArgument,
    MeshArgument,
    MethodOption,
    MoreWords,
    OutputOption,
    PriorOption,
    Quality,
    RasteriserOption,
    ResumeOption,
    RunDirOption,
    SeedOption,
    SourceSuffixOption,
    StepsOption,
    SymmetryOption,
    TargetSuffixOption,
    TextureSizeOption,
    Up,
    given_settings,
)

app = typer.Typer(
    name="sketchbridge",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_wanted: bool) -> bool:
    if is_wanted:
        from backend.machine import sketchbridge_version

        typer.echo(f"sketchbridge {sketchbridge_version()}")
        raise typer.Exit
    return is_wanted


@app.callback()
def sketchbridge(
    version: Annotated[
        bool,
        typer.Option("--version", metavar="", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Makes textured meshes and pictures from sentences, on a GPU or on a laptop's CPU.

    [bold]Begin here[/bold]

      sketchbridge text "a red mushroom" -o mushroom.glb
      sketchbridge texture mug.glb "a red mug" -o red-mug.glb
      sketchbridge image "a red mushroom" -o mushroom.png
      sketchbridge text --help
      sketchbridge doctor
    """


class _TextCommand(typer.core.TyperCommand):
    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["PROMPT", "[-o FILE]", "[OPTIONS]"]  # what to type most often, without `more_words`


@app.command(no_args_is_help=True, cls=_TextCommand)
def text(
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="What to make, in quotes.", show_default=False)
    ] = None,
    more_words: MoreWords = None,
    output: OutputOption = None,
    resume: ResumeOption = None,
    quality: Annotated[
        Quality | None, typer.Option(help="How fine the mesh, how many steps. Default: normal.", show_default=False)
    ] = None,
    steps: StepsOption = None,
    seed: SeedOption = None,
    init_mesh: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Begin with this mesh, any format that trimesh reads, instead of a ball."),
    ] = None,
    faces: Annotated[
        int | None, typer.Option(metavar="N", help="At most so many faces in the result. Default: no limit.")
    ] = None,
    symmetry: SymmetryOption = None,
    texture_size: TextureSizeOption = None,
    run_dir: RunDirOption = None,
    prior: PriorOption = None,
    method: MethodOption = None,
    guidance_scale: GuidanceScaleOption = None,
    bridge_start: BridgeStartOption = None,
    source_suffix: SourceSuffixOption = None,
    target_suffix: TargetSuffixOption = None,
    device: DeviceOption = None,
    rasteriser: RasteriserOption = None,
    as_json: JsonOption = False,
) -> None:
    """Makes a textured mesh from a sentence.

    [bold]Examples[/bold]

      sketchbridge text "a red mushroom" -o mushroom.glb
      sketchbridge text "a blue chair" -o chair.obj --quality high --seed 3
      sketchbridge text "a mug" -o mug.glb --init-mesh blockout.stl
      sketchbridge text "a rocket" -o rocket.glb --prior ./stable-diffusion
      sketchbridge text --resume runs/2026-11-23-a-red-mushroom

    [bold]Ctrl+C[/bold] stops after the current step, keeps the state and the mesh so far, and says how to go on. \
A second one stops at once.

    [bold]Exit codes[/bold]: 0 done, 2 wrong input (the message says what would be right), 130 stopped, 1 a bug.
    """
    if prompt is not None and more_words:
        words = " ".join([prompt, *more_words])
        raise typer.BadParameter(f'put the prompt in quotes: sketchbridge text "{words}"', param_hint="PROMPT")
    from backend.commands.job_command import JobCommand
    from backend.commands.text import run_text_command

    settings = given_settings(
        prompt=prompt,
        prior=prior,
        init_mesh=init_mesh,
        quality=quality,
        steps=steps,
        seed=seed,
        faces=faces,
        symmetry=symmetry,
        texture_size=texture_size,
        device=device,
        rasteriser=rasteriser,
        method=method,
        guidance_scale=guidance_scale,
        bridge_start=bridge_start,
        source_suffix=source_suffix,
        target_suffix=target_suffix,
    )
    raise typer.Exit(run_text_command(JobCommand(settings, output, run_dir, resume), as_json))


class _TextureCommand(typer.core.TyperCommand):
    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["MESH", "PROMPT", "[-o FILE]", "[OPTIONS]"]


@app.command(no_args_is_help=True, cls=_TextureCommand)
def texture(
    mesh: MeshArgument = None,
    prompt: LookArgument = None,
    more_words: MoreWords = None,
    output: OutputOption = None,
    resume: ResumeOption = None,
    up: Annotated[
        Up | None,
        typer.Option(
            help="Which axis of the file points upwards: y with the front along +Z, as in glTF, or z with the front "
            "along -Y, as Blender writes STL. The result keeps the file's axes. Default: y.",
            show_default=False,
        ),
    ] = None,
    quality: Annotated[
        Quality | None, typer.Option(help="How many steps. Default: normal.", show_default=False)
    ] = None,
    steps: StepsOption = None,
    seed: SeedOption = None,
    symmetry: SymmetryOption = None,
    texture_size: TextureSizeOption = None,
    run_dir: RunDirOption = None,
    prior: PriorOption = None,
    method: MethodOption = None,
    guidance_scale: GuidanceScaleOption = None,
    bridge_start: BridgeStartOption = None,
    source_suffix: SourceSuffixOption = None,
    target_suffix: TargetSuffixOption = None,
    device: DeviceOption = None,
    rasteriser: RasteriserOption = None,
    as_json: JsonOption = False,
) -> None:
    """Gives a mesh a new texture from a sentence. Its shape, place and size stay as they are.

    The mesh's own UVs are kept where they can be used; otherwise, with a notice, it is unwrapped anew. Textures and \
colours that it has are not used.

    [bold]Examples[/bold]

      sketchbridge texture mug.glb "a red mug" -o red-mug.glb
      sketchbridge texture chair.obj "a blue chair" -o chair.glb --quality high --seed 3
      sketchbridge texture print.stl "a green vase" -o vase.glb --up z
      sketchbridge texture --resume runs/2026-11-23-a-red-mug

    [bold]Ctrl+C[/bold] stops after the current step, keeps the state and the texture so far, and says how to go on. \
A second one stops at once.

    [bold]Exit codes[/bold]: 0 done, 2 wrong input (the message says what would be right), 130 stopped, 1 a bug.
    """
    if prompt is not None and more_words:
        words = " ".join([prompt, *more_words])
        raise typer.BadParameter(
            f'put the prompt in quotes: sketchbridge texture {mesh} "{words}"', param_hint="PROMPT"
        )
    from backend.commands.job_command import JobCommand
    from backend.commands.texture import run_texture_command

    settings = given_settings(
        mesh=mesh,
        prompt=prompt,
        up=up,
        prior=prior,
        quality=quality,
        steps=steps,
        seed=seed,
        symmetry=symmetry,
        texture_size=texture_size,
        device=device,
        rasteriser=rasteriser,
        method=method,
        guidance_scale=guidance_scale,
        bridge_start=bridge_start,
        source_suffix=source_suffix,
        target_suffix=target_suffix,
    )
    raise typer.Exit(run_texture_command(JobCommand(settings, output, run_dir, resume), as_json))


cli_sketch.add_commands(app)
cli_pictures.add_commands(app)
cli_table.add_commands(app)
cli_client.add_commands(app)
cli_server.add_commands(app)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="One JSON object instead of a table.")] = False,
) -> None:
    """Says what this machine has, and what to do about what is missing.

    Exit code 0 if a mesh can be made here, 1 if not.
    """
    from backend.doctor import run_doctor

    raise typer.Exit(run_doctor(as_json))


def main() -> None:
    """The console script."""
    # Read once, when torch is loaded. Threads that spin while they wait make a step on busy cores 10 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Without any handler, logging prints records to stderr; users get sentences there, the log goes to the run folder.
    logging.getLogger("backend").addHandler(logging.NullHandler())
    app(prog_name="sketchbridge")
