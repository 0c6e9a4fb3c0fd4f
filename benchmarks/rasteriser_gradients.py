"""How right the gradients of rendered pictures are: the walk to the silhouette against nvdiffrast's rule.

    python benchmarks/rasteriser_gradients.py [--write]

The truth is how pictures averaged down from 1024 pixels, without antialiasing, change when the object is shifted,
scaled and turned (central differences). `--write` puts table and plot into benchmarks/results under today's date.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent), str(FOLDER.parent / "tests/backend/render")]

from rasteriser_scenes import (  # noqa: E402
    Scene,
    agreement,
    blob,
    cube,
    four_cameras,
    gradient_by_backward,
    image_changes,
    render,
    render_supersampled,
    smooth_weights,
    sphere_before_sphere,
    torus,
)

from backend.render.portable_rasteriser import PortableRasteriser, warm_up  # noqa: E402

RASTERISERS = {"walk": PortableRasteriser(), "nvdiffrast's rule": PortableRasteriser("parity")}
WEIGHT_IMAGES = 6
RESOLUTIONS = (64, 128)
LEAST_COSINE, MAGNITUDES = 0.98, (0.85, 1.2)
"""What the walk must reach, for every scene and every weight image."""

SCENES: tuple[tuple[str, Callable[[], Scene], bool], ...] = (
    # name, scene, whether in colour
    ("cube", cube, False),
    ("cube", lambda: cube(3), False),
    ("blob", lambda: blob(300), False),
    ("blob", lambda: blob(1000), False),
    ("blob", lambda: blob(3000), False),
    ("blob", lambda: blob(10000), False),
    ("blob, colour", lambda: blob(10000), True),
    ("blob", lambda: blob(25000), False),
    ("blob", lambda: blob(50000), False),
    ("torus, covers itself, colour", lambda: torus(96, 48), True),
    ("sphere before sphere, colour", lambda: sphere_before_sphere(10000), True),
)


@dataclass(frozen=True)
class Measured:
    """One scene at one resolution by one rule, over all weight images."""

    name: str
    face_count: int
    pixels: int
    rule: str
    cosines: list[float]
    magnitudes: list[float]
    squared_error: float
    """Of the picture against the supersampled one."""

    @property
    def is_right(self) -> bool:
        low, high = MAGNITUDES
        return min(self.cosines) >= LEAST_COSINE and all(low <= magnitude <= high for magnitude in self.magnitudes)

    @property
    def mean_magnitude(self) -> float:
        return sum(self.magnitudes) / len(self.magnitudes)


def measure(name: str, scene: Scene, in_colour: bool, pixels: int) -> Iterator[Measured]:
    colours = scene.colours if in_colour else None
    truth_maker = RASTERISERS["walk"]  # without antialiasing both are the same
    changes = image_changes(truth_maker, scene, pixels, colours).double()
    picture = render_supersampled(truth_maker, scene, torch.zeros(7), four_cameras(), pixels, colours)
    for rule, rasteriser in RASTERISERS.items():
        cosines, magnitudes = [], []
        for seed in range(WEIGHT_IMAGES):
            weights = smooth_weights(pixels, changes.shape[-1], seed)
            gradient = gradient_by_backward(rasteriser, scene, pixels, colours, weights)
            true_gradient = (changes * weights).sum(dim=(1, 2, 3, 4)).float()
            cosine, magnitude = agreement(gradient, true_gradient)
            cosines.append(cosine)
            magnitudes.append(magnitude)
        ours = render(rasteriser, scene, torch.zeros(7), four_cameras(), pixels, colours)
        error = float((ours - picture).square().mean())
        yield Measured(name, len(scene.faces), pixels, rule, cosines, magnitudes, error)


def table(measured: list[Measured]) -> Iterator[str]:
    yield (
        "| scene | triangles | px | walk: least cosine | magnitude | nvdiffrast's rule: least cosine | magnitude | "
        "picture error, walk | nvdiffrast's rule |"
    )
    yield "|" + 9 * "---|"
    walks = [each for each in measured if each.rule == "walk"]
    others = [each for each in measured if each.rule != "walk"]
    for walk, other in zip(walks, others, strict=True):
        cells = []
        for each in (walk, other):
            cells += [f"{min(each.cosines):.3f}", f"{min(each.magnitudes):.2f} to {max(each.magnitudes):.2f}"]
        yield (
            f"| {walk.name} | {walk.face_count:,} | {walk.pixels} | **{cells[0]}** | **{cells[1]}** | {cells[2]} | "
            f"{cells[3]} | {1e4 * walk.squared_error:.2f} | {1e4 * other.squared_error:.2f} |"
        )


def plot(measured: list[Measured], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(RESOLUTIONS), figsize=(10, 4), sharey=True)
    for pixels, axis in zip(RESOLUTIONS, axes, strict=True):
        axis.axhspan(*MAGNITUDES, color="0.9", label="bar: 0.85 to 1.2")
        axis.axhline(1.0, color="0.6", linewidth=0.8)
        for rule, colour in zip(RASTERISERS, ("tab:blue", "tab:orange"), strict=True):
            points = [each for each in measured if (each.name, each.pixels, each.rule) == ("blob", pixels, rule)]
            counts = [each.face_count for each in points]
            axis.plot(counts, [each.mean_magnitude for each in points], "o-", color=colour, label=rule)
            low, high = [min(each.magnitudes) for each in points], [max(each.magnitudes) for each in points]
            axis.fill_between(counts, low, high, color=colour, alpha=0.2, linewidth=0)
        axis.set(xscale="log", xlabel="triangles", title=f"{pixels} x {pixels} pixels", ylim=(-0.4, 1.4))
    axes[0].set_ylabel("gradient along the true one (1 is right)")
    axes[0].legend(loc="lower left")
    figure.suptitle("Gradient of a silhouette by shift, scale and turn: a bumpy sphere, six weight images")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write table and plot to benchmarks/results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warm_up()

    measured = []
    for name, make_scene, in_colour in SCENES:
        scene = make_scene()
        for pixels in RESOLUTIONS:
            measured += measure(name, scene, in_colour, pixels)
    wrong = [each for each in measured if each.rule == "walk" and not each.is_right]

    today = datetime.date.today().isoformat()
    lines = [
        f"# Gradients of the rasteriser, {today}",
        "",
        f"`python benchmarks/rasteriser_gradients.py`, {platform.machine()}, torch {torch.__version__}.",
        "",
        "The gradient of the weighed sum of four views by seven parameters of the pose (shift, scale, turn), against "
        "central differences of pictures averaged down from 1024 pixels. Cosine between the two, and the length along "
        f"the true one; the least and the range over {WEIGHT_IMAGES} random smooth weight images, whose signs change, "
        "so that much of the gradient cancels. Picture error: mean square against the averaged picture, times 10,000. "
        "Masks, or in colour (smooth vertex colours on black).",
        "",
        "`nvdiffrast's rule` is the rasteriser's parity mode, written from nvdiffrast's documentation and paper and "
        "not yet compared with the running library.",
        "",
        f"The walk must reach a cosine of {LEAST_COSINE} and a magnitude of {MAGNITUDES[0]} to {MAGNITUDES[1]} in "
        f"every line: {'it does not in ' + str(len(wrong)) if wrong else 'it does'}.",
        "",
        *table(measured),
        "",
        f"![Magnitude over the number of triangles](rasteriser_gradients-{today}.png)",
        "",
    ]
    print("\n".join(lines))
    if arguments.write:
        results = FOLDER / "results"
        (results / f"rasteriser_gradients-{today}.md").write_text("\n".join(lines))
        plot(measured, results / f"rasteriser_gradients-{today}.png")
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
