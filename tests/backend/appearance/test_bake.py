from __future__ import annotations

import finish_shapes
import numpy as np
import pytest
import torch
from finish_shapes import albedo_at, lookup, smooth_field

from backend.appearance import bake
from backend.appearance.bake import FinishedMesh, bake_textures, finish_mesh
from backend.appearance.material import Material
from backend.geometry.chart_kernels import count_coverage
from backend.geometry.triangle_mesh import TriangleMesh
from backend.geometry.unwrap import UnwrapConfig, overlapping_faces
from backend.render.portable_rasteriser import PortableRasteriser

OWN = UnwrapConfig(packer="own")


@pytest.fixture(scope="module")
def finished() -> FinishedMesh:
    as_at_1024 = UnwrapConfig(padding_texels=12, packer="own")
    return finish_mesh(finish_shapes.blob(), smooth_field, texture_size=256, name="a blob", unwrap_config=as_at_1024)


def points_on_both_sides_of_seams(finished: FinishedMesh) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ends and middles of the edges between charts: uv on one side, uv on the other, positions."""
    sides: dict[tuple[int, int], list[tuple[int, int]]] = {}
    sources = finished.source_vertices.tolist()
    for face in finished.mesh.faces.tolist():
        for corner in range(3):
            a, b = face[corner], face[(corner + 1) % 3]
            a, b = (a, b) if sources[a] < sources[b] else (b, a)
            sides.setdefault((sources[a], sources[b]), []).append((a, b))
    seams = [(first, second) for first, second in (s for s in sides.values() if len(s) == 2) if first != second]
    first, second = torch.tensor(seams).unbind(1)  # [seams, 2 ends]
    uv, positions = finished.uv, finished.mesh.positions
    shares = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.2, 0.8]])
    at_first, at_second, at = (
        torch.einsum("ke,sec->skc", shares, values).reshape(-1, values.shape[-1])
        for values in (uv[first], uv[second], positions[first])
    )
    return at_first, at_second, at


def shrunk(texture: torch.Tensor, factor: int) -> torch.Tensor:
    """As mipmaps average."""
    height, width, channels = texture.shape
    return texture.float().reshape(height // factor, factor, width // factor, factor, channels).mean((1, 3))


def test_texels_under_faces_hold_the_colour_of_the_surface(finished):
    faces = finished.mesh.faces.long()
    centres, uv = finished.mesh.positions[faces].mean(1), finished.uv[faces].mean(1)

    colours = lookup(finished.textures.base_colour, uv) / 255

    torch.testing.assert_close(colours, albedo_at(centres), atol=0.006, rtol=0)


def test_roughness_is_green_and_metallic_is_blue(finished):
    uv, positions = finished.uv, finished.mesh.positions

    red, roughness, metallic = lookup(finished.textures.metallic_roughness, uv).unbind(-1)

    torch.testing.assert_close(red, torch.full_like(red, 255))
    torch.testing.assert_close(roughness / 255, 0.5 + 0.3 * positions[:, 0], atol=0.006, rtol=0)
    torch.testing.assert_close(metallic / 255, 0.5 - 0.3 * positions[:, 1], atol=0.006, rtol=0)


def test_both_sides_of_a_seam_have_the_same_colour(finished):
    first, second, positions = points_on_both_sides_of_seams(finished)
    texture = finished.textures.base_colour

    here, there = lookup(texture, first) / 255, lookup(texture, second) / 255

    assert len(first) > 300
    assert (here - there).abs().max() < 0.012  # 3 of 255 steps; a texel spans 2
    assert (here - albedo_at(positions)).abs().max() < 0.012


@pytest.mark.parametrize(("factor", "most"), [(2, 0.01), (4, 0.02), (8, 0.1)])
def test_seams_stay_invisible_in_mipmaps(finished, factor, most):
    first, second, _ = points_on_both_sides_of_seams(finished)
    texture = shrunk(finished.textures.base_colour, factor)

    difference = (lookup(texture, first) - lookup(texture, second)).abs() / 255

    assert difference.max() < most


def test_without_dilation_the_seams_would_show(finished):
    is_covered = np.zeros((256, 256), np.int32)
    texels = np.rint(finished.uv.numpy().astype(np.float64) * 256 * 256).astype(np.int64)
    count_coverage(texels[finished.mesh.faces.numpy()], is_covered)
    bare = finished.textures.base_colour * torch.from_numpy(is_covered > 0)[..., None]
    first, second, _ = points_on_both_sides_of_seams(finished)

    difference = (lookup(bare, first) - lookup(bare, second)).abs() / 255

    assert difference.max() > 0.2  # what the tests above would have seen


def test_a_chart_thinner_than_a_texel_keeps_its_colour():
    # A large face in the lower left corner, and one of a fifth of a texel far from it, between the centres of texels.
    uv = torch.tensor([[0.05, 0.05], [0.45, 0.05], [0.05, 0.45], [0.7510, 0.7510], [0.7525, 0.7510], [0.7510, 0.7525]])
    positions = torch.tensor([[-1.0, -1, 0], [0, -1, 0], [-1, 0, 0], [1, 1, 1], [1.01, 1, 1], [1, 1.01, 1]])
    mesh = TriangleMesh(positions, torch.tensor([[0, 1, 2], [3, 4, 5]], dtype=torch.int32))

    texture = bake_textures(mesh, uv, smooth_field, PortableRasteriser(), 128).base_colour

    torch.testing.assert_close(lookup(texture, uv[3:]) / 255, torch.full((3, 3), 0.95), atol=0.01, rtol=0)


def test_colours_do_not_cross_a_step_between_two_sheets():
    # A ramp of one turn, seen from above: its end lies right beside its beginning and far above it.
    angle = torch.linspace(0, 0.999 * 2 * torch.pi, 100)[:, None]
    radius = torch.linspace(0.2, 0.8, 8)[None]
    height = 0.16 * angle - 0.5
    positions = torch.stack([radius * angle.cos(), height.expand(-1, 8), radius * angle.sin()], dim=-1).reshape(-1, 3)
    number = torch.arange(800).view(100, 8)
    a, b, c, d = number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]
    faces = torch.cat([torch.stack([a, b, c], -1).reshape(-1, 3), torch.stack([a, c, d], -1).reshape(-1, 3)]).int()

    finished = finish_mesh(TriangleMesh(positions, faces), smooth_field, texture_size=256, unwrap_config=OWN)

    colours = lookup(finished.textures.base_colour, finished.uv) / 255
    torch.testing.assert_close(colours, albedo_at(finished.mesh.positions), atol=0.02, rtol=0)


def test_every_texel_has_a_colour_of_the_surface(finished):
    # The blob reaches from -0.8 to 0.8 and its colours with it; the ground of the texture has no colour of its own.
    colours = finished.textures.base_colour.float() / 255

    assert colours.min() > 0.5 - 0.45 * 0.85
    assert colours.max() < 0.5 + 0.45 * 0.85


def test_a_texture_in_tiles_is_the_same_texture(finished, monkeypatch):
    monkeypatch.setattr(bake, "_TILE", 100)

    tiled = bake_textures(finished.mesh, finished.uv, smooth_field, PortableRasteriser(), 256)

    difference = (tiled.base_colour.int() - finished.textures.base_colour.int()).abs()
    assert difference.max() <= 1  # UVs are rounded in other places
    assert (difference > 0).float().mean() < 0.01


def test_the_finished_mesh_is_closed_and_its_uvs_are_good(finished):
    _, numbers = finished.mesh.positions.unique(dim=0, return_inverse=True)
    faces = numbers[finished.mesh.faces.long()]
    half_edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    there = {tuple(ends) for ends in half_edges.tolist()}

    assert len(there) == len(half_edges)
    assert all((b, a) in there for a, b in there)
    assert finished.uv.min() >= 0
    assert finished.uv.max() <= 1
    assert len(overlapping_faces(finished.uv.numpy(), finished.mesh.faces.numpy(), 256)) == 0
    assert finished.report.overlap == 0


def test_normals_are_equal_across_seams_and_point_outwards(finished):
    torch.testing.assert_close(finished.normals.norm(dim=-1), torch.ones(len(finished.normals)))
    by_source = torch.zeros(int(finished.source_vertices.max()) + 1, 3)
    by_source[finished.source_vertices.long()] = finished.normals
    assert torch.equal(by_source[finished.source_vertices.long()], finished.normals)
    assert ((finished.normals * finished.mesh.positions).sum(-1) > 0).all()


def test_vertices_have_the_colour_of_the_surface(finished):
    torch.testing.assert_close(
        finished.vertex_colours.float() / 255, albedo_at(finished.mesh.positions), atol=0.003, rtol=0
    )


def test_finishing_reduces_to_the_budget_and_tells_what_it_does():
    told = []

    finished = finish_mesh(
        finish_shapes.blob(),
        smooth_field,
        face_budget=600,
        texture_size=128,
        unwrap_config=OWN,
        progress=told.append,
    )

    assert len(finished.mesh.faces) <= 600
    assert len(told) == 3
    assert "600" in told[0]
    assert set(finished.report.seconds) == {"decimate", "unwrap", "bake"}
    assert finished.report.notes == ()


def test_a_reduced_mesh_takes_its_colours_from_the_surface_that_was_optimised():
    # The field knows its colour within 0.04 of the sphere only; the corner-cutting facets of 60 faces lie far below.
    def shell(positions: torch.Tensor) -> Material:
        is_known = ((positions.norm(dim=-1, keepdim=True) - 0.8).abs() < 0.04).float()
        green, magenta = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([1.0, 0.0, 1.0])
        return Material(is_known * green + (1 - is_known) * magenta, is_known, is_known)

    positions = torch.nn.functional.normalize(finish_shapes.blob(24).positions, dim=-1) * 0.8
    sphere = TriangleMesh(positions, finish_shapes.blob(24).faces)

    finished = finish_mesh(sphere, shell, face_budget=60, texture_size=128, unwrap_config=OWN)

    assert (finished.base_colour == torch.tensor([0.0, 1.0, 0.0])).all()


def test_a_field_that_went_wrong_bakes_grey():
    def broken(positions: torch.Tensor) -> Material:
        wrong = torch.full_like(positions, torch.nan)
        return Material(wrong, wrong[:, :1], 9 + 0 * positions[:, :1])

    finished = finish_mesh(finish_shapes.blob(8), broken, texture_size=64, unwrap_config=OWN)

    assert (finished.textures.base_colour == 128).all()
    assert (finished.textures.metallic_roughness == torch.tensor([255, 128, 255], dtype=torch.uint8)).all()
