"""Pictures of one ring, drawn and taken in many ways, give the same ink."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from backend.errors import BadInput
from backend.sketches.ink import ink_of, ink_of_png, read_ink

SIZE = 200


def ring(ground=255, line=0, mode="L"):
    picture = Image.new("L", (SIZE, SIZE), ground)
    ImageDraw.Draw(picture).ellipse((50, 50, 150, 150), outline=line, width=5)
    return picture.convert(mode)


def expected_ink():
    return np.asarray(ring()) < 128


def overlap(ink):
    wanted = expected_ink()
    return (ink & wanted).sum() / (ink | wanted).sum()


def on_transparent_ground(line):
    picture = Image.new("RGBA", (SIZE, SIZE), (0, 0, 0, 0))
    ImageDraw.Draw(picture).ellipse((50, 50, 150, 150), outline=(line, line, line, 255), width=5)
    return picture


def photograph():
    """Grey lines on paper whose light falls from 0.95 to 0.4 across it, with grain."""
    light = np.linspace(0.95, 0.4, SIZE)[None, :] * np.linspace(1.0, 0.8, SIZE)[:, None]
    paper = light * np.where(expected_ink(), 0.45, 1.0)
    grain = np.random.default_rng(0).normal(0, 0.01, paper.shape)
    return Image.fromarray(((paper + grain).clip(0, 1) * 255).astype(np.uint8))


@pytest.mark.parametrize(
    "picture",
    [
        ring(),
        ring(255, 0, "RGB"),
        ring(255, 0, "1"),
        ring(255, 0, "P"),
        ring(220, 120),
        ring(20, 240),
        Image.fromarray(np.asarray(ring()).astype(np.uint16) * 257),
        on_transparent_ground(0),
        on_transparent_ground(255),
    ],
    ids=["grey", "rgb", "bits", "palette", "pencil", "light-on-dark", "16-bit", "alpha", "white-on-alpha"],
)
def test_clean_drawings_of_every_mode_give_their_lines(picture):
    assert overlap(ink_of(picture, "ring")) > 0.9


def test_the_light_of_a_photograph_is_evened_out():
    assert overlap(ink_of(photograph(), "ring")) > 0.8


def test_a_filled_shape_stays_filled():
    picture = Image.new("L", (SIZE, SIZE), 255)
    ImageDraw.Draw(picture).ellipse((20, 20, 180, 180), fill=0)

    ink = ink_of(picture, "disc")

    assert ink[100, 100]
    assert ink.sum() == pytest.approx(np.pi * 80**2, rel=0.02)


def test_specks_are_no_lines():
    picture = ring()
    for x, y in ((10, 10), (30, 180), (170, 20)):
        picture.putpixel((x, y), 0)

    assert not ink_of(picture, "ring")[:40, :40].any()


def test_light_on_dark_is_told():
    notices = []
    ink_of(ring(20, 240), "ring.png", notices.append)

    assert notices == ["ring.png is read as light lines on a dark ground"]


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_an_empty_sheet_is_refused(grey):
    with pytest.raises(BadInput, match=r"the sketch sheet is empty: nothing in it stands out"):
        ink_of(Image.new("L", (64, 64), grey), "sheet")


def test_a_turned_photograph_is_turned_back(tmp_path):
    picture = Image.new("L", (60, 40), 255)
    ImageDraw.Draw(picture).rectangle((3, 3, 9, 9), fill=0)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn it clockwise
    picture.save(tmp_path / "turned.jpg", exif=exif, quality=95)

    ink = read_ink(tmp_path / "turned.jpg")

    assert ink.shape == (60, 40)
    assert ink[6, 33]
    assert not ink[6, 6]


def test_a_picture_of_the_wire_is_read_from_its_bytes():
    content = io.BytesIO()
    ring().save(content, "PNG")

    assert overlap(ink_of_png(content.getvalue(), "front")) > 0.9


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "mug.png").write_bytes(b"no picture")

    with pytest.raises(BadInput, match=r"mug\.png is no picture"):
        read_ink(tmp_path / "mug.png")
    with pytest.raises(BadInput, match="there is no picture"):
        read_ink(tmp_path / "other.png")
