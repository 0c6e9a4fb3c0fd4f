"""Loops over the tetrahedral lattice, compiled by numba for the CPU.

They release the GIL, use one thread and no atomics, so that the same input gives the same bits. Indices are not checked
here: the callers do that. `no_type_check` keeps the type checker of the tests away from what numba compiles.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
@no_type_check
def refine_lattice(coarse, refined):
    """Adds to `refined` [2n-1]^3 the trilinear interpolation of `coarse` [n]^3."""
    side = coarse.shape[0]
    fine_side = 2 * side - 1
    half = coarse.dtype.type(0.5)
    plane = np.empty((side, side), coarse.dtype)
    row = np.empty(side, coarse.dtype)
    for x in range(fine_side):
        low_x, high_x = x // 2, (x + 1) // 2
        for y in range(side):
            for z in range(side):
                plane[y, z] = half * (coarse[low_x, y, z] + coarse[high_x, y, z])
        for y in range(fine_side):
            low_y, high_y = y // 2, (y + 1) // 2
            for z in range(side):
                row[z] = half * (plane[low_y, z] + plane[high_y, z])
            for z in range(side - 1):
                refined[x, y, 2 * z] += row[z]
                refined[x, y, 2 * z + 1] += half * (row[z] + row[z + 1])
            refined[x, y, fine_side - 1] += row[side - 1]


@njit(nogil=True, cache=True)
@no_type_check
def refine_lattice_backward(fine, coarse):
    """The transposed of `refine_lattice`: writes the gradient for `coarse` from that for `refined`."""
    side = coarse.shape[0]
    fine_side = 2 * side - 1
    half = coarse.dtype.type(0.5)
    plane = np.empty((fine_side, fine_side), coarse.dtype)
    row = np.empty(fine_side, coarse.dtype)
    for x in range(side):
        low_x, high_x = 2 * x - 1, 2 * x + 1
        for y in range(fine_side):
            for z in range(fine_side):
                plane[y, z] = fine[2 * x, y, z]
            if low_x >= 0:
                for z in range(fine_side):
                    plane[y, z] += half * fine[low_x, y, z]
            if high_x < fine_side:
                for z in range(fine_side):
                    plane[y, z] += half * fine[high_x, y, z]
        for y in range(side):
            for z in range(fine_side):
                row[z] = plane[2 * y, z]
            if y > 0:
                for z in range(fine_side):
                    row[z] += half * plane[2 * y - 1, z]
            if y < side - 1:
                for z in range(fine_side):
                    row[z] += half * plane[2 * y + 1, z]
            coarse[x, y, 0] = row[0] + half * row[1]
            for z in range(1, side - 1):
                coarse[x, y, z] = row[2 * z] + half * (row[2 * z - 1] + row[2 * z + 1])
            coarse[x, y, side - 1] = row[fine_side - 1] + half * row[fine_side - 2]


@njit(nogil=True, cache=True)
@no_type_check
def find_crossed_cubes(inside, triangle_counts, bit_counts, cubes, codes, first_crossing, crossed_directions):
    """Finds the cubes that the surface passes through, in the order of their lowest vertex.

    Args:
        inside: uint8 [side]^3, 1 for inside; the outermost layer is all 0.
        triangle_counts: uint8 [256], of `CubeCases`.
        bit_counts: uint8 [256], how many bits of a number are set.
        cubes: int32 [side^3], written: lowest vertex of each crossed cube.
        codes: uint8 [side^3], written: which corners of it are inside.
        first_crossing: int32 [side^3], written at the lowest vertices of crossed cubes only: the number of the first
            crossing on an edge that starts there.
        crossed_directions: uint8 [side^3], written as `first_crossing`: bit d - 1 is set when direction d is crossed.

    Returns:
        How many cubes, crossings and triangles there are.
    """
    side = inside.shape[0]
    column = np.empty(side, np.uint8)
    cube_count = 0
    crossing_count = 0
    triangle_count = 0
    for x in range(side - 1):
        for y in range(side - 1):
            for z in range(side):
                column[z] = (
                    inside[x, y, z]
                    | (inside[x, y + 1, z] << 2)
                    | (inside[x + 1, y, z] << 4)
                    | (inside[x + 1, y + 1, z] << 6)
                )
            start = (x * side + y) * side
            for z in range(side - 1):
                # Signed, because numba makes a float of uint64 with int64.
                low = np.int64(column[z])
                high = np.int64(column[z + 1])
                if low == high and (low == 0 or low == 0x55):
                    continue
                code = low | (high << 1)
                vertex = start + z
                crossed = ((code ^ 0xFF) if code & 1 else code) >> 1
                cubes[cube_count] = vertex
                codes[cube_count] = code
                first_crossing[vertex] = crossing_count
                crossed_directions[vertex] = crossed
                cube_count += 1
                crossing_count += bit_counts[crossed]
                triangle_count += triangle_counts[code]
    return cube_count, crossing_count, triangle_count


@njit(nogil=True, cache=True)
@no_type_check
def fill_surface(
    cubes,
    codes,
    first_crossing,
    crossed_directions,
    vertex_steps,
    triangle_counts,
    triangle_edges,
    bit_counts,
    edges,
    faces,
):
    """Writes the crossed edges [crossings, 2] (lattice vertices) and the faces [triangles, 3], both int32."""
    crossing = 0
    face = 0
    for cube in range(len(cubes)):
        vertex = cubes[cube]
        crossed = np.int64(crossed_directions[vertex])
        for direction in range(1, 8):
            if crossed >> (direction - 1) & 1:
                edges[crossing, 0] = vertex
                edges[crossing, 1] = vertex + vertex_steps[direction]
                crossing += 1
        code = codes[cube]
        for triangle in range(triangle_counts[code]):
            for corner in range(3):
                edge = np.int64(triangle_edges[code, triangle, corner])
                start = vertex + vertex_steps[edge >> 3]
                lower_directions = (1 << ((edge & 7) - 1)) - 1
                faces[face, corner] = first_crossing[start] + bit_counts[crossed_directions[start] & lower_directions]
            face += 1


@njit(nogil=True, inline="always")
@no_type_check
def _distance_at(distances, vertex, x, y, z, side, smallest, wall):
    """The distance that the marching uses; see `marching_tetrahedra`. NaN stays NaN."""
    distance = distances[vertex]
    if x == 0 or y == 0 or z == 0 or x == side - 1 or y == side - 1 or z == side - 1:
        return wall if distance < wall else distance
    if distance < 0:
        return -smallest if distance > -smallest else distance
    return smallest if distance < smallest else distance


@njit(nogil=True, cache=True)
@no_type_check
def place_crossings(distances, edges, side, half_extent, smallest, wall, offsets, positions):
    """Writes where the surface crosses the edges.

    Args:
        distances: [side^3].
        edges: int32 [crossings, 2].
        smallest: Least size of a distance.
        wall: Least distance on the outermost layer.
        offsets: [3, side^3], or [3, 0] for none.
        positions: [crossings, 3], written.
    """
    cell = distances.dtype.type(2 * half_extent / (side - 1))
    half_extent = distances.dtype.type(half_extent)
    smallest = distances.dtype.type(smallest)
    wall = distances.dtype.type(wall)
    has_offsets = offsets.shape[1] > 0
    lower = np.empty(3, distances.dtype)
    upper = np.empty(3, distances.dtype)
    for crossing in range(len(edges)):
        first = edges[crossing, 0]
        second = edges[crossing, 1]
        x1, y1, z1 = first // (side * side), first // side % side, first % side
        x2, y2, z2 = second // (side * side), second // side % side, second % side
        distance1 = _distance_at(distances, first, x1, y1, z1, side, smallest, wall)
        distance2 = _distance_at(distances, second, x2, y2, z2, side, smallest, wall)
        share = distance1 / (distance1 - distance2)
        lower[0], lower[1], lower[2] = x1, y1, z1
        upper[0], upper[1], upper[2] = x2, y2, z2
        for axis in range(3):
            lower[axis] = lower[axis] * cell - half_extent
            upper[axis] = upper[axis] * cell - half_extent
            if has_offsets:
                lower[axis] += offsets[axis, first]
                upper[axis] += offsets[axis, second]
            positions[crossing, axis] = lower[axis] + share * (upper[axis] - lower[axis])


@njit(nogil=True, cache=True)
@no_type_check
def place_crossings_backward(
    distances, edges, side, half_extent, smallest, wall, offsets, gradient, distance_gradient, offset_gradient
):
    """Adds the gradients for `distances` and `offsets` from that for `positions`; `offset_gradient` may be [3, 0].

    Raising a distance to `smallest` passes its gradient on as if nothing had happened, or a vertex whose distance is
    zero could never move again; the distances behind `wall` get none.
    """
    cell = distances.dtype.type(2 * half_extent / (side - 1))
    smallest = distances.dtype.type(smallest)
    wall = distances.dtype.type(wall)
    has_offsets = offsets.shape[1] > 0
    wants_offsets = offset_gradient.shape[1] > 0
    one = distances.dtype.type(1)
    step = np.empty(3, distances.dtype)
    for crossing in range(len(edges)):
        first = edges[crossing, 0]
        second = edges[crossing, 1]
        x1, y1, z1 = first // (side * side), first // side % side, first % side
        x2, y2, z2 = second // (side * side), second // side % side, second % side
        distance1 = _distance_at(distances, first, x1, y1, z1, side, smallest, wall)
        distance2 = _distance_at(distances, second, x2, y2, z2, side, smallest, wall)
        span = distance1 - distance2
        share = distance1 / span
        step[0] = (x2 - x1) * cell
        step[1] = (y2 - y1) * cell
        step[2] = (z2 - z1) * cell
        if has_offsets:
            for axis in range(3):
                step[axis] += offsets[axis, second] - offsets[axis, first]
        along = (
            gradient[crossing, 0] * step[0] + gradient[crossing, 1] * step[1] + gradient[crossing, 2] * step[2]
        ) / (span * span)
        on_wall1 = x1 == 0 or y1 == 0 or z1 == 0
        on_wall2 = x2 == side - 1 or y2 == side - 1 or z2 == side - 1
        if not (on_wall1 and distances[first] < wall):
            distance_gradient[first] -= along * distance2
        if not (on_wall2 and distances[second] < wall):
            distance_gradient[second] += along * distance1
        if wants_offsets:
            for axis in range(3):
                offset_gradient[axis, first] += (one - share) * gradient[crossing, axis]
                offset_gradient[axis, second] += share * gradient[crossing, axis]
