"""Cuts a mesh into charts: pieces that can be laid flat by looking at them along one axis.

Faces are grouped by the axis (+X, -X, +Y, ...) that their smoothed normal is closest to, small groups join a
neighbour, and a chart that would cover itself when laid flat, as a folded sheet does, is split into its layers. Meshes
of marching tetrahedra are full of slivers; unlike methods that grow charts by the angles between faces, this one does
not mind them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from backend.geometry import chart_kernels as kernels
from backend.geometry.smoothness import unique_edges_with_faces

AXES = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=np.float64)
_UPS = np.array([[0, 1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1], [0, 1, 0], [0, 1, 0]], dtype=np.float64)
OVERLAP_TOLERANCE = 1e-7
"""As a share of the mesh's size: what float32 positions may be off."""
SMALLEST_STEP_OF_GAP = 0.25
"""A step in height of this share of the gap may be bridged: colours do not differ much over a few texels."""
_RIGHTS = np.cross(_UPS, AXES)  # right x up = axis: faces that look along the axis stay counter-clockwise


@dataclass(frozen=True)
class ChartCuttingConfig:
    """Measured on marching-tetrahedra meshes of 30k to 150k faces (benchmarks/finish.py)."""

    smoothing_rounds: int = 8
    """How often normals are averaged with the neighbours before the axis is chosen."""
    neighbour_weight: float = 1.0
    """What the axis of the neighbours counts, against the cosine with the smoothed normal; straightens the borders."""
    sweeps: int = 12
    """How often every face reconsiders its axis, at most."""
    least_cosine: float = 0.2
    """A face is laid flat at no less than this share of its true area (the best axis gives at least 0.577)."""
    least_cosine_when_merging: float = 0.1
    """The same for charts that are too small to stand alone."""
    smallest_chart_share: float = 1e-3
    """Charts below this share of the surface join a neighbour where they can."""
    merging_rounds: int = 6

    def __post_init__(self) -> None:
        if not 0 < self.least_cosine_when_merging <= self.least_cosine < 3**-0.5:
            raise ValueError(
                "cosines must be 0 < least_cosine_when_merging <= least_cosine < 0.577, beyond which some normals have "
                f"no axis; got {self.least_cosine_when_merging} and {self.least_cosine}"
            )


@dataclass(frozen=True)
class Charts:
    """A mesh in pieces, each flat in a plane of its own: within a chart no two faces overlap."""

    chart_of_face: Int[np.ndarray, "faces"]
    """From 0; every number up to the last is in use."""
    corner_uv: Float[np.ndarray, "faces 3 2"]
    """Metres in the plane of the chart, u to the right and v up; counter-clockwise. float64."""
    axis_of_chart: Int[np.ndarray, "charts"]
    """A row of `AXES`: the side that the chart is seen from."""

    def __len__(self) -> int:
        return len(self.axis_of_chart)


def cut_charts(
    positions: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    config: ChartCuttingConfig | None = None,
    gap_metres: float = 0.0,
) -> Charts:
    """Cuts any triangle mesh, open, closed or non-manifold, into charts that do not overlap themselves.

    Args:
        gap_metres: Within a chart, parts that are this near to each other in the plane are near to each other in space
            too. Without it a sheet may end exactly where one far below it begins, and in a texture their colours
            would run into each other.
    """
    config = config if config is not None else ChartCuttingConfig()
    if len(faces) == 0:
        raise ValueError("there are no faces to cut into charts")
    surface = _Surface(positions.astype(np.float64), faces)
    smooth = kernels.smooth_face_normals(surface.area_normals, surface.neighbours, config.smoothing_rounds)
    # A face without area has no normal of its own and does as its surroundings do.
    own = np.where(surface.areas[:, None] > 0, surface.unit_normals, smooth)
    axes = kernels.choose_axes(
        own,
        smooth,
        surface.neighbours,
        surface.edge_shares,
        config.least_cosine,
        config.neighbour_weight,
        config.sweeps,
    )
    axes = np.maximum(axes, 0).astype(np.int64)  # -1: no normal far and wide
    axes = _merge_small_charts(surface, own, axes, config)

    corner_uv = _lay_flat(surface, axes)
    heights = np.einsum("fci,fi->fc", surface.positions[faces], AXES[axes])
    overlaps = _conflicts_within(surface.components(axes), corner_uv, heights, 0.0, config)
    layers = _separate_layers(overlaps, heights.mean(axis=1))
    charts = surface.components(axes + kernels.AXIS_COUNT * layers)
    charts = _join_loose_scraps(surface, axes, charts, overlaps, config.smallest_chart_share)
    if gap_metres > 0:
        # Last, when few faces lie before others: each of those would be near to hundreds.
        too_near = _conflicts_within(charts, corner_uv, heights, gap_metres, config)
        layers = _separate_layers(too_near, heights.mean(axis=1))
        charts = surface.components(charts + (charts.max() + 1) * layers)
        overlaps = np.concatenate([overlaps, too_near])
        charts = _join_loose_scraps(surface, axes, charts, overlaps, config.smallest_chart_share)
    axis_of_chart = np.zeros(charts.max() + 1, dtype=np.int64)
    axis_of_chart[charts] = axes
    return Charts(charts, corner_uv, axis_of_chart)


class _Surface:
    """What chart cutting asks of a mesh: areas, normals, and which faces meet at which edge."""

    def __init__(self, positions: np.ndarray, faces: np.ndarray) -> None:
        self.positions = positions
        self.faces = faces
        edges = unique_edges_with_faces(torch.from_numpy(faces.astype(np.int32)), len(positions))
        edge_faces = edges.faces.numpy()
        is_inner = edge_faces[:, 1] >= 0
        self.pairs = edge_faces[is_inner]  # [inner edges, 2], the faces on both sides
        ends = edges.vertices.numpy()
        lengths = np.linalg.norm(positions[ends[:, 0]] - positions[ends[:, 1]], axis=1)
        self.pair_lengths = lengths[is_inner]

        corners = positions[faces]
        crosses = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self.area_normals = 0.5 * crosses
        self.areas = np.linalg.norm(self.area_normals, axis=1)
        self.unit_normals = self.area_normals / np.maximum(self.areas, 1e-300)[:, None]
        self._link_neighbours()

    def _link_neighbours(self) -> None:
        """`neighbours` int32 [faces, 3] (-1: open edge) and, in the same places, the edges' shares of the border."""
        face_count = len(self.faces)
        ends = np.concatenate([self.pairs, self.pairs[:, ::-1]])
        lengths = np.concatenate([self.pair_lengths, self.pair_lengths])
        order = np.argsort(ends[:, 0], kind="stable")
        ends, lengths = ends[order], lengths[order]
        first = np.searchsorted(ends[:, 0], np.arange(face_count))
        slot = np.arange(len(ends)) - first[ends[:, 0]]
        self.neighbours = np.full((face_count, 3), -1, dtype=np.int32)
        self.neighbours[ends[:, 0], slot] = ends[:, 1]
        self.edge_shares = np.zeros((face_count, 3))
        self.edge_shares[ends[:, 0], slot] = lengths
        self.edge_shares /= np.maximum(self.edge_shares.sum(axis=1, keepdims=True), 1e-300)

    def components(self, labels: np.ndarray) -> np.ndarray:
        """int64 [faces]: numbers of the connected pieces of equal label, joined over edges."""
        pairs = self.pairs[labels[self.pairs[:, 0]] == labels[self.pairs[:, 1]]]
        count = len(self.faces)
        joined = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
        return connected_components(joined, directed=False)[1].astype(np.int64)

    def borders(self, charts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Edges between charts, seen from both sides: the chart on this side, the one beyond, the length."""
        here, there = charts[self.pairs[:, 0]], charts[self.pairs[:, 1]]
        differs = here != there
        here, there, lengths = here[differs], there[differs], self.pair_lengths[differs]
        return np.concatenate([here, there]), np.concatenate([there, here]), np.concatenate([lengths, lengths])


def _merge_small_charts(
    surface: _Surface, normals: np.ndarray, axes: np.ndarray, config: ChartCuttingConfig
) -> np.ndarray:
    """Gives a small chart the axis of a larger neighbour from which all its faces can be seen; the one with the longest
    common border if there are several."""
    smallest_area = config.smallest_chart_share * surface.areas.sum()
    cosines = normals @ AXES.T  # [faces, axes]
    for _ in range(config.merging_rounds):
        charts = surface.components(axes)
        by_chart, first_of_chart = _sorted_by(charts)
        areas = np.add.reduceat(surface.areas[by_chart], first_of_chart[:-1])
        axis_of_chart = axes[by_chart[first_of_chart[:-1]]]
        least_cosines = np.minimum.reduceat(cosines[by_chart], first_of_chart[:-1])  # [charts, axes]

        inner, outer, lengths = surface.borders(charts)
        joins = (areas[inner] < smallest_area) & (areas[inner] < areas[outer])
        joins &= axis_of_chart[inner] != axis_of_chart[outer]
        joins &= least_cosines[inner, axis_of_chart[outer]] >= config.least_cosine_when_merging
        if not joins.any():
            break
        border = np.zeros((len(areas), kernels.AXIS_COUNT))
        np.add.at(border, (inner[joins], axis_of_chart[outer[joins]]), lengths[joins])
        moves = border.max(axis=1) > 0
        axes = np.where(moves[charts], border.argmax(axis=1)[charts], axes)
    return axes


def _lay_flat(surface: _Surface, axes: np.ndarray) -> np.ndarray:
    """Corners in the plane of each face's axis: float64 [faces, 3, 2]."""
    corners = surface.positions[surface.faces]
    return np.stack(
        [np.einsum("fci,fi->fc", corners, _RIGHTS[axes]), np.einsum("fci,fi->fc", corners, _UPS[axes])], axis=-1
    )


def _conflicts_within(
    charts: np.ndarray, corner_uv: np.ndarray, heights: np.ndarray, gap_metres: float, config: ChartCuttingConfig
) -> np.ndarray:
    """int64 [pairs, 2]: faces of one chart that cover each other or come too near.

    Args:
        heights: [faces, 3], of the corners above the plane of the chart.
    """
    by_chart, first_of_chart = _sorted_by(charts)
    ranges = np.stack([heights.min(axis=1), heights.max(axis=1)], axis=1)
    return kernels.find_conflicts_within_charts(
        corner_uv,
        ranges,
        by_chart,
        first_of_chart,
        OVERLAP_TOLERANCE * max(float(np.ptp(corner_uv.reshape(-1, 2), axis=0).max()), 1e-30),
        gap_metres,
        # No surface within a chart is steeper than this; a step that is more has nothing between its edges.
        1.0 / config.least_cosine_when_merging,
        SMALLEST_STEP_OF_GAP * gap_metres,
    )


def _separate_layers(overlaps: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """int64 [faces]: a layer for each face, so that faces that cover each other are in different ones; mostly 0.

    Of two faces the one that lies further back moves one layer down. That face of a layer which lies in front of all
    others stays, so this ends.
    """
    layers = np.zeros(len(heights), dtype=np.int64)
    first_is_behind = heights[overlaps[:, 0]] < heights[overlaps[:, 1]]
    behind = np.where(first_is_behind, overlaps[:, 0], overlaps[:, 1])
    before = np.where(first_is_behind, overlaps[:, 1], overlaps[:, 0])
    while True:
        collide = layers[behind] == layers[before]
        if not collide.any():
            return layers
        layers[np.unique(behind[collide])] += 1


def _join_loose_scraps(
    surface: _Surface, axes: np.ndarray, charts: np.ndarray, overlaps: np.ndarray, smallest_share: float
) -> np.ndarray:
    """Puts small charts back beside the neighbour of the same axis that they were cut from, where nothing overlaps.

    Layers are cut face by face; along their borders this leaves scraps. Returns charts numbered without gaps.
    """
    by_chart, first_of_chart = _sorted_by(charts)
    areas = np.add.reduceat(surface.areas[by_chart], first_of_chart[:-1])
    axis_of_chart = axes[by_chart[first_of_chart[:-1]]]
    inner, outer, lengths = surface.borders(charts)
    is_candidate = (areas[inner] < smallest_share * areas.sum()) & (axis_of_chart[inner] == axis_of_chart[outer])
    borders: dict[int, dict[int, float]] = {}
    for scrap, neighbour, length in zip(
        inner[is_candidate].tolist(), outer[is_candidate].tolist(), lengths[is_candidate].tolist(), strict=True
    ):
        of_scrap = borders.setdefault(scrap, {})
        of_scrap[neighbour] = of_scrap.get(neighbour, 0.0) + length

    joined_to = list(range(len(areas)))

    def whole(chart: int) -> int:
        while joined_to[chart] != chart:
            chart = joined_to[chart]
        return chart

    covers: dict[int, set[int]] = {}
    for first, second in np.unique(charts[overlaps], axis=0).tolist():
        covers.setdefault(first, set()).add(second)
        covers.setdefault(second, set()).add(first)
    for scrap in sorted(borders, key=lambda chart: (areas[chart], chart)):
        own = whole(scrap)
        forbidden = {whole(other) for other in covers.get(own, ())}
        lengths_by_whole: dict[int, float] = {}
        for neighbour, length in borders[scrap].items():
            lengths_by_whole[whole(neighbour)] = lengths_by_whole.get(whole(neighbour), 0.0) + length
        choices = [chart for chart in lengths_by_whole if chart != own and chart not in forbidden]
        if choices:
            target = max(choices, key=lambda chart: (lengths_by_whole[chart], -chart))
            joined_to[own] = target
            covers.setdefault(target, set()).update(covers.get(own, ()))
    wholes = np.array([whole(chart) for chart in range(len(areas))])
    return np.unique(wholes[charts], return_inverse=True)[1].astype(np.int64)


def _sorted_by(charts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Faces ordered by their chart, and where each chart starts, with the end [charts + 1]. Charts have no gaps."""
    by_chart = np.argsort(charts, kind="stable")
    first_of_chart = np.concatenate([[0], np.cumsum(np.bincount(charts))])
    return by_chart, first_of_chart
