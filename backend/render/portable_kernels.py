"""Rasterising and interpolating one image on the CPU, compiled by numba.

Kernels release the GIL, use one thread and no atomics, so that the same input gives the same bits. They check no index:
`portable_rasteriser` does. `no_type_check` keeps the type checker of the tests away from what numba compiles.

The geometry, for all kernels: p_i = (x, y, w) of corner i in clip space and f = (fx, fy, 1) the centre of a pixel on
the image plane, fx and fy in [-1, 1]. Then a_i = f . (p_j x p_k), (i, j, k) cyclic, is proportional to the
perspective-correct weight of corner i (Olano and Greer 1997, "Triangle Scan Conversion using 2D Homogeneous
Coordinates"), whatever the sign of w, and it is linear in f.
"""

from __future__ import annotations

from math import floor, isfinite
from typing import no_type_check

import numpy as np
from numba import njit

LARGEST_FIXED_POINT = 2.0**28
"""Fits int32, and products of two differences of such coordinates fit int64 with room to spare."""

NEEDS_HOMOGENEOUS, NOT_FINITE = -(2**30), -(2**30) - 1
"""Stand in the place of a fixed-point x for vertices that have none. The graver is the smaller number."""

DEPTH_TOLERANCE = 1e-9
"""A triangle exactly in the near or far plane is visible, in spite of rounding."""

AREA_REGULARISER = 1e-6
"""Added to twice the area of a triangle (in w^2) before gradients are divided by it, as nvdiffrast documents."""


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def rasterize_image(positions, faces, subpixel_bits, raster, derivatives):
    """Finds the nearest triangle of every pixel and the weights of its corners there.

    Args:
        positions: float32 [vertices, 4], clip space. Triangles with a corner that is not finite are left out.
        faces: int32 [faces, 3].
        subpixel_bits: Vertices are snapped to 1 / 2**subpixel_bits of a pixel to decide which pixels they cover.
        raster: float32 [height, width, 4], written: u, v, z/w, face + 1; zeros where nothing is.
        derivatives: float32 [height, width, 4], written: du/dX, du/dY, dv/dX, dv/dY in pixels. Or empty
            (height 0) when they are not wanted.
    """
    height, width = raster.shape[0], raster.shape[1]
    nearest = np.full((height, width), 1.0 + DEPTH_TOLERANCE)
    visible_face = np.full((height, width), -1, np.int32)
    _draw_faces(positions, faces, subpixel_bits, nearest, visible_face)

    with_derivatives = derivatives.shape[0] > 0
    per_pixel_x, per_pixel_y = 2.0 / width, 2.0 / height
    last_face = -1
    for row in range(height):
        fy = (2 * row + 1) / height - 1.0
        for column in range(width):
            face = visible_face[row, column]
            if face < 0:
                for channel in range(4):
                    raster[row, column, channel] = 0.0
                if with_derivatives:
                    for channel in range(4):
                        derivatives[row, column, channel] = 0.0
                continue
            fx = (2 * column + 1) / width - 1.0
            if face != last_face:
                last_face = face
                x0, y0, z0, w0 = corner(positions, faces[face, 0])
                x1, y1, z1, w1 = corner(positions, faces[face, 1])
                x2, y2, z2, w2 = corner(positions, faces[face, 2])
                m0x, m0y, m0z = cross(x1, y1, w1, x2, y2, w2)
                m1x, m1y, m1z = cross(x2, y2, w2, x0, y0, w0)
                m2x, m2y, m2z = cross(x0, y0, w0, x1, y1, w1)
            u, v, depth, inverse_area = weights_at(
                m0x, m0y, m0z, m1x, m1y, m1z, m2x, m2y, m2z, z0, z1, z2, w0, w1, w2, fx, fy, nearest[row, column]
            )
            if with_derivatives:
                sum_x, sum_y = m0x + m1x + m2x, m0y + m1y + m2y
                derivatives[row, column, 0] = (m0x - u * sum_x) * inverse_area * per_pixel_x
                derivatives[row, column, 1] = (m0y - u * sum_y) * inverse_area * per_pixel_y
                derivatives[row, column, 2] = (m1x - v * sum_x) * inverse_area * per_pixel_x
                derivatives[row, column, 3] = (m1y - v * sum_y) * inverse_area * per_pixel_y
            u, v = within_triangle(u, v)
            raster[row, column, 0] = u
            raster[row, column, 1] = v
            raster[row, column, 2] = depth
            raster[row, column, 3] = face + 1


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
@no_type_check
def weights_at(m0x, m0y, m0z, m1x, m1y, m1z, m2x, m2y, m2z, z0, z1, z2, w0, w1, w2, fx, fy, drawn_depth):
    """What a triangle shows at a pixel centre.

    Args:
        m0x to m2z: The vectors m_i = p_j x p_k.
        drawn_depth: The depth of the pixel as it was drawn.

    Returns:
        The weights of the first and second corner, z/w within [-1, 1], and 1 / (a_0 + a_1 + a_2).
    """
    a0 = m0x * fx + m0y * fy + m0z
    a1 = m1x * fx + m1y * fy + m1z
    a2 = m2x * fx + m2y * fy + m2z
    area = a0 + a1 + a2
    depth_divisor = a0 * w0 + a1 * w1 + a2 * w2
    if area == 0.0 or depth_divisor == 0.0:
        # Only a triangle that snapping has given an area: any point of it is as good.
        u = v = 1.0 / 3.0
        depth = drawn_depth
        inverse_area = 0.0
    else:
        inverse_area = 1.0 / area
        u, v = a0 * inverse_area, a1 * inverse_area
        depth = (a0 * z0 + a1 * z1 + a2 * z2) / depth_divisor
    return u, v, min(max(depth, -1.0), 1.0), inverse_area


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
@no_type_check
def within_triangle(u, v):
    """The weights of the nearest point within: snapping lets a triangle cover a pixel centre just outside of it."""
    u, v = max(u, 0.0), max(v, 0.0)
    if u + v > 1.0:
        u, v = u / (u + v), v / (u + v)
    return u, v


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
@no_type_check
def corner(positions, vertex):
    """x, y, z, w in double precision."""
    return (
        np.float64(positions[vertex, 0]),
        np.float64(positions[vertex, 1]),
        np.float64(positions[vertex, 2]),
        np.float64(positions[vertex, 3]),
    )


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
@no_type_check
def cross(ax, ay, az, bx, by, bz):
    # Every product appears once with each sign, so that cross(a, b) is exactly -cross(b, a).
    return ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
@no_type_check
def snap_vertex(x, y, z, w, scale_x, scale_y):
    """Fixed-point coordinates of a vertex, and its z/w.

    Args:
        scale_x, scale_y: Half the size of the image in the units of fixed point.
    """
    fixed_x, fixed_y, depth = np.int32(NEEDS_HOMOGENEOUS), np.int32(0), 0.0
    if not (isfinite(x) and isfinite(y) and isfinite(z) and isfinite(w)):
        fixed_x = np.int32(NOT_FINITE)
    elif w > 0.0:
        inverse_w = 1.0 / w
        screen_x = (x * inverse_w + 1.0) * scale_x
        screen_y = (y * inverse_w + 1.0) * scale_y
        if abs(screen_x) < LARGEST_FIXED_POINT and abs(screen_y) < LARGEST_FIXED_POINT:
            fixed_x = np.int32(floor(screen_x + 0.5))
            fixed_y = np.int32(floor(screen_y + 0.5))
            depth = z * inverse_w
    return fixed_x, fixed_y, depth


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
@no_type_check
def covered_range(x0, y0, x1, y1, x2, y2, subpixel_bits, height, width):
    """The pixels whose centres lie within the bounding box of a fixed-point triangle: left, right, bottom, top."""
    half = (np.int64(1) << subpixel_bits) >> 1
    left = max((min(x0, x1, x2) + half - 1) >> subpixel_bits, 0)
    right = min((max(x0, x1, x2) - half) >> subpixel_bits, width - 1)
    bottom = max((min(y0, y1, y2) + half - 1) >> subpixel_bits, 0)
    top = min((max(y0, y1, y2) - half) >> subpixel_bits, height - 1)
    return left, right, bottom, top


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
@no_type_check
def edge_functions(x0, y0, x1, y1, x2, y2, px, py, subpixel_bits):
    """The edge functions of a counter-clockwise triangle at a point, and their changes per pixel right and up.

    A pixel centre belongs to the triangle where all three are at least 0. A centre exactly on an edge belongs to the
    face for which the edge runs downwards, or level to the right.
    """
    edge0 = (x2 - x1) * (py - y1) - (y2 - y1) * (px - x1)
    edge1 = (x0 - x2) * (py - y2) - (y0 - y2) * (px - x2)
    edge2 = (x1 - x0) * (py - y0) - (y1 - y0) * (px - x0)
    edge0 -= 1 - ((y1 > y2) | ((y1 == y2) & (x2 > x1)))
    edge1 -= 1 - ((y2 > y0) | ((y2 == y0) & (x0 > x2)))
    edge2 -= 1 - ((y0 > y1) | ((y0 == y1) & (x1 > x0)))
    right0, right1, right2 = (y1 - y2) << subpixel_bits, (y2 - y0) << subpixel_bits, (y0 - y1) << subpixel_bits
    up0, up1, up2 = (x2 - x1) << subpixel_bits, (x0 - x2) << subpixel_bits, (x1 - x0) << subpixel_bits
    return edge0, edge1, edge2, right0, right1, right2, up0, up1, up2


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
@no_type_check
def depth_plane(x0, y0, x1, y1, x2, y2, z0, z1, z2, px, py, area, one):
    """The depth of a triangle at a point, and its changes per pixel right and up.

    Args:
        area: Twice the area, in fixed point.
        one: A pixel in fixed point.
    """
    per_x = ((y2 - y0) * (z1 - z0) - (y1 - y0) * (z2 - z0)) / area
    per_y = ((x1 - x0) * (z2 - z0) - (x2 - x0) * (z1 - z0)) / area
    return z0 + per_x * (px - x0) + per_y * (py - y0), per_x * one, per_y * one


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def _draw_faces(positions, faces, subpixel_bits, nearest, visible_face):
    """Scan conversion with a depth buffer; on equal depth the later face wins.

    Faces in front of the eye are drawn in fixed point: whether a pixel centre lies left or right of an edge is then
    decided exactly, and the same for both faces at the edge. z/w is linear in the image, so the depth is a plane.
    """
    height, width = nearest.shape
    one = np.int64(1) << subpixel_bits
    half = one >> 1

    fixed_x = np.empty(len(positions), np.int32)
    fixed_y = np.empty(len(positions), np.int32)
    depths = np.empty(len(positions), np.float64)
    scale_x, scale_y = 0.5 * width * one, 0.5 * height * one
    for vertex in range(len(positions)):
        x, y, z, w = corner(positions, vertex)
        fixed_x[vertex], fixed_y[vertex], depths[vertex] = snap_vertex(x, y, z, w, scale_x, scale_y)

    for face in range(len(faces)):
        # Unsigned, because numba looks at the sign of every index to count negative ones from the end.
        v0, v1, v2 = np.uint32(faces[face, 0]), np.uint32(faces[face, 1]), np.uint32(faces[face, 2])
        x0, y0 = np.int64(fixed_x[v0]), np.int64(fixed_y[v0])
        x1, y1 = np.int64(fixed_x[v1]), np.int64(fixed_y[v1])
        x2, y2 = np.int64(fixed_x[v2]), np.int64(fixed_y[v2])
        lowest_x = min(x0, x1, x2)
        if lowest_x <= NEEDS_HOMOGENEOUS:
            if lowest_x == NEEDS_HOMOGENEOUS:
                _draw_homogeneous_face(positions, v0, v1, v2, face, nearest, visible_face)
            continue
        # Most faces of a fine mesh hold no pixel centre, which cannot be predicted: one branch, not four.
        left, right, bottom, top = covered_range(x0, y0, x1, y1, x2, y2, subpixel_bits, height, width)
        if (left > right) | (bottom > top):
            continue
        area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
        if area == 0:
            continue
        z0, z1, z2 = depths[v0], depths[v1], depths[v2]
        if min(z0, z1, z2) > 1.0 + DEPTH_TOLERANCE or max(z0, z1, z2) < -1.0 - DEPTH_TOLERANCE:
            continue
        if area < 0:  # both sides are drawn: turn the back round
            area = -area
            x1, x2, y1, y2, z1, z2 = x2, x1, y2, y1, z2, z1

        px, py = (left << subpixel_bits) + half, (bottom << subpixel_bits) + half
        edge0, edge1, edge2, right0, right1, right2, up0, up1, up2 = edge_functions(
            x0, y0, x1, y1, x2, y2, px, py, subpixel_bits
        )
        has_plane = False
        depth_corner = depth_right = depth_up = 0.0
        for row in range(bottom, top + 1):
            e0, e1, e2 = edge0, edge1, edge2
            entered = False
            for column in range(left, right + 1):
                if (e0 | e1 | e2) >= 0:
                    entered = True
                    if not has_plane:  # many small faces miss all centres, and need none
                        has_plane = True
                        depth_corner, depth_right, depth_up = depth_plane(
                            x0, y0, x1, y1, x2, y2, z0, z1, z2, px, py, area, one
                        )
                    depth = depth_corner + depth_right * (column - left) + depth_up * (row - bottom)
                    if depth <= nearest[row, column] and depth >= -1.0 - DEPTH_TOLERANCE:
                        nearest[row, column] = depth
                        visible_face[row, column] = face
                elif entered:
                    break
                e0 += right0
                e1 += right1
                e2 += right2
            edge0 += up0
            edge1 += up1
            edge2 += up2


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def _draw_homogeneous_face(positions, v0, v1, v2, face, nearest, visible_face):
    """Draws a face that reaches behind the eye or very far to the side, in floating point and without clipping it."""
    height, width = nearest.shape
    is_drawn, m0x, m0y, m0z, m1x, m1y, m1z, m2x, m2y, m2z, determinant = homogeneous_edges(positions, v0, v1, v2)
    if not is_drawn:
        return
    z0, z1, z2 = np.float64(positions[v0, 2]), np.float64(positions[v1, 2]), np.float64(positions[v2, 2])
    for row in range(height):
        fy = (2 * row + 1) / height - 1.0
        for column in range(width):
            fx = (2 * column + 1) / width - 1.0
            depth = homogeneous_depth(m0x, m0y, m0z, m1x, m1y, m1z, m2x, m2y, m2z, determinant, z0, z1, z2, fx, fy)
            if depth <= nearest[row, column] and depth >= -1.0 - DEPTH_TOLERANCE:
                nearest[row, column] = depth
                visible_face[row, column] = face


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def homogeneous_edges(positions, v0, v1, v2):
    """Whether a face may be seen at all, the vectors m_i = p_j x p_k, and the determinant of (p_0, p_1, p_2)."""
    x0, y0, z0, w0 = corner(positions, v0)
    x1, y1, z1, w1 = corner(positions, v1)
    x2, y2, z2, w2 = corner(positions, v2)
    is_outside = (
        (x0 > w0 and x1 > w1 and x2 > w2)
        or (x0 < -w0 and x1 < -w1 and x2 < -w2)
        or (y0 > w0 and y1 > w1 and y2 > w2)
        or (y0 < -w0 and y1 < -w1 and y2 < -w2)
        or (z0 > w0 and z1 > w1 and z2 > w2)
        or (z0 < -w0 and z1 < -w1 and z2 < -w2)
    )
    m0x, m0y, m0z = cross(x1, y1, w1, x2, y2, w2)
    m1x, m1y, m1z = cross(x2, y2, w2, x0, y0, w0)
    m2x, m2y, m2z = cross(x0, y0, w0, x1, y1, w1)
    determinant = x0 * m0x + y0 * m0y + w0 * m0z
    is_drawn = not is_outside and determinant != 0.0
    return is_drawn, m0x, m0y, m0z, m1x, m1y, m1z, m2x, m2y, m2z, determinant


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
@no_type_check
def homogeneous_depth(m0x, m0y, m0z, m1x, m1y, m1z, m2x, m2y, m2z, determinant, z0, z1, z2, fx, fy):
    """z/w of a face at a pixel centre; infinity where it does not cover it.

    a0 p0 + a1 p1 + a2 p2 = determinant * f: with the sign of the determinant all weights of a visible point are
    positive, and its w is then positive too.
    """
    sign = 1.0 if determinant > 0.0 else -1.0
    a0 = m0x * fx + m0y * fy + m0z
    a1 = m1x * fx + m1y * fy + m1z
    a2 = m2x * fx + m2y * fy + m2z
    s0, s1, s2 = sign * a0, sign * a1, sign * a2
    is_inside = (
        (s0 > 0.0 or (s0 == 0.0 and (sign * m0x > 0.0 or (m0x == 0.0 and sign * m0y > 0.0))))
        and (s1 > 0.0 or (s1 == 0.0 and (sign * m1x > 0.0 or (m1x == 0.0 and sign * m1y > 0.0))))
        and (s2 > 0.0 or (s2 == 0.0 and (sign * m2x > 0.0 or (m2x == 0.0 and sign * m2y > 0.0))))
    )
    return (a0 * z0 + a1 * z1 + a2 * z2) / determinant if is_inside else np.inf


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def rasterize_image_backward(positions, faces, raster, raster_gradient, derivatives_gradient, position_gradient):
    """Adds to `position_gradient` [vertices, 4] what u, v and their derivatives pass on to x, y and w.

    Args:
        raster_gradient: float32 [height, width, 4]; the last two channels are ignored. Empty (height 0): none.
        derivatives_gradient: float32 [height, width, 4], or empty.

    The clamping of u and v to the triangle, which undoes the snapping, is passed straight through.
    """
    height, width = raster.shape[0], raster.shape[1]
    has_weights = raster_gradient.shape[0] > 0
    has_derivatives = derivatives_gradient.shape[0] > 0
    per_pixel_x, per_pixel_y = 2.0 / width, 2.0 / height
    gu = gv = gux = guy = gvx = gvy = 0.0
    # Pixels in a row often see the same face: its gradients h_i towards the vectors m_i = p_j x p_k gather here, and
    # are passed on to its corners when the next face begins.
    last_face = -1
    gathered = np.zeros((3, 3))
    for row in range(height):
        fy = (2 * row + 1) / height - 1.0
        for column in range(width):
            face = np.int64(raster[row, column, 3]) - 1
            if face < 0:
                continue
            if has_weights:
                gu = np.float64(raster_gradient[row, column, 0])
                gv = np.float64(raster_gradient[row, column, 1])
            if has_derivatives:
                gux = per_pixel_x * derivatives_gradient[row, column, 0]
                guy = per_pixel_y * derivatives_gradient[row, column, 1]
                gvx = per_pixel_x * derivatives_gradient[row, column, 2]
                gvy = per_pixel_y * derivatives_gradient[row, column, 3]
            if gu == 0.0 and gv == 0.0 and gux == 0.0 and guy == 0.0 and gvx == 0.0 and gvy == 0.0:
                continue
            if face != last_face:
                if last_face >= 0:
                    _pass_to_corners(positions, faces, last_face, gathered, position_gradient)
                last_face = face
                x0, y0, _, w0 = corner(positions, faces[face, 0])
                x1, y1, _, w1 = corner(positions, faces[face, 1])
                x2, y2, _, w2 = corner(positions, faces[face, 2])
                m0x, m0y, m0z = cross(x1, y1, w1, x2, y2, w2)
                m1x, m1y, m1z = cross(x2, y2, w2, x0, y0, w0)
                m2x, m2y, m2z = cross(x0, y0, w0, x1, y1, w1)
                sum_x, sum_y, sum_z = m0x + m1x + m2x, m0y + m1y + m2y, m0z + m1z + m2z
            fx = (2 * column + 1) / width - 1.0
            h0x, h0y, h0z, h1x, h1y, h1z, h2x, h2y, h2z = toward_vectors(
                m0x, m0y, m0z, m1x, m1y, m1z, sum_x, sum_y, sum_z, fx, fy, gu, gv, gux, guy, gvx, gvy
            )
            gathered[0, 0] += h0x
            gathered[0, 1] += h0y
            gathered[0, 2] += h0z
            gathered[1, 0] += h1x
            gathered[1, 1] += h1y
            gathered[1, 2] += h1z
            gathered[2, 0] += h2x
            gathered[2, 1] += h2y
            gathered[2, 2] += h2z
    if last_face >= 0:
        _pass_to_corners(positions, faces, last_face, gathered, position_gradient)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
@no_type_check
def toward_vectors(m0x, m0y, m0z, m1x, m1y, m1z, sum_x, sum_y, sum_z, fx, fy, gu, gv, gux, guy, gvx, gvy):
    """The gradients h_i towards the vectors m_i = p_j x p_k, of the weights at a pixel centre.

    Args:
        sum_x, sum_y, sum_z: m_0 + m_1 + m_2.
        gu, gv: Gradients towards u and v.
        gux, guy, gvx, gvy: Gradients towards their derivatives by fx and fy.
    """
    area = sum_x * fx + sum_y * fy + sum_z
    inverse_area = 1.0 / (area + (AREA_REGULARISER if area >= 0.0 else -AREA_REGULARISER))
    u = (m0x * fx + m0y * fy + m0z) * inverse_area
    v = (m1x * fx + m1y * fy + m1z) * inverse_area

    # u = a0 / area and du/dfx = (m0x - u sum_x) / area; likewise for v and for y.
    toward_u = gu - (gux * sum_x + guy * sum_y) * inverse_area
    toward_v = gv - (gvx * sum_x + gvy * sum_y) * inverse_area
    toward_area = -(
        toward_u * u
        + toward_v * v
        + (gux * (m0x - u * sum_x) + guy * (m0y - u * sum_y)) * inverse_area
        + (gvx * (m1x - v * sum_x) + gvy * (m1y - v * sum_y)) * inverse_area
    )
    # a_i = f . m_i and area = f . (m0 + m1 + m2).
    shared_x, shared_y = -(gux * u + gvx * v), -(guy * u + gvy * v)
    toward_a0, toward_a1 = toward_u + toward_area, toward_v + toward_area
    return (
        (toward_a0 * fx + gux + shared_x) * inverse_area,
        (toward_a0 * fy + guy + shared_y) * inverse_area,
        toward_a0 * inverse_area,
        (toward_a1 * fx + gvx + shared_x) * inverse_area,
        (toward_a1 * fy + gvy + shared_y) * inverse_area,
        toward_a1 * inverse_area,
        (toward_area * fx + shared_x) * inverse_area,
        (toward_area * fy + shared_y) * inverse_area,
        toward_area * inverse_area,
    )


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
@no_type_check
def _pass_to_corners(positions, faces, face, gathered, position_gradient):
    """Passes gradients h_i towards m_i = p_j x p_k on to the corners, and empties them.

    h . (p x q) changes with p by q x h and with q by h x p.
    """
    for i in range(3):
        j, k = faces[face, (i + 1) % 3], faces[face, (i + 2) % 3]
        hx, hy, hz = gathered[i, 0], gathered[i, 1], gathered[i, 2]
        xj, yj, _, wj = corner(positions, j)
        xk, yk, _, wk = corner(positions, k)
        _add_cross(position_gradient, j, xk, yk, wk, hx, hy, hz)
        _add_cross(position_gradient, k, hx, hy, hz, xj, yj, wj)
        gathered[i, 0] = gathered[i, 1] = gathered[i, 2] = 0.0


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
@no_type_check
def _add_cross(position_gradient, vertex, ax, ay, az, bx, by, bz):
    """Adds a x b to the x, y and w of a vertex."""
    x, y, w = cross(ax, ay, az, bx, by, bz)
    position_gradient[vertex, 0] += x
    position_gradient[vertex, 1] += y
    position_gradient[vertex, 3] += w


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def interpolate_image(attributes, raster, faces, derivatives, chosen, interpolated, interpolated_derivatives):
    """Interpolates vertex attributes at every pixel.

    Args:
        attributes: float32 [vertices, channels].
        raster: float32 [height, width, 4].
        derivatives: float32 [height, width, 4], or empty when `chosen` is.
        chosen: int64 [derived], the channels whose derivatives by X and Y are wanted.
        interpolated: float32 [height, width, channels], written.
        interpolated_derivatives: float32 [height, width, 2 derived], written.
    """
    height, width, channels = interpolated.shape
    for row in range(height):
        for column in range(width):
            face = np.int64(raster[row, column, 3]) - 1
            if face < 0:
                for channel in range(channels):
                    interpolated[row, column, channel] = 0.0
                for channel in range(2 * len(chosen)):
                    interpolated_derivatives[row, column, channel] = 0.0
                continue
            u, v = raster[row, column, 0], raster[row, column, 1]
            rest = np.float32(1.0) - u - v
            v0, v1, v2 = faces[face, 0], faces[face, 1], faces[face, 2]
            for channel in range(channels):
                interpolated[row, column, channel] = (
                    u * attributes[v0, channel] + v * attributes[v1, channel] + rest * attributes[v2, channel]
                )
            for index in range(len(chosen)):
                channel = chosen[index]
                along_u = attributes[v0, channel] - attributes[v2, channel]
                along_v = attributes[v1, channel] - attributes[v2, channel]
                interpolated_derivatives[row, column, 2 * index] = (
                    derivatives[row, column, 0] * along_u + derivatives[row, column, 2] * along_v
                )
                interpolated_derivatives[row, column, 2 * index + 1] = (
                    derivatives[row, column, 1] * along_u + derivatives[row, column, 3] * along_v
                )


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def interpolate_image_backward(
    attributes,
    raster,
    faces,
    derivatives,
    chosen,
    interpolated_gradient,
    interpolated_derivatives_gradient,
    attribute_gradient,
    raster_gradient,
    derivatives_gradient,
):
    """Writes the gradients of `interpolate_image`; adds to `attribute_gradient`.

    Args:
        interpolated_gradient, interpolated_derivatives_gradient: as the results, or empty (height 0) for none.
        attribute_gradient: float32 [vertices, channels], or empty when it is not wanted.
        raster_gradient, derivatives_gradient: float32 [height, width, 4], zeros; or empty when not wanted.
    """
    height, width, _ = raster.shape
    channels = attributes.shape[1]
    has_values = interpolated_gradient.shape[0] > 0
    has_derivatives = interpolated_derivatives_gradient.shape[0] > 0
    wants_attributes = attribute_gradient.shape[0] > 0
    wants_raster = raster_gradient.shape[0] > 0
    wants_derivatives = derivatives_gradient.shape[0] > 0
    for row in range(height):
        for column in range(width):
            face = np.int64(raster[row, column, 3]) - 1
            if face < 0:
                continue
            v0, v1, v2 = faces[face, 0], faces[face, 1], faces[face, 2]
            if has_values:
                u, v = raster[row, column, 0], raster[row, column, 1]
                rest = np.float32(1.0) - u - v
                if wants_attributes:
                    for channel in range(channels):
                        gradient = interpolated_gradient[row, column, channel]
                        attribute_gradient[v0, channel] += u * gradient
                        attribute_gradient[v1, channel] += v * gradient
                        attribute_gradient[v2, channel] += rest * gradient
                if wants_raster:
                    toward_u = toward_v = np.float32(0.0)
                    for channel in range(channels):
                        gradient = interpolated_gradient[row, column, channel]
                        toward_u += gradient * (attributes[v0, channel] - attributes[v2, channel])
                        toward_v += gradient * (attributes[v1, channel] - attributes[v2, channel])
                    raster_gradient[row, column, 0] = toward_u
                    raster_gradient[row, column, 1] = toward_v
            if has_derivatives:
                for index in range(len(chosen)):
                    channel = chosen[index]
                    by_x = interpolated_derivatives_gradient[row, column, 2 * index]
                    by_y = interpolated_derivatives_gradient[row, column, 2 * index + 1]
                    if wants_attributes:
                        toward_0 = derivatives[row, column, 0] * by_x + derivatives[row, column, 1] * by_y
                        toward_1 = derivatives[row, column, 2] * by_x + derivatives[row, column, 3] * by_y
                        attribute_gradient[v0, channel] += toward_0
                        attribute_gradient[v1, channel] += toward_1
                        attribute_gradient[v2, channel] -= toward_0 + toward_1
                    if wants_derivatives:
                        along_u = attributes[v0, channel] - attributes[v2, channel]
                        along_v = attributes[v1, channel] - attributes[v2, channel]
                        derivatives_gradient[row, column, 0] += along_u * by_x
                        derivatives_gradient[row, column, 1] += along_u * by_y
                        derivatives_gradient[row, column, 2] += along_v * by_x
                        derivatives_gradient[row, column, 3] += along_v * by_y
