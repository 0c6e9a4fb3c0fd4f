"""Drawings of a silhouette by a shaky hand: near its border, with gaps, and closed again by the backend."""

import numpy as np
from scipy import ndimage

from backend.sketches.camera import SketchCamera
from backend.sketches.outline import silhouette
from backend.sketches.sketch import INK_PIXELS, Sketch
from tools.embedded_world.line_drawings import draw_outline, trace_borders


def ring(size=INK_PIXELS, outer=0.35, inner=0.15):
    places = (np.arange(size) + 0.5) / size - 0.5
    radius = np.hypot(places[None, :], places[:, None])
    return (radius < outer) & (radius > inner)


def test_borders_are_closed_and_enclose_the_area():
    mask = ring()

    borders = trace_borders(mask)

    # The shoelace formula; the hole turns the other way.
    areas = [0.5 * np.sum(b[:, 0] * np.roll(b[:, 1], -1) - np.roll(b[:, 0], -1) * b[:, 1]) for b in borders]
    assert len(borders) == 2
    assert abs(sum(areas)) == mask.sum()


def test_strokes_stay_near_the_border_and_leave_gaps():
    mask = ring()
    strokes = draw_outline(mask, np.random.default_rng(0))
    distance = ndimage.distance_transform_edt(mask) + ndimage.distance_transform_edt(~mask)

    columns, rows = strokes.points[:, 0] * INK_PIXELS, (1 - strokes.points[:, 1]) * INK_PIXELS
    off = distance[rows.astype(int), columns.astype(int)] / INK_PIXELS

    assert len(strokes.lengths) > 4
    assert 0.001 < off.mean() < 0.01
    assert off.max() < 0.05


def test_the_backend_finds_the_shape_again():
    mask = ring()
    for seed in range(5):
        strokes = draw_outline(mask, np.random.default_rng(seed))
        ink = Sketch("front", SketchCamera.preset("front"), strokes=strokes).square_ink()

        found = silhouette(ink, "outline", "front")

        assert (found & mask).sum() / (found | mask).sum() > 0.9
