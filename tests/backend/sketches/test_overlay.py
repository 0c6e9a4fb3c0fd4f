"""Scores of drawings over a mesh whose contours are known: a box seen from the front and from a corner."""

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image, ImageDraw

from backend.geometry.triangle_mesh import TriangleMesh
from backend.render.portable_rasteriser import PortableRasteriser
from backend.sketches.camera import SketchCamera
from backend.sketches.drawing import ready_drawings
from backend.sketches.overlay import sketch_scores
from backend.sketches.sketch import INK_PIXELS, Sketch


def box_mesh(*boxes):
    """Boxes of (extents, middle), without shared vertices: every normal is that of its face."""
    whole = trimesh.util.concatenate(
        [trimesh.creation.box(extents, trimesh.transformations.translation_matrix(middle)) for extents, middle in boxes]
    )
    corners = np.asarray(whole.triangles, dtype=np.float32).reshape(-1, 3)
    return TriangleMesh(torch.from_numpy(corners), torch.arange(len(corners), dtype=torch.int32).view(-1, 3))


def lines_met(mesh, camera, *polylines):
    """Of lines in shares of the picture."""
    picture = Image.new("L", (INK_PIXELS, INK_PIXELS))
    for line in polylines:
        ImageDraw.Draw(picture).line([(x * INK_PIXELS, y * INK_PIXELS) for x, y in line], fill=255, width=6)
    sketch = Sketch("front", camera, "lines", ink=np.asarray(picture) > 127)
    (score,) = sketch_scores(PortableRasteriser(), mesh, ready_drawings([sketch]))
    return score.lines_met


FRONT = SketchCamera.orbit(0.0, 0.0, projection="orthographic", height_metres=2.0)
SQUARE = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75), (0.25, 0.25))
CUBE = ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


def test_every_line_on_a_silhouette_is_met():
    assert lines_met(box_mesh(CUBE), FRONT, SQUARE) == pytest.approx(1.0, abs=0.01)


def test_a_line_across_a_face_is_not_met():
    assert lines_met(box_mesh(CUBE), FRONT, SQUARE, ((0.5, 0.25), (0.5, 0.75))) == pytest.approx(0.8, abs=0.03)


def test_a_line_over_a_step_in_depth_is_met():
    nearer_half = ((0.5, 1.0, 0.2), (-0.25, 0.0, 0.6))

    assert lines_met(box_mesh(CUBE, nearer_half), FRONT, SQUARE, ((0.5, 0.25), (0.5, 0.75))) == pytest.approx(
        1.0, abs=0.01
    )


def test_a_line_over_a_crease_is_met():
    camera = SketchCamera.orbit(45.0, 0.0, projection="orthographic", height_metres=2.0)
    half = 0.25 * 2**0.5
    outline = ((0.5 - half, 0.25), (0.5 + half, 0.25), (0.5 + half, 0.75), (0.5 - half, 0.75), (0.5 - half, 0.25))

    assert lines_met(box_mesh(CUBE), camera, outline, ((0.5, 0.25), (0.5, 0.75))) == pytest.approx(1.0, abs=0.01)
    assert lines_met(box_mesh(CUBE), camera, outline, ((0.6, 0.25), (0.6, 0.75))) < 0.9


def test_nothing_is_met_by_nothing():
    empty = TriangleMesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int32))

    assert lines_met(empty, FRONT, SQUARE) == 0.0
