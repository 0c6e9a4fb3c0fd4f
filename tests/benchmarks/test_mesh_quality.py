"""The judging of meshes and the table that comes of it. No mesh is made."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from painted_glb import made_mesh

from backend.errors import SketchbridgeError
from backend.evaluation.mesh_scores import SurfaceFacts, ViewScores
from backend.evaluation.volume_overlap import VolumeOverlap
from benchmarks import mesh_quality, mesh_runs
from benchmarks.mesh_quality import (
    EXPECTED_PARTS,
    HELD_OUT_PAIRS,
    TRAINED_PAIRS,
    JudgedMesh,
    bars,
    chosen_runs,
    judge,
    made_or_told,
    per_prompt,
    report,
    view_sheet,
    views_of,
)
from benchmarks.mesh_runs import MeshRun, find_mesh
from tools.embedded_world.colours import COLOUR_NAMES, held_out_pairs
from tools.embedded_world.shapes import SHAPE_NAMES


def judged(colour: str = "purple", shape: str = "chair", **changes) -> JudgedMesh:
    """A mesh with nothing wrong about it."""
    mesh = JudgedMesh(
        run=MeshRun(colour, shape),
        seconds=165.0,
        cpu_seconds=140.0,
        views=ViewScores(1.0, 1.0, shape),
        overlap=VolumeOverlap(0.8, 358.0, 1.0),
        parts=dict(EXPECTED_PARTS[shape]),
        surface=SurfaceFacts(20_000, True, 1, 0.0),
        saturation=0.7,
    )
    return replace(mesh, **changes)


def failing(meshes: list[JudgedMesh]) -> list[str]:
    return [bar.measure for bar in bars(meshes) if not bar.holds]


def test_every_shape_is_asked_for_once_in_a_trained_colour_and_every_colour_at_least_once():
    assert sorted(shape for _, shape in TRAINED_PAIRS) == sorted(SHAPE_NAMES)
    assert not set(TRAINED_PAIRS) & held_out_pairs()
    assert set(HELD_OUT_PAIRS) <= held_out_pairs()
    counts = Counter(colour for colour, _ in TRAINED_PAIRS)
    assert set(counts) == set(COLOUR_NAMES)
    assert max(counts.values()) == 2


def test_runs_are_chosen_by_shape_and_seed():
    runs = chosen_runs(["mug"], [0, 1], "draft")

    assert [(run.colour, run.seed) for run in runs] == [("orange", 0), ("purple", 0), ("orange", 1), ("purple", 1)]
    assert {run.quality for run in runs} == {"draft"}


def test_the_worlds_own_mug_is_judged_to_be_a_mug(tmp_path):
    mesh = judge(made_mesh("orange", "mug", tmp_path))

    assert mesh.views.seen_as == "mug"
    assert mesh.views.colour >= 0.75
    assert mesh.overlap.iou > 0.95
    assert mesh.parts_are_right
    assert (mesh.surface.is_closed, mesh.surface.components, mesh.surface.uv_overlap) == (True, 1, 0.0)
    assert mesh.seconds == 165.0


def test_a_table_is_judged_to_be_no_chair(tmp_path):
    table = made_mesh("purple", "table", tmp_path)
    mesh = judge(replace(table, run=MeshRun("purple", "chair")))

    assert mesh.views.shape < 0.5
    assert mesh.views.seen_as == "table"
    assert mesh.overlap.iou < 0.4
    assert mesh.parts == {"legs": 4, "tunnels": 0, "backs": 0}
    assert not mesh.parts_are_right


def test_meshes_without_fault_pass_every_bar():
    assert failing([judged(), judged("orange", "mug"), judged("blue", "mushroom")]) == []


@pytest.mark.parametrize(
    ("changes", "bar"),
    [
        ({"views": ViewScores(0.5, 1.0, "table")}, "shape named right, mean"),
        ({"views": ViewScores(1.0, 0.75, "chair")}, "colour named right, mean"),
        ({"overlap": VolumeOverlap(0.55, 0.0, 1.0)}, "IoU with the canonical mesh, median"),
        ({"surface": SurfaceFacts(20_000, False, 1, 0.0)}, "closed"),
        ({"surface": SurfaceFacts(20_000, True, 2, 0.0)}, "one component"),
        ({"surface": SurfaceFacts(20_000, True, 1, 0.001)}, "no overlap in the UV map"),
        ({"seconds": 301.0}, "seconds, longest"),
    ],
)
def test_each_fault_fails_its_bar_alone(changes, bar):
    assert failing([judged(**changes)]) == [bar]


def test_held_out_pairs_do_not_count_for_the_bars_of_trained_ones():
    wrong = ViewScores(0.0, 0.0, "sphere")

    assert failing([judged(), judged("blue", "mushroom", views=wrong)]) == []


def test_seeds_of_one_prompt_count_as_one_value():
    meshes = [judged(views=ViewScores(share, 1.0, "chair")) for share in (0.0, 1.0)] + [judged("orange", "mug")]

    assert per_prompt(meshes, lambda mesh: mesh.views.shape).tolist() == [0.5, 1.0]


def test_the_report_shows_what_was_found_beside_what_was_expected():
    wrong = judged(parts={"legs": 3, "tunnels": 0, "backs": 2}, surface=SurfaceFacts(9_876, False, 1, 0.0))

    text = report([wrong, judged("blue", "mushroom")], [0.8, 0.9], 21, "sheet")

    assert "| purple chair | 0 | 100% | 100% | chair | 0.80 | -2° | **legs 3/4**, tunnels 0/0, **backs 2/1** |" in text
    assert "| blue mushroom (held out) |" in text
    assert "| closed | 2 | 1 of 2 |  | all | **no** |" in text
    assert "| colour named right, mean | 1 | 100% | 100% to 100% | at least 90% | yes |" in text
    assert "**19 of 21 meshes are missing.**" in text
    assert "![Eight views of each mesh](sheet.png)" in text


def test_every_row_of_the_report_has_as_many_cells_as_its_table():
    lines = report([judged(), judged("white", "table", cpu_seconds=None)], [0.8], 2, "sheet").splitlines()
    tables = [line.count("|") for line in lines if line.startswith("|")]

    assert Counter(tables).keys() == {16, 7}


def test_the_sheet_has_a_row_of_eight_views_per_mesh(tmp_path):
    from backend.appearance.mesh_files import read_mesh_file

    views = views_of(read_mesh_file(made_mesh("yellow", "star", tmp_path).path), resolution=32)
    sheet = view_sheet(["yellow star", "again"], [views, views])

    assert views.shape == (8, 32, 32, 3)
    assert sheet.size == (96 + 8 * 32, 2 * 32)
    middle = sheet.getpixel((96 + 16, 16))
    assert middle[0] > 150  # the star's yellow
    assert middle[2] < 80


def test_a_mesh_that_cannot_be_made_is_told_and_the_study_goes_on(monkeypatch, capsys):
    def fail(run: MeshRun) -> None:
        raise SketchbridgeError("the surface is empty")

    monkeypatch.setattr(mesh_quality, "make_mesh", fail)

    assert made_or_told(MeshRun("orange", "mug"), False, "[1/2]") is None
    assert capsys.readouterr().out == "[1/2] an orange mug, seed 0: failed, the surface is empty\n"


def test_a_mesh_without_a_record_is_not_found(tmp_path, monkeypatch):
    monkeypatch.setattr(mesh_runs, "WORK", tmp_path)
    run = MeshRun("orange", "mug")
    run.path.write_bytes(b"half a mesh")

    assert find_mesh(run) is None

    run.path.with_suffix(".json").write_text('{"seconds": 12.5, "steps": 600}')
    made = find_mesh(run)
    assert made is not None
    assert (made.seconds, made.steps, made.cpu_seconds) == (12.5, 600, None)
