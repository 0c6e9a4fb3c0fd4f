"""SVG to strokes: places worked out by hand, and what must not be followed."""

import numpy as np
import pytest

from backend.errors import BadInput
from backend.sketches.svg import read_svg, svg_strokes


def svg(body, head='width="200" height="100" viewBox="0 0 200 100"'):
    return f'<svg xmlns="http://www.w3.org/2000/svg" {head}>{body}</svg>'.encode()


def test_places_are_shares_of_the_page_with_y_upwards():
    strokes, aspect = svg_strokes(svg('<polyline points="0,0 100,50 200,100" fill="none" stroke="black"/>'), "x")

    assert aspect == 2.0
    np.testing.assert_allclose(strokes.points, [[0, 1], [0.5, 0.5], [1, 0]], atol=1e-9)
    assert strokes.lengths.tolist() == [3]


def test_transforms_and_the_view_box_count():
    body = '<g transform="translate(10 0)"><line x1="0" y1="0" x2="10" y2="10" stroke="black"/></g>'
    strokes, _ = svg_strokes(svg(body, 'width="400" height="400" viewBox="0 0 20 20"'), "x")

    np.testing.assert_allclose(strokes.points, [[0.5, 1], [1, 0.5]], atol=1e-6)


def test_curves_are_followed():
    strokes, _ = svg_strokes(svg('<circle cx="100" cy="50" r="40" fill="none" stroke="black"/>'), "x")

    radii = np.linalg.norm(strokes.points * [200, 100] - [100, 50], axis=1)
    np.testing.assert_allclose(radii, 40, atol=1e-3)


def test_each_subpath_is_a_stroke_and_hidden_ones_are_none():
    body = '<path d="M 0 0 L 10 0 M 50 50 L 60 50 L 60 60 Z" stroke="red"/><rect width="9" height="9" display="none"/>'
    strokes, _ = svg_strokes(svg(body), "x")

    assert len(strokes.lengths) == 2
    assert strokes.colours.tolist() == [[255, 0, 0], [255, 0, 0]]


def test_scripts_links_and_pictures_are_left_out_and_told(tmp_path):
    outside = tmp_path / "outside.svg"
    outside.write_bytes(svg('<rect id="a" width="50" height="50"/>'))
    body = (
        f'<script>alert(1)</script><use href="{outside}#a"/><image href="{outside}" width="9" height="9"/>'
        '<line x1="0" y1="0" x2="10" y2="10" stroke="black"/>'
    )
    notices = []

    strokes, _ = svg_strokes(svg(body), "front.svg", notices.append)

    assert strokes.lengths.tolist() == [2]
    assert notices == ["front.svg has scripts and links to other files and pictures, which are left out"]


def test_entities_are_refused():
    bomb = b'<!DOCTYPE svg [<!ENTITY a "aaaa">]>' + svg('<line x1="0" y1="0" x2="1" y2="1"/>')

    with pytest.raises(BadInput, match="declares entities"):
        svg_strokes(bomb, "bomb.svg")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (svg(""), "the sketch x is empty"),
        (b"<svg", "the drawing x cannot be read as SVG"),
        (b"\x89PNG", "the drawing x cannot be read as SVG"),
    ],
)
def test_what_holds_no_drawing_is_refused(content, message):
    with pytest.raises(BadInput, match=message):
        svg_strokes(content, "x")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(BadInput, match=r"the drawing .*mug\.svg cannot be read \(No such file"):
        read_svg(tmp_path / "mug.svg")
