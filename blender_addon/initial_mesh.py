# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user has selected, as one mesh for the server: evaluated with its modifiers, triangulated, joined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from .protocol.errors import LocalProtocolError
from .protocol.geometry import FARTHEST_METRES
from .protocol.messages import InputMesh
from .protocol.settings import Limits
from .scene_mesh import read_positions

SURFACES = ("MESH", "CURVE", "SURFACE", "FONT", "META")
"""Types of objects that Blender can make a mesh of."""


class UnusableSelection(Exception):
    """The selected objects give no mesh that a server takes. The message says what to do."""


@dataclass
class _Piece:
    positions: np.ndarray
    faces: np.ndarray
    colours: np.ndarray | None
    uv: np.ndarray | None
    locked: np.ndarray | None


def read_selected(
    context: bpy.types.Context, locked_group: str = "", limits: Limits | None = None
) -> tuple[InputMesh, list[bpy.types.Object]]:
    """The selected objects, and what they instance, as one mesh in scene coordinates.

    Args:
        locked_group: Name of the vertex group whose vertices (weight 0.5 and more) stay as they are; empty for none.
        limits: Of the server.

    Returns:
        The mesh and the objects that it is of, the active one first.

    Raises:
        UnusableSelection: Nothing usable is selected, or too much.
    """
    selected = _with_active_first(context)
    if not selected:
        raise UnusableSelection("No object is selected: select the mesh to begin with, or set Begin With to Nothing")
    for each in selected:
        if each.mode == "EDIT":
            each.update_from_editmode()
    depsgraph = context.evaluated_depsgraph_get()
    pieces = list(_pieces(selected, depsgraph, locked_group, limits or Limits()))
    names = ", ".join(each.name for each in selected[:3])
    if not pieces:
        raise UnusableSelection(
            f"{names}: no faces to begin with; select a mesh, curve, surface, text or metaball that has some"
        )
    if locked_group and not any(piece.locked is not None for piece in pieces):
        raise UnusableSelection(f"{names}: no vertex group is called {locked_group}; choose another, or none")
    try:
        return _joined(pieces), selected
    except LocalProtocolError as error:
        raise UnusableSelection(f"{names}: the mesh cannot be used: {error}") from None


def read_object(found: bpy.types.Object, to_scene: Any) -> InputMesh:
    """The mesh of one object as it is, without modifiers, such as a streamed one that the user has edited.

    Args:
        to_scene: From its positions, float32 [vertices, 3], to those in the scene.

    Raises:
        UnusableSelection: It has no faces, or numbers that the server does not take.
    """
    with _out_of_edit_mode(found) as mesh:
        piece = _piece_of(mesh, None, None)
    if piece is None:
        raise UnusableSelection(f"{found.name} has no faces any more; undo the edit, or drop it")
    piece.positions = to_scene(piece.positions)
    try:
        return _joined([piece])
    except LocalProtocolError as error:
        raise UnusableSelection(f"{found.name}: the mesh cannot be used: {error}") from None


@contextmanager
def _out_of_edit_mode(found: bpy.types.Object) -> Iterator[bpy.types.Mesh]:
    """The object's mesh; in Edit mode a copy, since a mesh has no attributes then."""
    if not found.data.is_editmode:
        yield found.data
        return
    found.update_from_editmode()
    copied = found.data.copy()
    try:
        yield copied
    finally:
        bpy.data.meshes.remove(copied)


def _with_active_first(context: bpy.types.Context) -> list[bpy.types.Object]:
    selected = [each for each in context.selected_objects if each.type in SURFACES or each.is_instancer]
    selected.sort(key=lambda each: (each != context.active_object, each.name))
    return selected


def _pieces(
    selected: list[bpy.types.Object], depsgraph: bpy.types.Depsgraph, locked_group: str, limits: Limits
) -> Iterator[_Piece]:
    wanted = {each.session_uid for each in selected}
    faces = vertices = 0
    for instance in depsgraph.object_instances:
        owner = instance.parent if instance.is_instance else instance.object
        if owner is None or owner.original.session_uid not in wanted or instance.object.type not in SURFACES:
            continue
        with _as_mesh(instance.object) as mesh:
            if mesh is None:
                continue
            faces += len(mesh.loops) - 2 * len(mesh.polygons)
            vertices += len(mesh.vertices)
            _check_size(owner.original.name, vertices, faces, limits)
            group = instance.object.vertex_groups.get(locked_group) if locked_group else None
            piece = _piece_of(mesh, instance.matrix_world, group)
            if piece is not None:
                yield piece


def _check_size(name: str, vertices: int, faces: int, limits: Limits) -> None:
    for count, most, what in ((faces, limits.faces, "triangles"), (vertices, limits.vertices, "vertices")):
        if count > most:
            raise UnusableSelection(
                f"{name}: {count:,} {what} with its modifiers, and the server takes {most:,}: add a Decimate modifier "
                f"with a ratio of {most / count:.2g} or less, or select less"
            )


@contextmanager
def _as_mesh(evaluated: bpy.types.Object) -> Iterator[bpy.types.Mesh | None]:
    try:
        mesh = evaluated.to_mesh()
    except RuntimeError:  # an object without geometry
        mesh = None
    try:
        yield mesh
    finally:
        evaluated.to_mesh_clear()


def _piece_of(mesh: bpy.types.Mesh, matrix: Any, group: bpy.types.VertexGroup | None) -> _Piece | None:
    mesh.calc_loop_triangles()
    triangles = mesh.loop_triangles
    if len(triangles) == 0:
        return None
    positions = read_positions(mesh)
    faces, corners = np.empty((len(triangles), 3), np.int32), np.empty((len(triangles), 3), np.int32)
    triangles.foreach_get("vertices", faces.reshape(-1))
    triangles.foreach_get("loops", corners.reshape(-1))
    if matrix is not None:
        rows = np.array(matrix, np.float64)
        with np.errstate(invalid="ignore"):  # `_joined` refuses what is infinite
            positions = (positions @ rows[:3, :3].T + rows[:3, 3]).astype(np.float32)
        if np.linalg.det(rows[:3, :3]) < 0:  # mirrored: the outside would be inside
            faces, corners = faces[:, ::-1], corners[:, ::-1]
    locked = None if group is None else _locked(mesh, group.index)
    uv = _uv_of(mesh, corners)
    return _Piece(positions, np.ascontiguousarray(faces), _colours_of(mesh), uv, locked)


def _locked(mesh: bpy.types.Mesh, group_index: int) -> np.ndarray:
    locked = np.zeros(len(mesh.vertices), np.uint8)
    for index, vertex in enumerate(mesh.vertices):  # Blender gives weights one by one only
        for member in vertex.groups:
            if member.group == group_index and member.weight >= 0.5:
                locked[index] = 1
    return locked


def _uv_of(mesh: bpy.types.Mesh, corners: np.ndarray) -> np.ndarray | None:
    layer = mesh.uv_layers.active
    if layer is None or len(layer.uv) != len(mesh.loops):
        return None
    uv = np.empty(2 * len(mesh.loops), np.float32)
    layer.uv.foreach_get("vector", uv)
    uv = uv.reshape(-1, 2)[corners]
    return np.ascontiguousarray(uv) if np.isfinite(uv).all() and np.abs(uv).max() <= 1e4 else None


def _colours_of(mesh: bpy.types.Mesh) -> np.ndarray | None:
    attribute = mesh.color_attributes.active_color
    if attribute is None or len(attribute.data) == 0:
        return None
    values = np.empty(4 * len(attribute.data), np.float32)
    attribute.data.foreach_get("color_srgb", values)
    coded = np.rint(np.clip(np.nan_to_num(values.reshape(-1, 4)[:, :3]), 0, 1) * 255).astype(np.uint8)
    if attribute.domain == "POINT":
        return coded
    vertices = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", vertices)
    colours = np.full((len(mesh.vertices), 3), 255, np.uint8)
    colours[vertices] = coded  # of the corners of a vertex, one
    return colours


def _joined(pieces: list[_Piece]) -> InputMesh:
    starts = np.cumsum([0] + [len(piece.positions) for piece in pieces])
    positions = np.concatenate([piece.positions for piece in pieces])
    if not np.isfinite(positions).all() or np.abs(positions).max() > FARTHEST_METRES:
        raise LocalProtocolError("a vertex is infinitely far away, or more than 1000 km from the origin")
    return InputMesh(
        positions=positions,
        faces=np.concatenate(
            [piece.faces + np.int32(start) for piece, start in zip(pieces, starts[:-1], strict=True)]
        ).astype(np.int32),
        colours=_filled([piece.colours for piece in pieces], pieces, 255),
        locked=_filled([piece.locked for piece in pieces], pieces, 0),
        uv=_all_or_none(piece.uv for piece in pieces),
    )


def _filled(arrays: list[np.ndarray | None], pieces: list[_Piece], value: int) -> np.ndarray | None:
    """Joined, with a value for pieces that have none; None if none has."""
    given = next((array for array in arrays if array is not None), None)
    if given is None:
        return None
    parts = [
        array if array is not None else np.full((len(piece.positions), *given.shape[1:]), value, np.uint8)
        for array, piece in zip(arrays, pieces, strict=True)
    ]
    return np.concatenate(parts)


def _all_or_none(arrays: Iterable[np.ndarray | None]) -> np.ndarray | None:
    given = list(arrays)
    return (
        None if any(array is None for array in given) else np.concatenate([each for each in given if each is not None])
    )
