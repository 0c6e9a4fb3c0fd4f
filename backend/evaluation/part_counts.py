"""Parts counted on the solid: legs, tunnels such as a mug's handle, and the backs of a chair. Y is up.

Each is defined by cross-sections or topology alone, so that a wrong mesh has a wrong count whatever a classifier sees.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

from backend.evaluation.occupancy import OccupancyGrid

LEG_HEIGHTS = (0.08, 0.20)
"""Shares of the height between which legs are counted: above feet and bumps, below rungs and the seat."""
SMALLEST_LEG_SHARE = 0.1
"""Of the area of the thickest leg in a cross-section; what is thinner is a splinter."""

SMALLEST_TUNNEL_SHARE = 0.06
"""Of the longest side: tunnels narrower than this are pin holes, not handles."""

SEAT_AREA_SHARE = 0.8
"""The seat is the highest cross-section that has at least this share of the largest one's area."""
BACK_HEIGHTS = (0.3, 0.9)
"""Shares of the height above the seat between which backs are counted."""
SMALLEST_BACK_SHARE = 0.2
"""Of the whole height: what rises less above the seat is no back."""
_BACK_ARC_DEGREES = 180.0
_DIRECTIONS = 72


def leg_count(grid: OccupancyGrid) -> int:
    """How many separate parts the solid stands on: the most frequent number of parts of a low cross-section.

    1 for a cylinder or a mushroom, 4 for a table. 0 for an empty solid.
    """
    solid = grid.tight()
    heights = _between(solid, LEG_HEIGHTS)
    counts = [_part_count(solid[:, height]) for height in heights]
    return int(np.bincount(counts).argmax()) if counts else 0


def tunnel_count(grid: OccupancyGrid, smallest_share: float = SMALLEST_TUNNEL_SHARE) -> int:
    """How many tunnels lead through the solid: 1 for a donut or a mug with its handle, 0 for a ball or a bottle.

    The tunnels of the solid and of the solid closed (dilated, then eroded) by balls of growing radius are counted, and
    the least number is returned: closing fills narrow tunnels, but may bridge a narrow bay into a new one.

    Args:
        smallest_share: Tunnels count from this width on, as a share of the solid's longest side.
    """
    solid = grid.tight()
    largest_radius = smallest_share * max(solid.shape) / 2
    radii = [0.0, *np.arange(1.0, largest_radius, 0.5).tolist(), largest_radius]
    return min(_tunnels(_closed(solid, radius)) for radius in radii)


def back_count(grid: OccupancyGrid) -> int:
    """How many backs a seat has: the least number of arcs of under 180 degrees that hold all that rises above it.

    0 for a stool, 1 for a chair, with a back of one piece or of two posts, 2 for one with backs at two opposite sides,
    and at least 2 where a wall runs around. Directions are seen from the middle of the seat.
    """
    solid = grid.tight()
    if solid.size == 0:
        return 0
    areas = solid.sum(axis=(0, 2))
    seat = int(np.nonzero(areas >= SEAT_AREA_SHARE * areas.max())[0].max())
    above = solid[:, seat + 1 :]
    if above.shape[1] < SMALLEST_BACK_SHARE * solid.shape[1]:
        return 0
    middle = np.argwhere(solid[:, seat]).mean(axis=0)
    counts = [_half_circles(_directions(above[:, height], middle)) for height in _between(above, BACK_HEIGHTS)]
    return int(np.bincount(counts).argmax()) if counts else 0


def _between(solid: Bool[np.ndarray, "x y z"], shares: tuple[float, float]) -> range:
    """Indices of the layers whose middle lies between two shares of the height."""
    height = solid.shape[1]
    return range(int(np.ceil(shares[0] * height - 0.5)), int(np.floor(shares[1] * height - 0.5)) + 1)


def _parts(section: Bool[np.ndarray, "x z"]) -> np.ndarray:
    """[x, z], the number of the part, without splinters, which are 0 as what is empty."""
    labels, _ = ndimage.label(section, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    is_splinter = areas < SMALLEST_LEG_SHARE * areas.max()
    return np.where(is_splinter[labels], 0, labels)


def _part_count(section: Bool[np.ndarray, "x z"]) -> int:
    return int(np.count_nonzero(np.unique(_parts(section)))) if section.any() else 0


def _directions(section: Bool[np.ndarray, "x z"], middle: np.ndarray) -> Bool[np.ndarray, "directions"]:
    """In which directions from the middle a cross-section has material."""
    if not section.any():
        return np.zeros(_DIRECTIONS, dtype=bool)
    x, z = (np.argwhere(_parts(section) > 0) - middle).T
    taken = np.zeros(_DIRECTIONS, dtype=bool)
    taken[((np.arctan2(x, z) / (2 * np.pi)) % 1 * _DIRECTIONS).astype(int) % _DIRECTIONS] = True
    return taken


def _half_circles(taken: Bool[np.ndarray, "directions"]) -> int:
    """The least number of arcs of under 180 degrees that hold all taken directions."""
    places = np.nonzero(taken)[0]
    reach = int(_BACK_ARC_DEGREES / 360 * len(taken))

    def arcs_from(first: int) -> int:
        # An arc that begins at a taken direction and goes as far as it may is never worse than a shorter one.
        offsets, arcs = np.sort((places - first) % len(taken)), 0
        while len(offsets):
            offsets = offsets[offsets >= offsets[0] + reach]
            arcs += 1
        return arcs

    return min((arcs_from(int(first)) for first in places), default=0)


def _closed(solid: Bool[np.ndarray, "x y z"], radius: float) -> Bool[np.ndarray, "padded_x padded_y padded_z"]:
    """Dilated and eroded again by a ball, its radius in cells; with room around it."""
    margin = int(np.ceil(radius)) + 1
    padded = np.pad(solid, margin)
    if radius == 0 or not solid.any():
        return padded
    dilated = ndimage.distance_transform_edt(~padded) <= radius
    return ndimage.distance_transform_edt(dilated) > radius


def _tunnels(solid: Bool[np.ndarray, "x y z"]) -> int:
    """First Betti number: parts + cavities - Euler characteristic. Cells that touch in a corner are connected."""
    _, part_count = ndimage.label(solid, structure=np.ones((3, 3, 3)))
    _, outside_count = ndimage.label(~np.pad(solid, 1))
    return part_count + (outside_count - 1) - _euler_characteristic(solid)


def _euler_characteristic(solid: Bool[np.ndarray, "x y z"]) -> int:
    """Corners - edges + squares - cubes of the union of closed cubes."""
    total = 0
    padded = np.pad(solid, 1)
    for axes in ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)):
        cells = padded
        for axis in axes:  # an element that lies between cells belongs to the solid if one of them does
            before, after = [slice(None)] * 3, [slice(None)] * 3
            before[axis], after[axis] = slice(None, -1), slice(1, None)
            cells = cells[tuple(before)] | cells[tuple(after)]
        total += (-1) ** (3 - len(axes)) * int(cells.sum())
    return total
