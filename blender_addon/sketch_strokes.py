# SPDX-License-Identifier: GPL-3.0-or-later
"""From strokes in the scene to strokes in a picture: numbers only, without Blender.

A picture has x to the right and y upwards, both from 0 to 1 across it; its camera looks along its own -Z, with its own
+Y up. That is how the protocol has sketches, see `protocol.sketches`.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

THINNED_ABOVE = 20_000
"""Points of a sketch above which those that no server tells apart are left out."""
THUMBNAIL_PIXELS = 96
"""A side."""
_CELLS = 2048
"""Points of one stroke in the same cell of so many across the picture are one point, where points are left out."""
_LOWEST, _HIGHEST = -10.0, 11.0
_LEAST_CHROMA = 40
"""Between the largest and the smallest of red, green and blue of what is no grey, of 255."""
_WIDTHS = (1e-4, 0.5)


@dataclass(frozen=True)
class View:
    """From where a sketch is seen, and what its picture shows."""

    camera_to_world: tuple[float, ...]
    """4 x 4, row by row: rotation and place, without scale."""
    projection: Literal["perspective", "orthographic"] = "perspective"
    fov_degrees: float = 40.0
    """Vertical, of the whole picture; of perspective views."""
    height_metres: float = 2.0
    """What the height of the picture spans; of orthographic views."""
    shift: tuple[float, float] = (0.0, 0.0)
    """By how much of its height the picture is moved to the right and upwards."""
    aspect: float = 1.0
    """Width of the picture divided by its height."""

    @property
    def matrix(self) -> np.ndarray:
        """float64 [4, 4], from the camera's coordinates to the scene's."""
        return np.array(self.camera_to_world, np.float64).reshape(4, 4)

    @property
    def is_flat(self) -> bool:
        return self.projection == "orthographic"

    def half_height(self, depth: np.ndarray) -> np.ndarray:
        """Half of what the picture's height spans at these distances before the camera, in metres."""
        if self.is_flat:
            return np.full(np.shape(depth), self.height_metres / 2)
        return np.asarray(depth) * math.tan(math.radians(self.fov_degrees) / 2)


@dataclass(frozen=True)
class Strokes:
    """Polylines in the scene, one after the other."""

    points: np.ndarray
    """float64 [points, 3], metres."""
    lengths: np.ndarray
    """int64 [strokes]: how many of the points each has."""
    radii: np.ndarray
    """float64 [points], metres."""
    opacity: np.ndarray
    """float64 [points], 0 to 1."""
    colours: np.ndarray
    """uint8 [strokes, 3], sRGB."""


@dataclass(frozen=True)
class Picture:
    """Strokes as a camera sees them, as the protocol has them."""

    points: np.ndarray
    """float32 [points, 2], -10 to 11."""
    lengths: np.ndarray
    """int32 [strokes]."""
    pressure: np.ndarray
    """float32 [points], 0 to 1."""
    colours: np.ndarray | None
    """uint8 [strokes, 3], sRGB; None if all are greys, which are no hints."""
    line_width: float
    """Of a stroke at full pressure, as a share of the picture's height."""
    inside: float
    """Share of the drawn points that are inside the picture."""


def view_from_matrices(view_matrix: np.ndarray, window_matrix: np.ndarray) -> View:
    """What a viewport or a camera shows, from its matrices.

    Args:
        view_matrix: [4, 4], from the scene to the camera's coordinates.
        window_matrix: [4, 4], from there to -1 .. 1 across the picture, as OpenGL has it.
    """
    window = np.asarray(window_matrix, np.float64)
    aspect = window[1, 1] / window[0, 0]
    view = View(rigid(np.linalg.inv(np.asarray(view_matrix, np.float64))), aspect=aspect)
    if window[3, 3] != 0:  # the last row of a perspective matrix is 0 0 -1 0
        shift = (-window[0, 3] / 2 * aspect, -window[1, 3] / 2)
        return replace(view, projection="orthographic", height_metres=2 / window[1, 1], shift=shift)
    shift = (window[0, 2] / 2 * aspect, window[1, 2] / 2)
    return replace(view, fov_degrees=math.degrees(2 * math.atan(1 / window[1, 1])), shift=shift)


def rigid(matrix: np.ndarray) -> tuple[float, ...]:
    """The rotation nearest to a matrix's, and its place, row by row: no scale, no mirroring."""
    given = np.asarray(matrix, np.float64)
    left, _, right = np.linalg.svd(given[:3, :3])
    if np.linalg.det(left @ right) < 0:
        left[:, 2] *= -1
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = left @ right, given[:3, 3]
    return tuple(float(number) for number in result.reshape(-1))


def project(view: View, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where points are in the picture.

    Args:
        points: float [points, 3], metres.

    Returns:
        float64 [points, 2], and how far before the camera each is, float64 [points], metres. Points that a perspective
        camera has behind it are NaN.
    """
    matrix = view.matrix
    seen = (np.asarray(points, np.float64) - matrix[:3, 3]) @ matrix[:3, :3]
    depth = -seen[:, 2]
    half = view.half_height(depth)
    if not view.is_flat:
        half = np.where(depth > 1e-9, half, np.nan)
    x = 0.5 + (seen[:, 0] / (2 * half) - view.shift[0]) / view.aspect
    y = 0.5 + seen[:, 1] / (2 * half) - view.shift[1]
    return np.stack([x, y], axis=1), depth


def unproject(view: View, places: np.ndarray, depth: float) -> np.ndarray:
    """The reverse of `project`: float64 [points, 3] in the scene, all at one distance before the camera."""
    half = float(view.half_height(np.array(depth)))
    x = ((places[:, 0] - 0.5) * view.aspect + view.shift[0]) * 2 * half
    y = (places[:, 1] - 0.5 + view.shift[1]) * 2 * half
    matrix = view.matrix
    return np.stack([x, y, np.full(len(places), -depth)], axis=1) @ matrix[:3, :3].T + matrix[:3, 3]


def picture_of(view: View, strokes: Strokes) -> Picture:
    """Strokes as the camera sees them. They are cut where they leave what the protocol can say, or go behind it."""
    places, depth = project(view, strokes.points)
    stroke = np.repeat(np.arange(len(strokes.lengths)), strokes.lengths)
    with np.errstate(invalid="ignore"):
        is_seen = np.all((places >= _LOWEST) & (places <= _HIGHEST), axis=1)
        is_inside = ((places >= 0) & (places <= 1)).all(axis=1)
        widths = strokes.radii / view.half_height(depth)  # two radii in two halves
    is_kept: np.ndarray = is_seen & ~_is_double(places, stroke) if len(places) > THINNED_ABOVE else is_seen
    width = float(np.clip(widths[is_kept].max(initial=0.0), *_WIDTHS))
    pressure = np.clip(widths[is_kept] / width, 0, 1) * np.clip(strokes.opacity[is_kept], 0, 1)
    lengths, of_stroke = _runs(is_seen, is_kept, stroke)
    colours = strokes.colours[of_stroke]
    return Picture(
        points=np.ascontiguousarray(places[is_kept], np.float32),
        lengths=lengths.astype(np.int32),
        pressure=pressure.astype(np.float32),
        colours=colours if is_colourful(colours).any() else None,
        line_width=width,
        inside=float(is_inside.mean()) if len(places) else 0.0,
    )


def is_colourful(colours: np.ndarray) -> np.ndarray:
    """bool [strokes]: which sRGB colours, uint8 [strokes, 3], are no greys."""
    return np.ptp(colours.astype(np.int16), axis=1) >= _LEAST_CHROMA if len(colours) else np.zeros(0, bool)


def _is_double(places: np.ndarray, stroke: np.ndarray) -> np.ndarray:
    """Which points are where the one before in their stroke is; its first and last point never are."""
    cells = np.floor(np.nan_to_num(places) * _CELLS).astype(np.int64)
    double = np.zeros(len(places), bool)
    double[1:-1] = (
        (cells[1:-1] == cells[:-2]).all(axis=1) & (stroke[1:-1] == stroke[:-2]) & (stroke[1:-1] == stroke[2:])
    )
    return double


def _runs(is_seen: np.ndarray, is_kept: np.ndarray, stroke: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many kept points each uninterrupted part of a stroke has, and of which stroke it is."""
    begins = is_seen.copy()
    begins[1:] &= ~is_seen[:-1] | (stroke[1:] != stroke[:-1])
    run = np.cumsum(begins) - 1
    lengths = np.bincount(run[is_kept], minlength=int(begins.sum()))
    return lengths[lengths > 0], stroke[begins][lengths > 0]


def srgb_bytes(linear: np.ndarray) -> np.ndarray:
    """Linear colours from 0 to 1, of any shape, as 8 bits in sRGB (IEC 61966-2-1)."""
    clipped = np.clip(np.nan_to_num(linear), 0, 1)
    coded = np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return np.rint(coded * 255).astype(np.uint8)


def draw_picture(picture: Picture, aspect: float, side: int = THUMBNAIL_PIXELS) -> np.ndarray:
    """A thumbnail: uint8 [side, side, 4], sRGB with alpha, dark lines in a light frame of the picture's aspect."""
    wide, high = (1.0, 1 / aspect) if aspect > 1 else (aspect, 1.0)
    columns, rows = max(4, round(side * wide)), max(4, round(side * high))
    frame = np.full((rows, columns, 4), (236, 236, 236, 255), np.uint8)
    ends = np.cumsum(picture.lengths)[:-1]
    colours = picture.colours if picture.colours is not None else np.full((len(picture.lengths), 3), 30, np.uint8)
    for points, colour in zip(np.split(picture.points, ends), colours, strict=True):
        at = _sampled(np.clip(points, -1, 2) * (columns, rows), 4 * side)
        column, row = at[:, 0].astype(int), rows - 1 - np.floor(at[:, 1]).astype(int)
        for right, down in ((0, 0), (1, 0), (0, 1)):
            x, y = column + right, row + down
            is_in = (x >= 0) & (x < columns) & (y >= 0) & (y < rows) & (at[:, 0] >= 0)
            frame[y[is_in], x[is_in], :3] = colour
    return in_square(frame, side)


def in_square(pixels: np.ndarray, side: int) -> np.ndarray:
    """uint8 [side, side, 4]: pixels, uint8 [height, width, 4], in the middle of what is transparent."""
    rows, columns = pixels.shape[:2]
    square = np.zeros((side, side, 4), np.uint8)
    top, left = (side - rows) // 2, (side - columns) // 2
    square[top : top + rows, left : left + columns] = pixels
    return square


def _sampled(points: np.ndarray, most: int) -> np.ndarray:
    """Points along a polyline, about one a pixel: float [samples, 2]. Points of long strokes are left out."""
    points = points[:: max(1, len(points) // most)]
    if len(points) < 2:
        return points
    steps = np.abs(np.diff(points, axis=0)).max(axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    samples = np.linspace(0, along[-1], max(2, math.ceil(along[-1] * 1.5)))
    return np.stack([np.interp(samples, along, points[:, axis]) for axis in (0, 1)], axis=1)


def png_of(pixels: np.ndarray) -> bytes:
    """A PNG file of pixels, uint8 [height, width, 3 or 4], the first row on top (PNG specification, third edition)."""
    height, width, channels = pixels.shape

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    kind = {3: 2, 4: 6}[channels]
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = pixels.reshape(height, -1)
    start = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    body = zlib.compress(rows.tobytes(), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", start) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
