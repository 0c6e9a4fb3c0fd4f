"""Loops of chart packing, compiled by numba: one thread, no GIL, indices not checked."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
@no_type_check
def _profiles(outline, scale, quarter_turns, margin, lowest, highest):
    """A chart as seen from below and from above, column by column, widened by the margin.

    Args:
        outline: [segments, 2 ends, 2] in metres, the border of the chart.
        quarter_turns: How often the chart is turned to the left by 90 degrees.
        lowest: int64 [columns], written: the first row that the chart touches.
        highest: int64 [columns], written: the row after the last.

    Returns:
        Width in columns, height in rows, and what to add to the turned texel coordinates so that the chart with its
        margin starts at (0, 0). The width is -1 if it is more than there are columns.
    """
    low_x, low_y, high_x, high_y = np.inf, np.inf, -np.inf, -np.inf
    ends = np.empty(outline.shape, np.float64)
    for segment in range(len(outline)):
        for end in range(2):
            x, y = scale * outline[segment, end, 0], scale * outline[segment, end, 1]
            if quarter_turns == 1:
                x, y = -y, x
            elif quarter_turns == 2:
                x, y = -x, -y
            elif quarter_turns == 3:
                x, y = y, -x
            ends[segment, end, 0], ends[segment, end, 1] = x, y
            low_x, low_y, high_x, high_y = min(low_x, x), min(low_y, y), max(high_x, x), max(high_y, y)
    shift_x, shift_y = margin - low_x, margin - low_y
    columns = len(lowest)
    if not (high_x - low_x + 2 * margin <= columns and high_y - low_y + 2 * margin <= columns):
        return -1, -1, shift_x, shift_y
    width = max(np.int64(np.ceil(high_x - low_x + 2 * margin)), 1)
    height = max(np.int64(np.ceil(high_y - low_y + 2 * margin)), 1)
    for column in range(width):
        lowest[column], highest[column] = height, 0
    for segment in range(len(ends)):
        ax, ay = ends[segment, 0, 0] + shift_x, ends[segment, 0, 1] + shift_y
        bx, by = ends[segment, 1, 0] + shift_x, ends[segment, 1, 1] + shift_y
        if ax > bx:
            ax, ay, bx, by = bx, by, ax, ay
        slope = (by - ay) / (bx - ax) if bx > ax else 0.0
        # Each column that comes within the margin of the segment sees the lowest and highest point of that part of it.
        first = max(np.int64(np.floor(ax - margin)), 0)
        last = min(np.int64(np.floor(bx + margin)), width - 1)
        for column in range(first, last + 1):
            y_left, y_right = ay, by
            if bx > ax:
                y_left = ay + slope * (min(max(column - margin, ax), bx) - ax)
                y_right = ay + slope * (min(max(column + 1 + margin, ax), bx) - ax)
            lowest[column] = min(lowest[column], max(np.int64(np.floor(min(y_left, y_right) - margin)), 0))
            highest[column] = max(highest[column], min(np.int64(np.ceil(max(y_left, y_right) + margin)), height))
    return width, height, shift_x, shift_y


@njit(nogil=True, cache=True)
@no_type_check
def drop_charts(outlines, first_of_chart, scale, texture_size, margin):
    """Drops charts into a square, large ones first, each to where it ends lowest and the room lost beneath is least.

    Args:
        outlines: float64 [segments, 2 ends, 2] in metres, the borders of the charts, chart after chart.
        first_of_chart: int64 [charts + 1].
        scale: Texels per metre.
        texture_size: Side of the square in texels.
        margin: Texels kept free around each chart.

    Returns:
        Whether all fit; int64 [charts], quarter turns to the left; float64 [charts, 2], what to add after turning.
    """
    chart_count = len(first_of_chart) - 1
    turns = np.zeros(chart_count, np.int64)
    offsets = np.zeros((chart_count, 2), np.float64)
    longest = np.zeros(chart_count, np.float64)
    for chart in range(chart_count):
        for axis in range(2):
            low, high = np.inf, -np.inf
            for segment in range(first_of_chart[chart], first_of_chart[chart + 1]):
                low = min(low, outlines[segment, 0, axis], outlines[segment, 1, axis])
                high = max(high, outlines[segment, 0, axis], outlines[segment, 1, axis])
            longest[chart] = max(longest[chart], high - low)
    order = np.argsort(-longest, kind="mergesort")

    horizon = np.zeros(texture_size, np.int64)
    lowest = np.empty((4, texture_size), np.int64)
    highest = np.empty((4, texture_size), np.int64)
    for chart in order:
        outline = outlines[first_of_chart[chart] : first_of_chart[chart + 1]]
        if len(outline) == 0:
            continue  # a chart without border has no extent in the plane either
        best_cost, best_turn, best_x, best_y, best_width = np.inf, -1, 0, 0, 0
        best_shift_x, best_shift_y = 0.0, 0.0
        for turn in range(4):
            width, height, shift_x, shift_y = _profiles(outline, scale, turn, margin, lowest[turn], highest[turn])
            if width < 0:
                break  # too long for the square; no turn will help
            for x in range(texture_size - width + 1):
                y = 0
                highest_start = min(texture_size - height, best_cost - height)
                for column in range(width):
                    y = max(y, horizon[x + column] - lowest[turn, column])
                    if y > highest_start:
                        break
                if y > highest_start:
                    continue
                lost = 0
                for column in range(width):
                    lost += y + lowest[turn, column] - horizon[x + column]
                # The area lost beneath the chart counts as if it raised the chart by that area over its width.
                cost = y + height + lost / width
                if cost < best_cost:
                    best_cost, best_turn, best_x, best_y, best_width = cost, turn, x, y, width
                    best_shift_x, best_shift_y = shift_x, shift_y
        if best_turn < 0:
            return False, turns, offsets
        turns[chart] = best_turn
        offsets[chart, 0], offsets[chart, 1] = best_x + best_shift_x, best_y + best_shift_y
        for column in range(best_width):
            horizon[best_x + column] = max(horizon[best_x + column], best_y + highest[best_turn, column])
    return True, turns, offsets
