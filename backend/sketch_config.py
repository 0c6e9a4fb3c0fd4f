"""Settings of a mesh that is to fit drawings, and what follows from them. Frozen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.config import LinearRamp, MeshSettings, OptimisationConfig, check_number, check_one_of, check_whole_number
from backend.diffusion.prompts import BLOCKOUT_SUFFIX
from backend.errors import BadInput
from backend.sketches.sketch import SketchKind, doubled_name
from backend.sketches.view_argument import EXAMPLES, ViewArgument, parse_view
from backend.steering import MESH_WEIGHT_UNIT

MOST_SKETCHES = 16
DEFAULT_STRENGTH = 0.5
NO_CONTROLNET = "off"
TO_REAL_SCALE = 3.0
"""Of a bridge from the first step on: 10, which suits the last fifth of a job, oversaturates."""


@dataclass(frozen=True)
class SketchConfig:
    """How drawings steer the surface: first the shape, then freedom for details within the tolerances."""

    resolution: int = 128
    """Pixels a side of the views that are compared with the drawings."""
    outline_weight: LinearRamp = field(default_factory=lambda: LinearRamp(600.0, 8000.0, 0.3, 0.6))
    """Rises, as the prior pushes harder the finer the views: with 600 to 400 the surface left the drawing in the second
    half (IoU of four drawings 0.97 to 0.99 midway, 0.87 to 0.92 at the end) and grew spikes where the two disagree."""
    outside_weight: LinearRamp = field(default_factory=lambda: LinearRamp(1e5, 1e5))
    """On vertices outside of an outline, which no view shows where the surface is thinner than a pixel. At 1e4 a fin of
    a mug still stood out by 0.03 of the picture's height, as far as without; at 1e5 by 0.01, with the same IoU."""
    line_weight: LinearRamp = field(default_factory=lambda: LinearRamp(100.0, 500.0, 0.3, 0.6))
    colour_weight: LinearRamp = field(default_factory=lambda: LinearRamp(1.0, 0.5))
    tolerance: LinearRamp = field(default_factory=lambda: LinearRamp(0.0, 0.002, 0.5, 0.8))
    """By how much of the picture's height the outline may be off. The prior uses all of it: IoU of a chair with thin
    legs 0.97 at 0, 0.92 at 0.002, 0.90 at 0.004."""
    line_tolerance: LinearRamp = field(default_factory=lambda: LinearRamp(0.01, 0.015))
    control_kinds: tuple[SketchKind, ...] = ("scribble", "lines")
    """Of the drawings that a ControlNet reads, where there is one."""
    control_views: int = 2
    """At most so many views of a step are shown to the model with their drawing."""
    control_strength: float = 1.0
    """By what the ControlNet's additions are multiplied."""


@dataclass(frozen=True)
class SketchToMeshSettings(MeshSettings):
    """A textured mesh that fits drawings and looks like a sentence."""

    views: Sequence[str] | None = field(kw_only=True)
    """As behind `--view`; see `sketches.view_argument`. Kept as a tuple, which may be empty where there is a mesh. None
    if the drawings are in no files: whoever makes the task gives them."""
    mesh: str | None = None
    """The file of a blocked-out shape to begin with."""
    strength: float | None = None
    """How strongly the surface is held to `mesh`, 0 to 1."""
    to_real: bool = False
    """Takes `mesh` for a 3D sketch: the bridge from a rough blockout to the real thing, from the first step on."""
    lock: str | None = None
    """The file of a copy of `mesh` on which what is to stay is painted white."""
    sketch_weight: float = 1.0
    """On everything that the drawings ask for."""
    faces: int | None = None
    controlnet: str | None = None
    """A ControlNet for line drawings: a folder or a hub id; `off` for none. None: the embedded prior's own, and none
    for other models."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.views is not None:
            object.__setattr__(self, "views", _texts(self.views))  # JSON gives a list
            if self.views or self.mesh is None:
                parse_views(self.views)
        check_number("strength", self.strength, 0.0, 1.0)
        check_number("sketch weight", self.sketch_weight, 0.0, 100.0)
        check_whole_number("faces", self.faces, 100, 5_000_000)
        if self.controlnet is not None and not (isinstance(self.controlnet, str) and self.controlnet):
            raise BadInput(f"controlnet must be a folder, a hub id or off; got {self.controlnet!r}")
        if not isinstance(self.to_real, bool):
            raise BadInput(f"to_real must be true or false; got {self.to_real!r}")
        if self.to_real and self.mesh is None:
            raise BadInput("to_real (--to-real) makes a blocked-out mesh real, and no mesh is given; give --mesh too")
        if self.to_real and self.method is not None:
            check_one_of("method with to_real (--to-real)", self.method, ("bridge", "full-bridge"))
        if self.lock is not None and self.mesh is None:
            raise BadInput("lock says which parts of a mesh stay, and no mesh is given; give --mesh too")
        if self.strength is not None and self.mesh is None:
            raise BadInput("strength says how strongly a mesh is kept to, and no mesh is given; give --mesh too")

    @property
    def chosen_controlnet(self) -> str | None:
        """What `use_control_network` is given; None for none."""
        if self.controlnet is not None:
            return None if self.controlnet == NO_CONTROLNET else self.controlnet
        return "embedded" if self.prior == "embedded" else None

    def resolve_sketches(self) -> SketchConfig:
        """What the loop minimises for the drawings."""
        base = SketchConfig()
        weights = {
            name: getattr(base, name).scaled(self.sketch_weight)
            for name in ("outline_weight", "outside_weight", "line_weight", "colour_weight")
        }
        return dataclasses.replace(base, **weights)

    def resolved_to_json(self) -> dict[str, Any]:
        return super().resolved_to_json() | {"sketches": dataclasses.asdict(self.resolve_sketches())}

    def _defaults(self) -> OptimisationConfig:
        base = super()._defaults()
        strength = DEFAULT_STRENGTH if self.strength is None else self.strength
        held = strength * MESH_WEIGHT_UNIT if self.mesh is not None else 0.0
        if self.to_real:
            distillation = dataclasses.replace(
                base.distillation, bridge_start=0.0, source_suffix=BLOCKOUT_SUFFIX, bridge_scale=TO_REAL_SCALE
            )
            base = dataclasses.replace(base, distillation=distillation)
        return dataclasses.replace(base, surface=dataclasses.replace(base.surface, mesh_weight=held))


def parse_views(views: Sequence[str]) -> tuple[ViewArgument, ...]:
    """Reads what follows each `--view` of one command; opens no file.

    Raises:
        BadInput: There are none or too many, one says nothing right, or two have one name.
    """
    if not 1 <= len(views) <= MOST_SKETCHES:
        raise BadInput(f"give 1 to {MOST_SKETCHES} views such as {EXAMPLES}; got {len(views)}")
    parsed = tuple(parse_view(view) for view in views)
    doubled = doubled_name([view.name for view in parsed])
    if doubled is not None:
        raise BadInput(f"two drawings are given for {doubled}; each side can have one")
    return parsed


def _texts(views: Any) -> tuple[str, ...]:
    if isinstance(views, str) or not all(isinstance(view, str) for view in views):
        raise BadInput(f"views must be a list of texts such as {EXAMPLES}; got {views!r}")
    return tuple(views)
