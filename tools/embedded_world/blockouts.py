"""Every class once more, roughly put together from a few boxes, balls and cones, as an artist blocks out an idea."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from manifold3d import Manifold

from tools.embedded_world.solids import ColouredMesh, Paint, ball, box, fit_to_ball, join, ring, rod


class _Sketcher:
    """Solids whose sizes and places are a bit off, as quick hands leave them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._sides = int(rng.choice([8, 10, 12, 16]))

    def _off(self, value: float, share: float = 0.15) -> float:
        return value * float(self._rng.uniform(1 - share, 1 + share))

    def _place(self, solid: Manifold, at: tuple[float, float, float]) -> Manifold:
        tilt = self._rng.normal(0, 4, 3)
        return solid.rotate(list(tilt)).translate(list(np.array(at) + self._rng.normal(0, 0.015, 3)))

    def box(self, x: float, y: float, z: float, at: tuple[float, float, float] = (0, 0, 0)) -> Manifold:
        return self._place(box((self._off(x), self._off(y), self._off(z))), at)

    def ball(self, radius: float, at: tuple[float, float, float] = (0, 0, 0), flat: float = 1.0) -> Manifold:
        return self._place(
            ball((self._off(radius), self._off(radius * flat), self._off(radius)), sides=self._sides), at
        )

    def rod(self, radius: float, height: float, at: tuple[float, float, float] = (0, 0, 0)) -> Manifold:
        height = self._off(height)
        return self._place(rod(self._off(radius), -height / 2, height / 2, sides=self._sides), at)

    def cone(self, radius: float, height: float, at: tuple[float, float, float] = (0, 0, 0), sign: int = 1) -> Manifold:
        height = self._off(height)
        low, high = (self._off(radius), 0.02) if sign > 0 else (0.02, self._off(radius))
        return self._place(rod(low, -height / 2, height / 2, high, sides=self._sides), at)

    def ring(self, radius: float, thickness: float) -> Manifold:
        return ring(self._off(radius), self._off(thickness), self._sides, 8)


_BLOCKOUTS: dict[str, Callable[[_Sketcher], list[Manifold]]] = {
    "sphere": lambda s: [s.ball(1)],
    "cube": lambda s: [s.box(1, 1, 1)],
    "cylinder": lambda s: [s.rod(0.5, 1.3)],
    "cone": lambda s: [s.cone(0.62, 1.4)],
    "donut": lambda s: [s.ring(0.62, 0.3)],
    "mug": lambda s: [
        s.rod(0.46, 1.0), s.box(0.34, 0.1, 0.12, (0.58, 0.25, 0)), s.box(0.34, 0.1, 0.12, (0.58, -0.25, 0)),
        s.box(0.1, 0.6, 0.12, (0.74, 0, 0)),
    ],
    "chair": lambda s: [
        s.box(0.85, 0.14, 0.85), s.box(0.85, 0.85, 0.13, (0, 0.45, -0.38)),
        *[s.box(0.13, 0.75, 0.13, (x, -0.36, z)) for x in (-0.34, 0.34) for z in (-0.34, 0.34)],
    ],
    "table": lambda s: [
        s.box(1.7, 0.14, 1.1), *[s.box(0.14, 0.8, 0.14, (x, -0.4, z)) for x in (-0.7, 0.7) for z in (-0.42, 0.42)],
    ],
    "mushroom": lambda s: [s.rod(0.2, 0.8, (0, 0.4, 0)), s.ball(0.68, (0, 0.85, 0), 0.6)],
    "snowman": lambda s: [
        s.ball(0.5), s.ball(0.37, (0, 0.65, 0)), s.ball(0.26, (0, 1.12, 0)), s.box(0.34, 0.3, 0.34, (0, 1.42, 0)),
    ],
    "rocket": lambda s: [
        s.rod(0.3, 1.1), s.cone(0.3, 0.5, (0, 0.8, 0)), s.box(1.2, 0.45, 0.08, (0, -0.4, 0)),
        s.box(0.08, 0.45, 1.2, (0, -0.4, 0)),
    ],
    "tree": lambda s: [s.rod(0.13, 0.5, (0, 0.2, 0)), s.cone(0.6, 0.8, (0, 0.75, 0)), s.cone(0.42, 0.75, (0, 1.2, 0))],
    "house": lambda s: [
        s.box(1.0, 0.65, 0.95), s._place(_roof(s), (0, 0.3, 0)), s.box(0.16, 0.45, 0.16, (0.28, 0.65, -0.15)),
    ],
    "star": lambda s: [s.ball(0.42, flat=1.0).scale([1, 1, 0.6]), *_spikes(s)],
    "heart": lambda s: [
        s.ball(0.42, (-0.34, 0.3, 0)), s.ball(0.42, (0.34, 0.3, 0)),
        s.cone(0.72, 0.95, (0, -0.3, 0), -1).scale([1, 1, 0.55]),
    ],
    "bottle": lambda s: [s.rod(0.34, 0.9), s.cone(0.33, 0.5, (0, 0.68, 0)), s.rod(0.12, 0.5, (0, 0.85, 0))],
    "car": lambda s: [
        s.box(0.8, 0.36, 1.9), s.box(0.66, 0.32, 0.95, (0, 0.3, -0.15)),
        *[s.rod(0.2, 0.16).rotate([0, 0, 90]).translate([x, -0.2, z]) for x in (-0.38, 0.38) for z in (-0.55, 0.55)],
    ],
    "hourglass": lambda s: [
        s.cone(0.45, 0.75, (0, -0.33, 0)), s.cone(0.45, 0.75, (0, 0.33, 0), -1), s.box(1.0, 0.12, 1.0, (0, 0.72, 0)),
        s.box(1.0, 0.12, 1.0, (0, -0.72, 0)),
    ],
}  # fmt: skip


def make_blockout(name: str, rng: np.random.Generator) -> ColouredMesh:
    """A rough instance of a class, all in part 0, closed, within the same ball as the real ones."""
    if name not in _BLOCKOUTS:
        raise ValueError(f"no blockout is called {name!r}; there are {', '.join(_BLOCKOUTS)}")
    paint = Paint()
    return fit_to_ball(paint.mesh_of(paint(join(_BLOCKOUTS[name](_Sketcher(rng))), 0)))


def _roof(sketcher: _Sketcher) -> Manifold:
    """A four-sided cone turned so that its sides stand over the walls."""
    return rod(0.85, 0, sketcher._off(0.6), 0.02, sides=4).rotate([0, 45, 0])


def _spikes(sketcher: _Sketcher) -> list[Manifold]:
    return [sketcher.cone(0.27, 0.72, (0, 0.62, 0)).scale([1, 1, 0.6]).rotate([0, 0, 72 * turn]) for turn in range(5)]
