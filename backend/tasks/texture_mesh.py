"""Texture for a mesh: the geometry of a file stays as it is, its texture is optimised towards a prompt."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from backend.appearance.bake import FinishedMesh, finish_mesh
from backend.appearance.seen_surface import NearestSeen, seen_points
from backend.config import OptimisationConfig, TextureMeshSettings
from backend.errors import BadInput
from backend.geometry.given_mesh import creased_normals, own_layout, unwrap_given_mesh
from backend.geometry.mesh_input import UpAxis, place_in_ball, read_mesh_input
from backend.geometry.placed_mesh import PlacedMesh
from backend.geometry.triangle_mesh import TriangleMesh
from backend.geometry.unwrap import UnwrappedMesh
from backend.steering import Steering
from backend.tasks.mesh_task import MeshTask
from backend.tasks.setting_up import PriorLoader, set_up


class TextureMesh(MeshTask):
    """One job. Raises what the user can do something about as a SketchbridgeError when it is built.

    The mesh is optimised in front of the cameras, centred and scaled into their ball, and finished with the coordinates
    that it has in its file.

    Args:
        settings: What was asked for.
        notice: Told sentences for the user, such as why the mesh's own UVs cannot be used.
        config: For studies: used instead of what follows from the settings.
        given: The mesh, of a caller that has it in memory; otherwise the settings name its file.
        loader: Of the prior; see `set_up`.
    """

    def __init__(
        self,
        settings: TextureMeshSettings,
        notice: Callable[[str], None] = lambda sentence: None,
        config: OptimisationConfig | None = None,
        given: PlacedMesh | None = None,
        loader: PriorLoader | None = None,
    ) -> None:
        self.settings, self._notice = settings, notice
        given = given if given is not None else _mesh_of_file(settings)
        layout = self._layout_of(given)
        ready = set_up(settings, config or settings.resolve(), notice, loader)
        super().__init__(settings, ready, given.triangle_mesh(), given)
        self._lay_out(given, layout)

    def steer(self, change: Steering) -> list[str]:
        notices = super().steer(change)
        if change.mesh is not None:
            self._lay_out(change.mesh, self._layout_of(change.mesh))
        return notices

    def load_state(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        laid_out = self.mesh
        super().load_state(tensors, metadata)
        if self.mesh is not None and self.mesh is not laid_out:
            self._lay_out(self.mesh, self._layout_of(self.mesh))

    def finish(self, progress: Callable[[str], None] = lambda sentence: None) -> FinishedMesh:
        """The mesh with its texture so far, on its own UVs where they are good.

        What the cameras do not see, below and inside, takes the colours of what they see nearest to it.
        """
        mesh = self._optimisation.current_mesh()
        seen = seen_points(mesh, self.rasteriser, self.config.views.elevation_degrees)
        texture = self._optimisation.texture
        finished = finish_mesh(
            mesh,
            NearestSeen(texture, seen) if len(seen) else texture,
            rasteriser=self.rasteriser,
            texture_size=self.settings.texture_size,
            name=self.settings.prompt,
            layout=self._layout,
            normals=self._normals,
            progress=progress,
        )
        sources = finished.source_vertices.long()
        return dataclasses.replace(
            finished, file_positions=self._given_positions[sources], file_normals=self._given_normals[sources]
        )

    def _layout_of(self, given: PlacedMesh) -> UnwrappedMesh | None:
        """The mesh with its own UVs, None if it has none that can be used."""
        if given.uv is None:
            return None
        layout = own_layout(given.triangle_mesh(), given.uv, self.settings.texture_size)
        if isinstance(layout, str):
            self._notice(f"the UVs of {self.settings.mesh} cannot be used ({layout}); it is unwrapped anew")
            return None
        return layout

    def _lay_out(self, given: PlacedMesh, layout: UnwrappedMesh | None) -> None:
        """Takes a mesh as the one that the texture is for."""
        normals = given.normals if given.normals is not None else creased_normals(given.triangle_mesh())
        self._own_layout, self._normals = layout, _floats(normals).to(self.device)
        self._given_positions = _floats(given.given_vertices())
        self._given_normals = _floats(given.placement.turn_back(normals))

    def _layout(self, mesh: TriangleMesh) -> UnwrappedMesh:
        return self._own_layout or unwrap_given_mesh(mesh, self.settings.texture_size)


def _mesh_of_file(settings: TextureMeshSettings) -> PlacedMesh:
    if os.path.isfile(settings.prompt) and not os.path.isfile(settings.mesh):
        wanted = f'sketchbridge texture {settings.prompt} "{Path(settings.mesh).name}"'
        raise BadInput(f"the mesh comes first, then the prompt: {wanted}")
    file = read_mesh_input(settings.mesh, with_appearance=True)
    placement = place_in_ball(file.vertices, cast(UpAxis, settings.up))
    normals = None if file.normals is None else placement.turn(file.normals)
    return PlacedMesh(placement.place(file.vertices), file.faces, placement, uv=file.uv, normals=normals)


def _floats(values: Any) -> Tensor:
    return torch.from_numpy(values).float()
