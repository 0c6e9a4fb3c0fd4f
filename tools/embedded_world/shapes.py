"""The classes of shapes, each built from solids with proportions that vary from one instance to the next.

Y up, front along +Z: the chair opens towards +Z, the car drives towards +Z, the house shows its door there, the star
and the heart show their faces; the mug's handle points to +X. Every mesh is closed, in one piece, and reaches exactly
0.9 metres from the origin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from manifold3d import Manifold

from tools.embedded_world.solids import (
    ColouredMesh,
    Paint,
    ball,
    box,
    fit_to_ball,
    join,
    lathe,
    puff,
    ring,
    rod,
    slab,
)

Colour = tuple[float, float, float]

WOOD: Colour = (0.45, 0.29, 0.17)
CREAM: Colour = (0.93, 0.89, 0.80)
COAL: Colour = (0.13, 0.13, 0.15)
STEEL: Colour = (0.62, 0.64, 0.67)
SLATE: Colour = (0.33, 0.34, 0.38)
GLASS: Colour = (0.74, 0.85, 0.92)
CARROT: Colour = (0.94, 0.50, 0.12)
DOUGH: Colour = (0.80, 0.60, 0.36)
IVORY: Colour = (0.96, 0.95, 0.92)

MAIN, SECOND, THIRD = 0, 1, 2


class Proportions:
    """Sizes around their canonical values; without a generator exactly those values."""

    def __init__(self, rng: np.random.Generator | None) -> None:
        self._rng = rng

    def __call__(self, value: float, share: float = 0.12) -> float:
        """`value`, up to `share` of it larger or smaller."""
        return value if self._rng is None else value * float(self._rng.uniform(1 - share, 1 + share))


Build = Callable[[Proportions, Paint], list[Manifold]]


def _sphere(vary: Proportions, paint: Paint) -> list[Manifold]:
    return [paint(ball((vary(1, 0.03), 1, vary(1, 0.03)), sides=48), MAIN)]


def _cube(vary: Proportions, paint: Paint) -> list[Manifold]:
    return [paint(box((vary(1, 0.05), vary(1, 0.05), vary(1, 0.05))), MAIN)]


def _cylinder(vary: Proportions, paint: Paint) -> list[Manifold]:
    return [paint(rod(vary(0.5), 0, vary(1.35), sides=40), MAIN)]


def _cone(vary: Proportions, paint: Paint) -> list[Manifold]:
    return [paint(rod(vary(0.62), 0, vary(1.45), 0, sides=40), MAIN)]


def _donut(vary: Proportions, paint: Paint) -> list[Manifold]:
    """Lying, with icing of the named colour on dough."""
    radius, thickness = vary(0.62, 0.08), vary(0.30, 0.1)
    dough = paint(ring(radius, thickness), SECOND)
    icing = paint(ring(radius, thickness * 1.06).trim_by_plane([0, 1, 0], -0.25 * thickness), MAIN)
    return [dough, icing]


def _mug(vary: Proportions, paint: Paint) -> list[Manifold]:
    radius, height, wall = vary(0.46), vary(1.02), vary(0.065)
    cup = paint(rod(radius, 0, height, sides=40), MAIN)
    reach, thickness = vary(0.30, 0.1), vary(0.075)
    loop = ring(1, thickness / reach, 32, 12).rotate([90, 0, 0]).scale([reach, reach * vary(1.1, 0.08), reach])
    handle = paint(loop.translate([radius + 0.03, height * vary(0.5, 0.06), 0]), MAIN)
    hollow = paint(rod(radius - wall, 1.4 * wall, height + 0.1, sides=40), SECOND)
    return [cup - hollow, handle - hollow]


def _chair(vary: Proportions, paint: Paint) -> list[Manifold]:
    half_width, half_depth = vary(0.44, 0.1), vary(0.42, 0.1)
    seat_height, thickness, leg, back = vary(0.72), vary(0.13), vary(0.06), vary(0.90)
    seat = box((2 * half_width, thickness, 2 * half_depth), (0, seat_height, 0))
    lean = vary(6, 0.8)
    board = box((1.96 * half_width, back + thickness, thickness), (0, (back + thickness) / 2, 0)).rotate([-lean, 0, 0])
    board = board.translate([0, seat_height - thickness / 2, -half_depth + thickness / 2])
    legs = [
        paint(box((2 * leg, seat_height, 2 * leg), (x, seat_height / 2, z)), SECOND)
        for x in (1.2 * leg - half_width, half_width - 1.2 * leg)
        for z in (1.2 * leg - half_depth, half_depth - 1.2 * leg)
    ]
    return [paint(seat, MAIN), paint(board, MAIN), *legs]


def _table(vary: Proportions, paint: Paint) -> list[Manifold]:
    half_width, half_depth = vary(0.85, 0.1), vary(0.55, 0.15)
    height, thickness, leg = vary(0.82), vary(0.13), vary(0.065)
    top = box((2 * half_width, thickness, 2 * half_depth), (0, height, 0))
    legs = [
        paint(box((2 * leg, height, 2 * leg), (x, height / 2, z)), SECOND)
        for x in (1.4 * leg - half_width, half_width - 1.4 * leg)
        for z in (1.4 * leg - half_depth, half_depth - 1.4 * leg)
    ]
    return [paint(top, MAIN), *legs]


def _mushroom(vary: Proportions, paint: Paint) -> list[Manifold]:
    """A cap of the named colour with a few pale spots, on a pale stem."""
    radius, height, stem = vary(0.68, 0.1), vary(0.52), vary(0.20)
    rim = vary(0.72)
    stalk = lathe(
        [(0, 0), (stem * 1.25, 0), (stem * 1.2, 0.15), (stem, 0.45), (stem * 0.95, rim + 0.1), (0, rim + 0.1)]
    )
    angle = np.linspace(0, np.pi / 2, 9)
    dome = [(radius * np.cos(a), rim + height * np.sin(a)) for a in angle[:-1]]
    cap = lathe([(0, rim + 0.06), (radius * 0.8, rim - 0.05), (radius * 0.96, rim - 0.06), *dome, (0, rim + height)])
    spots = []
    for tilt, turns in ((38, 5), (72, 3)):
        for index in range(turns):
            azimuth = np.radians(360 * index / turns + vary(30, 0.6) + tilt)
            high = np.radians(vary(tilt, 0.12))
            x, z = radius * np.cos(high) * np.sin(azimuth), radius * np.cos(high) * np.cos(azimuth)
            # Flat lenses that lie on the dome: whole balls would give the silhouette warts.
            size = vary(0.12, 0.2)
            spot = (
                ball((size, 0.05, size), sides=16)
                .rotate([90 - np.degrees(high), 0, 0])
                .rotate([0, np.degrees(azimuth), 0])
            )
            spots.append(paint(spot.translate([x, rim + height * np.sin(high), z]), SECOND))
    return [paint(stalk, SECOND), paint(cap, MAIN), *spots]


def _snowman(vary: Proportions, paint: Paint) -> list[Manifold]:
    low, middle, head = vary(0.50, 0.08), vary(0.38, 0.08), vary(0.27, 0.08)
    middle_height = low + 0.75 * low + 0.5 * middle
    head_height = middle_height + 0.75 * middle + 0.6 * head
    hat_bottom, hat_height, brim = head_height + 0.72 * head, vary(0.30), head * vary(1.05)
    hat = rod(brim, hat_bottom, hat_bottom + 0.05) + rod(brim * 0.66, hat_bottom, hat_bottom + hat_height)
    nose = rod(0.06, 0, vary(0.30), 0, sides=16).rotate([90, 0, 0]).translate([0, head_height, head * 0.9])
    face = head * 0.92
    eyes = [ball(0.045, (x * head, head_height + 0.3 * head, face * 0.93), 12) for x in (-0.36, 0.36)]
    buttons = [ball(0.05, (0, middle_height + y * middle, middle * 0.99), 12) for y in (0.3, -0.25)]
    return [
        paint(ball(low, (0, low * 0.9, 0)).trim_by_plane([0, 1, 0], 0.06), MAIN),
        paint(ball(middle, (0, middle_height, 0)), MAIN),
        paint(ball(head, (0, head_height, 0)), MAIN),
        paint(hat, SECOND),
        paint(nose, THIRD),
        *[paint(dot, SECOND) for dot in (*eyes, *buttons)],
    ]


def _rocket(vary: Proportions, paint: Paint) -> list[Manifold]:
    radius, height, tip = vary(0.34, 0.1), vary(1.02), vary(0.50)
    body = lathe(
        [(0, 0), (radius * 0.72, 0), (radius * 0.95, 0.25), (radius, 0.55), (radius * 0.93, height), (0, height)]
    )
    angle = np.linspace(0, 1, 6)[:-1]
    nose = lathe([(0, height), *[(radius * 0.93 * (1 - a**1.6), height + tip * a) for a in angle], (0, height + tip)])
    span, fin_height = vary(0.36), vary(0.55)
    outline = [
        (0.0, 0.10),
        (radius + span, -0.22),
        (radius + span * 1.05, 0.04),
        (radius * 0.9, fin_height),
        (0.0, fin_height),
    ]
    fins = [paint(slab(outline, 0.10).rotate([0, 90 * turn, 0]), MAIN) for turn in range(4)]
    window = ball(radius * 0.52, (0, height * 0.72, radius * 0.72), 24)
    nozzle = rod(radius * 0.62, -0.12, 0.05, radius * 0.45)
    return [paint(body, MAIN), paint(nose, SECOND), *fins, paint(nozzle, SECOND), paint(window, THIRD)]


def _tree(vary: Proportions, paint: Paint) -> list[Manifold]:
    """A fir: three tiers of the named colour on a brown trunk."""
    trunk_height, radius = vary(0.36, 0.2), vary(0.60, 0.1)
    tier = vary(0.62, 0.1)
    trunk = paint(rod(vary(0.13), 0, trunk_height + 0.1), SECOND)
    tiers = [
        paint(rod(radius * share, trunk_height + lift * tier, trunk_height + (lift + 1) * tier, 0), MAIN)
        for share, lift in ((1.0, 0.0), (vary(0.80, 0.05), 0.56), (vary(0.58, 0.05), 1.10))
    ]
    return [trunk, *tiers]


def _house(vary: Proportions, paint: Paint) -> list[Manifold]:
    """Walls of the named colour, a slate gable roof and chimney, a wooden door and windows in front."""
    half_width, half_depth, wall = vary(0.52, 0.1), vary(0.48, 0.12), vary(0.72)
    roof, eave = vary(0.44), 0.07
    walls = box((2 * half_width, wall + 0.02, 2 * half_depth), (0, wall / 2, 0))
    gable = slab([(-half_width, wall - 0.01), (half_width, wall - 0.01), (0, wall + roof - 0.05)], 2 * half_depth)
    slope = roof / half_width
    outer, inner = half_width + eave, wall - eave * slope
    tiles = slab([(-outer, inner), (-half_width + 0.02, wall - 0.02), (0, wall + roof - 0.09),
                  (half_width - 0.02, wall - 0.02),
                  (outer, inner), (outer, inner + 0.10), (0, wall + roof + 0.07), (-outer, inner + 0.10)],
                 2 * half_depth + 0.08)  # fmt: skip
    chimney = box((0.15, 0.5, 0.15), (half_width * 0.55, wall + roof * 0.55 + 0.08, -half_depth * 0.35))
    door = box((0.22, 0.38, 0.06), (0, 0.18, half_depth))
    windows = [box((0.18, 0.18, 0.06), (x * half_width, wall * 0.6, half_depth)) for x in (-0.62, 0.62)]
    windows += [box((0.06, 0.2, 0.22), (x * half_width, wall * 0.55, 0)) for x in (-1, 1)]
    return [
        paint(walls + gable, MAIN),
        paint(tiles, SECOND),
        paint(chimney, SECOND),
        *[paint(opening, THIRD) for opening in (door, *windows)],
    ]


def _star(vary: Proportions, paint: Paint) -> list[Manifold]:
    inner, angle = vary(0.43, 0.12), np.pi / 2 + np.arange(10) * np.pi / 5
    radius = np.where(np.arange(10) % 2 == 0, 1.0, inner)
    outline = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    cushion = puff(outline, vary(0.62, 0.15), 1.0)
    return [paint(cushion + slab([tuple(p) for p in outline], 0.1), MAIN)]


def _heart(vary: Proportions, paint: Paint) -> list[Manifold]:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    outline = np.stack([-x * vary(1, 0.1), y + 1.0], axis=-1) / 17  # -x: counter-clockwise
    return [paint(puff(outline, vary(0.85, 0.15), 2.0), MAIN)]


def _bottle(vary: Proportions, paint: Paint) -> list[Manifold]:
    """A body of the named colour with a pale label and a cork."""
    radius, body, neck, throat = vary(0.33, 0.1), vary(0.85, 0.1), vary(0.35), vary(0.115)
    shoulder = [(radius * c + throat * (1 - c), body + 0.28 * s)
                for c, s in ((1, 0), (0.9, 0.3), (0.6, 0.62), (0.25, 0.85), (0.0, 1.0))]  # fmt: skip
    top = body + 0.28 + neck
    glass = lathe([(0, 0), (radius * 0.94, 0), (radius, 0.06), *shoulder, (throat, top), (0, top)])
    lip = rod(throat * 1.3, top - 0.09, top)
    cork = rod(throat * 0.8, top - 0.02, top + 0.13)
    low, high = body * 0.28, body * 0.74
    label = rod(radius * 1.025, low, high, sides=40)
    return [paint(glass, MAIN), paint(lip, MAIN), paint(cork, SECOND), paint(label, THIRD)]


def _car(vary: Proportions, paint: Paint) -> list[Manifold]:
    """The nose towards +Z, dark wheels, pale windows."""
    half_length, half_width, hood, roof = vary(0.95, 0.07), vary(0.40, 0.08), vary(0.36, 0.1), vary(0.30, 0.12)
    clearance = 0.13
    deck = clearance + hood

    def across(outline: list[tuple[float, float]], width: float) -> Manifold:
        """An outline of (z, y) extruded along X."""
        return slab([(-z, y) for z, y in outline][::-1], width).rotate([0, 90, 0])

    body = across([(-half_length, clearance + 0.05), (half_length, clearance + 0.02), (half_length, deck - 0.13),
                   (half_length * 0.86, deck - 0.05), (half_length * 0.35, deck), (-half_length * 0.92, deck),
                   (-half_length, deck - 0.08)], 2 * half_width)  # fmt: skip
    cabin_outline = [(-half_length * 0.80, deck - 0.03), (half_length * 0.42, deck - 0.03),
                     (half_length * 0.10, deck + roof), (-half_length * 0.58, deck + roof)]  # fmt: skip
    cabin = across(cabin_outline, 1.72 * half_width)
    side = [(-half_length * 0.64, deck + 0.03), (half_length * 0.26, deck + 0.03),
            (half_length * 0.06, deck + roof * 0.82), (-half_length * 0.52, deck + roof * 0.82)]  # fmt: skip
    pane = across(side, 1.80 * half_width)
    long = [(-half_length * 0.83, deck + 0.03), (half_length * 0.43, deck + 0.03),
            (half_length * 0.13, deck + roof * 0.84), (-half_length * 0.61, deck + roof * 0.84)]  # fmt: skip
    screens = across(long, 1.40 * half_width)
    wheel = vary(0.21, 0.08)
    tyre = rod(wheel, -0.09, 0.09).rotate([0, 0, 90])
    wheels = [
        paint(tyre.translate([x * half_width * 0.92, wheel - 0.04, z * half_length]), SECOND)
        for x in (-1, 1)
        for z in (-0.56, 0.58)
    ]  # fmt: skip
    return [paint(body, MAIN), paint(cabin, MAIN), paint(pane, THIRD), paint(screens, THIRD), *wheels]


def _hourglass(vary: Proportions, paint: Paint) -> list[Manifold]:
    """Two bulbs and two plates of the named colour with three wooden posts."""
    radius, half, waist = vary(0.44, 0.1), vary(0.66, 0.08), vary(0.08)
    side = [(waist + (radius - waist) * c, half * s) for s, c in
            ((0.06, 0.0), (0.3, 0.42), (0.55, 0.80), (0.8, 1.0), (1.0, 0.92))]  # fmt: skip
    bulbs = lathe([(0, -half), *[(r, -y) for r, y in side[::-1]], *side, (0, half)])
    plate = radius * vary(1.22, 0.05)
    plates = [rod(plate, low, low + 0.13, sides=32) for low in (half - 0.02, -half - 0.11)]
    posts = []
    for index in range(3):
        angle = 2 * np.pi * index / 3 + np.pi / 3
        at = [plate * 0.86 * np.sin(angle), 0, plate * 0.86 * np.cos(angle)]
        posts.append(paint(rod(0.045, -half, half, sides=10).translate(at), SECOND))
    return [paint(bulbs, MAIN), *[paint(solid, MAIN) for solid in plates], *posts]


@dataclass(frozen=True)
class ShapeClass:
    """One class: how it is built, and the natural colours of its second and third part (sRGB-coded, 0 to 1)."""

    name: str
    build: Build
    natural_colours: tuple[Colour, Colour] = (STEEL, STEEL)


SHAPES: dict[str, ShapeClass] = {
    shape.name: shape
    for shape in (
        ShapeClass("sphere", _sphere),
        ShapeClass("cube", _cube),
        ShapeClass("cylinder", _cylinder),
        ShapeClass("cone", _cone),
        ShapeClass("donut", _donut, (DOUGH, DOUGH)),
        ShapeClass("mug", _mug, (CREAM, CREAM)),
        ShapeClass("chair", _chair, (WOOD, WOOD)),
        ShapeClass("table", _table, (WOOD, WOOD)),
        ShapeClass("mushroom", _mushroom, (CREAM, CREAM)),
        ShapeClass("snowman", _snowman, (COAL, CARROT)),
        ShapeClass("rocket", _rocket, (STEEL, GLASS)),
        ShapeClass("tree", _tree, (WOOD, WOOD)),
        ShapeClass("house", _house, (SLATE, WOOD)),
        ShapeClass("star", _star),
        ShapeClass("heart", _heart),
        ShapeClass("bottle", _bottle, (WOOD, IVORY)),
        ShapeClass("car", _car, (COAL, GLASS)),
        ShapeClass("hourglass", _hourglass, (WOOD, WOOD)),
    )
}
SHAPE_NAMES = tuple(SHAPES)


def make_shape(name: str, rng: np.random.Generator) -> ColouredMesh:
    """A new instance with its own proportions: closed, one piece, 0.9 metres from the origin to its furthest vertex."""
    return _assemble(name, Proportions(rng))


@cache
def canonical_mesh(name: str) -> ColouredMesh:
    """The instance without variation, for comparing volumes and silhouettes."""
    return _assemble(name, Proportions(None))


def shape_pieces(name: str, rng: np.random.Generator) -> tuple[list[Manifold], Paint]:
    """The painted solids of a new instance before they are joined, for those who want to put them together wrongly."""
    paint = Paint()
    return _shape_class(name).build(Proportions(rng), paint), paint


def _assemble(name: str, proportions: Proportions) -> ColouredMesh:
    paint = Paint()
    return fit_to_ball(paint.mesh_of(join(_shape_class(name).build(proportions, paint))))


def _shape_class(name: str) -> ShapeClass:
    if name not in SHAPES:
        raise ValueError(f"no shape is called {name!r}; there are {', '.join(SHAPES)}")
    return SHAPES[name]
