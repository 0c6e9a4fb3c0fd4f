"""What the classifier and plain checks say of meshes whose answer is known."""

from __future__ import annotations

import pytest
import torch
from world_meshes import canonical, cuboid, of_solids

from backend.errors import BadInput
from backend.evaluation.classifier import load_classifier
from backend.evaluation.mesh_scores import (
    judging_cameras,
    mean_saturation,
    merged_by_position,
    normals_across_seams,
    render_judged_views,
    surface_facts,
    view_scores,
)
from backend.geometry.triangle_mesh import TriangleMesh
from backend.render.rasteriser import choose_rasteriser
from backend.render.renderer import RenderedViews, VertexColours
from tools.embedded_world.colours import COLOURS
from tools.embedded_world.shapes import SHAPES, canonical_mesh
from tools.embedded_world.solids import ball, box, shading_mesh


def views_of(colour: str, shape: str, resolution: int = 64) -> RenderedViews:
    mesh = shading_mesh(canonical_mesh(shape))
    palette = torch.tensor([COLOURS[colour].typical().tolist(), *SHAPES[shape].natural_colours]).float()
    appearance = VertexColours(palette[torch.from_numpy(mesh.part_ids).long()])
    surface = TriangleMesh(torch.from_numpy(mesh.positions), torch.from_numpy(mesh.faces))
    return render_judged_views(choose_rasteriser(torch.device("cpu")), surface, appearance, resolution)


def test_views_of_the_worlds_own_shapes_are_named_right_and_others_are_not():
    classifier = load_classifier()
    images = views_of("red", "mushroom").images

    right, wrong = (view_scores(classifier, images, *asked) for asked in (("mushroom", "red"), ("chair", "blue")))

    assert right.shape >= 0.75
    assert right.colour >= 0.75
    assert (wrong.shape, wrong.colour) == (0.0, 0.0)
    assert wrong.seen_as == "mushroom"


def test_a_shape_that_the_classifier_does_not_know_is_refused():
    with pytest.raises(BadInput, match=r"does not know 'teapot'; it knows .*mug"):
        view_scores(load_classifier(), torch.zeros(1, 64, 64, 3), "teapot", "red")


def test_the_cameras_stand_around_the_object_at_equal_distances():
    cameras = judging_cameras()

    assert cameras.azimuth_degrees.sort().values.diff().tolist() == pytest.approx([45.0] * 7)
    assert cameras.distance_metres.unique().numel() == 1


def test_saturation_is_that_of_the_object_alone():
    strong, weak, none = (mean_saturation(views_of(colour, "sphere")) for colour in ("red", "pink", "white"))

    # The middles of the ranges in tools/embedded_world/colours.py; light multiplies all channels alike.
    assert strong == pytest.approx(0.925, abs=0.02)
    assert weak == pytest.approx(0.465, abs=0.02)
    assert none == pytest.approx(0.015, abs=0.02)


def test_saturation_of_nothing_is_none():
    nothing = torch.zeros(1, 4, 4, 1)

    assert mean_saturation(RenderedViews(torch.ones(1, 4, 4, 3), nothing, torch.zeros(1, 4, 4, 3), nothing)) == 0.0


def soup(mesh: TriangleMesh) -> TriangleMesh:
    """Every face with vertices of its own."""
    positions = mesh.positions[mesh.faces.reshape(-1).long()]
    return TriangleMesh(positions, torch.arange(len(positions), dtype=torch.int32).view(-1, 3))


def test_doubled_vertices_leave_a_mesh_closed_and_whole():
    cup = canonical("mug")

    facts = surface_facts(soup(cup))

    assert (facts.faces, facts.is_closed, facts.components, facts.uv_overlap) == (len(cup.faces), True, 1, None)
    assert len(merged_by_position(soup(cup)).positions) == len(cup.positions)


def test_normals_of_doubled_vertices_are_those_of_the_whole_surface():
    donut = canonical("donut")

    normals = normals_across_seams(soup(donut))

    torch.testing.assert_close(normals, donut.vertex_normals()[donut.faces.reshape(-1).long()], atol=1e-5, rtol=0)


def test_a_missing_face_opens_a_mesh():
    cube = cuboid(1, 1, 1)

    assert not surface_facts(TriangleMesh(cube.positions, cube.faces[1:])).is_closed


def test_loose_parts_are_counted():
    assert surface_facts(of_solids(box((1, 1, 1)), ball(0.2, (1, 0, 0)), ball(0.2, (-1, 0, 0)))).components == 3


def test_overlap_in_the_texture_is_found():
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    mesh = TriangleMesh(torch.cat([square, torch.zeros(4, 1)], dim=1), torch.tensor([[0, 1, 2], [1, 3, 2]]).int())
    folded = square.clone()
    folded[3] = 0.0  # the second face on the first

    assert surface_facts(mesh, square).uv_overlap == 0.0
    assert surface_facts(mesh, folded).uv_overlap == pytest.approx(1.0, abs=0.01)
