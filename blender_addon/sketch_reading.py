# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene's sketches as the protocol has them: Grease Pencil strokes as the remembered camera sees them, or an image.
Changes nothing.

Strokes are read as they were drawn, at the current frame, without modifiers; hidden layers and strokes of hidden
materials are left out.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from . import sketches
from .protocol.arrays import MOST_ALONG
from .protocol.errors import LocalProtocolError
from .protocol.settings import Limits, Placement
from .protocol.sketches import MatrixCamera, Sketch
from .sketch_strokes import (
    THUMBNAIL_PIXELS,
    Picture,
    Strokes,
    View,
    draw_picture,
    in_square,
    picture_of,
    png_of,
    project,
    srgb_bytes,
)
from .sketches import SketchbridgeSketch

MOST_PIXELS_A_SIDE = 2048
"""Of pictures that are sent: larger ones are made smaller. Servers read 512."""
_DEFAULT_RADIUS_METRES = 0.01
_MARGIN = 1.05
"""Of the ball in which the object grows, around what is drawn."""
_INVISIBLE = -1


class UnusableSketch(Exception):
    """It gives nothing that a server takes. The message says what to do."""


class EmptySketch(UnusableSketch):
    """There are no strokes, such as before the first one."""


@dataclass(frozen=True)
class SentSketch:
    """What a job has of a sketch."""

    digest: str
    """Of everything but the weight."""
    weight: float


@dataclass
class _Layer:
    """The strokes of one layer, as Blender has them."""

    positions: np.ndarray
    offsets: np.ndarray
    point_values: dict[str, np.ndarray]
    stroke_values: dict[str, np.ndarray]
    matrix: np.ndarray


def wire_sketches(scene: bpy.types.Scene, limits: Limits | None = None) -> tuple[Sketch, ...]:
    """All sketches of a scene, for the server.

    Raises:
        UnusableSketch: There is none, two have one name, or one of them cannot be used.
    """
    items = sketches.of(scene).items
    if not items:
        raise UnusableSketch("There is no sketch: press Draw Sketch and draw the outline, or Take View of a drawing")
    require_names(items)
    require_count(len(items), limits)
    return tuple(wire_sketch(each, scene) for each in items)


def require_names(items: Sequence[SketchbridgeSketch]) -> None:
    """
    Raises:
        UnusableSketch: Two sketches have one name, or one has none.
    """
    names = Counter(each.name for each in items)
    doubled = next((name for name, count in names.items() if count > 1), None)
    if doubled is not None:
        raise UnusableSketch(f"Two sketches are called {doubled}: double-click one of them in the list to rename it")
    if any(not name.strip() for name in names):
        raise UnusableSketch("A sketch has no name: double-click it in the list to give it one")


def require_count(count: int, limits: Limits | None) -> None:
    """
    Raises:
        UnusableSketch: There are more than the server takes.
    """
    most = (limits or Limits()).sketches
    if count > most:
        raise UnusableSketch(f"There are {count} sketches, and the server takes {most}: remove some from the list")


def wire_sketch(sketch: SketchbridgeSketch, scene: bpy.types.Scene) -> Sketch:
    """One sketch, for the server.

    Raises:
        UnusableSketch: It is empty, outside its view, too large, or what it is of was deleted.
    """
    view = sketches.view_of(sketch)
    given: dict[str, Any] = {"name": sketch.name, "drawn": sketch.kind, "weight": sketch.weight, "aspect": view.aspect}
    if sketch.image is not None:
        given |= {"picture": png_of(_pixels_of(sketch)), "has_colour": sketch.has_colours}
    else:
        picture = flat_strokes(sketch, scene)
        given |= {
            "points": picture.points,
            "stroke_lengths": picture.lengths,
            "pressure": picture.pressure,
            "stroke_colours": picture.colours if sketch.has_colours else None,
            "line_width": picture.line_width,
        }
    try:
        return Sketch(**given, camera=wire_camera(view))
    except LocalProtocolError as error:
        raise UnusableSketch(f"The sketch {sketch.name} cannot be sent: {error}") from None


def wire_camera(view: View) -> MatrixCamera:
    """
    Raises:
        LocalProtocolError: A number is outside of what the protocol allows.
    """
    # Only one of both numbers counts; the other keeps its default, which is always allowed.
    size = {"height_metres": view.height_metres} if view.is_flat else {"fov_degrees": view.fov_degrees}
    return MatrixCamera(
        camera_to_world=view.camera_to_world, projection=view.projection, shift=tuple(view.shift), **size
    )


def flat_strokes(sketch: SketchbridgeSketch, scene: bpy.types.Scene) -> Picture:
    """The strokes as the sketch's camera sees them.

    Raises:
        EmptySketch: There are none.
        UnusableSketch: There are none inside the picture, or too many; or the drawing was deleted.
    """
    strokes = read_strokes(sketch, scene)
    name = sketch.name
    if len(strokes.points) == 0:
        raise EmptySketch(f"The sketch {name} is empty: draw in it, or remove it")
    view = sketches.view_of(sketch)
    picture = picture_of(view, strokes)
    if picture.inside == 0:
        raise UnusableSketch(
            f"All strokes of the sketch {name} are outside its view: press Look Through and draw inside the frame, or "
            "take the view anew"
        )
    for count, most, what in (
        (len(picture.points), MOST_ALONG["points"], "points"),
        (len(picture.lengths), MOST_ALONG["strokes"], "strokes"),
    ):
        if count > most:
            raise UnusableSketch(
                f"The sketch {name} has {count:,} {what}, and at most {most:,} can be sent: simplify its strokes "
                "(Edit mode, Stroke > Simplify), or erase some"
            )
    return picture


# --- strokes


def read_strokes(sketch: SketchbridgeSketch, scene: bpy.types.Scene) -> Strokes:
    """The strokes of its drawing, in the scene.

    Raises:
        UnusableSketch: The drawing was deleted.
    """
    drawing = drawing_of(sketch, scene)
    layers = list(_layers_of(drawing))
    colours, fills = _colours_of(drawing)
    parts = [part for each in layers if (part := _strokes_of(each, colours, fills)) is not None]
    if not parts:
        none = np.zeros(0)
        return Strokes(np.zeros((0, 3)), np.zeros(0, np.int64), none, none, np.zeros((0, 3), np.uint8))
    return Strokes(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("points", "lengths", "radii", "opacity", "colours")
        )
    )


def drawing_of(sketch: SketchbridgeSketch, scene: bpy.types.Scene) -> bpy.types.Object:
    """Its Grease Pencil object. Renaming it changes nothing.

    Raises:
        UnusableSketch: There is none any more.
    """
    found = sketch.drawing
    # What a sketch points at stays in the file when it is deleted from the scene.
    if found is None or found.type != "GREASEPENCIL" or scene not in found.users_scene:
        raise UnusableSketch(f"The drawing of the sketch {sketch.name} was deleted: undo that, or remove the sketch")
    return found


def _layers_of(drawing: bpy.types.Object) -> Iterator[_Layer]:
    for layer in drawing.data.layers:
        frame = None if _is_hidden(layer) else layer.current_frame()
        if frame is None or len(frame.drawing.curve_offsets) < 2:
            continue
        found = frame.drawing
        offsets = np.empty(len(found.curve_offsets), np.int32)
        found.curve_offsets.foreach_get("value", offsets)
        points, strokes = int(offsets[-1]), len(offsets) - 1
        positions = np.empty((points, 3), np.float32)
        found.attributes["position"].data.foreach_get("vector", positions.reshape(-1))
        yield _Layer(
            positions,
            offsets,
            {
                "radius": _values(found, "radius", points, "value", np.float32),
                "opacity": _values(found, "opacity", points, "value", np.float32),
                "vertex_color": _values(found, "vertex_color", points, "color", np.float32, 4),
            },
            {
                "material_index": _values(found, "material_index", strokes, "value", np.int32),
                "cyclic": _values(found, "cyclic", strokes, "value", bool),
                "hide_stroke": _values(found, "hide_stroke", strokes, "value", bool),
                "fill_id": _values(found, "fill_id", strokes, "value", np.int32),
            },
            np.array(_matrix_of(drawing, layer), np.float64),
        )


def _is_hidden(layer: Any) -> bool:
    group = layer.parent_group
    while group is not None:
        if group.hide:
            return True
        group = group.parent_group
    return bool(layer.hide)


def _values(found: Any, name: str, count: int, field: str, dtype: Any, channels: int = 1) -> np.ndarray:
    """[count] or [count, channels]; empty where the drawing has no such attribute, so that all have the default."""
    attribute = found.attributes.get(name)
    if attribute is None or len(attribute.data) != count:
        return np.zeros(0, dtype)
    values = np.empty(count * channels, dtype)
    attribute.data.foreach_get(field, values)
    return values if channels == 1 else values.reshape(count, channels)


def _matrix_of(drawing: bpy.types.Object, layer: Any) -> Any:
    """From the layer's coordinates to the scene's."""
    parent = layer.parent
    if parent is None:
        return drawing.matrix_world @ layer.matrix_local
    matrix = parent.matrix_world
    if layer.parent_bone and parent.pose is not None and layer.parent_bone in parent.pose.bones:
        matrix = matrix @ parent.pose.bones[layer.parent_bone].matrix
    return matrix @ layer.matrix_parent_inverse @ layer.matrix_local


def _strokes_say_what_shows() -> bool:
    """Whether each stroke says if its line and its fill can be seen, as since Blender 5.2; before, its material did."""
    shows = bpy.types.MaterialGPencilStyle.bl_rna.properties["show_stroke"]
    return getattr(shows, "is_deprecated", False)


def _colours_of(drawing: bpy.types.Object) -> tuple[np.ndarray, np.ndarray]:
    """Linear colours of the lines of each material, float64 [materials, 4], and of the fills; alpha -1 where there is
    none to be seen."""
    lines, fills, strokes_say = [], [], _strokes_say_what_shows()
    for slot in drawing.material_slots:
        style = slot.material.grease_pencil if slot.material is not None else None
        is_hidden = style is not None and style.hide
        lines.append((0.0, 0.0, 0.0, 1.0) if style is None else tuple(style.color))
        fills.append((0.0, 0.0, 0.0, _INVISIBLE) if style is None else tuple(style.fill_color))
        if is_hidden or (style is not None and not strokes_say and not style.show_stroke):
            lines[-1] = (*lines[-1][:3], _INVISIBLE)
        if is_hidden or (style is not None and not strokes_say and not style.show_fill):
            fills[-1] = (*fills[-1][:3], _INVISIBLE)
    if not lines:
        return np.array([[0.0, 0.0, 0.0, 1.0]]), np.array([[0.0, 0.0, 0.0, _INVISIBLE]])
    return np.array(lines, np.float64), np.array(fills, np.float64)


def _strokes_of(layer: _Layer, lines: np.ndarray, fills: np.ndarray) -> Strokes | None:
    """Those of a layer that can be seen, in the scene; None if there are none."""
    lengths = np.diff(layer.offsets).astype(np.int64)
    material = _or_default(layer.stroke_values["material_index"], len(lengths), 0)
    material = np.clip(material, 0, len(lines) - 1)
    is_line, is_fill = lines[material, 3] >= 0, fills[material, 3] >= 0
    if _strokes_say_what_shows():
        is_line &= ~_or_default(layer.stroke_values["hide_stroke"], len(lengths), False).astype(bool)
        is_fill &= _or_default(layer.stroke_values["fill_id"], len(lengths), 0) != 0
    is_seen = (lengths > 0) & (is_line | is_fill)
    base = np.where(is_line[:, None], lines[material], fills[material])[:, :3]
    # A closed stroke comes back to its first point.
    is_closed = is_seen & _or_default(layer.stroke_values["cyclic"], len(lengths), False).astype(bool) & (lengths > 2)
    chosen = _chosen(layer.offsets, is_seen, is_closed)
    if len(chosen) == 0:
        return None
    kept = (lengths + is_closed)[is_seen]
    count = len(layer.positions)
    matrix = layer.matrix
    scale = abs(float(np.linalg.det(matrix[:3, :3]))) ** (1 / 3)
    radii = _or_default(layer.point_values["radius"], count, _DEFAULT_RADIUS_METRES).astype(np.float64) * scale
    tint = layer.point_values["vertex_color"]
    return Strokes(
        points=(layer.positions.astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3])[chosen],
        lengths=kept,
        radii=np.maximum(radii[chosen], 0),
        opacity=_or_default(layer.point_values["opacity"], count, 1.0).astype(np.float64)[chosen],
        colours=srgb_bytes(_tinted(base[is_seen], tint[chosen] if len(tint) else None, kept)),
    )


def _chosen(offsets: np.ndarray, is_seen: np.ndarray, is_closed: np.ndarray) -> np.ndarray:
    """int64 [kept points]: which points of the layer, in order, the first of closed strokes once more at their ends."""
    starts, ends = offsets[:-1][is_seen], offsets[1:][is_seen]
    lengths = (ends - starts + is_closed[is_seen]).astype(np.int64)
    first_places = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if len(lengths) else np.zeros(0, np.int64)
    along = np.arange(int(lengths.sum())) - np.repeat(first_places, lengths)
    return np.repeat(starts, lengths).astype(np.int64) + along % np.repeat((ends - starts).astype(np.int64), lengths)


def _tinted(base: np.ndarray, tint: np.ndarray | None, lengths: np.ndarray) -> np.ndarray:
    """Linear colours of strokes, [strokes, 3]: of the material, mixed with what was painted on their points, as far as
    the alpha of that says."""
    if tint is None:
        return base
    stroke = np.repeat(np.arange(len(lengths)), lengths)
    share = np.clip(tint[:, 3:].astype(np.float64), 0, 1)
    mixed = base[stroke] * (1 - share) + tint[:, :3] * share
    sums = np.stack([np.bincount(stroke, mixed[:, axis], len(lengths)) for axis in range(3)], axis=1)
    return sums / lengths[:, None]


def _or_default(values: np.ndarray, count: int, default: float) -> np.ndarray:
    return values if len(values) == count else np.full(count, default)


# --- pictures


def _pixels_of(sketch: SketchbridgeSketch) -> np.ndarray:
    """uint8 [height, width, 4], sRGB with alpha, the first row on top, in the sketch's aspect.

    Raises:
        UnusableSketch: The image cannot be read.
    """
    image = sketch.image
    width, height = image.size
    if width == 0 or height == 0:
        raise UnusableSketch(
            f"The image {image.name} of the sketch {sketch.name} cannot be read: reload it, or pack it"
        )
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    pixels = pixels.reshape(height, width, 4)[::-1]
    rows = min(height, MOST_PIXELS_A_SIDE, max(1, int(MOST_PIXELS_A_SIDE / sketch.aspect)))
    columns = max(1, min(MOST_PIXELS_A_SIDE, round(rows * sketch.aspect)))
    down, across = _places(height, rows), _places(width, columns)
    if sketch.is_mirrored_y:
        down = down[::-1]
    if sketch.is_mirrored_x:
        across = across[::-1]
    pixels = pixels[down[:, None], across[None]]
    coded = np.rint(np.clip(np.nan_to_num(pixels), 0, 1) * 255).astype(np.uint8)
    if image.is_float:  # linear, while 8 bits are sRGB already
        coded[..., :3] = srgb_bytes(pixels[..., :3])
    return coded


def _places(given: int, wanted: int) -> np.ndarray:
    """Which of `given` rows stand for `wanted`, evenly."""
    return np.minimum(((np.arange(wanted) + 0.5) * given / wanted).astype(int), given - 1)


# --- what has changed


def digest_of(sketch: SketchbridgeSketch, scene: bpy.types.Scene) -> str:
    """Another one whenever what would be sent is another, but for the weight. Cheap: nothing is computed.

    Of an image, its place and size count and not its pixels.

    Raises:
        UnusableSketch: Its drawing was deleted.
    """
    hashed = hashlib.blake2b(digest_size=16)
    camera = (*sketch.camera_to_world, sketch.fov_degrees, sketch.height_metres, *sketch.shift, sketch.aspect)
    plain = (sketch.name, sketch.kind, sketch.has_colours, sketch.projection, camera)
    hashed.update(repr(plain).encode())
    if sketch.image is not None:
        image = sketch.image
        facts = (image.session_uid, image.filepath, tuple(image.size), sketch.is_mirrored_x, sketch.is_mirrored_y)
        hashed.update(repr(facts).encode())
        return hashed.hexdigest()
    drawing = drawing_of(sketch, scene)
    for layer in _layers_of(drawing):
        arrays = (layer.offsets, layer.positions, layer.matrix)
        for array in (*arrays, *layer.point_values.values(), *layer.stroke_values.values()):
            hashed.update(f"{array.shape}".encode())
            hashed.update(array.tobytes())
    for colours in _colours_of(drawing):
        hashed.update(colours.tobytes())
    return hashed.hexdigest()


def sent_of(sketch: SketchbridgeSketch, scene: bpy.types.Scene) -> SentSketch:
    return SentSketch(digest_of(sketch, scene), sketch.weight)


# --- for the panel, and where the object is to be


def thumbnail_of(sketch: SketchbridgeSketch, scene: bpy.types.Scene) -> bytes:
    """A PNG file of `THUMBNAIL_PIXELS` a side.

    Raises:
        UnusableSketch: There is nothing to be seen.
    """
    if sketch.image is None:
        return png_of(draw_picture(flat_strokes(sketch, scene), sketches.view_of(sketch).aspect))
    pixels = _pixels_of(sketch)
    height, width = pixels.shape[:2]
    side = max(height, width)
    rows, columns = (max(1, round(THUMBNAIL_PIXELS * length / side)) for length in (height, width))
    small = pixels[_places(height, rows)[:, None], _places(width, columns)[None]]
    return png_of(in_square(small, THUMBNAIL_PIXELS))


def placement_of(scene: bpy.types.Scene) -> Placement | None:
    """The ball around what is drawn inside the pictures; None if nothing is drawn in the scene, only pictures.

    From one side the drawings do not say how deep the object is: it then may be as deep as its narrower side.

    Raises:
        UnusableSketch: A drawing was deleted.
    """
    boxes = []
    for sketch in sketches.of(scene).items:
        if sketch.image is not None:
            continue
        points = read_strokes(sketch, scene).points
        places, _ = project(sketches.view_of(sketch), points)
        with np.errstate(invalid="ignore"):
            inside = points[((places >= 0) & (places <= 1)).all(axis=1)]
        if len(inside):
            boxes.append((inside.min(axis=0), inside.max(axis=0)))
    if not boxes:
        return None
    low, high = np.min([low for low, _ in boxes], axis=0), np.max([high for _, high in boxes], axis=0)
    radius = float(np.linalg.norm(high - low)) / 2 * _MARGIN
    if not np.isfinite(radius) or radius < 1e-4:
        return None
    return Placement(centre=tuple(float(number) for number in (low + high) / 2), radius_metres=radius)
