"""Compiling the numba kernels of the texture field and of finishing ahead of time."""

from __future__ import annotations

import torch

from backend.appearance.bake import finish_mesh
from backend.appearance.texture_field import TextureField, TextureFieldConfig
from backend.geometry.triangle_mesh import TriangleMesh
from backend.geometry.unwrap import UnwrapConfig

_TETRAHEDRON = ((1.0, 1.0, 1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, -1.0, -1.0))
_ITS_FACES = ((0, 2, 1), (0, 1, 3), (1, 2, 3), (0, 3, 2))


def compile_texture_field() -> None:
    """What a step of the optimisation needs: two seconds the first time, nothing to speak of with numba's cache."""
    positions = torch.zeros(1, 3, requires_grad=True)
    TextureField(TextureFieldConfig(resolutions=(2,)))(positions).albedo.sum().backward()


def compile_finishing() -> None:
    """What turns the optimised surface into a mesh with textures: some ten seconds the first time, then 0.1.

    Our own edge collapse is left out: few meshes need it, and it takes as long again.
    """
    mesh = TriangleMesh(0.5 * torch.tensor(_TETRAHEDRON), torch.tensor(_ITS_FACES, dtype=torch.int32))
    field = TextureField(TextureFieldConfig(resolutions=(2,)))
    finish_mesh(mesh, field, texture_size=64, unwrap_config=UnwrapConfig(packer="own"))
