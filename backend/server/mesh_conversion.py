"""Meshes on the wire and in the backend. The only place that knows both coordinate systems.

The wire is Blender's: Z up, front along -Y, metres of the client's scene, V upwards. The backend has Y up, the front
along +Z, and every object in a ball of radius 0.9 around the origin; V goes downwards. `Placement` is the way between
them.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from backend.appearance.bake import FinishedMesh
from backend.errors import UnreadableMesh
from backend.geometry.dmtet import LATTICE_METRES
from backend.geometry.mesh_input import BALL_RADIUS_METRES, MOST_FACES, Placement, faces_with_area, place_in_ball
from backend.geometry.placed_mesh import PlacedMesh
from backend.geometry.triangle_mesh import TriangleMesh
from backend.pictures import encode_picture
from protocol import settings as wire_settings
from protocol.geometry import InputMesh, ResultMesh, Texture
from protocol.messages import SubmitJob

_ROUNDING = 1e-3


def placement_of(job: SubmitJob) -> Placement:
    """Where the job's object is in the client's scene: as asked for, else around its mesh, else around the origin."""
    if job.placement is not None:
        return _from_ball(job.placement)
    if job.mesh is None:
        return _from_ball(wire_settings.Placement())
    used = np.unique(job.mesh.faces)
    vertices = job.mesh.positions[used].astype(np.float64)
    if not float(np.ptp(vertices, axis=0).max()) > 0:
        raise UnreadableMesh("all vertices of the mesh are in one place; give a mesh that has a surface")
    return place_in_ball(vertices, "z")


def _from_ball(ball: wire_settings.Placement) -> Placement:
    x, y, z = ball.centre
    return Placement((x, y, z), BALL_RADIUS_METRES / ball.radius_metres, "z")


def placed_mesh(mesh: InputMesh, placement: Placement) -> PlacedMesh:
    """A client's mesh in front of the cameras. Vertices with several UVs are doubled, unused ones are left out.

    Raises:
        UnreadableMesh: It makes no surface, has too many faces, or reaches beyond what can be seen.
    """
    if len(mesh.faces) > MOST_FACES:
        raise UnreadableMesh(
            f"the mesh has {len(mesh.faces):,} faces; at most {MOST_FACES:,} are taken. Decimate it first"
        )
    sources, uv, faces = _split_by_uv(mesh)
    vertices = placement.place(mesh.positions[sources].astype(np.float64))
    if not float(np.ptp(vertices, axis=0).max()) > 0 or not faces_with_area(vertices, faces).any():
        raise UnreadableMesh(f"none of the {len(mesh.faces):,} faces of the mesh has an area")
    reach = float(np.abs(vertices).max())
    if reach > LATTICE_METRES + _ROUNDING:
        ball = BALL_RADIUS_METRES / placement.scale
        raise UnreadableMesh(
            f"the mesh reaches {reach / placement.scale:.3g} m from the middle of its placement, whose ball has a "
            f"radius of {ball:.3g} m; move or scale the mesh into the ball, or make the ball larger"
        )
    colours = None if mesh.colours is None else mesh.colours[sources].astype(np.float64) / 255
    locked = None if mesh.locked is None else mesh.locked[sources].astype(bool)
    return PlacedMesh(vertices, faces, placement, colours=colours, uv=uv, sources=sources, locked=locked)


def client_positions(mesh: TriangleMesh, placement: Placement) -> Float[np.ndarray, "vertices 3"]:
    """float32, in the client's scene."""
    return placement.place_back(mesh.positions.detach().cpu().double().numpy()).astype(np.float32)


def untextured_mesh(mesh: TriangleMesh, colours: UInt8[Tensor, "vertices 3"], placement: Placement) -> ResultMesh:
    """A mesh as it is, with colours at its vertices alone.

    Args:
        colours: sRGB, on the CPU.
    """
    normals = mesh.vertex_normals().detach().cpu().double().numpy()
    return ResultMesh(
        positions=client_positions(mesh, placement),
        faces=_int32(mesh.faces),
        normals=placement.turn_back(normals).astype(np.float32),
        colours=colours.numpy(),
    )


def textured_mesh(
    finished: FinishedMesh, placement: Placement, given: PlacedMesh | None = None
) -> tuple[ResultMesh, tuple[Texture, ...]]:
    """A finished mesh and its material.

    Args:
        given: The client's mesh, if this is that mesh with a texture: vertices are then named by the client's numbers.
    """
    positions, normals = finished.file_positions, finished.file_normals
    if positions is None or normals is None:
        at = client_positions(finished.mesh, placement)
        directions = placement.turn_back(finished.normals.double().numpy())
    else:  # a mesh that stayed as it is: exactly the numbers that came
        at, directions = positions.numpy(), normals.double().numpy()
    uv = finished.uv.numpy()
    sources = finished.source_vertices.numpy().astype(np.int64)
    if given is not None and given.sources is not None:
        sources = given.sources[sources]
    mesh = ResultMesh(
        positions=np.ascontiguousarray(at, np.float32),
        faces=_int32(finished.mesh.faces),
        normals=directions.astype(np.float32),
        uv=np.stack([uv[:, 0], 1 - uv[:, 1]], axis=-1).astype(np.float32),
        source_vertices=sources.astype(np.int32),
        colours=finished.vertex_colours.numpy(),
    )
    textures = finished.textures
    return mesh, (
        Texture(use="base-colour", picture=encode_picture(textures.base_colour.numpy(), ".png")),
        Texture(use="metallic-roughness", picture=encode_picture(textures.metallic_roughness.numpy(), ".png")),
    )


def _split_by_uv(mesh: InputMesh) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """The client's number of each vertex, its UV with V downwards, and the faces."""
    corners = mesh.faces.reshape(-1).astype(np.int64)
    if mesh.uv is None:
        used, faces = np.unique(corners, return_inverse=True)
        return used, None, faces.reshape(-1, 3)
    # + 0.0 makes one number of both zeros: they are equal, and their bytes are not.
    uv = np.ascontiguousarray(mesh.uv.reshape(-1, 2)) + np.float32(0.0)
    keys = np.stack([corners, uv.view(np.int64).reshape(-1)], axis=1)
    _, first, faces = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    split = uv[first].astype(np.float64)
    return corners[first], np.stack([split[:, 0], 1 - split[:, 1]], axis=-1), faces.reshape(-1, 3)


def _int32(faces: Tensor) -> np.ndarray:
    return faces.cpu().to(torch.int32).contiguous().numpy()
