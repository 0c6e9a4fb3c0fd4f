"""How far two solids fill the same space, once one is turned about the vertical, scaled and moved onto the other.

What a prompt asks for has no size and no heading of its own, so neither counts against a mesh; its pose otherwise does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import map_coordinates

from backend.evaluation.occupancy import OccupancyGrid, bounding_box, inside_of_cells, occupancy_grid
from backend.geometry.triangle_mesh import TriangleMesh

CELLS = 96
_COARSE_YAWS_DEGREES = np.arange(0.0, 360.0, 5.0)
_COARSE_SCALES = (0.8, 0.9, 1.0, 1.1, 1.25)
"""Relative to the scale at which both have the same volume."""
_STARTS = 3
_FIRST_STEPS = np.array([2.5, 0.06, 0.03, 0.03, 0.03])
"""Degrees; share of the scale; shift along each axis as a share of the reference's longest side."""
_HALVINGS = 6
_MOST_POINTS = 8000
_COARSE_SHARE = 8  # of the points, one in so many is enough to find where to begin


@dataclass(frozen=True)
class VolumeOverlap:
    """The best alignment that was found."""

    iou: float
    """Volume of the intersection over that of the union, 0 to 1."""
    yaw_degrees: float
    """Turn about +Y that brings the mesh onto the reference, 0 to 360: what faced +Z then faces +X at 90."""
    scale: float
    """The mesh times this is as large as the reference."""


def volume_iou(mesh: TriangleMesh, reference: TriangleMesh, cells: int = CELLS) -> VolumeOverlap:
    """Intersection over union of two solids after the best yaw, uniform scale and shift.

    Yaws are tried every 5 degrees over the full circle and scales from 0.8 to 1.25 times equal volume, with the centres
    of mass laid on each other; the three best are refined by coordinate descent. The IoU itself is then counted on a
    common grid. It takes about a second.

    Args:
        cells: Along the longest side of the box that is counted in; the search uses grids as fine.

    Raises:
        ValueError: One of the meshes has no faces, or no extent.
    """
    solid, target = occupancy_grid(mesh, cells), occupancy_grid(reference, cells)
    if not solid.inside.any() or not target.inside.any():
        return VolumeOverlap(0.0, 0.0, 1.0)
    search = _Search(solid, target)
    best = max((search.refined(start) for start in search.coarse_starts()), key=search.iou)
    yaw, scale = float(best[0]) % 360, float(best[1])
    moved = TriangleMesh(
        torch.from_numpy(search.moved(mesh.positions.detach().cpu().double().numpy(), best)), mesh.faces
    )
    return VolumeOverlap(_counted_iou(moved, reference, cells), yaw, scale)


class _Search:
    """Estimates the IoU of an alignment from points inside the mesh, looked up in the grid of the reference.

    An alignment is (yaw in degrees, scale, shift x, y, z in metres) about the centres of mass.
    """

    def __init__(self, solid: OccupancyGrid, target: OccupancyGrid) -> None:
        points = solid.points()
        self._centre, self._target_centre = points.mean(axis=0), target.points().mean(axis=0)
        # In a random order: every nth cell of a grid would be a pattern of planes.
        chosen = np.random.default_rng(0).choice(len(points), min(_MOST_POINTS, len(points)), replace=False)
        self._points = points[chosen]
        self._volume, self._target_volume = solid.volume, target.volume
        self._target = target
        self._density = target.inside.astype(np.float32)

    def moved(self, points: Float[np.ndarray, "points 3"], alignment: np.ndarray) -> Float[np.ndarray, "points 3"]:
        yaw, scale = np.radians(alignment[0]), alignment[1]
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        return (points - self._centre) @ turn.T * scale + self._target_centre + alignment[2:]

    def iou(self, alignment: np.ndarray, every: int = 1) -> float:
        at = (self.moved(self._points[::every], alignment) - self._target.origin) / self._target.cell_metres
        share = float(map_coordinates(self._density, at.T, order=1, mode="constant").mean())
        volume = self._volume * alignment[1] ** 3
        return share * volume / (volume + self._target_volume - share * volume)

    def coarse_starts(self) -> list[np.ndarray]:
        """The best alignments of the coarse search, no two within 15 degrees of each other."""
        equal = float(np.cbrt(self._target_volume / self._volume))
        tried = [np.array([yaw, equal * factor, 0, 0, 0]) for yaw in _COARSE_YAWS_DEGREES for factor in _COARSE_SCALES]
        ranked = sorted(tried, key=lambda alignment: -self.iou(alignment, _COARSE_SHARE))
        starts: list[np.ndarray] = []
        for alignment in ranked:
            if all(abs((alignment[0] - other[0] + 180) % 360 - 180) > 15 for other in starts):
                starts.append(alignment)
        return starts[:_STARTS]

    def refined(self, start: np.ndarray) -> np.ndarray:
        """Coordinate descent with halving steps."""
        longest = max(self._target.inside.shape) * self._target.cell_metres
        steps = _FIRST_STEPS * np.array([1, start[1], longest, longest, longest])
        best, best_iou = start, self.iou(start)
        for _ in range(_HALVINGS):
            for axis in range(len(steps)):
                for sign in (-1, 1):
                    tried = best.copy()
                    tried[axis] += sign * steps[axis]
                    if (found := self.iou(tried)) > best_iou:
                        best, best_iou = tried, found
            steps = steps / 2
        return best


def _counted_iou(mesh: TriangleMesh, reference: TriangleMesh, cells: int) -> float:
    """On the cells of a box around both."""
    boxes = [bounding_box(each) for each in (mesh, reference)]
    low, high = np.min([box[0] for box in boxes], axis=0), np.max([box[1] for box in boxes], axis=0)
    cell_metres = float((high - low).max()) / cells
    counts = np.ceil((high - low) / cell_metres).astype(int)
    first, second = (inside_of_cells(each, low + cell_metres / 2, cell_metres, counts) for each in (mesh, reference))
    return float((first & second).sum() / max((first | second).sum(), 1))
