"""The command that makes a mesh from drawings: names of options, their help, nothing else.

Only typer is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from backend.cli_options import (
    BridgeStartOption,
    DeviceOption,
    GuidanceScaleOption,
    JsonOption,
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
    given_settings,
)


def add_commands(app: typer.Typer) -> None:
    """Registers `sketch`."""
    app.command(no_args_is_help=True, cls=_SketchCommand)(sketch)


class _SketchCommand(typer.core.TyperCommand):
    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["PROMPT", "--view SIDE=FILE ...", "[-o FILE]", "[OPTIONS]"]


def sketch(
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="What it is, in quotes.", show_default=False)
    ] = None,
    more_words: MoreWords = None,
    view: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SIDE=FILE",
            help="A drawing and the side it shows: front, back, left, right, top or bottom, as in front=mug.png; or "
            "angles, as in az=30,el=20,fov=40@mug.png. Before @ may also stand lines (with creases, not the outline "
            "alone), weight=X, perspective, orthographic, dist=X or height=X, and colours (those of the strokes of an "
            "SVG are hints). The file is an SVG or a picture. Can be given several times.",
            show_default=False,
        ),
    ] = None,
    output: OutputOption = None,
    resume: ResumeOption = None,
    mesh: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Begin with this blocked-out shape instead of one made from the drawings."),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(metavar="X", help="How strongly the surface is held to --mesh, 0 to 1. Default: 0.5."),
    ] = None,
    lock: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A copy of --mesh on which what is to stay as it is, shape and colours, is painted white (vertex "
            "colours; a PLY, say).",
        ),
    ] = None,
    sketch_weight: Annotated[
        float | None, typer.Option(metavar="X", help="How strongly the drawings count. Default: 1.")
    ] = None,
    quality: Annotated[
        Quality | None, typer.Option(help="How fine the mesh, how many steps. Default: normal.", show_default=False)
    ] = None,
    steps: StepsOption = None,
    seed: SeedOption = None,
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
    """Makes a textured mesh that fits drawings and looks like a sentence.

    A drawing shows the outline, closed but for small gaps; a ring inside of it is a hole. It may be dark on light, \
light on dark, on a transparent ground, scanned or photographed. The report shows each drawing over the mesh.

    [bold]Examples[/bold]

      sketchbridge sketch "a red mug" --view front=mug.png -o mug.glb
      sketchbridge sketch "a red mug" --view front=front.png --view left=left.svg -o mug.glb
      sketchbridge sketch "a blue chair" --view az=30,el=20,fov=40@chair.png -o chair.glb
      sketchbridge sketch "a house" --view front=house.png --mesh blockout.obj --strength 0.7 -o house.glb
      sketchbridge sketch --resume runs/2026-11-23-a-red-mug

    [bold]Ctrl+C[/bold] stops after the current step, keeps the state and the mesh so far, and says how to go on. \
A second one stops at once.

    [bold]Exit codes[/bold]: 0 done, 2 wrong input (the message says what would be right), 130 stopped, 1 a bug.
    """
    if prompt is not None and more_words:
        words = " ".join([prompt, *more_words])
        raise typer.BadParameter(f'put the prompt in quotes: sketchbridge sketch "{words}"', param_hint="PROMPT")
    from backend.commands.job_command import JobCommand
    from backend.commands.sketch import run_sketch_command

    settings = given_settings(
        prompt=prompt,
        views=tuple(view) if view else None,
        mesh=mesh,
        strength=strength,
        lock=lock,
        sketch_weight=sketch_weight,
        prior=prior,
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
    raise typer.Exit(run_sketch_command(JobCommand(settings, output, run_dir, resume), as_json))
