"""From a blocked-out mesh to a real one: which words make the bridge keep the design, and with what colours?

    python benchmarks/sketch_to_real.py [--shapes house car ...] [--methods ...] [--write]

Each blockout is put together from a few boxes, balls and cones (tools/embedded_world/blockouts.py) and becomes a mesh
by every method, with equal seeds and steps. Measured are how much of the blockout's volume is kept, and how much views
from around look like those of instances of the embedded world. Each result lies in benchmarks/.work/blockouts under a
name with a hash over what decides it, so that an interrupted study goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
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
from backend.diffusion.prompts import BLOCKOUT_PHRASE, with_article  # noqa: E402
from backend.durable_files import write_whole_file  # noqa: E402
from backend.evaluation.mesh_scores import VIEW_COUNT, render_judged_views  # noqa: E402
from backend.evaluation.volume_overlap import volume_iou  # noqa: E402
from backend.geometry.components import remove_floaters  # noqa: E402
from backend.geometry.mesh_input import Placement  # noqa: E402
from backend.geometry.placed_mesh import PlacedMesh  # noqa: E402
from backend.geometry.triangle_mesh import TriangleMesh  # noqa: E402
from backend.machine import prior_fingerprint  # noqa: E402
from backend.render.portable_rasteriser import PortableRasteriser  # noqa: E402
from backend.render.renderer import Appearance, FieldAppearance, VertexColours  # noqa: E402
from backend.sketch_config import SketchToMeshSettings  # noqa: E402
from backend.tasks.sketch_to_mesh import SketchToMesh  # noqa: E402
from backend.warm_up import compile_kernels  # noqa: E402
from benchmarks.bridge_against_sds import world_instance  # noqa: E402
from benchmarks.drawing_methods import (  # noqa: E402
    differences,
    how_it_was_made,
    judged,
    measures,
    write_study,
)
from tools.embedded_world.blockouts import make_blockout  # noqa: E402
from tools.embedded_world.shapes import SHAPE_NAMES  # noqa: E402

WORK = FOLDER / ".work" / "blockouts"
COLOURS = {"house": "orange", "chair": "red", "car": "blue", "rocket": "green", "snowman": "cyan", "mushroom": "purple"}
FIT = {"volume IoU with the blockout": "blockout_iou"}
_SHOWN_PIXELS = 144
_RASTERISER = PortableRasteriser()

METHODS: dict[str, tuple[bool, dict[str, Any]]] = {
    "SDS, then the bridge": (False, {}),
    "--to-real": (True, {}),
    "blockout words alone": (True, {"source_suffix": f", {BLOCKOUT_PHRASE}"}),
    "and oversaturated, smooth": (True, {"source_suffix": f", {BLOCKOUT_PHRASE}, oversaturated, smooth"}),
    "flaw words alone": (True, {"source_suffix": ", oversaturated, blurry, noisy, bad geometry"}),
    "--to-real at scale 10": (True, {"bridge_scale": 10.0}),
}
"""Whether the job is one of `--to-real`, and what is changed in `DistillationConfig`."""


@dataclass(frozen=True)
class Case:
    """One mesh to make."""

    shape: str
    method: str
    quality: str
    steps: int | None

    @property
    def colour(self) -> str:
        return COLOURS[self.shape]

    @property
    def settings(self) -> SketchToMeshSettings:
        prompt = with_article(f"{self.colour} {self.shape}")
        return SketchToMeshSettings(
            prompt, views=None, mesh="blockout", to_real=METHODS[self.method][0], quality=self.quality,
            steps=self.steps, device="cpu",
        )  # fmt: skip

    def config(self) -> OptimisationConfig:
        """The defaults with what the method changes."""
        loop = self.settings.resolve()
        changed = dataclasses.replace(loop.distillation, **METHODS[self.method][1])
        return dataclasses.replace(loop, distillation=changed)

    @property
    def path(self) -> Path:
        """Of the record; the picture lies beside it."""
        decides = f"{dataclasses.asdict(self.config())} {prior_fingerprint('embedded')}"
        fingerprint = hashlib.sha256(decides.encode()).hexdigest()[:10]
        return WORK / f"{self.shape}-{fingerprint}.json"

    def blockout(self) -> PlacedMesh:
        solid = make_blockout(self.shape, np.random.default_rng([SHAPE_NAMES.index(self.shape), 5]))
        return PlacedMesh(
            solid.positions.astype(np.float64), solid.faces.astype(np.int64),
            Placement(centre=(0.0, 0.0, 0.0), scale=1.0),
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=list(COLOURS), choices=COLOURS, metavar="SHAPE")
    parser.add_argument("--methods", nargs="+", default=list(METHODS)[:4], choices=METHODS, metavar="METHOD",
                        help="; ".join(METHODS))  # fmt: skip
    parser.add_argument("--quality", default="draft", choices=("draft", "normal", "high"))
    parser.add_argument("--steps", type=int, help="steps of every job, for a quick look")
    parser.add_argument("--write", action="store_true", help="write table and sheet to benchmarks/results")
    arguments = parser.parse_args()
    if len(arguments.shapes) < 2:
        sys.exit("a distance needs two meshes of each method: give more shapes")
    torch.set_num_threads(1)
    compile_kernels()
    cases = [
        Case(shape, method, arguments.quality, arguments.steps)
        for shape in arguments.shapes
        for method in arguments.methods
    ]
    records = {(case.shape, case.method): make(case) for case in track(cases, "meshes")}
    name = f"sketch_to_real-{date.today().isoformat()}"
    text = report(records, arguments, name)
    write_study(name, text, sheet(records, arguments), arguments.write)


def make(case: Case) -> dict[str, Any]:
    """Makes and measures one mesh, or finds what was measured before."""
    path = case.path
    if path.exists():
        return json.loads(path.read_text())
    given = case.blockout()
    job = SketchToMesh(case.settings, config=case.config(), given=given, sketches=())
    began = time.process_time()
    for _ in job.steps():
        pass
    seconds = time.process_time() - began
    mesh, look = remove_floaters(job.current_mesh()), FieldAppearance(job._optimisation.texture)
    blockout = given.triangle_mesh()
    record = {
        "blockout_iou": volume_iou(mesh, blockout).iou,
        **judged(mesh, look, case.shape, case.colour),
        "cpu_seconds": round(seconds, 1),
        "picture": path.with_suffix(".png").name,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(seen(mesh, look), axis=1)).save(path.with_suffix(".png"))
    write_whole_file(path, (json.dumps(record, indent=1) + "\n").encode())  # last: it says that all is there
    print(f"{case.shape}, {case.method}: {record['blockout_iou']:.3f} of the blockout, {seconds:.0f} s")
    return record


def seen(mesh: TriangleMesh, look: Appearance) -> list[np.ndarray]:
    """From two sides."""
    views = render_judged_views(_RASTERISER, mesh, look, _SHOWN_PIXELS).images.clamp(0, 1)
    return [(views[index] * 255).byte().numpy() for index in (1, 4)]


def report(records: dict[tuple[str, str], dict[str, Any]], arguments: argparse.Namespace, picture: str) -> str:
    shapes, methods = arguments.shapes, arguments.methods
    worlds = [judged(*world_instance(COLOURS[shape], shape, 0), shape, COLOURS[shape]) for shape in shapes]
    found = {method: measures([records[shape, method] for shape in shapes], worlds, FIT) for method in methods}
    lines = [
        f"# From blockouts to meshes, {arguments.quality} quality, {date.today().isoformat()}",
        "",
        how_it_was_made("sketch_to_real.py"),
        "",
        f"{len(shapes)} blockouts, seed 0, held to at the default strength; {VIEW_COUNT} views of each mesh from around"
        " against an instance of the world in the same colour and shape. In brackets bootstrap intervals of 95 %, drawn"
        " by mesh; with so few they mean little.",
        "",
        "| | " + " | ".join(methods) + " |",
        "|---|" + "---|" * len(methods),
        *(f"| {name} | " + " | ".join(found[m][name].text() for m in methods) + " |" for name in found[methods[0]]),
        "",
        f"Saturation of the world itself: {np.mean([each['saturation'] for each in worlds]):.3f}.",
        "",
        *(
            line
            for method in methods[1:]
            for line in differences(found[method], found[methods[0]], method, methods[0], LESS_IS_BETTER)
        ),
        "## What is kept of each blockout",
        "",
        "| blockout | " + " | ".join(methods) + " |",
        "|---|" + "---|" * len(methods),
        *(
            f"| {shape} | " + " | ".join(f"{records[shape, method]['blockout_iou']:.3f}" for method in methods) + " |"
            for shape in shapes
        ),
        "",
        f"![Each blockout, and the meshes from the same two sides]({picture}.png)",
        "",
    ]
    return "\n".join(lines)


LESS_IS_BETTER = {
    "volume IoU with the blockout": False,
    "Fréchet distance": True,
    "off the world's saturation": True,
    "shape named right": False,
    "colour named right": False,
}


def sheet(records: dict[tuple[str, str], dict[str, Any]], arguments: argparse.Namespace) -> Image.Image:
    """A row per blockout: itself, then what each method made of it."""
    top, gap, block = 18, 8, 2 * _SHOWN_PIXELS
    columns = ["blockout", *arguments.methods]
    picture = Image.new("RGB", ((block + gap) * len(columns), top + _SHOWN_PIXELS * len(arguments.shapes)), "white")
    pen = ImageDraw.Draw(picture)
    for column, method in enumerate(columns):
        pen.text((column * (block + gap) + 4, 3), method, fill="black")
        for row, shape in enumerate(arguments.shapes):
            if column == 0:
                mesh = Case(shape, arguments.methods[0], arguments.quality, None).blockout().triangle_mesh()
                grey = VertexColours(torch.full_like(mesh.positions, 0.75))
                strip = Image.fromarray(np.concatenate(seen(mesh, grey), axis=1))
            else:
                strip = Image.open(WORK / records[shape, method]["picture"])
            picture.paste(strip, (column * (block + gap), top + row * _SHOWN_PIXELS))
    return picture


if __name__ == "__main__":
    main()
