"""A mesh of the world as the GLB that a job would have written, for tests that look at files and make no mesh."""

from __future__ import annotations

from pathlib import Path

import igl
import numpy as np
import torch
from torch import Tensor

from backend.appearance.bake import finish_mesh
from backend.appearance.material import Material
from backend.appearance.mesh_files import write_mesh
from backend.geometry.triangle_mesh import TriangleMesh
from backend.geometry.unwrap import UnwrapConfig
from benchmarks.mesh_runs import MadeMesh, MeshRun
from tools.embedded_world.colours import COLOURS
from tools.embedded_world.shapes import SHAPES, canonical_mesh


def made_mesh(colour: str, shape: str, folder: Path, seed: int = 0) -> MadeMesh:
    """The canonical mesh with its parts in their colours, as a baked texture."""
    mesh = canonical_mesh(shape)
    palette = torch.tensor([COLOURS[colour].typical().tolist(), *SHAPES[shape].natural_colours])

    def field(positions: Tensor) -> Material:
        one = torch.ones(len(positions), 1)
        points, corners = positions.double().numpy(), mesh.positions.astype(np.float64)
        _, nearest_face, _ = igl.point_mesh_squared_distance(points, corners, mesh.faces.astype(np.int64))
        return Material(palette[torch.from_numpy(mesh.part_ids[nearest_face]).long()], 0.7 * one, 0.0 * one)

    run = MeshRun(colour, shape, seed)
    finished = finish_mesh(
        TriangleMesh(torch.from_numpy(mesh.positions), torch.from_numpy(mesh.faces)),
        field,
        texture_size=128,
        name=run.prompt,
        unwrap_config=UnwrapConfig(packer="own"),
    )
    path = folder / f"{colour}-{shape}-{seed}.glb"
    write_mesh(path, finished)
    return MadeMesh(run, path, 165.0, 600, 140.0)
