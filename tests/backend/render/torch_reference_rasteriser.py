"""The portable rasteriser once more, in plain torch: written to be read, in single or double precision.

Autograd differentiates it. Tests compare the kernels with it, and the benchmark of speed shows what they are for.
Everything must lie before the eye.
"""

from __future__ import annotations

import torch
from torch import Tensor

SUBPIXELS = 256
AREA_REGULARISER = 1e-6


class TorchReferenceRasteriser:
    """`rasterize` and `interpolate`, as in `backend.render.rasteriser`."""

    name = "torch reference"

    def __init__(self, regularises_area: bool = False) -> None:
        # The kernels add 1e-6 to areas in their backward pass alone. Here it goes both ways, if at all.
        self.area_regulariser = AREA_REGULARISER if regularises_area else 0.0

    def rasterize(self, clip_positions: Tensor, faces: Tensor, resolution: tuple[int, int]) -> tuple[Tensor, Tensor]:
        assert (clip_positions[..., 3] > 0).all()
        height, width = resolution
        with torch.no_grad():
            visible = find_visible_faces(clip_positions, faces, resolution)  # [views, height, width], -1 for none
        view, row, column = (visible >= 0).nonzero(as_tuple=True)  # [covered]
        face = visible[view, row, column]
        corners = clip_positions[view[:, None], faces.long()[face]]  # [covered, 3, 4]

        # The centre of the pixel as a homogeneous point f. f . (p_j x p_k) is proportional to the weight of corner i.
        centre = torch.stack([(2 * column + 1) / width - 1, (2 * row + 1) / height - 1, torch.ones_like(row)], dim=-1)
        centre = centre.to(corners.dtype)
        points = corners[..., [0, 1, 3]]
        normals = torch.linalg.cross(points.roll(-1, dims=1), points.roll(-2, dims=1))  # [covered, 3, 3]
        areas = torch.einsum("cij,cj->ci", normals, centre)
        area = areas.sum(-1, keepdim=True)
        area = area + torch.sign(area.detach()) * self.area_regulariser
        weights = areas / area  # [covered, 3]
        # d(a_i / area) / dfx = (n_ix - weight_i * sum n_x) / area
        change = (normals - weights[..., None] * normals.sum(1, keepdim=True)) / area[..., None]  # [covered, 3, 3]
        per_pixel = corners.new_tensor([2 / width, 2 / height])
        derivatives = (change[:, :2, :2] * per_pixel).flatten(1)  # du/dX, du/dY, dv/dX, dv/dY

        depth = (weights.detach() * corners[..., 2].detach()).sum(-1) / (weights * corners[..., 3]).detach().sum(-1)
        pixels = torch.stack([weights[:, 0], weights[:, 1], depth, (face + 1).to(depth.dtype)], dim=-1)
        raster = clip_positions.new_zeros(len(clip_positions), height, width, 4)
        index = (view, row, column)
        return raster.index_put(index, pixels), torch.zeros_like(raster).index_put(index, derivatives)

    def interpolate(
        self, attributes: Tensor, raster: Tensor, faces: Tensor, raster_derivatives: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """With `raster_derivatives`, all channels are differentiated."""
        covered = raster[..., 3] > 0
        view, row, column = covered.nonzero(as_tuple=True)
        face = raster[view, row, column, 3].long() - 1
        corners = attributes.expand(len(raster), -1, -1)[view[:, None], faces.long()[face]]  # [covered, 3, channels]
        u, v = raster[view, row, column, 0, None], raster[view, row, column, 1, None]
        values = u * corners[:, 0] + v * corners[:, 1] + (1 - u - v) * corners[:, 2]
        image = attributes.new_zeros(*covered.shape, attributes.shape[-1]).index_put((view, row, column), values)
        if raster_derivatives is None:
            return image, image[..., :0]
        by_pixel = raster_derivatives[view, row, column].reshape(-1, 2, 2)  # [covered, (u, v), (X, Y)]
        along = corners[:, :2] - corners[:, 2:]  # [covered, (u, v), channels]
        values = torch.einsum("cwx,cwa->cax", by_pixel, along).flatten(1)
        return image, attributes.new_zeros(*covered.shape, values.shape[-1]).index_put((view, row, column), values)


def find_visible_faces(clip_positions: Tensor, faces: Tensor, resolution: tuple[int, int]) -> Tensor:
    """The nearest face at every pixel centre, -1 for none; int64 [views, height, width].

    Lists every pixel in the bounding box of every face, keeps those inside, and takes the nearest of each pixel. On
    equal depth the later face wins.
    """
    height, width = resolution
    views = len(clip_positions)
    size = torch.tensor([width, height], dtype=torch.float64)
    screen = (
        (clip_positions[..., :2].double() / clip_positions[..., 3:].double() + 1) / 2 * size
    )  # [views, vertices, 2]
    # Multiples of 1/256 pixel: all that is done with them below is exact in double precision, as it is in integers.
    snapped = torch.floor(screen * SUBPIXELS + 0.5) / SUBPIXELS
    depths = clip_positions[..., 2].double() / clip_positions[..., 3].double()

    corners = snapped[:, faces.long()]  # [views, faces, 3, 2]
    low = torch.ceil(corners.amin(2) - 0.5).clamp(min=0)
    high = torch.minimum(torch.floor(corners.amax(2) - 0.5), size - 1)
    view, face = (high >= low).all(-1).nonzero(as_tuple=True)  # [drawn]: most small faces hold no pixel centre
    low, sizes = low[view, face].long(), (high - low + 1)[view, face].long()
    x, y = corners[view, face].unbind(-1)  # [drawn, 3]
    # What decides about a centre (px, py): edge i, opposite corner i, runs by (run, rise), and
    # run * (py - y) - rise * (px - x) = run * py - rise * px + offset is positive on its left.
    start_x, start_y = x.roll(-1, dims=1), y.roll(-1, dims=1)
    run, rise = x.roll(-2, dims=1) - start_x, y.roll(-2, dims=1) - start_y
    offset = rise * start_x - run * start_y
    orientation = torch.sign(offset.sum(-1, keepdim=True))  # the sum is twice the area
    run, rise, offset = run * orientation, rise * orientation, offset * orientation
    # A centre on an edge belongs to the face for which, turned counter-clockwise, the edge runs down or to the right.
    owns = (rise < 0) | ((rise == 0) & (run > 0))
    corner_depths = depths[view[:, None], faces.long()[face]]

    counts = sizes.prod(-1)
    drawn = torch.repeat_interleave(torch.arange(len(counts)), counts)  # [fragments]
    place = torch.arange(len(drawn)) - (counts.cumsum(0) - counts)[drawn]
    column = low[drawn, 0] + place % sizes[drawn, 0]
    row = low[drawn, 1] + place // sizes[drawn, 0]
    areas = run[drawn] * (row + 0.5)[:, None] - rise[drawn] * (column + 0.5)[:, None] + offset[drawn]
    is_inside = ((areas > 0) | ((areas == 0) & owns[drawn])).all(-1)
    depth = (areas * corner_depths[drawn]).sum(-1) / areas.sum(-1)
    keep = is_inside & (orientation[drawn, 0] != 0) & (depth.abs() <= 1)

    drawn, depth = drawn[keep], depth[keep]
    pixel = (view[drawn] * height + row[keep]) * width + column[keep]
    nearest = torch.full((views * height * width,), float("inf"), dtype=torch.float64)
    nearest = nearest.scatter_reduce(0, pixel, depth, "amin")
    wins = depth == nearest[pixel]
    visible = torch.full((views * height * width,), -1)
    visible = visible.scatter_reduce(0, pixel[wins], face[drawn[wins]], "amax")
    return visible.reshape(views, height, width)


def blend_crossings(colours: Tensor, clip_positions: Tensor, indices: Tensor, numbers: Tensor) -> Tensor:
    """The antialiasing of one image across given crossings.

    Args:
        colours: [height, width, channels].
        clip_positions: [vertices, 4].
        indices, numbers: Of `portable_antialias_kernels.find_crossings`; where they lie is worked out again.
    """
    height, width, channels = colours.shape
    inner, outer, axis, start, stop = indices.long().unbind(-1)
    size = torch.tensor([width, height], dtype=colours.dtype)
    pixels = (clip_positions[:, :2] / clip_positions[:, 3:] + 1) / 2 * size - 0.5  # [vertices, 2]
    along0, along1 = pixels[start, axis], pixels[stop, axis]
    across0, across1 = pixels[start, 1 - axis], pixels[stop, 1 - axis]
    inner_place = torch.stack([inner % width, inner // width], dim=-1)
    here = inner_place.gather(1, axis[:, None])[:, 0]
    line = inner_place.gather(1, 1 - axis[:, None])[:, 0]
    crossing = along0 + (line - across0) / (across1 - across0) * (along1 - along0)
    distance = ((crossing - here) * torch.sign(outer - inner)).clamp(0, 1)

    # The silhouette lies in the inner pixel, which lacks a share of what is behind, or in the outer one.
    flat = colours.reshape(-1, channels)
    difference = (numbers[:, 1] * (0.5 - distance))[:, None] * (flat[outer] - flat[inner])
    is_inner = (numbers[:, 0] < 0.5)[:, None]
    blended = flat.index_add(0, inner, torch.where(is_inner, difference, 0.0))
    return blended.index_add(0, outer, torch.where(is_inner, 0.0, difference)).reshape(colours.shape)
