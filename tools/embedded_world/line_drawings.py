"""Outlines and lines as a hand would draw them: wobbly, in several strokes, with gaps and lines that run on too far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw
from scipy import ndimage

from backend.sketches.sketch import Strokes

_DEPTH_STEP_METRES = 0.08
_CREASE_CHORD = 2 * np.sin(np.radians(35.0) / 2)
"""Between the unit normals of neighbouring pixels that make a crease."""
_PRECISE_SHARE, _OUTLINE_ONLY_SHARE, _SECOND_STROKES_SHARE = 0.15, 0.15, 0.2
"""Of all drawings: with a ruler's precision, without inner lines, with outlines gone over twice."""
_LEFT_OUT_SHARE = 0.2
"""Of the inner lines."""


@dataclass(frozen=True)
class Hand:
    """How it draws; lengths in shares of the picture."""

    wobble: float = 0.006
    """Standard deviation of the lines from where they should be."""
    wobble_length: float = 0.06
    """Over which distance the wobble changes."""
    stroke_length: tuple[float, float] = (0.3, 0.9)
    gap: tuple[float, float] = (-0.02, 0.02)
    """Between the end of a stroke and the next; below zero they overlap."""
    overshoot: float = 0.02
    """How far a stroke may run on straight where it should have ended."""
    line_width: float = 0.008


def some_hand(rng: np.random.Generator) -> Hand:
    """One of many: from precise to hasty, with a fine pen or a broad one."""
    line_width = float(np.exp(rng.uniform(np.log(0.008), np.log(0.025))))
    if rng.random() < _PRECISE_SHARE:
        return Hand(wobble=0.0, gap=(-0.02, 0.0), overshoot=0.0, line_width=line_width)
    wobble = float(np.exp(rng.uniform(np.log(0.002), np.log(0.012))))
    longest_gap, overshoot = float(rng.uniform(0, 0.06)), float(rng.uniform(0, 0.05))
    return Hand(wobble=wobble, gap=(-0.02, longest_gap), overshoot=overshoot, line_width=line_width)


def draw_by_hand(
    mask: Float[np.ndarray, "size size"],
    depths: Float[np.ndarray, "size size"],
    normals: Float[np.ndarray, "size size 3"],
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "size size"]:
    """How much of each pixel is ink, 0 to 255, in a drawing of what was rendered: its outline, and inside of it steps
    in depth and creases, some of which are left out.

    Args:
        mask: Coverage in [0, 1].
        depths: Metres; of no meaning where nothing is.
        normals: Unit normals; of no meaning where nothing is.
    """
    size = len(mask)
    hand = some_hand(rng)
    canvas = Image.new("L", (2 * size, 2 * size))  # twice the pixels, so that thin lines keep their width
    shape = mask > 0.5
    times = 2 if rng.random() < _SECOND_STROKES_SHARE else 1
    if shape.any():
        draw = ImageDraw.Draw(canvas)
        for _ in range(times):
            for stroke, _ in draw_outline(shape, rng, hand).each():
                path = [(2 * size * float(x), 2 * size * (1 - float(y))) for x, y in stroke]
                draw.line(path, fill=255, width=max(1, round(2 * size * hand.line_width)), joint="curve")
    ink = np.asarray(canvas, dtype=np.float32)
    if rng.random() >= _OUTLINE_ONLY_SHARE:
        inner = _inner_lines(mask, depths, normals)
        if inner.any():
            ink = np.maximum(ink, _drawn_over(inner, rng, hand))
    blocks = ink.reshape(size, 2, size, 2).mean(axis=(1, 3))
    return np.rint(np.clip(blocks, 0, 255)).astype(np.uint8)


def _inner_lines(
    mask: Float[np.ndarray, "size size"],
    depths: Float[np.ndarray, "size size"],
    normals: Float[np.ndarray, "size size 3"],
) -> Bool[np.ndarray, "size size"]:
    """Pixels at a step in depth or a crease, away from the silhouette."""
    inside = ndimage.binary_erosion(mask > 0.99, iterations=2)
    lines = np.zeros_like(inside)
    for axis in (0, 1):
        here, there = [slice(None)] * 2, [slice(None)] * 2
        here[axis], there[axis] = slice(None, -1), slice(1, None)
        one, other = tuple(here), tuple(there)
        stepped = np.abs(depths[one] - depths[other]) > _DEPTH_STEP_METRES
        creased = np.linalg.norm(normals[one] - normals[other], axis=-1) > _CREASE_CHORD
        lines[one] |= (stepped | creased) & inside[one] & inside[other]
    return lines


def _drawn_over(
    lines: Bool[np.ndarray, "size size"], rng: np.random.Generator, hand: Hand
) -> Float[np.ndarray, "twice_size twice_size"]:
    """The lines traced by a hand, at twice the resolution, 0 to 255: some left out, some with gaps, all bent."""
    pieces, count = ndimage.label(lines, np.ones((3, 3)))
    is_kept = np.concatenate([[False], rng.random(count) >= _LEFT_OUT_SHARE])
    kept = is_kept[pieces]
    size = len(lines)
    rows, columns = np.nonzero(kept)
    if not len(rows):
        return np.zeros((2 * size, 2 * size), np.float32)
    high, wide = np.ogrid[:size, :size]
    for _ in range(rng.poisson(2.0 if hand.gap[1] > 0 else 0.0)):
        at = int(rng.integers(len(rows)))
        radius = float(rng.uniform(0, max(hand.gap[1], 0.0))) * size
        kept &= (high - rows[at]) ** 2 + (wide - columns[at]) ** 2 > radius**2
    knots = max(4, round(1 / hand.wobble_length) // 2)
    offsets = rng.normal(0, 2 * size * hand.wobble, (2, knots, knots))
    bend = np.stack([ndimage.zoom(each, 2 * size / knots, order=1, grid_mode=True, mode="nearest") for each in offsets])
    places = np.indices((2 * size, 2 * size)) + bend
    doubled = np.kron(kept, np.ones((2, 2))).astype(np.float32) * 255
    drawn = ndimage.map_coordinates(doubled, places, order=1)
    return ndimage.grey_dilation(drawn, size=max(1, round(2 * size * hand.line_width) - 1))


def draw_outline(mask: Bool[np.ndarray, "height width"], rng: np.random.Generator, hand: Hand | None = None) -> Strokes:
    """Strokes along the border of a square silhouette, its holes included."""
    hand = hand or Hand()
    strokes = [
        stroke
        for border in trace_borders(mask)
        if len(border) >= 0.05 * len(mask)
        for stroke in _strokes_along(border / len(mask), rng, hand)
    ]
    points = np.concatenate(strokes)
    points[:, 1] = 1 - points[:, 1]
    return Strokes(points, np.array([len(stroke) for stroke in strokes]), line_width=hand.line_width)


def trace_borders(mask: Bool[np.ndarray, "height width"]) -> list[Float[np.ndarray, "points 2"]]:
    """Closed lines between inside and outside in pixels, y downwards; the first point is not repeated."""
    padded = np.pad(mask, 1).astype(np.int8)
    # Each side of a pixel that separates inside from outside, with the inside on its right.
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}
    across, down = np.diff(padded, axis=1), np.diff(padded, axis=0)
    for row, column in zip(*np.nonzero(across), strict=True):
        top, bottom = (int(column), int(row) - 1), (int(column), int(row))
        begin, end = (bottom, top) if across[row, column] > 0 else (top, bottom)
        following.setdefault(begin, []).append(end)
    for row, column in zip(*np.nonzero(down), strict=True):
        left, right = (int(column) - 1, int(row)), (int(column), int(row))
        begin, end = (left, right) if down[row, column] > 0 else (right, left)
        following.setdefault(begin, []).append(end)
    borders = []
    while following:
        start = next(iter(following))
        border, place = [], start
        while place in following:
            border.append(place)
            ends = following[place]
            beyond = ends.pop()
            if not ends:
                del following[place]
            place = beyond
        borders.append(np.array(border, dtype=np.float64))
    return borders


def _strokes_along(
    border: Float[np.ndarray, "points 2"], rng: np.random.Generator, hand: Hand
) -> list[Float[np.ndarray, "points 2"]]:
    smooth = _smoothed(border, 5)
    lengths = np.linalg.norm(np.diff(smooth, axis=0, append=smooth[:1]), axis=1)
    total = float(lengths.sum())
    wobbly = smooth + _wobble(len(smooth), total, rng, hand)
    along = np.concatenate([[0.0], np.cumsum(lengths)])[:-1]
    begin, strokes = float(rng.uniform(0, total)), []
    first = begin
    while begin < first + total:
        length = float(rng.uniform(*hand.stroke_length))
        end = min(begin + length, first + total)
        at = np.linspace(begin, end, max(3, int((end - begin) * 250)))
        stroke = np.stack([np.interp(at % total, along, wobbly[:, axis], period=total) for axis in (0, 1)], axis=1)
        tangent = stroke[-1] - stroke[-2]
        size = float(np.linalg.norm(tangent))
        if size > 0:
            beyond = stroke[-1] + tangent / size * float(rng.uniform(0, hand.overshoot))
            stroke = np.concatenate([stroke, beyond[None]])
        strokes.append(stroke)
        begin = end + float(rng.uniform(*hand.gap))
        if first + total - begin < 0.03:
            break
    return strokes


def _smoothed(border: Float[np.ndarray, "points 2"], window: int) -> Float[np.ndarray, "points 2"]:
    """Without the steps of pixels."""
    around = np.concatenate([border[-window:], border, border[:window]])
    kernel = np.full(2 * window + 1, 1 / (2 * window + 1))
    return np.stack([np.convolve(around[:, axis], kernel, mode="valid") for axis in (0, 1)], axis=1)


def _wobble(count: int, total: float, rng: np.random.Generator, hand: Hand) -> Float[np.ndarray, "points 2"]:
    """Smooth random offsets that end as they begin."""
    knots = max(4, int(total / hand.wobble_length))
    values = rng.normal(0, hand.wobble, (knots, 2))
    at = np.linspace(0, knots, count, endpoint=False)
    left, share = np.floor(at).astype(int), (at % 1)[:, None]
    blend = share**2 * (3 - 2 * share)
    return values[left % knots] * (1 - blend) + values[(left + 1) % knots] * blend
