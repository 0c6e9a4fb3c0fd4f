"""What the CUDA and the portable rasteriser must agree on: every operation and mode, values and gradients.

Run as a program it writes what the CUDA rasteriser makes of the tiny cases in numba's simulator, on the CPU:

    NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1 python tests/backend/render/cuda_parity.py RESULTS.pt
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from rasteriser_scenes import Scene, blob, clip_positions, cube, sphere_before_sphere, torus

from backend.cameras import turntable_cameras
from backend.render.rasteriser import Rasteriser

Results = dict[str, Tensor]
FILTERS = ("nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear")
BOUNDARIES = ("wrap", "clamp", "zero")


@dataclass(frozen=True)
class Size:
    resolution: tuple[int, int]
    views: int
    faces: int


TINY, FULL = Size((14, 12), 2, 40), Size((160, 120), 3, 4000)


def random_like(tensor: Tensor, seed: int) -> Tensor:
    """The same numbers on every device."""
    return torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed)).to(tensor.device)


def gradients(results: list[Tensor], inputs: dict[str, Tensor]) -> Results:
    """Of the sum of all results, weighed at random, by the inputs."""
    total = sum((result * random_like(result, 100 + index)).sum() for index, result in enumerate(results))
    found = torch.autograd.grad(total, list(inputs.values()))
    return {f"gradient by {name}": gradient for name, gradient in zip(inputs, found, strict=True)}


# Meshes


@functools.cache
def scenes(size: Size) -> dict[str, Scene]:
    around = max(6, round((size.faces / 4) ** 0.5))
    return {
        "cube": cube(),
        "blob": blob(size.faces),
        "torus": torus(2 * around, around),
        "spheres": sphere_before_sphere(2 * size.faces),
    }


def views_of(scene: Scene, size: Size) -> Tensor:
    cameras = turntable_cameras(size.views, elevation_degrees=25.0, first_azimuth_degrees=15.0)
    return clip_positions(scene.positions, cameras)


def loose_triangles(size: Size) -> tuple[Tensor, Tensor]:
    """Unconnected triangles of all sizes, some partly out of view, some reaching behind the eye."""
    generator = torch.Generator().manual_seed(0)
    count = min(size.faces, 300) // 2
    centres = torch.rand(size.views, count, 1, 3, generator=generator) * 2.2 - 1.1
    reach = 0.5 * torch.rand(size.views, count, 1, 1, generator=generator) ** 2
    points = centres + reach * torch.randn(size.views, count, 3, 3, generator=generator)
    w = 0.5 + 2 * torch.rand(size.views, count, 3, 1, generator=generator)
    positions = torch.cat([points * w, w], dim=-1)
    positions[:, : count // 4, 0, 3] *= -0.1
    return positions.reshape(size.views, 3 * count, 4), torch.arange(3 * count, dtype=torch.int32).reshape(count, 3)


# Cases


def rasterize(rasteriser: Rasteriser, positions: Tensor, faces: Tensor, size: Size) -> Results:
    positions = positions.requires_grad_()
    raster, derivatives = rasteriser.rasterize(positions, faces, size.resolution)
    found = {"raster": raster, "derivatives": derivatives}
    # The gradient of the derivatives of a small face is large and ill-conditioned: by itself.
    found |= gradients([raster[..., :2]], {"positions through the raster": positions})
    raster, derivatives = rasteriser.rasterize(positions, faces, size.resolution)
    return found | gradients([derivatives], {"positions through the derivatives": positions})


def interpolate(rasteriser: Rasteriser, scene: Scene, size: Size, shared: bool, device: str) -> Results:
    positions, faces = views_of(scene, size).to(device), scene.faces.to(device)
    raster, derivatives = rasteriser.rasterize(positions, faces, size.resolution)
    attributes = scene.colours[None].repeat(1 if shared else size.views, 1, 1)
    attributes = attributes * torch.arange(1, len(attributes) + 1)[:, None, None]
    inputs = {
        "attributes": attributes.to(device).requires_grad_(),
        "raster": raster.detach().requires_grad_(),
        "derivatives": derivatives.detach().requires_grad_(),
    }
    values, by_pixel = rasteriser.interpolate(
        inputs["attributes"], inputs["raster"], faces, inputs["derivatives"], "all" if shared else [-1, 0]
    )
    return {"values": values, "by pixel": by_pixel} | gradients([values, by_pixel], inputs)


def texture(rasteriser: Rasteriser, filter_mode: str, boundary: str, size: Size, shared: bool, device: str) -> Results:
    generator = torch.Generator().manual_seed(1)
    height, width = size.resolution
    texels = torch.rand(1 if shared else size.views, 12, 8, 3, generator=generator)
    uv = torch.rand(size.views, height, width, 2, generator=generator) * 2.4 - 0.7
    footprints = torch.randn(size.views, height, width, 4, generator=generator) * 0.15
    uv[0, 0, 0, 0], uv[0, 0, 1, 1], uv[0, 0, 2, 0], uv[0, 0, 3, 1] = float("nan"), float("inf"), 1e30, -1e12
    inputs = {"texture": texels.to(device).requires_grad_(), "uv": uv.to(device).requires_grad_()}
    if "mipmap" in filter_mode:
        inputs["footprints"] = footprints.to(device).requires_grad_()
    sampled = rasteriser.texture(
        inputs["texture"],
        inputs["uv"],
        inputs.get("footprints"),
        filter_mode,
        boundary,  # type: ignore[arg-type]
    )
    found = gradients([sampled], inputs)
    return {"sampled": sampled} | found


def antialias(rasteriser: Rasteriser, scene: Scene, size: Size, device: str) -> Results:
    inputs = {"positions": views_of(scene, size).to(device).requires_grad_()}
    faces = scene.faces.to(device)
    raster, _ = rasteriser.rasterize(inputs["positions"].detach(), faces, size.resolution)
    colours, _ = rasteriser.interpolate(scene.colours[None].to(device), raster, faces)
    inputs["colours"] = colours.detach().requires_grad_()
    blended = rasteriser.antialias(inputs["colours"], raster, inputs["positions"], faces)
    return {"blended": blended} | gradients([blended], inputs)


def odd_meshes(rasteriser: Rasteriser, size: Size, device: str) -> Results:
    """Faces that share corners at random: edges of many faces, collapsed faces, corners that are not finite."""
    generator = torch.Generator().manual_seed(2)
    positions = torch.randn(size.views, 12, 4, generator=generator)
    positions[..., 3] = positions[..., 3].abs() + 0.5
    positions[0, 3, 1] = float("nan")
    positions[-1, 5, 0] = float("inf")
    faces = torch.randint(0, 12, (30, 3), generator=generator, dtype=torch.int32).to(device)
    colours = torch.rand(size.views, *size.resolution, 2, generator=generator).to(device)
    positions = positions.to(device).requires_grad_()
    raster, _ = rasteriser.rasterize(positions, faces, size.resolution)
    blended = rasteriser.antialias(colours, raster, positions, faces)
    return {"raster": raster, "blended": blended} | gradients([blended], {"positions": positions})


def no_faces(rasteriser: Rasteriser, size: Size, device: str) -> Results:
    positions = torch.rand(size.views, 3, 4).to(device).requires_grad_()
    faces = torch.zeros(0, 3, dtype=torch.int32, device=device)
    raster, derivatives = rasteriser.rasterize(positions, faces, size.resolution)
    values, by_pixel = rasteriser.interpolate(positions, raster, faces, derivatives, "all")
    blended = rasteriser.antialias(values, raster, positions, faces)
    zeros = gradients([blended, by_pixel], {"positions": positions})
    return {"raster": raster, "values": values, "by pixel": by_pixel, "blended": blended} | zeros


def cases(size: Size) -> Iterator[tuple[str, Callable[[Rasteriser, str], Results]]]:
    """Name, and a function of rasteriser and device."""
    for name, scene in scenes(size).items():
        yield (
            f"rasterize {name}",
            lambda rasteriser, device, scene=scene: rasterize(
                rasteriser, views_of(scene, size).to(device), scene.faces.to(device), size
            ),
        )
        yield (
            f"antialias {name}",
            lambda rasteriser, device, scene=scene: antialias(rasteriser, scene, size, device),
        )
    positions, faces = loose_triangles(size)
    yield (
        "rasterize loose triangles",
        lambda rasteriser, device: rasterize(rasteriser, positions.clone().to(device), faces.to(device), size),
    )
    for shared in (True, False):
        yield (
            f"interpolate, {'shared' if shared else 'per view'}",
            lambda rasteriser, device, shared=shared: interpolate(
                rasteriser, scenes(size)["blob"], size, shared, device
            ),
        )
    for index, (filter_mode, boundary) in enumerate(itertools.product(FILTERS, BOUNDARIES)):
        yield (
            f"texture {filter_mode}, {boundary}",
            lambda rasteriser, device, mode=(filter_mode, boundary), shared=index % 2 == 0: texture(
                rasteriser, *mode, size, shared, device
            ),
        )
    yield "odd meshes", lambda rasteriser, device: odd_meshes(rasteriser, size, device)
    yield "no faces", lambda rasteriser, device: no_faces(rasteriser, size, device)


def assert_agree(found: Results, expected: Results) -> None:
    """Nearly all numbers are the same but for rounding, which may move a pixel centre across an edge."""
    assert found.keys() == expected.keys()
    for name, wanted in expected.items():
        wanted, number = wanted.detach().double().cpu(), found[name].detach().double().cpu()
        assert number.shape == wanted.shape, name
        if wanted.numel() == 0:
            continue
        assert number.isfinite().all(), name
        scale = wanted.abs().mean()
        differs = (number - wanted).abs() > 1e-3 * wanted.abs() + 1e-3 * scale
        assert differs.double().mean() < 1e-3, f"{name}: {differs.sum()} of {differs.numel()} numbers differ"
        distance, length = (number - wanted).norm(), wanted.norm()
        assert distance <= 1e-2 * length, f"{name}: off by {distance:.3g} of {length:.3g}"


def main(path: str) -> None:
    from backend.render import cuda_rasteriser

    # Every thread of the card is a Python thread here; most of these would only look and leave.
    cuda_rasteriser.BLOCKS_FOR_LARGE_FACES, cuda_rasteriser.BLOCKS_FOR_CROSSINGS = 2, 2
    rasteriser = cuda_rasteriser.CudaRasteriser(torch.device("cpu"))
    results = {}
    for name, case in cases(TINY):
        results[name] = {key: tensor.detach() for key, tensor in case(rasteriser, "cpu").items()}
        print(name, flush=True)
    torch.save(results, path)


if __name__ == "__main__":
    main(sys.argv[1])
