"""Turntables: what is in the frames, and that the files play."""

import numpy as np
import pytest
import torch
from PIL import Image

from backend.geometry.triangle_mesh import TriangleMesh
from backend.render.portable_rasteriser import PortableRasteriser
from backend.render.renderer import TextureImages
from backend.turntable import BACKGROUND, render_turntable, write_contact_sheet, write_gif

BACKGROUND_PIXEL = [round(255 * value) for value in BACKGROUND]


@pytest.fixture(scope="module")
def painted_quad():
    """A square that looks along +Z, red all over; its back is cut away by nothing, so it is seen from behind too."""
    positions = torch.tensor([[-0.6, -0.6, 0.0], [0.6, -0.6, 0.0], [0.6, 0.6, 0.0], [-0.6, 0.6, 0.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    uv = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    red = torch.tensor([1.0, 0.0, 0.0]).expand(8, 8, 3).contiguous()
    return TriangleMesh(positions, faces), TextureImages(uv, red)


def test_frames_go_once_around(painted_quad):
    frames = render_turntable(PortableRasteriser(), *painted_quad, frame_count=8, resolution=32, supersample=1)

    assert frames.shape == (8, 32, 32, 3)
    covered = (frames != np.array(BACKGROUND_PIXEL)).any(axis=-1).mean(axis=(1, 2))
    assert covered[0] > 0.2  # the square fills (1.2 / 2.3)^2 = 27 % of the picture at framing 1.15
    assert covered[2] < 0.05  # from the side it is a line
    assert frames[0, 16, 16, 0] > 100
    assert frames[0, 16, 16, 1:].max() == 0


def test_an_empty_mesh_shows_the_background(painted_quad):
    mesh, appearance = painted_quad
    empty = TriangleMesh(mesh.positions, mesh.faces[:0])

    frames = render_turntable(PortableRasteriser(), empty, appearance, frame_count=2, resolution=8)

    assert (frames == np.array(BACKGROUND_PIXEL)).all()


def test_a_gif_loops_for_ever_and_keeps_its_background(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3), dtype=np.uint8)
    frames[:, :4] = BACKGROUND_PIXEL

    write_gif(tmp_path / "turn.gif", frames)

    with Image.open(tmp_path / "turn.gif") as image:
        assert (image.n_frames, image.info["loop"], image.info["duration"]) == (5, 0, 80)
        for number in range(5):
            image.seek(number)
            assert (np.asarray(image.convert("RGB"))[:4] == BACKGROUND_PIXEL).all()


def test_the_contact_sheet_has_eight_views_in_two_rows(tmp_path):
    frames = np.zeros((40, 64, 64, 3), dtype=np.uint8) + np.arange(0, 200, 5, dtype=np.uint8)[:, None, None, None]

    write_contact_sheet(tmp_path / "sheet.png", frames)

    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size == (256, 128)
        centres = [image.getpixel((32 + 64 * column, 40 + 64 * row))[0] for row in range(2) for column in range(4)]
    assert centres == [0, 25, 50, 75, 100, 125, 150, 175]  # every fifth of the 40 frames
