"""Drawings of a job that are added, replaced, removed and re-weighted while it runs. Nothing that is good gets lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from backend.errors import BadInput
from backend.sketch_config import MOST_SKETCHES
from backend.sketches.drawing import Drawing, fitted_beside, ready_drawing, tell_what_is_cut
from backend.sketches.sketch import Sketch


def changed_drawings(
    drawings: Sequence[Drawing],
    remove: Sequence[str],
    add: Sequence[Sketch],
    weights: Sequence[tuple[str, float]],
    notice: Callable[[str], None],
) -> tuple[Drawing, ...]:
    """The drawings after a change: first some are removed, then others added, then weights set.

    Those that stay keep their cameras; new ones are fitted to them. At least one drawing remains.

    Args:
        remove: Names.
        add: New ones, or new versions of those with the same names, which keep their places in the order.
        weights: Names and weights.
        notice: Told what of the change was left out, and why.
    """
    new = [drawing for sketch in add if (drawing := _read(sketch, drawings, notice)) is not None]
    _tell_unknown("removed", remove, drawings, notice)
    kept = [drawing for drawing in drawings if drawing.name not in remove]
    if not kept and not new:
        kept = list(drawings)
        notice(f"at least one sketch must remain, so that none is removed: {_names(kept)}")
    for drawing in new:
        places = [index for index, each in enumerate(kept) if each.name == drawing.name]
        if places:
            kept[places[0]] = drawing
        elif len(kept) >= MOST_SKETCHES:
            notice(f"the sketch {drawing.name} was left out: a job has at most {MOST_SKETCHES}; remove another first")
        else:
            kept.append(drawing)
    _tell_unknown("given a weight", [name for name, _ in weights], kept, notice)
    chosen = dict(weights)
    return tuple(
        dataclasses.replace(each, sketch=dataclasses.replace(each.sketch, weight=chosen[each.name]))
        if each.name in chosen
        else each
        for each in kept
    )


def _read(sketch: Sketch, drawings: Sequence[Drawing], notice: Callable[[str], None]) -> Drawing | None:
    try:
        drawing = fitted_beside(drawings, ready_drawing(sketch, notice))
    except BadInput as error:
        before = "; the one of before stays" if any(each.name == sketch.name for each in drawings) else ""
        notice(f"a sketch was left out{before}: {error}")
        return None
    tell_what_is_cut(drawing, notice)
    return drawing


def _tell_unknown(what: str, names: Sequence[str], drawings: Sequence[Drawing], notice: Callable[[str], None]) -> None:
    known = {drawing.name for drawing in drawings}
    for name in names:
        if name not in known:
            notice(f"no sketch is called {name}, so that none was {what}; there are: {_names(drawings)}")


def _names(drawings: Sequence[Drawing]) -> str:
    return ", ".join(drawing.name for drawing in drawings)
