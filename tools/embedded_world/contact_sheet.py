"""Contact sheets: pictures enlarged side by side with their captions, for people to judge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

LINE_HEIGHT = 12


def draw_contact_sheet(
    images: UInt8[np.ndarray, "pictures height width 3"],
    captions: Sequence[str],
    columns: int = 8,
    enlargement: int = 3,
    lines: int = 3,
) -> Image.Image:
    """Each picture as hard pixels, below it its caption in up to `lines` lines."""
    count, height, width, _ = images.shape
    columns = min(columns, max(count, 1))
    cell_width, cell_height = width * enlargement + 6, height * enlargement + LINE_HEIGHT * lines + 6
    sheet = Image.new("RGB", (columns * cell_width, -(-count // columns) * cell_height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = index % columns * cell_width + 3, index // columns * cell_height + 3
        enlarged = Image.fromarray(image).resize((width * enlargement, height * enlargement), Image.Resampling.NEAREST)
        sheet.paste(enlarged, (left, top))
        for number, line in enumerate(_wrap(caption, font, width * enlargement)[:lines]):
            pen.text((left, top + height * enlargement + number * LINE_HEIGHT), line, fill="black", font=font)
    return sheet


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
