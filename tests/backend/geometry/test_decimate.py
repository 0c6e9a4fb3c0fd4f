from __future__ import annotations

import chart_shapes
import pytest
import torch
from surface_facts import euler_characteristic, volume

from backend.geometry import decimate as decimate_module
from backend.geometry.components import face_components
from backend.geometry.decimate import decimate, is_closed
from backend.geometry.triangle_mesh import TriangleMesh


@pytest.mark.parametrize("shape", [chart_shapes.sphere, chart_shapes.torus, chart_shapes.bumpy_blob])
@pytest.mark.parametrize(("budget", "volume_share"), [(1000, 0.04), (200, 0.15)])
def test_the_budget_is_kept_and_the_mesh_stays_closed(shape, budget, volume_share):
    mesh = shape()

    decimation = decimate(mesh, budget)

    assert len(decimation.mesh.faces) <= budget
    assert is_closed(decimation.mesh)
    assert decimation.notes == ()
    assert euler_characteristic(decimation.mesh) == euler_characteristic(mesh)
    assert volume(decimation.mesh) == pytest.approx(volume(mesh), rel=volume_share)


def test_a_rough_mesh_stays_closed_and_in_one_part():
    mesh = chart_shapes.rough_ball()
    assert not is_closed(decimate_module._simplify(mesh, 1000, 7.0))  # fast-simplification alone opens it

    decimation = decimate(mesh, 1000)

    assert len(decimation.mesh.faces) <= 1000
    assert is_closed(decimation.mesh)
    assert face_components(decimation.mesh).max() == face_components(mesh).max()


def test_our_own_collapse_keeps_the_shape_as_well_as_fast_simplification_does():
    mesh = chart_shapes.torus()

    collapsed = decimate_module._collapse(mesh, 400)
    simplified = decimate_module._simplify(mesh, 400, 5.0)

    def off_the_torus(mesh: TriangleMesh) -> float:
        centres = mesh.positions[mesh.faces.long()].mean(dim=1)
        rings = (centres[:, [0, 2]].norm(dim=-1) - 0.6).square() + centres[:, 1].square()
        return float((rings.sqrt() - 0.25).abs().mean())

    assert len(collapsed.faces) <= 400
    assert off_the_torus(collapsed) < 1.25 * off_the_torus(simplified)


def test_what_cannot_be_reached_is_said():
    decimation = decimate(chart_shapes.torus(), 10)  # a closed torus has at least 14 faces

    assert is_closed(decimation.mesh)
    assert 14 <= len(decimation.mesh.faces) <= 60
    (note,) = decimation.notes
    assert f"{len(decimation.mesh.faces)} faces instead of 10" in note


def test_an_open_sheet_keeps_its_border():
    x, z = torch.meshgrid(torch.linspace(-1, 1, 31), torch.linspace(-1, 1, 31), indexing="ij")
    sheet = TriangleMesh(
        torch.stack([x, 0.05 * torch.sin(4 * x), z], dim=-1).reshape(-1, 3), chart_shapes.grid_faces(31, 31).int()
    )

    collapsed = decimate_module._collapse(sheet, 200)

    assert len(collapsed.faces) <= 200
    assert not is_closed(collapsed)
    assert euler_characteristic(collapsed) == 1  # a disc
    torch.testing.assert_close(collapsed.positions.amin(0)[[0, 2]], torch.tensor([-1.0, -1.0]), atol=2e-3, rtol=0)
    torch.testing.assert_close(collapsed.positions.amax(0)[[0, 2]], torch.tensor([1.0, 1.0]), atol=2e-3, rtol=0)


def test_a_mesh_within_the_budget_is_returned_as_it_is():
    mesh = chart_shapes.cube()

    assert decimate(mesh, len(mesh.faces)).mesh.faces is mesh.faces


def test_both_parts_of_a_mesh_stay():
    ball = chart_shapes.sphere(12)
    two = TriangleMesh(
        torch.cat([ball.positions, ball.positions + 3.0]), torch.cat([ball.faces, ball.faces + len(ball.positions)])
    )

    reduced = decimate(two, 150).mesh

    assert len(reduced.faces) <= 150
    assert face_components(reduced).max() == 1


def test_a_tetrahedron_is_closed_and_three_of_its_faces_are_not():
    positions = torch.tensor([[1.0, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]], dtype=torch.int32)

    assert is_closed(TriangleMesh(positions, faces))
    assert not is_closed(TriangleMesh(positions, faces[:3]))
    assert not is_closed(TriangleMesh(positions, torch.cat([faces[:3], faces[3:].flip(1)])))


def test_a_budget_below_a_tetrahedron_is_refused():
    with pytest.raises(ValueError, match="at least 4, got 3"):
        decimate(chart_shapes.cube(), 3)
