"""Mesh files to meshes on the wire, and results of the wire to what is written. The wire has Blender's axes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from backend.appearance.bake import BakedTextures, FinishedMesh, FinishReport
from backend.commands.coloured_mesh_files import BLENDER_AXES
from backend.errors import BadInput
from backend.geometry.mesh_input import UpAxis, read_lock, read_mesh_input
from backend.geometry.triangle_mesh import TriangleMesh
from backend.pictures import open_picture
from protocol.errors import LocalProtocolError
from protocol.geometry import InputMesh
from protocol.messages import Finished

_MOST_UV = 1e4  # on the wire
_SERVERS_REPORT = FinishReport(seconds={}, chart_count=0, packer="the server's", overlap=0.0, coverage=0.0, notes=())
"""Nothing was done here; what there was to say, the job's notices have said."""


def read_wire_mesh(
    path: Path,
    up: UpAxis,
    notice: Callable[[str], None],
    lock: Path | None = None,
    with_colours: bool = False,
) -> InputMesh:
    """A mesh file as a job takes it: all objects as one mesh, with its UVs, in metres.

    Args:
        up: The axis of the file that points upwards: y, or z as Blender has it.
        notice: Told why UVs are left out.
        lock: A copy of the mesh on which what is to stay is painted white; see `read_lock`.
        with_colours: Of its vertices, or of its textures there.

    Raises:
        BadInput: A file cannot be used, the mesh is farther from the origin than the wire can say, or the copy is of
            another mesh.
    """
    file = read_mesh_input(path.expanduser(), with_appearance=True)
    positions = file.vertices if up == "z" else BLENDER_AXES.turn_back(file.vertices)
    uv = None
    if file.uv is not None:
        corners = file.uv[file.faces]  # [faces, 3 corners, 2]
        if not np.isfinite(corners).all():
            notice(f"the UVs of {path} are left out: some parts of it have none")
        elif np.abs(corners).max() >= _MOST_UV:
            notice(f"the UVs of {path} are left out: they reach {np.abs(corners).max():.3g} textures far")
        else:
            uv = np.stack([corners[..., 0], 1 - corners[..., 1]], axis=-1).astype(np.float32)
    locked = None if lock is None else read_lock(lock.expanduser(), file).astype(np.uint8)
    colours = (file.colours * 255).round().astype(np.uint8) if with_colours and file.colours is not None else None
    try:
        return InputMesh(
            positions=positions.astype(np.float32),
            faces=file.faces.astype(np.int32),
            colours=colours,
            locked=locked,
            uv=uv,
        )
    except LocalProtocolError as error:
        raise BadInput(f"{path} cannot be sent: {error}") from error


def finished_mesh(finished: Finished, name: str, up: UpAxis) -> FinishedMesh | None:
    """A result as the writers of files take it; None for one without textures, such as a partial one.

    Args:
        name: Of the object in the file.
        up: The axis of the file that is to point upwards.

    Raises:
        BadInput: The server sent a texture that is no picture.
    """
    mesh, textures = finished.mesh, {each.use: each for each in finished.textures}
    if mesh is None or mesh.uv is None or "base-colour" not in textures:
        return None
    base_colour = decoded_png(textures["base-colour"].picture, "base-colour texture")
    if "metallic-roughness" in textures:
        metallic_roughness = decoded_png(textures["metallic-roughness"].picture, "metallic-roughness texture")
    else:
        matt = torch.tensor([255, 255, 0], dtype=torch.uint8)
        metallic_roughness = matt.expand_as(base_colour).contiguous()
    sources = np.arange(len(mesh.positions)) if mesh.source_vertices is None else mesh.source_vertices
    colours = np.full(mesh.positions.shape, 255) if mesh.colours is None else mesh.colours
    return FinishedMesh(
        mesh=TriangleMesh(torch.tensor(in_file_axes(mesh.positions, up)), torch.tensor(mesh.faces)),
        source_vertices=torch.tensor(sources, dtype=torch.int32),
        normals=torch.tensor(in_file_axes(mesh.normals, up)),
        uv=torch.tensor(np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], axis=-1)),
        vertex_colours=torch.tensor(colours, dtype=torch.uint8),
        textures=BakedTextures(base_colour, metallic_roughness),
        name=name,
        report=_SERVERS_REPORT,
    )


def in_file_axes(directions: np.ndarray, up: UpAxis) -> np.ndarray:
    """float32 [points, 3] of the wire, Z up, with the axes that a file is to have."""
    return (directions if up == "z" else BLENDER_AXES.turn(directions)).astype(np.float32)


def decoded_png(png: bytes, what: str) -> torch.Tensor:
    """uint8 [height, width, 3]. The message has checked the size, of at most 8192 x 8192.

    Raises:
        BadInput: The file is damaged; the sentence says of `what`.
    """
    try:
        return torch.tensor(np.asarray(open_picture(png, what).convert("RGB")))
    except BadInput as error:
        raise BadInput(f"the server's {what} is a damaged PNG file: {error}") from error
