"""Edge collapse that keeps a surface a surface, compiled by numba: one thread, no GIL, indices not checked.

Quadric error metrics (Garland and Heckbert 1997) with the link condition (Dey et al. 1999): an edge is collapsed only
if its ends have no other common neighbours than the corners opposite to it. Slower than fast-simplification, which has
no such condition, but what was closed stays closed, and holes and parts stay as they are.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

_BORDER_WEIGHT = 10.0
_LEAST_NORMAL_COSINE = 0.2  # a face may turn by no more than 78 degrees in one collapse


@njit(nogil=True, cache=True)
@no_type_check
def _add_plane(quadric, nx, ny, nz, offset, weight):
    """Adds weight * (n . x + offset)^2, as the 10 coefficients xx xy xz x yy yz y zz z 1."""
    quadric[0] += weight * nx * nx
    quadric[1] += weight * nx * ny
    quadric[2] += weight * nx * nz
    quadric[3] += weight * nx * offset
    quadric[4] += weight * ny * ny
    quadric[5] += weight * ny * nz
    quadric[6] += weight * ny * offset
    quadric[7] += weight * nz * nz
    quadric[8] += weight * nz * offset
    quadric[9] += weight * offset * offset


@njit(nogil=True, cache=True)
@no_type_check
def _cross_from(origin, first, second):
    """(first - origin) x (second - origin)."""
    ux, uy, uz = first[0] - origin[0], first[1] - origin[1], first[2] - origin[2]
    vx, vy, vz = second[0] - origin[0], second[1] - origin[1], second[2] - origin[2]
    return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx


@njit(nogil=True, cache=True)
@no_type_check
def _error(q, x, y, z):
    value = q[0] * x * x + 2 * q[1] * x * y + 2 * q[2] * x * z + 2 * q[3] * x
    value += q[4] * y * y + 2 * q[5] * y * z + 2 * q[6] * y + q[7] * z * z + 2 * q[8] * z + q[9]
    return max(value, 0.0)


@njit(nogil=True, cache=True)
@no_type_check
def _best_point(positions, quadrics, is_border, first, second, quadric, point):
    """Writes the point with the least error for two merged vertices into `point` and returns that error.

    `quadric` [10] is working space. Loops and numbers instead of array expressions: they compile much faster.
    """
    for i in range(10):
        quadric[i] = quadrics[first, i] + quadrics[second, i]
    ax, ay, az = positions[first, 0], positions[first, 1], positions[first, 2]
    bx, by, bz = positions[second, 0], positions[second, 1], positions[second, 2]
    mx, my, mz = 0.5 * (ax + bx), 0.5 * (ay + by), 0.5 * (az + bz)
    length_squared = (ax - bx) ** 2 + (ay - by) ** 2 + (az - bz) ** 2
    # A trace of attraction to the middle of the edge: on a plane every point has error 0.
    slight = 1e-6 * (quadric[0] + quadric[4] + quadric[7]) + 1e-30
    # Where the errors are equal, as on a plane, the shorter edge goes first.
    extra = slight * length_squared
    if is_border[first] != is_border[second]:
        kept = first if is_border[first] else second
        point[0], point[1], point[2] = positions[kept, 0], positions[kept, 1], positions[kept, 2]
        return _error(quadric, point[0], point[1], point[2]) + extra

    point[0], point[1], point[2] = mx, my, mz
    best = _error(quadric, mx, my, mz)
    error = _error(quadric, ax, ay, az)
    if error < best:
        best = error
        point[0], point[1], point[2] = ax, ay, az
    error = _error(quadric, bx, by, bz)
    if error < best:
        best = error
        point[0], point[1], point[2] = bx, by, bz
    a, b, c = quadric[0] + slight, quadric[1], quadric[2]
    d, e, f = quadric[4] + slight, quadric[5], quadric[7] + slight
    rx, ry, rz = slight * mx - quadric[3], slight * my - quadric[6], slight * mz - quadric[8]
    determinant = a * (d * f - e * e) - b * (b * f - e * c) + c * (b * e - d * c)
    if determinant > 0:
        x = (rx * (d * f - e * e) - b * (ry * f - e * rz) + c * (ry * e - d * rz)) / determinant
        y = (a * (ry * f - e * rz) - rx * (b * f - e * c) + c * (b * rz - ry * c)) / determinant
        z = (a * (d * rz - ry * e) - b * (b * rz - ry * c) + rx * (b * e - d * c)) / determinant
        # An ill-conditioned system throws the point far away.
        if (x - mx) ** 2 + (y - my) ** 2 + (z - mz) ** 2 <= 4 * length_squared:
            error = _error(quadric, x, y, z)
            if error < best:
                best = error
                point[0], point[1], point[2] = x, y, z
    return best + extra


@njit(nogil=True, cache=True)
@no_type_check
def _push(costs, entries, count, cost, first, second, stamp):
    """Adds an entry to a binary heap kept in arrays; they grow as needed."""
    if count == len(costs):
        more_costs = np.empty(2 * count, np.float64)
        more_costs[:count] = costs
        more_entries = np.empty((2 * count, 3), np.int64)
        more_entries[:count] = entries
        costs, entries = more_costs, more_entries
    place = count
    while place > 0 and costs[(place - 1) >> 1] > cost:
        parent = (place - 1) >> 1
        costs[place] = costs[parent]
        for i in range(3):
            entries[place, i] = entries[parent, i]
        place = parent
    costs[place] = cost
    entries[place, 0], entries[place, 1], entries[place, 2] = first, second, stamp
    return costs, entries, count + 1


@njit(nogil=True, cache=True)
@no_type_check
def _drop_first(costs, entries, count):
    """Removes the cheapest entry of the heap."""
    count -= 1
    cost = costs[count]
    first, second, stamp = entries[count, 0], entries[count, 1], entries[count, 2]
    place = 0
    while True:
        child = 2 * place + 1
        if child >= count:
            break
        if child + 1 < count and costs[child + 1] < costs[child]:
            child += 1
        if costs[child] >= cost:
            break
        costs[place] = costs[child]
        for i in range(3):
            entries[place, i] = entries[child, i]
        place = child
    costs[place] = cost
    entries[place, 0], entries[place, 1], entries[place, 2] = first, second, stamp
    return count


@njit(nogil=True, cache=True)
@no_type_check
def _turns_a_face(positions, faces, is_gone, first_slot, next_slot, vertex, other, point):
    """True if moving `vertex` to `point` flips or flattens one of its faces that does not vanish (touches `other`)."""
    slot = first_slot[vertex]
    while slot >= 0:
        face = slot // 3
        if not is_gone[face]:
            corner = slot % 3
            b, c = faces[face, (corner + 1) % 3], faces[face, (corner + 2) % 3]
            if b != other and c != other:
                old_x, old_y, old_z = _cross_from(positions[vertex], positions[b], positions[c])
                new_x, new_y, new_z = _cross_from(point, positions[b], positions[c])
                old_size = np.sqrt(old_x * old_x + old_y * old_y + old_z * old_z)
                new_size = np.sqrt(new_x * new_x + new_y * new_y + new_z * new_z)
                if old_x * new_x + old_y * new_y + old_z * new_z <= _LEAST_NORMAL_COSINE * old_size * new_size:
                    return True
        slot = next_slot[slot]
    return False


@njit(nogil=True, cache=True)
@no_type_check
def collapse_edges(positions, faces, is_border, face_budget):
    """Collapses the cheapest edges until the budget is reached or no edge can be collapsed.

    Args:
        positions: float64 [vertices, 3], changed.
        faces: int32 [faces, 3], changed. A vertex whose faces form more than one fan (two cones that touch at their
            tips) is left alone by the link condition.
        is_border: bool [vertices], whether an open edge ends at the vertex.
        face_budget: How many faces may be left.

    Returns:
        bool [faces], the faces that are left.
    """
    vertex_count, face_count = len(positions), len(faces)
    is_gone = np.zeros(face_count, np.bool_)
    first_slot = np.full(vertex_count, -1, np.int64)
    last_slot = np.full(vertex_count, -1, np.int64)
    next_slot = np.full(3 * face_count, -1, np.int64)
    quadrics = np.zeros((vertex_count, 10), np.float64)
    for face in range(face_count):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        nx, ny, nz = _cross_from(positions[a], positions[b], positions[c])
        size = np.sqrt(nx * nx + ny * ny + nz * nz)
        if size > 0:
            nx, ny, nz = nx / size, ny / size, nz / size
        offset = -(nx * positions[a, 0] + ny * positions[a, 1] + nz * positions[a, 2])
        for corner in range(3):
            vertex, slot = faces[face, corner], 3 * face + corner
            _add_plane(quadrics[vertex], nx, ny, nz, offset, size)
            if first_slot[vertex] < 0:
                first_slot[vertex] = slot
            else:
                next_slot[last_slot[vertex]] = slot
            last_slot[vertex] = slot
            start, end = faces[face, corner], faces[face, (corner + 1) % 3]
            if is_border[start] and is_border[end]:
                # A plane through the edge, upright on the face, holds open edges in place (and a few others near them).
                ex = positions[end, 0] - positions[start, 0]
                ey = positions[end, 1] - positions[start, 1]
                ez = positions[end, 2] - positions[start, 2]
                ux, uy, uz = ey * nz - ez * ny, ez * nx - ex * nz, ex * ny - ey * nx
                length = np.sqrt(ux * ux + uy * uy + uz * uz)
                if length > 0:
                    ux, uy, uz = ux / length, uy / length, uz / length
                lever = -(ux * positions[start, 0] + uy * positions[start, 1] + uz * positions[start, 2])
                weight = _BORDER_WEIGHT * length * length
                _add_plane(quadrics[start], ux, uy, uz, lever, weight)
                _add_plane(quadrics[end], ux, uy, uz, lever, weight)

    stamps = np.zeros(vertex_count, np.int64)
    point, quadric = np.empty(3, np.float64), np.empty(10, np.float64)
    costs, entries, count = np.empty(3 * face_count, np.float64), np.empty((3 * face_count, 3), np.int64), 0
    for face in range(face_count):
        for corner in range(3):
            start, end = faces[face, corner], faces[face, (corner + 1) % 3]
            if start < end or (is_border[start] and is_border[end]):
                cost = _best_point(positions, quadrics, is_border, start, end, quadric, point)
                costs, entries, count = _push(costs, entries, count, cost, start, end, 0)

    marks = np.zeros(vertex_count, np.int64)
    mark = 0
    left = face_count
    while left > face_budget and count > 0:
        keep, drop, stamp = entries[0, 0], entries[0, 1], entries[0, 2]
        count = _drop_first(costs, entries, count)
        if stamps[keep] < 0 or stamps[drop] < 0 or stamps[keep] + stamps[drop] != stamp:
            continue  # one of the ends has moved since, and the edge was put in again

        # The link condition: common neighbours are opposite corners of common faces, and nothing else.
        mark += 1
        kept_valence, dropped_valence = 0, 0
        slot = first_slot[keep]
        while slot >= 0:
            face = slot // 3
            if not is_gone[face]:
                kept_valence += 1
                marks[faces[face, (slot + 1) % 3]] = mark
                marks[faces[face, (slot + 2) % 3]] = mark
            slot = next_slot[slot]
        common_neighbours, common_faces = 0, 0
        slot = first_slot[drop]
        while slot >= 0:
            face = slot // 3
            if not is_gone[face]:
                dropped_valence += 1
                for step in range(1, 3):
                    neighbour = faces[face, (slot % 3 + step) % 3]
                    if neighbour == keep:
                        common_faces += 1
                    elif marks[neighbour] == mark:
                        common_neighbours += 1
                        marks[neighbour] = -1
            slot = next_slot[slot]
        if common_faces == 0 or common_faces > 2 or common_neighbours != common_faces:
            continue
        if common_faces == 2 and is_border[keep] and is_border[drop]:
            continue  # would pinch the surface between two borders
        if common_faces == 2 and kept_valence + dropped_valence < 7 and not (is_border[keep] or is_border[drop]):
            continue  # a tetrahedron has nothing to lose
        _best_point(positions, quadrics, is_border, keep, drop, quadric, point)
        if _turns_a_face(positions, faces, is_gone, first_slot, next_slot, keep, drop, point) or _turns_a_face(
            positions, faces, is_gone, first_slot, next_slot, drop, keep, point
        ):
            continue

        for axis in range(3):
            positions[keep, axis] = point[axis]
        for i in range(10):
            quadrics[keep, i] += quadrics[drop, i]
        is_border[keep] = is_border[keep] or is_border[drop]
        slot = first_slot[drop]
        while slot >= 0:
            face = slot // 3
            if not is_gone[face]:
                if faces[face, 0] == keep or faces[face, 1] == keep or faces[face, 2] == keep:
                    is_gone[face] = True
                    left -= 1
                else:
                    faces[face, slot % 3] = keep
            slot = next_slot[slot]
        next_slot[last_slot[keep]] = first_slot[drop]
        last_slot[keep] = last_slot[drop]
        stamps[drop] = -1
        stamps[keep] += 1
        # Every edge at the moved vertex costs something else now.
        mark += 1
        slot = first_slot[keep]
        while slot >= 0:
            face = slot // 3
            if not is_gone[face]:
                for step in range(1, 3):
                    neighbour = faces[face, (slot % 3 + step) % 3]
                    if marks[neighbour] != mark:
                        marks[neighbour] = mark
                        cost = _best_point(positions, quadrics, is_border, keep, neighbour, quadric, point)
                        costs, entries, count = _push(
                            costs, entries, count, cost, keep, neighbour, stamps[keep] + stamps[neighbour]
                        )
            slot = next_slot[slot]
    return ~is_gone
