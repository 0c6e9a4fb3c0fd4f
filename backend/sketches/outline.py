"""From lines to the shape that they enclose: gaps of a shaky outline are closed, holes stay holes."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from backend.errors import BadInput
from backend.sketches.sketch import SketchKind

GAP_SHARES = (0.0, 0.004, 0.008, 0.015, 0.025, 0.04, 0.06)
"""Half the widths of the gaps that are closed, as shares of the picture; the narrower are tried first."""
_LEAST_SHARE = 0.004  # of the picture that a shape must cover
_CLOSED_SHARE = 0.6
"""A closing is wide enough if it encloses this much of what the widest one encloses."""
_PART_SHARE = 0.02
"""Of the shape, that a part has which is worth a bridge."""
_UNDRAWN_SHARE = 0.1
"""Of its border, that may be a bridge."""
_OVERSHOOT_SHARE = 0.04
"""Of the picture, by which lines run on past others."""
_CIRCLE_POINTS = 48
_SPECK_SHARE = 2e-4
_FILLED_LINE_SHARE = 0.03
"""What is thicker than this share of the picture is no line but a shape that was filled."""
_LEAST_BORDER_PIXELS = 4

Mask = Bool[np.ndarray, "height width"]


def silhouette(ink: Mask, drawn: SketchKind, name: str) -> Mask:
    """The shape inside of an outline, on the same pixels; its border runs along the middle of the lines.

    Lines of an outline part inside from outside, so that a ring within it is a hole. In a drawing of lines, where some
    are creases, all that is enclosed belongs to the shape. A filled shape is taken as it is.

    Args:
        name: Of the sketch, for the message.

    Raises:
        BadInput: The lines enclose nothing, even with gaps closed; or the shape touches the border on all sides.
    """
    if _is_filled(ink):
        return _without_small_parts(ink)
    size = len(ink)
    closings = [_enclosed(ink, round(share * size), drawn) for share in GAP_SHARES]
    widest = max(int(closing.sum()) for closing in closings)
    if widest < max(_LEAST_SHARE * ink.size, 0.5 * int(ink.sum())):
        raise BadInput(
            f"the outline of the sketch {name} cannot be closed: its lines enclose nothing, even if gaps of up to "
            f"{2 * GAP_SHARES[-1]:.0%} of the picture are bridged. Draw it around the whole shape"
        )
    shape = next(each for each in closings if int(each.sum()) >= _CLOSED_SHARE * widest)
    return _without_small_parts(_with_open_parts(shape, ink, drawn))


def _with_open_parts(shape: Mask, ink: Mask, drawn: SketchKind) -> Mask:
    """The shape with parts that have a gap of their own, such as a handle beside a body that is closed.

    A gap is where a line ends: only there is anything bridged, so that what lies between two legs stays open. The
    narrowest bridges that add a part are taken, and the lines that end there are done with. Holes stay: they were
    closed already.
    """
    ends = _line_ends(ink)
    for share in GAP_SHARES[1:]:
        if not ends.any():
            break
        reach = 2 * share * len(ink)  # so that a line may end that far from another one's middle
        bridged = _enclosed(ink | _within(ends, reach), 0, drawn)
        added = _large_parts(bridged & ~ndimage.binary_fill_holes(shape), shape, ink)
        if added.any():
            clusters, _ = ndimage.label(ends, np.ones((3, 3)))
            used = np.isin(clusters, clusters[_within(added, reach + 2) & ends])
            ink, ends = ink | _within(used, reach), ends & ~used
            shape = _enclosed(ink, 0, drawn)
    return shape


def _within(mask: Mask, reach_pixels: float | int) -> Mask:
    return ndimage.distance_transform_edt(~mask) <= reach_pixels if mask.any() else np.zeros_like(mask)


def _large_parts(mask: Mask, shape: Mask, ink: Mask) -> Mask:
    """The parts of a mask that are worth a bridge to a shape: of some area, thicker than a line, bordered by lines."""
    if not mask.any():
        return mask
    parts, count = ndimage.label(mask)
    numbers = np.arange(1, count + 1)
    line = _FILLED_LINE_SHARE * len(mask) / 2
    depths = ndimage.maximum(ndimage.distance_transform_edt(mask), parts, numbers)
    # What a bridge alone fills, such as the inlet beside a line that runs on too far, is mostly bordered by the bridge.
    border = mask & ~ndimage.binary_erosion(mask)
    undrawn = ndimage.mean(ndimage.distance_transform_edt(~ink)[border] > line, parts[border], numbers)
    is_large = np.bincount(parts.ravel())[1:] >= _PART_SHARE * shape.sum()
    return np.isin(parts, numbers[is_large & (np.asarray(depths) > line) & (np.asarray(undrawn) < _UNDRAWN_SHARE)])


def _line_ends(ink: Mask) -> Mask:
    """Pixels of lines that end nearby: a small circle around them meets ink on one side alone.

    Not where a line runs on a little past another one: there is no gap beyond.
    """
    width = 2 * float(np.percentile(_depth(ink)[ink], 90))
    radius = max(4.0, 1.25 * width)
    rows, columns = np.nonzero(ink)
    angles = np.linspace(0, 2 * np.pi, _CIRCLE_POINTS, endpoint=False)
    margin = math.ceil(radius) + 1
    around = np.pad(ink, margin)[
        np.rint(rows[:, None] + margin + radius * np.sin(angles)).astype(int),
        np.rint(columns[:, None] + margin + radius * np.cos(angles)).astype(int),
    ]
    sides = (around & ~np.roll(around, 1, axis=1)).sum(axis=1)
    ends, crossings = np.zeros_like(ink), np.zeros_like(ink)
    ends[rows, columns], crossings[rows, columns] = sides <= 1, sides >= 3
    numbers, _ = ndimage.label(crossings, np.ones((3, 3)))
    crossings &= (np.bincount(numbers.ravel()) > 2 * radius)[numbers]  # single pixels are the steps of slanted lines
    pieces, _ = ndimage.label(ink & ~_within(crossings, radius), np.ones((3, 3)))
    is_stub = np.bincount(pieces.ravel()) < _OVERSHOOT_SHARE * len(ink) * width
    is_stub[0] = True
    return ends & ~is_stub[pieces]


def _is_filled(ink: Mask) -> bool:
    """Whether most of the ink lies in areas and not in lines."""
    line = _FILLED_LINE_SHARE * len(ink) / 2
    solid = _within(_depth(ink) > line, line)
    return bool((solid & ink).sum() > 0.3 * ink.sum())


def _depth(mask: Mask) -> Float[np.ndarray, "height width"]:
    """Distance of each of its pixels to what is outside, which goes on beyond the picture."""
    return ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]


def _enclosed(ink: Mask, reach: int, drawn: SketchKind) -> Mask:
    """What lies inside once all lines are `reach` pixels thicker on both sides."""
    # A margin, so that the outside is one region whatever touches the border.
    ink = np.pad(ink, reach + 2)
    walls = _within(ink, reach) if reach else ink
    regions, _ = ndimage.label(~walls)
    sizes = np.bincount(regions.ravel())
    is_speck = sizes < _SPECK_SHARE * ink.size
    is_speck[0] = True
    regions[is_speck[regions]] = 0
    if not regions.any():
        return np.zeros_like(ink)[reach + 2 : -reach - 2, reach + 2 : -reach - 2]
    # Each pixel of a line goes to the nearest region: borders come to run along the middle of the lines.
    nearest = ndimage.distance_transform_edt(regions == 0, return_distances=False, return_indices=True)
    regions = regions[tuple(nearest)]
    outside = int(regions[0, 0])
    depth = _depths(regions, outside) if drawn == "outline" else (np.arange(regions.max() + 1) != outside).astype(int)
    inside = (depth % 2 == 1)[regions]
    return inside[reach + 2 : -reach - 2, reach + 2 : -reach - 2]


def _depths(regions: Int[np.ndarray, "height width"], outside: int) -> Int[np.ndarray, "regions"]:
    """How many lines lie between each region and the outside; 0 for numbers that are not used."""
    pairs = np.concatenate(
        [
            np.stack([regions[:-1].ravel(), regions[1:].ravel()], axis=1),
            np.stack([regions[:, :-1].ravel(), regions[:, 1:].ravel()], axis=1),
        ]
    )
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    borders, lengths = np.unique(pairs, axis=0, return_counts=True)
    borders = borders[lengths >= _LEAST_BORDER_PIXELS]
    depths = np.full(int(regions.max()) + 1, -1)
    depths[outside] = 0
    front, depth = {outside}, 0
    while front:
        depth += 1
        beside = {int(b if a in front else a) for a, b in borders if (a in front) != (b in front)}
        front = {region for region in beside if depths[region] < 0}
        depths[list(front)] = depth
    return np.maximum(depths, 0)


def _without_small_parts(mask: Mask) -> Mask:
    """Loops where lines overshoot are no parts of a shape."""
    labels, count = ndimage.label(mask)
    if count <= 1:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= 0.01 * sizes.max())[labels] & mask
