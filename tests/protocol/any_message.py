"""Hypothesis strategies for every message, from the kinds of its fields; the rules between fields are added by hand."""

import dataclasses

import numpy as np
from hypothesis import strategies as st

from examples import tiny_png
from protocol.arrays import DTYPES, Array, Png
from protocol.fields import Choice, Flag, Many, Maybe, Nested, Number, OneOf, Table, Text, Whole, kinds_of
from protocol.geometry import InputMesh, ResultMesh
from protocol.messages import MeshSnapshot, SubmitJob, UpdateJob
from protocol.sketches import MatrixCamera, Sketch

_ALPHABET = st.characters(
    exclude_categories=("Cs", "Cc", "Zl", "Zp"), include_characters='\n\t"\\{}[]', exclude_characters="\x7f"
)


def arrays(draw, kind, axes):
    """An array of this kind, whose named axes have the lengths in `axes`."""
    dtype = DTYPES[draw(st.sampled_from(kind.dtypes))]
    shape = [int(name) if name.isdigit() else axes[name] for name in kind.axes]
    low = 0 if kind.low is None else max(kind.low, np.iinfo(dtype).min if dtype.kind in "iu" else kind.low)
    high = 255 if kind.high is None else min(kind.high, np.iinfo(dtype).max if dtype.kind in "iu" else kind.high)
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    if dtype.kind in "iu":
        return random.integers(max(low, 0), high, shape, endpoint=True).astype(dtype)
    return random.uniform(low, high, shape).astype(dtype).clip(low, high)


def text_of(kind):
    if kind.pattern:
        return st.from_regex(kind.pattern, fullmatch=True).filter(lambda text: kind.least <= len(text) <= kind.most)
    text = st.text(_ALPHABET, min_size=kind.least, max_size=min(kind.most, kind.least + 20))
    if not kind.lines:
        text = text.filter(lambda drawn: not set(drawn) & set("\n\t"))
    return text.filter(lambda drawn: kind.least == 0 or not drawn.isspace())


def values(draw, kind, axes):
    """Anything that this kind allows."""
    if isinstance(kind, Maybe):
        return values(draw, kind.kind, axes) if draw(st.booleans()) else None
    if isinstance(kind, Many):
        count = draw(st.integers(kind.least, min(kind.most, kind.least + 2)))
        return tuple(values(draw, kind.kind, axes) for _ in range(count))
    if isinstance(kind, Table):
        return {draw(text_of(kind.name)): values(draw, kind.kind, axes) for _ in range(draw(st.integers(0, 2)))}
    if isinstance(kind, Nested | OneOf):
        return records(draw, kind.record if isinstance(kind, Nested) else draw(st.sampled_from(kind.records)))
    if isinstance(kind, Array):
        return arrays(draw, kind, axes)
    if isinstance(kind, Png):
        return tiny_png(draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    return draw(
        {
            Flag: lambda: st.booleans(),
            Whole: lambda: st.integers(kind.low, kind.high),
            Number: lambda: st.floats(kind.low, kind.high),
            Text: lambda: text_of(kind),
            Choice: lambda: st.sampled_from(kind.words),
        }[type(kind)]()
    )


def records(draw, record_class):
    axes = {name: draw(st.integers(1, 4)) for name in ("vertices", "faces", "points", "strokes")}
    fields = {name: values(draw, kind, axes) for name, kind in kinds_of(record_class).items()}
    repair = _REPAIRS.get(record_class)
    return record_class(**(fields if repair is None else repair(draw, fields, axes)))


def _with_real_faces(draw, fields, axes):
    if fields["faces"] is not None:
        fields["faces"] = (fields["faces"] % axes["vertices"]).astype(np.int32)
    return fields


def _with_a_rotation(draw, fields, axes):
    angle, place = draw(st.floats(-4, 4)), draw(st.tuples(*[st.floats(-1e6, 1e6)] * 3))
    rows = np.eye(4)
    rows[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    rows[:3, 3] = place
    return fields | {"camera_to_world": tuple(rows.ravel().tolist())}


def _with_strokes_or_picture(draw, fields, axes):
    if draw(st.booleans()):
        nothing = dict.fromkeys(("points", "stroke_lengths", "pressure", "stroke_colours"))
        return fields | nothing | {"picture": tiny_png()}
    points = np.random.default_rng(draw(st.integers(0, 99))).random((axes["points"], 2)).astype(np.float32)
    one_stroke = {"stroke_lengths": np.array([axes["points"]], np.int32), "stroke_colours": None}
    return fields | one_stroke | {"points": points, "picture": None, "has_colour": False}


def _with_sketches_apart(draw, fields, axes):
    for name in ("sketches", "add_sketches"):
        if name in fields:
            fields[name] = tuple({each.name: each for each in fields[name]}.values())
    return fields


def _with_what_its_task_needs(draw, fields, axes):
    fields = _with_sketches_apart(draw, fields, axes)
    is_image = fields["task"] == "image"
    fields["picture"] = fields["picture"] if is_image else None
    if fields["task"] == "texture" and fields["mesh"] is None:
        fields["mesh"] = records(draw, InputMesh)
    if fields["settings"].to_real and (fields["task"] != "sketch" or fields["mesh"] is None):
        fields["settings"] = dataclasses.replace(fields["settings"], to_real=False)
    if fields["task"] == "sketch" and not fields["sketches"]:
        fields["sketches"] = (records(draw, Sketch),)
    return fields


def _with_a_change(draw, fields, axes):
    return _with_sketches_apart(draw, fields, axes) | {"prompt": fields["prompt"] or "a cup"}


def _with_faces_or_a_base(draw, fields, axes):
    if draw(st.booleans()):
        fields |= {"builds_on": None, "faces": arrays(draw, Array("int32", "faces 3", 0, axes["vertices"] - 1), axes)}
        fields["positions"] = arrays(draw, Array("float32|uint16", "vertices 3", -1e6, 1e6), axes)
    else:
        fields |= {"number": max(fields["number"], 2), "builds_on": 1, "faces": None}
        if fields["positions"] is None:
            fields["colours"] = arrays(draw, Array("uint8", "vertices 3"), axes)
    is_quantised = fields["positions"] is not None and fields["positions"].dtype == np.uint16
    box = {"low": (-1.0, 0.0, 0.5), "high": (1.0, 0.0, 0.75)}
    return fields | (box if is_quantised else dict.fromkeys(box))


_REPAIRS = {
    InputMesh: _with_real_faces,
    ResultMesh: _with_real_faces,
    MatrixCamera: _with_a_rotation,
    Sketch: _with_strokes_or_picture,
    SubmitJob: _with_what_its_task_needs,
    UpdateJob: _with_a_change,
    MeshSnapshot: _with_faces_or_a_base,
}


@st.composite
def any_message(draw, message_class):
    return records(draw, message_class)
