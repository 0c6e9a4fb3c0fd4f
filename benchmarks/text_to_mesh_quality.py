"""Are the meshes what was asked for? Eight prompts, default settings, judged by the classifier on the final GLB.

    python benchmarks/text_to_mesh_quality.py [--quality normal] [--prompts 8] [--seed 0]

Each GLB is read back from disk and rendered from 8 cameras at an elevation that optimisation did not use in that
combination of azimuth, lens and light. Results of single prompts stay in benchmarks/.work, so that an interrupted run
goes on; the table and the contact sheet go to benchmarks/results.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
import trimesh
from PIL import Image, ImageDraw

from backend import machine
from backend.appearance.mesh_files import read_mesh_file
from backend.cameras import turntable_cameras
from backend.config import TextToMeshSettings
from backend.evaluation.classifier import load_classifier
from backend.geometry.unwrap import uv_overlap_fraction
from backend.render.rasteriser import choose_rasteriser
from backend.render.renderer import TextureImages, render_views
from backend.render.shading import headlight

HERE = Path(__file__).parent
PROMPTS = (
    ("red", "mushroom"), ("green", "tree"), ("blue", "rocket"), ("pink", "donut"),
    ("yellow", "cone"), ("cyan", "snowman"), ("purple", "chair"), ("orange", "mug"),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quality", default="normal")
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--label", default="", help="names a variant in the file names")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--write", action="store_true", help="write table and sheet to benchmarks/results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    name = f"text_to_mesh_quality-{date.today().isoformat()}" + (f"-{arguments.label}" if arguments.label else "")
    # What was made with other weights or settings is not judged again.
    key = f"{machine.prior_fingerprint('embedded')} {TextToMeshSettings('x', quality=arguments.quality).resolve()}"
    fingerprint = hashlib.sha256(key.encode()).hexdigest()[:12]
    work = HERE / ".work" / f"{arguments.quality}-{arguments.seed}-{arguments.steps}-{fingerprint}"
    work.mkdir(parents=True, exist_ok=True)

    rows, pictures = [], []
    for colour, shape in PROMPTS[: arguments.prompts]:
        path = work / f"{colour}-{shape}.glb"
        record = work / f"{colour}-{shape}.json"
        if not (record.exists() and path.exists()):
            record.write_text(json.dumps(make_mesh(colour, shape, path, arguments)))
        views = render_glb(path)
        rows.append(judge(colour, shape, path, views) | json.loads(record.read_text()))
        pictures.append(views)
        print(rows[-1], flush=True)

    print(table(rows, arguments))
    folder = HERE / "results" if arguments.write else work
    contact_sheet([f"{c} {s}" for c, s in PROMPTS], pictures).save(folder / f"{name}.png")
    (folder / f"{name}.md").write_text(table(rows, arguments) + f"\n![Eight views of each mesh]({name}.png)\n")


def make_mesh(colour: str, shape: str, path: Path, arguments: argparse.Namespace) -> dict:
    """Runs the command as a user would, and returns its time."""
    article = "an" if colour[0] in "aeiou" else "a"
    command = [
        sys.executable, "-m", "backend", "text", f"{article} {colour} {shape}", "-o", str(path), "--json",
        "--quality", arguments.quality, "--seed", str(arguments.seed), "--run-dir", str(path.parent / "runs"),
    ]  # fmt: skip
    if arguments.steps:
        command += ["--steps", str(arguments.steps)]
    began = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return {"seconds": round(time.monotonic() - began, 1)}


def render_glb(path: Path, count: int = 8) -> torch.Tensor:
    """[views, 64, 64, 3] from cameras of their own: another elevation, lens, light and a grey background."""
    read = read_mesh_file(path)
    texture = TextureImages(read.uv, read.base_colour.float() / 255)
    cameras = turntable_cameras(count, elevation_degrees=18.0, first_azimuth_degrees=11.0)
    views = render_views(
        choose_rasteriser(torch.device("cpu")),
        read.mesh,
        texture,
        cameras,
        64,
        lighting=headlight(cameras),
        background=torch.tensor([0.55, 0.55, 0.55]),
        supersample=3,
    )
    return views.images.clamp(0, 1)


def judge(colour: str, shape: str, path: Path, views: torch.Tensor) -> dict:
    """What the classifier and a few plain checks say of a GLB."""
    classifier = load_classifier()
    shapes, colours = classifier(views.permute(0, 3, 1, 2))
    read = read_mesh_file(path)
    merged = trimesh.Trimesh(read.mesh.positions.numpy(), read.mesh.faces.numpy(), process=False)
    merged.merge_vertices()
    return {
        "prompt": f"{colour} {shape}",
        "shape": (shapes.argmax(1) == classifier.shapes.index(shape)).float().mean().item(),
        "colour": (colours.argmax(1) == classifier.colours.index(colour)).float().mean().item(),
        "seen as": max(classifier.shapes, key=lambda s: (shapes.argmax(1) == classifier.shapes.index(s)).sum().item()),
        "faces": len(read.mesh.faces),
        "closed": bool(merged.is_watertight),
        "components": len(merged.split(only_watertight=False)),
        "finite": bool(read.mesh.positions.isfinite().all()),
        "uv inside": bool((read.uv.min() >= 0) and (read.uv.max() <= 1)),
        "uv overlap": round(float(uv_overlap_fraction(read.uv.numpy(), read.mesh.faces.numpy(), 1024)), 5),
    }


def contact_sheet(labels: list[str], pictures: list[torch.Tensor], zoom: int = 2) -> Image.Image:
    """A row of views per prompt."""
    size = 64 * zoom
    sheet = Image.new("RGB", (110 + size * 8, size * len(pictures)), "white")
    for row, (label, views) in enumerate(zip(labels, pictures, strict=False)):
        ImageDraw.Draw(sheet).text((6, row * size + size // 2), label, fill="black")
        for column, view in enumerate(views):
            image = Image.fromarray((view.numpy() * 255).round().astype("uint8")).resize((size, size))
            sheet.paste(image, (110 + column * size, row * size))
    return sheet


def table(rows: list[dict], arguments: argparse.Namespace) -> str:
    columns = list(rows[0])
    lines = [
        f"# Text to mesh, {arguments.quality} quality, seed {arguments.seed}, {date.today().isoformat()}",
        "",
        f"`python benchmarks/text_to_mesh_quality.py {' '.join(sys.argv[1:])}`; embedded prior,"
        f" {os.cpu_count()} cores of a shared machine.",
        "Shape and colour: share of 8 views of the GLB that the classifier names right.",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *(
            "| " + " | ".join(f"{v:.0%}" if k in ("shape", "colour") else str(v) for k, v in row.items()) + " |"
            for row in rows
        ),
        "",
        "Mean: " + ", ".join(f"{name} {np.mean([row[name] for row in rows]):.0%}" for name in ("shape", "colour")),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
