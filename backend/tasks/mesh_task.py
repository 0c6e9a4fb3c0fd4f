"""What the tasks that make meshes share: a loop that is stepped, saved and shown. A task says how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from backend.config import MeshSettings
from backend.geometry.triangle_mesh import TriangleMesh
from backend.optimise import MeshOptimisation, Step
from backend.surfaces import InitialShape
from backend.tasks.setting_up import SetUp, preview_of


class MeshTask:
    """Hands on to the loop what a command asks of a job.

    Args:
        ready: What the job runs with.
        shape: See `MeshOptimisation`.
    """

    def __init__(self, settings: MeshSettings, ready: SetUp, shape: InitialShape | TriangleMesh) -> None:
        self.config, self.device = ready.config, ready.device
        self.rasteriser, self.prior = ready.rasteriser, ready.prior
        self._optimisation = MeshOptimisation(
            settings.prompt, self.config, self.prior, self.rasteriser, shape, settings.seed
        )

    @property
    def total_steps(self) -> int:
        return self.config.steps

    def steps(self) -> Iterator[Step]:
        """The steps that are left. Closing the iterator cancels between two of them."""
        return self._optimisation.steps()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `MeshOptimisation.state`."""
        return self._optimisation.state()

    def load_state(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        """See `MeshOptimisation.load_state`."""
        self._optimisation.load_state(tensors, metadata)

    def preview(self, view_count: int = 4, resolution: int = 256) -> UInt8[Tensor, "views height width 3"]:
        """See `setting_up.preview_of`."""
        return preview_of(self._optimisation, view_count, resolution)
