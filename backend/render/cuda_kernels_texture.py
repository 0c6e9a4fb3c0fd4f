"""Looking textures up on a CUDA card, compiled by numba. Which texels, and how, stands in `portable_texture_kernels`.

A thread works on one pixel. The gradients of texels are added up by atomic additions, whose order, and with it the last
bits of the sum, differs from run to run.
"""

from __future__ import annotations

from math import isfinite
from typing import no_type_check

import numpy as np
from numba import cuda

from backend.render.portable_texture_kernels import (
    LINEAR_MIPMAP_LINEAR,
    NEAREST,
    choose_levels,
    four_texels,
    nearest_texel,
    pass_to_footprint,
)


@cuda.jit(cache=True)
@no_type_check
def sample_pixels(texels, levels, uv, pixels_of_view, footprints, filter_code, boundary_code, sampled):
    """Looks the texture up at every pixel. A thread for each.

    Args:
        texels: float32 [views or 1, texels of all levels, channels].
        levels: int64 [levels, 3]: first texel, height, width.
        uv: float32 [views * pixels_of_view, 2].
        footprints: float32 [as uv, 4]; not looked at where there is one level.
        sampled: float32 [as uv, channels], written.
    """
    pixel = cuda.grid(1)
    if pixel >= uv.shape[0]:
        return
    channels = texels.shape[2]
    view = pixel // pixels_of_view if texels.shape[0] > 1 else 0
    u, v = uv[pixel, 0], uv[pixel, 1]
    for channel in range(channels):
        sampled[pixel, channel] = 0.0
    if not (isfinite(u) and isfinite(v)):
        return
    if filter_code == NEAREST:
        texel = nearest_texel(levels, u, v, boundary_code)
        if texel >= 0:
            for channel in range(channels):
                sampled[pixel, channel] = texels[view, texel, channel]
        return
    first, fraction = choose_levels(levels, footprints, pixel, filter_code)
    for step in range(2 if fraction > 0.0 else 1):
        share = fraction if step > 0 else 1.0 - fraction
        corners, right, up, _, _ = four_texels(levels, first + step, u, v, boundary_code)
        weights = ((1.0 - right) * (1.0 - up), right * (1.0 - up), (1.0 - right) * up, right * up)
        for corner in range(4):
            texel = corners[corner]
            if texel >= 0:
                weight = np.float32(share * weights[corner])
                for channel in range(channels):
                    sampled[pixel, channel] += weight * texels[view, texel, channel]


@cuda.jit(cache=True)
@no_type_check
def sample_pixels_backward(
    texels,
    levels,
    uv,
    pixels_of_view,
    footprints,
    filter_code,
    boundary_code,
    sampled_gradient,
    texel_gradient,
    wants_texels,
    uv_gradient,
    wants_uv,
    footprint_gradient,
    wants_footprints,
):
    """Adds to the gradient of the texels, writes those of the uv and of the footprints. A thread for each pixel.

    Args:
        texel_gradient: As `texels`.
        uv_gradient, footprint_gradient: As `uv` and `footprints`, zeros before.
    """
    pixel = cuda.grid(1)
    if pixel >= uv.shape[0]:
        return
    channels = texels.shape[2]
    view = pixel // pixels_of_view if texels.shape[0] > 1 else 0
    u, v = uv[pixel, 0], uv[pixel, 1]
    if not (isfinite(u) and isfinite(v)):
        return
    is_zero = True
    for channel in range(channels):
        is_zero = is_zero and sampled_gradient[pixel, channel] == 0.0
    if is_zero:
        return
    if filter_code == NEAREST:
        texel = nearest_texel(levels, u, v, boundary_code)
        if texel >= 0 and wants_texels:
            for channel in range(channels):
                cuda.atomic.add(texel_gradient, (view, texel, channel), sampled_gradient[pixel, channel])
        return
    first, fraction = choose_levels(levels, footprints, pixel, filter_code)
    toward_fraction = 0.0
    toward_u = toward_v = 0.0
    for step in range(2 if fraction > 0.0 else 1):
        share = fraction if step > 0 else 1.0 - fraction
        level = first + step
        corners, right, up, moves_right, moves_up = four_texels(levels, level, u, v, boundary_code)
        weights = ((1.0 - right) * (1.0 - up), right * (1.0 - up), (1.0 - right) * up, right * up)
        by_right = (up - 1.0, 1.0 - up, -up, up)
        by_up = (right - 1.0, -right, 1.0 - right, right)
        toward_right = toward_up = toward_share = 0.0
        for corner in range(4):
            texel = corners[corner]
            if texel >= 0:
                weight = np.float32(share * weights[corner])
                product = 0.0
                for channel in range(channels):
                    gradient = sampled_gradient[pixel, channel]
                    product += gradient * texels[view, texel, channel]
                    if wants_texels:
                        cuda.atomic.add(texel_gradient, (view, texel, channel), weight * gradient)
                toward_right += by_right[corner] * product
                toward_up += by_up[corner] * product
                toward_share += weights[corner] * product
        toward_u += share * toward_right * levels[level, 2] * moves_right
        toward_v += share * toward_up * levels[level, 1] * moves_up
        toward_fraction += toward_share if step > 0 else -toward_share
    if wants_uv:
        uv_gradient[pixel, 0] = toward_u
        uv_gradient[pixel, 1] = toward_v
    if wants_footprints and filter_code == LINEAR_MIPMAP_LINEAR and fraction > 0.0:
        pass_to_footprint(levels, footprints, pixel, toward_fraction, footprint_gradient)
