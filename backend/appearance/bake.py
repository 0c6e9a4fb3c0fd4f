"""From an optimised surface and its texture field to a mesh with textures: decimate, unwrap, bake.

A texel takes the material of the surface point under its centre. Texels around the charts, which filters and mipmaps
mix in, continue the surface: the next two beyond the border lie on the plane of the nearest face, all others repeat the
nearest texel. So colours agree on both sides of a seam, however small the texture is drawn.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy import ndimage, spatial
from torch import Tensor

from backend.appearance.material import Material
from backend.geometry.decimate import decimate
from backend.geometry.triangle_mesh import TriangleMesh
from backend.geometry.unwrap import UnwrapConfig, UnwrappedMesh, unwrap, uv_overlap_fraction
from backend.render.rasteriser import Rasteriser, choose_rasteriser

MaterialField = Callable[[Tensor], Material]

RIM_TEXELS = 2
"""Texels beyond the border of a chart that continue its faces; bilinear filtering reads one."""
_MOST_RIM_TEXEL_SIZES = 4.0
_TILE = 2048
_TILE_MARGIN = RIM_TEXELS + 2
"""What a tile sees of its neighbours, so that charts go on in the same way on both sides of the cut."""
_POINTS_AT_ONCE = 2**18


@dataclass(frozen=True)
class BakedTextures:
    """The textures of glTF's metallic-roughness material. Row 0 is at v = 0."""

    base_colour: UInt8[Tensor, "height width 3"]
    """sRGB-coded."""
    metallic_roughness: UInt8[Tensor, "height width 3"]
    """Linear, as glTF packs it: roughness in green, metallic in blue; red is 255, which reads as no occlusion."""


@dataclass(frozen=True)
class FinishReport:
    """What finishing did and how long it took."""

    seconds: dict[str, float]
    """By part: decimate, unwrap, bake."""
    chart_count: int
    packer: str
    overlap: float
    """Share of the covered texels that lie in more than one face."""
    coverage: float
    """Share of the texture that charts cover."""
    notes: tuple[str, ...]
    """What did not go as planned, as sentences for the user."""


@dataclass(frozen=True)
class FinishedMesh:
    """A mesh with UVs and textures, ready for `mesh_files.write_mesh`. Tensors on the CPU."""

    mesh: TriangleMesh
    """Vertices on seams are doubled; merged by position the mesh is as closed as before."""
    source_vertices: Int[Tensor, "vertices"]
    """Equal for the doubles of one vertex: its number before unwrapping."""
    normals: Float[Tensor, "vertices 3"]
    """Unit normals, equal on both sides of a seam."""
    uv: Float[Tensor, "vertices 2"]
    """In [0, 1], row 0 of the textures at v = 0."""
    vertex_colours: UInt8[Tensor, "vertices 3"]
    """sRGB-coded albedo at the vertices, for files without textures."""
    textures: BakedTextures
    name: str
    """What the object is called in files; the prompt."""
    report: FinishReport = field(compare=False)
    file_positions: Float[Tensor, "vertices 3"] | None = None
    """What is written as positions, for a mesh from a file that has coordinates of its own; `mesh` is what is seen."""
    file_normals: Float[Tensor, "vertices 3"] | None = None
    """What is written as normals; given together with `file_positions`."""

    @property
    def written_positions(self) -> Float[Tensor, "vertices 3"]:
        return self.mesh.positions if self.file_positions is None else self.file_positions

    @property
    def written_normals(self) -> Float[Tensor, "vertices 3"]:
        return self.normals if self.file_normals is None else self.file_normals

    @property
    def base_colour(self) -> Float[Tensor, "height width 3"]:
        """The base colour texture as sRGB-coded floats in [0, 1], as the renderer takes it."""
        return self.textures.base_colour.float() / 255


def finish_mesh(
    mesh: TriangleMesh,
    texture_field: MaterialField,
    *,
    rasteriser: Rasteriser | None = None,
    face_budget: int | None = None,
    texture_size: int = 1024,
    name: str = "mesh",
    unwrap_config: UnwrapConfig | None = None,
    unwrap_timeout_seconds: float = 20.0,
    layout: Callable[[TriangleMesh], UnwrappedMesh] | None = None,
    normals: Float[Tensor, "vertices 3"] | None = None,
    progress: Callable[[str], None] = lambda sentence: None,
) -> FinishedMesh:
    """Decimates if asked to, unwraps unless there is a layout, and bakes.

    Args:
        mesh: The optimised surface, without floaters; not empty.
        texture_field: Such as `TextureField`; called with positions on the device of the mesh.
        rasteriser: None chooses one for the device of the mesh.
        face_budget: None keeps all faces.
        texture_size: Texels a side.
        unwrap_timeout_seconds: For packing with xatlas, which has a fallback.
        layout: Where the UVs come from, called with the mesh; None is `unwrap`.
        normals: Unit normals of the mesh; None takes the mean of the faces around. Not for a mesh that is decimated.
        progress: Told what is being done.
    """
    clock = _PartClock()
    mesh = mesh.detach()
    surface = mesh
    notes: list[str] = []
    if face_budget is not None and len(mesh.faces) > face_budget:
        progress(f"reducing {len(mesh.faces)} faces to {face_budget}")
        with clock.part("decimate"):
            decimation = decimate(mesh, face_budget)
        mesh = decimation.mesh
        notes += decimation.notes

    progress("unwrapping" if layout is None else "laying out the texture")
    with clock.part("unwrap"):
        if layout is None:
            unwrapped = unwrap(mesh, texture_size, unwrap_timeout_seconds, unwrap_config)
        else:
            unwrapped = layout(mesh)
        overlap = uv_overlap_fraction(unwrapped.uv, unwrapped.faces, texture_size)
    notes += unwrapped.notes

    progress("baking textures")
    with clock.part("bake"):
        device = mesh.positions.device
        sources = torch.from_numpy(unwrapped.source_vertices).to(device)
        split = TriangleMesh(mesh.positions[sources.long()], torch.from_numpy(unwrapped.faces).to(device))
        uv = torch.from_numpy(unwrapped.uv).to(device)
        # A decimated surface cuts corners; the field knows colours only where the surface was.
        on_surface = _AlongSurface(texture_field, surface) if mesh is not surface else texture_field
        rasteriser = rasteriser if rasteriser is not None else choose_rasteriser(device)
        textures = bake_textures(split, uv, on_surface, rasteriser, texture_size)
        colours = torch.cat([_bytes(material.albedo) for material in _materials(on_surface, split.positions)])
    report = FinishReport(
        clock.seconds, unwrapped.chart_count, unwrapped.packer, overlap, unwrapped.coverage, tuple(notes)
    )
    normals = (_safe_normals(mesh) if normals is None else normals)[sources.long()]
    return FinishedMesh(split.to("cpu"), sources.cpu(), normals.cpu(), uv.cpu(), colours.cpu(), textures, name, report)


@torch.no_grad()
def bake_textures(
    mesh: TriangleMesh,
    uv: Float[Tensor, "vertices 2"],
    texture_field: MaterialField,
    rasteriser: Rasteriser,
    texture_size: int,
) -> BakedTextures:
    """Textures in which every texel under a face holds the field's material there, and every other one a near one's."""
    values = torch.zeros(texture_size, texture_size, 5, dtype=torch.uint8)  # albedo, roughness, metallic
    is_known = torch.zeros(texture_size, texture_size, dtype=torch.bool)
    for rows, columns in _tiles(texture_size):
        positions, is_covered = _surface_points(mesh, uv, rasteriser, texture_size, rows, columns)
        if not is_covered.any():
            continue
        tile = [
            _bytes(torch.cat([material.albedo, material.roughness, material.metallic], dim=-1)).cpu()
            for material in _materials(texture_field, positions[is_covered])
        ]
        values[rows, columns][is_covered.cpu()] = torch.cat(tile)
        is_known[rows, columns] = is_covered.cpu()
    if not is_known.all() and is_known.any():
        nearest = ndimage.distance_transform_edt(~is_known.numpy(), return_distances=False, return_indices=True)
        values = torch.from_numpy(values.numpy()[nearest[0], nearest[1]])
    red = torch.full_like(values[..., :1], 255)
    return BakedTextures(values[..., :3].contiguous(), torch.cat([red, values[..., 3:]], dim=-1))


def _tiles(texture_size: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of pieces of the texture: the rasters of 8192 texels a side would need gigabytes."""
    for row in range(0, texture_size, _TILE):
        for column in range(0, texture_size, _TILE):
            yield slice(row, min(row + _TILE, texture_size)), slice(column, min(column + _TILE, texture_size))


def _surface_points(
    mesh: TriangleMesh, uv: Tensor, rasteriser: Rasteriser, texture_size: int, rows: slice, columns: slice
) -> tuple[Tensor, Tensor]:
    """Points of the surface under the texels of a tile [rows, columns, 3], and which texels have one.

    Beyond the borders of charts the points go on along the plane of the nearest face, for `RIM_TEXELS`.
    """
    height, width = rows.stop - rows.start + 2 * _TILE_MARGIN, columns.stop - columns.start + 2 * _TILE_MARGIN
    x = (uv[:, 0] * texture_size - columns.start + _TILE_MARGIN) * (2 / width) - 1
    y = (uv[:, 1] * texture_size - rows.start + _TILE_MARGIN) * (2 / height) - 1
    clip_positions = torch.stack([x, y, torch.zeros_like(x), torch.ones_like(x)], dim=-1)[None].contiguous()
    raster, derivatives = rasteriser.rasterize(clip_positions, mesh.faces, (height, width))
    points, by_texel = rasteriser.interpolate(mesh.positions[None].contiguous(), raster, mesh.faces, derivatives, "all")
    points, by_texel = points[0], by_texel[0].reshape(height, width, 3, 2)  # d(x, y, z) / d(column, row)
    is_covered = raster[0, ..., 3] > 0
    texels = (torch.stack([y, x], dim=-1) + 1) * 0.5 * torch.tensor([height, width], device=x.device)
    _seed_slivers(points, by_texel, is_covered, texels.floor().long(), mesh.positions)
    if is_covered.any() and not is_covered.all():
        distances, nearest = _to_covered(is_covered)
        rim_row, rim_column = torch.from_numpy((distances > 0) & (distances <= RIM_TEXELS)).nonzero(as_tuple=True)
        at_row, at_column = torch.from_numpy(nearest)[:, rim_row, rim_column].long()
        steps = torch.stack([rim_column - at_column, rim_row - at_row], dim=-1).to(points)
        at = at_row.to(points.device), at_column.to(points.device)
        moves = (by_texel[at] * steps[:, None, :]).sum(-1)
        # A face that is seen edge-on would throw its neighbours far off.
        longest = _MOST_RIM_TEXEL_SIZES * by_texel[is_covered].square().sum(1).amax(1).sqrt().median()
        lengths = moves.norm(dim=-1, keepdim=True)
        moves = moves * (longest / lengths.clamp(min=1e-12)).clamp(max=1.0)
        rim = rim_row.to(points.device), rim_column.to(points.device)
        points[rim] = points[at] + moves
        is_covered[rim] = True
    inner = slice(_TILE_MARGIN, -_TILE_MARGIN)
    return points[inner, inner], is_covered[inner, inner]


def _seed_slivers(
    points: Tensor, by_texel: Tensor, is_covered: Tensor, vertex_texels: Tensor, positions: Tensor
) -> None:
    """Gives charts, or parts of them, that are too thin to lie under any texel's centre the points of their vertices.

    Otherwise they would take their colours from whatever chart lies next to them.
    """
    height, width = is_covered.shape
    row, column = vertex_texels.unbind(-1)
    is_inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    candidates = is_inside.nonzero()[:, 0]
    if is_covered.any():
        distances, _ = _to_covered(is_covered)
        is_far = torch.from_numpy(distances > 1.5).to(is_covered.device)  # not just beside the border of its chart
        candidates = candidates[is_far[row[candidates], column[candidates]]]
    _, first = np.unique((row * width + column)[candidates].cpu().numpy(), return_index=True)
    seeds = candidates[torch.from_numpy(first).to(candidates.device)]
    at = row[seeds], column[seeds]
    points[at] = positions[seeds]
    by_texel[at] = 0
    is_covered[at] = True


def _to_covered(is_covered: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Distance in texels to the nearest covered texel, and its row and column [2, height, width]."""
    return ndimage.distance_transform_edt((~is_covered).cpu().numpy(), return_indices=True)


class _AlongSurface:
    """A texture field asked only at points of the surface that it was learnt on, near those that one asks for."""

    def __init__(self, texture_field: MaterialField, surface: TriangleMesh) -> None:
        self._field = texture_field
        self._surface = surface
        self._normals = surface.vertex_normals()
        self._vertices = spatial.cKDTree(surface.positions.cpu().numpy())

    def __call__(self, positions: Tensor) -> Material:
        _, nearest = self._vertices.query(positions.cpu().numpy())
        at = torch.from_numpy(nearest).to(positions.device)
        normals = self._normals[at]
        # Onto the plane through the nearest vertex: smoother than the vertex, and as near to the surface.
        height = ((positions - self._surface.positions[at]) * normals).sum(-1, keepdim=True)
        return self._field(positions - height * normals)


@torch.no_grad()
def _materials(texture_field: MaterialField, positions: Float[Tensor, "points 3"]) -> Iterator[Material]:
    """The materials at many points, a part at a time."""
    for some in positions.split(_POINTS_AT_ONCE):
        yield texture_field(some)


def _bytes(values: Tensor) -> UInt8[Tensor, "..."]:
    """[0, 1] to 0..255; what is no number becomes the middle."""
    return (torch.nan_to_num(values, nan=0.5).clamp(0, 1) * 255).round().to(torch.uint8)


def _safe_normals(mesh: TriangleMesh) -> Float[Tensor, "vertices 3"]:
    """Vertex normals; where the faces around a vertex cancel out, any direction: files must hold unit vectors."""
    normals = mesh.vertex_normals()
    has_none = normals.square().sum(-1, keepdim=True) < 0.5
    return torch.where(has_none, torch.tensor([0.0, 1.0, 0.0], device=normals.device), normals)


class _PartClock:
    """Seconds by part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started
