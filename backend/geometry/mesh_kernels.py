"""Loops over triangle meshes, compiled by numba for the CPU: one thread, no GIL, no atomics, indices not checked."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
@no_type_check
def pair_faces_at_edges(faces, first_slot, slots, edges, edge_faces):
    """Finds the edges of a mesh and the faces on their two sides, in O(faces).

    Half-edges are put into buckets by their lower vertex (a counting sort), and matched inside a bucket by the upper
    one. A third face at the same edge opens the edge again, so that faces 1 and 2, 3 and 4, ... are paired.

    Args:
        faces: int32 [faces, 3].
        first_slot: int32 [vertices + 1], zeros.
        slots: int32 [3 * faces, 2], written: edge number and upper vertex; edge numbers of paired edges become -1.
        edges: int32 [3 * faces, 2], written: lower and upper vertex.
        edge_faces: int32 [3 * faces, 2], written: the faces on the sides, the second -1 at a border.

    Returns:
        How many edges there are.
    """
    for face in range(len(faces)):
        for corner in range(3):
            first_slot[min(faces[face, corner], faces[face, (corner + 1) % 3]) + 1] += 1
    for vertex in range(1, len(first_slot)):
        first_slot[vertex] += first_slot[vertex - 1]
    end_slot = first_slot.copy()
    edge_count = 0
    for face in range(len(faces)):
        for corner in range(3):
            start = faces[face, corner]
            end = faces[face, (corner + 1) % 3]
            lower = min(start, end)
            upper = max(start, end)
            slot = first_slot[lower]
            while slot < end_slot[lower] and not (slots[slot, 1] == upper and slots[slot, 0] >= 0):
                slot += 1
            if slot < end_slot[lower]:
                edge_faces[slots[slot, 0], 1] = face
                slots[slot, 0] = -1
            else:
                slots[slot, 0] = edge_count
                slots[slot, 1] = upper
                end_slot[lower] += 1
                edges[edge_count, 0] = lower
                edges[edge_count, 1] = upper
                edge_faces[edge_count, 0] = face
                edge_faces[edge_count, 1] = -1
                edge_count += 1
    return edge_count


@njit(nogil=True, cache=True)
@no_type_check
def normal_consistency_with_gradient(positions, faces, edge_faces, by_area, gradient):
    """The mean of 1 - cosine over the edges between two faces; adds its derivative to `gradient` [vertices, 3].

    Args:
        positions: [vertices, 3].
        faces: int32 [faces, 3].
        edge_faces: int32 [edges, 2].
        by_area: Whether an edge weighs as much as the smaller of its two faces, or each the same.
        gradient: [vertices, 3], zeros.
    """
    normals = np.empty((len(faces), 3), positions.dtype)
    sizes = np.empty(len(faces), positions.dtype)  # twice the areas
    normal_gradient = np.zeros((len(faces), 3), positions.dtype)
    for face in range(len(faces)):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        ux, uy, uz = (
            positions[b, 0] - positions[a, 0],
            positions[b, 1] - positions[a, 1],
            positions[b, 2] - positions[a, 2],
        )
        vx, vy, vz = (
            positions[c, 0] - positions[a, 0],
            positions[c, 1] - positions[a, 1],
            positions[c, 2] - positions[a, 2],
        )
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        size = np.sqrt(nx * nx + ny * ny + nz * nz)
        sizes[face] = size
        inverse = 1 / size if size > 0 else positions.dtype.type(0)
        normals[face, 0], normals[face, 1], normals[face, 2] = nx * inverse, ny * inverse, nz * inverse

    total = 0.0
    total_weight = 0.0
    for edge in range(len(edge_faces)):
        first, second = edge_faces[edge, 0], edge_faces[edge, 1]
        if second < 0 or sizes[first] == 0 or sizes[second] == 0:
            continue
        weight = min(sizes[first], sizes[second]) if by_area else positions.dtype.type(1)
        cosine = positions.dtype.type(0)
        for axis in range(3):
            cosine += normals[first, axis] * normals[second, axis]
            normal_gradient[first, axis] -= weight * normals[second, axis]
            normal_gradient[second, axis] -= weight * normals[first, axis]
        total += weight * (1 - cosine)
        total_weight += weight
    if total_weight == 0:
        return 0.0

    for face in range(len(faces)):
        if sizes[face] == 0:
            continue
        nx, ny, nz = normals[face, 0], normals[face, 1], normals[face, 2]
        gx, gy, gz = normal_gradient[face, 0], normal_gradient[face, 1], normal_gradient[face, 2]
        along = gx * nx + gy * ny + gz * nz
        # Through the normalisation and the mean; what is left is the derivative by the cross product.
        factor = positions.dtype.type(1 / (sizes[face] * total_weight))
        gx, gy, gz = (gx - along * nx) * factor, (gy - along * ny) * factor, (gz - along * nz) * factor
        for corner in range(3):
            # The derivative of (b - a) x (c - a) by a corner, times g: (opposite edge) x g.
            vertex = faces[face, corner]
            start, end = faces[face, (corner + 1) % 3], faces[face, (corner + 2) % 3]
            ex = positions[end, 0] - positions[start, 0]
            ey = positions[end, 1] - positions[start, 1]
            ez = positions[end, 2] - positions[start, 2]
            gradient[vertex, 0] -= ey * gz - ez * gy
            gradient[vertex, 1] -= ez * gx - ex * gz
            gradient[vertex, 2] -= ex * gy - ey * gx
    return total / total_weight


@njit(nogil=True, cache=True)
@no_type_check
def laplacian_with_gradient(positions, edges, gradient):
    """The mean length of (mean of the neighbours - vertex); adds its derivative to `gradient` [vertices, 3], zeros."""
    vertex_count = len(positions)
    sums = np.zeros((vertex_count, 3), positions.dtype)
    degrees = np.zeros(vertex_count, positions.dtype)
    for edge in range(len(edges)):
        a, b = edges[edge, 0], edges[edge, 1]
        degrees[a] += 1
        degrees[b] += 1
        for axis in range(3):
            sums[a, axis] += positions[b, axis]
            sums[b, axis] += positions[a, axis]
    used = 0
    total = 0.0
    for vertex in range(vertex_count):
        if degrees[vertex] == 0:
            continue
        used += 1
        size = positions.dtype.type(0)
        for axis in range(3):
            sums[vertex, axis] = sums[vertex, axis] / degrees[vertex] - positions[vertex, axis]
            size += sums[vertex, axis] * sums[vertex, axis]
        size = np.sqrt(size)
        total += size
        # From here on `sums` holds the derivative by the Laplacian, divided by the degree for the neighbours' share.
        for axis in range(3):
            direction = sums[vertex, axis] / size if size > 0 else positions.dtype.type(0)
            gradient[vertex, axis] -= direction
            sums[vertex, axis] = direction / degrees[vertex]
    if used == 0:
        return 0.0
    for edge in range(len(edges)):
        a, b = edges[edge, 0], edges[edge, 1]
        for axis in range(3):
            gradient[a, axis] += sums[b, axis]
            gradient[b, axis] += sums[a, axis]
    scale = positions.dtype.type(1 / used)
    for vertex in range(vertex_count):
        for axis in range(3):
            gradient[vertex, axis] *= scale
    return total / used
