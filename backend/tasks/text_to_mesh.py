"""Text to mesh: settings in, an optimisation that can be stepped, saved and finished."""

from __future__ import annotations

from collections.abc import Callable

from backend.appearance.bake import FinishedMesh, finish_mesh
from backend.config import OptimisationConfig, TextToMeshSettings
from backend.errors import EmptySurface
from backend.geometry.components import remove_floaters
from backend.geometry.placed_mesh import PlacedMesh, load_initial_mesh
from backend.geometry.signed_distance import sphere
from backend.optimise import MeshOptimisation
from backend.render.rasteriser import Rasteriser
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
        shape = ball(config.surface.start_radius_metres) if given is None else given.signed_distances
        super().__init__(settings, ready, shape, given)

    def finish(self, progress: Callable[[str], None] = lambda sentence: None) -> FinishedMesh:
        """The surface so far without floaters, decimated if asked for, unwrapped, with its textures baked.

        Raises:
            EmptySurface: There is no surface to finish.
        """
        return finish_surface(
            self._optimisation,
            self.rasteriser,
            name=self.settings.prompt,
            faces=self.settings.faces,
            texture_size=self.settings.texture_size,
            progress=progress,
        )


def finish_surface(
    optimisation: MeshOptimisation,
    rasteriser: Rasteriser,
    *,
    name: str,
    faces: int | None,
    texture_size: int,
    progress: Callable[[str], None],
) -> FinishedMesh:
    """What a surface that was learnt becomes in the end; see `TextToMesh.finish`."""
    mesh = remove_floaters(optimisation.current_mesh())
    if mesh.is_empty:
        raise EmptySurface("the surface is empty, so there is no mesh to write; another seed may help")
    dmtet = optimisation.dmtet
    if dmtet.constraints.held is not None:
        mesh = dmtet.constraints.held.snapped(mesh, dmtet.grid.cell_metres)
    return finish_mesh(
        mesh,
        optimisation.texture,
        rasteriser=rasteriser,
        face_budget=faces,
        texture_size=texture_size,
        name=name,
        progress=progress,
    )


def _mesh_of_file(settings: TextToMeshSettings) -> PlacedMesh | None:
    if settings.init_mesh is None:
        return None
    return load_initial_mesh(settings.init_mesh)


def ball(radius_metres: float) -> InitialShape:
    return lambda grid: sphere(grid.positions().view(-1, 3), radius_metres).view(grid.side, grid.side, grid.side)
