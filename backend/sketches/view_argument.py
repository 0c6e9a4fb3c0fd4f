"""What follows `--view`: from where a drawing was made, and its file.

front=mug.png    left=mug.svg    az=30,el=20,fov=40@x.png    front,lines,weight=0.5@creases.png    back,scribble@x.png
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from backend.errors import BadInput
from backend.sketches.camera import FOV_DEGREES, VIEW_ANGLES, Projection, SketchCamera, ViewName
from backend.sketches.ink import read_ink
from backend.sketches.sketch import Sketch, SketchKind
from backend.sketches.svg import read_svg

_KINDS: tuple[SketchKind, ...] = ("outline", "lines", "scribble")
_NUMBERS = ("az", "el", "fov", "dist", "height", "weight")
_FLAGS = ("perspective", "orthographic", "colours", *_KINDS)
EXAMPLES = "front=mug.png, left=mug.svg or az=30,el=20,fov=40@mug.png"


@dataclass(frozen=True)
class Viewpoint:
    """From where a drawing was made, in the numbers that were typed."""

    view: ViewName | None
    """None where angles were typed."""
    azimuth_degrees: float
    elevation_degrees: float
    projection: Projection
    fov_degrees: float = FOV_DEGREES
    distance_metres: float | None = None
    height_metres: float | None = None

    def camera(self) -> SketchCamera:
        """
        Raises:
            BadInput: A number is outside its range.
        """
        return SketchCamera.orbit(
            self.azimuth_degrees,
            self.elevation_degrees,
            distance_metres=self.distance_metres,
            projection=self.projection,
            fov_degrees=self.fov_degrees,
            height_metres=self.height_metres,
        )


@dataclass(frozen=True)
class ViewArgument:
    """One drawing of a job that is on the disk."""

    name: str
    """What stands before the file, without what says nothing about the side."""
    viewpoint: Viewpoint
    camera: SketchCamera
    """Of the viewpoint."""
    drawn: SketchKind
    weight: float
    path: str
    has_colour_hints: bool = False


def parse_view(text: str) -> ViewArgument:
    """Reads one argument; opens no file.

    Raises:
        BadInput: It is not of the form above; the message says what is wrong.
    """
    side, path = _split(text)
    if not path:
        raise BadInput(f"the view {text!r} names no file; write {EXAMPLES}")
    view, numbers, flags = _read_side(side, text)
    if view is None and ("az" not in numbers or "el" not in numbers):
        raise BadInput(
            f"the view {text!r} does not say from where: give one of {_views()}, or az and el; as {EXAMPLES}"
        )
    if view is not None and ("az" in numbers or "el" in numbers):
        raise BadInput(f"the view {text!r} names a side and angles; give one of both")
    if "dist" in numbers and "height" in numbers:
        raise BadInput(f"the view {text!r} has dist, of perspective views, and height, of orthographic ones; give one")
    kinds = [each for each in _KINDS if each in flags]
    if len(kinds) > 1:
        raise BadInput(f"the view {text!r} is {' and '.join(kinds)}; a drawing is one of {', '.join(_KINDS)}")
    kind = kinds[0] if kinds else "outline"
    is_flat = "height" in numbers or (view is not None and not {"fov", "dist"} & numbers.keys())
    is_flat = "orthographic" in flags or (is_flat and "perspective" not in flags)
    azimuth, elevation = VIEW_ANGLES[view] if view is not None else (numbers["az"], numbers["el"])
    viewpoint = Viewpoint(
        view,
        azimuth,
        elevation,
        "orthographic" if is_flat else "perspective",
        numbers.get("fov", FOV_DEGREES),
        numbers.get("dist"),
        numbers.get("height"),
    )
    camera = viewpoint.camera()
    weight = numbers.get("weight", 1.0)
    if not 0 <= weight <= 100:
        raise BadInput(f"the weight in the view {text!r} must be from 0 to 100; got {weight:g}")
    name = view or f"az={numbers['az']:g},el={numbers['el']:g}"
    name = name if kind == "outline" else f"{name},{kind}"
    return ViewArgument(name, viewpoint, camera, kind, weight, path, "colours" in flags)


def with_absolute_path(text: str) -> str:
    """The same argument for a file that is named from the root."""
    _, path = _split(text)
    side = text[: len(text) - len(path)]
    return side + str(Path(path).expanduser().absolute()) if path else text


def read_sketch(argument: ViewArgument, notice: Callable[[str], None] = lambda sentence: None) -> Sketch:
    """Reads the file: SVG as strokes, any other picture as ink.

    Raises:
        BadInput: It cannot be read, or nothing is drawn in it.
    """
    if Path(argument.path).suffix.lower() == ".svg":
        strokes, aspect = read_svg(argument.path, notice)
        if not argument.has_colour_hints:
            strokes = strokes.without_colours()
        elif strokes.colours is None:
            notice(f"not every stroke of {argument.path} has a colour, so none is a hint")
        return Sketch(argument.name, argument.camera, argument.drawn, argument.weight, aspect, strokes=strokes)
    if argument.has_colour_hints:
        raise BadInput(f"colours are read from the strokes of an SVG file alone; {argument.path} is a picture")
    ink = read_ink(argument.path, notice)
    return Sketch(argument.name, argument.camera, argument.drawn, argument.weight, ink=ink)


def _split(text: str) -> tuple[str, str]:
    """The side and the file: at the `=` behind the name of a side, else at the first `@`."""
    side, equals, path = text.partition("=")
    if equals and side.strip().lower() in get_args(ViewName):
        return side, path
    side, _, path = text.partition("@")
    return side, path


def _read_side(side: str, text: str) -> tuple[ViewName | None, dict[str, float], set[str]]:
    view: ViewName | None = None
    numbers: dict[str, float] = {}
    flags: set[str] = set()
    for part in side.split(","):
        word, equals, value = (piece.strip() for piece in part.partition("="))
        word = word.lower()
        if equals and word in _NUMBERS:
            numbers[word] = _number(value, word, text)
        elif not equals and word in get_args(ViewName):
            view = cast(ViewName, word)
        elif not equals and word in _FLAGS:
            flags.add(word)
        else:
            known = f"a side ({_views()}), {', '.join(_FLAGS)}, or a number for {', '.join(_NUMBERS)}"
            raise BadInput(f"{part.strip()!r} in the view {text!r} is not known; it must be {known}")
    return view, numbers, flags


def _number(value: str, word: str, text: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadInput(f"{word} in the view {text!r} must be a number; got {value!r}")
    return number


def _views() -> str:
    return ", ".join(get_args(ViewName))
