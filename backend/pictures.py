"""Picture files to square sRGB pictures of a model's size, and pictures to files. Knows no prompts and no models."""

from __future__ import annotations

import io
import math
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageCms, ImageOps
from torch import Tensor

from backend.durable_files import write_whole_file
from backend.errors import BadInput, OutputNotWritable
from backend.readable import readable_bytes

READ_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "TGA")
"""Those that Pillow decodes by itself: others start programs, such as Ghostscript."""
WRITTEN_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
MOST_BYTES = 256 * 2**20
MOST_PIXELS = 80_000_000  # a little below what Pillow itself takes for a bomb
JPEG_QUALITY = 95

Picture = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class FinishedPictures:
    """What a job that makes pictures ends in."""

    pictures: dict[str, Picture]
    """By name; the name of a picture that is the only one may be empty."""
    sheet: UInt8[np.ndarray, "sheet_height sheet_width 3"] | None = None
    """Several of them, or of their views, side by side."""
    sheet_name: str = "sheet"
    frames: UInt8[np.ndarray, "frames height width 3"] | None = None
    """Of an animation."""


def read_picture(
    path: Path | str, size: int, notice: Callable[[str], None] = lambda sentence: None
) -> Float[Tensor, "size size 3"]:
    """The middle square of a picture file, in sRGB and in [0, 1].

    Turned as its EXIF says, through its ICC profile where it has one, transparent places on white. Of an animation the
    first frame.

    Args:
        size: Height and width of the result.
        notice: Told what is cropped, and a profile that cannot be used.

    Raises:
        BadInput: It is not there, no picture, damaged, or too large.
    """
    path = Path(path).expanduser()
    with _explained(path):
        _require_small_file(path)
        return _read(path, path, READ_FORMATS, size, notice)


def read_png(
    content: bytes, name: str, size: int, notice: Callable[[str], None] = lambda sentence: None
) -> Float[Tensor, "size size 3"]:
    """The same for the bytes of a PNG file, which errors and notices call `name`.

    Raises:
        BadInput: It is no PNG file, damaged, or too large.
    """
    with _explained(Path(name)):
        return _read(io.BytesIO(content), Path(name), ("PNG",), size, notice)


def open_picture(source: Path | bytes, name: str | None = None) -> Image.Image:
    """A picture as it is in its file, or in the bytes of a PNG file, turned as its EXIF says; decoded and checked.

    Args:
        name: What errors call it; None for the path.

    Raises:
        BadInput: It is not there, no picture, damaged, or too large.
    """
    path = Path(name or "picture") if isinstance(source, bytes) else source.expanduser()
    with _explained(path):
        if isinstance(source, bytes):
            return _open(io.BytesIO(source), path, ("PNG",))
        _require_small_file(path)
        return _open(path, path, READ_FORMATS)


def _read(
    source: Path | io.BytesIO, path: Path, formats: tuple[str, ...], size: int, notice: Callable[[str], None]
) -> Float[Tensor, "size size 3"]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        whole = _open(source, path, formats)
        picture = _on_white(_as_srgb(whole, path, notice))
    square = _middle_square(picture, path, notice)
    resized = square.resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(resized).copy()).float() / 255


def to_bytes(pictures: Float[Tensor, "pictures height width 3"]) -> UInt8[np.ndarray, "pictures height width 3"]:
    """8-bit pictures, rounded, on the CPU."""
    return (pictures.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def side_by_side(
    pictures: Sequence[Picture], columns: int | None = None
) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
    """A sheet of equally large pictures in rows; the last row is filled with white.

    Args:
        columns: None makes the sheet about square.
    """
    columns = columns or math.ceil(math.sqrt(len(pictures)))
    columns = min(columns, len(pictures))
    white = np.full_like(pictures[0], 255)
    filled = [*pictures, *[white] * (-len(pictures) % columns)]
    rows = [np.concatenate(filled[first : first + columns], axis=1) for first in range(0, len(filled), columns)]
    return np.concatenate(rows, axis=0)


def encode_picture(picture: Picture, suffix: str) -> bytes:
    """The content of a file of the format that the suffix names.

    Raises:
        BadInput: The suffix is not known.
    """
    _require_known_suffix(Path("picture" + suffix))
    content = io.BytesIO()
    format_name = WRITTEN_FORMATS[suffix.lower()]
    options = {"quality": JPEG_QUALITY, "subsampling": 0} if format_name == "JPEG" else {}
    if format_name == "WEBP":
        options = {"lossless": True}
    Image.fromarray(picture).save(content, format_name, **options)
    return content.getvalue()


def write_picture(path: Path, picture: Picture) -> None:
    """Writes a file, whole or not at all. Folders on the way are made.

    Raises:
        BadInput: The suffix is not known.
        OSError: The disk is full or cannot be written.
    """
    content = encode_picture(picture, path.suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole_file(path, content)


def check_picture_output(path: Path) -> None:
    """Finds out before the work whether a picture can be written to a path. Leaves nothing behind.

    Raises:
        BadInput: The suffix is not known.
        OutputNotWritable: The path is a folder, or its folder cannot be made or written.
    """
    path = path.expanduser()
    if path.is_dir():
        raise OutputNotWritable(f"{path} is a folder; name a file in it, such as {path / 'picture.png'}")
    _require_known_suffix(path)
    _require_writable(path, path.absolute().parent)
    if path.exists() and not os.access(path, os.W_OK):
        raise OutputNotWritable(f"{path} exists and must not be overwritten (its permissions say so)")


def check_folder_output(path: Path) -> None:
    """The same for a folder that gets several files.

    Raises:
        OutputNotWritable: It is a file, or it cannot be made or written.
    """
    path = path.expanduser()
    if path.exists() and not path.is_dir():
        raise OutputNotWritable(f"{path} is a file; give a folder, which gets several pictures")
    _require_writable(path, path.absolute())


# ---------------------------------------------------------------------- reading


def _open(source: Path | io.BytesIO, path: Path, formats: tuple[str, ...]) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(source, formats=formats) as opened:
            _require_few_pixels(path, opened.size)
            opened.load()
            return ImageOps.exif_transpose(opened)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """What Pillow says of a file as a BadInput."""
    try:
        yield
    except BadInput:
        raise
    except FileNotFoundError as error:
        raise BadInput(f"there is no picture {path}") from error
    except IsADirectoryError as error:
        raise BadInput(f"{path} is a folder; name a picture in it") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadInput(_too_many_pixels(path)) from error
    except Image.UnidentifiedImageError as error:
        known = ", ".join(READ_FORMATS)
        raise BadInput(f"{path} is no picture that can be read; known formats are {known}") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, MemoryError) as error:
        # Pillow's decoders each have errors of their own for a damaged file.
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BadInput(f"the picture {path} cannot be read ({reason})") from error


def _require_small_file(path: Path) -> None:
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise BadInput(
            f"the picture {path} has {readable_bytes(size)}; at most {readable_bytes(MOST_BYTES)} are read. "
            "Save it smaller: the model looks at far fewer pixels"
        )


def _require_few_pixels(path: Path, size: tuple[int, int]) -> None:
    if size[0] * size[1] > MOST_PIXELS:
        raise BadInput(f"{_too_many_pixels(path)} (it has {size[0]} x {size[1]})")


def _too_many_pixels(path: Path) -> str:
    return f"the picture {path} is too large; at most {MOST_PIXELS // 10**6} million pixels are read. Save it smaller"


def _as_srgb(picture: Image.Image, path: Path, notice: Callable[[str], None]) -> Image.Image:
    """RGB or RGBA of 8 bits, in sRGB."""
    profile = picture.info.get("icc_profile")
    has_alpha = picture.has_transparency_data
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _as_eight_bits(picture)
    if picture.mode == "P":
        picture = picture.convert("RGBA" if has_alpha else "RGB")
    elif picture.mode == "PA":
        picture = picture.convert("RGBA")
    alpha = picture.convert("RGBA").getchannel("A") if has_alpha else None
    if picture.mode in ("RGBA", "RGBa", "RGBX"):
        picture = picture.convert("RGBA").convert("RGB")
    elif picture.mode in ("LA", "La", "1"):
        picture = picture.convert("L")
    coloured = _through_profile(picture, profile, path, notice) if profile else picture.convert("RGB")
    if alpha is not None:
        coloured.putalpha(alpha)
    return coloured


def _as_eight_bits(picture: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits: `convert` would cut off everything above 255."""
    values = np.asarray(picture).astype(np.float64)
    # 16-bit files arrive in 32 bits from some formats; floating-point ones are in [0, 1] by custom.
    full = 1.0 if picture.mode == "F" else 65535.0
    return Image.fromarray((np.nan_to_num(values / full).clip(0, 1) * 255).round().astype(np.uint8))


def _through_profile(picture: Image.Image, profile: bytes, path: Path, notice: Callable[[str], None]) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        notice(f"the colour profile of {path} cannot be used ({error}); it is read as sRGB")
        return picture.convert("RGB")
    assert converted is not None  # only in-place conversion gives nothing
    return converted


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode != "RGBA":
        return picture
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, picture).convert("RGB")


def _middle_square(picture: Image.Image, path: Path, notice: Callable[[str], None]) -> Image.Image:
    width, height = picture.size
    side = min(width, height)
    if width == height:
        return picture
    notice(f"{path} has {width} x {height} pixels; its middle square is used, as the model draws squares")
    left, top = (width - side) // 2, (height - side) // 2
    return picture.crop((left, top, left + side, top + side))


# ---------------------------------------------------------------------- writing


def _require_known_suffix(path: Path) -> None:
    if path.suffix.lower() not in WRITTEN_FORMATS:
        known = ", ".join(WRITTEN_FORMATS)
        named = f"the suffix {path.suffix!r} of {path} names no format" if path.suffix else f"{path} has no suffix"
        raise BadInput(f"{named} that pictures can be written in; known are {known}")


def _require_writable(path: Path, folder: Path) -> None:
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise OutputNotWritable(f"{path} cannot be written: {existing} is a file, not a folder")
    # The only sure test: permissions, read-only disks and quotas all have their own ways to say no.
    probe = existing / f".sketchbridge-probe-{os.getpid()}"
    try:
        probe.touch()
    except OSError as error:
        raise OutputNotWritable(f"{path} cannot be written ({error.strerror or error})") from error
    finally:
        probe.unlink(missing_ok=True)
