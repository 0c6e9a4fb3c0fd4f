"""Do meshes keep to drawings? Silhouettes, volumes and what is recognised with 0, 1, 2 and 3 wobbly outlines.

Every shape is an instance of the embedded world that is stretched, tapered and made to lean, drawn by a hand that
wobbles, leaves gaps and runs on (tools/embedded_world/line_drawings.py). Without drawings the same prompt is made by
text to mesh. Each result lies in benchmarks/.work/sketches under a name with a hash over what decides it, so that an
interrupted study goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from backend import machine
from backend.config import TextToMeshSettings
from backend.diffusion.prompts import with_article
from backend.durable_files import write_whole_file
from backend.evaluation.classifier import load_classifier
from backend.evaluation.intervals import bootstrap_interval
from backend.evaluation.mesh_scores import render_judged_views, view_scores
from backend.evaluation.volume_overlap import volume_iou
from backend.geometry.components import remove_floaters
from backend.geometry.triangle_mesh import TriangleMesh
from backend.render.contours import render_masks
from backend.render.portable_rasteriser import PortableRasteriser
from backend.render.renderer import Appearance, FieldAppearance, VertexColours, render_views
from backend.render.shading import headlight
from backend.sketch_config import SketchToMeshSettings
from backend.sketches.camera import SketchCamera, posed
from backend.sketches.drawing import coverage
from backend.sketches.sketch import INK_PIXELS, Sketch
from backend.tasks.sketch_to_mesh import SketchToMesh
from backend.tasks.text_to_mesh import TextToMesh
from backend.warm_up import compile_kernels
from tools.embedded_world.line_drawings import draw_outline
from tools.embedded_world.shapes import SHAPE_NAMES, make_shape
from tools.embedded_world.solids import ColouredMesh, fit_to_ball

FOLDER = Path(__file__).parent
WORK = FOLDER / ".work" / "sketches"
VIEW_SETS: dict[int, tuple[str, ...]] = {0: (), 1: ("front",), 2: ("front", "left"), 3: ("front", "left", "top")}
SUBJECTS = (
    ("red", "mug"),
    ("green", "bottle"),
    ("blue", "chair"),
    ("orange", "mushroom"),
    ("purple", "rocket"),
    ("yellow", "house"),
    ("white", "snowman"),
    ("pink", "heart"),
)
IOU_BARS = {1: 0.92, 2: 0.90, 3: 0.90}
VOLUME_GAIN_BAR = 0.15
RECOGNISED_BAR = 0.05
STEP_COST_BAR = 1.3
_RASTERISER = PortableRasteriser()
_SHOWN_PIXELS = 192


@dataclass(frozen=True)
class Case:
    """One mesh to make."""

    colour: str
    shape: str
    views: int
    """How many drawings; 0 for text alone."""
    instance: int
    quality: str
    steps: int | None

    @property
    def prompt(self) -> str:
        return with_article(f"{self.colour} {self.shape}")

    @property
    def path(self) -> Path:
        """Of the record; the picture lies beside it."""
        settings = (
            SketchToMeshSettings(self.prompt, views=("front=x.png",), quality=self.quality, steps=self.steps)
            if self.views
            else TextToMeshSettings(self.prompt, quality=self.quality, steps=self.steps)
        )
        decides = f"{self} {settings.resolved_to_json()} {machine.prior_fingerprint('embedded')}"
        fingerprint = hashlib.sha256(decides.encode()).hexdigest()[:10]
        return WORK / f"{self.colour}-{self.shape}-{self.views}-views-{fingerprint}.json"

    def truth(self) -> ColouredMesh:
        """An instance of the shape that no picture of the prior has shown."""
        rng = np.random.default_rng([SHAPE_NAMES.index(self.shape), self.instance, 4177])
        return deformed(make_shape(self.shape, rng), rng)

    def sketches(self, truth: TriangleMesh) -> tuple[Sketch, ...]:
        """Drawn by a hand of its own for each view."""
        drawn = []
        for number, view in enumerate(VIEW_SETS[self.views]):
            rng = np.random.default_rng([SHAPE_NAMES.index(self.shape), self.instance, number, 99])
            camera = SketchCamera.preset(view)
            drawn.append(Sketch(view, camera, strokes=draw_outline(silhouette_of(truth, camera), rng)))
        return tuple(drawn)


def deformed(mesh: ColouredMesh, rng: np.random.Generator) -> ColouredMesh:
    """Stretched along each axis by up to 1.4 times, tapered and leaning; in the ball that objects live in."""
    positions = mesh.positions.astype(np.float64) * np.exp(rng.uniform(-0.34, 0.34, 3))
    height = positions[:, 1] / np.abs(positions[:, 1]).max()
    taper = 1 + rng.uniform(-0.2, 0.2) * height
    positions[:, [0, 2]] *= taper[:, None]
    positions[:, 0] += rng.uniform(-0.15, 0.15) * height
    return fit_to_ball(ColouredMesh(positions.astype(np.float32), mesh.faces, mesh.part_ids))


def silhouette_of(mesh: TriangleMesh, camera: SketchCamera, pixels: int = INK_PIXELS) -> np.ndarray:
    return render_masks(_RASTERISER, mesh, posed([camera]), pixels)[0, ..., 0].numpy() > 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shapes = [shape for _, shape in SUBJECTS]
    parser.add_argument("--shapes", nargs="+", default=shapes, choices=shapes, help="some of them; all by default")
    parser.add_argument("--views", type=int, nargs="+", default=[0, 1, 2, 3], choices=tuple(VIEW_SETS))
    parser.add_argument("--instances", type=int, nargs="+", default=[0])
    parser.add_argument("--quality", default="normal", choices=("draft", "normal", "high"))
    parser.add_argument("--steps", type=int, help="steps of every job, for a quick look")
    parser.add_argument("--write", action="store_true", help="write table and sheet to benchmarks/results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    compile_kernels()
    rows = [
        [
            make(Case(colour, shape, views, instance, arguments.quality, arguments.steps))
            for views in sorted(arguments.views)
        ]
        for instance in arguments.instances
        for colour, shape in SUBJECTS
        if shape in arguments.shapes
    ]
    name = f"sketch_to_mesh-{date.today().isoformat()}"
    text = report([record for row in rows for record in row], arguments, name)
    print(text)
    folder = FOLDER / "results" if arguments.write else FOLDER / ".work"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    sheet(rows).save(folder / f"{name}.png", optimize=True)


# --- Making and measuring --------------------------------------------------------------------------------------------


def make(case: Case) -> dict[str, Any]:
    """Makes and measures one mesh, or finds what was measured before."""
    if case.path.exists() and case.path.with_suffix(".png").exists():
        return json.loads(case.path.read_text())
    solid = case.truth()
    truth = TriangleMesh(torch.from_numpy(solid.positions), torch.from_numpy(solid.faces))
    sketches, notices = case.sketches(truth), []
    began = time.process_time()
    job: SketchToMesh | TextToMesh
    if sketches:
        views = tuple(f"{sketch.name}=memory.png" for sketch in sketches)
        settings = SketchToMeshSettings(case.prompt, views=views, quality=case.quality, steps=case.steps)
        job = SketchToMesh(settings, notices.append, sketches=sketches)
        begun_with = ious_to(truth, job)
    else:
        job = TextToMesh(TextToMeshSettings(case.prompt, quality=case.quality, steps=case.steps), notices.append)
        begun_with = []
    for _ in job.steps():
        pass
    seconds = time.process_time() - began
    mesh = remove_floaters(job.current_mesh())
    record = {
        **dataclasses.asdict(case),
        "silhouette_ious": ious_to(truth, job) if isinstance(job, SketchToMesh) else [],
        "first_silhouette_ious": begun_with,
        "volume_iou": volume_iou(mesh, truth).iou,
        **recognised(job, mesh, case),
        "cpu_seconds": round(seconds, 1),
        "notices": notices,
        "picture": case.path.with_suffix(".png").name,
    }
    case.path.parent.mkdir(parents=True, exist_ok=True)
    strip = np.concatenate(shown(job, truth), axis=1)
    Image.fromarray(strip).save(case.path.with_suffix(".png"))
    write_whole_file(case.path, (json.dumps(record, indent=1) + "\n").encode())  # last: it says that all is there
    print(
        f"{case.prompt}, {case.views} views: {record['silhouette_ious']}, volume {record['volume_iou']:.3f}", flush=True
    )
    return record


def recognised(job: SketchToMesh | TextToMesh, mesh: TriangleMesh, case: Case) -> dict[str, float]:
    """Shares of eight views from around, none of which was drawn, that the classifier names right."""
    views = render_judged_views(_RASTERISER, mesh, FieldAppearance(job._optimisation.texture))
    scores = view_scores(load_classifier(), views.images, case.shape, case.colour)
    return {"shape_right": scores.shape, "colour_right": scores.colour}


def ious_to(truth: TriangleMesh, job: SketchToMesh) -> list[float]:
    """Of the silhouettes of the mesh and of what was drawn from, before the hand wobbled."""
    mesh, result = job.current_mesh(), []
    for drawing in job.drawings:
        ours = silhouette_of(mesh, drawing.camera, 256)
        theirs = coverage(silhouette_of(truth, drawing.sketch.camera), 256) > 0.5
        result.append(round(float((ours & theirs).sum() / max((ours | theirs).sum(), 1)), 4))
    return result


def shown(job: SketchToMesh | TextToMesh, truth: TriangleMesh) -> list[np.ndarray]:
    """The drawings over the mesh, then mesh and truth from a side that nobody drew."""
    grey = VertexColours(torch.full_like(truth.positions, 0.75))
    pictures: list[tuple[TriangleMesh, Appearance]] = [
        (job.current_mesh(), FieldAppearance(job._optimisation.texture)),
        (truth, grey),
    ]
    camera = posed([SketchCamera.orbit(35.0, 20.0)])
    side = [
        (render_views(_RASTERISER, mesh, look, camera, _SHOWN_PIXELS, lighting=headlight(camera), supersample=2).images)
        for mesh, look in pictures
    ]
    beside = [(image[0].detach().clamp(0, 1) * 255).byte().numpy() for image in side]
    drawn = job.overlays(_SHOWN_PIXELS) if isinstance(job, SketchToMesh) else []
    return [*drawn, *beside]


# --- Showing ---------------------------------------------------------------------------------------------------------


def report(records: list[dict[str, Any]], arguments: argparse.Namespace, name: str) -> str:
    """Table and bars as Markdown."""
    lines = [
        f"# Meshes from drawings, {date.today().isoformat()}",
        "",
        f"`python benchmarks/sketch_to_mesh.py --quality {arguments.quality} --shapes {' '.join(arguments.shapes)}`"
        + (f" with {arguments.steps} steps" if arguments.steps else "")
        + "; embedded prior, CPU. Silhouettes are compared with the shape that was drawn from, not with the wobbly",
        "drawing; volumes after the best turn, scale and shift. Shape and colour: of eight views from around, none of",
        "them drawn, the share that the classifier names right.",
        "",
        "| prompt | views | silhouette IoU at the drawn sides | at the start | volume IoU | shape | colour | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        ious, first = (
            " ".join(f"{value:.3f}" for value in record[key]) for key in ("silhouette_ious", "first_silhouette_ious")
        )
        prompt = with_article(f"{record['colour']} {record['shape']}")
        lines.append(
            f"| {prompt} | {record['views']} | {ious} | {first} | {record['volume_iou']:.3f} "
            f"| {record['shape_right']:.0%} | {record['colour_right']:.0%} | {record['cpu_seconds']:.0f} |"
        )
    return "\n".join([*lines, "", *bars(records), "", f"![Drawings over the meshes]({name}.png)", ""])


def bars(records: list[dict[str, Any]]) -> list[str]:
    """One line per bar: what was asked for, what came out."""
    lines = []
    for views, bar in IOU_BARS.items():
        ious = [value for record in records if record["views"] == views for value in record["silhouette_ious"]]
        if ious:
            met = np.mean(ious) >= bar
            lines.append(bar_line(f"silhouette IoU with {views} views: mean {np.mean(ious):.3f}", f"{bar:.2f}", met))
    return [*lines, *bars_against_text(records)]


def bar_line(measured: str, bar: str, met: bool) -> str:
    return f"- {measured}, bar {bar}: {'met' if met else 'missed'}"


def bars_against_text(records: list[dict[str, Any]]) -> list[str]:
    """One line per bar that compares with the same sentences without drawings."""
    lines = []
    alone, two = (
        {(record["shape"], record["instance"]): record for record in records if record["views"] == views}
        for views in (0, 2)
    )
    both = sorted(alone.keys() & two.keys())
    if both:
        gains = [two[key]["volume_iou"] - alone[key]["volume_iou"] for key in both]
        low, high = bootstrap_interval(gains)
        measured = f"{np.mean(gains):+.3f} ({low:+.3f} to {high:+.3f}, n = {len(both)})"
        met = np.mean(gains) >= VOLUME_GAIN_BAR
        lines.append(bar_line(f"volume IoU with 2 views over text alone: {measured}", f"+{VOLUME_GAIN_BAR}", met))
        for measure in ("shape_right", "colour_right"):
            change = float(np.mean([two[key][measure] - alone[key][measure] for key in both]))
            what = f"{measure.split('_')[0]} named right with 2 views over text alone"
            met = change >= -RECOGNISED_BAR
            lines.append(bar_line(f"{what}: {100 * change:+.1f} points", f"{-100 * RECOGNISED_BAR:.0f}", met))
    for views in (1, 2, 3):
        ratios = [
            record["cpu_seconds"] / alone[key]["cpu_seconds"]
            for record in records
            if record["views"] == views and (key := (record["shape"], record["instance"])) in alone
        ]
        if ratios:
            what = f"CPU time with {views} views over text alone, median of {len(ratios)}"
            met = np.median(ratios) <= STEP_COST_BAR
            lines.append(bar_line(f"{what}: {np.median(ratios):.2f} times", f"{STEP_COST_BAR}", met))
    return lines


def sheet(rows: list[list[dict[str, Any]]]) -> Image.Image:
    """All strips of one shape in a row."""
    strips = [[np.asarray(Image.open(WORK / record["picture"])) for record in row] for row in rows]
    joined = [np.concatenate(row, axis=1) for row in strips]
    width = max(row.shape[1] for row in joined)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in joined]
    return Image.fromarray(np.concatenate(padded, axis=0))


if __name__ == "__main__":
    main()
