"""The command that makes a mesh from drawings: names of options, their help, nothing else.

Only typer is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
import typer.core

from backend.cli_options import (
    BlockoutOption,
    BridgeStartOption,
    ControlNetOption,
    DeviceOption,
    GuidanceScaleOption,
    JsonOption,
    LockOption,
    MethodOption,
    MoreWords,
    OutputOption,
    PriorOption,
    Quality,
    RasteriserOption,
    ResumeOption,
    RunDirOption,
    SeedOption,
    SketchWeightOption,
    SourceSuffixOption,
    StepsOption,
    StrengthOption,
    SymmetryOption,
    TargetSuffixOption,
    TextureSizeOption,
    ToRealOption,
    ViewsOption,
    given_settings,
)


def add_commands(app: typer.Typer) -> None:
    """Registers `sketch`."""
    app.command(no_args_is_help=True, cls=_SketchCommand)(sketch)


class _SketchCommand(typer.core.TyperCommand):
    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["PROMPT", "--view SIDE=FILE ...|--mesh FILE", "[-o FILE]", "[OPTIONS]"]


def sketch(
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="What it is, in quotes.", show_default=False)
    ] = None,
    more_words: MoreWords = None,
    view: ViewsOption = None,
    output: OutputOption = None,
    resume: ResumeOption = None,
    mesh: BlockoutOption = None,
    strength: StrengthOption = None,
    to_real: ToRealOption = False,
    lock: LockOption = None,
    sketch_weight: SketchWeightOption = None,
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
    controlnet: ControlNetOption = None,
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

    A drawing shows the outline, closed but for small gaps; a ring inside of it is a hole. With lines it shows creases \
too; a scribble says roughly where things are, and the mesh is free to differ. It may be dark on light, light on dark, \
on a transparent ground, scanned or photographed. The report shows each drawing over the mesh.

    [bold]Examples[/bold]

      sketchbridge sketch "a red mug" --view front=mug.png -o mug.glb
      sketchbridge sketch "a red mug" --view front=front.png --view left=left.svg -o mug.glb
      sketchbridge sketch "a blue chair" --view az=30,el=20,fov=40@chair.png -o chair.glb
      sketchbridge sketch "a red car" --view az=30,el=20,scribble@idea.png -o car.glb
      sketchbridge sketch "a blue car" --mesh blockout.obj --to-real -o car.glb
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
        to_real=to_real or None,
        lock=lock,
        sketch_weight=sketch_weight,
        prior=prior,
        controlnet=controlnet,
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
