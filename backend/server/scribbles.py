"""What is said of scribbles, by the server before a job is taken and by its worker afterwards."""

from __future__ import annotations

from protocol.sketches import Sketch


def scribble_sentence(sketch: Sketch) -> str | None:
    """Why a sketch is not taken if it is a scribble, without a capital and a full stop; None for any other."""
    if sketch.drawn != "scribble":
        return None
    return (
        f"the sketch {sketch.name} is a scribble, which steers through a ControlNet, and this server has none; send it "
        "as lines, or as an outline if it is closed"
    )
