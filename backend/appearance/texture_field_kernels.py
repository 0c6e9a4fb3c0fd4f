"""Trilinear look-up in one grid of a texture field, compiled by numba for the CPU: one thread, no GIL, no atomics.

A grid of resolution r has (r + 1)^3 nodes over [-1, 1]^3. Its table holds one row of `CHANNELS` numbers per node, x
running fastest; a grid with more nodes than rows shares them by the hash of Müller et al. 2022 (equation 4).
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

CHANNELS = 5
"""Known when the kernels are compiled: numbered sums stay in registers, which makes them twice as fast as a loop."""

HASH_PRIMES = (1, 2_654_435_761, 805_459_861)  # Müller et al. 2022, section 3

_Y_PRIME = np.int64(HASH_PRIMES[1])
_Z_PRIME = np.int64(HASH_PRIMES[2])


@njit(inline="always")
@no_type_check
def _cell_and_fraction(coordinate, resolution):
    """The cell that a coordinate lies in and how far through it; outside [-1, 1] (and NaN) the nearest face counts."""
    real = type(coordinate)
    along = (coordinate + real(1)) * (real(0.5) * real(resolution))
    if not along > real(0):  # written this way NaN becomes 0 too, and no index leaves the table
        along = real(0)
    if along > real(resolution):
        along = real(resolution)
    cell = min(np.int64(along), np.int64(resolution - 1))
    return cell, along - real(cell)


@njit(inline="always")
@no_type_check
def _rows_of_pair(x, y, z, resolution, hash_mask):
    """Table rows of the nodes (x, y, z) and (x + 1, y, z)."""
    if hash_mask == 0:
        first = (z * (resolution + 1) + y) * (resolution + 1) + x
        return first, first + 1
    mixed = (y * _Y_PRIME) ^ (z * _Z_PRIME)
    return (x ^ mixed) & hash_mask, ((x + 1) ^ mixed) & hash_mask


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def add_grid_values(positions, table, resolution, hash_mask, values):
    """Adds the interpolated rows of one grid to `values`.

    Args:
        positions: [points, 3].
        table: [rows, CHANNELS].
        resolution: Cells a side.
        hash_mask: Rows - 1 of a hashed table, whose number of rows is a power of two; 0 for one row per node.
        values: [points, CHANNELS], added to.
    """
    real = positions.dtype.type
    for point in range(len(positions)):
        x, along_x = _cell_and_fraction(positions[point, 0], resolution)
        y, along_y = _cell_and_fraction(positions[point, 1], resolution)
        z, along_z = _cell_and_fraction(positions[point, 2], resolution)
        sum_0, sum_1, sum_2, sum_3, sum_4 = real(0), real(0), real(0), real(0), real(0)
        for corner in range(4):
            step_y, step_z = corner & 1, corner >> 1
            weight = (along_y if step_y else real(1) - along_y) * (along_z if step_z else real(1) - along_z)
            near, far = _rows_of_pair(x, y + step_y, z + step_z, resolution, hash_mask)
            near_weight, far_weight = weight * (real(1) - along_x), weight * along_x
            sum_0 += near_weight * table[near, 0] + far_weight * table[far, 0]
            sum_1 += near_weight * table[near, 1] + far_weight * table[far, 1]
            sum_2 += near_weight * table[near, 2] + far_weight * table[far, 2]
            sum_3 += near_weight * table[near, 3] + far_weight * table[far, 3]
            sum_4 += near_weight * table[near, 4] + far_weight * table[far, 4]
        values[point, 0] += sum_0
        values[point, 1] += sum_1
        values[point, 2] += sum_2
        values[point, 3] += sum_3
        values[point, 4] += sum_4


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def add_table_gradient(positions, value_gradient, resolution, hash_mask, table_gradient):
    """The transpose of `add_grid_values`: spreads `value_gradient` [points, CHANNELS] over the rows of the table."""
    real = positions.dtype.type
    for point in range(len(positions)):
        x, along_x = _cell_and_fraction(positions[point, 0], resolution)
        y, along_y = _cell_and_fraction(positions[point, 1], resolution)
        z, along_z = _cell_and_fraction(positions[point, 2], resolution)
        gradient_0, gradient_1 = value_gradient[point, 0], value_gradient[point, 1]
        gradient_2, gradient_3 = value_gradient[point, 2], value_gradient[point, 3]
        gradient_4 = value_gradient[point, 4]
        for corner in range(4):
            step_y, step_z = corner & 1, corner >> 1
            weight = (along_y if step_y else real(1) - along_y) * (along_z if step_z else real(1) - along_z)
            near, far = _rows_of_pair(x, y + step_y, z + step_z, resolution, hash_mask)
            near_weight, far_weight = weight * (real(1) - along_x), weight * along_x
            table_gradient[near, 0] += near_weight * gradient_0
            table_gradient[near, 1] += near_weight * gradient_1
            table_gradient[near, 2] += near_weight * gradient_2
            table_gradient[near, 3] += near_weight * gradient_3
            table_gradient[near, 4] += near_weight * gradient_4
            table_gradient[far, 0] += far_weight * gradient_0
            table_gradient[far, 1] += far_weight * gradient_1
            table_gradient[far, 2] += far_weight * gradient_2
            table_gradient[far, 3] += far_weight * gradient_3
            table_gradient[far, 4] += far_weight * gradient_4


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def add_position_gradient(positions, value_gradient, table, resolution, hash_mask, position_gradient):
    """Adds the derivative by the positions [points, 3]; 0 along an axis on which the point lies outside the grid."""
    real = positions.dtype.type
    nodes_per_metre = real(0.5) * real(resolution)
    for point in range(len(positions)):
        x, along_x = _cell_and_fraction(positions[point, 0], resolution)
        y, along_y = _cell_and_fraction(positions[point, 1], resolution)
        z, along_z = _cell_and_fraction(positions[point, 2], resolution)
        by_x, by_y, by_z = real(0), real(0), real(0)
        for corner in range(4):
            step_y, step_z = corner & 1, corner >> 1
            weight_y = along_y if step_y else real(1) - along_y
            weight_z = along_z if step_z else real(1) - along_z
            near, far = _rows_of_pair(x, y + step_y, z + step_z, resolution, hash_mask)
            at_near, at_far = real(0), real(0)
            for channel in range(CHANNELS):
                at_near += table[near, channel] * value_gradient[point, channel]
                at_far += table[far, channel] * value_gradient[point, channel]
            here = at_near * (real(1) - along_x) + at_far * along_x
            by_x += weight_y * weight_z * (at_far - at_near)
            by_y += here * (weight_z if step_y else -weight_z)
            by_z += here * (weight_y if step_z else -weight_y)
        if abs(positions[point, 0]) <= 1:
            position_gradient[point, 0] += nodes_per_metre * by_x
        if abs(positions[point, 1]) <= 1:
            position_gradient[point, 1] += nodes_per_metre * by_y
        if abs(positions[point, 2]) <= 1:
            position_gradient[point, 2] += nodes_per_metre * by_z
