"""Picture files of every kind become square sRGB pictures, and what is none is told in a sentence."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from backend import pictures
from backend.errors import BadInput, OutputNotWritable
from backend.pictures import check_folder_output, check_picture_output, read_picture, side_by_side, write_picture

RED, GREEN = (200, 30, 10), (10, 160, 40)


def halves():
    """Left red, right green."""
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[:, :8], pixels[:, 8:] = RED, GREEN
    return Image.fromarray(pixels)


def colours_of(read):
    """Of the middles of the left and the right half, as bytes."""
    middle = read.shape[0] // 2
    quarter = read.shape[1] // 4
    return [tuple((read[middle, x] * 255).round().int().tolist()) for x in (quarter, 3 * quarter)]


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA"])
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_modes_that_hold_the_colours_give_them_back(tmp_path, mode, suffix):
    path = tmp_path / f"a.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    halves().convert(mode, palette=Image.Palette.ADAPTIVE).save(path, **options)

    assert colours_of(read_picture(path, 16)) == [RED, GREEN]


def test_cmyk_without_a_profile_is_read_as_its_complement(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.tif")

    assert colours_of(read_picture(tmp_path / "a.tif", 16))[0] == (255, 0, 0)


@pytest.mark.parametrize(
    ("mode", "value"), [("L", 100), ("LA", (100, 255)), ("1", 1), ("I;16", 25700), ("I", 25700), ("F", 100 / 255)]
)
def test_grey_of_every_depth_is_the_same_grey(tmp_path, mode, value):
    Image.new(mode, (8, 8), value).save(tmp_path / "a.tif" if mode in ("F", "I") else tmp_path / "a.png")
    path = next(tmp_path.iterdir())

    assert colours_of(read_picture(path, 16))[0] == ((255,) * 3 if mode == "1" else (100,) * 3)


def test_the_picture_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down: the camera was held the other way round
    halves().save(tmp_path / "a.png", exif=exif)

    assert colours_of(read_picture(tmp_path / "a.png", 16)) == [GREEN, RED]


def test_transparent_places_are_white(tmp_path):
    picture = halves().convert("RGBA")
    picture.putalpha(Image.fromarray(np.repeat([[255] * 8 + [0] * 8], 16, axis=0).astype(np.uint8)))
    picture.save(tmp_path / "a.png")
    picture.convert("P").save(tmp_path / "b.gif", transparency=picture.convert("P").getpixel((12, 8)))

    assert colours_of(read_picture(tmp_path / "a.png", 16)) == [RED, (255, 255, 255)]
    assert colours_of(read_picture(tmp_path / "b.gif", 16))[1] == (255, 255, 255)


def test_a_colour_profile_is_applied(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (8, 8), RED).save(tmp_path / "srgb.png", icc_profile=srgb)
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.new("LAB", (8, 8), (128, 128, 128)).save(tmp_path / "lab.tif", icc_profile=lab)

    assert np.abs(np.subtract(colours_of(read_picture(tmp_path / "srgb.png", 16))[0], RED)).max() <= 1
    # L* = 50.2 with no chroma is sRGB grey 119.
    grey = colours_of(read_picture(tmp_path / "lab.tif", 16))[0]
    assert np.abs(np.subtract(grey, (119, 119, 119))).max() <= 3


def test_a_broken_profile_is_told_and_ignored(tmp_path):
    halves().save(tmp_path / "a.png", icc_profile=b"no profile")
    told = []

    assert colours_of(read_picture(tmp_path / "a.png", 16, told.append)) == [RED, GREEN]
    assert "colour profile" in told[0]


def test_the_middle_square_is_used_and_told(tmp_path):
    wide = Image.new("RGB", (48, 16), (0, 0, 0))
    wide.paste(halves(), (16, 0))
    wide.save(tmp_path / "a.png")
    told = []

    assert colours_of(read_picture(tmp_path / "a.png", 16, told.append)) == [RED, GREEN]
    assert "48 x 16 pixels; its middle square" in told[0]


def png_of_claimed_size(width, height):
    """A PNG that says it is large and holds next to nothing."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", b"no picture", "is no picture that can be read; known formats are PNG, JPEG"),
        ("a.png", b"", "is no picture that can be read"),
        ("a.ps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no picture that can be read"),
        ("bomb.png", png_of_claimed_size(60_000, 60_000), "too large; at most 80 million pixels"),
        ("large.png", png_of_claimed_size(8_001, 10_000), r"at most 80 million pixels are read.*it has 8001 x 10000"),
        ("hollow.png", png_of_claimed_size(64, 64), "cannot be read"),
    ],
)
def test_what_is_no_picture_is_told_in_a_sentence(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(BadInput, match=message):
        read_picture(tmp_path / name, 16)


def test_a_picture_cut_in_the_middle_a_missing_one_and_a_folder_are_told(tmp_path):
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole, "PNG")
    (tmp_path / "cut.png").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])

    with pytest.raises(BadInput, match=r"cut\.png cannot be read"):
        read_picture(tmp_path / "cut.png", 16)
    with pytest.raises(BadInput, match=r"there is no picture .*gone\.png"):
        read_picture(tmp_path / "gone.png", 16)
    with pytest.raises(BadInput, match="is a folder; name a picture in it"):
        read_picture(tmp_path, 16)


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_BYTES", 50)
    halves().save(tmp_path / "a.png")

    with pytest.raises(BadInput, match="at most 50 bytes are read"):
        read_picture(tmp_path / "a.png", 16)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_written_pictures_are_read_again(tmp_path, suffix):
    path = tmp_path / "new" / f"a{suffix}"
    write_picture(path, np.asarray(halves()))

    off = np.abs(np.subtract(colours_of(read_picture(path, 16)), [RED, GREEN])).max()
    assert off <= (6 if suffix == ".jpg" else 0)


def test_a_place_that_cannot_be_written_is_found_out_before(tmp_path):
    (tmp_path / "file.png").touch()
    with pytest.raises(BadInput, match=r"the suffix '\.glb'.*known are \.png, \.jpg"):
        check_picture_output(tmp_path / "a.glb")
    with pytest.raises(OutputNotWritable, match=r"is a folder; name a file in it"):
        check_picture_output(tmp_path)
    with pytest.raises(OutputNotWritable, match=r"file\.png is a file, not a folder"):
        check_picture_output(tmp_path / "file.png" / "a.png")
    with pytest.raises(OutputNotWritable, match="is a file; give a folder"):
        check_folder_output(tmp_path / "file.png")
    check_picture_output(tmp_path / "new" / "a.PNG")
    check_folder_output(tmp_path / "new" / "folder")

    assert [path.name for path in tmp_path.iterdir()] == ["file.png"]


def test_a_sheet_fills_its_last_row_with_white():
    tiles = [np.full((2, 2, 3), value, dtype=np.uint8) for value in (10, 20, 30)]

    sheet = side_by_side(tiles)

    assert sheet[::2, ::2, 0].tolist() == [[10, 20], [30, 255]]
    assert side_by_side(tiles, columns=3).shape == (2, 6, 3)
    assert torch.equal(torch.from_numpy(side_by_side(tiles[:1])), torch.from_numpy(tiles[0]))
