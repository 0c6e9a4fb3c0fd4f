"""The command line: names of commands and options, their help, nothing else.

Only typer is imported here. What a command does is in backend.commands and imported when it runs, so that `--help`
and a wrong option answer at once instead of after torch.
"""

from __future__ import annotations

import logging
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

app = typer.Typer(
    name="sketchbridge",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Quality(StrEnum):
    DRAFT = "draft"
    NORMAL = "normal"
    HIGH = "high"


class Device(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class RasteriserName(StrEnum):
    AUTO = "auto"
    PORTABLE = "portable"
    NVDIFFRAST = "nvdiffrast"


class MethodName(StrEnum):
    SDS = "sds"
    NFSD = "nfsd"
    CSD = "csd"
    VSD = "vsd"
    BRIDGE = "bridge"
    FULL_BRIDGE = "full-bridge"
    VSD_FULL_BRIDGE = "vsd-full-bridge"


class Up(StrEnum):
    Y = "y"
    Z = "z"


# Options that several commands have.

MoreWords = Annotated[list[str] | None, typer.Argument(metavar="", hidden=True, show_default=False)]
"""Taken only to give words without quotes a better message than "unexpected extra arguments"."""
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Where to write the mesh; its suffix chooses the format: .glb, .obj, .ply or .stl. "
        "Without it the mesh is only in the run folder.",
    ),
]
ResumeOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Go on with a run that was stopped. Takes no prompt and no settings."),
]
StepsOption = Annotated[int | None, typer.Option(metavar="N", help="How many steps, instead of what the quality says.")]
SeedOption = Annotated[
    int | None, typer.Option(metavar="N", help="The same seed on the same machine gives the same mesh. Default: 0.")
]
TextureSizeOption = Annotated[
    int | None, typer.Option(metavar="N", help="Width and height of the texture in pixels. Default: 1024.")
]
RunDirOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where this run gets a folder of its own, DATE-PROMPT. Default: runs."),
]
PriorOption = Annotated[
    str | None,
    typer.Option(
        metavar="embedded|FOLDER|HUB_ID",
        help="The diffusion model: the small one that is shipped, a diffusers pipeline folder, or its id on the "
        "Hugging Face hub. Default: embedded.",
        rich_help_panel="Model and method",
    ),
]
MethodOption = Annotated[
    MethodName | None,
    typer.Option(
        help="How the model's opinion becomes a gradient; docs/score_distillation.md has the formulas. Default: "
        "bridge, which is SDS first and the two-prompt bridge at the end.",
        show_default=False,
        rich_help_panel="Model and method",
    ),
]
GuidanceScaleOption = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="How strongly the prompt pulls. Default: what suits the prior.",
        rich_help_panel="Model and method",
    ),
]
BridgeStartOption = Annotated[
    float | None,
    typer.Option(
        metavar="FRACTION",
        help="When the second stage, the bridge, begins, as a share of the steps. Default: what suits the prior.",
        rich_help_panel="Model and method",
    ),
]
SourceSuffixOption = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="Words that describe the flaws to move away from. Default: what suits the prior.",
        rich_help_panel="Model and method",
    ),
]
TargetSuffixOption = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="Words that describe the qualities to move to. Default: what suits the prior.",
        rich_help_panel="Model and method",
    ),
]
DeviceOption = Annotated[
    Device | None,
    typer.Option(
        help="Where to compute. Default: auto, the GPU if there is one.",
        show_default=False,
        rich_help_panel="Machine",
    ),
]
RasteriserOption = Annotated[
    RasteriserName | None,
    typer.Option(
        help="Default: auto, nvdiffrast on a GPU where it is installed, the portable one elsewhere.",
        show_default=False,
        rich_help_panel="Machine",
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json",
        metavar="",
        help="Progress as one JSON object per line on stdout, for programs.",
        rich_help_panel="Machine",
    ),
]


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
    """Makes textured meshes from sentences, on a GPU or on a laptop's CPU.

    [bold]Begin here[/bold]

      sketchbridge text "a red mushroom" -o mushroom.glb
      sketchbridge texture mug.glb "a red mug" -o red-mug.glb
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

    settings = _given(
        prompt=prompt,
        prior=prior,
        init_mesh=init_mesh,
        quality=quality,
        steps=steps,
        seed=seed,
        faces=faces,
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
    mesh: Annotated[
        Path | None,
        typer.Argument(
            metavar="MESH",
            help="The mesh: .glb, .gltf, .obj, .off, .ply or .stl; it need not be closed.",
            show_default=False,
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Argument(metavar="PROMPT", help="What it is to look like, in quotes.", show_default=False),
    ] = None,
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

    settings = _given(
        mesh=mesh,
        prompt=prompt,
        up=up,
        prior=prior,
        quality=quality,
        steps=steps,
        seed=seed,
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


def _given(**settings: Any) -> dict[str, Any]:
    """The settings that were given, as plain values."""
    plain = {name: str(value) if isinstance(value, Path | StrEnum) else value for name, value in settings.items()}
    return {name: value for name, value in plain.items() if value is not None}


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
