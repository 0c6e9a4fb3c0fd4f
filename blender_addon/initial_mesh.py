# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user has selected, as one mesh for the server: evaluated with its modifiers, triangulated, joined."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
from mathutils.bvhtree import BVHTree

from .protocol.errors import LocalProtocolError
from .protocol.geometry import FARTHEST_METRES
from .protocol.messages import InputMesh
from .protocol.settings import Limits
from .scene_mesh import read_positions
from .vertex_groups import names_of

LEAST_LOCKED_WEIGHT = 0.5
SURFACES = ("MESH", "CURVE", "SURFACE", "FONT", "META")
"""Types of objects that Blender can make a mesh of."""
_MOST_NAMED = 8
_STILL_THERE = 0.02
"""Share of a mesh's longest side: a lattice bevels sharp edges by about as much."""


class UnusableSelection(Exception):
    """The selected objects give no mesh that a server takes. The message says what to do."""


@dataclass
class _Piece:
    positions: np.ndarray
    faces: np.ndarray
    colours: np.ndarray | None
    uv: np.ndarray | None
    weights: np.ndarray | None
    """float32 [vertices]: in the vertex group that locks."""

    @property
    def locked(self) -> np.ndarray | None:
        return None if self.weights is None else (self.weights >= LEAST_LOCKED_WEIGHT).astype(np.uint8)


def read_selected(
    context: bpy.types.Context, locked_group: str = "", limits: Limits | None = None
) -> tuple[InputMesh, list[bpy.types.Object]]:
    """The selected objects, and what they instance, as one mesh in scene coordinates.

    Args:
        locked_group: Name of the vertex group whose vertices (weight 0.5 and more) stay as they are; empty for none.
            Of several objects, those without it are free.
        limits: Of the server.

    Returns:
        The mesh and the objects that it is of, the active one first.

    Raises:
        UnusableSelection: Nothing usable is selected, or too much, or the group locks nothing or everything.
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
    try:
        mesh = _joined(pieces)
    except LocalProtocolError as error:
        raise UnusableSelection(f"{names}: the mesh cannot be used: {error}") from None
    if locked_group:
        trouble = _trouble_with(locked_group, names_of(selected), [piece.weights for piece in pieces], mesh)
        if trouble:
            raise UnusableSelection(f"{names}: {trouble}")
    return mesh, selected


def _trouble_with(group: str, known: list[str], weights: list[np.ndarray | None], mesh: InputMesh) -> str:
    """Why a vertex group locks nothing, or leaves nothing to change; empty if it can be used."""
    if mesh.locked is None:
        if group in known:
            return f"its modifiers leave nothing of the vertex group {group}: apply them and assign it, or clear Locked"
        there_is = f"there is {', '.join(known[:_MOST_NAMED])}: choose one" if known else "there is none: make one"
        return f"no vertex group is called {group}; {there_is}, or clear Locked"
    highest = max(float(each.max(initial=0)) for each in weights if each is not None)
    if highest < LEAST_LOCKED_WEIGHT:
        return (
            f"with its modifiers, no vertex has a weight of {LEAST_LOCKED_WEIGHT} or more in the vertex group {group}, "
            f"the highest is {math.floor(highest * 100) / 100:g}: give it more weight, or clear Locked"
        )
    is_locked = mesh.locked[mesh.faces].all(axis=1)
    if not is_locked.any():
        return (
            f"no face has a weight of {LEAST_LOCKED_WEIGHT} or more in the vertex group {group} at all of its corners, "
            "so that nothing would be locked: give it more weight, or clear Locked"
        )
    if is_locked.all():
        return (
            f"the vertex group {group} locks every face, so that nothing would be left to change: take vertices out of "
            "it, or clear Locked"
        )
    return ""


def locked_corners(mesh: InputMesh | None) -> np.ndarray | None:
    """float32 [faces, 3, 3]: where the corners of the faces that stay as they are were in the scene; None without."""
    if mesh is None or mesh.locked is None:
        return None
    return mesh.positions[mesh.faces[mesh.locked[mesh.faces].all(axis=1)]]


def read_object(found: bpy.types.Object, to_scene: Any, locked: np.ndarray | None = None) -> InputMesh:
    """The mesh of one object as it is, without modifiers, such as a streamed one that the user has edited.

    Args:
        to_scene: From its positions, float32 [vertices, 3], to those in the scene.
        locked: The job's `locked_corners`: vertices that are still there stay locked, since an edited mesh brings its
            own mask. Those that the user has moved away are free.

    Raises:
        UnusableSelection: It has no faces, or numbers that the server does not take.
    """
    with _out_of_edit_mode(found) as mesh:
        piece = _piece_of(mesh, None, None)
    if piece is None:
        raise UnusableSelection(f"{found.name} has no faces any more; undo the edit, or drop it")
    piece.positions = to_scene(piece.positions)
    if locked is not None and np.isfinite(piece.positions).all():
        piece.weights = _nearness(piece.positions, locked)
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
            weights = _weights_of(mesh, instance.object.vertex_groups.get(locked_group), locked_group)
            piece = _piece_of(mesh, instance.matrix_world, weights)
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


def _piece_of(mesh: bpy.types.Mesh, matrix: Any, weights: np.ndarray | None) -> _Piece | None:
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
    uv = _uv_of(mesh, corners)
    return _Piece(positions, np.ascontiguousarray(faces), _colours_of(mesh), uv, weights)


def _weights_of(mesh: bpy.types.Mesh, group: bpy.types.VertexGroup | None, name: str) -> np.ndarray | None:
    """Those of an evaluated mesh in a vertex group; None if it has no such group."""
    if not name:
        return None
    weights = np.zeros(len(mesh.vertices), np.float32)
    if group is not None:
        index = group.index
        for number, vertex in enumerate(mesh.vertices):  # Blender gives weights one by one only
            for member in vertex.groups:
                if member.group == index:
                    weights[number] = member.weight
        return weights
    # Geometry nodes that make instances real make an attribute of the group.
    attribute = mesh.attributes.get(name)
    if attribute is None or attribute.domain != "POINT" or attribute.data_type != "FLOAT":
        return None
    attribute.data.foreach_get("value", weights)
    return weights


def _nearness(positions: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """float32 [vertices]: 1 within `_STILL_THERE` of the faces with these corners [faces, 3, 3], 0 elsewhere."""
    farthest = _STILL_THERE * float(np.ptp(positions, axis=0).max())
    numbers = np.arange(3 * len(corners)).reshape(-1, 3)
    tree = BVHTree.FromPolygons(corners.reshape(-1, 3).tolist(), numbers.tolist(), all_triangles=True)
    near = (tree.find_nearest(position, farthest)[0] is not None for position in positions.tolist())
    return np.fromiter(near, np.float32, len(positions))


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
