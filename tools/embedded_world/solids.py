"""Building blocks of the shapes: solids with Y up, painted in up to three parts, joined into one closed mesh.

The solids are manifold3d's, so that unions and differences stay watertight. Nothing here is random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8
from manifold3d import CrossSection, Manifold, Mesh, OpType
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

BALL_RADIUS_METRES = 0.9
"""Every shape reaches exactly this far from the origin."""

PART_COUNT = 3
"""Part 0 takes the colour that the caption names; parts 1 and 2 have the class's own natural colours."""

CREASE_DEGREES = 38.0  # a 16-sided lathe (22.5 degrees) is still smooth, the edge of a hexagon (60) is not


@dataclass(frozen=True)
class ColouredMesh:
    """A closed triangle mesh whose faces belong to parts. Y up, front along +Z, counter-clockwise from outside."""

    positions: Float[np.ndarray, "vertices 3"]
    """float32, metres."""
    faces: Int[np.ndarray, "faces 3"]
    """int32."""
    part_ids: UInt8[np.ndarray, "faces"]
    """One of `range(PART_COUNT)` per face."""


@dataclass(frozen=True)
class ShadingMesh:
    """The same surface, its vertices doubled at creases and where parts meet, so that vertex normals shade it well."""

    positions: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    part_ids: UInt8[np.ndarray, "vertices"]


class Paint:
    """Remembers which part each solid belongs to, through every union and difference that follows."""

    def __init__(self) -> None:
        self._part_of_original: dict[int, int] = {}

    def __call__(self, solid: Manifold, part: int) -> Manifold:
        """The solid, all of it in one part. Faces that a difference cuts take the part of the tool that cut them."""
        if not 0 <= part < PART_COUNT:
            raise ValueError(f"part must be 0 to {PART_COUNT - 1}, got {part}")
        mesh = solid.to_mesh()
        # Manifold.as_original() would do the same, but it also simplifies, and a cone without its rings shades badly.
        original = Manifold.reserve_ids(1)
        self._part_of_original[original] = part
        triangles = np.array(mesh.tri_verts, dtype=np.uint32)
        return Manifold(
            Mesh(
                np.array(mesh.vert_properties[:, :3], dtype=np.float32),  # a copy: manifold3d refuses read-only arrays
                triangles,
                run_index=np.array([0, triangles.size], dtype=np.uint32),
                run_original_id=np.array([original], dtype=np.uint32),
            )
        )

    def mesh_of(self, solid: Manifold) -> ColouredMesh:
        """The triangles of a painted solid, as they lie."""
        mesh = solid.to_mesh()
        part_ids = np.zeros(len(mesh.tri_verts), dtype=np.uint8)
        starts = np.asarray(mesh.run_index) // 3
        for original, start, end in zip(mesh.run_original_id, starts[:-1], starts[1:], strict=True):
            # Cutting with a plane leaves faces of no painted solid: they take the main colour.
            part_ids[start:end] = self._part_of_original.get(int(original), 0)
        return weld(
            ColouredMesh(
                np.array(mesh.vert_properties[:, :3], dtype=np.float32),
                np.array(mesh.tri_verts, dtype=np.int32),
                part_ids,
            )
        )


def join(solids: Sequence[Manifold]) -> Manifold:
    """The union."""
    return Manifold.batch_boolean(list(solids), OpType.Add)


def box(size: Sequence[float], centre: Sequence[float] = (0, 0, 0)) -> Manifold:
    return Manifold.cube(list(size), True).translate(list(centre))


def ball(radius: float | Sequence[float], centre: Sequence[float] = (0, 0, 0), sides: int = 32) -> Manifold:
    """A sphere, or with three radii an ellipsoid."""
    radii = [radius] * 3 if isinstance(radius, (int, float)) else list(radius)
    return Manifold.sphere(1.0, sides).scale(radii).translate(list(centre))


def lathe(profile: Sequence[tuple[float, float]], sides: int = 40, longest_edge: float | None = 0.2) -> Manifold:
    """Turns a closed outline around the Y axis.

    Args:
        profile: Corners (radius, height) of the outline; the axis itself needs no corners between first and last.
        longest_edge: Longer edges are divided, so that normals near the tip of a cone stay local; None leaves them.
    """
    corners = np.asarray(profile, dtype=np.float64)
    if longest_edge is not None:
        corners = _divide_edges(corners, longest_edge)
    x, y = corners.T
    is_clockwise = float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) < 0
    outline = CrossSection([corners[::-1] if is_clockwise else corners])
    return outline.revolve(sides).rotate([-90, 0, 0])  # manifold3d turns around Z


def rod(radius: float, bottom: float, top: float, top_radius: float | None = None, sides: int = 24) -> Manifold:
    """An upright cylinder, or with another radius at the top a frustum."""
    top_radius = radius if top_radius is None else top_radius
    return lathe([(0, bottom), (radius, bottom), (max(top_radius, 1e-3), top), (0, top)], sides)


def ring(radius: float, thickness: float, sides: int = 40, tube_sides: int = 18) -> Manifold:
    """A torus around the Y axis."""
    angle = np.linspace(0, 2 * np.pi, tube_sides, endpoint=False)
    profile = np.stack([radius + thickness * np.cos(angle), thickness * np.sin(angle)], axis=-1)
    return lathe([tuple(point) for point in profile], sides, None)


def slab(outline: Sequence[tuple[float, float]], depth: float) -> Manifold:
    """Extrudes an outline in the XY plane along Z, half of the depth to each side. Corners counter-clockwise."""
    return CrossSection([np.asarray(outline, dtype=np.float64)]).extrude(depth).translate([0, 0, -depth / 2])


def puff(outline: Float[np.ndarray, "corners 2"], depth: float, roundness: float, layers: int = 8) -> Manifold:
    """A cushion over an outline in the XY plane: full size at z = 0, a point at z = +-depth / 2.

    Args:
        outline: Corners counter-clockwise, star-shaped around the origin.
        roundness: 1 gives straight flanks (a double pyramid), 2 an ellipse.
    """
    corners = len(outline)
    heights = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 2 * layers + 1))[1:-1]
    if roundness == 1:
        heights = np.linspace(-1, 1, 2 * layers + 1)[1:-1]
    shares = (1 - np.abs(heights) ** roundness) ** (1 / roundness)
    rings = [np.concatenate([outline * share, np.full((corners, 1), height * depth / 2)], axis=1)
             for share, height in zip(shares, heights, strict=True)]  # fmt: skip
    positions = np.concatenate([*rings, [[0, 0, -depth / 2], [0, 0, depth / 2]]]).astype(np.float32)
    here = np.arange(corners)
    following = np.roll(here, -1)
    faces = []
    for index in range(len(rings) - 1):
        low, high = index * corners, (index + 1) * corners
        faces += [np.stack([low + here, low + following, high + following], 1)]
        faces += [np.stack([low + here, high + following, high + here], 1)]
    back, front, last = len(positions) - 2, len(positions) - 1, (len(rings) - 1) * corners
    faces += [np.stack([following, here, np.full(corners, back)], 1)]
    faces += [np.stack([last + here, last + following, np.full(corners, front)], 1)]
    return Manifold(Mesh(positions, np.concatenate(faces).astype(np.uint32)))


def weld(mesh: ColouredMesh, distance_metres: float = 1e-4) -> ColouredMesh:
    """Merges vertices that lie closer than the distance and drops the faces that vanish with it.

    Unions leave slivers whose corners would coincide in a file with fewer digits, and the surface would then be open.
    """
    pairs = cKDTree(mesh.positions).query_pairs(distance_metres, output_type="ndarray")
    count = len(mesh.positions)
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, group = connected_components(graph, directed=False)
    faces = group[mesh.faces]
    is_kept = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    used, faces = np.unique(faces[is_kept], return_inverse=True)
    positions = np.zeros((group.max() + 1, 3), dtype=np.float32)
    positions[group] = mesh.positions
    return ColouredMesh(positions[used], faces.reshape(-1, 3).astype(np.int32), mesh.part_ids[is_kept])


def fit_to_ball(mesh: ColouredMesh, radius_metres: float = BALL_RADIUS_METRES) -> ColouredMesh:
    """Centres the bounding box on the origin and scales so that the furthest vertex is at the radius."""
    centred = mesh.positions - (mesh.positions.min(0) + mesh.positions.max(0)) / 2
    furthest = np.linalg.norm(centred, axis=1).max()
    return ColouredMesh((centred * (radius_metres / furthest)).astype(np.float32), mesh.faces, mesh.part_ids)


def shading_mesh(mesh: ColouredMesh, crease_degrees: float = CREASE_DEGREES) -> ShadingMesh:
    """Doubles vertices so that smooth faces share them and faces across a crease or another part do not."""
    faces = mesh.faces.astype(np.int64)
    corners = mesh.positions[faces].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)

    # Half-edges: (face, corner) runs from that corner to the next; its twin has the same two ends.
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    key = np.minimum(start, end) * (faces.max() + 1) + np.maximum(start, end)
    order = np.argsort(key, kind="stable")
    first, second = order[:-1], order[1:]
    is_pair = key[first] == key[second]
    first, second = first[is_pair], second[is_pair]
    one, other = first // 3, second // 3
    is_smooth = (normals[one] * normals[other]).sum(1) > np.cos(np.radians(crease_degrees))
    is_smooth &= mesh.part_ids[one] == mesh.part_ids[other]
    first, second = first[is_smooth], second[is_smooth]

    # Corners of the two faces that stand on the same end of a smooth edge become one vertex.
    def next_corner(half_edge: np.ndarray) -> np.ndarray:
        return half_edge // 3 * 3 + (half_edge % 3 + 1) % 3

    same_way = start[first] == start[second]
    links_from = np.concatenate([first, next_corner(first)])
    links_to = np.concatenate([np.where(same_way, second, next_corner(second)),
                               np.where(same_way, next_corner(second), second)])  # fmt: skip
    count = faces.size
    graph = coo_array((np.ones(len(links_from), dtype=np.int8), (links_from, links_to)), shape=(count, count))
    vertices, vertex_of_corner = connected_components(graph, directed=False)
    positions = np.zeros((vertices, 3), dtype=np.float32)
    part_ids = np.zeros(vertices, dtype=np.uint8)
    positions[vertex_of_corner] = mesh.positions[faces.ravel()]
    part_ids[vertex_of_corner] = np.repeat(mesh.part_ids, 3)
    return ShadingMesh(positions, vertex_of_corner.reshape(-1, 3).astype(np.int32), part_ids)


def signed_volume(mesh: ColouredMesh) -> float:
    """Enclosed volume in cubic metres; negative if the faces point inwards."""
    a, b, c = np.moveaxis(mesh.positions[mesh.faces].astype(np.float64), 1, 0)
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def _divide_edges(corners: np.ndarray, longest_edge: float) -> np.ndarray:
    pieces = []
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        steps = max(1, int(np.ceil(np.linalg.norm(end - start) / longest_edge)))
        if start[0] == 0 and end[0] == 0:
            steps = 1  # on the axis, where no surface comes of it
        pieces.append(start + (end - start) * np.arange(steps)[:, None] / steps)
    return np.concatenate(pieces)
