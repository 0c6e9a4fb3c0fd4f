"""A program of its own: packs charts with xatlas, reading and writing arrays in the folder named by its argument.

It runs in a process that `unwrap` can kill, because xatlas can neither be interrupted nor trusted to end; and it
imports nothing but numpy and xatlas, so that it starts in a fraction of a second.

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
    charts = [
        # Numbers of points within the chart.
        (points[first:end], faces[first_face:end_face] - np.uint32(first))
        for first, end, first_face, end_face in zip(
            first_points[:-1], first_points[1:], first_faces[:-1], first_faces[1:], strict=True
        )
    ]
    a, b, c = points[faces].transpose(1, 0, 2)
    u, v = b - a, c - a
    area = 0.5 * np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).sum()
    size = request["texture_size"]
    scale = size * np.sqrt(FIRST_COVERAGE / area)
    best, best_scale = np.zeros_like(points), 0.0
    for _ in range(request["attempts"]):
        packed, extent = pack_at(scale, charts, request["padding"])
        shrink = min(1.0, size / extent)
        if scale * shrink > best_scale:
            best, best_scale = packed * shrink, scale * shrink
        scale *= size / extent
    return best


def pack_at(scale: float, charts: list[tuple[np.ndarray, np.ndarray]], padding: int) -> tuple[np.ndarray, float]:
    """One packing: texels, and the longer side of the atlas with half the padding around it."""
    atlas = xatlas.Atlas()
    for points, faces in charts:
        # In texels: xatlas drops faces of less than 1.2e-7 square units, and a chart may fall apart.
        atlas.add_uv_mesh((scale * (points - points.min(axis=0))).astype(np.float32), faces)
    options = xatlas.PackOptions()
    options.padding = padding
    options.texels_per_unit = 1.0
    atlas.generate(pack_options=options)
    packed = []
    for chart, (points, _) in enumerate(charts):
        source, _, uv = atlas.get_mesh(chart)
        texels = np.full_like(points, np.nan)  # a point that xatlas left out makes the layout unusable
        texels[source] = uv * np.array([atlas.width, atlas.height], np.float32)
        packed.append(texels)
    return np.concatenate(packed) + 0.5 * padding, max(atlas.width, atlas.height) + padding


def main(folder: Path) -> None:
    names = ("points", "faces", "first_points", "first_faces")
    points, faces, first_points, first_faces = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in names)
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    packed = pack(points, faces, first_points, first_faces, request)
    np.save(folder / "packed.npy", packed.astype(np.float32), allow_pickle=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
