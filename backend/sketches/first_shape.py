"""A first shape from outlines alone: what all of them allow, made round where they do not say how deep it is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage

from backend.errors import BadInput
from backend.geometry.components import remove_floaters
from backend.geometry.dmtet import DMTet, DMTetConfig
from backend.geometry.mesh_input import Placement
from backend.geometry.placed_mesh import PlacedMesh
from backend.geometry.tetrahedral_grid import TetrahedralGrid
from backend.geometry.triangle_mesh import TriangleMesh
from backend.render.contours import render_masks
from backend.render.rasteriser import Rasteriser
from backend.sketches.camera import posed
from backend.sketches.drawing import Drawing, coverage

CELLS = 64
"""Of the lattice that the shape is found on."""
ROUNDNESS = 3.0
"""Exponent of the cross-section between two outlines: 2 is an ellipse, 4 nearly a box."""
SAME_SIDE_DEGREES = 25.0
_CROSSING_DEGREES = (60.0, 120.0)
_LEVEL_DEGREES = 15.0
_LEAST_PART = 0.05
"""Loose parts that are smaller, relative to the largest, are crumbs."""
_CONTRADICTION = 0.12
"""Share of a drawn shape that another drawing cuts away before it is told."""


@dataclass(frozen=True)
class _Seen:
    """What a drawing says about the points of a lattice, all [points]."""

    signed: np.ndarray
    """Metres to the border of the shape as seen, negative inside."""
    middle: np.ndarray
    """How near the middle of its row the point is: 0 at the left and right ends of the shape, 1 halfway."""
    thickness: np.ndarray
    """Radius in metres of the largest disc in the shape around what the point is seen at."""


def first_shape(drawings: Sequence[Drawing]) -> PlacedMesh:
    """The visual hull of the drawn shapes, on the CPU.

    Two outlines from around the horizon leave a rectangular cross-section; it becomes a superellipse, which fills
    both outlines all the same. Where all look from one side, the shape is as deep as it is wide around each place.

    Raises:
        BadInput: No drawing has a shape, or together they leave nothing.
    """
    shaped = [drawing for drawing in drawings if drawing.shape is not None]
    if not shaped:
        raise BadInput("none of the sketches encloses a shape to begin with; draw an outline, or give a mesh")
    grid = TetrahedralGrid(CELLS)
    points = grid.positions().view(-1, 3)
    return _hull(shaped, [_look(drawing, points) for drawing in shaped], grid)


def _hull(shaped: Sequence[Drawing], seen: Sequence[_Seen], grid: TetrahedralGrid) -> PlacedMesh:
    """See `first_shape`.

    Args:
        seen: What each of the drawings says about the points of the grid.
    """
    values = np.max([each.signed for each in seen], axis=0)
    axes = np.array([_backward_axis(drawing) for drawing in shaped])
    if _look_along_one_line(axes):
        values = np.maximum(values, _depth_bound(seen, axes, grid.positions().view(-1, 3).double().numpy()))
    else:
        for first, second in _rounded_pairs(shaped):
            values = np.maximum(values, _cross_section_bound(seen[first], seen[second]))
    if (values < 0).sum() < 8:
        raise BadInput(
            "the outlines leave no shape that fits all of them: check from which side each was drawn ("
            + ", ".join(drawing.name for drawing in shaped)
            + ")"
        )
    mesh = _marched(values.reshape((grid.side,) * 3), grid)
    return PlacedMesh(
        mesh.positions.double().numpy(), mesh.faces.long().numpy(), Placement(centre=(0.0, 0.0, 0.0), scale=1.0)
    )


def tell_contradictions(
    rasteriser: Rasteriser,
    drawings: Sequence[Drawing],
    notice: Callable[[str], None],
    new: Collection[str] | None = None,
) -> None:
    """Says of each pair of outlines by how much no object can fit both.

    Args:
        new: Only pairs with one of these names are looked at, the others having been told of; None for all pairs.
    """
    shaped = [drawing for drawing in drawings if drawing.shape is not None]
    if len(shaped) < 2:
        return
    grid = TetrahedralGrid(CELLS)
    points = grid.positions().view(-1, 3)
    # Once for each drawing: to look is nearly all that a hull costs.
    seen = [_look(drawing, points) for drawing in shaped]
    for first, second in combinations(range(len(shaped)), 2):
        pair = (shaped[first], shaped[second])
        if new is not None and not any(drawing.name in new for drawing in pair):
            continue
        try:
            hull = _hull(pair, (seen[first], seen[second]), grid).triangle_mesh()
        except BadInput:
            notice(f"the sketches {pair[0].name} and {pair[1].name} contradict each other: no shape fits both")
            continue
        masks = render_masks(rasteriser, hull, posed([drawing.camera for drawing in pair]), 128)[..., 0].numpy()
        for drawing, other, mask in zip(pair, pair[::-1], masks, strict=True):
            assert drawing.shape is not None
            wanted = coverage(drawing.shape, 128)
            lost = float(np.clip(wanted - mask, 0, 1).sum() / wanted.sum())
            if lost > _CONTRADICTION:
                notice(
                    f"the sketches {drawing.name} and {other.name} contradict each other: {lost:.0%} of what "
                    f"{drawing.name} shows lies where {other.name} leaves no room; both count by their weights"
                )


def _look(drawing: Drawing, points: torch.Tensor) -> _Seen:
    assert drawing.shape is not None
    cameras = posed([drawing.camera])
    place = cameras.project(points)[0].double().numpy()
    size = len(drawing.shape)
    rows, columns = ((place[:, axis] + 1) / 2 * size - 0.5 for axis in (1, 0))
    at = np.stack([rows, columns])
    depth = -(points.double() @ cameras.view_matrices()[0, 2, :3].double() + cameras.view_matrices()[0, 2, 3].double())
    reach = cameras.half_heights[0].item() * (1.0 if bool(cameras.is_orthographic[0]) else depth.numpy())
    metres = 2 * reach  # that the picture's height spans at each point

    def look_up(field: np.ndarray, order: int = 1) -> np.ndarray:
        return ndimage.map_coordinates(field, at, order=order, mode="nearest")

    signed = look_up(drawing.signed_distances())
    outside = np.maximum(np.abs(place).max(axis=1) - 1, 0) / 2  # beyond the picture there is nothing
    return _Seen(
        signed=(signed + outside) * metres,
        middle=look_up(_middles(drawing.shape)),
        thickness=look_up(local_thickness(drawing.shape)) / size * metres,
    )


def _middles(shape: Bool[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """For each pixel of a run along its row, 1 in the middle of the run and 0 at its ends and outside."""
    middles = np.zeros(shape.shape)
    padded = np.pad(shape, ((0, 0), (1, 1))).astype(np.int8)
    steps = np.diff(padded, axis=1)
    for row in range(len(shape)):
        for begin, end in zip(np.nonzero(steps[row] == 1)[0], np.nonzero(steps[row] == -1)[0], strict=True):
            across = (np.arange(begin, end) + 0.5 - begin) / (end - begin)
            middles[row, begin:end] = 1 - np.abs(2 * across - 1)
    return middles


def local_thickness(shape: Bool[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Radius in pixels of the largest disc within the shape that covers each pixel; 0 outside."""
    depth = ndimage.distance_transform_edt(np.pad(shape, 1))[1:-1, 1:-1]
    thickness = depth.copy()
    radius = float(depth.max())
    while radius > 1.5:
        # Every level of radii that differ by a tenth: finer ones would not be seen.
        covered = ndimage.distance_transform_edt(depth < radius) < radius
        thickness = np.where(covered, np.maximum(thickness, radius), thickness)
        radius *= 0.9
    return thickness * shape


def _depth_bound(seen: Sequence[_Seen], axes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How far points lie behind or before a shape that is as deep as it is wide; metres, negative inside."""
    bounds = []
    for each, axis in zip(seen, axes, strict=True):
        thickness = np.maximum(each.thickness, 1e-6)
        across = np.clip(1 + each.signed / thickness, 0, 1)  # 0 in the middle, 1 at the border
        half_depth = thickness * np.sqrt(1 - across**2)
        bounds.append(np.abs(points @ axis) - half_depth)
    return np.min(bounds, axis=0)


def _cross_section_bound(first: _Seen, second: _Seen) -> np.ndarray:
    """Outside of the superellipse between the ends of two rows; metres to first order, negative inside."""
    across = ((1 - first.middle) ** ROUNDNESS + (1 - second.middle) ** ROUNDNESS) ** (1 / ROUNDNESS)
    return (across - 1) * np.minimum(first.thickness, second.thickness).clip(min=0.01)


def _backward_axis(drawing: Drawing) -> np.ndarray:
    return np.array([drawing.camera.camera_to_world[4 * row + 2] for row in range(3)])


def _look_along_one_line(axes: np.ndarray) -> bool:
    return bool((np.abs(axes @ axes[0]) > np.cos(np.radians(SAME_SIDE_DEGREES))).all())


def _rounded_pairs(drawings: Sequence[Drawing]) -> list[tuple[int, int]]:
    """Pairs from around the horizon whose cross-section nobody has drawn."""
    angles = [drawing.camera.angles_degrees for drawing in drawings]
    if any(abs(elevation) > 90 - SAME_SIDE_DEGREES for _, elevation in angles):
        return []
    level = [index for index, (_, elevation) in enumerate(angles) if abs(elevation) < _LEVEL_DEGREES]
    low, high = _CROSSING_DEGREES
    return [
        (first, second)
        for first, second in combinations(level, 2)
        if low <= (angles[first][0] - angles[second][0]) % 180 <= high
    ]


def _marched(values: Float[np.ndarray, "side side side"], grid: TetrahedralGrid) -> TriangleMesh:
    """The surface, without loose crumbs; the values need no more than the right sign and slope near it."""
    smooth = ndimage.gaussian_filter(np.clip(values, -4 * grid.cell_metres, 4 * grid.cell_metres), 0.7)
    # Smoothing must not swallow parts that are thinner than two cells.
    is_lost = (values < 0) & (smooth >= 0)
    smooth = np.where(is_lost, np.minimum(values, -0.05 * grid.cell_metres), smooth)
    lattice = DMTet(DMTetConfig(resolution=grid.resolution))
    lattice.initialise_from(torch.from_numpy(smooth).float())
    with torch.no_grad():
        return remove_floaters(lattice.extract_mesh().detach(), _LEAST_PART)
