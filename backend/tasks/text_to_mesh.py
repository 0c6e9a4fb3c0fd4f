"""Text to mesh: settings in, an optimisation that can be stepped, saved and finished."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from backend.appearance.bake import FinishedMesh, finish_mesh
from backend.config import OptimisationConfig, TextToMeshSettings
from backend.errors import EmptySurface
from backend.geometry.components import remove_floaters
from backend.geometry.mesh_input import Placement
from backend.geometry.placed_mesh import PlacedMesh
from backend.geometry.signed_distance import load_initial_mesh, sphere
from backend.surfaces import InitialShape
from backend.tasks.mesh_task import MeshTask
from backend.tasks.setting_up import PriorLoader, set_up


class TextToMesh(MeshTask):
    """One job. Raises what the user can do something about as a SketchbridgeError when it is built.

    Args:
        settings: What was asked for.
        notice: Told sentences for the user, such as the end of a prompt that the model has no room for.
        config: For studies: used instead of what follows from the settings.
        given: The mesh to begin with, of a caller that has it in memory; otherwise the settings may name a file.
        loader: Of the prior; see `set_up`.
    """

    def __init__(
        self,
        settings: TextToMeshSettings,
        notice: Callable[[str], None] = lambda sentence: None,
        config: OptimisationConfig | None = None,
        given: PlacedMesh | None = None,
        loader: PriorLoader | None = None,
    ) -> None:
        self.settings = settings
        config = config or settings.resolve()
        # First, as it is what may be wrong with the least to wait for.
        given = given if given is not None else _mesh_of_file(settings)
        ready = set_up(settings, config, notice, loader)
        shape = _ball(config.surface.start_radius_metres) if given is None else given.signed_distances
        super().__init__(settings, ready, shape, given)

    def finish(self, progress: Callable[[str], None] = lambda sentence: None) -> FinishedMesh:
        """The surface so far without floaters, decimated if asked for, unwrapped, with its textures baked.

        Raises:
            EmptySurface: There is no surface to finish.
        """
        mesh = remove_floaters(self._optimisation.current_mesh())
        if mesh.is_empty:
            raise EmptySurface("the surface is empty, so there is no mesh to write; another seed may help")
        return finish_mesh(
            mesh,
            self._optimisation.texture,
            rasteriser=self.rasteriser,
            face_budget=self.settings.faces,
            texture_size=self.settings.texture_size,
            name=self.settings.prompt,
            progress=progress,
        )


def _mesh_of_file(settings: TextToMeshSettings) -> PlacedMesh | None:
    if settings.init_mesh is None:
        return None
    mesh = load_initial_mesh(Path(settings.init_mesh))
    return PlacedMesh(mesh.vertices, mesh.faces, Placement(mesh.centre, mesh.scale))


def _ball(radius_metres: float) -> InitialShape:
    return lambda grid: sphere(grid.positions().view(-1, 3), radius_metres).view(grid.side, grid.side, grid.side)
