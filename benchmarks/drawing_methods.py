"""What makes a mesh from a drawing good: the bridge, SDS alone, the drawing alone, a drawing that the model is shown?

    python benchmarks/drawing_methods.py [--drawings purple-mug ...] [--methods bridge "SDS alone" ...] [--write]

Each of the drawings by hand in examples/drawings becomes a mesh by every method, with equal seeds and steps. Measured
are how well the mesh keeps to the drawing, and how much views from around look like those of instances of the embedded
world. Each result lies in benchmarks/.work/drawings under a name with a hash over what decides it, so that an
interrupted study goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from rich.progress import track

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent)]

from backend.config import OptimisationConfig  # noqa: E402
from backend.diffusion.prompts import with_article  # noqa: E402
from backend.distillation import Distilled  # noqa: E402
from backend.durable_files import write_whole_file  # noqa: E402
from backend.evaluation.classifier import load_classifier  # noqa: E402
from backend.evaluation.distances import Resampling  # noqa: E402
from backend.evaluation.measures import Measure, distances_between, resampled_mean, verdict  # noqa: E402
from backend.evaluation.mesh_scores import VIEW_COUNT, mean_saturation, render_judged_views, view_scores  # noqa: E402
from backend.geometry.components import remove_floaters  # noqa: E402
from backend.geometry.triangle_mesh import TriangleMesh  # noqa: E402
from backend.machine import prior_fingerprint, processor_name, usable_processor_count  # noqa: E402
from backend.render.portable_rasteriser import PortableRasteriser  # noqa: E402
from backend.render.renderer import Appearance, FieldAppearance  # noqa: E402
from backend.sketch_config import SketchConfig, SketchToMeshSettings  # noqa: E402
from backend.sketches.overlay import lines_met  # noqa: E402
from backend.tasks.sketch_to_mesh import SketchToMesh  # noqa: E402
from backend.warm_up import compile_kernels  # noqa: E402
from benchmarks.bridge_against_sds import world_instance  # noqa: E402

WORK = FOLDER / ".work" / "drawings"
DRAWINGS = FOLDER.parent / "examples" / "drawings"
SIDES = {
    "black-car": "left", "black-chair": "left", "blue-mushroom": "front,lines", "green-donut": "top",
    "green-heart": "front", "orange-rocket": "front", "pink-house": "front,lines", "purple-mug": "front",
    "white-snowman": "az=30,el=10", "yellow-hourglass": "front",
}  # fmt: skip
"""As examples/drawings/README.md says."""
ALL_KINDS = ("outline", "lines", "scribble")
FIT = {"silhouette IoU": "silhouette_iou", "drawn lines met": "lines_met"}
IOU_BAR, LINES_BAR = 0.92, 0.90
_SHOWN_PIXELS = 128
_RASTERISER = PortableRasteriser()


@dataclass(frozen=True)
class Method:
    """What it changes in the defaults."""

    loop: tuple[tuple[str, Any], ...] = ()
    """Of `DistillationConfig`."""
    drawing: tuple[tuple[str, Any], ...] = ()
    """Of `SketchConfig`."""
    has_prior: bool = True
    is_scribble: bool = False
    """Whether every drawing is taken for a scribble."""


METHODS = {
    "bridge": Method(),
    "SDS alone": Method(loop=(("bridge_start", 1.0),)),
    "drawing alone": Method(has_prior=False),
    "not shown": Method(drawing=(("control_kinds", ()),)),
    "outlines shown": Method(drawing=(("control_kinds", ALL_KINDS),)),
    "scribble": Method(is_scribble=True),
    "scribble, both branches": Method(loop=(("control_branches", "both"),), is_scribble=True),
    "scribble, one view": Method(drawing=(("control_views", 1),), is_scribble=True),
    "scribble, half": Method(drawing=(("control_strength", 0.5),), is_scribble=True),
}


@dataclass(frozen=True)
class Case:
    """One mesh to make."""

    drawing: str
    method: str
    quality: str
    steps: int | None
    seed: int

    @property
    def colour(self) -> str:
        return self.drawing.split("-")[0]

    @property
    def shape(self) -> str:
        return self.drawing.split("-")[1]

    @property
    def settings(self) -> SketchToMeshSettings:
        side, is_lines, _ = SIDES[self.drawing].partition(",lines")
        if METHODS[self.method].is_scribble:
            side += ",scribble"
        elif is_lines:
            side += ",lines"
        view = f"{side}@{DRAWINGS / self.drawing}.svg"
        prompt = with_article(f"{self.colour} {self.shape}")
        return SketchToMeshSettings(
            prompt, views=(view,), quality=self.quality, steps=self.steps, seed=self.seed, device="cpu"
        )

    def configs(self) -> tuple[OptimisationConfig, SketchConfig]:
        """The defaults with what the method changes."""
        method, settings = METHODS[self.method], self.settings
        loop = settings.resolve()
        loop = dataclasses.replace(loop, distillation=dataclasses.replace(loop.distillation, **dict(method.loop)))
        return loop, dataclasses.replace(settings.resolve_sketches(), **dict(method.drawing))

    @property
    def path(self) -> Path:
        """Of the record; the pictures and features lie beside it."""
        loop, drawing = (dataclasses.asdict(each) for each in self.configs())
        ink = (DRAWINGS / f"{self.drawing}.svg").read_text()
        decides = f"{self.settings.seed} {METHODS[self.method]} {loop} {drawing} {ink} {prior_fingerprint('embedded')}"
        fingerprint = hashlib.sha256(decides.encode()).hexdigest()[:10]
        return WORK / f"{self.drawing}-{self.method.replace(' ', '-').replace(',', '')}-{fingerprint}.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drawings", nargs="+", default=list(SIDES), choices=SIDES, metavar="NAME")
    parser.add_argument("--methods", nargs="+", default=["bridge", "SDS alone", "drawing alone", "not shown"],
                        choices=METHODS, metavar="METHOD", help="; ".join(METHODS))  # fmt: skip
    parser.add_argument("--quality", default="draft", choices=("draft", "normal", "high"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="steps of every job, for a quick look")
    parser.add_argument("--name", default="drawing_methods", help="of the files that are written")
    parser.add_argument("--write", action="store_true", help="write table and sheet to benchmarks/results")
    arguments = parser.parse_args()
    if len(arguments.drawings) < 2:
        sys.exit("a distance needs two meshes of each method: give more drawings")
    torch.set_num_threads(1)
    compile_kernels()
    cases = [
        Case(drawing, method, arguments.quality, arguments.steps, arguments.seed)
        for drawing in arguments.drawings
        for method in arguments.methods
    ]
    records = {(case.drawing, case.method): make(case) for case in track(cases, "meshes")}
    name = f"{arguments.name}-{date.today().isoformat()}"
    text = report(records, arguments, name)
    write_study(name, text, sheet(records, arguments), arguments.write)


def write_study(name: str, text: str, picture: Image.Image, is_result: bool) -> None:
    """Prints a report and writes it beside its picture, to benchmarks/results or to benchmarks/.work."""
    print(text)
    folder = FOLDER / "results" if is_result else FOLDER / ".work"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    picture.save(folder / f"{name}.png", optimize=True)


# --- Making and measuring --------------------------------------------------------------------------------------------


def make(case: Case) -> dict[str, Any]:
    """Makes and measures one mesh, or finds what was measured before."""
    path = case.path
    if path.exists():
        return json.loads(path.read_text())
    loop, drawing = case.configs()
    notices: list[str] = []
    job = SketchToMesh(case.settings, notices.append, config=loop, sketch_config=drawing)
    if not METHODS[case.method].has_prior:
        silence_the_prior(job)
    began = time.process_time()
    for _ in job.steps():
        pass
    seconds = time.process_time() - began
    mesh = remove_floaters(job.current_mesh())
    look = FieldAppearance(job._optimisation.texture)
    iou = job.scores()[0].silhouette_iou
    record = {
        "silhouette_iou": iou,
        "lines_met": lines_met(_RASTERISER, mesh, job.drawings[0]),
        **judged(mesh, look, case.shape, case.colour),
        "cpu_seconds": round(seconds, 1),
        "notices": notices,
        "picture": path.with_suffix(".png").name,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    around = render_judged_views(_RASTERISER, mesh, look, _SHOWN_PIXELS).images.clamp(0, 1)
    pictures = [job.overlays(_SHOWN_PIXELS)[0], *((around[index] * 255).byte().numpy() for index in (1, 4))]
    Image.fromarray(np.concatenate(pictures, axis=1)).save(path.with_suffix(".png"))
    write_whole_file(path, (json.dumps(record, indent=1) + "\n").encode())  # last: it says that all is there
    print(f"{case.drawing}, {case.method}: IoU {iou}, {record['lines_met']:.3f} of the lines, {seconds:.0f} s")
    return record


def silence_the_prior(job: SketchToMesh) -> None:
    """Leaves the drawing and what keeps the surface smooth."""
    distillation = job._optimisation._distillation

    def nothing(latents: torch.Tensor, *_: Any, **__: Any) -> Distilled:
        return Distilled(torch.zeros_like(latents), "drawing alone", (0, 0))

    distillation.gradient_of = nothing  # type: ignore[method-assign]


def judged(mesh: TriangleMesh, look: Appearance, shape: str, colour: str) -> dict[str, Any]:
    """What eight views from around look like to the classifier."""
    classifier = load_classifier()
    views = render_judged_views(_RASTERISER, mesh, look)
    scores = view_scores(classifier, views.images, shape, colour)
    features = classifier.features(views.images.clamp(0, 1).permute(0, 3, 1, 2)).numpy()
    return {
        "saturation": mean_saturation(views),
        "shape_right": scores.shape,
        "colour_right": scores.colour,
        "features": np.round(features, 4).tolist(),
    }


def measures(
    records: list[dict[str, Any]], worlds: list[dict[str, Any]], fit: dict[str, str] = FIT
) -> dict[str, Measure]:
    """Everything that one method is judged by, resampled by mesh.

    Args:
        fit: What else is in a record, by its title.
    """
    resampling = Resampling(len(records), 1000)
    groups = np.repeat(np.arange(len(records)), VIEW_COUNT)
    ours, theirs = (np.concatenate([each["features"] for each in some]) for some in (records, worlds))

    def values(name: str, of: list[dict[str, Any]] = records) -> np.ndarray:
        return np.array([each[name] for each in of], dtype=np.float64)

    means = {title: values(name) for title, name in fit.items()} | {
        "off the world's saturation": np.abs(values("saturation") - values("saturation", worlds)),
        "saturation": values("saturation"),
        "shape named right": values("shape_right"),
        "colour named right": values("colour_right"),
        "CPU seconds": values("cpu_seconds"),
    }
    return {name: resampled_mean(each, resampling) for name, each in means.items()} | distances_between(
        ours.astype(np.float64), theirs.astype(np.float64), resampling, groups
    )


# --- Showing ---------------------------------------------------------------------------------------------------------

LESS_IS_BETTER = {
    "silhouette IoU": False,
    "drawn lines met": False,
    "Fréchet distance": True,
    "off the world's saturation": True,
    "shape named right": False,
}


def report(records: dict[tuple[str, str], dict[str, Any]], arguments: argparse.Namespace, picture: str) -> str:
    names, methods = arguments.drawings, arguments.methods
    worlds = [judged(*world_instance(*name.split("-"), 0), *name.split("-")[::-1]) for name in names]
    found = {method: measures([records[name, method] for name in names], worlds) for method in methods}
    lines = [
        f"# Drawings by hand, {arguments.quality} quality, {date.today().isoformat()}",
        "",
        how_it_was_made("drawing_methods.py"),
        "",
        f"{len(names)} drawings of examples/drawings, one view each, seed {arguments.seed}. Silhouettes and lines are"
        f" compared with what was drawn; {VIEW_COUNT} views from around with an instance of the world in the same"
        " colour and shape. In brackets bootstrap intervals of 95 %, drawn by drawing.",
        "",
        "| | " + " | ".join(methods) + " |",
        "|---|" + "---|" * len(methods),
        *(f"| {name} | " + " | ".join(found[m][name].text() for m in methods) + " |" for name in found[methods[0]]),
        "",
        f"Saturation of the world itself: {np.mean([each['saturation'] for each in worlds]):.3f}.",
        "",
        *(line for method in methods[1:] for line in differences(found[methods[0]], found[method], methods[0], method)),
        "## Per drawing",
        "",
        f"Silhouette IoU / share of the drawn lines met, {methods[0]}. Bars: {IOU_BAR} and {LINES_BAR:.0%}.",
        "",
        "| drawing | " + " | ".join(methods) + " |",
        "|---|" + "---|" * len(methods),
        *(f"| {name} | " + " | ".join(_fit(records[name, method]) for method in methods) + " |" for name in names),
        "",
        f"- {methods[0]}: mean silhouette IoU {_mean(records, names, methods[0], 'silhouette_iou'):.3f}, bar {IOU_BAR};"
        f" at least {LINES_BAR:.0%} of the lines met in "
        f"{sum(records[name, methods[0]]['lines_met'] >= LINES_BAR for name in names)} of {len(names)} drawings",
        "",
        f"![Drawings over the meshes, and two views from around]({picture}.png)",
        "",
    ]
    return "\n".join(lines)


def differences(
    base: dict[str, Measure],
    other: dict[str, Measure],
    base_name: str,
    name: str,
    less_is_better: dict[str, bool] = LESS_IS_BETTER,
) -> list[str]:
    """A table of paired differences under a heading."""
    changes = {measure: base[measure] - other[measure] for measure in less_is_better}
    rows = [
        f"| {measure} | {changes[measure].text('+')} | {verdict(changes[measure], less)} |"
        for measure, less in less_is_better.items()
    ]
    return [f"## {base_name} minus {name}, paired", "", "| | difference | better |", "|---|---|---|", *rows, ""]


def _mean(records: dict[tuple[str, str], dict[str, Any]], names: list[str], method: str, what: str) -> float:
    return float(np.mean([records[name, method][what] for name in names]))


def _fit(record: dict[str, Any]) -> str:
    return f"{record['silhouette_iou']:.3f} / {record['lines_met']:.0%}"


def how_it_was_made(script: str) -> str:
    """The command as it was typed, the model, the machine."""
    command = " ".join(f'"{word}"' if " " in word else word for word in (script, *sys.argv[1:]))
    return (
        f"`python benchmarks/{command}`; embedded prior (manifest {str(prior_fingerprint('embedded'))[:16]}),"
        f" {processor_name()}, {usable_processor_count()} of {os.cpu_count()} cores, torch {torch.__version__}."
    )


def sheet(records: dict[tuple[str, str], dict[str, Any]], arguments: argparse.Namespace) -> Image.Image:
    """A row per drawing: for each method the drawing over the mesh and two views from around."""
    top, gap, block = 18, 8, 3 * _SHOWN_PIXELS
    size = ((block + gap) * len(arguments.methods), top + _SHOWN_PIXELS * len(arguments.drawings))
    picture = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(picture)
    for column, method in enumerate(arguments.methods):
        pen.text((column * (block + gap) + 4, 3), method, fill="black")
        for row, name in enumerate(arguments.drawings):
            strip = Image.open(WORK / records[name, method]["picture"])
            picture.paste(strip, (column * (block + gap), top + row * _SHOWN_PIXELS))
    return picture


if __name__ == "__main__":
    main()
