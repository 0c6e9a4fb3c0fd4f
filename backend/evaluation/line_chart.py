"""Lines over a common axis with a band around each, as an SVG that stands by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 620.0, 352.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 20.0, 64.0, 48.0
COLOURS = ("#2563eb", "#c2410c", "#15803d", "#7c3aed", "#0f766e", "#b45309", "#6b7280")
TICKS = 5


@dataclass(frozen=True)
class Line:
    """Values at the places of the axis, and from where to where they spread."""

    name: str
    values: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    """Both or none; drawn as a band."""


@dataclass(frozen=True)
class Chart:
    """One picture."""

    title: str
    x_name: str
    y_name: str
    x: Sequence[float]
    lines: Sequence[Line]
    from_zero: bool = True
    """Whether the axis of the values begins at 0."""

    def svg(self) -> str:
        """The picture.

        Raises:
            ValueError: A line has not one value for each place, or one that is not finite.
        """
        for line in self.lines:
            ends = [each for each in (line.values, line.low, line.high) if each is not None]
            if any(len(each) != len(self.x) for each in ends):
                raise ValueError(f"the line {line.name!r} must have {len(self.x)} values, one for each place")
            if not all(math.isfinite(value) for each in ends for value in each):
                raise ValueError(f"the line {line.name!r} has values that are not finite")
        ticks = round_ticks(*self._range())
        x_of = _scale(self.x[0], self.x[-1], _LEFT, WIDTH - _RIGHT)
        y_of = _scale(ticks[0], ticks[-1], HEIGHT - _BOTTOM, _TOP)
        return "".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" width="{WIDTH:g}" '
                f'height="{HEIGHT:g}" font-family="sans-serif" font-size="11" role="img" '
                f'aria-label="{escape(self.title)}">',
                f'<rect width="{WIDTH:g}" height="{HEIGHT:g}" fill="white"/>',
                _text(_LEFT, 16.0, self.title, "start", size=13),
                *self._axes(ticks, x_of, y_of),
                *(self._drawn(line, COLOURS[i % len(COLOURS)], x_of, y_of) for i, line in enumerate(self.lines)),
                *self._legend(),
                "</svg>",
            ]
        )

    def _range(self) -> tuple[float, float]:
        values = [
            value
            for line in self.lines
            for each in (line.values, line.low, line.high)
            if each is not None
            for value in each
        ]
        return (min(0.0, *values) if self.from_zero else min(values)), max(values)

    def _axes(
        self, ticks: list[float], x_of: Callable[[float], float], y_of: Callable[[float], float]
    ) -> Sequence[str]:
        parts = []
        for tick in ticks:
            y = y_of(tick)
            parts.append(f'<line x1="{_LEFT:g}" y1="{y:.1f}" x2="{WIDTH - _RIGHT:g}" y2="{y:.1f}" stroke="#e4e5e8"/>')
            parts.append(_text(_LEFT - 7, y + 4, f"{tick:g}", "end"))
        parts += [_text(x_of(place), HEIGHT - _BOTTOM + 16, f"{place:g}", "middle") for place in self.x]
        parts.append(_text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 10, self.x_name, "middle"))
        middle = (HEIGHT - _BOTTOM + _TOP) / 2
        parts.append(f'<g transform="rotate(-90 14 {middle})">{_text(14.0, middle + 4, self.y_name, "middle")}</g>')
        return parts

    def _drawn(self, line: Line, colour: str, x_of: Callable[[float], float], y_of: Callable[[float], float]) -> str:
        def points(values: Sequence[float]) -> list[str]:
            return [f"{x_of(place):.1f},{y_of(value):.1f}" for place, value in zip(self.x, values, strict=True)]

        band = ""
        if line.low is not None and line.high is not None:
            around = " ".join(points(line.high) + points(line.low)[::-1])
            band = f'<polygon points="{around}" fill="{colour}" opacity="0.13"/>'
        path = " ".join(points(line.values))
        return f'{band}<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'

    def _legend(self) -> Sequence[str]:
        """Names from left to right, in a second row where the first is full."""
        x, y, parts = _LEFT, 30.0, []
        for index, line in enumerate(self.lines):
            colour, width = COLOURS[index % len(COLOURS)], 36 + 6.0 * len(line.name)
            if x > _LEFT and x + width > WIDTH:
                x, y = _LEFT, y + 16
            parts.append(f'<rect x="{x:.0f}" y="{y - 2:.0f}" width="14" height="4" fill="{colour}"/>')
            parts.append(_text(x + 19, y + 4, line.name, "start"))
            x += width
        return parts


def round_ticks(low: float, high: float) -> list[float]:
    """Round numbers that enclose a range, about five of them."""
    width = high - low or abs(high) or 1.0
    rough = width / (TICKS - 1)
    magnitude = 10.0 ** math.floor(math.log10(rough))
    spacing = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * 0.999)
    first, last = math.floor(low / spacing + 1e-9), math.ceil(high / spacing - 1e-9)
    return [round(index * spacing, 12) for index in range(first, max(last, first + 1) + 1)]


def _scale(first: float, last: float, begin: float, end: float) -> Callable[[float], float]:
    return lambda value: begin + (value - first) / ((last - first) or 1.0) * (end - begin)


def _text(x: float, y: float, words: str, anchor: str, size: int = 11) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#40454f">{escape(words)}</text>'
    )
