"""Text to mesh: settings in, an optimisation that can be stepped, saved and finished."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from backend.appearance.bake import FinishedMesh, finish_mesh
from backend.config import OptimisationConfig, TextToMeshSettings
from backend.errors import SketchbridgeError
from backend.geometry.components import remove_floaters
from backend.geometry.signed_distance import load_initial_mesh, sphere
from backend.surfaces import InitialShape
from backend.tasks.mesh_task import MeshTask
from backend.tasks.setting_up import set_up


class TextToMesh(MeshTask):
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
        super().__init__(settings, ready, initial_shape)

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
