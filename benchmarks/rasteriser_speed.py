"""How fast the portable rasteriser is: against Mitsuba 3, plain torch and Embree, on one thread.

    python benchmarks/rasteriser_speed.py [--write]

Mitsuba compiles with LLVM and aborts with versions 14 and 15 (Debian 12's own). Put version 19 where DRJIT_LIBLLVM_PATH
says, or into .cache/llvm19:

    mkdir -p .cache/llvm19 && cd .cache/llvm19 && apt-get download libllvm19 && dpkg-deb -x libllvm19*.deb .

What is not installed is left out, and said. `--write` puts the table into benchmarks/results under today's date.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent), str(FOLDER.parent / "tests/backend/render")]

from rasteriser_scenes import Scene, blob, clip_positions  # noqa: E402
from torch_reference_rasteriser import TorchReferenceRasteriser, find_visible_faces  # noqa: E402

from backend.cameras import CameraBatch, turntable_cameras  # noqa: E402
from backend.machine import package_version, processor_name  # noqa: E402
from backend.render.portable_rasteriser import PortableRasteriser, set_render_threads, warm_up  # noqa: E402

VIEWS = 8
RESOLUTIONS = (64, 128, 256)
LLVM = FOLDER.parent / ".cache/llvm19/usr/lib/x86_64-linux-gnu/libLLVM-19.so"
MITSUBA_BAR, TORCH_BAR, EMBREE_BAR = 10.0, 5.0, 4.0
"""How many times faster we must be."""


def milliseconds(*works: Callable[[], object]) -> list[float]:
    """CPU time of this process for each work, the least of some runs after one to warm up.

    They take turns, because others use the machine too: a disturbance then meets all of them.
    """
    for work in works:
        work()
    times: list[list[float]] = [[] for _ in works]
    while len(times[0]) < 5 or (sum(map(sum, times)) < 3.0 and len(times[0]) < 40):
        for work, taken in zip(works, times, strict=True):
            start = time.process_time()
            work()
            taken.append(time.process_time() - start)
    return [1000 * min(taken) for taken in times]


class Ours:
    """Forward and backward of masks of all views, down to the vertices."""

    def __init__(self, scene: Scene, cameras: CameraBatch, pixels: int) -> None:
        self.faces, self.pixels = scene.faces, pixels
        self.matrices = cameras.clip_matrices()
        self.vertices = scene.positions.clone().requires_grad_()
        self.colours = scene.colours.clone().requires_grad_()
        self.target = torch.full((len(cameras), pixels, pixels, 1), 0.5)

    def step(self, rasteriser: Any, in_colour: bool, antialiases: bool) -> None:
        """A step as an optimisation makes it: transform, draw, compare, go back. Topology counts, as if it changed."""
        self.vertices.grad = self.colours.grad = None
        faces = self.faces.clone()
        homogeneous = torch.cat([self.vertices, torch.ones_like(self.vertices[:, :1])], dim=-1)
        positions = torch.einsum("vij,pj->vpi", self.matrices, homogeneous).contiguous()
        raster, _ = rasteriser.rasterize(positions, faces, (self.pixels, self.pixels))
        if in_colour:
            image, _ = rasteriser.interpolate(self.colours[None], raster, faces)
        else:
            image = (raster[..., 3:] > 0).float()
        if antialiases:
            image = rasteriser.antialias(image, raster, positions, faces)
        (image - self.target).square().mean().backward()


def load_mitsuba() -> ModuleType | str:
    """Mitsuba on one thread, or why it cannot be had."""
    if package_version("mitsuba") is None:
        return "Mitsuba is not installed (pip install mitsuba)"
    library = Path(os.environ.setdefault("DRJIT_LIBLLVM_PATH", str(LLVM)))
    if not library.is_file():
        return f"Mitsuba needs libLLVM 19, and there is none at {library} (see the top of this file)"
    import drjit
    import mitsuba

    mitsuba.set_variant("llvm_ad_rgb")
    mitsuba.set_log_level(mitsuba.LogLevel.Error)
    drjit.set_thread_count(1)
    return mitsuba


class InMitsuba:
    """The same masks: the object glows, the rest is black; `direct_projective` with one sample of each kind a pixel."""

    def __init__(self, mitsuba: ModuleType, scene: Scene, cameras: CameraBatch, pixels: int, folder: Path) -> None:
        import drjit
        import trimesh

        self.mitsuba, self.drjit = mitsuba, drjit
        path = folder / "mesh.ply"
        trimesh.Trimesh(scene.positions.numpy(), scene.faces.numpy(), process=False).export(path)
        glow = {"type": "area", "radiance": {"type": "rgb", "value": 1.0}}
        integrator = {"type": "direct_projective", "sppc": 1, "sppp": 1, "sppi": 0}
        self.scene = mitsuba.load_dict(
            {
                "type": "scene",
                "integrator": integrator,
                "object": {"type": "ply", "filename": str(path), "face_normals": True, "emitter": glow},
            }
        )
        transform = mitsuba.ScalarTransform4f()
        self.sensors = [
            mitsuba.load_dict(
                {
                    "type": "perspective",
                    "fov": float(fov),
                    "to_world": transform.look_at(origin=position.tolist(), target=[0, 0, 0], up=[0, 1, 0]),
                    "film": {
                        "type": "hdrfilm",
                        "width": pixels,
                        "height": pixels,
                        "pixel_format": "luminance",
                        "rfilter": {"type": "box"},
                    },
                    "sampler": {"type": "independent"},
                }
            )
            for position, fov in zip(cameras.positions(), cameras.fov_degrees, strict=True)
        ]
        self.parameters = mitsuba.traverse(self.scene)
        (self.key,) = [key for key in self.parameters.keys() if key.endswith("vertex_positions")]  # noqa: SIM118
        self.vertices = type(self.parameters[self.key])(self.parameters[self.key])
        self.seed = 0

    def step(self) -> None:
        drjit, mitsuba = self.drjit, self.mitsuba
        vertices = type(self.vertices)(self.vertices)
        drjit.enable_grad(vertices)
        self.parameters[self.key] = vertices
        self.parameters.update()  # builds its tree anew: the vertices have moved
        for sensor in self.sensors:
            self.seed += 1
            image = mitsuba.render(self.scene, self.parameters, sensor=sensor, spp=1, seed=self.seed)
            drjit.backward(drjit.mean(drjit.square(image - 0.5), axis=None) / len(self.sensors))
        gradient = drjit.grad(vertices)
        drjit.eval(gradient)
        drjit.sync_thread()

    def masks(self) -> np.ndarray:
        images = [self.mitsuba.render(self.scene, sensor=sensor, spp=16) for sensor in self.sensors]
        return np.stack([np.asarray(image)[..., :1] for image in images])


def step_rows(mitsuba: ModuleType | str, face_count: int, failures: list[str]) -> Iterator[str]:
    scene, cameras = blob(face_count), turntable_cameras(VIEWS)
    portable, plain = PortableRasteriser(), TorchReferenceRasteriser()
    yield (
        "| px | mask, walk | Mitsuba, 1 sample | ratio | colour, walk | colour, not antialiased | "
        "plain torch, not antialiased | ratio, both not antialiased | ratio, ours antialiased |"
    )
    yield "|" + 9 * "---|"
    for pixels in RESOLUTIONS:
        ours = Ours(scene, cameras, pixels)
        works: list[Callable[[], object]] = [
            lambda ours=ours: ours.step(portable, False, True),
            lambda ours=ours: ours.step(portable, True, True),
            lambda ours=ours: ours.step(portable, True, False),
            lambda ours=ours: ours.step(plain, True, False),
        ]
        if not isinstance(mitsuba, str):
            with tempfile.TemporaryDirectory() as folder:
                peer = InMitsuba(mitsuba, scene, cameras, pixels, Path(folder))
            raster, _ = portable.rasterize(clip_positions(scene.positions, cameras), scene.faces, (pixels, pixels))
            difference = np.abs((raster[..., 3:] > 0).numpy() - peer.masks()).mean()
            assert difference < 0.02, f"Mitsuba sees something else: {difference}"
            works.append(peer.step)
        mask, colour, hard, torch_hard, *taken = milliseconds(*works)
        if torch_hard < TORCH_BAR * hard:
            failures.append(f"plain torch, {pixels} px: {torch_hard / hard:.1f}x")
        if taken and taken[0] < MITSUBA_BAR * mask:
            failures.append(f"Mitsuba, {pixels} px: {taken[0] / mask:.1f}x")
        theirs, ratio = (f"{taken[0]:.0f}", f"**{taken[0] / mask:.0f}x**") if taken else ("-", "-")
        yield (
            f"| {pixels} | **{mask:.1f}** | {theirs} | {ratio} | {colour:.1f} | {hard:.1f} | {torch_hard:.0f} | "
            f"**{torch_hard / hard:.1f}x** | {torch_hard / colour:.1f}x |"
        )


def pixel_rays(cameras: CameraBatch, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Origins and directions of the rays through all pixel centres; [rays, 3] each."""
    centres = (2 * torch.arange(pixels) + 1) / pixels - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    inverse = torch.linalg.inv(cameras.clip_matrices().double())
    near = torch.stack([x, y, -torch.ones_like(x), torch.ones_like(x)], dim=-1).double().reshape(-1, 4)
    points = torch.einsum("vij,pj->vpi", inverse, near)
    points = points[..., :3] / points[..., 3:]
    origins = cameras.positions()[:, None].expand(-1, pixels * pixels, -1)
    directions = torch.nn.functional.normalize(points - origins, dim=-1)
    return origins.reshape(-1, 3).float().numpy(), directions.reshape(-1, 3).float().numpy()


def visibility_rows(failures: list[str]) -> Iterator[str]:
    cameras, portable = turntable_cameras(VIEWS), PortableRasteriser()
    has_embree = package_version("embreex") is not None
    yield (
        "| triangles | px | ours, with u, v, depth and derivatives | Embree, build | cast | ratio | plain torch | "
        "ratio | same face as Embree |"
    )
    yield "|" + 9 * "---|"
    for face_count in (5000, 10000, 50000):
        scene = blob(face_count)
        positions = clip_positions(scene.positions, cameras)
        for pixels in RESOLUTIONS:
            size = (pixels, pixels)
            works: list[Callable[[], object]] = [
                lambda p=positions, s=scene, size=size: portable.rasterize(p, s.faces.clone(), size),
                lambda p=positions, s=scene, size=size: find_visible_faces(p, s.faces, size),
            ]
            if has_embree:
                embree = InEmbree(scene, *pixel_rays(cameras, pixels))
                works += [embree.build, embree.cast]
            ours, plain, *taken = milliseconds(*works)
            build, cast, ratio, same = "-", "-", "-", "-"
            if has_embree:
                seen = portable.rasterize(positions, scene.faces, size)[0][..., 3].long() - 1
                build, cast, ratio = f"{taken[0]:.1f}", f"{taken[1]:.1f}", f"**{sum(taken) / ours:.1f}x**"
                same = f"{100 * np.mean(embree.cast() == seen.flatten().numpy()):.2f} %"
                if sum(taken) < EMBREE_BAR * ours:
                    failures.append(f"Embree, {face_count} triangles, {pixels} px: {sum(taken) / ours:.1f}x")
            yield (
                f"| {len(scene.faces):,} | {pixels} | **{ours:.1f}** | {build} | {cast} | {ratio} | {plain:.0f} | "
                f"{plain / ours:.1f}x | {same} |"
            )


class InEmbree:
    """The same visibility by casting rays."""

    def __init__(self, scene: Scene, origins: np.ndarray, directions: np.ndarray) -> None:
        self.vertices, self.faces = scene.positions.numpy(), scene.faces.numpy()
        self.origins, self.directions = origins, directions
        self.tree = self.build()

    def build(self) -> Any:
        from embreex import rtcore_scene
        from embreex.mesh_construction import TriangleMesh

        tree = rtcore_scene.EmbreeScene()
        TriangleMesh(tree, self.vertices, self.faces)
        tree.run(self.origins[:1], self.directions[:1])  # it is built when it is first needed
        return tree

    def cast(self) -> np.ndarray:
        """The face that each ray meets first, -1 for none."""
        return self.tree.run(self.origins, self.directions)


def part_rows(face_count: int) -> Iterator[str]:
    scene, cameras, portable = blob(face_count), turntable_cameras(VIEWS), PortableRasteriser()
    yield "| px | rasterize | interpolate, 3 | texture, 512 | antialias | parity | backward of the four |"
    yield "|" + 7 * "---|"
    texture = torch.rand(1, 512, 512, 3).requires_grad_()
    for pixels in RESOLUTIONS:
        size = (pixels, pixels)
        positions = clip_positions(scene.positions, cameras).requires_grad_()
        colours = scene.colours[None].contiguous().requires_grad_()
        raster, _ = portable.rasterize(positions, scene.faces, size)
        image, _ = portable.interpolate(colours, raster, scene.faces)
        uv = image[..., :2].detach().clone()

        def whole(p=positions, c=colours, size=size) -> Tensor:
            raster, _ = portable.rasterize(p, scene.faces, size)
            image, _ = portable.interpolate(c, raster, scene.faces)
            image = image + portable.texture(texture, image[..., :2].contiguous())
            return portable.antialias(image, raster, p, scene.faces)

        def antialias(rasteriser: PortableRasteriser, i=image, r=raster, p=positions) -> Tensor:
            return rasteriser.antialias(i, r, p, scene.faces)

        parity = PortableRasteriser("parity")
        result, gradient = whole(), torch.rand(VIEWS, pixels, pixels, 3)
        times = milliseconds(
            lambda p=positions, size=size: portable.rasterize(p, scene.faces, size),
            lambda c=colours, r=raster: portable.interpolate(c, r, scene.faces),
            lambda uv=uv: portable.texture(texture, uv),
            lambda antialias=antialias: antialias(portable),
            lambda antialias=antialias, parity=parity: antialias(parity),
            lambda r=result, g=gradient: r.backward(g, retain_graph=True),
        )
        yield f"| {pixels} | " + " | ".join(f"{value:.1f}" for value in times) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table to benchmarks/results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    set_render_threads(1)
    warm_up()
    mitsuba = load_mitsuba()
    mitsuba_note = mitsuba if isinstance(mitsuba, str) else f"Mitsuba {package_version('mitsuba')} (llvm_ad_rgb)"

    today, failures = datetime.date.today().isoformat(), list[str]()
    lines = [
        f"# Speed of the portable rasteriser, {today}",
        "",
        f"`python benchmarks/rasteriser_speed.py`, one thread, {processor_name()}, {platform.machine()}, torch "
        f"{torch.__version__}, numba {package_version('numba')}, "
        f"embreex {package_version('embreex') or 'not installed'}. {mitsuba_note}.",
        "",
        "CPU milliseconds of the process, least of several runs in turn: others use the machine. "
        "Eight views of a bumpy sphere.",
        "",
        "## A step: forward and backward to the vertices, 10,000 triangles",
        "",
        "Transform, rasterise, interpolate three vertex colours (or a mask), antialias, mean square, backward. Faces "
        "count as changed: their adjacency is worked out in each step. Mitsuba: `direct_projective` with one "
        "continuous and one silhouette sample a pixel, its tree built once a step. Plain torch is the reference of our "
        "tests (`tests/backend/render/torch_reference_rasteriser.py`), vectorised over all fragments of all views; it "
        f"does not antialias. Bars: {MITSUBA_BAR:.0f}x Mitsuba, {TORCH_BAR:.0f}x plain torch.",
        "",
        *step_rows(mitsuba, 10000, failures),
        "",
        "## Visibility alone, on a mesh that has changed",
        "",
        f"Embree builds its tree and casts a ray per pixel; it gives face numbers only. Bar: {EMBREE_BAR:.0f}x.",
        "",
        *visibility_rows(failures),
        "",
        "## Parts, 10,000 triangles",
        "",
        *part_rows(10000),
        "",
        "Missed: " + ("; ".join(failures) if failures else "no bar") + ".",
        "",
    ]
    print("\n".join(lines))
    if arguments.write:
        (FOLDER / "results" / f"rasteriser_speed-{today}.md").write_text("\n".join(lines))
    if failures:
        sys.exit(1)


if __name__ == "__main__":
    main()
