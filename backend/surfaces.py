"""What the loop optimises the texture on: a DMTet surface that is learnt with it, or a mesh that stays as it is.

All that belongs to one kind alone (growth, the guard, the regularising terms, the surface's rate) is in its class.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from backend.config import SurfaceConfig
from backend.errors import BadInput
from backend.geometry.dmtet import DMTet, DMTetConfig
from backend.geometry.held_region import HeldRegion
from backend.geometry.placed_mesh import PlacedMesh
from backend.geometry.shape_difference import shape_difference
from backend.geometry.smoothness import laplacian_roughness, normal_consistency, sign_change_entropy
from backend.geometry.surface_constraints import SurfaceConstraints
from backend.geometry.surface_guard import SurfaceGuard, gradients_are_finite
from backend.geometry.tetrahedral_grid import TetrahedralGrid
from backend.geometry.triangle_mesh import TriangleMesh
from backend.saved_tensors import under

InitialShape = Callable[[TetrahedralGrid], Tensor]
"""Signed distances [side, side, side] at the vertices of a lattice; asked again when the lattice grows."""


@runtime_checkable  # for the type checker of the tests
class Surface(Protocol):
    """A surface as the loop sees it. `progress` is the share of the job that is done, in [0, 1)."""

    def extract_mesh(self) -> TriangleMesh:
        """The surface as it is; differentiable by its parameters."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Named groups for an optimiser, whose `lr` is a share of `learning_rate`."""

    def learning_rate(self, progress: float) -> float: ...

    def has_finite_gradients(self) -> bool: ...

    def regularise(self, mesh: TriangleMesh, masks: Tensor) -> dict[str, Tensor]:
        """Weighted terms by name. `masks` [views, height, width, 1] is what the views see of `mesh`."""

    def grow(self, step: int, progress: float) -> list[str]:
        """Becomes finer if it is time; sentences that say so. There may be new parameter groups then."""

    def restore_if_broken(self, step: int, mesh: TriangleMesh) -> str | None:
        """Goes back to a good state where `mesh`, the present one, cannot be used, and says why."""

    def slow_down(self) -> str:
        """Called after trouble; a sentence about what follows."""

    def configure(self, config: SurfaceConfig) -> None:
        """Takes other rates and weights from now on."""

    def replace(self, mesh: PlacedMesh, step: int) -> None:
        """Becomes an edited mesh; all that was learnt is in it or gone. The optimiser's moments mean nothing then.

        Raises:
            BadInput: There is no surface in it for this lattice; nothing has changed then.
        """

    @property
    def edited(self) -> PlacedMesh | None:
        """What `replace` was given last."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON-able facts for `load_state`."""

    def load_state(self, tensors: dict[str, Tensor], metadata: dict[str, Any], step: int) -> None:
        """Goes back to a state; others' tensors and facts may be among them. ValueError if it does not fit."""


class DMTetSurface:
    """A surface on a lattice that grows, watched over by a guard.

    Args:
        initial_shape: Where it starts, and what `mesh_weight` holds it to.
        constraints: What it keeps to from the start; an edited mesh brings locked regions of its own.
    """

    def __init__(
        self,
        initial_shape: InitialShape,
        config: SurfaceConfig,
        device: torch.device,
        constraints: SurfaceConstraints | None = None,
    ) -> None:
        self._first_shape, self._config, self._device = initial_shape, config, device
        constraints = constraints or SurfaceConstraints()
        self._first_held = constraints.held
        self.edited: PlacedMesh | None = None  # takes the first shape's place
        self._rate_factor = 1.0  # halved whenever the surface had to be put back
        self.dmtet = DMTet(DMTetConfig(resolution=self._resolution(0.0)), constraints).to(device)
        self.dmtet.initialise_from(self._sample_shape(self.dmtet.grid))
        self._guard = SurfaceGuard(self.dmtet)

    def extract_mesh(self) -> TriangleMesh:
        return self.dmtet.extract_mesh()

    def parameter_groups(self) -> list[dict[str, Any]]:
        return self.dmtet.parameter_groups(1.0)

    def learning_rate(self, progress: float) -> float:
        return self._config.learning_rate.at(progress) * self._rate_factor

    def has_finite_gradients(self) -> bool:
        return gradients_are_finite(self.dmtet)

    def regularise(self, mesh: TriangleMesh, masks: Tensor) -> dict[str, Tensor]:
        config = self._config
        terms: tuple[tuple[str, float, Callable[[], Tensor]], ...] = (
            ("area", config.area_weight, lambda: masks.mean()),
            ("normal consistency", config.normal_consistency_weight, lambda: normal_consistency(mesh)),
            ("laplacian", config.laplacian_weight, lambda: laplacian_roughness(mesh)),
            ("sign change", config.sign_change_weight, lambda: sign_change_entropy(self.dmtet.signed_distances())),
            # The lattice's base is the shape that it began with, at every resolution.
            (
                "initial mesh",
                config.mesh_weight,
                lambda: shape_difference(self.dmtet.signed_distances(), self.dmtet.base_sdf),
            ),
        )
        return {name: weight * term() for name, weight, term in terms if weight > 0}

    def grow(self, step: int, progress: float) -> list[str]:
        wanted = self._resolution(progress)
        if wanted <= self.dmtet.grid.resolution:
            return []
        # Sampled anew: a finer lattice sees more of an initial mesh than interpolation of the coarser one would.
        self.dmtet.grow(wanted, self._sample_shape(TetrahedralGrid(wanted, self.dmtet.grid.half_extent_metres)))
        self._guard.remember(step)
        return [f"the lattice grows to {wanted} cells a side"]

    def restore_if_broken(self, step: int, mesh: TriangleMesh) -> str | None:
        trouble = self._guard.inspect(step, mesh)
        return None if trouble is None else trouble.sentence

    def slow_down(self) -> str:
        self._rate_factor *= 0.5
        return f"The surface now moves at {self._rate_factor:.3g} of its rate."

    def configure(self, config: SurfaceConfig) -> None:
        self._config = config

    def replace(self, mesh: PlacedMesh, step: int) -> None:
        # Checks the distances before it changes anything.
        before = self.constraints
        self._hold(HeldRegion.of(mesh))
        try:
            self.dmtet.initialise_from(mesh.signed_distances(self.dmtet.grid).to(self._device))
        except BadInput:
            self.dmtet.constraints = before
            raise
        self.edited = mesh
        self._guard.remember(step)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {f"dmtet.{name}": value for name, value in self.dmtet.state().items()}
        return tensors | _edited_tensors(self.edited), {"rate_factor": self._rate_factor}

    def load_state(self, tensors: dict[str, Tensor], metadata: dict[str, Any], step: int) -> None:
        self._rate_factor = float(metadata["rate_factor"])
        self.edited = _edited_mesh(tensors)
        self._hold(self._first_held if self.edited is None else HeldRegion.of(self.edited))
        self.dmtet.load_state(under("dmtet.", tensors))
        self._guard.remember(step)

    @property
    def constraints(self) -> SurfaceConstraints:
        return self.dmtet.constraints

    def _hold(self, region: HeldRegion | None) -> None:
        self.dmtet.constraints = dataclasses.replace(self.dmtet.constraints, held=region)

    def _sample_shape(self, grid: TetrahedralGrid) -> Tensor:
        shape = self._first_shape if self.edited is None else self.edited.signed_distances
        return shape(grid).to(self._device)

    def _resolution(self, progress: float) -> int:
        """Cells a side at this share of the job."""
        return [cells for begin, cells in self._config.resolutions if begin <= progress][-1]


class FixedSurface:
    """A mesh that stays as it is, unless its user edits it: nothing to learn, to grow or to watch."""

    def __init__(self, mesh: TriangleMesh) -> None:
        self._mesh = self._first_mesh = mesh.detach()
        self.edited: PlacedMesh | None = None

    def extract_mesh(self) -> TriangleMesh:
        return self._mesh

    def parameter_groups(self) -> list[dict[str, Any]]:
        return []

    def learning_rate(self, progress: float) -> float:
        return 0.0

    def has_finite_gradients(self) -> bool:
        return True

    def regularise(self, mesh: TriangleMesh, masks: Tensor) -> dict[str, Tensor]:
        return {}

    def grow(self, step: int, progress: float) -> list[str]:
        return []

    def restore_if_broken(self, step: int, mesh: TriangleMesh) -> str | None:
        return None

    def slow_down(self) -> str:
        return "The texture stays as it was before."

    def configure(self, config: SurfaceConfig) -> None:
        """Nothing of it concerns a mesh that stays as it is."""

    def replace(self, mesh: PlacedMesh, step: int) -> None:
        self._mesh, self.edited = mesh.triangle_mesh().to(self._mesh.positions.device), mesh

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The first mesh comes from a file and is not saved; its fingerprint tells if the file is still the same."""
        return _edited_tensors(self.edited), {"mesh_fingerprint": self._fingerprint()}

    def load_state(self, tensors: dict[str, Tensor], metadata: dict[str, Any], step: int) -> None:
        if metadata["mesh_fingerprint"] != self._fingerprint():
            raise ValueError("the mesh is not the one that the run began with")
        self._mesh, self.edited = self._first_mesh, _edited_mesh(tensors)
        if self.edited is not None:
            self.replace(self.edited, step)

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(self._first_mesh.positions.cpu().contiguous().numpy().tobytes())
        digest.update(self._first_mesh.faces.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def _edited_tensors(mesh: PlacedMesh | None) -> dict[str, Tensor]:
    return {} if mesh is None else {f"edited.{name}": tensor for name, tensor in mesh.to_tensors().items()}


def _edited_mesh(tensors: dict[str, Tensor]) -> PlacedMesh | None:
    found = under("edited.", tensors)
    return PlacedMesh.from_tensors(found) if found else None
