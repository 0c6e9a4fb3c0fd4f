"""Does the bridge make meshes that look more like the real thing than SDS alone? Equal prompts, seeds and steps.

    python benchmarks/bridge_against_sds.py [--prompts 8] [--seeds 0 1] [--methods sds bridge] [--write]

The real thing is known here: instances of the embedded world in the colour that the prompt names, from the same cameras
under the same light. Views of the final GLBs are compared with views of those by Fréchet and kernel distance in the
classifier's features, by saturation and by name. Meshes stay in benchmarks/.work, so that an interrupted study goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from rich.progress import track

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent)]

from backend.appearance.mesh_files import read_mesh_file  # noqa: E402
from backend.diffusion.diffusers_prior import load_prior  # noqa: E402
from backend.evaluation.classifier import WorldClassifier, load_classifier  # noqa: E402
from backend.evaluation.distances import Resampling  # noqa: E402
from backend.evaluation.intervals import bootstrap_interval  # noqa: E402
from backend.evaluation.measures import Measure, distances_between, resampled_mean, verdict  # noqa: E402
from backend.evaluation.mesh_scores import (  # noqa: E402
    VIEW_COUNT,
    mean_saturation,
    render_judged_views,
    view_scores,
)
from backend.geometry.triangle_mesh import TriangleMesh  # noqa: E402
from backend.machine import prior_fingerprint, processor_name, usable_processor_count  # noqa: E402
from backend.render.rasteriser import choose_rasteriser  # noqa: E402
from backend.render.renderer import Appearance, VertexColours  # noqa: E402
from backend.warm_up import compile_kernels  # noqa: E402
from benchmarks.mesh_quality import appearance_of  # noqa: E402
from benchmarks.mesh_runs import MeshRun, make_mesh  # noqa: E402
from tools.embedded_world.colours import COLOURS  # noqa: E402
from tools.embedded_world.shapes import SHAPE_NAMES, SHAPES, make_shape  # noqa: E402
from tools.embedded_world.solids import shading_mesh  # noqa: E402

RESULTS = FOLDER / "results"
PROMPTS = (
    ("red", "mushroom"), ("green", "tree"), ("blue", "rocket"), ("pink", "donut"),
    ("yellow", "cone"), ("cyan", "snowman"), ("purple", "chair"), ("orange", "mug"),
)  # fmt: skip

Changes = tuple[tuple[str, Any], ...]

METHODS: dict[str, Changes] = {
    "sds": (("distillation.bridge_start", 1.0),),
    "bridge": (),
    "bridge, scale 3": (("distillation.bridge_scale", 3.0),),
    "bridge, two words": (("distillation.source_suffix", ", oversaturated, smooth"),),
    "sds, guidance 20": (("distillation.bridge_start", 1.0), ("distillation.guidance_scale", 20.0)),
    "bridge, guidance 20": (("distillation.guidance_scale", 20.0),),
}
"""Each method as what it changes in the default configuration (see `MeshRun.changes`)."""

REFERENCE, OTHER_INSTANCES = "world", "world, other instances"
FEW_MESHES = 8
SHOWN_VIEWS = (0, 2, 5)
SHOWN_PIXELS = 112


@dataclass(frozen=True)
class JudgedMesh:
    """The views of one mesh, and what follows from them."""

    features: Float[np.ndarray, "views features"]
    saturation: float
    shape: float
    """Share of the views named right."""
    colour: float
    seconds: float
    """Of computing, to the GLB on disk; other programs on the machine do not count."""
    shown: list[np.ndarray]
    """Some of the views, larger, for the picture: uint8."""


@dataclass(frozen=True)
class Study:
    """All meshes by method; those of equal index have the same prompt and seed."""

    runs: list[MeshRun]
    meshes: dict[str, list[JudgedMesh]]

    def features(self, method: str) -> Float[np.ndarray, "views features"]:
        return np.concatenate([mesh.features for mesh in self.meshes[method]])

    @property
    def groups(self) -> np.ndarray:
        """The mesh of each view: views of one mesh are not independent."""
        return np.repeat(np.arange(len(self.runs)), VIEW_COUNT)

    def values(self, method: str, name: str) -> np.ndarray:
        return np.array([getattr(mesh, name) for mesh in self.meshes[method]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=len(PROMPTS), help=f"how many, 1 to {len(PROMPTS)}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--methods", nargs="+", default=["sds", "bridge"], choices=METHODS, metavar="METHOD")
    parser.add_argument("--quality", default="normal", choices=("draft", "normal", "high"))
    parser.add_argument("--steps", type=int, help="steps of every job, for a quick look")
    parser.add_argument("--write", action="store_true", help="write table and sheet to benchmarks/results")
    arguments = parser.parse_args()
    if arguments.prompts * len(arguments.seeds) < 2:
        sys.exit("a distance needs two meshes of each method: give more prompts or seeds")
    torch.set_num_threads(1)
    compile_kernels()
    load_prior("embedded", torch.device("cpu"))  # its imports take seconds that are not the first method's

    study = make_study(arguments)
    name = f"bridge_against_sds-{date.today().isoformat()}"
    text = report(study, arguments, name)
    print(text)
    folder = RESULTS if arguments.write else FOLDER / ".work"
    (folder / f"{name}.md").write_text(text)
    sheet(study, arguments.prompts).save(folder / f"{name}.png", optimize=True)


# --- Meshes and references -------------------------------------------------------------------------------------------


def make_study(arguments: argparse.Namespace) -> Study:
    """Makes or finds every mesh: all methods of one prompt before the next, so that an interrupted study compares."""
    classifier = load_classifier()
    steps: Changes = (("steps", arguments.steps),) if arguments.steps else ()
    runs = [
        MeshRun(colour, shape, seed, arguments.quality, steps)
        for seed in arguments.seeds
        for colour, shape in PROMPTS[: arguments.prompts]
    ]
    meshes: dict[str, list[JudgedMesh]] = {name: [] for name in (*arguments.methods, REFERENCE, OTHER_INSTANCES)}
    for run in track(runs, "meshes"):
        for method in arguments.methods:
            made = make_mesh(replace(run, changes=METHODS[method] + run.changes))
            read = read_mesh_file(made.path)
            seconds = made.cpu_seconds if made.cpu_seconds is not None else made.seconds
            meshes[method].append(judge(classifier, run, read.mesh, appearance_of(read), seconds))
        for name, instance in ((REFERENCE, run.seed), (OTHER_INSTANCES, run.seed + 1000)):
            meshes[name].append(judge(classifier, run, *world_instance(run.colour, run.shape, instance), 0.0))
    return Study(runs, meshes)


def world_instance(colour: str, shape: str, instance: int) -> tuple[TriangleMesh, VertexColours]:
    """What the prompt asks for, with proportions and a shade of its own."""
    rng = np.random.default_rng([SHAPE_NAMES.index(shape), instance, 77])  # no instance that the prior has seen
    shading = shading_mesh(make_shape(shape, rng))
    parts = np.stack([COLOURS[colour].draw(rng), *SHAPES[shape].natural_colours]).astype(np.float32)
    mesh = TriangleMesh(torch.from_numpy(shading.positions), torch.from_numpy(shading.faces))
    return mesh, VertexColours(torch.from_numpy(parts[shading.part_ids]))


def judge(
    classifier: WorldClassifier, run: MeshRun, mesh: TriangleMesh, appearance: Appearance, seconds: float
) -> JudgedMesh:
    rasteriser = choose_rasteriser(torch.device("cpu"))
    views = render_judged_views(rasteriser, mesh, appearance)
    scores = view_scores(classifier, views.images, run.shape, run.colour)
    large = render_judged_views(rasteriser, mesh, appearance, SHOWN_PIXELS).images.clamp(0, 1)
    return JudgedMesh(
        features=classifier.features(views.images.clamp(0, 1).permute(0, 3, 1, 2)).numpy().astype(np.float64),
        saturation=mean_saturation(views),
        shape=scores.shape,
        colour=scores.colour,
        seconds=seconds,
        shown=[(large[index] * 255).round().to(torch.uint8).numpy() for index in SHOWN_VIEWS],
    )


# --- Measures --------------------------------------------------------------------------------------------------------


def measures(study: Study, method: str) -> dict[str, Measure]:
    """Everything that one method is judged by, resampled by mesh under one and the same resampling."""
    ours, theirs, groups = study.features(method), study.features(REFERENCE), study.groups
    saturation = study.values(method, "saturation")
    resampling = Resampling(len(study.runs), 1000)
    means = {
        "off the world's saturation": np.abs(saturation - study.values(REFERENCE, "saturation")),
        "saturation": saturation,
        "shape named right": study.values(method, "shape"),
        "colour named right": study.values(method, "colour"),
        "CPU seconds": study.values(method, "seconds"),
    }
    return distances_between(ours, theirs, resampling, groups) | {
        name: resampled_mean(values, resampling) for name, values in means.items()
    }


# --- The report ------------------------------------------------------------------------------------------------------


def report(study: Study, arguments: argparse.Namespace, picture: str) -> str:
    found = {name: measures(study, name) for name in study.meshes if name != REFERENCE}
    count = len(study.runs)
    lines = [
        f"# {' against '.join(arguments.methods)}, {arguments.quality} quality, {date.today().isoformat()}",
        "",
        f"`{' '.join(['python benchmarks/bridge_against_sds.py', *sys.argv[1:]])}`; embedded prior"
        f" (manifest {str(prior_fingerprint('embedded'))[:16]}), {processor_name()}, {usable_processor_count()} of"
        f" {os.cpu_count()} cores, torch {torch.__version__}.",
        "",
        f"{arguments.prompts} prompts, seeds {', '.join(map(str, arguments.seeds))}: n = {count} meshes of each method,"
        f" {count * VIEW_COUNT} views, against {count} instances of the world in the same colours and shapes from the"
        " same cameras under the same light. Distances are in the 32 features of the classifier; the Fréchet distance"
        " compares only at equal n. In brackets bootstrap intervals of 95 %, drawn by mesh: a mesh, its counterpart of"
        " the other method and its reference together."
        + (" With so few meshes the intervals mean little." if count < FEW_MESHES else ""),
        "",
        *method_table(found, [*arguments.methods, OTHER_INSTANCES], study),
        "",
        f'"{OTHER_INSTANCES}": as many other instances against the reference, which is as near as one can come.',
        *(line for method in arguments.methods[1:] for line in difference_table(found, method, arguments.methods[0])),
        "",
        f"![Three views each of {', '.join(arguments.methods)} and the world]({picture}.png)",
    ]
    return "\n".join(lines) + "\n"


def method_table(found: dict[str, dict[str, Measure]], names: Sequence[str], study: Study) -> Iterator[str]:
    yield "| | " + " | ".join(names) + " |"
    yield "|---|" + "---|" * len(names)
    for measure in found[names[0]]:
        yield f"| {measure} | " + " | ".join(found[name][measure].text() for name in names) + " |"
    low, high = bootstrap_interval(study.values(REFERENCE, "saturation"))
    yield ""
    yield f"Saturation of the world itself: {study.values(REFERENCE, 'saturation').mean():.3f} [{low:.3f}, {high:.3f}]."


LESS_IS_BETTER = {
    "Fréchet distance": True,
    "kernel distance": True,
    "off the world's saturation": True,
    "shape named right": False,
    "colour named right": False,
}


def difference_table(found: dict[str, dict[str, Measure]], method: str, baseline: str) -> Iterator[str]:
    yield from ("", f"## {method} minus {baseline}, paired", "", "| | difference | better |", "|---|---|---|")
    for measure, less_is_better in LESS_IS_BETTER.items():
        difference = found[method][measure] - found[baseline][measure]
        yield f"| {measure} | {difference.text('+')} | {verdict(difference, less_is_better)} |"
    yield f"| CPU seconds | {(found[method]['CPU seconds'] - found[baseline]['CPU seconds']).text('+')} | - |"


def sheet(study: Study, prompts: int) -> Image.Image:
    """A row of views per prompt, of the first seed: each method, then the world."""
    names = [name for name in study.meshes if name != OTHER_INSTANCES]
    margin, top, gap = 90, 18, 8
    block = SHOWN_PIXELS * len(SHOWN_VIEWS) + gap
    picture = Image.new("RGB", (margin + block * len(names), top + SHOWN_PIXELS * prompts), "white")
    pen = ImageDraw.Draw(picture)
    for column, name in enumerate(names):
        pen.text((margin + column * block + 4, 3), name, fill="black")
        for row in range(prompts):
            for place, view in enumerate(study.meshes[name][row].shown):
                at = (margin + column * block + place * SHOWN_PIXELS, top + row * SHOWN_PIXELS)
                picture.paste(Image.fromarray(view), at)
    for row, run in enumerate(study.runs[:prompts]):
        pen.text((4, top + row * SHOWN_PIXELS + SHOWN_PIXELS // 2), f"{run.colour} {run.shape}", fill="black")
    return picture


if __name__ == "__main__":
    main()
