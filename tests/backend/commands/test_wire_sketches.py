"""Drawings on the disk and on the wire are the same once the server has read them."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from backend.commands.wire_sketches import read_wire_sketch
from backend.errors import BadInput
from backend.geometry.mesh_input import Placement
from backend.server.sketch_conversion import placed_sketch
from backend.sketches.view_argument import parse_view, read_sketch
from protocol.arrays import picture_size

PLACEMENT = Placement((0.0, 0.0, 0.0), 1.0, "z")
"""Of a job without a mesh."""


def write_photograph(path, side=2000):
    """Pencil on paper, larger than the wire needs; the light falls from left to right."""
    light = np.linspace(0.95, 0.5, side)[None, :]
    picture = Image.new("L", (side, side), 255)
    ImageDraw.Draw(picture).ellipse((300, 500, 1500, 1700), outline=0, width=24)
    paper = light * np.where(np.asarray(picture) < 128, 0.4, 1.0)
    grain = np.random.default_rng(0).normal(0, 0.01, paper.shape)
    Image.fromarray(((paper + grain).clip(0, 1) * 255).astype(np.uint8)).save(path, quality=92)


def write_svg(path, *shapes):
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" width="200" height="100">{"".join(shapes)}</svg>')


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize(
    "side",
    [
        "front", "top,lines", "left,perspective,fov=60", "back,height=3", "az=30,el=20", "az=-30,el=-80,dist=4,fov=20",
        "az=10,el=0,orthographic",
    ],
)  # fmt: skip
def test_the_camera_of_the_command_is_that_of_the_wire(side, tmp_path):
    write_svg(tmp_path / "a.svg", '<rect x="40" y="20" width="120" height="60"/>')
    argument = parse_view(f"{side}@{tmp_path}/a.svg")

    placed = placed_sketch(read_wire_sketch(argument, pytest.fail), PLACEMENT, pytest.fail)

    assert placed.camera == argument.camera
    assert (placed.name, placed.drawn) == (argument.name, argument.drawn)


def test_a_photograph_is_sent_as_its_lines_and_is_small(tmp_path):
    write_photograph(tmp_path / "a.jpg")
    argument = parse_view(f"front={tmp_path}/a.jpg")

    sent = read_wire_sketch(argument, pytest.fail)

    assert max(picture_size(sent.picture)) <= 1024
    assert len(sent.picture) < 40_000
    placed = placed_sketch(sent, PLACEMENT, pytest.fail)
    assert overlap(placed.square_ink(), read_sketch(argument).square_ink()) > 0.99


def test_light_lines_are_told_once_and_sent_dark(tmp_path):
    picture = Image.new("L", (200, 200), 20)
    ImageDraw.Draw(picture).ellipse((50, 50, 150, 150), outline=240, width=5)
    picture.save(tmp_path / "a.png")
    said = []

    sent = read_wire_sketch(parse_view(f"front={tmp_path}/a.png"), said.append)

    assert said == [f"{tmp_path}/a.png is read as light lines on a dark ground"]
    placed_sketch(sent, PLACEMENT, pytest.fail)


def test_strokes_and_their_colours_are_sent_as_they_are(tmp_path):
    write_svg(
        tmp_path / "a.svg",
        '<path fill="none" stroke="#f00" d="M20 10H180V90H20Z"/>',
        '<path fill="none" stroke="#00f" d="M30 20H170"/>',
    )
    argument = parse_view(f"front,lines,colours@{tmp_path}/a.svg")

    placed = placed_sketch(read_wire_sketch(argument, pytest.fail), PLACEMENT, pytest.fail)

    here = read_sketch(argument)
    assert placed.aspect == 2
    assert placed.strokes.colours.tolist() == [[255, 0, 0], [0, 0, 255]]
    assert (placed.square_ink() == here.square_ink()).all()


def test_a_hundred_thousand_points_are_thinned(tmp_path):
    angle = np.linspace(0, 2 * np.pi, 100_000)
    points = " ".join(
        f"{100 + 40 * x:.4f},{50 + 40 * y:.4f}" for x, y in zip(np.cos(angle), np.sin(angle), strict=True)
    )
    write_svg(tmp_path / "a.svg", f'<polyline fill="none" stroke="#000" points="{points}"/>')

    sent = read_wire_sketch(parse_view(f"front={tmp_path}/a.svg"), pytest.fail)

    assert 100 < len(sent.points) < 5000
    assert sent.stroke_lengths.tolist() == [len(sent.points)]


def test_what_is_far_outside_of_the_page_is_told_and_cut(tmp_path):
    write_svg(
        tmp_path / "a.svg",
        '<path fill="none" stroke="#000" d="M20 10H180V90H20Z"/>',
        '<path fill="none" stroke="#000" d="M0 0L-9000 0"/>',
    )
    said = []

    sent = read_wire_sketch(parse_view(f"front={tmp_path}/a.svg"), said.append)

    assert sent.points.min() == -10
    assert "of the strokes' points of the sketch front lie outside of the view" in said[0]


@pytest.mark.parametrize(
    ("factor", "message"), [(2.0, r"the weight of front times --sketch-weight must be from 0 to 100; got 120")]
)
def test_a_weight_that_the_wire_cannot_say_is_refused(factor, message, tmp_path):
    write_svg(tmp_path / "a.svg", '<rect x="40" y="20" width="120" height="60"/>')

    with pytest.raises(BadInput, match=message):
        read_wire_sketch(parse_view(f"front,weight=60@{tmp_path}/a.svg"), pytest.fail, factor)


def test_a_picture_like_a_ribbon_is_refused(tmp_path):
    picture = Image.new("L", (1000, 40), 255)
    ImageDraw.Draw(picture).rectangle((100, 5, 900, 35), fill=0)
    picture.save(tmp_path / "a.png")

    with pytest.raises(BadInput, match=r"a\.png cannot be sent: aspect is 25"):
        read_wire_sketch(parse_view(f"front={tmp_path}/a.png"), pytest.fail)
