"""Our own CUDA rasteriser on one NVIDIA card: how fast, how right its gradients; against nvdiffrast where installed.

    python benchmarks/cuda_rasteriser.py [--write]

Times are medians by CUDA events, as a program sees them that issues one call after another: where the card is done
sooner than Python is with the next call, they are Python's. `--write` puts the tables into benchmarks/results under
today's date. Takes less than a minute; each section stands for itself, and one that fails is told.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent), str(FOLDER.parent / "tests/backend/render")]

from rasteriser_scenes import (  # noqa: E402
    SUPERSAMPLED_PIXELS,
    Scene,
    agreement,
    blob,
    clip_positions,
    cube,
    four_cameras,
    pose_positions,
    smooth_weights,
    torus,
)

from backend.cameras import turntable_cameras  # noqa: E402
from backend.machine import package_version  # noqa: E402
from backend.render.cuda_rasteriser import CudaRasteriser, warm_up, why_cuda_kernels_cannot_run  # noqa: E402
from backend.render.nvdiffrast_rasteriser import NvdiffrastRasteriser, nvdiffrast_is_installed  # noqa: E402
from backend.render.rasteriser import Rasteriser  # noqa: E402

DEVICE = torch.device("cuda")
LOADS = ((4, 512, 65000), (8, 128, 30000))
"""Views, pixels, triangles."""

REPEATS, SECONDS_OF_A_TIMING = 25, 0.6
GRADIENT_SCENES: tuple[tuple[str, Callable[[], Scene], bool], ...] = (
    ("cube", cube, False),
    ("blob", lambda: blob(3000), False),
    ("blob, colour", lambda: blob(10000), True),
    ("blob", lambda: blob(50000), False),
    ("torus, covers itself, colour", lambda: torus(96, 48), True),
)
GRADIENT_PIXELS, WEIGHT_IMAGES = 128, 4
LEAST_COSINE, MAGNITUDES = 0.98, (0.85, 1.2)
"""What ours must reach."""

SECONDS_FOR_GRADIENTS = 25.0


# Speed


bumpy_sphere = functools.cache(blob)


def milliseconds(work: Callable[[], object]) -> tuple[float, float]:
    """Median time of some runs by CUDA events, and of Python until it has issued them."""
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    on_card, in_python = [], []
    began = time.perf_counter()
    while len(on_card) < REPEATS and (len(on_card) < 20 or time.perf_counter() - began < SECONDS_OF_A_TIMING):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        issued = time.perf_counter()
        start.record()
        work()
        stop.record()
        in_python.append(1000 * (time.perf_counter() - issued))
        torch.cuda.synchronize()
        on_card.append(start.elapsed_time(stop))
    return statistics.median(on_card), statistics.median(in_python)


def works(
    rasteriser: Rasteriser, views: int, pixels: int, face_count: int
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Name, and what is timed."""
    scene, size = bumpy_sphere(face_count), (pixels, pixels)
    faces = scene.faces.to(DEVICE)
    positions = clip_positions(scene.positions, turntable_cameras(views)).to(DEVICE).requires_grad_()
    colours = scene.colours[None].to(DEVICE).contiguous().requires_grad_()
    texture = torch.rand(1, 512, 512, 3, device=DEVICE).requires_grad_()
    with torch.no_grad():
        raster, derivatives = rasteriser.rasterize(positions, faces, size)
        image, footprints = rasteriser.interpolate(colours, raster, faces, derivatives, [0, 1])
        uv = image[..., :2].contiguous()
    for tensor in (raster, image, uv, footprints):
        tensor.requires_grad_()
    weights = torch.rand_like(image)

    def rasterize() -> Tensor:
        return rasteriser.rasterize(positions, faces, size)[0]

    def interpolate() -> Tensor:
        return rasteriser.interpolate(colours, raster, faces)[0]

    def look_up() -> Tensor:
        return rasteriser.texture(texture, uv, None, "linear")

    def look_up_mipmaps() -> Tensor:
        return rasteriser.texture(texture, uv, footprints, "linear-mipmap-linear")

    def antialias() -> Tensor:
        # Faces count as changed: as in a loop that changes the mesh, their neighbours are found anew.
        return rasteriser.antialias(image, raster, positions, faces.clone())

    def step() -> Tensor:
        changed = faces.clone()
        raster, derivatives = rasteriser.rasterize(positions, changed, size)
        image, footprints = rasteriser.interpolate(colours, raster, changed, derivatives, [0, 1])
        image = image + rasteriser.texture(texture, image[..., :2].contiguous(), footprints, "linear-mipmap-linear")
        return rasteriser.antialias(image, raster, positions, changed)

    for name, forward, inputs in (
        ("rasterize", rasterize, [positions]),
        ("interpolate, 3", interpolate, [colours, raster]),
        ("texture 512, linear", look_up, [texture, uv]),
        ("texture 512, mipmaps", look_up_mipmaps, [texture, uv, footprints]),
        ("antialias, 3", antialias, [image, positions]),
        ("all four", step, [positions, colours, texture]),
    ):

        def without_gradient(forward: Callable[[], Tensor] = forward) -> None:
            with torch.no_grad():
                forward()

        def with_gradient(
            forward: Callable[[], Tensor] = forward,
            inputs: list[Tensor] = inputs,
            is_raster: bool = name == "rasterize",
        ) -> None:
            result = forward()
            toward = raster.detach() if is_raster else weights
            torch.autograd.grad(result, inputs, toward)

        yield f"{name}, forward", without_gradient
        yield f"{name}, forward and backward", with_gradient


def speed_rows(rasterisers: list[Rasteriser]) -> Iterator[str]:
    names = [rasteriser.name for rasteriser in rasterisers]
    columns = [f"{name}{part}" for name in names for part in (", ms", ": Python, ms")]
    for views, pixels, face_count in LOADS:
        yield ""
        yield f"| {views} views, {pixels} px, {face_count:,} triangles | {' | '.join(columns)} |"
        yield "|" + (1 + len(columns)) * "---|"
        for rows in zip(*[works(each, views, pixels, face_count) for each in rasterisers], strict=True):
            cells = []
            for _, work in rows:
                cells += [f"{value:.3f}" for value in milliseconds(work)]
            yield f"| {rows[0][0]} | {' | '.join(cells)} |"


# Gradients


def draw(rasteriser: Rasteriser, scene: Scene, pose: Tensor, pixels: int, in_colour: bool, antialiases: bool) -> Tensor:
    """Images [views, pixels, pixels, channels] on the card."""
    positions = clip_positions(pose_positions(scene, pose), four_cameras()).to(DEVICE)
    faces = scene.faces.to(DEVICE)
    raster, _ = rasteriser.rasterize(positions, faces, (pixels, pixels))
    image = (raster[..., 3:] > 0).float()
    if in_colour:
        image, _ = rasteriser.interpolate(scene.colours[None].to(DEVICE).contiguous(), raster, faces)
    return rasteriser.antialias(image, raster, positions, faces) if antialiases else image


def true_changes(rasteriser: Rasteriser, scene: Scene, in_colour: bool, step: float = 0.01) -> Tensor:
    """How supersampled pictures change with the pose; as `rasteriser_scenes.image_changes`, on the card."""
    factor = SUPERSAMPLED_PIXELS // GRADIENT_PIXELS
    changes = []
    with torch.no_grad():
        for shift in step * torch.eye(7):
            ahead, behind = (
                draw(rasteriser, scene, pose, SUPERSAMPLED_PIXELS, in_colour, False)
                .unflatten(1, (-1, factor))
                .unflatten(3, (-1, factor))
                .mean(dim=(2, 4))
                for pose in (shift, -shift)
            )
            changes.append((ahead - behind) / (2 * step))
    return torch.stack(changes)


def gradient_rows(rasterisers: list[Rasteriser], failures: list[str]) -> Iterator[str]:
    columns = [f"{each.name}: {what}" for each in rasterisers for what in ("least cosine", "magnitude")]
    yield f"| scene | triangles | {' | '.join(columns)} |"
    yield "|" + (2 + len(columns)) * "---|"
    began = time.perf_counter()
    for name, make_scene, in_colour in GRADIENT_SCENES:
        if time.perf_counter() - began > SECONDS_FOR_GRADIENTS:
            yield f"| {name}: left out, the time is up |" + (1 + len(columns)) * " |"
            continue
        scene, cells = make_scene(), []
        changes = true_changes(rasterisers[0], scene, in_colour)
        for rasteriser in rasterisers:
            cosines, magnitudes = [], []
            for seed in range(WEIGHT_IMAGES):
                weights = smooth_weights(GRADIENT_PIXELS, changes.shape[-1], seed).to(DEVICE)
                pose = torch.zeros(7, requires_grad=True)
                (draw(rasteriser, scene, pose, GRADIENT_PIXELS, in_colour, True) * weights).sum().backward()
                assert pose.grad is not None
                truth = (changes.double() * weights).sum(dim=(1, 2, 3, 4)).float().cpu()
                cosine, magnitude = agreement(pose.grad, truth)
                cosines.append(cosine)
                magnitudes.append(magnitude)
            cells += [f"{min(cosines):.3f}", f"{min(magnitudes):.2f} to {max(magnitudes):.2f}"]
            low, high = MAGNITUDES
            is_right = min(cosines) >= LEAST_COSINE and low <= min(magnitudes) and max(magnitudes) <= high
            if isinstance(rasteriser, CudaRasteriser) and not is_right:
                failures.append(f"{name}, {len(scene.faces)} triangles: {cells[0]}, {cells[1]}")
        yield f"| {name} | {len(scene.faces):,} | {' | '.join(cells)} |"


# The report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the tables to benchmarks/results")
    arguments = parser.parse_args()
    problem = why_cuda_kernels_cannot_run() if torch.cuda.is_available() else "there is no CUDA device"
    if problem is not None:
        print(f"Nothing to measure: {problem}.")
        return

    lines, failures = list[str](), list[str]()

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    began = time.perf_counter()
    warm_up(DEVICE)
    compiled = time.perf_counter() - began
    rasterisers: list[Rasteriser] = [CudaRasteriser(DEVICE)]
    versions = [f"{name} {package_version(name)}" for name in ("torch", "numba-cuda", "numba")]
    if nvdiffrast_is_installed():
        try:
            rasterisers.append(NvdiffrastRasteriser(DEVICE))
            versions.append(f"nvdiffrast {package_version('nvdiffrast')}")
        except Exception:
            traceback.print_exc()

    today = datetime.date.today().isoformat()
    say(f"# Our own CUDA rasteriser, {today}")
    say("")
    say(f"`python benchmarks/cuda_rasteriser.py`, {torch.cuda.get_device_name()}, {', '.join(versions)}.")
    say(f"Compiling, or loading what is compiled: {compiled:.1f} s.")
    sections: tuple[tuple[str, str, Callable[[], Iterator[str]]], ...] = (
        (
            "Gradients of silhouettes",
            f"Four views of {GRADIENT_PIXELS} pixels, against central differences of pictures averaged down from "
            f"{SUPERSAMPLED_PIXELS}, by seven parameters of the pose; over {WEIGHT_IMAGES} random smooth weight "
            f"images. 1 is right; ours must reach a cosine of {LEAST_COSINE} and a magnitude of {MAGNITUDES[0]} to "
            f"{MAGNITUDES[1]}.",
            lambda: gradient_rows(rasterisers, failures),
        ),
        (
            "Times",
            "Medians of at least 20 runs by CUDA events, and until Python has issued the calls: a bumpy sphere. "
            "`antialias` and `all four` find the neighbours of the faces anew each time.",
            lambda: speed_rows(rasterisers),
        ),
    )
    for title, text, rows in sections:
        say("")
        say(f"## {title}")
        say("")
        say(text)
        say("")
        try:
            for row in rows():
                say(row)
        except Exception:
            traceback.print_exc()
            failures.append(f"{title} stopped with an error")
    say("")
    say("Missed: " + ("; ".join(failures) if failures else "nothing") + ".")
    print(f"{time.perf_counter() - began:.0f} s in all", flush=True)
    if arguments.write:
        (FOLDER / "results" / f"cuda_rasteriser-{today}.md").write_text("\n".join(lines) + "\n")
    if failures:
        sys.exit(1)


if __name__ == "__main__":
    main()
