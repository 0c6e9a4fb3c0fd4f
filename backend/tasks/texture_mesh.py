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
from backend.geometry.triangle_mesh import TriangleMesh
from backend.geometry.unwrap import UnwrappedMesh
from backend.tasks.mesh_task import MeshTask
from backend.tasks.setting_up import set_up


class TextureMesh(MeshTask):
    """One job. Raises what the user can do something about as a SketchbridgeError when it is built.

    The mesh is optimised in front of the cameras, centred and scaled into their ball, and finished with the coordinates
    that it has in its file.

    Args:
        settings: What was asked for.
        notice: Told sentences for the user, such as why the mesh's own UVs cannot be used.
        config: For studies: used instead of what follows from the settings.
    """

    def __init__(
        self,
        settings: TextureMeshSettings,
        notice: Callable[[str], None] = lambda sentence: None,
        config: OptimisationConfig | None = None,
    ) -> None:
        self.settings = settings
        if os.path.isfile(settings.prompt) and not os.path.isfile(settings.mesh):
            wanted = f'sketchbridge texture {settings.prompt} "{Path(settings.mesh).name}"'
            raise BadInput(f"the mesh comes first, then the prompt: {wanted}")
        file = read_mesh_input(settings.mesh, with_appearance=True)
        placement = place_in_ball(file.vertices, cast(UpAxis, settings.up))
        mesh = TriangleMesh(_floats(placement.place(file.vertices)), torch.from_numpy(file.faces).int())
        self._own_layout = self._choose_layout(mesh, file.uv, notice)
        normals = placement.turn(file.normals) if file.normals is not None else creased_normals(mesh)
        self._file_positions, self._file_normals = _floats(file.vertices), _floats(placement.turn_back(normals))

        ready = set_up(settings, config or settings.resolve(), notice)
        self._normals = _floats(normals).to(ready.device)
        super().__init__(settings, ready, mesh)

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
            finished, file_positions=self._file_positions[sources], file_normals=self._file_normals[sources]
        )

    def _choose_layout(self, mesh: TriangleMesh, uv: Any, notice: Callable[[str], None]) -> UnwrappedMesh | None:
        """The mesh with its own UVs, None if they cannot be used."""
        if uv is None:
            return None
        layout = own_layout(mesh, uv, self.settings.texture_size)
        if isinstance(layout, str):
            notice(f"the UVs of {self.settings.mesh} cannot be used ({layout}); it is unwrapped anew")
            return None
        return layout

    def _layout(self, mesh: TriangleMesh) -> UnwrappedMesh:
        return self._own_layout or unwrap_given_mesh(mesh, self.settings.texture_size)


def _floats(values: Any) -> Tensor:
    return torch.from_numpy(values).float()
