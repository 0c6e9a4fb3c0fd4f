"""Which settings make good meshes on the embedded prior? One change at a time, the same prompts and seeds for each.

    python benchmarks/recipes.py [--groups "view words" guidance] [--prompts 4] [--seeds 0] [--write]

Every mesh is judged by the classifier, by the volume that it shares with the world's own mesh and by its parts. What
was measured stays in docs/recipes/records.json, by a hash over the configuration and the prior's weights, so that an
interrupted study goes on and a repeated one only makes what is new. `--write` writes docs/recipes.md with its pictures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent)]

from backend.appearance.mesh_files import read_mesh_file  # noqa: E402
from backend.config import LinearRamp  # noqa: E402
from backend.durable_files import write_whole_file  # noqa: E402
from backend.errors import SketchbridgeError  # noqa: E402
from backend.evaluation.intervals import bootstrap_interval  # noqa: E402
from backend.machine import prior_fingerprint  # noqa: E402
from backend.warm_up import compile_kernels  # noqa: E402
from benchmarks.mesh_quality import judge, views_of  # noqa: E402
from benchmarks.mesh_runs import MeshRun, make_mesh  # noqa: E402

DOCS = FOLDER.parent / "docs"
RECORDS = DOCS / "recipes" / "records.json"
PROMPTS = (
    ("purple", "chair"),
    ("orange", "mug"),
    ("blue", "rocket"),
    ("red", "house"),
    ("white", "table"),
    ("pink", "donut"),
)
"""The hard ones: parts, holes, a front and a back. Balls and cones come out whatever one does."""
QUALITY = "draft"
SHOWN_VIEWS = (0, 2, 5)
SHOWN_PIXELS = 80

Changes = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Variant:
    """One way to make meshes: the defaults with these changes."""

    name: str
    changes: Changes = ()


DEFAULTS = Variant("defaults")


def one(path: str, *values: Any) -> list[Variant]:
    """A variant per value of one setting."""
    return [Variant(f"{path.split('.')[-1]} = {_short(value)}", ((path, value),)) for value in values]


def _short(value: Any) -> str:
    if isinstance(value, LinearRamp):
        return f"{value.start:g} to {value.end:g}" + (f" from {value.begin:g} on" if value.begin else "")
    return f"'{value}'" if isinstance(value, str) else str(value)


GROUPS: dict[str, list[Variant]] = {
    "view words": one("distillation.view_wording", "none", "coarse", "fine"),
    "guidance": one("distillation.guidance_scale", 3.0, 5.0, 10.0, 20.0),
    "timesteps, highest": one(
        "distillation.highest_noise", LinearRamp(0.98, 0.98), LinearRamp(0.98, 0.6, 0.5, 1.0), LinearRamp(0.8, 0.8)
    ),
    "timesteps, lowest": one(
        "distillation.lowest_noise", LinearRamp(0.2, 0.05, 0.4, 0.8), LinearRamp(0.02, 0.02), LinearRamp(0.4, 0.2)
    ),
    "bridge, where it begins (1 is SDS alone)": one("distillation.bridge_start", 0.5, 0.8, 0.9, 1.0),
    "bridge, weight": one("distillation.bridge_scale", 1.0, 5.0, 10.0, 20.0),
    "bridge, rate": one("distillation.bridge_learning_rate_factor", 0.1, 0.33, 1.0),
    "flaw words": [
        Variant("all ten"),
        Variant("oversaturated, smooth", (("distillation.source_suffix", ", oversaturated, smooth"),)),
        Variant(
            "blurry, bad structure, malformed", (("distillation.source_suffix", ", blurry, bad structure, malformed"),)
        ),
        Variant("no target words", (("distillation.target_suffix", ""),)),
    ],
    "Perp-Neg": one("distillation.perp_neg_weight", 0.0, -0.5, -1.5),
    "views": one("views.views", 4, 8, 12),
    "pixels of the views": one("views.resolutions", ((0.0, 64),), ((0.0, 64), (0.5, 128)), ((0.0, 128),)),
    "supersampling": one("views.supersample", 1, 2),
    "background": one("views.background", "mixed", "plain", "white"),
    "silhouettes first": one("views.textureless_until", 0.0, 0.2, 0.4),
    "coarse to fine": one(
        "surface.resolutions", ((0.0, 32),), ((0.0, 16), (0.3, 32)), ((0.0, 32), (0.6, 64)), ((0.0, 64),)
    ),
    "starting ball": one("surface.start_radius_metres", 0.4, 0.6, 0.75),
    "surface rate": one(
        "surface.learning_rate", LinearRamp(0.01, 0.004), LinearRamp(0.02, 0.008), LinearRamp(0.04, 0.01)
    ),
    "area": one("surface.area_weight", 0.0, 4.0, 8.0, 16.0),
    "normal consistency": one("surface.normal_consistency_weight", 15.0, 60.0, 120.0),
    "texture rate": one(
        "texture_learning_rate", LinearRamp(0.01, 0.005), LinearRamp(0.02, 0.01), LinearRamp(0.05, 0.02)
    ),
}
"""One question each; the variant that equals the defaults is made once for all of them."""

MEASURES = ("shape", "colour", "IoU", "parts", "saturation")


def main() -> None:
    arguments = parsed_arguments()
    torch.set_num_threads(1)
    compile_kernels()
    RECORDS.parent.mkdir(parents=True, exist_ok=True)
    records = json.loads(RECORDS.read_text()) if RECORDS.exists() else {}
    variants = {variant.changes: variant for group in arguments.groups for variant in GROUPS[group]}
    runs = [
        run_of(variant, colour, shape, seed)
        for seed in arguments.seeds
        for variant in (DEFAULTS, *variants.values())
        for colour, shape in PROMPTS[: arguments.prompts]
    ]
    for number, run in enumerate(runs, start=1):
        if key(run) not in records:
            records[key(run)] = measure(run)
            write_whole_file(RECORDS, (json.dumps(records, indent=0, sort_keys=True) + "\n").encode())
        print(f"[{number}/{len(runs)}] {run.prompt}, {dict(run.changes)}: {records[key(run)]}", flush=True)
    text = report(records, arguments)
    print(text)
    if arguments.write:
        (DOCS / "recipes.md").write_text(text)
        for group in arguments.groups:
            write_picture(group, arguments)


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", nargs="+", default=list(GROUPS), choices=GROUPS, metavar="GROUP",
                        help=f"which questions: {'; '.join(GROUPS)}")  # fmt: skip
    parser.add_argument("--prompts", type=int, default=4, choices=range(1, len(PROMPTS) + 1))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--write", action="store_true", help="write docs/recipes.md and its pictures")
    return parser.parse_args()


def run_of(variant: Variant, colour: str, shape: str, seed: int) -> MeshRun:
    return MeshRun(colour, shape, seed, QUALITY, variant.changes)


def key(run: MeshRun) -> str:
    """Names a mesh by all that decides what comes out."""
    return run.path.stem


def measure(run: MeshRun) -> dict[str, float]:
    """Makes and judges a mesh. One that cannot be made scores nothing."""
    try:
        judged = judge(make_mesh(run))
    except SketchbridgeError as error:
        print(f"{run.prompt}: {error}", flush=True)
        return dict.fromkeys((*MEASURES, "seconds"), 0.0)
    return {
        "shape": judged.views.shape,
        "colour": judged.views.colour,
        "IoU": round(judged.overlap.iou, 3),
        "parts": float(judged.parts_are_right),
        "saturation": round(judged.saturation, 3),
        "seconds": judged.cpu_seconds or judged.seconds,
    }


def report(records: dict[str, dict[str, float]], arguments: argparse.Namespace) -> str:
    """docs/recipes.md."""
    prompts = PROMPTS[: arguments.prompts]
    lines = [
        "# Recipes: which settings make good meshes",
        "",
        f"`{command(arguments)}`; {date.today().isoformat()}, embedded prior"
        f" {(prior_fingerprint('embedded') or '')[:10]}, {QUALITY} quality, seeds {arguments.seeds},"
        f" prompts: {', '.join(f'{colour} {shape}' for colour, shape in prompts)}.",
        "",
        "One setting is changed at a time; the row in bold is the default. Shape and colour: views of the GLB that the"
        " classifier names right. IoU: volume shared with the world's own mesh after the best yaw, scale and shift."
        " Parts: meshes with the legs, backs, handles and holes that they should have. The interval is of the paired"
        f" difference in IoU from the defaults, 95 % bootstrap over {len(prompts) * len(arguments.seeds)} meshes: so"
        " few that only large differences can be told from chance.",
    ]
    base = values_of(DEFAULTS, records, arguments)
    for group in arguments.groups:
        lines += ["", f"## {group[0].upper()}{group[1:]}", ""]
        lines += ["| | shape | colour | IoU | IoU against the defaults | parts | saturation | CPU seconds |"]
        lines += ["|---|---|---|---|---|---|---|---|"]
        lines += [row(variant, records, base, arguments) for variant in GROUPS[group]]
        lines += ["", f"![{group}]({picture_path(group).relative_to(DOCS)})"]
    return "\n".join(lines) + "\n"


def command(arguments: argparse.Namespace) -> str:
    """That makes the page again."""
    if arguments.groups == list(GROUPS):
        return "python benchmarks/recipes.py --write"
    groups = " ".join(f'"{group}"' if " " in group else group for group in arguments.groups)
    return f"python benchmarks/recipes.py --write --groups {groups}"


def values_of(
    variant: Variant, records: dict[str, dict[str, float]], arguments: argparse.Namespace
) -> list[dict[str, float]]:
    return [
        records[key(run_of(variant, colour, shape, seed))]
        for seed in arguments.seeds
        for colour, shape in PROMPTS[: arguments.prompts]
    ]


def row(
    variant: Variant,
    records: dict[str, dict[str, float]],
    base: Sequence[dict[str, float]],
    arguments: argparse.Namespace,
) -> str:
    values = values_of(variant, records, arguments)
    means = {name: float(np.mean([each[name] for each in values])) for name in (*MEASURES, "seconds")}
    differences = [each["IoU"] - other["IoU"] for each, other in zip(values, base, strict=True)]
    low, high = bootstrap_interval(differences)
    is_default = run_of(variant, *PROMPTS[0], 0).config == run_of(DEFAULTS, *PROMPTS[0], 0).config
    name = f"**{variant.name}**" if is_default else variant.name
    against = "" if is_default else f"{np.mean(differences):+.2f} ({low:+.2f} to {high:+.2f})"
    return (
        f"| {name} | {means['shape']:.0%} | {means['colour']:.0%} | {means['IoU']:.2f} | {against} |"
        f" {means['parts']:.0%} | {means['saturation']:.2f} | {means['seconds']:.0f} |"
    )


def picture_path(group: str) -> Path:
    name = "".join(letter if letter.isalnum() else "-" for letter in group.split(" (")[0]).replace("--", "-")
    return DOCS / "recipes" / f"{name.strip('-')}.jpg"


def write_picture(group: str, arguments: argparse.Namespace) -> None:
    """A row per variant, a few views per prompt, of the first seed."""
    prompts, variants = PROMPTS[: arguments.prompts], GROUPS[group]
    left, size = 190, SHOWN_PIXELS
    width = left + size * len(SHOWN_VIEWS) * len(prompts)
    sheet = Image.new("RGB", (width, size * len(variants)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for index, variant in enumerate(variants):
        pen.text((6, index * size + size // 2 - 8), variant.name[:30], fill=(40, 42, 48), font=font)
        for column, (colour, shape) in enumerate(prompts):
            run = run_of(variant, colour, shape, arguments.seeds[0])
            if not run.path.exists():
                continue
            views = views_of(read_mesh_file(run.path), size)
            for place, view in enumerate(SHOWN_VIEWS):
                x = left + size * (column * len(SHOWN_VIEWS) + place)
                sheet.paste(Image.fromarray(views[view]), (x, index * size))
    picture_path(group).parent.mkdir(parents=True, exist_ok=True)
    sheet.save(picture_path(group), quality=82)


if __name__ == "__main__":
    main()
