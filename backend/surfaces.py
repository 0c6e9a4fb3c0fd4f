"""What the loop optimises the texture on: a DMTet surface that is learnt with it, or a mesh that stays as it is.

All that belongs to one kind alone (growth, the guard, the regularising terms, the surface's rate) is in its class.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from backend.config import SurfaceConfig
from backend.geometry.dmtet import DMTet, DMTetConfig
from backend.geometry.smoothness import laplacian_roughness, normal_consistency, sign_change_entropy
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

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON-able facts for `load_state`."""

    def load_state(self, tensors: dict[str, Tensor], metadata: dict[str, Any], step: int) -> None:
        """Goes back to a state; others' tensors and facts may be among them. ValueError if it does not fit."""


class DMTetSurface:
    """A surface on a lattice that grows, watched over by a guard.

    Args:
        initial_shape: Where it starts.
    """

    def __init__(self, initial_shape: InitialShape, config: SurfaceConfig, device: torch.device) -> None:
        self._initial_shape, self._config, self._device = initial_shape, config, device
        self._rate_factor = 1.0  # halved whenever the surface had to be put back
        self.dmtet = DMTet(DMTetConfig(resolution=self._resolution(0.0))).to(device)
        self.dmtet.initialise_from(initial_shape(self.dmtet.grid).to(device))
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
        )
        return {name: weight * term() for name, weight, term in terms if weight > 0}

    def grow(self, step: int, progress: float) -> list[str]:
        wanted = self._resolution(progress)
        if wanted <= self.dmtet.grid.resolution:
            return []
        # Sampled anew: a finer lattice sees more of an initial mesh than interpolation of the coarser one would.
        shape = self._initial_shape(TetrahedralGrid(wanted, self.dmtet.grid.half_extent_metres))
        self.dmtet.grow(wanted, shape.to(self._device))
        self._guard.remember(step)
        return [f"the lattice grows to {wanted} cells a side"]

    def restore_if_broken(self, step: int, mesh: TriangleMesh) -> str | None:
        trouble = self._guard.inspect(step, mesh)
        return None if trouble is None else trouble.sentence

    def slow_down(self) -> str:
        self._rate_factor *= 0.5
        return f"The surface now moves at {self._rate_factor:.3g} of its rate."

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {f"dmtet.{name}": value for name, value in self.dmtet.state().items()}
        return tensors, {"rate_factor": self._rate_factor}

    def load_state(self, tensors: dict[str, Tensor], metadata: dict[str, Any], step: int) -> None:
        self._rate_factor = float(metadata["rate_factor"])
        self.dmtet.load_state(under("dmtet.", tensors))
        self._guard.remember(step)

    def _resolution(self, progress: float) -> int:
        """Cells a side at this share of the job."""
        return [cells for begin, cells in self._config.resolutions if begin <= progress][-1]


class FixedSurface:
    """A mesh that stays as it is: nothing to learn, to grow or to watch."""

    def __init__(self, mesh: TriangleMesh) -> None:
        self._mesh = mesh.detach()

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

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The mesh comes from a file and is not saved; its fingerprint tells whether the file is still the same."""
        return {}, {"mesh_fingerprint": self._fingerprint()}

    def load_state(self, tensors: dict[str, Tensor], metadata: dict[str, Any], step: int) -> None:
        if metadata["mesh_fingerprint"] != self._fingerprint():
            raise ValueError("the mesh is not the one that the run began with")

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(self._mesh.positions.cpu().contiguous().numpy().tobytes())
        digest.update(self._mesh.faces.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
