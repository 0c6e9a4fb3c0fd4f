# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays into Blender's meshes: whole meshes, moved vertices, colours, UVs. Works on the mesh that it is given only.

The mesh must not be in Edit mode: Blender has no attributes then, and drops what is written (see `live_update`).
Arrays are written as float32 and int32 without copies: anything else is converted number by number, 30 times slower.
"""

from __future__ import annotations

import bpy
import numpy as np

from .jobs import Frame
from .protocol.messages import ResultMesh

COLOUR_ATTRIBUTE = "Sketchbridge"
UV_MAP = "UVMap"


def _linear_of_srgb() -> np.ndarray:
    coded = np.arange(256) / 255.0
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1
    return linear.astype(np.float32)


_LINEAR_OF_SRGB = _linear_of_srgb()


def to_local(frame: Frame, positions: np.ndarray) -> np.ndarray:
    """float32 [vertices, 3] in the scene to the same in the frame's coordinates."""
    matrix = _matrix(frame)
    moved = positions - matrix[:, 3]
    if np.array_equal(matrix[:, :3], np.eye(3)):
        return moved
    return np.ascontiguousarray(moved @ matrix[:, :3])  # the transposed of a rotation undoes it


def to_scene(frame: Frame, positions: np.ndarray) -> np.ndarray:
    """The reverse of `to_local`."""
    matrix = _matrix(frame)
    return np.ascontiguousarray(positions @ matrix[:, :3].T + matrix[:, 3], np.float32)


def _matrix(frame: Frame) -> np.ndarray:
    return np.array(frame.rows, np.float32).reshape(3, 4)


def write_mesh(mesh: bpy.types.Mesh, positions: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Replaces all of the mesh's geometry. Smooth shading; materials stay; UVs, colours and vertex weights go.

    Args:
        positions: float32 [vertices, 3], local coordinates.
        faces: int32 [faces, 3].

    Returns:
        bool [faces]: which of the faces the mesh has. Those that touch a vertex twice are left out, since Blender
        would have an edge from a vertex to itself.
    """
    first, second, third = faces.T
    is_kept = (first != second) & (second != third) & (third != first)
    if not is_kept.all():
        faces = np.ascontiguousarray(faces[is_kept])
    mesh.clear_geometry()
    mesh.vertices.add(len(positions))
    mesh.loops.add(faces.size)
    mesh.polygons.add(len(faces))
    if len(positions):
        mesh.attributes["position"].data.foreach_set("vector", positions.reshape(-1))
    if len(faces):
        mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, 3, dtype=np.int32))
        _write_corners(mesh, faces.reshape(-1))
    mesh.update(calc_edges=True)
    return is_kept


def _write_corners(mesh: bpy.types.Mesh, vertices: np.ndarray) -> None:
    corners = mesh.attributes.get(".corner_vert")
    if corners is not None:
        corners.data.foreach_set("value", vertices)  # three times as fast as through the loops
    else:
        mesh.loops.foreach_set("vertex_index", vertices)


def move_vertices(mesh: bpy.types.Mesh, positions: np.ndarray) -> None:
    """New positions for a mesh that has as many vertices: float32 [vertices, 3], local coordinates."""
    if len(positions):
        mesh.attributes["position"].data.foreach_set("vector", positions.reshape(-1))
    mesh.update()


def read_positions(mesh: bpy.types.Mesh) -> np.ndarray:
    """float32 [vertices, 3], local coordinates. In Edit mode, as they were when that was left or updated last."""
    positions = np.empty((len(mesh.vertices), 3), np.float32)
    attribute = mesh.attributes.get("position")
    if attribute is None:  # in Edit mode; slower
        mesh.vertices.foreach_get("co", positions.reshape(-1))
    elif len(positions):
        attribute.data.foreach_get("vector", positions.reshape(-1))
    return positions


def write_colours(mesh: bpy.types.Mesh, colours: np.ndarray) -> None:
    """Colours for the vertices, as the mesh's active colour attribute: uint8 [vertices, 3], sRGB."""
    attribute = mesh.attributes.get(COLOUR_ATTRIBUTE)
    if attribute is None or attribute.domain != "POINT" or attribute.data_type != "FLOAT_COLOR":
        if attribute is not None:
            mesh.attributes.remove(attribute)
        attribute = mesh.attributes.new(COLOUR_ATTRIBUTE, "FLOAT_COLOR", "POINT")
        mesh.color_attributes.active_color = mesh.color_attributes[COLOUR_ATTRIBUTE]
        attribute = mesh.attributes[COLOUR_ATTRIBUTE]
    # Float colours are linear; Blender's byte colours would be converted one by one on this thread.
    linear = np.ones((len(colours), 4), np.float32)
    linear[:, :3] = _LINEAR_OF_SRGB[colours]
    if len(colours):
        attribute.data.foreach_set("color", linear.reshape(-1))


def write_result(mesh: bpy.types.Mesh, result: ResultMesh, frame: Frame) -> np.ndarray:
    """A finished mesh with its UV map: vertices that were doubled for the texture's seams are one vertex again.

    Returns:
        float32 [vertices, 3]: the positions as written, local.
    """
    positions, faces, colours = result.positions, result.faces, result.colours
    if result.source_vertices is not None:
        _, kept, whole = np.unique(result.source_vertices, return_index=True, return_inverse=True)
        positions = np.ascontiguousarray(positions[kept])
        faces = whole.reshape(-1)[faces].astype(np.int32)
        colours = None if colours is None else colours[kept]
    local = to_local(frame, positions)
    is_kept = write_mesh(mesh, local, faces)
    if result.uv is not None and is_kept.any():
        layer = mesh.uv_layers.new(name=UV_MAP)
        corners = result.uv[result.faces[is_kept]].reshape(-1)
        layer.uv.foreach_set("vector", np.ascontiguousarray(corners, np.float32))
    if colours is not None:
        write_colours(mesh, colours)
    mesh.update()
    return local
