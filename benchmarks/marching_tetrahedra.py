"""How fast the geometry of a step is, against the published way of marching tetrahedra, and what keeps a surface
smooth.

    python benchmarks/marching_tetrahedra.py [--write]

One torch thread. `--write` puts the table into benchmarks/results under today's date.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent), str(FOLDER.parent / "tests/backend/geometry")]

from measuring import milliseconds  # noqa: E402
from naive_marching_tetrahedra import naive_marching_tetrahedra  # noqa: E402

from backend.geometry.dmtet import DMTet, DMTetConfig, add_new_groups  # noqa: E402
from backend.geometry.marching_tetrahedra import marching_tetrahedra  # noqa: E402
from backend.geometry.signed_distance import ellipsoid, signed_distance_on_lattice  # noqa: E402
from backend.geometry.smoothness import (  # noqa: E402
    laplacian_roughness,
    normal_consistency,
    sign_change_entropy,
    unique_edges_with_faces,
)
from backend.geometry.tetrahedral_grid import TetrahedralGrid  # noqa: E402
from backend.geometry.triangle_mesh import TriangleMesh  # noqa: E402
from backend.geometry.warm_up import compile_kernels  # noqa: E402

RADIUS = 0.66  # of the sphere that is marched: 12.5k faces on 32 cells


def marching_rows() -> Iterator[str]:
    yield "| cells | tetrahedra | vertices / faces | unique per step | plain torch | numba | numba + offsets | ratio |"
    yield "|---|---|---|---|---|---|---|---|"
    for resolution in (32, 64, 128):
        grid = TetrahedralGrid(resolution)
        distances = (grid.positions().norm(dim=-1) - RADIUS).requires_grad_()
        offsets = torch.zeros(3, *distances.shape, requires_grad=True)
        mesh = marching_tetrahedra(distances, grid)

        def ours(implementation: str, moved: Tensor | None = None, grid=grid, distances=distances) -> None:
            marching_tetrahedra(distances, grid, moved, implementation).positions.sum().backward()

        fast = milliseconds(lambda run=ours: run("numba"))
        plain = milliseconds(lambda run=ours: run("torch"), repeats=5)
        moved = milliseconds(lambda run=ours, offsets=offsets: run("numba", offsets))
        naive = None
        if resolution <= 64:  # beyond, its tables take gigabytes
            positions, tetrahedra = grid.positions().view(-1, 3), grid.tetrahedra()

            def published(positions=positions, tetrahedra=tetrahedra, distances=distances) -> None:
                naive_marching_tetrahedra(distances.view(-1), positions, tetrahedra)[0].sum().backward()

            naive = milliseconds(published, repeats=4)
        yield (
            f"| {resolution} | {grid.tetrahedron_count:,} | {len(mesh.positions):,} / {len(mesh.faces):,} | "
            f"{f'{naive:.1f}' if naive else '-'} | {plain:.1f} | **{fast:.2f}** | {moved:.2f} | "
            f"{f'{naive / fast:.0f}x' if naive else '-'} |"
        )


def step_rows() -> Iterator[str]:
    yield (
        "| vertices a side | sum of grids | + marching | + backward | without deformation | edges | normals | "
        "Laplacian | sign entropy | drop floaters | copy for the guard |"
    )
    yield "|" + 11 * "---|"
    for resolution in (32, 64, 128):
        dmtet, rigid = (DMTet(DMTetConfig(deformation_cells=cells)) for cells in (1 / 6, 0.0))
        for module in (dmtet, rigid):
            module.initialise_from(module.grid.positions().norm(dim=-1) - RADIUS)
            if resolution > 32:
                module.grow(resolution)

        def step(module: DMTet) -> None:
            module.zero_grad()
            module.extract_mesh().positions.sum().backward()

        mesh = dmtet.extract_mesh().detach()
        mesh = TriangleMesh(mesh.positions.requires_grad_(), mesh.faces)
        edges = unique_edges_with_faces(mesh.faces, len(mesh.positions))
        distances = dmtet.signed_distances().detach().requires_grad_()
        times = [
            milliseconds(dmtet.signed_distances),
            milliseconds(dmtet.extract_mesh),
            milliseconds(lambda step=step, dmtet=dmtet: step(dmtet)),
            milliseconds(lambda step=step, rigid=rigid: step(rigid)),
            milliseconds(lambda mesh=mesh: unique_edges_with_faces(mesh.faces, len(mesh.positions))),
            milliseconds(lambda mesh=mesh, edges=edges: normal_consistency(mesh, edges).backward()),
            milliseconds(lambda mesh=mesh, edges=edges: laplacian_roughness(mesh, edges).backward()),
            milliseconds(lambda distances=distances: sign_change_entropy(distances).backward()),
            milliseconds(dmtet.drop_floaters, repeats=3),
            milliseconds(dmtet.state),
        ]
        yield f"| {resolution + 1} | " + " | ".join(f"{value:.2f}" for value in times) + " |"


def mesh_distance_rows() -> Iterator[str]:
    import trimesh

    mesh = trimesh.creation.icosphere(subdivisions=6, radius=0.8)
    vertices = mesh.vertices * (1 + 0.1 * torch.sin(9 * torch.from_numpy(mesh.vertices[:, :1].copy())).numpy())
    yield f"| vertices a side | CPU seconds for a mesh of {len(mesh.faces):,} faces |"
    yield "|---|---|"
    for resolution in (32, 64, 128):
        start = time.process_time()
        signed_distance_on_lattice(vertices, mesh.faces.copy(), TetrahedralGrid(resolution))
        yield f"| {resolution + 1} | {time.process_time() - start:.1f} |"


def smoothness_rows() -> Iterator[str]:
    """A sphere drawn to an ellipsoid by Adam, 150 steps on 32 cells and 150 on 64, with noise on each vertex's pull."""
    yield "| share of the rate for each finer grid | distance, mm | normals, mean degrees off | 95th percentile |"
    yield "|---|---|---|---|"
    radii = (0.75, 0.5, 0.35)
    for finer_rate in (1.0, 0.7, 0.5, 0.35):
        generator = torch.Generator().manual_seed(0)
        dmtet = DMTet(DMTetConfig(deformation_cells=0.0))
        optimiser = torch.optim.Adam(dmtet.parameter_groups(1e-2, finer_rate))
        for step in range(300):
            if step == 150:
                dmtet.grow(64)
                add_new_groups(optimiser, dmtet.parameter_groups(1e-2, finer_rate))
            distances = ellipsoid(dmtet.extract_mesh().positions, radii)
            noise = 0.1 * torch.randn(len(distances), generator=generator)
            optimiser.zero_grad()
            ((distances.detach() + noise) * distances).mean().backward()
            optimiser.step()
        mesh = dmtet.extract_mesh().detach()
        positions = mesh.positions.requires_grad_()
        distances = ellipsoid(positions, radii)
        (outward,) = torch.autograd.grad(distances.sum(), positions)
        cosines = torch.cosine_similarity(mesh.vertex_normals().detach(), outward, dim=-1)
        degrees = torch.rad2deg(torch.acos(cosines.clamp(-1, 1)))
        yield (
            f"| {finer_rate} | {1000 * distances.abs().mean().item():.1f} | {degrees.mean():.1f} | "
            f"{degrees.quantile(0.95):.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table to benchmarks/results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    compile_kernels()

    today = datetime.date.today().isoformat()
    lines = [
        f"# Geometry of a step, {today}",
        "",
        f"`python benchmarks/marching_tetrahedra.py`, one thread, {platform.machine()}, torch {torch.__version__}, "
        f"shared machine; CPU milliseconds, least of several runs. A sphere of radius {RADIUS} m.",
        "",
        "## Marching tetrahedra, forward and backward",
        "",
        "Unique per step is the published way (`tests/backend/geometry/naive_marching_tetrahedra.py`).",
        "",
        *marching_rows(),
        "",
        "## The geometry of a step",
        "",
        "The first four columns add up from left to right, the fourth is the third without deformation; the smoothness "
        "terms are forward and backward.",
        "",
        *step_rows(),
        "",
        "## Signed distance of an initial mesh",
        "",
        *mesh_distance_rows(),
        "",
        "## A lower rate for finer grids keeps the noise out",
        "",
        (smoothness_rows.__doc__ or "").strip() + " Noise 0.1 m, rate 1e-2 for the coarsest grid.",
        "",
        *smoothness_rows(),
        "",
    ]
    print("\n".join(lines))
    if arguments.write:
        (FOLDER / "results" / f"marching_tetrahedra-{today}.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
