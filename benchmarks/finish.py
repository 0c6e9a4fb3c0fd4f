"""From the optimised surface to the file: how long each part takes, and what comes out.

    python benchmarks/finish.py [--write] [--xatlas-alone]

One torch thread; xatlas packs in a process of its own meanwhile. `--xatlas-alone` also lets xatlas cut the charts of
the smallest mesh, which takes a minute or more. `--write` puts the tables into benchmarks/results under today's date.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).resolve().parent
TESTS = FOLDER.parent / "tests/backend"
sys.path[:0] = [str(FOLDER.parent), str(TESTS / "geometry"), str(TESTS / "appearance")]

import chart_shapes  # noqa: E402
import finish_shapes  # noqa: E402
from test_bake import points_on_both_sides_of_seams, shrunk  # noqa: E402

from backend.appearance.bake import bake_textures, finish_mesh  # noqa: E402
from backend.appearance.mesh_files import write_mesh  # noqa: E402
from backend.appearance.texture_field import TextureField, TextureFieldConfig  # noqa: E402
from backend.appearance.warm_up import compile_finishing  # noqa: E402
from backend.geometry.chart_cutting import cut_charts  # noqa: E402
from backend.geometry.chart_kernels import count_coverage  # noqa: E402
from backend.geometry.components import remove_floaters  # noqa: E402
from backend.geometry.decimate import _collapse, _simplify, decimate, is_closed  # noqa: E402
from backend.geometry.triangle_mesh import TriangleMesh  # noqa: E402
from backend.geometry.unwrap import UnwrapConfig, _likely_scale, overlapping_faces, unwrap  # noqa: E402
from backend.machine import processor_name  # noqa: E402
from backend.render.portable_rasteriser import PortableRasteriser  # noqa: E402

BAR_SECONDS = 10.0


def lumpy(positions: torch.Tensor) -> torch.Tensor:
    """A ball with arms, holes and overhangs: 30 sine waves."""
    generator = torch.Generator().manual_seed(0)
    waves = torch.zeros(positions.shape[:-1])
    for _ in range(30):
        direction = 6 * torch.randn(3, generator=generator)
        waves += torch.sin(positions @ direction + 2 * torch.pi * torch.rand(1, generator=generator))
    return positions.norm(dim=-1) - 0.65 + 0.05 * waves


def table_shape(p: torch.Tensor) -> torch.Tensor:
    """A table: flat sides, thin legs."""
    top = torch.maximum(torch.maximum(p[..., 0].abs() - 0.75, p[..., 2].abs() - 0.5), (p[..., 1] - 0.4).abs() - 0.05)
    legs = ((p[..., 0].abs() - 0.65) ** 2 + (p[..., 2].abs() - 0.4) ** 2).sqrt() - 0.07
    return torch.minimum(top, torch.maximum(legs, (p[..., 1] + 0.1).abs() - 0.5))


MESHES: dict[str, Callable[[], TriangleMesh]] = {
    "torus": lambda: chart_shapes.torus(48),
    "table": lambda: chart_shapes.solid(table_shape, 64),
    "bumpy ball": lambda: chart_shapes.bumpy_blob(62),
    "ball with arms": lambda: remove_floaters(chart_shapes.solid(lumpy, 50)),
    "ball with arms, fine": lambda: remove_floaters(chart_shapes.solid(lumpy, 80)),
    "rough ball": lambda: remove_floaters(chart_shapes.rough_ball(32)),
}


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def random_field() -> TextureField:
    """A field with something to see at each of its resolutions."""
    field = TextureField(TextureFieldConfig())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for grid in field.grids:
            grid.copy_(torch.randn(grid.shape, generator=generator))
    return field


def finish_rows(meshes: dict[str, TriangleMesh]) -> Iterator[str]:
    yield "| mesh | faces | texture | unwrap | bake | write GLB | **in all** | charts | covered | overlap | closed |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    field = random_field()
    with tempfile.TemporaryDirectory() as folder:
        for name, mesh in meshes.items():
            for size in (1024, 2048):
                started = time.perf_counter()
                finished = finish_mesh(mesh, field, texture_size=size)
                path = Path(folder) / "mesh.glb"
                writing = seconds(lambda finished=finished, path=path: write_mesh(path, finished))
                total = time.perf_counter() - started
                positions, numbers = finished.mesh.positions.unique(dim=0, return_inverse=True)
                closed = is_closed(TriangleMesh(positions, numbers[finished.mesh.faces.long()].int()))
                report = finished.report
                overlaps = len(overlapping_faces(finished.uv.numpy(), finished.mesh.faces.numpy(), size))
                yield (
                    f"| {name} | {len(mesh.faces):,} | {size} | {report.seconds['unwrap']:.2f} | "
                    f"{report.seconds['bake']:.2f} | {writing:.2f} | **{total:.1f}** | {report.chart_count} | "
                    f"{report.coverage:.0%} | {overlaps} | {'yes' if closed else 'no'} |"
                )


def packer_rows(meshes: dict[str, TriangleMesh]) -> Iterator[str]:
    yield "| mesh | faces | cut charts | charts | squeezed | unwrap, own packing | covered | with xatlas | covered |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, mesh in meshes.items():
        positions, faces = mesh.positions.numpy(), mesh.faces.numpy()
        gap = UnwrapConfig().padding(1024) / _likely_scale(positions, faces, 1024)
        started = time.perf_counter()
        charts = cut_charts(positions, faces, gap_metres=gap)
        cutting = time.perf_counter() - started
        u, v = charts.corner_uv[:, 1] - charts.corner_uv[:, 0], charts.corner_uv[:, 2] - charts.corner_uv[:, 0]
        areas = mesh.face_normals().norm(dim=-1).numpy()
        kept = (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]) / np.maximum(areas, 1e-12)
        squeezed = areas[kept < 0.3].sum() / areas.sum()
        results = []
        for packer in ("own", "xatlas"):
            started = time.perf_counter()
            unwrapped = unwrap(mesh, 1024, config=UnwrapConfig(packer=packer))
            spent = time.perf_counter() - started
            covered = f"{unwrapped.coverage:.0%}" if unwrapped.packer == packer else "failed"
            results.append(f"{spent:.2f} | {covered}")
        yield (
            f"| {name} | {len(mesh.faces):,} | {cutting:.2f} | {len(charts)} | {squeezed:.2%} | "
            f"{results[0]} | {results[1]} |"
        )


def decimation_rows(meshes: dict[str, TriangleMesh]) -> Iterator[str]:
    yield "| mesh | faces | budget | fast-simplification | closed | our collapse | faces | closed | `decimate` gives |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, mesh in meshes.items():
        for budget in (10_000, 1_000):
            started = time.perf_counter()
            simplified = _simplify(mesh, budget, 7.0)
            simplifying = time.perf_counter() - started
            started = time.perf_counter()
            collapsed = _collapse(mesh, budget)
            collapsing = time.perf_counter() - started
            given = decimate(mesh, budget).mesh
            yield (
                f"| {name} | {len(mesh.faces):,} | {budget:,} | {simplifying:.2f} s, {len(simplified.faces):,} faces | "
                f"{'yes' if is_closed(simplified) else '**no**'} | {collapsing:.2f} s | {len(collapsed.faces):,} | "
                f"{'yes' if is_closed(collapsed) else '**no**'} | "
                f"{len(given.faces):,} faces, {'closed' if is_closed(given) else 'open'} |"
            )


def seam_rows() -> Iterator[str]:
    yield "| texels between charts | covered | full size | half | quarter | eighth |"
    yield "|---|---|---|---|---|---|"
    mesh = finish_shapes.blob(48)
    for padding in (4, 8, 12, 16):
        config = UnwrapConfig(padding_texels=padding, packer="own")
        finished = finish_mesh(mesh, finish_shapes.smooth_field, texture_size=1024, unwrap_config=config)
        here, there, _ = points_on_both_sides_of_seams(finished)
        cells = []
        for factor in (1, 2, 4, 8):
            texture = shrunk(finished.textures.base_colour, factor)
            difference = finish_shapes.lookup(texture, here) - finish_shapes.lookup(texture, there)
            cells.append(f"{float(difference.abs().max()) / 255:.1%}")
        yield f"| {padding} | {finished.report.coverage:.0%} | {' | '.join(cells)} |"


def supersampling_line() -> str:
    mesh = chart_shapes.sphere(40)
    unwrapped = unwrap(mesh, 1024, config=UnwrapConfig(packer="own"))
    split = TriangleMesh(torch.from_numpy(unwrapped.positions), torch.from_numpy(unwrapped.faces))
    uv, field = torch.from_numpy(unwrapped.uv), random_field()
    one = bake_textures(split, uv, field, PortableRasteriser(), 1024).base_colour.float()
    four = shrunk(bake_textures(split, uv, field, PortableRasteriser(), 2048).base_colour, 2)
    covered = np.zeros((2048, 2048), np.int32)
    count_coverage(np.rint(unwrapped.uv.astype(np.float64) * 2048 * 256).astype(np.int64)[unwrapped.faces], covered)
    is_inside = torch.from_numpy(covered.reshape(1024, 2, 1024, 2).min(axis=(1, 3)) > 0)
    difference = (one - four)[is_inside].abs()
    worst = difference.flatten().quantile(0.99)
    return (
        "One sample a texel against four, with a field of random numbers at 64 cells a side, in texels that lie inside "
        f"a chart: {float(difference.mean()):.2f} of 255 steps on average, {float(worst):.1f} for the worst percent. "
        "A texel is a tenth of a cell: four times the time would buy nothing."
    )


def xatlas_alone_line(mesh: TriangleMesh) -> str:
    import xatlas

    started = time.perf_counter()
    atlas = xatlas.Atlas()
    atlas.add_mesh(mesh.positions.numpy(), mesh.faces.numpy().astype(np.uint32))
    atlas.generate()
    spent = time.perf_counter() - started
    return f"xatlas alone on the mesh of {len(mesh.faces):,} faces: {spent:.0f} s, {atlas.chart_count} charts."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the table into benchmarks/results")
    parser.add_argument(
        "--xatlas-alone", action="store_true", help="also let xatlas cut the charts of the smallest mesh"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    compile_finishing()
    decimate(chart_shapes.torus(12), 14)  # compiles the edge collapse
    meshes = {name: make() for name, make in MESHES.items()}
    today = datetime.date.today().isoformat()
    lines = [
        f"# Finishing a mesh, {today}",
        "",
        f"`python benchmarks/finish.py`, one torch thread, {processor_name()}, {platform.machine()}, torch "
        f"{torch.__version__}, 2 cores shared with other work. Wall seconds, kernels compiled. Surfaces of marching "
        "tetrahedra.",
        "",
        "## From the surface to the GLB on disk",
        "",
        f"Bar: {BAR_SECONDS:g} s for 60,000 faces with a texture of 1024. Overlap: pairs of faces, found exactly. "
        "Closed: after merging vertices by position.",
        "",
        *finish_rows(meshes),
        "",
        "## Charts and packing, texture of 1024, 12 texels between charts",
        "",
        "By default both packers work at the same time and the denser layout is used. Squeezed: the share of the area "
        "that is laid flat at less than 0.3 of its size.",
        "",
        *packer_rows(meshes),
        "",
        *([xatlas_alone_line(meshes["torus"]), ""] if arguments.xatlas_alone else []),
        "## Decimation",
        "",
        *decimation_rows(meshes),
        "",
        "## Seams: the largest difference of colour between the two sides, texture of 1024",
        "",
        "A smooth colouring looked up with bilinear filtering at 3 points of every seam edge, in the texture and in "
        "its mipmaps.",
        "",
        *seam_rows(),
        "",
        "## Samples",
        "",
        supersampling_line(),
    ]
    print("\n".join(lines))
    if arguments.write:
        (FOLDER / "results" / f"finish-{today}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
