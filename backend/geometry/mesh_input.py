"""Mesh files that users give: read with all their objects in place, checked, and moved before the cameras.

Whatever is wrong with a file becomes an UnreadableMesh with a sentence. Nothing is fetched from anywhere.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from backend.errors import BadInput, UnreadableMesh

MESH_SUFFIXES = (".glb", ".gltf", ".obj", ".off", ".ply", ".stl")
MOST_FACES = 5_000_000
MOST_BYTES = 2_000_000_000
BALL_RADIUS_METRES = 0.9

UpAxis = Literal["y", "z"]

_TO_Y_UP: dict[UpAxis, np.ndarray] = {
    "y": np.eye(3),
    # Blender's front looks along -Y, which becomes +Z.
    "z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
}


OTHER_AXES = {"x": "x", "y": "z", "z": "y"}
"""Along which axis of coordinates with Y up each one of those with Z up lies, and the other way round."""


@dataclass(frozen=True)
class FileMesh:
    """What a file holds, in its own coordinates: all objects as one mesh, without vertices that no face uses."""

    vertices: Float[np.ndarray, "vertices 3"]
    """float64."""
    faces: Int[np.ndarray, "faces 3"]
    """int64, in the order of the file; some may have no area."""
    uv: Float[np.ndarray, "vertices 2"] | None
    """Row 0 of a texture at v = 0. NaN for objects without UVs among others that have some."""
    normals: Float[np.ndarray, "vertices 3"] | None
    """Unit normals. None if an object has none in the file, or they were not asked for."""
    colours: Float[np.ndarray, "vertices 3"] | None = None
    """sRGB-coded, in [0, 1]: of the vertices, or of textures at the vertices. Grey for objects without any among others
    that have some; None if none has, or they were not asked for."""

    def has_area(self) -> np.ndarray:
        """Which faces have an area that is more than rounding [faces]."""
        return faces_with_area(self.vertices, self.faces)


@dataclass(frozen=True)
class Placement:
    """The way from a file's coordinates to the ball that the cameras look at: `(position - centre) * scale`, turned."""

    centre: tuple[float, float, float]
    scale: float
    up: UpAxis = "y"
    """The file's axis that comes to stand along Y."""

    def place(self, positions: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        return self.turn((positions - np.array(self.centre)) * self.scale)

    def place_back(self, positions: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        """The reverse of `place`."""
        return self.turn_back(positions) / self.scale + np.array(self.centre)

    def turn(self, directions: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        return directions @ _TO_Y_UP[self.up].T

    def turn_back(self, directions: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        return directions @ _TO_Y_UP[self.up]


def read_mesh_input(path: str | Path, with_appearance: bool = False) -> FileMesh:
    """Reads a mesh file, all objects of a scene in their places.

    Args:
        with_appearance: UVs, normals and colours too.

    Raises:
        UnreadableMesh: The file is missing, of an unknown kind, damaged, empty, or holds no usable surface.
    """
    path = Path(path)
    if path.suffix.lower() not in MESH_SUFFIXES:
        kind = f"{path.suffix!r} files" if path.suffix else "files without a suffix"
        raise UnreadableMesh(f"cannot read {kind} as a mesh: {path}. Known: {', '.join(MESH_SUFFIXES)}")
    mesh = _joined(_read_parts(path, with_appearance), with_appearance)
    if not np.isfinite(mesh.vertices).all():
        count = int((~np.isfinite(mesh.vertices)).any(axis=1).sum())
        raise UnreadableMesh(f"{path} has {count} vertices whose coordinates are not finite numbers")
    if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        wrong = mesh.faces.min() if mesh.faces.min() < 0 else mesh.faces.max()
        raise UnreadableMesh(f"{path}: faces point at vertex {wrong}, but there are only {len(mesh.vertices)}")
    mesh = _used(mesh)
    extent = float(np.ptp(mesh.vertices, axis=0).max())
    if not 1e-30 < extent < 1e30:
        raise UnreadableMesh(f"{path} is {extent:.3g} wide, which makes no object")
    if not mesh.has_area().any():
        raise UnreadableMesh(f"none of the {len(mesh.faces)} faces of {path} has an area")
    return mesh


def read_lock(path: str | Path, mesh: FileMesh) -> Bool[np.ndarray, "vertices"]:
    """Which vertices of a mesh are locked, from the file of a copy of it on which these are painted white.

    Raises:
        UnreadableMesh: As `read_mesh_input`.
        BadInput: As `locked_like`.
    """
    mask = read_mesh_input(path, with_appearance=True)
    return locked_like(mesh.vertices, mask.vertices, mask.colours, str(path))


def locked_like(
    mesh: Float[np.ndarray, "vertices 3"],
    mask: Float[np.ndarray, "mask_vertices 3"],
    colours: Float[np.ndarray, "mask_vertices 3"] | None,
    name: str,
) -> Bool[np.ndarray, "vertices"]:
    """Which vertices of a mesh are locked, from a copy of it on which what is locked is painted white.

    Vertices are found by their place, as two file formats seldom keep them in one order.

    Args:
        colours: sRGB-coded, in [0, 1].
        name: Of the mask, for messages.

    Raises:
        BadInput: It is of another mesh, has no colours, or nothing of it is white.
    """
    from scipy.spatial import KDTree

    if colours is None:
        raise BadInput(f"{name} has no colours at its vertices; paint white what is to stay, and black the rest")
    distances, found = KDTree(mask).query(mesh)
    is_elsewhere = distances > 1e-3 * np.ptp(mesh, axis=0).max()
    if is_elsewhere.any() or len(mask) > 2 * len(mesh):
        raise BadInput(
            f"{name} is of another mesh: {int(is_elsewhere.sum()):,} of the {len(mesh):,} vertices of the mesh are not "
            f"among its {len(mask):,}; save the mask from the same mesh, in the same place"
        )
    locked: np.ndarray = colours[found].mean(axis=1) > 0.5
    if not locked.any():
        raise BadInput(f"nothing in {name} is white, so nothing would be locked; paint white what is to stay")
    return locked


def faces_with_area(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]
) -> Bool[np.ndarray, "faces"]:
    """Which faces have an area that is more than rounding. The vertices are not all in one place."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    corners = ((vertices - low) / (high - low).max())[faces]
    crosses = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.linalg.norm(crosses, axis=1) > 1e-14


def place_in_ball(
    vertices: Float[np.ndarray, "vertices 3"], up: UpAxis = "y", radius_metres: float = BALL_RADIUS_METRES
) -> Placement:
    """Brings the middle of the bounding box to the origin and the furthest vertex to `radius_metres`."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    extent = float((high - low).max())
    centre = low + (high - low) / 2
    # First to a width of one, so that squares of very small or very large numbers stay numbers.
    furthest = float(np.linalg.norm((vertices - centre) / extent, axis=1).max())
    x, y, z = (float(number) for number in centre)
    return Placement((x, y, z), radius_metres / furthest / extent, up)


def _read_parts(path: Path, with_appearance: bool) -> list[tuple[np.ndarray, Any]]:
    """Transform [4, 4] and trimesh's mesh of each object that has faces; at least one."""
    import trimesh

    if not os.path.isfile(path):  # unlike Path.is_file it takes a sentence of 300 letters for no file either
        raise UnreadableMesh(f"there is no file {path}")
    size = path.stat().st_size
    if size == 0:
        raise UnreadableMesh(f"{path} is empty")
    if size > MOST_BYTES:
        raise UnreadableMesh(f"{path} has {size / 1e9:.1f} GB; at most {MOST_BYTES / 1e9:.0f} GB are read")
    try:
        # process=False: repairs would hide what the checks are looking for. UVs come with the materials alone.
        scene = trimesh.load_scene(str(path), process=False, skip_materials=not with_appearance, allow_remote=False)
    except Exception as error:  # each format fails in its own way, with IndexError, KeyError, struct.error...
        raise UnreadableMesh(
            f"{path} cannot be read as {path.suffix.lower()}: {error or type(error).__name__}"
        ) from error
    parts = []
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        part = scene.geometry[name]
        if isinstance(part, trimesh.Trimesh) and len(part.faces):
            parts.append((transform, part))
    count = sum(len(part.faces) for _, part in parts)
    if count == 0:
        raise UnreadableMesh(f"{path} holds no faces; a mesh of triangles or polygons is needed")
    if count > MOST_FACES:
        raise UnreadableMesh(f"{path} has {count:,} faces; at most {MOST_FACES:,} are read. Decimate it first")
    return parts


def _joined(parts: list[tuple[np.ndarray, Any]], with_appearance: bool) -> FileMesh:
    vertices, faces, uvs, normals, colours = [], [], [], [], []
    first_vertex = 0
    for transform, part in parts:
        linear = transform[:3, :3]
        vertices.append(np.asarray(part.vertices, dtype=np.float64) @ linear.T + transform[:3, 3])
        part_faces = np.asarray(part.faces, dtype=np.int64)
        if np.linalg.det(linear) < 0:
            part_faces = part_faces[:, ::-1]  # a mirror turns faces over
        faces.append(part_faces + first_vertex)
        first_vertex += len(part.vertices)
        if with_appearance:
            uvs.append(_uv_of(part))
            normals.append(_normals_of(part, linear))
            colours.append(_colours_of(part))
    has_uv = [uv for uv in uvs if uv is not None]
    filled = [np.full((len(v), 2), np.nan) if uv is None else uv for v, uv in zip(vertices, uvs, strict=False)]
    has_normals = [each for each in normals if each is not None]
    return FileMesh(
        np.concatenate(vertices),
        np.concatenate(faces),
        np.concatenate(filled) if has_uv else None,
        np.concatenate(has_normals) if has_normals and len(has_normals) == len(parts) else None,
        _all_colours(colours, vertices),
    )


def _uv_of(part: Any) -> np.ndarray | None:
    uv = getattr(part.visual, "uv", None)
    if uv is None or np.shape(uv) != (len(part.vertices), 2):
        return None
    uv = np.asarray(uv, dtype=np.float64)
    return np.stack([uv[:, 0], 1 - uv[:, 1]], axis=-1)  # trimesh counts v upwards in every format


def _all_colours(colours: list[np.ndarray | None], vertices: list[np.ndarray]) -> np.ndarray | None:
    if all(each is None for each in colours):
        return None
    pairs = zip(colours, vertices, strict=True)
    return np.concatenate([np.full((len(at), 3), 0.5) if each is None else each for each, at in pairs])


def _colours_of(part: Any) -> np.ndarray | None:
    """At the vertices; None for a part without colours, or with a texture whose image is not there."""
    if part.visual.kind is None:
        return None
    if part.visual.kind == "texture" and not _has_colour(part.visual):
        return None
    try:
        visual = part.visual.to_color() if part.visual.kind == "texture" else part.visual
        colours = np.asarray(visual.vertex_colors, dtype=np.float64)
    except Exception:  # as many kinds as there are broken materials; a mesh without colours is still a mesh
        return None
    if colours.shape != (len(part.vertices), 4):
        return None
    return colours[:, :3] / 255


def _has_colour(visual: Any) -> bool:
    material = visual.material
    names = ("image", "baseColorTexture", "baseColorFactor")
    return any(getattr(material, name, None) is not None for name in names)


def _normals_of(part: Any, linear: np.ndarray) -> np.ndarray | None:
    # trimesh makes up normals where a file has none; only those of a file are there before anybody asks.
    if "vertex_normals" not in part._cache:
        return None
    try:
        # Directions across a surface go by the inverse transpose.
        normals = np.asarray(part.vertex_normals, dtype=np.float64) @ np.linalg.inv(linear)
    except np.linalg.LinAlgError:  # an object scaled to a plane
        return None
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / lengths if (np.isfinite(lengths) & (lengths > 1e-12)).all() else None


def _used(mesh: FileMesh) -> FileMesh:
    used, faces = np.unique(mesh.faces, return_inverse=True)
    return FileMesh(
        mesh.vertices[used],
        faces.reshape(-1, 3),
        None if mesh.uv is None else mesh.uv[used],
        None if mesh.normals is None else mesh.normals[used],
        None if mesh.colours is None else mesh.colours[used],
    )
