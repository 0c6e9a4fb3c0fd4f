"""Do locked parts of a blocked-out mesh stay, and is a mirrored mesh symmetric? Default quality unless asked otherwise.

Five blockouts of the embedded world are finished to a prompt with a part of each locked and painted in a colour of its
own; three prompts are made with mirrors. Takes about 25 minutes of one core.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
import trimesh
from PIL import Image

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent)]

from backend.appearance.bake import FinishedMesh  # noqa: E402
from backend.cameras import turntable_cameras  # noqa: E402
from backend.config import TextToMeshSettings  # noqa: E402
from backend.diffusion.prompts import with_article  # noqa: E402
from backend.evaluation.occupancy import occupancy_grid  # noqa: E402
from backend.evaluation.part_counts import leg_count  # noqa: E402
from backend.geometry.held_region import SEAM_METRES, HeldRegion  # noqa: E402
from backend.geometry.mesh_input import Placement  # noqa: E402
from backend.geometry.placed_mesh import PlacedMesh  # noqa: E402
from backend.geometry.signed_distance import nearest_on_mesh  # noqa: E402
from backend.render.portable_rasteriser import PortableRasteriser  # noqa: E402
from backend.render.renderer import TextureImages, VertexColours, render_views  # noqa: E402
from backend.render.shading import headlight  # noqa: E402
from backend.tasks.text_to_mesh import TextToMesh  # noqa: E402
from backend.warm_up import compile_kernels  # noqa: E402
from tools.embedded_world.blockouts import make_blockout  # noqa: E402

HELD_BAR = 0.01
SYMMETRY_BAR = 0.005
_RASTERISER = PortableRasteriser()
_VIEWS, _PIXELS = 4, 160


@dataclass(frozen=True)
class Locked:
    """A blockout that is finished to a prompt while a part of it stays."""

    colour: str
    shape: str
    part: str
    is_held: Callable[[np.ndarray], np.ndarray]
    """Vertices [vertices, 3] of the blockout, relative to its extent (0 to 1 along each axis), to a mask."""
    paint: tuple[float, float, float]


LOCKED = (
    Locked("orange", "mug", "handle", lambda at: at[:, 0] > 0.68, (0.1, 0.3, 0.9)),
    Locked("red", "house", "lower half", lambda at: at[:, 1] < 0.4, (0.9, 0.9, 0.2)),
    Locked("green", "bottle", "neck", lambda at: at[:, 1] > 0.7, (0.9, 0.3, 0.7)),
    Locked("purple", "chair", "legs", lambda at: at[:, 1] < 0.35, (0.1, 0.7, 0.3)),
    Locked("blue", "car", "front", lambda at: at[:, 2] > 0.6, (0.95, 0.6, 0.1)),
)
MIRRORED = (("purple", "chair", "x"), ("white", "table", "xz"), ("blue", "rocket", "xz"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quality", default="normal", choices=("draft", "normal", "high"))
    parser.add_argument("--write", action="store_true", help="write table and sheet to benchmarks/results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    compile_kernels()
    name = f"held_and_mirrored-{date.today().isoformat()}"
    locked, mirrored, strips = [], [], []
    for case in LOCKED:
        row, strip = measure_locked(case, arguments.quality)
        print(row, flush=True)
        locked.append(row)
        strips.append(strip)
    for colour, shape, axes in MIRRORED:
        row, strip = measure_mirrored(colour, shape, axes, arguments.quality)
        print(row, flush=True)
        mirrored.append(row)
        strips.append(strip)
    text = report(locked, mirrored, arguments.quality, name)
    print(text)
    folder = FOLDER / "results" if arguments.write else FOLDER / ".work"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    width = max(strip.shape[1] for strip in strips)
    padded = [np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)), constant_values=255) for strip in strips]
    Image.fromarray(np.concatenate(padded)).save(folder / f"{name}.png", optimize=True)


def blockout_of(case: Locked) -> PlacedMesh:
    """Grey clay, its held part painted, with enough vertices that the mask has a border where it should."""
    solid = make_blockout(case.shape, np.random.default_rng(11))
    mesh = trimesh.Trimesh(solid.positions, solid.faces, process=False)
    vertices, faces = trimesh.remesh.subdivide_to_size(mesh.vertices, mesh.faces, 0.06)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    held = case.is_held((vertices - low) / (high - low))
    colours = np.where(held[:, None], case.paint, (0.62, 0.6, 0.58))
    placement = Placement((0.0, 0.0, 0.0), 1.0)
    return PlacedMesh(vertices, faces.astype(np.int64), placement, colours=colours, locked=held)


def measure_locked(case: Locked, quality: str) -> tuple[dict[str, object], np.ndarray]:
    given = blockout_of(case)
    region = HeldRegion.of(given)
    assert region is not None
    prompt = with_article(f"{case.colour} {case.shape}")
    began = time.process_time()
    job = TextToMesh(TextToMeshSettings(prompt, quality=quality), given=given)
    for _ in job.steps():
        pass
    finished = job.finish()
    seconds = time.process_time() - began
    positions, faces = finished.mesh.positions.double().numpy(), finished.mesh.faces.numpy()
    size = float(np.ptp(given.vertices, axis=0).max())
    held_points, _ = trimesh.sample.sample_surface(
        trimesh.Trimesh(given.vertices, region.faces, process=False), 20_000, seed=0
    )
    points = np.concatenate([given.vertices[np.unique(region.faces)], held_points])
    held = distances(positions, faces, points) / size
    free = distances(positions, faces, given.vertices[~given.locked]) / size
    # Where three held faces' lengths away from the border, so that the border's own blend of colours does not count.
    inner = points[distances(given.vertices, free_faces(given), points) > 2 * job._optimisation.dmtet.grid.cell_metres]
    albedo = job._optimisation.texture(torch.from_numpy(inner).float()).albedo.detach().numpy()
    row = {
        "prompt": prompt,
        "held": case.part,
        "deviation": held.max(),
        "colour": float(np.abs(albedo - np.array(case.paint)).max()),
        "free": free.max(),
        "seam": seam_slope(given, region, finished),
        "seconds": seconds,
    }
    return row, np.concatenate([strip_of_blockout(given), strip_of(finished)], axis=1)


def free_faces(given: PlacedMesh) -> np.ndarray:
    assert given.locked is not None
    return given.faces[~given.locked[given.faces].all(axis=1)]


def seam_slope(given: PlacedMesh, region: HeldRegion, finished: FinishedMesh) -> float:
    """How steeply the rest moves away beside the locked part: 95th percentile, over points of the given surface within
    a seam's width of it, of how far they have moved over how far they are from it. 1 is a step of 45 degrees."""
    free = trimesh.Trimesh(given.vertices, free_faces(given), process=False)
    points, _ = trimesh.sample.sample_surface(free, 20_000, seed=0)
    away = distances(given.vertices, region.faces, points)
    in_seam = (away > 0.03) & (away < SEAM_METRES)
    moved = distances(finished.mesh.positions.double().numpy(), finished.mesh.faces.numpy(), points[in_seam])
    return float(np.percentile(moved / away[in_seam], 95))


def measure_mirrored(colour: str, shape: str, axes: str, quality: str) -> tuple[dict[str, object], np.ndarray]:
    prompt = with_article(f"{colour} {shape}")
    began = time.process_time()
    job = TextToMesh(TextToMeshSettings(prompt, quality=quality, symmetry=axes))
    for _ in job.steps():
        pass
    finished = job.finish()
    seconds = time.process_time() - began
    positions, faces = finished.mesh.positions.double().numpy(), finished.mesh.faces.numpy()
    size = float(np.ptp(positions, axis=0).max())
    farthest, colours = 0.0, 0.0
    for axis in axes:
        images = positions * np.where(np.arange(3) == "xyz".index(axis), -1, 1)
        farthest = max(farthest, float(distances(positions, faces, images).max()) / size)
        here, there = (
            job._optimisation.texture(torch.from_numpy(at).float()).albedo.detach() for at in (positions, images)
        )
        colours = max(colours, float((here - there).abs().max()))
    legs = leg_count(occupancy_grid(finished.mesh)) if shape in ("chair", "table") else None
    row = {"prompt": prompt, "axes": axes, "asymmetry": farthest, "colour": colours, "legs": legs, "seconds": seconds}
    return row, strip_of(finished)


def distances(positions: np.ndarray, faces: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Of points to a surface."""
    return np.linalg.norm(nearest_on_mesh(positions, faces, points) - points, axis=1)


def strip_of(finished: FinishedMesh) -> np.ndarray:
    cameras = turntable_cameras(_VIEWS)
    look = TextureImages(finished.uv, finished.base_colour, finished.normals)
    return _strip(render_views(
        _RASTERISER, finished.mesh, look, cameras, _PIXELS, lighting=headlight(cameras), supersample=2
    ).images)  # fmt: skip


def strip_of_blockout(given: PlacedMesh) -> np.ndarray:
    cameras = turntable_cameras(_VIEWS)
    assert given.colours is not None
    look = VertexColours(torch.from_numpy(given.colours).float())
    return _strip(render_views(
        _RASTERISER, given.triangle_mesh(), look, cameras, _PIXELS, lighting=headlight(cameras), supersample=2
    ).images)  # fmt: skip


def _strip(images: torch.Tensor) -> np.ndarray:
    return np.concatenate(list((images.detach().clamp(0, 1) * 255).byte().numpy()), axis=1)


def report(locked: list[dict[str, object]], mirrored: list[dict[str, object]], quality: str, name: str) -> str:
    """Tables and bars as Markdown."""
    worst_held = max(float(str(row["deviation"])) for row in locked)
    worst_mirror = max(float(str(row["asymmetry"])) for row in mirrored)
    lines = [
        f"# Locked parts and mirrors, {date.today().isoformat()}",
        "",
        f"`python benchmarks/held_and_mirrored.py --quality {quality}`; embedded prior, CPU.",
        "",
        "Deviation: the largest distance of a point of the locked faces from the result, as a share of the mesh's"
        " longest side. Colour: the largest difference of an sRGB channel inside of the locked part. Free: the farthest"
        " that the rest has moved. Seam: how steeply it moves away beside the locked part, 95th percentile;"
        " 1 is a step of 45 degrees.",
        "",
        "| prompt | locked | deviation | colour | free | seam | CPU s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in locked:
        lines.append(
            f"| {row['prompt']} | {row['held']} | {row['deviation']:.2%} | {row['colour']:.3f} | {row['free']:.1%} "
            f"| {row['seam']:.2f} | {row['seconds']:.0f} |"
        )
    lines += [
        "",
        "Asymmetry: the largest distance of a vertex's mirror image from the mesh, as a share of its longest side.",
        "",
        "| prompt | mirrored across | asymmetry | colour | legs | CPU s |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['prompt']} | {row['axes']} | {row['asymmetry']:.3%} | {row['colour']:.3f} | {row['legs'] or ''} "
        f"| {row['seconds']:.0f} |"
        for row in mirrored
    ]
    of_held, of_mirror = (
        "met" if worst < bar else "missed" for worst, bar in ((worst_held, HELD_BAR), (worst_mirror, SYMMETRY_BAR))
    )
    return "\n".join([
        *lines,
        "",
        f"- largest deviation of a locked part: {worst_held:.2%}, bar under {HELD_BAR:.0%}: {of_held}",
        f"- largest asymmetry: {worst_mirror:.3%}, bar under {SYMMETRY_BAR:.1%}: {of_mirror}",
        "",
        "Blockouts with their locked parts painted, and what they became; below, the mirrored meshes:",
        "",
        f"![Locked and mirrored meshes]({name}.png)",
        "",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
