"""Outlines as a hand would draw them: wobbly, in several strokes, with gaps and lines that run on too far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from backend.sketches.sketch import Strokes


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
