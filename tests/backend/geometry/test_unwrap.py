from __future__ import annotations

import time
from pathlib import Path

import chart_shapes
import numpy as np
import pytest
import torch
from surface_facts import is_closed

from backend.geometry.chart_cutting import cut_charts
from backend.geometry.chart_packing import FlatCharts, pack_charts
from backend.geometry.triangle_mesh import TriangleMesh
from backend.geometry.unwrap import UnwrapConfig, UnwrappedMesh, overlapping_faces, unwrap, uv_overlap_fraction

SHAPES = chart_shapes.ALL
OWN = UnwrapConfig(packer="own")
XATLAS = UnwrapConfig(packer="xatlas")


def merged(unwrapped: UnwrappedMesh) -> TriangleMesh:
    """The mesh after merging vertices at the same position."""
    positions, numbers = np.unique(unwrapped.positions, axis=0, return_inverse=True)
    return TriangleMesh(
        torch.from_numpy(positions), torch.from_numpy(numbers.reshape(-1)[unwrapped.faces].astype(np.int32))
    )


@pytest.mark.parametrize("packer", [OWN, XATLAS])
@pytest.mark.parametrize("shape", SHAPES)
def test_uvs_are_inside_and_do_not_overlap(shape, packer):
    unwrapped = unwrap(shape(), 512, config=packer)

    assert unwrapped.uv.min() >= 0
    assert unwrapped.uv.max() <= 1
    assert len(overlapping_faces(unwrapped.uv, unwrapped.faces, 512)) == 0
    assert uv_overlap_fraction(unwrapped.uv, unwrapped.faces, 1024) == 0
    assert unwrapped.coverage > 0.25


@pytest.mark.parametrize("shape", [chart_shapes.sphere, chart_shapes.torus, chart_shapes.bumpy_blob])
def test_merged_by_position_the_mesh_is_what_it_was(shape):
    mesh = shape()

    unwrapped = unwrap(mesh, 256, config=OWN)

    assert is_closed(merged(unwrapped))
    assert np.array_equal(unwrapped.source_vertices[unwrapped.faces], mesh.faces.numpy())
    assert np.array_equal(unwrapped.positions, mesh.positions.numpy()[unwrapped.source_vertices])


def test_all_charts_have_the_same_scale():
    mesh = chart_shapes.cube()

    unwrapped = unwrap(mesh, 512, config=OWN)

    a, b, c = unwrapped.uv[unwrapped.faces].astype(np.float64).transpose(1, 0, 2)
    u, v = b - a, c - a
    areas = 0.5 * (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    assert areas.min() == pytest.approx(areas.max(), rel=1e-4)  # equal in space; and none is mirrored
    assert areas.sum() == pytest.approx(unwrapped.coverage, rel=1e-4)


@pytest.mark.parametrize("packer", [OWN, XATLAS])
def test_charts_keep_their_distance(packer):
    size, padding = 256, 8
    unwrapped = unwrap(chart_shapes.bumpy_blob(16), size, config=UnwrapConfig(padding, packer.packer))

    texels = unwrapped.uv * size
    chart_of_vertex = np.zeros(len(texels), int)
    chart_of_vertex[unwrapped.faces] = unwrapped.chart_of_face[:, None]
    distances = np.linalg.norm(texels[:, None] - texels[None], axis=-1)
    distances[chart_of_vertex[:, None] == chart_of_vertex[None]] = np.inf
    # xatlas's layout is shrunk into the square, and the gaps with it.
    assert distances.min() >= (padding if unwrapped.packer == "own" else 0.8 * padding)
    assert texels.min() >= 0.4 * padding
    assert texels.max() <= size - 0.4 * padding


def test_the_denser_layout_is_used():
    mesh = chart_shapes.bumpy_blob()

    own, xatlas, densest = (unwrap(mesh, 256, config=UnwrapConfig(packer=p)) for p in ("own", "xatlas", "densest"))

    assert xatlas.packer == "xatlas"
    assert densest.coverage == pytest.approx(max(own.coverage, xatlas.coverage), rel=1e-6)
    assert densest.notes == ()


@pytest.mark.parametrize("packer", [OWN, XATLAS])
def test_the_same_mesh_gives_the_same_atlas(packer):
    first, second = (unwrap(chart_shapes.torus(), 256, config=packer) for _ in range(2))

    assert np.array_equal(first.uv, second.uv)


def stand_in(folder: Path, lines: str) -> Path:
    """A program in the place of xatlas_child.py; its argument is the folder with the arrays."""
    program = folder / "stand_in.py"
    program.write_text("import sys, time, pathlib\nimport numpy as np\nfolder = pathlib.Path(sys.argv[1])\n" + lines)
    return program


def test_a_packer_that_hangs_is_killed_and_replaced(tmp_path):
    started = tmp_path / "started"
    program = stand_in(tmp_path, f"pathlib.Path({str(started)!r}).touch()\ntime.sleep(600)\n")

    begin = time.monotonic()
    unwrapped = unwrap(chart_shapes.sphere(12), 256, timeout_seconds=2.0, config=XATLAS, xatlas_program=program)

    assert started.exists()
    assert time.monotonic() - begin < 10
    assert unwrapped.packer == "own"
    assert len(overlapping_faces(unwrapped.uv, unwrapped.faces, 256)) == 0
    (note,) = unwrapped.notes
    assert "not done after 2 s" in note


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("sys.exit('out of memory')", "ended with 1 (out of memory)"),
        ("import os; os.abort()", "ended with -6"),
        ("pass", "cannot be read"),
        ("(folder / 'packed.npy').write_bytes(b'nonsense')", "cannot be read"),
        ("np.save(folder / 'packed.npy', np.zeros((3, 2), np.float32))", "shape"),
        ("np.save(folder / 'packed.npy', np.full_like(np.load(folder / 'points.npy'), np.nan))", "not finite"),
        ("np.save(folder / 'packed.npy', 1e4 * np.abs(np.load(folder / 'points.npy')))", "texels of 256"),
        # All charts lie on each other, which is how they come in.
        ("np.save(folder / 'packed.npy', 100 + 100 * np.load(folder / 'points.npy'))", "overlap"),
        ("p = np.load(folder / 'points.npy'); np.save(folder / 'packed.npy', 90 + 90 * np.sin(9 * p))", "not the ones"),
    ],
)
def test_a_layout_that_is_missing_or_wrong_is_replaced(tmp_path, lines, complaint):
    program = stand_in(tmp_path, lines)

    unwrapped = unwrap(chart_shapes.sphere(12), 256, config=XATLAS, xatlas_program=program)

    assert unwrapped.packer == "own"
    assert len(overlapping_faces(unwrapped.uv, unwrapped.faces, 256)) == 0
    (note,) = unwrapped.notes
    assert complaint in note


def test_thousands_of_charts_find_room_in_a_small_texture():
    # 2,000 loose triangles, in a texture that has 2 texels for each.
    rng = np.random.default_rng(0)
    positions = rng.normal(size=(6000, 3)).astype(np.float32)
    faces = np.arange(6000, dtype=np.int32).reshape(-1, 3)
    charts = FlatCharts.of(cut_charts(positions, faces), faces)

    layout = pack_charts(charts, 64, padding=4.0)

    texels = layout.place(charts)
    assert texels.min() >= 0
    assert texels.max() <= 64
    assert layout.padding < 4


def test_a_mesh_of_needles_can_be_unwrapped():
    positions = torch.tensor([[0.0, 0, 0], [0, 0, 1], [0, 0, 2], [1, 0, 0]])
    faces = torch.tensor([[0, 1, 2], [3, 3, 3]], dtype=torch.int32)

    unwrapped = unwrap(TriangleMesh(positions, faces), 64, config=OWN)

    assert np.isfinite(unwrapped.uv).all()
    assert unwrapped.uv.min() >= 0
    assert unwrapped.uv.max() <= 1


def test_overlap_fraction_of_two_squares():
    # [0, 1/2]^2 and the same a quarter to the right: 3/8 are covered, 1/8 of it twice.
    square = np.array([[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]], dtype=np.float32)
    uv = np.concatenate([square, square + np.float32([0.25, 0])])
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])

    assert uv_overlap_fraction(uv, faces, 64) == pytest.approx(1 / 3)
    assert uv_overlap_fraction(uv, faces[:2], 64) == 0
    assert uv_overlap_fraction(uv, faces[:0], 64) == 0
    assert len(overlapping_faces(uv, faces, 64)) == 3  # the upper left and the lower right halves lie side by side


def test_what_cannot_be_unwrapped_is_refused():
    mesh = chart_shapes.cube()

    with pytest.raises(ValueError, match="no faces"):
        unwrap(TriangleMesh(mesh.positions, mesh.faces[:0]))
    with pytest.raises(ValueError, match="not finite"):
        unwrap(TriangleMesh(mesh.positions * torch.nan, mesh.faces))
    with pytest.raises(ValueError, match="at least 0, got -1"):
        UnwrapConfig(padding_texels=-1)
