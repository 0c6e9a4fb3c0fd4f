"""UVs and normals for a mesh whose vertices are a file's: its own where they can be used, else new ones.

Files double vertices on seams and hard edges; what is made here keeps every vertex of the file apart from its doubles.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy.sparse import coo_array

from backend.geometry.components import face_components
from backend.geometry.triangle_mesh import TriangleMesh
from backend.geometry.unwrap import UnwrappedMesh, unwrap, uv_overlap_fraction

MOST_OVERLAP = 0.02
"""Share of the covered texels that may lie in several faces; what overlaps shows one place's colours in another."""
LEAST_COVERAGE = 0.01
"""Of the texture. Palette textures, in which a face's UVs are one point, have less."""
MOST_COLLAPSED = 0.02
"""Share of the surface that may have no room in the texture."""
CREASE_DEGREES = 40.0
"""Doubled vertices whose faces meet more bluntly than this are a smooth surface."""

_ROUNDING = 1e-4  # a tenth of a texel at 1024: exporters leave such steps over the border
_CHECKED_TEXELS = 1024
_MOST_DOUBLES = 64


def own_layout(mesh: TriangleMesh, uv: Float[np.ndarray, "vertices 2"], texture_size: int) -> UnwrappedMesh | str:
    """A mesh with the UVs that its file gave it, or why they cannot be used.

    UVs inside [0, 1] stay as they are. A face that lies as a whole in another tile of a repeated texture is moved into
    [0, 1]; vertices between faces that move differently are doubled.
    """
    positions, faces = mesh.positions.cpu().numpy(), mesh.faces.cpu().numpy().astype(np.int64)
    corners = uv[faces]
    if not np.isfinite(corners).all():
        return "some parts of it have none"
    is_inside = np.all((corners >= -_ROUNDING) & (corners <= 1 + _ROUNDING), axis=(1, 2))
    tiles = np.where(is_inside[:, None], 0, np.floor(corners.min(axis=1) + _ROUNDING))
    corners = corners - tiles[:, None]
    if (corners > 1 + _ROUNDING).any():
        count = int((corners > 1 + _ROUNDING).any(axis=(1, 2)).sum())
        return f"{count:,} faces reach over the border of the texture"

    areas = _areas_of_uv(corners)
    if areas.sum() < LEAST_COVERAGE:
        return f"they cover {areas.sum():.2%} of the texture"
    surface = np.linalg.norm(mesh.face_normals().cpu().numpy().astype(np.float64), axis=1) / 2
    is_collapsed = areas < 1e-3 * areas.sum() * surface / surface.sum()
    collapsed = float(surface[is_collapsed].sum() / surface.sum())
    if collapsed > MOST_COLLAPSED:
        return f"{collapsed:.0%} of the surface has no room in the texture"

    keys = np.concatenate([faces.reshape(-1, 1), np.repeat(tiles, 3, axis=0).astype(np.int64)], axis=1)
    _, first, split_faces = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    sources, split_faces = keys[first, 0], split_faces.reshape(-1, 3).astype(np.int32)
    split_uv = np.clip(corners.reshape(-1, 2)[first], 0, 1).astype(np.float32)
    overlap = uv_overlap_fraction(split_uv, split_faces, _CHECKED_TEXELS)
    if overlap > MOST_OVERLAP:
        return f"they overlap in {overlap:.0%} of what they cover"
    split = TriangleMesh(mesh.positions[sources], mesh.faces.new_tensor(split_faces))
    return UnwrappedMesh(
        positions=positions[sources],
        faces=split_faces,
        uv=split_uv,
        source_vertices=sources.astype(np.int32),
        chart_of_face=face_components(split).cpu().numpy().astype(np.int32),
        texture_size=texture_size,
        padding_texels=0.0,  # not known
        coverage=float(areas.sum()),
        packer="the file's own",
        notes=(),
    )


def unwrap_given_mesh(mesh: TriangleMesh, texture_size: int) -> UnwrappedMesh:
    """`unwrap` for a mesh with doubled vertices: charts go on across them, and they stay apart all the same."""
    faces = mesh.faces.cpu().numpy().astype(np.int64)
    _, first, place_of_vertex = np.unique(mesh.positions.cpu().numpy(), axis=0, return_index=True, return_inverse=True)
    place_of_vertex = place_of_vertex.reshape(-1)
    whole = TriangleMesh(mesh.positions[first], mesh.faces.new_tensor(place_of_vertex[faces]))
    unwrapped = unwrap(whole, texture_size)
    pairs = np.stack([unwrapped.faces.reshape(-1), faces.reshape(-1)], axis=1)
    pairs, split_faces = np.unique(pairs, axis=0, return_inverse=True)
    return dataclasses.replace(
        unwrapped,
        positions=unwrapped.positions[pairs[:, 0]],
        faces=split_faces.reshape(-1, 3).astype(np.int32),
        uv=unwrapped.uv[pairs[:, 0]],
        source_vertices=pairs[:, 1].astype(np.int32),
    )


def creased_normals(mesh: TriangleMesh) -> Float[np.ndarray, "vertices 3"]:
    """Unit normals for a file that has none: smooth over doubled vertices, but not over hard edges between them.

    Each vertex takes the mean, by area, over those of its doubles whose normals are within `CREASE_DEGREES` of its own.
    Vertices without any area around them take the mean over all doubles, or (0, 1, 0) if those have none either.
    """
    sums = _normal_sums(mesh)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    units = sums / np.maximum(lengths, 1e-300)
    _, place_of_vertex, counts = np.unique(
        mesh.positions.cpu().numpy(), axis=0, return_inverse=True, return_counts=True
    )
    place_of_vertex = place_of_vertex.reshape(-1)
    # The pairs of a place are as many as the square of its vertices: the tip of a fine cone stays as it is.
    is_few = counts[place_of_vertex] <= _MOST_DOUBLES
    vertices = np.flatnonzero(is_few)
    stands_at = coo_array(
        (np.ones(len(vertices)), (vertices, place_of_vertex[vertices])), shape=(len(sums), len(counts))
    ).tocsr()
    pairs = (stands_at @ stands_at.T).tocoo()
    is_smooth = (units[pairs.row] * units[pairs.col]).sum(axis=1) > np.cos(np.radians(CREASE_DEGREES))
    is_smooth |= lengths[pairs.row, 0] == 0
    row, column = pairs.row[is_smooth], pairs.col[is_smooth]
    joined = coo_array((np.ones(len(row)), (row, column)), shape=(len(sums), len(sums))).tocsr() @ sums
    joined[~is_few] = sums[~is_few]
    lengths = np.linalg.norm(joined, axis=1, keepdims=True)
    return np.where(lengths > 1e-30, joined / np.maximum(lengths, 1e-300), [0.0, 1.0, 0.0])


def _normal_sums(mesh: TriangleMesh) -> np.ndarray:
    """Sum over the faces around each vertex of their normals, as long as twice their areas [vertices, 3]."""
    sums = np.zeros((len(mesh.positions), 3))
    face_normals, faces = mesh.face_normals().cpu().double().numpy(), mesh.faces.cpu().numpy()
    for corner in range(3):
        np.add.at(sums, faces[:, corner], face_normals)
    return sums


def _areas_of_uv(corners: np.ndarray) -> np.ndarray:
    """Shares of the texture [faces]."""
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return 0.5 * np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
