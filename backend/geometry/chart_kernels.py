"""Loops over charts and their faces, compiled by numba: one thread, no GIL, indices not checked."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

AXIS_COUNT = 6


@njit(nogil=True, cache=True)
@no_type_check
def smooth_face_normals(area_normals, neighbours, rounds):
    """Diffuses area-weighted normals over the surface and makes them unit.

    Args:
        area_normals: [faces, 3], normals with the area as length, so that slivers count for little.
        neighbours: int32 [faces, 3], -1 where an edge is open.
        rounds: How often a face takes the mean of itself and its neighbours.
    """
    smooth = area_normals.copy()
    for _ in range(rounds):
        previous = smooth.copy()
        for face in range(len(neighbours)):
            for corner in range(3):
                other = neighbours[face, corner]
                if other < 0:
                    other = face
                for axis in range(3):
                    smooth[face, axis] += previous[other, axis]
            for axis in range(3):
                smooth[face, axis] *= 0.25
    for face in range(len(smooth)):
        length = np.sqrt(smooth[face, 0] ** 2 + smooth[face, 1] ** 2 + smooth[face, 2] ** 2)
        if length > 0:
            for axis in range(3):
                smooth[face, axis] /= length
    return smooth


@njit(nogil=True, cache=True)
@no_type_check
def _along(normal, axis):
    """The cosine between a unit normal and one of the directions +X, -X, +Y, -Y, +Z, -Z."""
    return normal[axis >> 1] if axis % 2 == 0 else -normal[axis >> 1]


@njit(nogil=True, cache=True)
@no_type_check
def choose_axes(own_normals, smooth_normals, neighbours, edge_shares, least_cosine, neighbour_weight, sweeps):
    """The direction from which each face is seen best, and that most of its surroundings agree on.

    Iterated conditional modes: sweep by sweep each face takes the direction with the highest sum of the cosine with its
    smoothed normal and the weighted share of its border behind which the same direction was chosen.

    Args:
        own_normals: Unit normals [faces, 3]; a direction has to be within `least_cosine` of it.
        edge_shares: [faces, 3], lengths of the edges as shares of the face's border.

    Returns:
        int8 [faces], the number of the direction.
    """
    face_count = len(own_normals)
    axes = np.zeros(face_count, np.int8)
    for sweep in range(sweeps + 1):
        changed = 0
        for face in range(face_count):
            best, best_score = -1, -np.inf
            for axis in range(AXIS_COUNT):
                if _along(own_normals[face], axis) < least_cosine:
                    continue
                score = _along(smooth_normals[face], axis)
                if sweep > 0:
                    for corner in range(3):
                        other = neighbours[face, corner]
                        if other >= 0 and axes[other] == axis:
                            score += neighbour_weight * edge_shares[face, corner]
                if score > best_score:
                    best, best_score = axis, score
            if best != axes[face]:
                axes[face] = best
                changed += 1
        if changed == 0:
            break
    return axes


@njit(nogil=True, cache=True)
@no_type_check
def _separates(first, second, tolerance):
    """True if an edge of the counter-clockwise triangle `first` has all of `second` outside, to within the tolerance.

    Corners that both triangles have are exactly on the edge: (q - p) x (p - p) and (q - p) x (q - p) round to 0.
    """
    for corner in range(3):
        start_x, start_y = first[corner, 0], first[corner, 1]
        edge_x = first[(corner + 1) % 3, 0] - start_x
        edge_y = first[(corner + 1) % 3, 1] - start_y
        limit = tolerance * np.sqrt(edge_x * edge_x + edge_y * edge_y)
        is_outside = True
        for point in range(3):
            if edge_x * (second[point, 1] - start_y) - edge_y * (second[point, 0] - start_x) > limit:
                is_outside = False
        if is_outside:
            return True
    return False


@njit(nogil=True, cache=True)
@no_type_check
def _distance_to_corners(first, second):
    """The least distance from the edges of one triangle to the corners of another that does not overlap it."""
    least = np.inf
    for corner in range(3):
        start_x, start_y = first[corner, 0], first[corner, 1]
        edge_x = first[(corner + 1) % 3, 0] - start_x
        edge_y = first[(corner + 1) % 3, 1] - start_y
        squared_length = edge_x * edge_x + edge_y * edge_y
        for point in range(3):
            x, y = second[point, 0] - start_x, second[point, 1] - start_y
            along = 0.0
            if squared_length > 0:
                along = min(max((x * edge_x + y * edge_y) / squared_length, 0.0), 1.0)
            least = min(least, (x - along * edge_x) ** 2 + (y - along * edge_y) ** 2)
    return np.sqrt(least)


@njit(nogil=True, cache=True)
@no_type_check
def _cell(value, origin, cells_per_unit, count):
    return min(max(np.int64((value - origin) * cells_per_unit), 0), count - 1)


@njit(nogil=True, cache=True)
@no_type_check
def find_overlaps(triangles, tolerance):
    """Pairs of triangles in the plane whose interiors overlap by more than the tolerance, found exactly.

    Args:
        triangles: float64 [triangles, 3 corners, 2], of either orientation.
        tolerance: In the unit of the corners. Triangles that are thinner cannot overlap anything.

    Returns:
        int32 [pairs, 2], the lower number first.
    """
    return find_conflicts(triangles, np.zeros((len(triangles), 2)), tolerance, 0.0, np.inf, 0.0)


@njit(nogil=True, cache=True)
@no_type_check
def find_conflicts(triangles, heights, tolerance, gap, steepest, smallest_step):
    """`find_overlaps`; or, with a gap, pairs that overlap or lie side by side with a step in height between them.

    Triangles are sorted into a grid of cells; two in the same cell are compared by the separating axis theorem. A pair
    is compared in one cell only, the first that both lie in.

    Args:
        triangles: float64 [triangles, 3 corners, 2], of either orientation.
        heights: float64 [triangles, 2], the lowest and the highest corner above the plane.
        tolerance: In the unit of the corners. Triangles that are thinner cannot overlap anything.
        gap: If this is not 0, pairs are looked at if the boxes around them come this near.
        steepest, smallest_step: Such a pair is in conflict if between them there is a step in height of more than
            `smallest_step`, and of more than `smallest_step + steepest * distance` if they do not overlap.

    Returns:
        int32 [pairs, 2], the lower number first.
    """
    count = len(triangles)
    corners = triangles.copy()
    boxes = np.empty((count, 4), np.float64)
    is_thin = np.zeros(count, np.bool_)
    low_x, low_y, high_x, high_y = np.inf, np.inf, -np.inf, -np.inf
    extent_sum = 0.0
    for i in range(count):
        t = corners[i]
        ux, uy, vx, vy = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[2, 0] - t[0, 0], t[2, 1] - t[0, 1]
        twice_area = ux * vy - uy * vx
        if twice_area < 0:
            for axis in range(2):
                t[1, axis], t[2, axis] = t[2, axis], t[1, axis]
        longest = np.sqrt(max(ux * ux + uy * uy, vx * vx + vy * vy, (vx - ux) ** 2 + (vy - uy) ** 2))
        is_thin[i] = abs(twice_area) <= tolerance * longest
        # Widened by half of the gap: boxes of triangles within the gap touch.
        boxes[i, 0] = min(t[0, 0], t[1, 0], t[2, 0]) - 0.5 * gap
        boxes[i, 1] = min(t[0, 1], t[1, 1], t[2, 1]) - 0.5 * gap
        boxes[i, 2] = max(t[0, 0], t[1, 0], t[2, 0]) + 0.5 * gap
        boxes[i, 3] = max(t[0, 1], t[1, 1], t[2, 1]) + 0.5 * gap
        low_x, low_y = min(low_x, boxes[i, 0]), min(low_y, boxes[i, 1])
        high_x, high_y = max(high_x, boxes[i, 2]), max(high_y, boxes[i, 3])
        extent_sum += max(boxes[i, 2] - boxes[i, 0], boxes[i, 3] - boxes[i, 1])
    if count < 2 or extent_sum == 0:
        return np.empty((0, 2), np.int32)

    # Cells about as large as a triangle, and not many more than there are triangles.
    width, height = high_x - low_x, high_y - low_y
    cell_size = max(extent_sum / count, np.sqrt(max(width * height, 1e-300) / (4.0 * count)), max(width, height) / 4096)
    cells_per_unit = 1.0 / cell_size
    columns, rows = np.int64(width * cells_per_unit) + 1, np.int64(height * cells_per_unit) + 1

    cells = np.empty((count, 4), np.int64)
    first_entry = np.zeros(columns * rows + 1, np.int64)
    for i in range(count):
        cells[i, 0] = _cell(boxes[i, 0], low_x, cells_per_unit, columns)
        cells[i, 1] = _cell(boxes[i, 1], low_y, cells_per_unit, rows)
        cells[i, 2] = _cell(boxes[i, 2], low_x, cells_per_unit, columns)
        cells[i, 3] = _cell(boxes[i, 3], low_y, cells_per_unit, rows)
        if is_thin[i]:
            continue
        for y in range(cells[i, 1], cells[i, 3] + 1):
            for x in range(cells[i, 0], cells[i, 2] + 1):
                first_entry[y * columns + x + 1] += 1
    for cell in range(columns * rows):
        first_entry[cell + 1] += first_entry[cell]
    entries = np.empty(first_entry[-1], np.int32)
    end_entry = first_entry.copy()
    for i in range(count):
        if is_thin[i]:
            continue
        for y in range(cells[i, 1], cells[i, 3] + 1):
            for x in range(cells[i, 0], cells[i, 2] + 1):
                entries[end_entry[y * columns + x]] = i
                end_entry[y * columns + x] += 1

    pairs = np.empty((64, 2), np.int32)
    pair_count = 0
    for y in range(rows):
        for x in range(columns):
            cell = y * columns + x
            for a in range(first_entry[cell], first_entry[cell + 1]):
                i = entries[a]
                for b in range(a + 1, first_entry[cell + 1]):
                    j = entries[b]
                    if max(cells[i, 0], cells[j, 0]) != x or max(cells[i, 1], cells[j, 1]) != y:
                        continue  # compared in another cell
                    if (
                        boxes[i, 2] <= boxes[j, 0]
                        or boxes[j, 2] <= boxes[i, 0]
                        or boxes[i, 3] <= boxes[j, 1]
                        or boxes[j, 3] <= boxes[i, 1]
                    ):
                        continue
                    step = max(heights[i, 0] - heights[j, 1], heights[j, 0] - heights[i, 1])
                    if gap > 0 and step <= smallest_step:
                        continue  # the most frequent case, before anything is computed
                    if _separates(corners[i], corners[j], tolerance) or _separates(corners[j], corners[i], tolerance):
                        if gap == 0:
                            continue
                        distance = min(
                            _distance_to_corners(corners[i], corners[j]), _distance_to_corners(corners[j], corners[i])
                        )
                        if step <= smallest_step + steepest * distance:
                            continue
                    if pair_count == len(pairs):
                        larger = np.empty((2 * pair_count, 2), np.int32)
                        larger[:pair_count] = pairs
                        pairs = larger
                    pairs[pair_count, 0], pairs[pair_count, 1] = min(i, j), max(i, j)
                    pair_count += 1
    return pairs[:pair_count].copy()


@njit(nogil=True, cache=True)
@no_type_check
def find_conflicts_within_charts(
    triangles, heights, faces_by_chart, first_of_chart, tolerance, gap, steepest, smallest_step
):
    """`find_conflicts` chart by chart.

    Args:
        triangles: float64 [faces, 3, 2], each chart in its own plane.
        heights: float64 [faces, 2].
        faces_by_chart: int64 [faces], numbers of the faces, chart after chart.
        first_of_chart: int64 [charts + 1], where each chart starts in `faces_by_chart`.

    Returns:
        int64 [pairs, 2], numbers of faces.
    """
    found = np.empty((64, 2), np.int64)
    found_count = 0
    for chart in range(len(first_of_chart) - 1):
        members = faces_by_chart[first_of_chart[chart] : first_of_chart[chart + 1]]
        if len(members) < 2:
            continue
        pairs = find_conflicts(triangles[members], heights[members], tolerance, gap, steepest, smallest_step)
        while found_count + len(pairs) > len(found):
            larger = np.empty((2 * len(found), 2), np.int64)
            larger[:found_count] = found[:found_count]
            found = larger
        for pair in range(len(pairs)):
            found[found_count, 0] = members[pairs[pair, 0]]
            found[found_count, 1] = members[pairs[pair, 1]]
            found_count += 1
    return found[:found_count].copy()


@njit(nogil=True, cache=True)
@no_type_check
def count_coverage(corners, counts):
    """Adds 1 to each pixel for every triangle that covers its centre. A centre on a shared edge belongs to one of two.

    Args:
        corners: int64 [triangles, 3, 2], in 1/256 of a pixel, x and y; of either orientation.
        counts: int32 [height, width], added to.
    """
    height, width = counts.shape
    for i in range(len(corners)):
        ax, ay = corners[i, 0, 0], corners[i, 0, 1]
        bx, by = corners[i, 1, 0], corners[i, 1, 1]
        cx, cy = corners[i, 2, 0], corners[i, 2, 1]
        twice_area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if twice_area == 0:
            continue
        if twice_area < 0:
            bx, by, cx, cy = cx, cy, bx, by
        # Pixel centres are at odd multiples of 128. The top-left rule, as a bias of one unit on the other edges.
        bias_a = 0 if by > ay or (by == ay and bx < ax) else -1
        bias_b = 0 if cy > by or (cy == by and cx < bx) else -1
        bias_c = 0 if ay > cy or (ay == cy and ax < cx) else -1
        first_x, last_x = max((min(ax, bx, cx) - 128) >> 8, 0), min((max(ax, bx, cx) + 128) >> 8, width - 1)
        first_y, last_y = max((min(ay, by, cy) - 128) >> 8, 0), min((max(ay, by, cy) + 128) >> 8, height - 1)
        for y in range(first_y, last_y + 1):
            py = 256 * y + 128
            for x in range(first_x, last_x + 1):
                px = 256 * x + 128
                if (
                    (bx - ax) * (py - ay) - (by - ay) * (px - ax) + bias_a >= 0
                    and (cx - bx) * (py - by) - (cy - by) * (px - bx) + bias_b >= 0
                    and (ax - cx) * (py - cy) - (ay - cy) * (px - cx) + bias_c >= 0
                ):
                    counts[y, x] += 1
