"""A finished mesh turned once around: an animation and a contact sheet of eight views."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from backend.cameras import CameraBatch, turntable_cameras
from backend.durable_files import write_whole_file
from backend.geometry.triangle_mesh import TriangleMesh
from backend.render.rasteriser import Rasteriser
from backend.render.renderer import Appearance, render_views
from backend.render.shading import headlight

FRAME_COUNT = 40  # a multiple of the eight views of the contact sheet, which are taken from these
FRAMES_PER_SECOND = 12.5  # GIF counts in hundredths of a second; browsers slow down what is faster than 50 a second
CONTACT_SHEET_VIEWS = 8
CONTACT_SHEET_COLUMNS = 4
BACKGROUND = (0.905, 0.91, 0.92)
"""Neutral and light, but darker than a white object."""
_VIEWS_AT_ONCE = 6  # 6 views of 512 px need some 200 MB; all 40 would need more than the job itself
_INK = (70, 74, 82)

Frames = UInt8[np.ndarray, "views height width 3"]


@torch.no_grad()
def render_turntable(
    rasteriser: Rasteriser,
    mesh: TriangleMesh,
    appearance: Appearance,
    *,
    frame_count: int = FRAME_COUNT,
    resolution: int = 256,
    supersample: int = 2,
) -> Frames:
    """Evenly spaced views from a little above under a headlight, beginning at the front.

    Args:
        resolution: Height and width of a frame in pixels.
        supersample: Renders this many times larger in each direction and averages.
    """
    device = mesh.positions.device
    cameras = turntable_cameras(frame_count, device=device)
    background = torch.tensor(BACKGROUND, device=device)
    frames = []
    for first in range(0, frame_count, _VIEWS_AT_ONCE):
        some = _camera_slice(cameras, first, first + _VIEWS_AT_ONCE)
        views = render_views(
            rasteriser,
            mesh,
            appearance,
            some,
            resolution,
            lighting=headlight(some),
            background=background,
            supersample=supersample,
        )
        frames.append((views.images.clamp(0, 1) * 255).round().to(torch.uint8).cpu())
    return torch.cat(frames).numpy()


def write_gif(path: Path, frames: Frames, frames_per_second: float = FRAMES_PER_SECOND) -> None:
    """An endless GIF, which plays everywhere, with one palette for all frames so that nothing flickers.

    The palette is made from the whole turn and refined by k-means; without dithering, whose dots would crawl.
    """
    # Every other pixel of a dozen frames has all the colours, at a sixteenth of the time.
    palette_source = Image.fromarray(np.concatenate(list(frames[:: max(1, len(frames) // 12), ::2, ::2]), axis=1))
    palette = palette_source.quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=2)
    _keep_colour(palette, tuple(frames[0, 0, 0].tolist()))
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    content = io.BytesIO()
    images[0].save(
        content,
        "GIF",
        save_all=True,
        append_images=images[1:],
        duration=round(1000 / frames_per_second),
        loop=0,
        optimize=False,  # would give each frame a palette of its own
    )
    write_whole_file(path, content.getvalue())


def write_contact_sheet(path: Path, frames: Frames) -> None:
    """Eight of the frames, evenly spaced, in two rows, with their azimuths."""
    chosen = [round(index * len(frames) / CONTACT_SHEET_VIEWS) for index in range(CONTACT_SHEET_VIEWS)]
    size = frames.shape[1]
    rows = CONTACT_SHEET_VIEWS // CONTACT_SHEET_COLUMNS
    sheet = Image.new("RGB", (CONTACT_SHEET_COLUMNS * size, rows * size))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(max(9, size // 20))
    for place, frame_index in enumerate(chosen):
        left, top = place % CONTACT_SHEET_COLUMNS * size, place // CONTACT_SHEET_COLUMNS * size
        sheet.paste(Image.fromarray(frames[frame_index]), (left, top))
        azimuth = round(360 * frame_index / len(frames))
        draw.text((left + size // 26, top + size // 32), f"{azimuth}°", fill=_INK, font=font)
    content = io.BytesIO()
    sheet.save(content, "PNG")
    write_whole_file(path, content.getvalue())


def _keep_colour(palette: Image.Image, colour: tuple[int, ...]) -> None:
    """Puts a colour into a palette in the place of its nearest one, so that the background stays what it is."""
    values = np.array(palette.getpalette(), dtype=np.int64).reshape(-1, 3)
    values[np.abs(values - np.array(colour)).sum(axis=1).argmin()] = colour
    palette.putpalette(values.reshape(-1).tolist())


def _camera_slice(cameras: CameraBatch, first: int, end: int) -> CameraBatch:
    return CameraBatch(
        cameras.azimuth_degrees[first:end],
        cameras.elevation_degrees[first:end],
        cameras.distance_metres[first:end],
        cameras.fov_degrees[first:end],
    )
