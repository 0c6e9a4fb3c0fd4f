"""A program of its own: packs charts with xatlas, reading and writing arrays in the folder named by its argument.

It runs in a process that `unwrap` can kill, because xatlas can neither be interrupted nor trusted to end; and it imports
nothing but numpy and xatlas, so that it starts in a fraction of a second.

    points.npy          float32 [points, 2], metres, points of a chart one after the other
    faces.npy           uint32 [faces, 3], faces of a chart one after the other
    first_points.npy    int64 [charts + 1], where each chart starts in points
    first_faces.npy     int64 [charts + 1]
    request.json        {"texture_size": texels, "padding": texels, "attempts": count}
    packed.npy          written: float32 [points, 2], texels of a square of texture_size
"""

import json
import sys
from pathlib import Path

import numpy as np
import xatlas

FIRST_COVERAGE = 0.5
"""Share of the square that xatlas covers on most meshes, to start the search for the scale."""


def pack(
    points: np.ndarray, faces: np.ndarray, first_points: np.ndarray, first_faces: np.ndarray, request: dict
) -> np.ndarray:
    """Packs a few times, each time at the scale that should just have fitted, and keeps the result that fits best.

    xatlas chooses the size of the atlas itself; told to keep to a size, it opens a second atlas instead.
    """
    size = request["texture_size"]
    a, b, c = points[faces].transpose(1, 0, 2)
    area = 0.5 * np.abs(np.cross(b - a, c - a)).sum()
    scale = size * np.sqrt(FIRST_COVERAGE / area)
    best, best_scale = None, 0.0
    for _ in range(request["attempts"]):
        packed, extent = pack_at(scale, points, faces, first_points, first_faces, request["padding"])
        shrunk = scale * min(1.0, size / extent)
        if shrunk > best_scale:
            best, best_scale = packed * min(1.0, size / extent), shrunk
        scale *= size / extent
    return best


def pack_at(
    scale: float,
    points: np.ndarray,
    faces: np.ndarray,
    first_points: np.ndarray,
    first_faces: np.ndarray,
    padding: float,
) -> tuple[np.ndarray, float]:
    """One packing: texels, and the longer side of the atlas with half the padding around it."""
    atlas = xatlas.Atlas()
    for chart in range(len(first_points) - 1):
        own = slice(first_points[chart], first_points[chart + 1])
        # In texels: xatlas drops faces of less than 1.2e-7 square units, and a chart may fall apart.
        flat = scale * (points[own] - points[own].min(axis=0))
        atlas.add_uv_mesh(
            flat.astype(np.float32), faces[first_faces[chart] : first_faces[chart + 1]] - np.uint32(first_points[chart])
        )
    options = xatlas.PackOptions()
    options.padding = int(np.ceil(padding))
    options.texels_per_unit = 1.0
    atlas.generate(pack_options=options)
    packed = np.zeros_like(points)
    for chart in range(len(first_points) - 1):
        source, _, uv = atlas.get_mesh(chart)
        packed[first_points[chart] + source.astype(np.int64)] = uv * np.float32([atlas.width, atlas.height])
    return packed + 0.5 * padding, max(atlas.width, atlas.height) + padding


def main(folder: Path) -> None:
    arrays = [
        np.load(folder / f"{name}.npy", allow_pickle=False)
        for name in ("points", "faces", "first_points", "first_faces")
    ]
    packed = pack(*arrays, request=json.loads((folder / "request.json").read_text(encoding="utf-8")))
    np.save(folder / "packed.npy", packed.astype(np.float32), allow_pickle=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
