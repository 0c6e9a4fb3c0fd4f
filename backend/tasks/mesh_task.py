"""What the tasks that make meshes share: a loop that is stepped, saved and shown. A task says how it ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from backend.config import MeshSettings, OptimisationConfig
from backend.geometry.placed_mesh import PlacedMesh
from backend.geometry.surface_constraints import SurfaceConstraints
from backend.geometry.triangle_mesh import TriangleMesh
from backend.optimise import DrawnViews, FurtherTerms, MeshOptimisation, Step
from backend.steering import Steering
from backend.surfaces import InitialShape
from backend.tasks.setting_up import SetUp, preview_of, tell_about_view_prompts


class MeshTask:
    """Hands on to the loop what a command asks of a job.

    Args:
        ready: What the job runs with.
        shape: See `MeshOptimisation`.
        given: The mesh that the shape is of, if there is one: it may have colours to begin with.
        further_terms: See `MeshOptimisation`.
        drawn_views: See `MeshOptimisation`.
    """

    def __init__(
        self,
        settings: MeshSettings,
        ready: SetUp,
        shape: InitialShape | TriangleMesh,
        given: PlacedMesh | None = None,
        further_terms: FurtherTerms | None = None,
        drawn_views: DrawnViews | None = None,
    ) -> None:
        self.device, self.rasteriser, self.prior = ready.device, ready.rasteriser, ready.prior
        self._given = given
        self._optimisation = MeshOptimisation(
            settings.prompt,
            ready.config,
            self.prior,
            self.rasteriser,
            shape,
            settings.seed,
            further_terms,
            SurfaceConstraints.of(settings.symmetry, given),
            drawn_views,
        )
        if given is not None and given.colours is not None:
            self._optimisation.paint(given)

    @property
    def config(self) -> OptimisationConfig:
        """What holds now, after all steering."""
        return self._optimisation.config

    @property
    def total_steps(self) -> int:
        return self.config.steps

    @property
    def mesh(self) -> PlacedMesh | None:
        """What the surface began with, or was edited to; None for a job that began with a ball."""
        return self._optimisation.surface.edited or self._given

    def steps(self) -> Iterator[Step]:
        """The steps that are left. Closing the iterator cancels between two of them."""
        return self._optimisation.steps()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `MeshOptimisation.state`."""
        return self._optimisation.state()

    def load_state(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        """See `MeshOptimisation.load_state`."""
        self._optimisation.load_state(tensors, metadata)

    def steer(self, change: Steering) -> list[str]:
        """Takes a change, between two steps; sentences for the user about what it cannot do. See `MeshOptimisation`."""
        notices = []
        if change.mesh_weight and self.mesh is None and change.mesh is None:
            notices.append("the job began without a mesh, so that there is none which the surface could be held to")
            change = dataclasses.replace(change, mesh_weight=None)
        self._optimisation.steer(change)
        if change.prompt is not None or change.source_suffix is not None or change.target_suffix is not None:
            distillation = self.config.distillation
            tell_about_view_prompts(self._optimisation.prompt, distillation, self.prior, notices.append)
        return notices

    def current_mesh(self) -> TriangleMesh:
        """See `MeshOptimisation.current_mesh`."""
        return self._optimisation.current_mesh()

    @torch.no_grad()
    def vertex_colours(self) -> UInt8[Tensor, "vertices 3"]:
        """sRGB-coded albedo at the vertices of the current mesh, on the CPU."""
        albedo = self._optimisation.texture(self.current_mesh().positions).albedo
        return (torch.nan_to_num(albedo, nan=0.5) * 255).round().to(torch.uint8).cpu()

    def preview(self, view_count: int = 4, resolution: int = 256) -> UInt8[Tensor, "views height width 3"]:
        """See `setting_up.preview_of`."""
        return preview_of(self._optimisation, view_count, resolution)
