"""Lays charts side by side into one square, without xatlas: always ends, never overlaps, the same on every machine.

The packing of Lévy et al. 2002 (least squares conformal maps, section 4.3): charts fall into the square one by one,
large ones first, and each takes the place in which it ends lowest and the least room is lost beneath it. The scale is
found by bisection.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from backend.geometry import packing_kernels as kernels
from backend.geometry.chart_cutting import Charts
from backend.geometry.smoothness import unique_edges_with_faces

QUARTER_TURNS = np.array([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]], dtype=np.float64)

LEAST_COVERAGE = 0.25
"""If the charts cover less than this share of the square, the space between them may take too much: half is tried,"""

LEAST_GAIN = 1.15
"""and used if the charts then become larger by this factor."""


@dataclass(frozen=True)
class FlatCharts:
    """Charts with a point of their own for every vertex that they use, so that charts share no points."""

    points: Float[np.ndarray, "points 2"]
    """Metres in the plane of the chart; float64."""
    faces: Int[np.ndarray, "faces 3"]
    """Numbers of points, faces in the order of the mesh."""
    chart_of_point: Int[np.ndarray, "points"]
    """Ascending: the points of a chart follow each other."""
    source_vertices: Int[np.ndarray, "points"]
    """The vertex of the mesh that each point belongs to."""

    @classmethod
    def of(cls, charts: Charts, faces: Int[np.ndarray, "faces 3"]) -> FlatCharts:
        """Gives vertices on the borders of charts one point per chart."""
        vertex_count = int(faces.max()) + 1
        keys = charts.chart_of_face[:, None] * vertex_count + faces.astype(np.int64)
        unique_keys, first_corner, point_of_corner = np.unique(keys, return_index=True, return_inverse=True)
        return cls(
            points=charts.corner_uv.reshape(-1, 2)[first_corner],
            faces=point_of_corner.reshape(-1, 3),
            chart_of_point=unique_keys // vertex_count,
            source_vertices=unique_keys % vertex_count,
        )

    def __len__(self) -> int:
        return int(self.chart_of_point[-1]) + 1

    def area(self) -> float:
        """Square metres of all charts, laid flat."""
        a, b, c = self.points[self.faces].transpose(1, 0, 2)
        u, v = b - a, c - a
        return 0.5 * float(np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).sum())


@dataclass(frozen=True)
class Layout:
    """Where each chart lies: `scale * rotation @ point + offset`, in texels of a square texture."""

    scale: float
    """Texels per metre, the same for all charts."""
    rotations: Float[np.ndarray, "charts 2 2"]
    offsets: Float[np.ndarray, "charts 2"]
    padding: float
    """Texels between charts."""

    def place(self, charts: FlatCharts) -> Float[np.ndarray, "points 2"]:
        """The points in texels."""
        rotations = self.rotations[charts.chart_of_point]
        return self.scale * np.einsum("pij,pj->pi", rotations, charts.points) + self.offsets[charts.chart_of_point]


def pack_charts(charts: FlatCharts, texture_size: int, padding: float, scale_steps: int = 8) -> Layout:
    """Packs charts as large as they fit.

    Args:
        texture_size: Side of the square in texels.
        padding: Least distance between two charts, in texels; half of it is kept free along the border. For thousands
            of charts it may be halved, see `LEAST_COVERAGE`; the layout says what was used.
        scale_steps: Halvings of the interval in which the largest scale lies.
    """
    upright = _upright_rotations(charts)
    turned = np.einsum("pij,pj->pi", upright[charts.chart_of_point], charts.points)
    outlines, first_of_chart = _outlines(charts, turned)
    # At the first of these scales the charts would fill the square to the last texel; at the second, one is as long as
    # the square.
    full_scale = texture_size / np.sqrt(max(charts.area(), 1e-30))
    too_large = min(full_scale, texture_size / max(_largest_extent(charts, turned), 1e-15))
    best: Layout | None = None
    while True:
        found: Layout | None = None
        fits_at, misses_at = 0.0, too_large
        for step in range(scale_steps):
            scale = min(0.72 * full_scale, too_large) if step == 0 else (fits_at + misses_at) / 2
            fits, turns, offsets = kernels.drop_charts(outlines, first_of_chart, scale, texture_size, 0.5 * padding)
            if fits:
                fits_at = scale
                found = Layout(scale, QUARTER_TURNS[turns] @ upright, offsets, padding)
            else:
                misses_at = scale
        if best is not None and (found is None or found.scale < LEAST_GAIN * best.scale):
            return best
        best = found
        if best is not None and ((best.scale / full_scale) ** 2 >= LEAST_COVERAGE or padding <= 1):
            return best
        if padding <= 1:
            # More charts than texels, nearly: each takes at least one. On a finer raster they find room.
            finer = pack_charts(charts, 2 * texture_size, padding, scale_steps)
            return Layout(finer.scale / 2, finer.rotations, finer.offsets / 2, finer.padding / 2)
        padding /= 2


def _outlines(charts: FlatCharts, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The borders of the charts as segments float64 [segments, 2 ends, 2], chart after chart, and where each starts."""
    edges = unique_edges_with_faces(torch.from_numpy(charts.faces.astype(np.int32)), len(points))
    border = edges.vertices[edges.faces[:, 1] < 0].numpy()
    chart_of_segment = charts.chart_of_point[border[:, 0]]
    order = np.argsort(chart_of_segment, kind="stable")
    counts = np.bincount(chart_of_segment, minlength=len(charts))
    return points[border[order]], np.concatenate([[0], np.cumsum(counts)])


def _largest_extent(charts: FlatCharts, points: np.ndarray) -> float:
    """The longest side of the boxes around the charts."""
    first_point = np.searchsorted(charts.chart_of_point, np.arange(len(charts)))
    return float((np.maximum.reduceat(points, first_point) - np.minimum.reduceat(points, first_point)).max())


def _upright_rotations(charts: FlatCharts) -> np.ndarray:
    """[charts, 2, 2]: turns each chart so that the box around it has the least area, to within 5 degrees."""
    first_point = np.searchsorted(charts.chart_of_point, np.arange(len(charts)))
    x, y = charts.points.T
    angles = np.deg2rad(np.arange(0, 90, 5))
    box_areas = np.ones((len(angles), len(charts)))
    for angle, areas in zip(angles, box_areas, strict=True):
        for along in (np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y):
            areas *= np.maximum.reduceat(along, first_point) - np.minimum.reduceat(along, first_point)
    box_areas[0] *= 0.98  # a turn has to gain something: charts of round things stay as they are
    best = box_areas.argmin(axis=0)
    cos, sin = np.cos(angles[best]), np.sin(angles[best])
    return np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)
