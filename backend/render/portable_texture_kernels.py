"""Looking textures up for one image on the CPU, compiled by numba.

A texture is a pyramid of levels in one flat array, level 0 first, each half as large as the one before; without mipmaps
it has one level. Texel (i, j) has its centre at ((i + 0.5) / width, (j + 0.5) / height).

Kernels release the GIL, use one thread and no atomics, and check no index: `portable_rasteriser` does.
"""

from __future__ import annotations

from math import floor, log, log2, sqrt
from typing import no_type_check

import numpy as np
from numba import njit

NEAREST, LINEAR, LINEAR_MIPMAP_NEAREST, LINEAR_MIPMAP_LINEAR = 0, 1, 2, 3
"""Filters."""

WRAP, CLAMP, ZERO = 0, 1, 2
"""What lies outside of the texture."""


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def halve_texture(texels, height, width, halved):
    """Writes the means of 2 x 2 texels; a side of 1 stays 1.

    Args:
        texels: float32 [height * width, channels].
        halved: float32 [smaller height * smaller width, channels].
    """
    rows, columns = max(height // 2, 1), max(width // 2, 1)
    step_y, step_x = height // rows, width // columns
    share = np.float32(1.0 / (step_y * step_x))
    for row in range(rows):
        for column in range(columns):
            target = row * columns + column
            for channel in range(texels.shape[1]):
                total = np.float32(0.0)
                for y in range(row * step_y, (row + 1) * step_y):
                    for x in range(column * step_x, (column + 1) * step_x):
                        total += texels[y * width + x, channel]
                halved[target, channel] = total * share


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def halve_texture_backward(texel_gradient, height, width, halved_gradient):
    """Adds the gradient of a level to that of the larger level it was made from."""
    rows, columns = max(height // 2, 1), max(width // 2, 1)
    step_y, step_x = height // rows, width // columns
    share = np.float32(1.0 / (step_y * step_x))
    for y in range(height):
        for x in range(width):
            source = (y // step_y) * columns + x // step_x
            for channel in range(texel_gradient.shape[1]):
                texel_gradient[y * width + x, channel] += share * halved_gradient[source, channel]


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def sample_texture(texels, levels, uv, footprints, filter_code, boundary_code, sampled):
    """Looks the texture up at every pixel.

    Args:
        texels: float32 [texels of all levels, channels].
        levels: int64 [levels, 3]: first texel, height, width.
        uv: float32 [pixels, 2].
        footprints: float32 [pixels, 4]: du/dX, du/dY, dv/dX, dv/dY; empty without mipmaps.
        filter_code, boundary_code: Of this module.
        sampled: float32 [pixels, channels], written.
    """
    channels = texels.shape[1]
    for pixel in range(len(uv)):
        for channel in range(channels):
            sampled[pixel, channel] = 0.0
        if not (np.isfinite(uv[pixel, 0]) and np.isfinite(uv[pixel, 1])):
            continue
        if filter_code == NEAREST:
            texel = nearest_texel(levels, uv[pixel, 0], uv[pixel, 1], boundary_code)
            if texel >= 0:
                for channel in range(channels):
                    sampled[pixel, channel] = texels[texel, channel]
            continue
        first, fraction = choose_levels(levels, footprints, pixel, filter_code)
        for step in range(2 if fraction > 0.0 else 1):
            share = fraction if step else 1.0 - fraction
            corners, right, up, _, _ = four_texels(levels, first + step, uv[pixel, 0], uv[pixel, 1], boundary_code)
            weights = ((1 - right) * (1 - up), right * (1 - up), (1 - right) * up, right * up)
            for corner in range(4):
                texel = corners[corner]
                if texel >= 0:
                    weight = np.float32(share * weights[corner])
                    for channel in range(channels):
                        sampled[pixel, channel] += weight * texels[texel, channel]


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def sample_texture_backward(
    texels,
    levels,
    uv,
    footprints,
    filter_code,
    boundary_code,
    sampled_gradient,
    texel_gradient,
    uv_gradient,
    footprint_gradient,
):
    """Adds to the gradient of the texels, writes those of the uv and of the footprints.

    Args:
        texel_gradient: As `texels`; or empty when not wanted.
        uv_gradient: float32 [pixels, 2], zeros; or empty.
        footprint_gradient: float32 [pixels, 4], zeros; or empty. Only trilinear filtering has one.
    """
    channels = texels.shape[1]
    wants_texels = texel_gradient.shape[0] > 0
    wants_uv = uv_gradient.shape[0] > 0
    wants_footprints = footprint_gradient.shape[0] > 0 and filter_code == LINEAR_MIPMAP_LINEAR
    for pixel in range(len(uv)):
        if not (np.isfinite(uv[pixel, 0]) and np.isfinite(uv[pixel, 1])):
            continue
        is_zero = True
        for channel in range(channels):
            is_zero = is_zero and sampled_gradient[pixel, channel] == 0.0
        if is_zero:
            continue
        if filter_code == NEAREST:
            texel = nearest_texel(levels, uv[pixel, 0], uv[pixel, 1], boundary_code)
            if texel >= 0 and wants_texels:
                for channel in range(channels):
                    texel_gradient[texel, channel] += sampled_gradient[pixel, channel]
            continue
        first, fraction = choose_levels(levels, footprints, pixel, filter_code)
        toward_fraction = 0.0
        for step in range(2 if fraction > 0.0 else 1):
            share = fraction if step else 1.0 - fraction
            level = first + step
            corners, right, up, moves_right, moves_up = four_texels(
                levels, level, uv[pixel, 0], uv[pixel, 1], boundary_code
            )
            weights = ((1 - right) * (1 - up), right * (1 - up), (1 - right) * up, right * up)
            by_right = (up - 1, 1 - up, -up, up)
            by_up = (right - 1, -right, 1 - right, right)
            toward_right = toward_up = toward_share = 0.0
            for corner in range(4):
                texel = corners[corner]
                if texel < 0:
                    continue
                weight = np.float32(share * weights[corner])
                product = 0.0
                for channel in range(channels):
                    gradient = sampled_gradient[pixel, channel]
                    product += gradient * texels[texel, channel]
                    if wants_texels:
                        texel_gradient[texel, channel] += weight * gradient
                toward_right += by_right[corner] * product
                toward_up += by_up[corner] * product
                toward_share += weights[corner] * product
            if wants_uv:
                uv_gradient[pixel, 0] += share * toward_right * levels[level, 2] * moves_right
                uv_gradient[pixel, 1] += share * toward_up * levels[level, 1] * moves_up
            toward_fraction += toward_share if step else -toward_share
        if wants_footprints and fraction > 0.0:
            pass_to_footprint(levels, footprints, pixel, toward_fraction, footprint_gradient)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
@no_type_check
def fraction(coordinate):
    """What a float32 lies above the next lower whole number."""
    # Whole numbers from 2**23 on; beyond 2**63 floor, which makes an int64, would go wrong.
    return coordinate - np.float32(floor(coordinate)) if abs(coordinate) < 2.0**23 else np.float32(0.0)


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def nearest_texel(levels, u, v, boundary_code):
    """The texel of level 0 that holds a point, -1 outside of the texture where that counts as zero."""
    height, width = levels[0, 1], levels[0, 2]
    if boundary_code == WRAP:
        u, v = fraction(u), fraction(v)
    # One texel beyond is as good as any further, and fits int64.
    column = np.int64(floor(min(max(u * width, -1.0), width + 0.0)))
    row = np.int64(floor(min(max(v * height, -1.0), height + 0.0)))
    if boundary_code == ZERO and (column < 0 or column >= width or row < 0 or row >= height):
        return np.int64(-1)
    return min(max(row, 0), height - 1) * width + min(max(column, 0), width - 1)


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def four_texels(levels, level, u, v, boundary_code):
    """The texels around a point, -1 for those that count as zero, and where between them it lies.

    Returns:
        Texels (lower left, lower right, upper left, upper right); the shares of the right and of the upper ones; and
        1.0 or 0.0 each for whether the point moves along with u and with v, which it does not where it was clamped.
    """
    offset, height, width = levels[level, 0], levels[level, 1], levels[level, 2]
    moves_right = moves_up = 1.0
    if boundary_code == WRAP:
        u, v = fraction(u), fraction(v)
    x, y = np.float64(u) * width - 0.5, np.float64(v) * height - 0.5
    if boundary_code == CLAMP:
        if x <= 0.0 or x >= width - 1.0:
            x, moves_right = min(max(x, 0.0), width - 1.0), 0.0
        if y <= 0.0 or y >= height - 1.0:
            y, moves_up = min(max(y, 0.0), height - 1.0), 0.0
    elif boundary_code == ZERO:
        # Everything beyond one texel is zero; this keeps the numbers within int64.
        x, y = min(max(x, -2.0), width + 1.0), min(max(y, -2.0), height + 1.0)
    left, lower = np.int64(floor(x)), np.int64(floor(y))
    right_share, upper_share = x - left, y - lower
    right, upper = left + 1, lower + 1
    if boundary_code == WRAP:
        left, right = left % width, right % width
        lower, upper = lower % height, upper % height
    elif boundary_code == CLAMP:
        right, upper = min(right, width - 1), min(upper, height - 1)
    has_left, has_right = 0 <= left < width, 0 <= right < width
    has_lower, has_upper = 0 <= lower < height, 0 <= upper < height
    nothing = np.int64(-1)
    corners = (
        offset + lower * width + left if has_left and has_lower else nothing,
        offset + lower * width + right if has_right and has_lower else nothing,
        offset + upper * width + left if has_left and has_upper else nothing,
        offset + upper * width + right if has_right and has_upper else nothing,
    )
    return corners, right_share, upper_share, moves_right, moves_up


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def _footprint_axis(levels, footprints, pixel):
    """The squared length in texels of the longer axis of a pixel's footprint, and what it was made of."""
    height, width = np.float64(levels[0, 1]), np.float64(levels[0, 2])
    ux, uy = footprints[pixel, 0] * width, footprints[pixel, 1] * width
    vx, vy = footprints[pixel, 2] * height, footprints[pixel, 3] * height
    # The larger eigenvalue of J^T J.
    along_x, along_y, mixed = ux * ux + vx * vx, uy * uy + vy * vy, ux * uy + vx * vy
    half_difference = 0.5 * (along_x - along_y)
    root = sqrt(half_difference * half_difference + mixed * mixed)
    return 0.5 * (along_x + along_y) + root, ux, uy, vx, vy, half_difference, mixed, root


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def choose_levels(levels, footprints, pixel, filter_code):
    """The level to look at, and the share of the next smaller one."""
    highest = len(levels) - 1
    if filter_code == LINEAR or highest == 0:
        return 0, 0.0
    squared_axis = _footprint_axis(levels, footprints, pixel)[0]
    if not squared_axis > 1.0:
        return 0, 0.0
    level = min(0.5 * log2(squared_axis), np.float64(highest))
    if filter_code == LINEAR_MIPMAP_NEAREST:
        return np.int64(floor(level + 0.5)), 0.0
    first = np.int64(floor(level))
    return first, level - first


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def pass_to_footprint(levels, footprints, pixel, toward_level, footprint_gradient):
    """Adds to the gradient of a footprint what the mipmap level passes on; level = log2(longer axis)."""
    height, width = np.float64(levels[0, 1]), np.float64(levels[0, 2])
    squared_axis, ux, uy, vx, vy, half_difference, mixed, root = _footprint_axis(levels, footprints, pixel)
    if 0.5 * log2(squared_axis) >= len(levels) - 1:
        return
    toward_axis = toward_level * 0.5 / (log(2.0) * squared_axis)
    skew, twist = (half_difference / root, mixed / root) if root > 0.0 else (0.0, 0.0)
    toward_along_x = toward_axis * 0.5 * (1.0 + skew)
    toward_along_y = toward_axis * 0.5 * (1.0 - skew)
    toward_mixed = toward_axis * twist
    footprint_gradient[pixel, 0] += (2.0 * ux * toward_along_x + uy * toward_mixed) * width
    footprint_gradient[pixel, 1] += (2.0 * uy * toward_along_y + ux * toward_mixed) * width
    footprint_gradient[pixel, 2] += (2.0 * vx * toward_along_x + vy * toward_mixed) * height
    footprint_gradient[pixel, 3] += (2.0 * vy * toward_along_y + vx * toward_mixed) * height
