"""Drawings as tensors and facts, as checkpoints keep them once a job's drawings were changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backend.sketches.camera import SketchCamera
from backend.sketches.drawing import Drawing, ready_drawing
from backend.sketches.sketch import Sketch, Strokes

_STROKE_ARRAYS = ("points", "lengths", "pressure", "colours")


def saved_drawings(drawings: Sequence[Drawing]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Tensors for safetensors, named by the number of the drawing, and JSON-able facts of each."""
    tensors: dict[str, Tensor] = {}
    facts = []
    for number, drawing in enumerate(drawings):
        sketch = drawing.sketch
        arrays = _arrays_of(sketch)
        tensors |= {f"{number}.{name}": torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        fact = {name: getattr(sketch, name) for name in ("name", "drawn", "weight", "aspect")}
        fact |= {"camera": dataclasses.asdict(sketch.camera), "fitted_camera": dataclasses.asdict(drawing.camera)}
        if sketch.strokes is not None:
            fact["line_width"] = sketch.strokes.line_width
        facts.append(fact)
    return tensors, facts


def restored_drawings(tensors: Mapping[str, Tensor], facts: Sequence[Mapping[str, Any]]) -> tuple[Drawing, ...]:
    """The reverse of `saved_drawings`; KeyError if something is missing."""
    drawings = []
    for number, fact in enumerate(facts):
        begin = f"{number}."
        arrays = {
            name.removeprefix(begin): tensor.cpu().numpy() for name, tensor in tensors.items() if name.startswith(begin)
        }
        sketch = Sketch(
            fact["name"],
            _camera(fact["camera"]),
            fact["drawn"],
            fact["weight"],
            fact["aspect"],
            strokes=Strokes(**arrays, line_width=fact["line_width"]) if "line_width" in fact else None,
            ink=None if "ink" not in arrays else arrays["ink"].astype(bool),
            ink_colours=arrays.get("ink_colours"),
        )
        drawings.append(dataclasses.replace(ready_drawing(sketch), camera=_camera(fact["fitted_camera"])))
    return tuple(drawings)


def _arrays_of(sketch: Sketch) -> dict[str, np.ndarray]:
    if sketch.strokes is not None:
        found = {name: getattr(sketch.strokes, name) for name in _STROKE_ARRAYS}
    else:
        assert sketch.ink is not None  # one of both is there
        found = {"ink": sketch.ink.astype(np.uint8), "ink_colours": sketch.ink_colours}
    return {name: array for name, array in found.items() if array is not None}


def _camera(fact: Mapping[str, Any]) -> SketchCamera:
    return SketchCamera(
        tuple(fact["camera_to_world"]),
        fact["projection"],
        fact["half_height"],
        (fact["shift"][0], fact["shift"][1]),
        fact["is_placed"],
    )
