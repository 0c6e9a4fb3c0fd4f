"""Drawings of a silhouette by a shaky hand: near its border, with gaps, and closed again by the backend."""

import numpy as np
from scipy import ndimage

from backend.sketches.camera import SketchCamera
from backend.sketches.outline import silhouette
from backend.sketches.sketch import INK_PIXELS, Sketch
from tools.embedded_world.line_drawings import draw_by_hand, draw_outline, some_hand, trace_borders


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


def box_corner(size=64):
    """A square on which a crease runs down the middle and a step in depth lies in the lower right."""
    mask = np.zeros((size, size))
    mask[12:52, 12:52] = 1
    normals = np.zeros((size, size, 3))
    normals[..., 0], normals[:, 32:, 2] = 1, 1
    normals[:, 32:, 0] = 0
    depths = np.full((size, size), 2.0)
    depths[40:, 40:] = 1.5
    return mask, depths, normals


def test_drawings_show_the_outline_creases_and_steps_in_depth_and_leave_some_out():
    rng = np.random.default_rng(0)
    drawings = np.stack([draw_by_hand(*box_corner(), rng) for _ in range(60)]) / 255.0

    assert drawings[:, 25:39, 8:17].max(axis=2).mean() > 0.5  # the left side
    crease, step = drawings[:, 18:38, 27:37].max(axis=2).mean(), drawings[:, 44:50, 35:45].max(axis=2).mean()
    assert 0.3 < crease < 0.85
    assert 0.3 < step < 0.85
    assert drawings[:, 20:30, 18:26].mean() < 0.02  # the flat side


def test_hands_differ_from_precise_to_hasty():
    rng = np.random.default_rng(1)
    hands = [some_hand(rng) for _ in range(200)]

    assert 0.05 < np.mean([hand.wobble == 0 for hand in hands]) < 0.3
    assert max(hand.wobble for hand in hands) > 0.009
    assert 0.008 <= min(hand.line_width for hand in hands) < 0.01
    assert max(hand.line_width for hand in hands) > 0.02


def test_nothing_is_drawn_of_nothing():
    drawing = draw_by_hand(np.zeros((32, 32)), np.zeros((32, 32)), np.zeros((32, 32, 3)), np.random.default_rng(0))

    assert drawing.max() == 0
