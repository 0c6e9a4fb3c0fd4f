"""Outlines with gaps, holes and overshoot to shapes, against areas worked out from what was drawn."""

import math

import numpy as np
import pytest
from PIL import Image, ImageDraw

from backend.errors import BadInput
from backend.sketches.outline import silhouette

SIZE = 256


def drawn(*commands):
    picture = Image.new("L", (SIZE, SIZE))
    draw = ImageDraw.Draw(picture)
    for name, shape, options in commands:
        getattr(draw, name)(shape, **options)
    return np.asarray(picture) > 127


def circle(radius, width=4, centre=(128, 128)):
    x, y = centre
    outer = radius + width / 2
    return ("ellipse", (x - outer, y - outer, x + outer, y + outer), {"outline": 255, "width": width})


def arc(radius, gap_degrees):
    box = (128 - radius, 128 - radius, 128 + radius, 128 + radius)
    return ("arc", box, {"start": 0, "end": 360 - gap_degrees, "fill": 255, "width": 4})


def test_an_outline_becomes_the_shape_up_to_the_middle_of_its_line():
    shape = silhouette(drawn(circle(80)), "outline", "front")

    assert shape.sum() == pytest.approx(math.pi * 80**2, rel=0.02)


@pytest.mark.parametrize("gap_degrees", [3, 6, 12])
def test_gaps_are_closed(gap_degrees):
    # 12 degrees of a circle of 80 pixels are 17 pixels, 6.5 % of the picture.
    shape = silhouette(drawn(arc(80, gap_degrees)), "outline", "front")

    assert shape.sum() == pytest.approx(math.pi * 79**2, rel=0.05)


def test_an_outline_that_stays_open_is_refused():
    with pytest.raises(BadInput, match=r"the outline of the sketch front cannot be closed"):
        silhouette(drawn(arc(80, 90)), "outline", "front")


def test_a_ring_within_an_outline_is_a_hole():
    shape = silhouette(drawn(circle(80), circle(30)), "outline", "front")

    assert not shape[128, 128]
    assert shape.sum() == pytest.approx(math.pi * (80**2 - 30**2), rel=0.03)


def test_a_ring_within_a_drawing_of_lines_is_a_crease():
    shape = silhouette(drawn(circle(80), circle(30)), "lines", "front")

    assert shape[128, 128]


def test_a_handle_beside_a_body_has_its_hole():
    # The handle is a ring whose left part runs behind the body's outline, as in a drawing of a mug.
    body = ("rectangle", (60, 60, 140, 200), {"outline": 255, "width": 4})
    outer = ("arc", (110, 90, 200, 170), {"start": -112, "end": 112, "fill": 255, "width": 4})
    inner = ("arc", (124, 104, 186, 156), {"start": -124, "end": 124, "fill": 255, "width": 4})

    shape = silhouette(drawn(body, outer, inner), "outline", "mug")

    assert shape[130, 100]  # the body
    assert not shape[130, 160]  # the hole
    assert shape[130, 193]  # the handle


def test_loops_of_overshooting_lines_are_no_parts():
    crossed = [("line", (200, 60, 206, 70), {"fill": 255, "width": 2}), circle(4, 2, (215, 30))]

    shape = silhouette(drawn(circle(60), *crossed), "outline", "front")

    assert not shape[30, 215]


def test_a_filled_shape_is_taken_as_it_is():
    ink = drawn(("ellipse", (60, 60, 200, 200), {"fill": 255}), ("ellipse", (110, 110, 150, 150), {"fill": 0}))

    assert np.array_equal(silhouette(ink, "outline", "front"), ink)


BODY = ("rectangle", (60, 60, 140, 200), {"outline": 255, "width": 4})
INNER = ("arc", (124, 104, 186, 156), {"start": -124, "end": 124, "fill": 255, "width": 4})


@pytest.mark.parametrize("gap", ["at the body", "in the middle", "both"])
def test_a_handle_with_gaps_of_its_own_is_a_handle(gap):
    reach, middle = (106 if gap != "in the middle" else 112), (gap != "at the body")
    box = (110, 90, 200, 170)
    sides = [(-reach, -6), (6, reach)] if middle else [(-reach, reach)]
    outer = [("arc", box, {"start": start, "end": end, "fill": 255, "width": 4}) for start, end in sides]

    shape = silhouette(drawn(BODY, *outer, INNER), "outline", "mug")

    assert shape[130, 100]  # the body
    assert not shape[130, 160]  # the hole
    assert shape[110, 182]  # the handle
    assert shape[150, 182]
    assert not shape[130, 215]


@pytest.mark.parametrize("overshoot", [0, 6])
def test_what_lies_between_two_legs_stays_open(overshoot):
    # 24 pixels are 9 % of the picture: as wide as a gap that is bridged where lines end.
    seat = [(80, 60), (180, 60), (180, 220), (142, 220), (142, 110), (118, 110), (118, 220), (80, 220), (80, 60)]
    legs = ("line", seat, {"fill": 255, "width": 4})
    past = ("line", [(180, 60), (180 + overshoot, 60)], {"fill": 255, "width": 4})

    shape = silhouette(drawn(legs, past), "outline", "chair")

    assert not shape[150:215, 124:136].any()
    assert shape[200, 100]
    assert shape[200, 160]


def test_roof_lines_that_run_on_at_the_ridge_are_no_gap_beside_the_chimney():
    def line(*points):
        return ("line", list(points), {"fill": 255, "width": 3})

    left, right = line((40, 140), (128, 60)), line((112, 60), (216, 140))  # they cross at (120, 67)
    walls = line((60, 122), (60, 220), (200, 220), (200, 128))
    chimney = line((146, 86), (146, 55), (168, 55), (168, 103))

    shape = silhouette(drawn(left, right, walls, chimney), "lines", "house")

    assert shape[150, 130]  # the house
    assert shape[70, 157]  # the chimney
    assert not shape[66, 136]  # between ridge and chimney
