"""Antialiasing across silhouettes on a CUDA card, compiled by numba: the walk of `portable_antialias_kernels`.

A thread looks at one pixel of one view and at its neighbours to the right and above. Colours, and gradients of
vertices, are added up by atomic additions, whose order, and with it the last bits of the sum, differs from run to run.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import cuda

from backend.render.portable_antialias_kernels import (
    PASSED_BY,
    SILHOUETTE,
    pass_to_edge,
    pixel_of,
    steepness,
    walk,
)

NO_EDGE = 2**62
"""Added to the number of a half-edge that borders nothing, in the place of its two vertices: no other has the same."""

CODE, EDGE_START, EDGE_END = 0, 1, 2
"""Columns of the integers of a crossing. The code is 4 x (view * pixels + first pixel) + 2 x axis + whether the first
pixel of the pair is the inner one."""

CROSSING_AT, BLEND_WEIGHT = 0, 1
"""Columns of the numbers of a crossing."""


@cuda.jit(cache=True)
@no_type_check
def name_half_edges(faces, vertices, names):
    """Writes a number for each half-edge that the other half has as well; int64 [3 faces]. A thread for each.

    Half-edge 3 face + i lies opposite corner i of the face.
    """
    index = cuda.grid(1)
    if index >= 3 * faces.shape[0]:
        return
    face, edge = index // 3, index % 3
    start, end = np.int64(faces[face, (edge + 1) % 3]), np.int64(faces[face, (edge + 2) % 3])
    opposite = np.int64(faces[face, edge])
    lowest, highest = min(start, end, opposite), max(start, end, opposite)
    if start == end or lowest < 0 or highest >= vertices:
        names[index] = index + NO_EDGE
    else:
        names[index] = min(start, end) * vertices + max(start, end)


@cuda.jit(cache=True)
@no_type_check
def pair_half_edges(names, half_edges, adjacent):
    """Writes the face across each edge, -1 where there is none; int32 [faces, 3]. A thread for each half-edge.

    Where more than two faces share an edge they are paired in their order.

    Args:
        names: int64 [3 faces], sorted.
        half_edges: int64 [3 faces], which half-edge each name is of; those of the same name in their order.
    """
    index = cuda.grid(1)
    count = names.shape[0]
    if index >= count:
        return
    name = names[index]
    first = index
    while first > 0 and names[first - 1] == name:
        first -= 1
    other = index - 1
    if (index - first) % 2 == 0:
        other = index + 1
    face = np.int32(-1)
    if other < count and names[other] == name:
        face = np.int32(half_edges[other] // 3)
    adjacent[half_edges[index] // 3, half_edges[index] % 3] = face


@cuda.jit(cache=True)
@no_type_check
def project_vertices(positions, height, width, pixels):
    """Writes float64 [views, vertices, 2], see `pixel_of`. A thread for each vertex."""
    vertices = positions.shape[1]
    index = cuda.grid(1)
    if index >= positions.shape[0] * vertices:
        return
    view, vertex = index // vertices, index % vertices
    column, row = pixel_of(
        positions[view, vertex, 0],
        positions[view, vertex, 1],
        np.float64(positions[view, vertex, 3]),
        height,
        width,
    )
    pixels[view, vertex, 0] = column
    pixels[view, vertex, 1] = row


@cuda.jit(device=True)
@no_type_check
def seen_face(raster, faces, view, row, column, vertices):
    """What a pixel sees, -1 for nothing or for what cannot be seen."""
    face = np.int64(raster[view, row, column, 3]) - 1
    if face < 0 or face >= faces.shape[0]:
        return np.int64(-1)
    v0, v1, v2 = faces[face, 0], faces[face, 1], faces[face, 2]
    if 0 <= v0 < vertices and 0 <= v1 < vertices and 0 <= v2 < vertices:
        return face
    return np.int64(-1)


@cuda.jit(cache=True)
@no_type_check
def blend_silhouettes(pixels, faces, adjacent, raster, colours, blended, indices, numbers, count):
    """Finds the silhouettes between pixels, and blends across them. A thread for each pixel.

    Args:
        pixels: float64 [views, vertices, 2], of `project_vertices`.
        faces, adjacent: int32 [faces, 3].
        raster: float32 [views, height, width, 4].
        colours: float32 [views, height, width, channels].
        blended: A copy of the colours; added to.
        indices, numbers: int32 [2 views * height * width, 3] and float32 [.., 2]; written, a row for each crossing.
        count: int32 [1], their number; added to.
    """
    height, width = raster.shape[1], raster.shape[2]
    index = cuda.grid(1)
    if index >= raster.shape[0] * height * width:
        return
    view, pixel = index // (height * width), index % (height * width)
    row, column = pixel // width, pixel % width
    vertices = pixels.shape[1]
    face = seen_face(raster, faces, view, row, column, vertices)
    for axis in range(2):
        next_row, next_column = row + axis, column + 1 - axis
        if next_row >= height or next_column >= width:
            continue
        next_face = seen_face(raster, faces, view, next_row, next_column, vertices)
        if next_face == face:
            continue
        starts_here = next_face < 0 or (
            face >= 0 and raster[view, row, column, 2] <= raster[view, next_row, next_column, 2]
        )
        here = row if axis == 1 else column
        line = column if axis == 1 else row
        inner, outer, at, direction = next_face, face, here + 1, np.int64(-1)
        if starts_here:
            inner, outer, at, direction = face, next_face, here, np.int64(1)
        own_pixels = pixels[view]
        end, crossing, start, stop = walk(own_pixels, faces, adjacent, inner, outer, axis, line, at, direction)
        if end == PASSED_BY and outer >= 0:
            # The other pixel shows something in front of this surface: look for its silhouette.
            starts_here = not starts_here
            at += direction
            end, crossing, start, stop = walk(own_pixels, faces, adjacent, outer, inner, axis, line, at, -direction)
        if end != SILHOUETTE:
            continue
        crossing = min(max(crossing, 0.0), 1.0)
        weight = steepness(own_pixels, start, stop, axis)
        slot = cuda.atomic.add(count, 0, 1)
        indices[slot, CODE] = 4 * index + 2 * axis + (1 if starts_here else 0)
        indices[slot, EDGE_START] = start
        indices[slot, EDGE_END] = stop
        numbers[slot, CROSSING_AT] = crossing
        numbers[slot, BLEND_WEIGHT] = weight
        # The silhouette lies in the inner pixel, which lacks a share of what is behind, or in the outer one.
        is_in_first = starts_here == (crossing < 0.5)
        target_row, target_column = (row, column) if is_in_first else (next_row, next_column)
        source_row, source_column = (next_row, next_column) if is_in_first else (row, column)
        share = np.float32(abs(0.5 - crossing) * weight)
        for channel in range(colours.shape[3]):
            difference = (
                colours[view, source_row, source_column, channel] - colours[view, target_row, target_column, channel]
            )
            cuda.atomic.add(blended, (view, target_row, target_column, channel), share * difference)


@cuda.jit(cache=True)
@no_type_check
def blend_silhouettes_backward(
    indices,
    numbers,
    count,
    colours,
    positions,
    blended_gradient,
    colour_gradient,
    wants_colours,
    position_gradient,
    wants_positions,
):
    """The gradients of `blend_silhouettes`; see `portable_antialias_kernels.blend_crossings_backward`.

    Args:
        blended_gradient: float32 [views, height, width, channels].
        colour_gradient: A copy of it; changed.
        position_gradient: float32 [views, vertices, 4], added to.
    """
    height, width = colours.shape[1], colours.shape[2]
    slot = cuda.grid(1)
    while slot < count[0]:
        code = np.int64(indices[slot, CODE])
        index, axis, starts_here = code // 4, (code // 2) % 2, code % 2 == 1
        view, pixel = index // (height * width), index % (height * width)
        row, column = pixel // width, pixel % width
        next_row, next_column = row + axis, column + 1 - axis
        crossing, weight = np.float64(numbers[slot, CROSSING_AT]), np.float64(numbers[slot, BLEND_WEIGHT])
        is_in_first = starts_here == (crossing < 0.5)
        target_row, target_column = (row, column) if is_in_first else (next_row, next_column)
        source_row, source_column = (next_row, next_column) if is_in_first else (row, column)
        share = np.float32(abs(0.5 - crossing) * weight)
        toward_crossing = 0.0
        for channel in range(colours.shape[3]):
            gradient = blended_gradient[view, target_row, target_column, channel]
            if wants_colours:
                cuda.atomic.add(colour_gradient, (view, source_row, source_column, channel), share * gradient)
                cuda.atomic.add(colour_gradient, (view, target_row, target_column, channel), -share * gradient)
            toward_crossing += gradient * (
                colours[view, row, column, channel] - colours[view, next_row, next_column, channel]
            )
        # On either side of 0.5 the target changes with the crossing by weight * (inner - outer), and the crossing with
        # the place on the line by 1 from the first pixel on, by -1 from the second one on: twice the same sign.
        toward_along = toward_crossing * weight
        if wants_positions and 0.0 < crossing < 1.0 and toward_along != 0.0:
            start, stop = indices[slot, EDGE_START], indices[slot, EDGE_END]
            line = column if axis == 1 else row
            half_along = 0.5 * (height if axis == 1 else width)
            half_across = 0.5 * (width if axis == 1 else height)
            along0, across0, w0, along1, across1, w1 = pass_to_edge(
                positions[view], start, stop, axis, line, half_along, half_across, toward_along
            )
            cuda.atomic.add(position_gradient, (view, start, axis), np.float32(along0))
            cuda.atomic.add(position_gradient, (view, start, 1 - axis), np.float32(across0))
            cuda.atomic.add(position_gradient, (view, start, 3), np.float32(w0))
            cuda.atomic.add(position_gradient, (view, stop, axis), np.float32(along1))
            cuda.atomic.add(position_gradient, (view, stop, 1 - axis), np.float32(across1))
            cuda.atomic.add(position_gradient, (view, stop, 3), np.float32(w1))
        slot += cuda.gridsize(1)
