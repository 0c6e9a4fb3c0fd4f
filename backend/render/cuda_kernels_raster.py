"""Rasterising and interpolating on a CUDA card, compiled by numba. What is computed stands in `portable_kernels`.

A thread works on one vertex, one face or one pixel of one view. Faces that cover few pixels are drawn by the thread
that meets them, larger ones are put on a list and drawn by whole blocks. The depth buffer holds depth and face in one
number, so that one atomic minimum decides; which thread comes first then makes no difference. Gradients of vertices
are added up by atomic additions, whose order, and with it the last bits of the sum, differs from run to run.

Kernels check the indices of faces: a face that names a vertex which is not there is left out.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import cuda

from backend.render.cuda_launching import THREADS, run_of, sum_of_run
from backend.render.portable_kernels import (
    DEPTH_TOLERANCE,
    NEEDS_HOMOGENEOUS,
    NOT_FINITE,
    corner,
    covered_range,
    cross,
    depth_plane,
    edge_functions,
    homogeneous_depth,
    homogeneous_edges,
    snap_vertex,
    toward_vectors,
    weights_at,
    within_triangle,
)

NOTHING_DRAWN = 2**63 - 1
"""In the depth buffer: farther than everything."""

FACE_BITS = 24
DEPTH_STEPS = 2.0**38 - 1.0
"""Steps of the depth buffer between z/w = -1 and 0: 39 bits for the depth, the rest for the face."""

MOST_PIXELS_OF_A_THREAD = 64
"""Faces whose bounding box holds more are drawn by blocks of threads."""

STRIP_ROWS = 16
"""Of the pixels that a block draws at once."""


@cuda.jit(cache=True)
@no_type_check
def snap_vertices(positions, subpixel_bits, height, width, fixed, depths):
    """Writes int32 [views, vertices, 2] and float64 [views, vertices]: see `snap_vertex`. A thread for each vertex."""
    vertices = positions.shape[1]
    index = cuda.grid(1)
    if index >= positions.shape[0] * vertices:
        return
    view, vertex = index // vertices, index % vertices
    x, y, z, w = corner(positions[view], vertex)
    one = np.int64(1) << subpixel_bits
    fixed_x, fixed_y, depth = snap_vertex(x, y, z, w, 0.5 * width * one, 0.5 * height * one)
    fixed[view, vertex, 0] = fixed_x
    fixed[view, vertex, 1] = fixed_y
    depths[view, vertex] = depth


@cuda.jit(device=True)
@no_type_check
def is_face(faces, face, vertices):
    """Whether there is such a face, and its corners exist."""
    if face < 0 or face >= faces.shape[0]:
        return False
    v0, v1, v2 = faces[face, 0], faces[face, 1], faces[face, 2]
    return 0 <= v0 < vertices and 0 <= v1 < vertices and 0 <= v2 < vertices


@cuda.jit(device=True)
@no_type_check
def draw_pixel(buffer, view, pixel, depth, face):
    """Puts a face into the depth buffer int64 [views, pixels] if nothing nearer is there; at equal depth the later."""
    if not (-1.0 - DEPTH_TOLERANCE <= depth <= 1.0 + DEPTH_TOLERANCE):
        return  # or not a number
    step = np.int64((min(max(depth, -1.0), 1.0) + 1.0) * DEPTH_STEPS)
    key = (step << FACE_BITS) | ((np.int64(1) << FACE_BITS) - 1 - face)
    if key < buffer[view, pixel]:
        cuda.atomic.min(buffer, (view, pixel), key)


@cuda.jit(device=True)
@no_type_check
def read_buffer(key):
    """Face and depth."""
    face = (np.int64(1) << FACE_BITS) - 1 - (key & ((np.int64(1) << FACE_BITS) - 1))
    return face, np.float64(key >> FACE_BITS) / DEPTH_STEPS - 1.0


@cuda.jit(device=True)
@no_type_check
def draw_part(fixed, depths, faces, view, face, subpixel_bits, height, width, buffer, first_row, rows, first, step):
    """Draws some pixels of a fixed-point face.

    Args:
        first_row, rows: Which rows of its bounding box.
        first, step: Draws the pixels `first`, `first + step` and so on of those rows of the bounding box.
    """
    v0, v1, v2 = faces[face, 0], faces[face, 1], faces[face, 2]
    x0, y0 = np.int64(fixed[view, v0, 0]), np.int64(fixed[view, v0, 1])
    x1, y1 = np.int64(fixed[view, v1, 0]), np.int64(fixed[view, v1, 1])
    x2, y2 = np.int64(fixed[view, v2, 0]), np.int64(fixed[view, v2, 1])
    z0, z1, z2 = depths[view, v0], depths[view, v1], depths[view, v2]
    area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
    if area == 0 or min(z0, z1, z2) > 1.0 + DEPTH_TOLERANCE or max(z0, z1, z2) < -1.0 - DEPTH_TOLERANCE:
        return
    if area < 0:  # both sides are drawn: turn the back round
        area = -area
        x1, x2, y1, y2, z1, z2 = x2, x1, y2, y1, z2, z1
    left, right, bottom, top = covered_range(x0, y0, x1, y1, x2, y2, subpixel_bits, height, width)
    one = np.int64(1) << subpixel_bits
    px, py = (left << subpixel_bits) + (one >> 1), (bottom << subpixel_bits) + (one >> 1)
    edge0, edge1, edge2, right0, right1, right2, up0, up1, up2 = edge_functions(
        x0, y0, x1, y1, x2, y2, px, py, subpixel_bits
    )
    depth_corner, depth_right, depth_up = depth_plane(x0, y0, x1, y1, x2, y2, z0, z1, z2, px, py, area, one)
    columns = right - left + 1
    last_row = min(first_row + rows, top - bottom + 1)
    pixel = np.int64(first)
    row, column = first_row + pixel // columns, pixel % columns
    while row < last_row:
        e0 = edge0 + right0 * column + up0 * row
        e1 = edge1 + right1 * column + up1 * row
        e2 = edge2 + right2 * column + up2 * row
        if (e0 | e1 | e2) >= 0:
            depth = depth_corner + depth_right * column + depth_up * row
            draw_pixel(buffer, view, (bottom + row) * width + left + column, depth, face)
        column += step
        while column >= columns:
            column -= columns
            row += 1


@cuda.jit(cache=True)
@no_type_check
def draw_small_faces(fixed, depths, faces, subpixel_bits, height, width, buffer, large, large_count):
    """Draws the faces that cover few pixels, and lists the others. A thread for each face.

    Args:
        buffer: int64 [views, pixels], see `draw_pixel`.
        large: int64 [views * faces], written: view * number of faces + face.
        large_count: int32 [1], added to.
    """
    face_count, vertices = faces.shape[0], fixed.shape[1]
    index = cuda.grid(1)
    if index >= fixed.shape[0] * face_count:
        return
    view, face = index // face_count, index % face_count
    if not is_face(faces, face, vertices):
        return
    v0, v1, v2 = faces[face, 0], faces[face, 1], faces[face, 2]
    x0, x1, x2 = np.int64(fixed[view, v0, 0]), np.int64(fixed[view, v1, 0]), np.int64(fixed[view, v2, 0])
    y0, y1, y2 = np.int64(fixed[view, v0, 1]), np.int64(fixed[view, v1, 1]), np.int64(fixed[view, v2, 1])
    lowest_x = min(x0, x1, x2)
    if lowest_x == NOT_FINITE:
        return
    if lowest_x > NEEDS_HOMOGENEOUS:
        left, right, bottom, top = covered_range(x0, y0, x1, y1, x2, y2, subpixel_bits, height, width)
        if left > right or bottom > top:
            return
        rows = top - bottom + 1
        if rows * (right - left + 1) <= MOST_PIXELS_OF_A_THREAD:
            draw_part(fixed, depths, faces, view, face, subpixel_bits, height, width, buffer, 0, rows, 0, 1)
            return
    large[cuda.atomic.add(large_count, 0, 1)] = index


@cuda.jit(cache=True)
@no_type_check
def draw_large_faces(positions, fixed, depths, faces, subpixel_bits, height, width, buffer, large, large_count):
    """Draws the faces on the list. A block at a time for some rows of one face; blocks (x, y): x by face, y by rows."""
    face_count = faces.shape[0]
    count = large_count[0]
    entry = cuda.blockIdx.x
    while entry < count:
        view, face = large[entry] // face_count, large[entry] % face_count
        v0, v1, v2 = faces[face, 0], faces[face, 1], faces[face, 2]
        x0, x1, x2 = np.int64(fixed[view, v0, 0]), np.int64(fixed[view, v1, 0]), np.int64(fixed[view, v2, 0])
        first_row = np.int64(cuda.blockIdx.y) * STRIP_ROWS
        if min(x0, x1, x2) == NEEDS_HOMOGENEOUS:
            while first_row < height:
                draw_homogeneous_part(positions[view], v0, v1, v2, view, face, height, width, buffer, first_row)
                first_row += cuda.gridDim.y * STRIP_ROWS
        else:
            y0, y1, y2 = np.int64(fixed[view, v0, 1]), np.int64(fixed[view, v1, 1]), np.int64(fixed[view, v2, 1])
            _, _, bottom, top = covered_range(x0, y0, x1, y1, x2, y2, subpixel_bits, height, width)
            while first_row <= top - bottom:
                draw_part(
                    fixed, depths, faces, view, face, subpixel_bits, height, width, buffer,
                    first_row, STRIP_ROWS, cuda.threadIdx.x, THREADS,
                )  # fmt: skip
                first_row += cuda.gridDim.y * STRIP_ROWS
        entry += cuda.gridDim.x


@cuda.jit(device=True)
@no_type_check
def draw_homogeneous_part(positions, v0, v1, v2, view, face, height, width, buffer, first_row):
    """Draws some rows of a face that reaches behind the eye or very far to the side; by all threads of a block."""
    is_drawn, m0x, m0y, m0z, m1x, m1y, m1z, m2x, m2y, m2z, determinant = homogeneous_edges(positions, v0, v1, v2)
    if not is_drawn:
        return
    z0, z1, z2 = np.float64(positions[v0, 2]), np.float64(positions[v1, 2]), np.float64(positions[v2, 2])
    pixel = first_row * width + cuda.threadIdx.x
    last = min(first_row + STRIP_ROWS, height) * width
    while pixel < last:
        fx = (2 * (pixel % width) + 1) / width - 1.0
        fy = (2 * (pixel // width) + 1) / height - 1.0
        depth = homogeneous_depth(m0x, m0y, m0z, m1x, m1y, m1z, m2x, m2y, m2z, determinant, z0, z1, z2, fx, fy)
        draw_pixel(buffer, view, pixel, depth, face)
        pixel += THREADS


@cuda.jit(cache=True)
@no_type_check
def show_faces(positions, faces, buffer, raster, derivatives):
    """Writes what each pixel sees. A thread for each pixel.

    Args:
        positions: float32 [views, vertices, 4].
        buffer: int64 [views, pixels], see `draw_pixel`.
        raster, derivatives: float32 [views, height, width, 4], written: see `portable_kernels.rasterize_image`.
    """
    height, width = raster.shape[1], raster.shape[2]
    pixels = height * width
    index = cuda.grid(1)
    if index >= raster.shape[0] * pixels:
        return
    view, pixel = index // pixels, index % pixels
    row, column = pixel // width, pixel % width
    key = buffer[view, pixel]
    if key == NOTHING_DRAWN:
        for channel in range(4):
            raster[view, row, column, channel] = 0.0
            derivatives[view, row, column, channel] = 0.0
        return
    face, drawn_depth = read_buffer(key)
    own_positions = positions[view]
    x0, y0, z0, w0 = corner(own_positions, faces[face, 0])
    x1, y1, z1, w1 = corner(own_positions, faces[face, 1])
    x2, y2, z2, w2 = corner(own_positions, faces[face, 2])
    m0x, m0y, m0z = cross(x1, y1, w1, x2, y2, w2)
    m1x, m1y, m1z = cross(x2, y2, w2, x0, y0, w0)
    m2x, m2y, m2z = cross(x0, y0, w0, x1, y1, w1)
    fx, fy = (2 * column + 1) / width - 1.0, (2 * row + 1) / height - 1.0
    u, v, depth, inverse_area = weights_at(
        m0x, m0y, m0z, m1x, m1y, m1z, m2x, m2y, m2z, z0, z1, z2, w0, w1, w2, fx, fy, drawn_depth
    )
    sum_x, sum_y = m0x + m1x + m2x, m0y + m1y + m2y
    per_pixel_x, per_pixel_y = 2.0 / width, 2.0 / height
    derivatives[view, row, column, 0] = (m0x - u * sum_x) * inverse_area * per_pixel_x
    derivatives[view, row, column, 1] = (m0y - u * sum_y) * inverse_area * per_pixel_y
    derivatives[view, row, column, 2] = (m1x - v * sum_x) * inverse_area * per_pixel_x
    derivatives[view, row, column, 3] = (m1y - v * sum_y) * inverse_area * per_pixel_y
    u, v = within_triangle(u, v)
    raster[view, row, column, 0] = u
    raster[view, row, column, 1] = v
    raster[view, row, column, 2] = depth
    raster[view, row, column, 3] = face + 1


@cuda.jit(cache=True)
@no_type_check
def show_faces_backward(
    positions, faces, raster, raster_gradient, has_weights, derivatives_gradient, has_derivatives, position_gradient
):
    """Adds to `position_gradient` what u, v and their derivatives pass on. A thread for each pixel.

    Args:
        has_weights, has_derivatives: Whether there are such gradients.
        position_gradient: float32 [views, vertices, 4].
    """
    height, width = raster.shape[1], raster.shape[2]
    pixels, face_count = height * width, faces.shape[0]
    index = cuda.grid(1)
    view, pixel = index // pixels, index % pixels
    row, column = pixel // width, pixel % width
    # Every thread goes to the end: neighbours that see the same face add up what they have for it.
    face = np.int64(-1)
    owner = np.int64(-1)
    gu = gv = gux = guy = gvx = gvy = 0.0
    if view < raster.shape[0]:
        face = np.int64(raster[view, row, column, 3]) - 1
        if not is_face(faces, face, positions.shape[1]):
            face = np.int64(-1)
        if face >= 0 and has_weights:
            gu = np.float64(raster_gradient[view, row, column, 0])
            gv = np.float64(raster_gradient[view, row, column, 1])
        if face >= 0 and has_derivatives:
            gux = np.float64(derivatives_gradient[view, row, column, 0]) * 2.0 / width
            guy = np.float64(derivatives_gradient[view, row, column, 1]) * 2.0 / height
            gvx = np.float64(derivatives_gradient[view, row, column, 2]) * 2.0 / width
            gvy = np.float64(derivatives_gradient[view, row, column, 3]) * 2.0 / height
    is_zero = gu == 0.0 and gv == 0.0 and gux == 0.0 and guy == 0.0 and gvx == 0.0 and gvy == 0.0
    h0x = h0y = h0z = h1x = h1y = h1z = h2x = h2y = h2z = 0.0
    if face >= 0 and not is_zero:
        owner = view * face_count + face
        own_positions = positions[view]
        x0, y0, _, w0 = corner(own_positions, faces[face, 0])
        x1, y1, _, w1 = corner(own_positions, faces[face, 1])
        x2, y2, _, w2 = corner(own_positions, faces[face, 2])
        m0x, m0y, m0z = cross(x1, y1, w1, x2, y2, w2)
        m1x, m1y, m1z = cross(x2, y2, w2, x0, y0, w0)
        m2x, m2y, m2z = cross(x0, y0, w0, x1, y1, w1)
        sum_x, sum_y, sum_z = m0x + m1x + m2x, m0y + m1y + m2y, m0z + m1z + m2z
        fx, fy = (2 * column + 1) / width - 1.0, (2 * row + 1) / height - 1.0
        h0x, h0y, h0z, h1x, h1y, h1z, h2x, h2y, h2z = toward_vectors(
            m0x, m0y, m0z, m1x, m1y, m1z, sum_x, sum_y, sum_z, fx, fy, gu, gv, gux, guy, gvx, gvy
        )
    leads, end, sums = run_of(owner)
    h0x, h0y, h0z = sum_of_run(h0x, end, sums), sum_of_run(h0y, end, sums), sum_of_run(h0z, end, sums)
    h1x, h1y, h1z = sum_of_run(h1x, end, sums), sum_of_run(h1y, end, sums), sum_of_run(h1z, end, sums)
    h2x, h2y, h2z = sum_of_run(h2x, end, sums), sum_of_run(h2y, end, sums), sum_of_run(h2z, end, sums)
    if owner < 0 or not leads:
        return
    # h . (p x q) changes with p by q x h and with q by h x p; corner 0 is in m_1 = p_2 x p_0 and in m_2 = p_0 x p_1.
    add_two_crosses(position_gradient, view, faces[face, 0], h1x, h1y, h1z, x2, y2, w2, x1, y1, w1, h2x, h2y, h2z)
    add_two_crosses(position_gradient, view, faces[face, 1], h2x, h2y, h2z, x0, y0, w0, x2, y2, w2, h0x, h0y, h0z)
    add_two_crosses(position_gradient, view, faces[face, 2], h0x, h0y, h0z, x1, y1, w1, x0, y0, w0, h1x, h1y, h1z)


@cuda.jit(device=True)
@no_type_check
def add_two_crosses(position_gradient, view, vertex, ax, ay, az, bx, by, bz, cx, cy, cz, dx, dy, dz):
    """Adds a x b + c x d to the x, y and w of a vertex."""
    x, y, w = cross(ax, ay, az, bx, by, bz)
    more_x, more_y, more_w = cross(cx, cy, cz, dx, dy, dz)
    cuda.atomic.add(position_gradient, (view, vertex, 0), np.float32(x + more_x))
    cuda.atomic.add(position_gradient, (view, vertex, 1), np.float32(y + more_y))
    cuda.atomic.add(position_gradient, (view, vertex, 3), np.float32(w + more_w))


@cuda.jit(cache=True)
@no_type_check
def interpolate_pixels(attributes, raster, faces, derivatives, chosen, chosen_count, values, by_pixel):
    """Interpolates vertex attributes. A thread for each pixel.

    Args:
        attributes: float32 [views or 1, vertices, channels].
        raster: float32 [views, height, width, 4].
        derivatives: As the raster; not looked at where `chosen_count` is 0.
        chosen: int64 [at least chosen_count], the channels whose derivatives by X and Y are wanted.
        values: float32 [views, height, width, channels], written.
        by_pixel: float32 [views, height, width, 2 chosen_count], written unless `chosen_count` is 0.
    """
    height, width = raster.shape[1], raster.shape[2]
    pixels = height * width
    index = cuda.grid(1)
    if index >= raster.shape[0] * pixels:
        return
    view, pixel = index // pixels, index % pixels
    row, column = pixel // width, pixel % width
    channels = attributes.shape[2]
    face = np.int64(raster[view, row, column, 3]) - 1
    if not is_face(faces, face, attributes.shape[1]):
        for channel in range(channels):
            values[view, row, column, channel] = 0.0
        for channel in range(2 * chosen_count):
            by_pixel[view, row, column, channel] = 0.0
        return
    entry = view if attributes.shape[0] > 1 else 0
    v0, v1, v2 = faces[face, 0], faces[face, 1], faces[face, 2]
    u, v = raster[view, row, column, 0], raster[view, row, column, 1]
    rest = np.float32(1.0) - u - v
    for channel in range(channels):
        values[view, row, column, channel] = (
            u * attributes[entry, v0, channel]
            + v * attributes[entry, v1, channel]
            + rest * attributes[entry, v2, channel]
        )
    for place in range(chosen_count):
        channel = chosen[place]
        along_u = attributes[entry, v0, channel] - attributes[entry, v2, channel]
        along_v = attributes[entry, v1, channel] - attributes[entry, v2, channel]
        by_pixel[view, row, column, 2 * place] = (
            derivatives[view, row, column, 0] * along_u + derivatives[view, row, column, 2] * along_v
        )
        by_pixel[view, row, column, 2 * place + 1] = (
            derivatives[view, row, column, 1] * along_u + derivatives[view, row, column, 3] * along_v
        )


@cuda.jit(cache=True)
@no_type_check
def interpolate_pixels_to_attributes(
    raster, faces, derivatives, chosen, chosen_count, value_gradient, has_values, by_pixel_gradient, attribute_gradient
):
    """Adds to the gradient of the attributes, float32 [views or 1, vertices, channels]. A thread for each pixel.

    Args:
        chosen_count: 0 where the derivatives by X and Y have no gradient.
    """
    height, width = raster.shape[1], raster.shape[2]
    pixels = height * width
    index = cuda.grid(1)
    view, pixel = index // pixels, index % pixels
    row, column = pixel // width, pixel % width
    owner = np.int64(-1)
    entry = np.int64(0)
    v0 = v1 = v2 = np.int32(0)
    u = v = rest = np.float32(0.0)
    if view < raster.shape[0]:
        face = np.int64(raster[view, row, column, 3]) - 1
        if is_face(faces, face, attribute_gradient.shape[1]):
            entry = view if attribute_gradient.shape[0] > 1 else np.int64(0)
            owner = entry * faces.shape[0] + face
            v0, v1, v2 = faces[face, 0], faces[face, 1], faces[face, 2]
            u, v = raster[view, row, column, 0], raster[view, row, column, 1]
            rest = np.float32(1.0) - u - v
    leads, end, sums = run_of(owner)
    if has_values:
        for channel in range(attribute_gradient.shape[2]):
            gradient = np.float32(0.0)
            if owner >= 0:
                gradient = value_gradient[view, row, column, channel]
            toward0 = sum_of_run(u * gradient, end, sums)
            toward1 = sum_of_run(v * gradient, end, sums)
            toward2 = sum_of_run(rest * gradient, end, sums)
            if leads and owner >= 0:
                cuda.atomic.add(attribute_gradient, (entry, v0, channel), toward0)
                cuda.atomic.add(attribute_gradient, (entry, v1, channel), toward1)
                cuda.atomic.add(attribute_gradient, (entry, v2, channel), toward2)
    for place in range(chosen_count):
        channel = chosen[place]
        toward0 = toward1 = np.float32(0.0)
        if owner >= 0:
            by_x = by_pixel_gradient[view, row, column, 2 * place]
            by_y = by_pixel_gradient[view, row, column, 2 * place + 1]
            toward0 = derivatives[view, row, column, 0] * by_x + derivatives[view, row, column, 1] * by_y
            toward1 = derivatives[view, row, column, 2] * by_x + derivatives[view, row, column, 3] * by_y
        toward0 = sum_of_run(toward0, end, sums)
        toward1 = sum_of_run(toward1, end, sums)
        if leads and owner >= 0:
            cuda.atomic.add(attribute_gradient, (entry, v0, channel), toward0)
            cuda.atomic.add(attribute_gradient, (entry, v1, channel), toward1)
            cuda.atomic.add(attribute_gradient, (entry, v2, channel), -(toward0 + toward1))


@cuda.jit(cache=True)
@no_type_check
def interpolate_pixels_to_raster(
    attributes,
    raster,
    faces,
    chosen,
    chosen_count,
    value_gradient,
    has_values,
    by_pixel_gradient,
    raster_gradient,
    derivatives_gradient,
):
    """Writes the gradients of the raster and of its derivatives, zeros before. A thread for each pixel.

    Args:
        has_values: Whether the values have a gradient and that of the raster is wanted.
        chosen_count: 0 where the derivatives have no gradient, or none is wanted.
    """
    height, width = raster.shape[1], raster.shape[2]
    pixels = height * width
    index = cuda.grid(1)
    if index >= raster.shape[0] * pixels:
        return
    view, pixel = index // pixels, index % pixels
    row, column = pixel // width, pixel % width
    face = np.int64(raster[view, row, column, 3]) - 1
    if not is_face(faces, face, attributes.shape[1]):
        return
    entry = view if attributes.shape[0] > 1 else 0
    v0, v1, v2 = faces[face, 0], faces[face, 1], faces[face, 2]
    if has_values:
        toward_u = toward_v = np.float32(0.0)
        for channel in range(attributes.shape[2]):
            gradient = value_gradient[view, row, column, channel]
            last = attributes[entry, v2, channel]
            toward_u += gradient * (attributes[entry, v0, channel] - last)
            toward_v += gradient * (attributes[entry, v1, channel] - last)
        raster_gradient[view, row, column, 0] = toward_u
        raster_gradient[view, row, column, 1] = toward_v
    if chosen_count > 0:
        u_by_x = u_by_y = v_by_x = v_by_y = np.float32(0.0)
        for place in range(chosen_count):
            channel = chosen[place]
            by_x = by_pixel_gradient[view, row, column, 2 * place]
            by_y = by_pixel_gradient[view, row, column, 2 * place + 1]
            last = attributes[entry, v2, channel]
            along_u = attributes[entry, v0, channel] - last
            along_v = attributes[entry, v1, channel] - last
            u_by_x += along_u * by_x
            u_by_y += along_u * by_y
            v_by_x += along_v * by_x
            v_by_y += along_v * by_y
        derivatives_gradient[view, row, column, 0] = u_by_x
        derivatives_gradient[view, row, column, 1] = u_by_y
        derivatives_gradient[view, row, column, 2] = v_by_x
        derivatives_gradient[view, row, column, 3] = v_by_y
