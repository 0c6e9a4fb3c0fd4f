"""Options of the command line that several commands share, and the words that some of them choose from.

Only typer is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


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
    CUDA = "cuda"


class MethodName(StrEnum):
    """Of tasks that make meshes, and of illusions."""

    SDS = "sds"
    NFSD = "nfsd"
    CSD = "csd"
    VSD = "vsd"
    BRIDGE = "bridge"
    FULL_BRIDGE = "full-bridge"
    VSD_FULL_BRIDGE = "vsd-full-bridge"


class PictureMethodName(StrEnum):
    DDIM = "ddim"
    SDS = "sds"
    NFSD = "nfsd"
    CSD = "csd"
    VSD = "vsd"
    BRIDGE = "bridge"
    FULL_BRIDGE = "full-bridge"
    VSD_FULL_BRIDGE = "vsd-full-bridge"


class EditMethodName(StrEnum):
    DDS = "dds"
    BRIDGE = "bridge"


class VariableName(StrEnum):
    LATENT = "latent"
    PIXELS = "pixels"


class TransformName(StrEnum):
    ROTATE_180 = "rotate-180"
    ROTATE_90 = "rotate-90"
    FLIP = "flip"
    OVERLAY = "overlay"


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
PictureOutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Where to write the picture; its suffix chooses the format: .png, .jpg or .webp. "
        "Without it the picture is only in the run folder.",
    ),
]
FolderOutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="A folder for the pictures, views.png and turn.gif. Without it they are only in the run folder.",
    ),
]
MeshArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="MESH",
        help="The mesh: .glb, .gltf, .obj, .off, .ply or .stl; it need not be closed.",
        show_default=False,
    ),
]
LookArgument = Annotated[
    str | None, typer.Argument(metavar="PROMPT", help="What it is to look like, in quotes.", show_default=False)
]
PictureArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="IMAGE",
        help="The picture, of any size: .png, .jpg, .webp, .tif, .bmp, .gif, .ppm or .tga. Its middle square is used.",
        show_default=False,
    ),
]
ResumeOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Go on with a run that was stopped. Takes no prompt and no settings."),
]
StepsOption = Annotated[int | None, typer.Option(metavar="N", help="How many steps, instead of what the quality says.")]
SeedOption = Annotated[
    int | None, typer.Option(metavar="N", help="The same seed on the same machine gives the same result. Default: 0.")
]
PictureStepsOption = Annotated[
    int | None, typer.Option(metavar="N", help="How many steps. Default: what suits the prior and the method.")
]
TextureSizeOption = Annotated[
    int | None, typer.Option(metavar="N", help="Width and height of the texture in pixels. Default: 1024.")
]
SymmetryOption = Annotated[
    str | None,
    typer.Option(
        metavar="AXES",
        help="Mirror shape and texture at the middle: x makes left and right alike, z front and back, xz both.",
    ),
]
ViewsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--view",
        metavar="SIDE=FILE",
        help="A drawing and the side it shows: front, back, left, right, top or bottom, as in front=mug.png; or "
        "angles, as in az=30,el=20,fov=40@mug.png. Before @ may also stand lines (with creases, not the outline "
        "alone), scribble (a rough idea), weight=X, perspective, orthographic, dist=X or height=X, and colours (those "
        "of the strokes of an SVG are hints). The file is an SVG or a picture. Can be given several times.",
        show_default=False,
    ),
]
ControlNetOption = Annotated[
    str | None,
    typer.Option(
        "--controlnet",
        metavar="FOLDER|HUB_ID|off",
        help="What shows lines and scribbles to the diffusion model: a ControlNet for line drawings that fits --prior. "
        "Default: the embedded prior's own; none for other models.",
        show_default=False,
    ),
]
ToRealOption = Annotated[
    bool,
    typer.Option(
        "--to-real",
        help="Take --mesh for a sketch in 3D and make it real by the bridge from a rough blockout, from the first step "
        "on. Without it the sentence shapes the mesh first.",
    ),
]
BlockoutOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Begin with this blocked-out shape instead of one made from the drawings."),
]
StrengthOption = Annotated[
    float | None,
    typer.Option(metavar="X", help="How strongly the surface is held to --mesh, 0 to 1. Default: 0.5."),
]
LockOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A copy of --mesh on which what is to stay as it is, shape and colours, is painted white (vertex "
        "colours; a PLY, say).",
    ),
]
SketchWeightOption = Annotated[
    float | None, typer.Option(metavar="X", help="How strongly the drawings count. Default: 1.")
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
        help="Default: auto, nvdiffrast on a GPU where it is installed, the portable one elsewhere. cuda is our own on "
        "a GPU, by numba-cuda; it has not been tried on a card yet.",
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


def given_settings(**settings: Any) -> dict[str, Any]:
    """The settings that were given, as plain values."""
    plain = {name: str(value) if isinstance(value, Path | StrEnum) else value for name, value in settings.items()}
    return {name: value for name, value in plain.items() if value is not None}
