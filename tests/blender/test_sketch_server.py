"""Against a real server with the embedded prior: what was drawn in Blender becomes a mesh whose silhouette fits."""

import bpy
import numpy as np
import pytest
from gui.silhouettes import covered_pixels
from real_server import can_serve

from blender_addon import sketches

pytestmark = pytest.mark.skipif(not can_serve(), reason="the backend is installed in no environment here: make setup")
SECONDS = 600.0
HALF_WIDE, HALF_HIGH = 0.45, 0.8
LEAST_IOU = 0.92
"""The project's bar for one sketched view."""


def draw_ellipse(centre):
    bpy.context.scene.cursor.location = centre
    bpy.ops.sketchbridge.draw_sketch(view="FRONT")
    drawing = sketches.active_of(bpy.context.scene).drawing
    found = drawing.data.layers[0].current_frame().drawing
    found.add_strokes([64])
    found.strokes[0].cyclic = True
    for angle, point in zip(np.linspace(0, 2 * np.pi, 64, endpoint=False), found.strokes[0].points, strict=True):
        point.position = (HALF_WIDE * np.cos(angle), 0, HALF_HIGH * np.sin(angle))  # from the drawing's origin


def silhouette_from_the_front(found, centre, half, side=128):
    """bool [side, side]: which places of a square around the centre the object covers, the lowest row first."""
    mesh = found.data
    mesh.calc_loop_triangles()
    corners = np.array([found.matrix_world @ vertex.co for vertex in mesh.vertices])[:, [0, 2]]
    corners = (corners - (centre[0], centre[2])) / half * side / 2 + side / 2
    return covered_pixels(corners, (each.vertices for each in mesh.loop_triangles), (side, side))


def test_a_drawn_ellipse_becomes_a_mesh_whose_silhouette_fits(session):
    centre = (1.0, -2.0, 0.5)
    draw_ellipse(centre)

    job = session.generate("a red mushroom", quality="draft", texture_size="512", steps=12)
    session.until(lambda: job.shown == "result" or job.status == "failed", SECONDS)

    assert job.shown == "result", job.sentence
    covered = silhouette_from_the_front(session.object, centre, 1.0)
    rows, columns = (np.mgrid[:128, :128] + 0.5) / 64 - 1
    drawn = (columns / HALF_WIDE) ** 2 + (rows / HALF_HIGH) ** 2 <= 1
    iou = (covered & drawn).sum() / (covered | drawn).sum()
    print(f"silhouette IoU {iou:.3f}")
    assert iou >= LEAST_IOU


def test_a_scribble_is_taken_and_changed_while_the_job_runs(session):
    draw_ellipse((0, 0, 0))
    sketch = sketches.active_of(bpy.context.scene)
    sketch.kind = "scribble"
    job = session.generate("a red mushroom", quality="draft", steps=1000)
    session.until(lambda: job.step >= 1, SECONDS)
    sketch.weight = 2.0
    session.until(lambda: job.sent_sketches["Front"].weight == 2.0, SECONDS)
    session.tick_for(2.0)

    assert "left out" not in job.sentence
    bpy.ops.sketchbridge.cancel()
    session.until(lambda: job.status == "cancelled", SECONDS)
