"""Sketches from the wire: cameras against projections written out by hand, ink of strokes and pictures, refusals."""

import io
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from backend.errors import BadInput, BadPicture
from backend.geometry.mesh_input import Placement
from backend.server.sketch_conversion import placed_camera, placed_sketch
from backend.sketches.camera import posed
from backend.sketches.drawing import ready_drawings
from backend.sketches.sketch import INK_PIXELS
from protocol.sketches import MatrixCamera, OrbitCamera, PresetCamera, Sketch

ORIGIN = Placement((0.0, 0.0, 0.0), 1.0, "z")
FRONT = PresetCamera(view="front")


def rotation_of(degrees):
    """A turn about X, then Y, then Z."""
    x, y, z = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, math.cos(x), -math.sin(x)], [0, math.sin(x), math.cos(x)]])
    about_y = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    about_z = np.array([[math.cos(z), -math.sin(z), 0], [math.sin(z), math.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def matrix_camera(rotation, place, **options):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, place
    return MatrixCamera(camera_to_world=tuple(matrix.ravel().tolist()), **options)


def stroke_of(points, **options):
    points = np.array(points, np.float32)
    given = {"name": "front", "camera": FRONT, "points": points, "stroke_lengths": np.array([len(points)], np.int32)}
    return Sketch(**(given | options))


def ring(count=64, radius=0.3):
    angles = np.linspace(0, 2 * np.pi, count)
    return 0.5 + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def png_of(picture):
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def drawn_picture(size=(200, 100), colour=(200, 20, 20), ground="white"):
    picture = Image.new("RGB", size, ground)
    width, height = size
    ImageDraw.Draw(picture).ellipse((0.2 * width, 0.2 * height, 0.8 * width, 0.8 * height), outline=colour, width=4)
    return png_of(picture)


def seen_in_square(sketch, placement, point):
    """Where a point of the client's scene lies in the backend's square picture: x and y, 0 to 1, y upwards."""
    placed = torch.from_numpy(placement.place(np.array([point]))).float()
    x, y = posed([sketch.square_camera()]).project(placed)[0, 0].tolist()
    return (x + 1) / 2, (1 - y) / 2


def in_square(x, y, aspect):
    """Where a place of the client's picture lies in a square one around it with margins at the shorter sides."""
    return (x, 0.5 + (y - 0.5) / aspect) if aspect > 1 else (0.5 + (x - 0.5) * aspect, y)


angles = st.floats(-180, 180)


@given(
    turn=st.tuples(angles, angles, angles),
    centre=st.tuples(*[st.floats(-50, 50)] * 3),
    radius=st.floats(0.01, 30.0),
    offset=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    aspect=st.floats(0.4, 2.5),
    shift=st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)),
    projection=st.sampled_from(["perspective", "orthographic"]),
    distance=st.floats(3.0, 30.0),
    fov=st.floats(20.0, 90.0),
)
@settings(max_examples=60, deadline=None)
def test_a_point_of_the_scene_is_where_the_clients_camera_shows_it(
    turn, centre, radius, offset, aspect, shift, projection, distance, fov
):
    placement = Placement(centre, 0.9 / radius, "z")
    rotation = rotation_of(turn)
    # Before the middle of the object, a little to the side.
    place = np.array(centre) + rotation @ np.array([0.1, -0.1, distance]) * radius
    height = 3.0 * radius
    camera = matrix_camera(rotation, place, projection=projection, fov_degrees=fov, height_metres=height, shift=shift)
    point = np.array(centre) + np.array(offset) * radius

    # Blender's camera by hand: along its own -Z; shares of the picture's height; y upwards.
    right, up, backward = rotation.T @ (point - place)
    spanned = height if projection == "orthographic" else 2 * math.tan(math.radians(fov) / 2) * -backward
    x = 0.5 + (right / spanned - shift[0]) / aspect
    y = 0.5 + up / spanned - shift[1]
    assume(-0.2 < x < 1.2)
    assume(-0.2 < y < 1.2)
    try:
        sketch = placed_sketch(stroke_of(ring(), camera=camera, aspect=aspect), placement, print)
    except BadInput as error:
        if "is not in the picture" not in str(error):
            raise
        reject()

    assert seen_in_square(sketch, placement, point) == pytest.approx(in_square(x, y, aspect), abs=2e-4)


@given(
    azimuth=st.floats(-360, 360),
    elevation=st.floats(-85, 85),
    offset=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    distance=st.floats(2.0, 40.0),
    projection=st.sampled_from(["perspective", "orthographic"]),
)
@settings(max_examples=40, deadline=None)
def test_an_orbit_in_metres_stands_around_the_object_in_the_scene(azimuth, elevation, offset, distance, projection):
    centre, radius = np.array([4.0, -2.0, 7.0]), 2.5
    placement = Placement(tuple(centre.tolist()), 0.9 / radius, "z")
    height = 3 * radius if projection == "orthographic" else None
    camera = OrbitCamera(
        azimuth_degrees=azimuth,
        elevation_degrees=elevation,
        distance_metres=distance * radius,
        projection=projection,
        fov_degrees=50.0,
        height_metres=height,
    )
    point = centre + np.array(offset) * radius

    # Front is -Y and azimuth grows towards +X; Z is up.
    turned, lifted = np.radians([azimuth, elevation])
    backward = np.array([math.sin(turned) * math.cos(lifted), -math.cos(turned) * math.cos(lifted), math.sin(lifted)])
    right = np.array([math.cos(turned), math.sin(turned), 0.0])
    up = np.cross(backward, right)
    seen = point - (centre + backward * distance * radius)
    spanned = height or 2 * math.tan(math.radians(25.0)) * -(seen @ backward)
    x, y = 0.5 + seen @ right / spanned, 0.5 + seen @ up / spanned

    sketch = placed_sketch(stroke_of(ring(), camera=camera), placement, print)

    assert seen_in_square(sketch, placement, point) == pytest.approx((x, y), abs=2e-4)
    assert ready_drawings([sketch])[0].camera == sketch.camera  # it has a place, and is not moved


@pytest.mark.parametrize(
    ("view", "right", "up"),
    [
        ("front", (1, 0, 0), (0, 0, 1)),
        ("back", (-1, 0, 0), (0, 0, 1)),
        ("right", (0, 1, 0), (0, 0, 1)),
        ("left", (0, -1, 0), (0, 0, 1)),
        ("top", (1, 0, 0), (0, 1, 0)),
        ("bottom", (1, 0, 0), (0, -1, 0)),
    ],
)
@pytest.mark.parametrize("projection", ["perspective", "orthographic"])
def test_presets_are_blenders_views(view, right, up, projection):
    sketch = placed_sketch(stroke_of(ring(), camera=PresetCamera(view=view, projection=projection)), ORIGIN, print)

    x, y = seen_in_square(sketch, ORIGIN, 0.5 * np.array(right) + 0.3 * np.array(up))

    assert x > 0.6
    assert y > 0.55
    assert not sketch.camera.is_placed  # the object fills the picture, however large it was drawn


def test_a_stroke_is_drawn_where_its_point_is_seen():
    """From the client's point to the ink: both ways through the picture end on one pixel."""
    placement = Placement((1.0, 2.0, 3.0), 0.9 / 0.2, "z")
    camera = matrix_camera(np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]), (1.0, 0.0, 3.0), fov_degrees=30.0)  # from -Y
    point = np.array([1.1, 1.9, 3.05])
    x = 0.5 + 0.1 / (2 * math.tan(math.radians(15)) * 1.9) / 1.6
    y = 0.5 + 0.05 / (2 * math.tan(math.radians(15)) * 1.9)
    wire = stroke_of([(x, y)], camera=camera, aspect=1.6, line_width=0.02)

    sketch = placed_sketch(wire, placement, print)
    rows, columns = np.nonzero(sketch.square_ink())

    across, upwards = seen_in_square(sketch, placement, point)
    assert (columns.mean() + 0.5) / INK_PIXELS == pytest.approx(across, abs=2 / INK_PIXELS)
    assert 1 - (rows.mean() + 0.5) / INK_PIXELS == pytest.approx(upwards, abs=2 / INK_PIXELS)


def test_what_an_orthographic_camera_shows_does_not_depend_on_its_distance():
    front = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    near, far = (
        placed_camera(matrix_camera(front, (0.2, distance, 0.1), projection="orthographic"), ORIGIN)
        for distance in (0.5, -5000.0)  # within the object, and far before it
    )

    np.testing.assert_allclose(near.camera_to_world, far.camera_to_world, atol=1e-9)


def test_strokes_keep_their_pressure_their_colours_and_their_width():
    wire = stroke_of(
        ring(8), pressure=np.linspace(0, 1, 8, dtype=np.float32), stroke_colours=np.array([[255, 0, 0]], np.uint8),
        line_width=0.05, drawn="lines", weight=2.5,
    )  # fmt: skip

    sketch = placed_sketch(wire, ORIGIN, print)

    assert (sketch.drawn, sketch.weight, sketch.strokes.line_width) == ("lines", 2.5, 0.05)
    np.testing.assert_allclose(sketch.strokes.points, ring(8), atol=1e-6)
    np.testing.assert_allclose(sketch.strokes.pressure, np.linspace(0, 1, 8), atol=1e-6)
    colours, places = sketch.colour_hints()
    assert (colours[places] == [255, 0, 0]).all()


def test_a_picture_becomes_ink_with_its_own_aspect_and_colours():
    wire = Sketch(name="front", camera=FRONT, picture=drawn_picture(), has_colour=True, aspect=2.0)
    notices = []

    sketch = placed_sketch(wire, ORIGIN, notices.append)

    assert (sketch.ink.shape, sketch.width_by_height, notices) == ((100, 200), 2.0, [])
    colours, places = sketch.colour_hints()
    assert colours.shape == (INK_PIXELS, INK_PIXELS, 3)
    assert (colours[places] == [200, 20, 20]).mean() > 0.95  # but for pixels at the rim of the line
    rows, columns = np.nonzero(places)
    assert np.ptp(columns) == pytest.approx(2 * np.ptp(rows), rel=0.05)


def test_what_contradicts_the_picture_is_told():
    notices = []

    sketch = placed_sketch(
        Sketch(name="front", camera=FRONT, picture=drawn_picture(colour=(30, 30, 30)), has_colour=True, aspect=1.0),
        ORIGIN,
        notices.append,
    )

    assert not sketch.has_colour_hints
    assert "no line of the sketch front has a colour other than greys" in notices[0]
    assert "is 2 times as wide as high, and not 1 times as its aspect says" in notices[1]


def test_a_drawing_that_is_larger_than_the_ball_is_told():
    front = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    camera = matrix_camera(front, (0.0, -9.0, 0.0), projection="orthographic", height_metres=9.0)
    notices = []

    ready_drawings([placed_sketch(stroke_of(ring(), camera=camera), ORIGIN, print)], notices.append)

    # 0.3 of 9 m are 2.7 m, in a ball of 0.9 m.
    assert "reaches 3.0 times as far from the object's middle as the ball" in notices[0]


FROM_BEHIND = matrix_camera(np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]), (0.0, 5.0, 0.0))
BESIDE = matrix_camera(np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]), (30.0, -5.0, 0.0))
BAD = [
    ("nothing", lambda: stroke_of(np.zeros((0, 2)), stroke_lengths=np.zeros(0, np.int32)), "is empty: it has no strok"),
    ("outside", lambda: stroke_of([(2, 0.5), (3, 0.5)]), r"outside of the view: x from 2 to 3"),
    ("white paper", lambda: Sketch(name="a", camera=FRONT, picture=png_of(Image.new("L", (9, 9), 255))), "a is empty"),
    ("cut off", lambda: Sketch(name="a", camera=FRONT, picture=drawn_picture()[:200]), "a cannot be read"),
    ("open", lambda: stroke_of([(0.2, 0.2), (0.8, 0.2)], drawn="outline"), "outline of the sketch front cannot be cl"),
    ("no sight", lambda: stroke_of(ring(), camera=FROM_BEHIND), r"looks away from the ball .* radius 0.9 m\); draw "),
    ("beside", lambda: stroke_of(ring(), camera=BESIDE), "is not in the picture of the camera of the sketch front"),
]


@pytest.mark.parametrize(("make", "sentence"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_bad_sketches_are_refused_with_a_sentence(make, sentence):
    with pytest.raises(BadInput, match=sentence) as caught:
        ready_drawings([placed_sketch(make(), ORIGIN, print)])

    assert isinstance(caught.value, BadPicture) == (make().picture is not None)


def test_a_stroke_of_100000_points_is_taken():
    sketch = placed_sketch(stroke_of(ring(100_000), drawn="outline"), ORIGIN, print)

    (drawing,) = ready_drawings([sketch])

    assert drawing.shape.mean() == pytest.approx(math.pi * 0.3**2, rel=0.03)
