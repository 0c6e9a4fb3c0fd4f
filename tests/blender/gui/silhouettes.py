"""Which pixels a mesh covers, for tests in Blender's Python: NumPy alone."""

import numpy as np


def covered_pixels(places, triangles, shape):
    """bool [rows, columns]: the pixels whose middles lie in one of the triangles, row 0 at y = 0.

    Args:
        places: [vertices, 2], x and y of each vertex in pixels.
        triangles: Of three vertices each.
    """
    covered = np.zeros(shape, bool)
    for triangle in triangles:
        a, b, c = places[list(triangle)]
        low = np.clip(np.floor(np.min((a, b, c), axis=0)).astype(int), 0, shape[::-1])
        high = np.clip(np.ceil(np.max((a, b, c), axis=0)).astype(int), 0, shape[::-1])
        rows, columns = np.mgrid[low[1] : high[1], low[0] : high[0]] + 0.5
        sides = [
            (end[0] - start[0]) * (rows - start[1]) - (end[1] - start[1]) * (columns - start[0])
            for start, end in ((a, b), (b, c), (c, a))
        ]
        inside = (np.min(sides, axis=0) >= 0) | (np.max(sides, axis=0) <= 0)
        covered[low[1] : high[1], low[0] : high[0]] |= inside
    return covered
