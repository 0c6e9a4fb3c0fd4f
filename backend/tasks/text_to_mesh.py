"""Text to mesh: settings in, an optimisation that can be stepped, saved and finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from backend.appearance.bake import FinishedMesh, finish_mesh
from backend.config import OptimisationConfig, TextToMeshSettings
from backend.errors import SketchbridgeError
from backend.geometry.components import remove_floaters
from backend.geometry.signed_distance import load_initial_mesh, sphere
from backend.optimise import MeshOptimisation, Step
from backend.surfaces import InitialShape
from backend.tasks.setting_up import preview_of, set_up


class TextToMesh:
    """One job. Raises what the user can do something about as a SketchbridgeError when it is built.

    Args:
        settings: What was asked for.
        notice: Told sentences for the user, such as the end of a prompt that the model has no room for.
        config: For studies: used instead of what follows from the settings.
    """

    def __init__(
        self,
        settings: TextToMeshSettings,
        notice: Callable[[str], None] = lambda sentence: None,
        config: OptimisationConfig | None = None,
    ) -> None:
        self.settings = settings
        config = config or settings.resolve()
        initial_shape = _initial_shape(settings, config)  # first, as it is what may be wrong with the least to wait for
        ready = set_up(settings, config, notice)
        self.config, self.device = ready.config, ready.device
        self.rasteriser, self.prior = ready.rasteriser, ready.prior
        self._optimisation = MeshOptimisation(
            settings.prompt, self.config, self.prior, self.rasteriser, initial_shape, settings.seed
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

    def finish(self, progress: Callable[[str], None] = lambda sentence: None) -> FinishedMesh:
        """The surface so far without floaters, decimated if asked for, unwrapped, with its textures baked.

        Raises:
            SketchbridgeError: There is no surface to finish.
        """
        mesh = remove_floaters(self._optimisation.current_mesh())
        if mesh.is_empty:
            raise SketchbridgeError("the surface is empty, so there is no mesh to write; another seed may help")
        return finish_mesh(
            mesh,
            self._optimisation.texture,
            rasteriser=self.rasteriser,
            face_budget=self.settings.faces,
            texture_size=self.settings.texture_size,
            name=self.settings.prompt,
            progress=progress,
        )


def _initial_shape(settings: TextToMeshSettings, config: OptimisationConfig) -> InitialShape:
    if settings.init_mesh is not None:
        return load_initial_mesh(Path(settings.init_mesh)).signed_distances
    radius = config.surface.start_radius_metres
    return lambda grid: sphere(grid.positions().view(-1, 3), radius).view(grid.side, grid.side, grid.side)
