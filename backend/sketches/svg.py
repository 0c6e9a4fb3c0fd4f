"""SVG drawings to strokes. Shapes alone are read: scripts, links to other files, pictures and text are left out, told.

svgelements does the parsing of paths, units and transforms; it opens no file that the drawing names.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from backend.errors import BadInput
from backend.sketches.sketch import Strokes

MOST_BYTES = 32 * 2**20
MOST_POINTS = 2_000_000
_POINTS_A_PIECE = 24  # of a curve or an arc
_LEFT_OUT = {
    "scripts": rb"<\s*(\w+:)?script\b|\son\w+\s*=",
    "links to other files": rb"href\s*=\s*[\"']\s*(?!#|data:)|url\(\s*[\"']?\s*(?!#)|@import",
    "pictures": rb"<\s*(\w+:)?image\b",
    "text": rb"<\s*(\w+:)?text\b",
}


def read_svg(path: Path | str, notice: Callable[[str], None] = lambda sentence: None) -> tuple[Strokes, float]:
    """The strokes of a drawing and the aspect of its page, width by height.

    Every path, line, polygon, rectangle, circle and ellipse is a stroke; of shapes that are filled and have no stroke
    the border. Colours other than black and white are kept, for hints.

    Args:
        notice: Told what of the file is left out.

    Raises:
        BadInput: The file is not there, too large, no SVG, or has no shapes.
    """
    path = Path(path).expanduser()
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadInput(f"the drawing {path} has more than {MOST_BYTES // 2**20} MB; save it smaller")
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"the drawing {path} cannot be read ({error.strerror or error})") from error
    return svg_strokes(content, str(path), notice)


def svg_strokes(
    content: bytes, name: str, notice: Callable[[str], None] = lambda sentence: None
) -> tuple[Strokes, float]:
    """The same for the content of a file, which errors call `name`."""
    from svgelements import SVG

    if re.search(rb"<!ENTITY", content):
        raise BadInput(f"the drawing {name} declares entities, which are not read; save it as plain SVG")
    found = [what for what, pattern in _LEFT_OUT.items() if re.search(pattern, content)]
    if found:
        notice(f"{name} has {' and '.join(found)}, which are left out")
    try:
        drawing: Any = SVG.parse(io.BytesIO(content), reify=True, ppi=96.0, color="black")
        strokes = _strokes_of(drawing)
    except BadInput as error:
        raise BadInput(f"the drawing {name}: {error}") from error
    except Exception as error:  # the parser has many errors of its own: ValueError, KeyError, ParseError...
        raise BadInput(f"the drawing {name} cannot be read as SVG ({error or type(error).__name__})") from error
    if not strokes:
        raise BadInput(f"the sketch {name} is empty: the drawing has no lines or shapes")
    # After `reify` all is in pixels of the page, y downwards.
    width, height = _page(drawing, np.concatenate([points for points, _ in strokes]))
    points = np.concatenate([points for points, _ in strokes]) / (width, height)
    points[:, 1] = 1 - points[:, 1]
    if not np.isfinite(points).all():
        raise BadInput(f"the drawing {name} has coordinates that are not finite numbers")
    lengths = np.array([len(each) for each, _ in strokes])
    colours = [colour for _, colour in strokes]
    has_colour = all(colour is not None for colour in colours)
    return Strokes(points, lengths, colours=np.array(colours, dtype=np.uint8) if has_colour else None), width / height


def _page(drawing: Any, points: np.ndarray) -> tuple[float, float]:
    """Width and height; what the shapes need where the file does not say."""
    width, height = float(drawing.width or 0), float(drawing.height or 0)
    if width > 0 and height > 0:
        return width, height
    furthest = points.max(axis=0)
    return max(float(furthest[0]), 1e-6), max(float(furthest[1]), 1e-6)


def _strokes_of(drawing: Any) -> list[tuple[np.ndarray, tuple[int, int, int] | None]]:
    from svgelements import Path as SvgPath
    from svgelements import Shape

    strokes: list[tuple[np.ndarray, tuple[int, int, int] | None]] = []
    count = 0
    for element in drawing.elements():
        if not isinstance(element, Shape) or _is_hidden(element):
            continue
        colour = _hint(element)
        for subpath in SvgPath(element).as_subpaths():
            points = _points_of(subpath)
            count += len(points)
            if count > MOST_POINTS:
                raise BadInput(f"more than {MOST_POINTS:,} points; simplify it first")
            if len(points):
                strokes.append((points, colour))
    return strokes


def _points_of(subpath: Any) -> np.ndarray:
    """[points, 2] in pixels of the page; the points of straight pieces are kept as they are."""
    from svgelements import Close, Line, Move

    points: list[tuple[float, float]] = []
    for piece in subpath:
        if isinstance(piece, Move | Line | Close):
            if piece.end is not None:
                points.append((float(piece.end.x), float(piece.end.y)))
        else:
            along = np.linspace(0, 1, _POINTS_A_PIECE + 1)[1:]
            points.extend((float(point.x), float(point.y)) for point in map(piece.point, along))
    return np.array(points, dtype=np.float64).reshape(-1, 2)


def _is_hidden(element: Any) -> bool:
    values = element.values
    return values.get("display") == "none" or values.get("visibility") in ("hidden", "collapse")


def _hint(element: Any) -> tuple[int, int, int] | None:
    """The colour of the stroke, or of the fill where there is none; None for greys, which are only ink."""
    for paint in (element.stroke, element.fill):
        if paint is not None and paint.value is not None:
            colour = (int(paint.red), int(paint.green), int(paint.blue))
            return colour if max(colour) - min(colour) > 40 else None
    return None
