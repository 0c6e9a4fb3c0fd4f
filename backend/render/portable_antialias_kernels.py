"""Antialiasing one image across silhouettes on the CPU, compiled by numba.

For each two neighbouring pixels that see different faces, the kernels look for a silhouette between their centres.
Where it crosses the line between the centres decides how much of one pixel's colour is blended into the other; that
share depends on the vertices of the silhouette edge, and this gives coverage its gradient (Laine et al. 2020, section
3.5).

Two rules find the silhouette. nvdiffrast's looks at the edges of the nearer pixel's own face only, so it misses nearly
all silhouettes of meshes whose faces are smaller than a pixel; of those it finds, it gives each wholly to the
horizontal or wholly to the vertical pairs, whichever it crosses more steeply. The walk follows the surface from face to
face along the line until it folds back, ends, or arrives at the other pixel's face.

The walk shares a silhouette with unit normal n between both kinds of pairs, n_x^2 to n_y^2. This makes the gradient
right for edges of every length and slope: an edge of length l crosses l |n_x| horizontal pairs, each of whose crossings
moves by 1 / |n_x| when the edge moves by 1, and l |n_y| vertical ones with 1 / |n_y|. Weighed, l n_x^2 + l n_y^2 = l:
the area that the edge sweeps.

Kernels release the GIL, use one thread and no atomics, and check no index: `portable_rasteriser` does.
"""

from __future__ import annotations

from math import isfinite
from typing import no_type_check

import numpy as np
from numba import njit

NO_SILHOUETTE, SILHOUETTE, PASSED_BY, SEARCHING = 0, 1, 2, 3
"""How a search ends. Passed by: the surface goes on beneath the other pixel, which shows something else."""

CROSSING_TOLERANCE = 1.0 / 16.0
"""Pixels; how far beyond the two centres a crossing may lie, because vertices were snapped to decide coverage."""

FURTHEST_PIXEL = 1e9
"""Vertices beyond are treated as those behind the eye: they have no place in the image."""

LONGEST_WALK = 4096
"""Faces; an end to walks over surfaces that are degenerate in the image."""

INNER_PIXEL, OUTER_PIXEL, AXIS, EDGE_START, EDGE_END = 0, 1, 2, 3, 4
"""Columns of the integers of a crossing."""

CROSSING_AT, BLEND_WEIGHT = 0, 1
"""Columns of the numbers of a crossing."""


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def find_adjacent_faces(faces, vertex_count):
    """The face across each edge, -1 where there is none.

    Edge i of a face lies opposite its corner i. Where more than two faces share an edge they are paired in their order.

    Returns:
        int32 [faces, 3].
    """
    face_count = len(faces)
    adjacent = np.full((face_count, 3), -1, np.int32)
    # Sort the half-edges by their lower vertex (counting sort), then pair those with the same higher vertex.
    starts = np.zeros(vertex_count + 1, np.int64)
    for face in range(face_count):
        for edge in range(3):
            start, end = faces[face, (edge + 1) % 3], faces[face, (edge + 2) % 3]
            starts[min(start, end) + 1] += 1
    for vertex in range(vertex_count):
        starts[vertex + 1] += starts[vertex]
    slots = starts[:-1].copy()
    half_edges = np.empty(3 * face_count, np.int64)
    for face in range(face_count):
        for edge in range(3):
            start, end = faces[face, (edge + 1) % 3], faces[face, (edge + 2) % 3]
            lower = min(start, end)
            half_edges[slots[lower]] = 3 * face + edge
            slots[lower] += 1

    unpaired = np.full(vertex_count, -1, np.int64)  # by higher vertex, while one lower vertex is looked at
    for lower in range(vertex_count):
        for slot in range(starts[lower], starts[lower + 1]):
            half_edge = half_edges[slot]
            face, edge = half_edge // 3, half_edge % 3
            higher = max(faces[face, (edge + 1) % 3], faces[face, (edge + 2) % 3])
            if higher == lower:
                continue  # a collapsed edge borders nothing
            other = unpaired[higher]
            if other < 0:
                unpaired[higher] = half_edge
            else:
                adjacent[face, edge] = other // 3
                adjacent[other // 3, other % 3] = face
                unpaired[higher] = -1
        for slot in range(starts[lower], starts[lower + 1]):
            half_edge = half_edges[slot]
            face, edge = half_edge // 3, half_edge % 3
            unpaired[max(faces[face, (edge + 1) % 3], faces[face, (edge + 2) % 3])] = -1
    return adjacent


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def project_to_pixels(positions, height, width, pixels):
    """Writes the pixel coordinates [vertices, 2] of clip positions, centres at whole numbers.

    NaN for vertices that have none: behind the eye, not finite, or absurdly far to the side.
    """
    for vertex in range(len(positions)):
        pixels[vertex, 0], pixels[vertex, 1] = pixel_of(
            positions[vertex, 0], positions[vertex, 1], np.float64(positions[vertex, 3]), height, width
        )


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
@no_type_check
def pixel_of(x, y, w, height, width):
    """The pixel coordinates (column, row) of a vertex; NaN where it has none. x and y as they are, w as float64."""
    column = (x / w + 1.0) * 0.5 * width - 0.5
    row = (y / w + 1.0) * 0.5 * height - 0.5
    if not (w > 0.0 and abs(column) < FURTHEST_PIXEL and abs(row) < FURTHEST_PIXEL):
        column = row = np.nan
    return column, row


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def find_crossings(positions, faces, adjacent, raster, walks):
    """Lists where silhouettes cross between neighbouring pixels.

    Args:
        positions: float32 [vertices, 4], clip space.
        faces, adjacent: int32 [faces, 3].
        raster: float32 [height, width, 4].
        walks: True for the walk, False for nvdiffrast's rule.

    Returns:
        int32 [crossings, 5]: inner pixel, whose face leads to the silhouette; outer pixel; axis, 0 for a horizontal
        pair and 1 for a vertical one; the two vertices of the edge. And float64 [crossings, 2]: the distance from the
        inner centre in pixels, within [0, 1]; and the weight of the blend.
    """
    height, width = raster.shape[0], raster.shape[1]
    pixels = np.empty((len(positions), 2), np.float64)
    project_to_pixels(positions, height, width, pixels)

    # The worst case; memory that is never written to costs nothing.
    indices = np.empty((2 * height * width, 5), np.int32)
    numbers = np.empty((2 * height * width, 2), np.float64)
    count = 0
    for row in range(height):
        for column in range(width):
            face = np.int64(raster[row, column, 3]) - 1
            for axis in range(2):
                next_row, next_column = row + axis, column + 1 - axis
                if next_row >= height or next_column >= width:
                    continue
                next_face = np.int64(raster[next_row, next_column, 3]) - 1
                if next_face == face:
                    continue
                starts_here = next_face < 0 or (
                    face >= 0 and raster[row, column, 2] <= raster[next_row, next_column, 2]
                )
                here = row if axis else column  # along the line between the centres
                line = column if axis else row
                if starts_here:
                    inner, outer, at, direction = face, next_face, here, 1
                else:
                    inner, outer, at, direction = next_face, face, here + 1, -1
                if walks:
                    end, crossing, start, stop = walk(pixels, faces, adjacent, inner, outer, axis, line, at, direction)
                    if end == PASSED_BY and outer >= 0:
                        # The other pixel shows something in front of this surface: look for its silhouette.
                        starts_here = not starts_here
                        at += direction
                        end, crossing, start, stop = walk(
                            pixels, faces, adjacent, outer, inner, axis, line, at, -direction
                        )
                else:
                    end, crossing, start, stop = _examine_own_edges(
                        pixels, faces, adjacent, inner, axis, line, at, direction
                    )
                if end != SILHOUETTE:
                    continue
                pixel, next_pixel = row * width + column, next_row * width + next_column
                indices[count, INNER_PIXEL] = pixel if starts_here else next_pixel
                indices[count, OUTER_PIXEL] = next_pixel if starts_here else pixel
                indices[count, AXIS] = axis
                indices[count, EDGE_START] = start
                indices[count, EDGE_END] = stop
                numbers[count, CROSSING_AT] = min(max(crossing, 0.0), 1.0)
                numbers[count, BLEND_WEIGHT] = steepness(pixels, start, stop, axis) if walks else 1.0
                count += 1
    return indices[:count].copy(), numbers[:count].copy()


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
@no_type_check
def _crossing_of_edge(pixels, start, stop, axis, line):
    """Where an edge that straddles the line meets it."""
    along0, across0 = pixels[start, axis], pixels[start, 1 - axis]
    along1, across1 = pixels[stop, axis], pixels[stop, 1 - axis]
    return along0 + (line - across0) * (along1 - along0) / (across1 - across0)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
@no_type_check
def _furthest_edge(pixels, faces, face, axis, line, at, direction):
    """The edge of a face that crosses the line furthest on. Returns the edge, -1 for none, and the crossing."""
    v0, v1, v2 = faces[face, 0], faces[face, 1], faces[face, 2]
    is_past0 = pixels[v0, 1 - axis] >= line
    is_past1 = pixels[v1, 1 - axis] >= line
    is_past2 = pixels[v2, 1 - axis] >= line
    # One corner is alone on its side of the line, and its two edges are those that cross.
    if is_past0 == is_past1:
        if is_past0 == is_past2:
            return -1, 0.0
        alone, edge0, other0, edge1, other1 = v2, 0, v1, 1, v0
    elif is_past0 == is_past2:
        alone, edge0, other0, edge1, other1 = v1, 2, v0, 0, v2
    else:
        alone, edge0, other0, edge1, other1 = v0, 1, v2, 2, v1
    crossing0 = (_crossing_of_edge(pixels, alone, other0, axis, line) - at) * direction
    crossing1 = (_crossing_of_edge(pixels, alone, other1, axis, line) - at) * direction
    if not (isfinite(crossing0) and isfinite(crossing1)):
        return -1, 0.0  # a corner is behind the eye
    if crossing1 > crossing0:
        return edge1, crossing1
    return edge0, crossing0


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def walk(pixels, faces, adjacent, first_face, last_face, axis, line, at, direction):
    """Follows the surface along a line of pixels, from one pixel centre to the next.

    Args:
        first_face, last_face: What the two pixels see; the second may be -1.
        axis: 0 walks along a row, 1 along a column.
        line: The row, or column, that is walked along.
        at: Where the walk starts on it.
        direction: 1 or -1.

    Returns:
        How it ended; for a silhouette also its distance from the start and the vertices of its edge.
    """
    # One way out and flat loops: otherwise numba counts references to the arrays at every call, which costs more than
    # the walk itself.
    face = first_face
    edge, crossing = _furthest_edge(pixels, faces, face, axis, line, at, direction)
    start, stop = faces[face, (edge + 1) % 3], faces[face, (edge + 2) % 3]
    end = SEARCHING if edge >= 0 else NO_SILHOUETTE
    faces_left = LONGEST_WALK
    while end == SEARCHING:
        next_face = adjacent[face, edge]
        faces_left -= 1
        if crossing > 1.0 + CROSSING_TOLERANCE:
            end = PASSED_BY
        elif next_face < 0:
            end = SILHOUETTE  # the surface ends
        elif next_face == last_face or faces_left == 0:
            end = NO_SILHOUETTE
        else:
            # The line leaves the next face through the one other edge that straddles it: no geometry to go wrong.
            corner0, corner1, corner2 = faces[next_face, 0], faces[next_face, 1], faces[next_face, 2]
            if corner0 != start and corner0 != stop:
                vertex = corner0
            elif corner1 != start and corner1 != stop:
                vertex = corner1
            else:
                vertex = corner2
            replaces_start = (pixels[start, 1 - axis] >= line) == (pixels[vertex, 1 - axis] >= line)
            kept, replaced = (stop, start) if replaces_start else (start, stop)
            next_crossing = (_crossing_of_edge(pixels, kept, vertex, axis, line) - at) * direction
            if next_crossing < crossing:
                end = SILHOUETTE  # the next face folds back under this one
            elif next_crossing >= crossing:
                face, crossing, start, stop = next_face, next_crossing, kept, vertex
                edge = 0 if corner0 == replaced else (1 if corner1 == replaced else 2)
            else:
                end = NO_SILHOUETTE  # not a number: the next face reaches behind the eye, or is no triangle
    if end == SILHOUETTE and crossing < -CROSSING_TOLERANCE:
        end = NO_SILHOUETTE
    return end, crossing, start, stop


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def _examine_own_edges(pixels, faces, adjacent, face, axis, line, at, direction):
    """nvdiffrast's rule: the furthest edge of the pixel's own face, if it is a silhouette and steep.

    Returns as `walk`.
    """
    edge, crossing = _furthest_edge(pixels, faces, face, axis, line, at, direction)
    if edge < 0 or crossing < -CROSSING_TOLERANCE or crossing > 1.0 + CROSSING_TOLERANCE:
        return NO_SILHOUETTE, 0.0, 0, 0
    start, stop = faces[face, (edge + 1) % 3], faces[face, (edge + 2) % 3]
    run = pixels[stop, axis] - pixels[start, axis]
    rise = pixels[stop, 1 - axis] - pixels[start, 1 - axis]
    if abs(rise) < abs(run):
        return NO_SILHOUETTE, 0.0, 0, 0
    next_face = adjacent[face, edge]
    if next_face >= 0:
        own_side = _side(pixels, start, run, rise, axis, faces[face, edge])
        for corner in range(3):
            vertex = faces[next_face, corner]
            if vertex != start and vertex != stop and _side(pixels, start, run, rise, axis, vertex) * own_side <= 0.0:
                return NO_SILHOUETTE, 0.0, 0, 0
    return SILHOUETTE, crossing, start, stop


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def _side(pixels, start, run, rise, axis, vertex):
    """Positive on one side of an edge, negative on the other."""
    along = pixels[vertex, axis] - pixels[start, axis]
    across = pixels[vertex, 1 - axis] - pixels[start, 1 - axis]
    return run * across - rise * along


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def steepness(pixels, start, stop, axis):
    """How squarely an edge crosses an axis: the square of that component of its unit normal in the image."""
    run = pixels[stop, axis] - pixels[start, axis]
    rise = pixels[stop, 1 - axis] - pixels[start, 1 - axis]
    return rise * rise / (run * run + rise * rise)


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def blend_crossings(indices, numbers, colours, blended):
    """Blends across the crossings.

    Args:
        indices, numbers: Of `find_crossings`.
        colours: float32 [pixels, channels].
        blended: float32 [pixels, channels], a copy of `colours`; changed.
    """
    for index in range(len(indices)):
        inner, outer = indices[index, INNER_PIXEL], indices[index, OUTER_PIXEL]
        crossing = numbers[index, CROSSING_AT]
        # The silhouette lies in the inner pixel, which lacks a share of what is behind, or in the outer one.
        target, source = (inner, outer) if crossing < 0.5 else (outer, inner)
        share = np.float32(abs(0.5 - crossing) * numbers[index, BLEND_WEIGHT])
        for channel in range(colours.shape[1]):
            blended[target, channel] += share * (colours[source, channel] - colours[target, channel])


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def blend_crossings_backward(
    indices,
    numbers,
    colours,
    positions,
    height,
    width,
    blended_gradient,
    colour_gradient,
    position_gradient,
):
    """The gradients of `blend_crossings`.

    Args:
        blended_gradient: float32 [pixels, channels].
        colour_gradient: float32 [pixels, channels], a copy of `blended_gradient`, changed; or empty when not wanted.
        position_gradient: float32 [vertices, 4], added to; or empty when not wanted. z gets nothing.

    The weights of the blends count as constants. A crossing that lay beyond a centre has no gradient by the positions.
    """
    wants_colours = colour_gradient.shape[0] > 0
    wants_positions = position_gradient.shape[0] > 0
    half_sizes = (0.5 * width, 0.5 * height)
    for index in range(len(indices)):
        inner, outer = indices[index, INNER_PIXEL], indices[index, OUTER_PIXEL]
        crossing = numbers[index, CROSSING_AT]
        weight = numbers[index, BLEND_WEIGHT]
        target, source = (inner, outer) if crossing < 0.5 else (outer, inner)
        if wants_colours:
            share = np.float32(abs(0.5 - crossing) * weight)
            for channel in range(colours.shape[1]):
                toward = share * blended_gradient[target, channel]
                colour_gradient[source, channel] += toward
                colour_gradient[target, channel] -= toward
        if not wants_positions:
            continue
        if crossing <= 0.0 or crossing >= 1.0:
            continue
        # On either side of 0.5 the target changes with the crossing by weight * (inner - outer).
        toward_crossing = 0.0
        for channel in range(colours.shape[1]):
            toward_crossing += blended_gradient[target, channel] * (colours[inner, channel] - colours[outer, channel])
        toward_crossing *= weight
        if toward_crossing == 0.0:
            continue
        axis = indices[index, AXIS]
        line = inner // width if axis == 0 else inner % width
        toward_along = toward_crossing if outer > inner else -toward_crossing
        start, stop = indices[index, EDGE_START], indices[index, EDGE_END]
        along0, across0, w0, along1, across1, w1 = pass_to_edge(
            positions, start, stop, axis, line, half_sizes[axis], half_sizes[1 - axis], toward_along
        )
        position_gradient[start, axis] += along0
        position_gradient[start, 1 - axis] += across0
        position_gradient[start, 3] += w0
        position_gradient[stop, axis] += along1
        position_gradient[stop, 1 - axis] += across1
        position_gradient[stop, 3] += w1


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def pass_to_edge(positions, start, stop, axis, line, half_along, half_across, toward_along):
    """What a crossing passes on to the ends of its edge.

    Args:
        half_along, half_across: Half the size of the image in pixels, along the axis and across it.
        toward_along: The gradient towards the place of the crossing on its line of pixels.

    Returns:
        The gradients towards the coordinate along the axis, that across it, and w; of the start and of the stop.
    """
    w0, w1 = np.float64(positions[start, 3]), np.float64(positions[stop, 3])
    along0, along1 = positions[start, axis] / w0, positions[stop, axis] / w1  # in [-1, 1] within the image
    across0, across1 = positions[start, 1 - axis] / w0, positions[stop, 1 - axis] / w1
    run, rise = (along1 - along0) * half_along, (across1 - across0) * half_across  # pixels
    if rise == 0.0:
        return 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    fraction = min(max((line + 0.5 - (across0 + 1.0) * half_across) / rise, 0.0), 1.0)
    slope = run / rise  # may be large, but then the weight is small: their product is n_x n_y
    # crossing = along0 + (line - across0) * slope, in pixels; pixels = (clip / w + 1) * half size - 0.5.
    toward0, toward1 = toward_along * (1.0 - fraction), toward_along * fraction
    clip_along0, clip_across0 = toward0 * half_along / w0, -toward0 * slope * half_across / w0
    clip_along1, clip_across1 = toward1 * half_along / w1, -toward1 * slope * half_across / w1
    return (
        clip_along0,
        clip_across0,
        -(clip_along0 * along0 + clip_across0 * across0),
        clip_along1,
        clip_across1,
        -(clip_along1 * along1 + clip_across1 * across1),
    )
