"""What may follow --view."""

import pytest
from PIL import Image, ImageDraw

from backend.errors import BadInput
from backend.sketches.view_argument import parse_view, read_sketch, with_absolute_path


@pytest.mark.parametrize(
    ("text", "name", "angles", "projection", "path"),
    [
        ("front=mug.png", "front", (0, 0), "orthographic", "mug.png"),
        ("LEFT=a=b@c.svg", "left", (270, 0), "orthographic", "a=b@c.svg"),
        ("top@mug.png", "top", (0, 90), "orthographic", "mug.png"),
        ("az=30,el=20,fov=50@x@2.png", "az=30,el=20", (30, 20), "perspective", "x@2.png"),
        ("back,lines,weight=2@b.png", "back,lines", (180, 0), "orthographic", "b.png"),
        ("front,perspective@b.png", "front", (0, 0), "perspective", "b.png"),
        ("az=-30,el=0,height=3@b.png", "az=-30,el=0", (330, 0), "orthographic", "b.png"),
    ],
)
def test_sides_and_files_are_told_apart(text, name, angles, projection, path):
    view = parse_view(text)

    assert (view.name, view.path, view.camera.projection) == (name, path, projection)
    assert view.camera.angles_degrees[1] == pytest.approx(angles[1], abs=1e-3)
    if abs(angles[1]) < 90:
        assert view.camera.angles_degrees[0] == pytest.approx(angles[0], abs=1e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mug.png", "names no file"),
        ("front=", "names no file"),
        ("fov=40@mug.png", "does not say from where"),
        ("front,az=3@mug.png", "names a side and angles"),
        ("az=x,el=0@mug.png", "az in the view .* must be a number; got 'x'"),
        ("az=nan,el=0@mug.png", "must be a number; got 'nan'"),
        ("az=0,el=100@mug.png", "elevation of a sketch's camera must be from -90 to 90; got 100"),
        ("fnort@mug.png", "'fnort' in the view .* is not known"),
        ("front,weight=-1@mug.png", "weight in the view .* must be from 0 to 100; got -1"),
        ("front,scribble,lines@mug.png", "is lines and scribble; a drawing is one of outline, lines, scribble"),
        ("az=0,el=0,dist=2,height=2@m.png", "give one"),
    ],
)
def test_what_is_wrong_is_said(text, message):
    with pytest.raises(BadInput, match=message):
        parse_view(text)


@pytest.mark.parametrize(
    ("side", "drawn"), [("front", "outline"), ("front,lines", "lines"), ("top,scribble", "scribble")]
)
def test_a_drawing_is_of_one_kind_and_its_name_says_which(side, drawn):
    view = parse_view(f"{side}@mug.png")

    assert view.drawn == drawn
    assert view.name == side


def test_paths_become_absolute_and_the_side_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert with_absolute_path("front=mug.png") == f"front={tmp_path}/mug.png"
    assert with_absolute_path("az=1,el=2@mug.png") == f"az=1,el=2@{tmp_path}/mug.png"


def test_pictures_are_ink_and_svgs_are_strokes(tmp_path):
    picture = Image.new("L", (64, 64), 255)
    ImageDraw.Draw(picture).ellipse((10, 10, 50, 50), outline=0, width=3)
    picture.save(tmp_path / "a.png")
    line = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><path stroke="#00f" d="M0 0L9 9"/></svg>'
    (tmp_path / "b.svg").write_text(line)

    from_picture = read_sketch(parse_view(f"front={tmp_path}/a.png"))
    from_svg = read_sketch(parse_view(f"left={tmp_path}/b.svg"))
    with_hints = read_sketch(parse_view(f"left,colours@{tmp_path}/b.svg"))

    assert from_picture.ink.any()
    assert from_svg.colour_hints() is None
    colours, places = with_hints.colour_hints()
    assert (colours[places] == (0, 0, 255)).all()
    with pytest.raises(BadInput, match="colours are read from the strokes of an SVG file alone"):
        read_sketch(parse_view(f"front,colours@{tmp_path}/a.png"))
