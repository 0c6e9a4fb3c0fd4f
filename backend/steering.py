"""What of a job can be changed while it runs. Frozen values alone: the loops take them between two steps.

A loop keeps the configuration that it began with and a `Steered`, which is all changes so far in one. Both together
give the configuration that holds now, so that a saved job needs to keep no more than the second.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from backend.config import DistillationConfig, OptimisationConfig
from backend.geometry.placed_mesh import PlacedMesh
from backend.picture_config import PictureConfig
from backend.sketches.sketch import Sketch

MESH_WEIGHT_UNIT = 20.0
"""`SurfaceConfig.mesh_weight` for a steered weight of 1: the surface follows the prompt and keeps its proportions."""
_WORDS = ("source_suffix", "target_suffix", "guidance_scale")


@dataclass(frozen=True)
class Steering:
    """Changes that are made together, between two steps. What is None stays."""

    prompt: str | None = None
    source_suffix: str | None = None
    target_suffix: str | None = None
    guidance_scale: float | None = None
    learning_rate_factor: float | None = None
    """On the learning rates that the job began with."""
    smoothness_factor: float | None = None
    """On the weights of the terms that smooth the surface."""
    mesh_weight: float | None = None
    """How strongly the surface is held to the mesh that was given, in units of `MESH_WEIGHT_UNIT`."""
    more_steps: int | None = None
    mesh: PlacedMesh | None = None
    """An edited one, to go on from."""
    remove_sketches: tuple[str, ...] = ()
    """Names of drawings to forget, before others are added."""
    add_sketches: tuple[Sketch, ...] = ()
    """New drawings, or new versions of those with the same names."""
    sketch_weights: tuple[tuple[str, float], ...] = ()
    """Names and new weights, which count after drawings are added."""

    @property
    def changes_sketches(self) -> bool:
        return bool(self.remove_sketches or self.add_sketches or self.sketch_weights)

    @property
    def for_meshes_alone(self) -> tuple[str, ...]:
        """Names of the changes that mean nothing to a picture."""
        names = ("smoothness_factor", "mesh_weight", "mesh")
        return tuple(name.replace("_", " ") for name in names if getattr(self, name) is not None)


@dataclass(frozen=True)
class Steered:
    """What all changes of a job so far come to, but for edited meshes, which the surface keeps."""

    prompt: str | None = None
    source_suffix: str | None = None
    target_suffix: str | None = None
    guidance_scale: float | None = None
    learning_rate_factor: float = 1.0
    smoothness_factor: float = 1.0
    mesh_weight: float | None = None
    more_steps: int = 0
    stretched_step: int = 0
    """When steps were added last: what was left of the job's schedule then is spread over all that are left."""
    stretched_progress: float = 0.0
    """The share of the schedule that was done at that step."""

    def after(self, change: Steering, step: int, steps: int) -> Steered:
        """These and further changes.

        Args:
            step: How many steps are done.
            steps: That the job began with.
        """
        named = {each.name for each in dataclasses.fields(self)} - {"more_steps"}
        changed = {name: value for name, value in vars(change).items() if name in named and value is not None}
        if change.more_steps is not None:
            changed["stretched_step"], changed["stretched_progress"] = step, self.progress(step, steps)
            changed["more_steps"] = self.more_steps + change.more_steps
        return dataclasses.replace(self, **changed)

    def progress(self, step: int, steps: int) -> float:
        """The share of the schedule that is done after a step, in [0, 1]; `steps` are those that the job began with.

        It never falls: a job that gets more steps in its last stage makes them in that stage.
        """
        left = steps + self.more_steps - self.stretched_step
        if left <= 0:
            return self.stretched_progress
        return self.stretched_progress + (1 - self.stretched_progress) * (step - self.stretched_step) / left

    def mesh_config(self, base: OptimisationConfig) -> OptimisationConfig:
        """The configuration of a mesh that holds now."""
        surface = base.surface
        changed_surface = dataclasses.replace(
            surface,
            learning_rate=surface.learning_rate.scaled(self.learning_rate_factor),
            normal_consistency_weight=surface.normal_consistency_weight * self.smoothness_factor,
            laplacian_weight=surface.laplacian_weight * self.smoothness_factor,
            mesh_weight=surface.mesh_weight if self.mesh_weight is None else self.mesh_weight * MESH_WEIGHT_UNIT,
        )
        return dataclasses.replace(
            base,
            steps=base.steps + self.more_steps,
            distillation=self._distillation(base.distillation),
            surface=changed_surface,
            texture_learning_rate=base.texture_learning_rate.scaled(self.learning_rate_factor),
        )

    def picture_config(self, base: PictureConfig) -> PictureConfig:
        """The configuration of a picture that holds now."""
        return dataclasses.replace(
            base,
            steps=base.steps + self.more_steps,
            distillation=self._distillation(base.distillation),
            learning_rate=base.learning_rate * self.learning_rate_factor,
        )

    def to_json(self) -> dict[str, Any]:
        """All fields, as checkpoints keep them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Steered:
        """The reverse of `to_json`; TypeError for fields that are not known."""
        return cls(**values)

    def _distillation(self, base: DistillationConfig) -> DistillationConfig:
        chosen = {name: getattr(self, name) for name in _WORDS if getattr(self, name) is not None}
        return dataclasses.replace(base, **chosen)
