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
    # Taken only to give words without quotes a better message than "unexpected extra arguments".
    more_words: Annotated[list[str] | None, typer.Argument(metavar="", hidden=True, show_default=False)] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to write the mesh; its suffix chooses the format: .glb, .obj, .ply or .stl. "
            "Without it the mesh is only in the run folder.",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Go on with a run that was stopped. Takes no prompt and no settings."),
    ] = None,
    quality: Annotated[
        Quality | None, typer.Option(help="How fine the mesh, how many steps. Default: normal.", show_default=False)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="How many steps, instead of what the quality says.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="The same seed on the same machine gives the same mesh. Default: 0."),
    ] = None,
    init_mesh: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Begin with this mesh, any format that trimesh reads, instead of a ball."),
    ] = None,
    faces: Annotated[
        int | None, typer.Option(metavar="N", help="At most so many faces in the result. Default: no limit.")
    ] = None,
    texture_size: Annotated[
        int | None, typer.Option(metavar="N", help="Width and height of the texture in pixels. Default: 1024.")
    ] = None,
    run_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where this run gets a folder of its own, DATE-PROMPT. Default: runs."),
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(
            metavar="embedded|FOLDER|HUB_ID",
            help="The diffusion model: the small one that is shipped, a diffusers pipeline folder, or its id on the "
            "Hugging Face hub. Default: embedded.",
            rich_help_panel="Model and method",
        ),
    ] = None,
    guidance_scale: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="How strongly the prompt pulls. Default: what suits the prior.",
            rich_help_panel="Model and method",
        ),
    ] = None,
    bridge_start: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            help="When the second stage, the bridge, begins, as a share of the steps. Default: what suits the prior.",
            rich_help_panel="Model and method",
        ),
    ] = None,
    source_suffix: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Words that describe the flaws to move away from. Default: what suits the prior.",
            rich_help_panel="Model and method",
        ),
    ] = None,
    target_suffix: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Words that describe the qualities to move to. Default: what suits the prior.",
            rich_help_panel="Model and method",
        ),
    ] = None,
    device: Annotated[
        Device | None,
        typer.Option(
            help="Where to compute. Default: auto, the GPU if there is one.",
            show_default=False,
            rich_help_panel="Machine",
        ),
    ] = None,
    rasteriser: Annotated[
        RasteriserName | None,
        typer.Option(
            help="Default: auto, nvdiffrast on a GPU where it is installed, the portable one elsewhere.",
            show_default=False,
            rich_help_panel="Machine",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            metavar="",
            help="Progress as one JSON object per line on stdout, for programs.",
            rich_help_panel="Machine",
        ),
    ] = False,
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
    from backend.commands.text import TextCommand, run_text_command

    given: dict[str, Any] = {
        "prompt": prompt,
        "prior": prior,
        "init_mesh": str(init_mesh) if init_mesh is not None else None,
        "quality": quality.value if quality is not None else None,
        "steps": steps,
        "seed": seed,
        "faces": faces,
        "texture_size": texture_size,
        "device": device.value if device is not None else None,
        "rasteriser": rasteriser.value if rasteriser is not None else None,
        "guidance_scale": guidance_scale,
        "bridge_start": bridge_start,
        "source_suffix": source_suffix,
        "target_suffix": target_suffix,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    raise typer.Exit(run_text_command(TextCommand(settings, output, run_dir, resume), as_json))


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
