"""The shapes, captions, flaws and pictures that the embedded prior learns from."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from scipy.ndimage import laplace
from scipy.spatial import cKDTree

from backend.diffusion.prompts import (
    BLOCKOUT_PHRASE,
    FINE_AZIMUTH_WORDS,
    FINE_ELEVATION_WORDS,
    FLAW_SYNONYMS,
    FLAW_WORDS,
    PAINTING_WORD,
    QUALITY_WORDS,
    VIEW_WORDS,
    fine_view_words,
    view_words,
)
from backend.errors import BadInput
from tools.embedded_world.__main__ import main
from tools.embedded_world.backgrounds import BACKGROUND_KINDS, draw_background
from tools.embedded_world.blockouts import make_blockout
from tools.embedded_world.captions import CaptionShares, PicturePlan, plan_pictures
from tools.embedded_world.colours import COLOUR_NAMES, COLOURS, held_out_pairs
from tools.embedded_world.dataset import load_dataset, write_dataset
from tools.embedded_world.flaws import IMAGE_FLAWS, SHADING_FLAWS, make_badly_structured, make_malformed
from tools.embedded_world.pictures import render_pictures, render_plans
from tools.embedded_world.shapes import SHAPE_NAMES, canonical_mesh, make_shape
from tools.embedded_world.solids import ColouredMesh, shading_mesh, signed_volume

GREY = np.array([0.299, 0.587, 0.114])


def merged(mesh: ColouredMesh) -> trimesh.Trimesh:
    """As a reader of a file would see it: vertices merged by position."""
    return trimesh.Trimesh(mesh.positions, mesh.faces, process=True)


def plan(shape: str = "house", colour: str = "red", **changes) -> PicturePlan:
    """A plain picture from the front right, a little from above."""
    camera = {"azimuth_degrees": 30.0, "elevation_degrees": 20.0, "fov_degrees": 40.0, "distance_metres": 3.2}
    plain = PicturePlan(shape, 0, colour, "render", (), (), caption="", seed=(0, 0, 0), **camera)
    return replace(plain, **changes)


def picture(**changes) -> np.ndarray:
    return render_plans([plan(**changes)]).images[0] / 255.0


def neighbour_differences(image: np.ndarray) -> float:
    return float(np.abs(np.diff(image, axis=0)).mean())


def saturation(image: np.ndarray) -> float:
    return float((image.max(-1) - image.min(-1)).mean())


def sharpness(image: np.ndarray) -> float:
    return float(laplace(image @ GREY).var())


# --- Shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPE_NAMES)
def test_every_instance_of_a_shape_is_one_closed_mesh_that_just_fits_the_ball(name):
    for mesh in [canonical_mesh(name), *(make_shape(name, np.random.default_rng(seed)) for seed in range(6))]:
        surface = merged(mesh)

        assert surface.is_watertight
        assert surface.is_winding_consistent
        assert surface.body_count == 1
        assert signed_volume(mesh) > 0.05  # cubic metres; faces point outwards
        assert np.linalg.norm(mesh.positions, axis=1).max() == pytest.approx(0.9, abs=1e-5)
        assert mesh.faces.dtype == np.int32
        assert len(mesh.faces) <= 6000
        assert len(mesh.part_ids) == len(mesh.faces)
        assert (mesh.part_ids == 0).any()


@pytest.mark.parametrize("name", SHAPE_NAMES)
def test_a_blockout_is_closed_and_untextured(name):
    mesh = make_blockout(name, np.random.default_rng(3))

    assert merged(mesh).is_watertight
    assert signed_volume(mesh) > 0.05
    assert np.linalg.norm(mesh.positions, axis=1).max() == pytest.approx(0.9, abs=1e-5)
    assert set(mesh.part_ids) == {0}


def test_the_sphere_has_the_volume_of_a_sphere():
    # 48 sides lose less than 1.5 % of 4/3 pi 0.9^3.
    assert signed_volume(canonical_mesh("sphere")) == pytest.approx(4 / 3 * np.pi * 0.9**3, rel=0.03)


def test_proportions_vary_with_the_seed_alone():
    one, again, other = (make_shape("mug", np.random.default_rng(seed)) for seed in (1, 1, 2))

    np.testing.assert_array_equal(one.positions, again.positions)
    extents = [mesh.positions.max(0) - mesh.positions.min(0) for mesh in (one, other)]
    assert np.abs(extents[0] - extents[1]).max() > 0.02


def test_fronts_look_along_plus_z():
    def part(name: str, number: int) -> np.ndarray:
        mesh = canonical_mesh(name)
        return mesh.positions[np.unique(mesh.faces[mesh.part_ids == number])]

    chair = canonical_mesh("chair").positions
    assert (chair[chair[:, 1] > 0.4][:, 2] < 0).all()  # the top of the back is at -Z
    assert part("mug", 1)[:, 0].max() < 0.4  # the hollow makes room for the handle at +X
    assert canonical_mesh("mug").positions[:, 0].max() > 0.6
    assert part("snowman", 2)[:, 2].min() > 0.1  # the carrot
    assert part("rocket", 2)[:, 2].min() > 0.05  # the window
    house_door = part("house", 2)
    assert house_door[house_door[:, 1].argmin(), 2] > 0.3
    car = canonical_mesh("car").positions
    assert car[car[:, 1] > 0.25][:, 2].mean() < 0  # the cabin is behind the hood
    for flat in ("star", "heart"):
        width, _, depth = np.ptp(canonical_mesh(flat).positions, axis=0)
        assert depth < 0.6 * width


def test_upright_things_stand_on_their_feet():
    for name, lower_part in (("mushroom", 1), ("tree", 1), ("table", 1), ("chair", 1)):
        mesh = canonical_mesh(name)
        lowest = mesh.positions[mesh.faces].mean(1)[:, 1].argmin()
        assert mesh.part_ids[lowest] == lower_part


def test_vertices_are_doubled_at_creases_and_shared_where_it_is_smooth():
    cube, sphere = canonical_mesh("cube"), canonical_mesh("sphere")

    assert len(shading_mesh(cube).positions) == 24  # 6 sides with 4 corners each
    assert len(shading_mesh(sphere).positions) == len(sphere.positions)


def test_parts_share_no_shading_vertex():
    mesh = canonical_mesh("bottle")
    shading = shading_mesh(mesh)

    np.testing.assert_array_equal(shading.part_ids[shading.faces], np.repeat(mesh.part_ids[:, None], 3, axis=1))
    np.testing.assert_array_equal(shading.positions[shading.faces], mesh.positions[mesh.faces])


def test_an_unknown_shape_is_refused_with_the_list_of_known_ones():
    with pytest.raises(ValueError, match="no shape is called 'teapot'; there are sphere, cube"):
        make_shape("teapot", np.random.default_rng(0))


# --- Colours and backgrounds -----------------------------------------------------------------------------------------


def test_every_drawn_colour_is_nearest_to_its_own_name():
    rng = np.random.default_rng(0)
    typical = np.stack([COLOURS[name].typical() for name in COLOUR_NAMES])

    for index, name in enumerate(COLOUR_NAMES):
        drawn = np.stack([COLOURS[name].draw(rng) for _ in range(100)])
        nearest = np.linalg.norm(drawn[:, None] - typical, axis=-1).argmin(1)
        assert (nearest == index).all()


def test_a_tenth_of_the_pairs_is_held_out_and_nothing_vanishes_with_them():
    held_out = held_out_pairs()
    trained = {(colour, shape) for colour in COLOUR_NAMES for shape in SHAPE_NAMES} - held_out

    assert len(held_out) == round(0.1 * len(COLOUR_NAMES) * len(SHAPE_NAMES))
    assert {colour for colour, _ in trained} == set(COLOUR_NAMES)
    assert {shape for _, shape in trained} == set(SHAPE_NAMES)
    examples = {("red", "mushroom"), ("green", "tree"), ("blue", "rocket"), ("red", "mug"), ("yellow", "house")}
    assert examples <= trained  # the project's examples show what was learnt, not what was left out


@pytest.mark.parametrize("kind", BACKGROUND_KINDS)
def test_backgrounds_stay_within_the_range_of_colours(kind):
    rng = np.random.default_rng(1)
    for _ in range(20):
        background = draw_background(rng, 32, kind)
        assert background.shape == (32, 32, 3)
        assert background.dtype == np.float32
        assert background.min() >= 0
        assert background.max() <= 1
    assert (np.ptp(background.reshape(-1, 3), axis=0).max() < 1e-6) == (kind == "plain")


def test_the_background_does_not_depend_on_the_object():
    corners = [
        picture(shape=shape, colour=colour)[:6, :6]
        for shape, colour in (("mug", "red"), ("car", "white"), ("donut", "black"))
    ]

    np.testing.assert_array_equal(corners[0], corners[1])
    np.testing.assert_array_equal(corners[0], corners[2])


EVERY_VIEW_WORD = {*VIEW_WORDS, *FINE_AZIMUTH_WORDS, *(words for _, words in FINE_ELEVATION_WORDS)}


# --- Captions --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plans() -> list[PicturePlan]:
    return plan_pictures(12_000, seed=4)


def test_held_out_pairs_never_appear(plans):
    assert held_out_pairs().isdisjoint((plan.colour, plan.shape) for plan in plans)


def test_every_word_that_a_job_may_say_is_in_some_caption(plans):
    said = {phrase for plan in plans for phrase in plan.caption.split(", ")}
    synonyms = [word for pair in FLAW_SYNONYMS.values() for word in pair]

    assert {
        *FLAW_WORDS,
        *synonyms,
        *QUALITY_WORDS,
        *EVERY_VIEW_WORD,
        PAINTING_WORD,
        *BLOCKOUT_PHRASE.split(", "),
    } <= said
    words = {word for phrase in said for word in phrase.split()}
    assert {*COLOUR_NAMES, *SHAPE_NAMES, "a", "an"} <= words


def test_captions_name_the_flaws_that_are_in_the_picture_and_no_others(plans):
    flaw_of = {word: flaw for flaw, synonyms in FLAW_SYNONYMS.items() for word in (flaw, *synonyms)}
    for plan in plans:
        named = {flaw_of[phrase] for phrase in plan.caption.split(", ") if phrase in flaw_of}
        assert named == set(plan.flaws)


def test_captions_agree_with_camera_style_and_quality(plans):
    for plan in plans:
        phrases = plan.caption.split(", ")
        fine = fine_view_words(plan.azimuth_degrees, plan.elevation_degrees).split(", ")
        coarse = [view_words(plan.azimuth_degrees, plan.elevation_degrees)]
        said = [phrase for phrase in phrases if phrase in EVERY_VIEW_WORD]
        assert said in ([], coarse, fine)
        assert (PAINTING_WORD in phrases) == (plan.style == "painting")
        assert (BLOCKOUT_PHRASE in plan.caption) == (plan.style == "blockout")
        assert ("sharp" in phrases) == ("sharp" in plan.quality_words)
        assert not (plan.flaws and plan.quality_words)
        subject = phrases[0].split()
        assert subject[-1] == plan.shape
        assert len(subject) == 2 or subject[1] == plan.colour
        assert subject[0] == ("an" if subject[1][0] in "aeiou" else "a")


def test_kinds_of_pictures_come_in_the_shares_that_were_asked_for(plans):
    def share(values) -> float:
        return sum(bool(value) for value in values) / len(plans)

    # Pictures come in groups of one mesh, so 12,000 of them vary like about 3,000: three sigmas are 0.025 at a third.
    assert share(plan.flaws for plan in plans) == pytest.approx(1 / 3, abs=0.025)
    assert share(plan.style == "painting" for plan in plans) == pytest.approx(0.08, abs=0.015)
    assert share(plan.style == "blockout" for plan in plans) == pytest.approx(0.08, abs=0.02)
    is_fine = [any(words in plan.caption.split(", ") for _, words in FINE_ELEVATION_WORDS) for plan in plans]
    is_any = [any(words in plan.caption.split(", ") for words in EVERY_VIEW_WORD) for plan in plans]
    assert share(is_fine) == pytest.approx(0.7, abs=0.025)
    assert share(is_any) == pytest.approx(0.8, abs=0.025)
    unflawed = [plan for plan in plans if plan.style == "render" and not plan.flaws]
    assert sum(bool(plan.quality_words) for plan in unflawed) / len(unflawed) == pytest.approx(1 / 3, abs=0.03)


def test_coverage_is_where_the_object_is():
    pictures = render_plans([replace(plan("sphere"), elevation_degrees=0.0, azimuth_degrees=0.0)])

    coverage = pictures.coverage[0]
    assert coverage.shape == (8, 8)
    assert coverage[3:5, 3:5].min() == 255
    assert max(coverage[0, 0], coverage[0, -1], coverage[-1, 0], coverage[-1, -1]) == 0
    # A ball of 0.9 m in a picture that shows its surroundings.
    assert 0.2 < coverage.mean() / 255 < 0.7


def test_no_flaw_is_rare(plans):
    counts = Counter(flaw for plan in plans for flaw in plan.flaws)
    mean = sum(counts.values()) / len(FLAW_WORDS)

    assert all(0.7 * mean < counts[flaw] < 1.3 * mean for flaw in FLAW_WORDS)
    assert max(len(plan.flaws) for plan in plans) == 3


def test_plans_are_one_endless_sequence(plans):
    assert plan_pictures(10, seed=4) == plans[:10]
    assert plan_pictures(7, seed=4, first=10) == plans[10:17]
    assert plan_pictures(10, seed=5) != plans[:10]


def test_only_the_pairs_asked_for_are_drawn():
    pairs = frozenset({("red", "mug"), ("blue", "car")})

    assert {(plan.colour, plan.shape) for plan in plan_pictures(60, seed=0, pairs=pairs)} == pairs


def test_shares_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match=r"exclude each other, but their shares sum to 1\.33"):
        CaptionShares(painting=0.5, blockout=0.5)


# --- Flaws -----------------------------------------------------------------------------------------------------------


def test_every_flaw_word_has_exactly_one_operation():
    operations = [*SHADING_FLAWS, *IMAGE_FLAWS, "malformed", "bad structure"]

    assert sorted(operations) == sorted(FLAW_WORDS)


@pytest.fixture(scope="module")
def clean_and_flawed():
    """For a flaw: pairs of pictures that differ in the flaw alone."""

    def render(flaw: str) -> list[tuple[np.ndarray, np.ndarray]]:
        subjects = [("house", "green"), ("mug", "red"), ("cube", "blue"), ("chair", "purple")]
        return [
            (picture(shape=s, colour=c, seed=(0, 0, i)), picture(shape=s, colour=c, seed=(0, 0, i), flaws=(flaw,)))
            for i, (s, c) in enumerate(subjects)
        ]

    return render


def test_blurry_pictures_are_less_sharp(clean_and_flawed):
    assert all(sharpness(flawed) < 0.3 * sharpness(clean) for clean, flawed in clean_and_flawed("blurry"))


def test_noisy_pictures_have_more_fine_detail(clean_and_flawed):
    assert all(sharpness(flawed) > 2 * sharpness(clean) for clean, flawed in clean_and_flawed("noisy"))


@pytest.mark.parametrize("flaw", ["foggy", "hazy"])
def test_foggy_and_hazy_pictures_have_less_contrast(clean_and_flawed, flaw):
    # Between neighbours: banks of fog bring a slow contrast of their own.
    for clean, flawed in clean_and_flawed(flaw):
        assert neighbour_differences(flawed) < 0.8 * neighbour_differences(clean)


def test_fog_is_bright_and_haze_is_not(clean_and_flawed):
    assert np.mean([flawed.mean() for _, flawed in clean_and_flawed("foggy")]) > 0.65
    assert np.mean([flawed.mean() for _, flawed in clean_and_flawed("hazy")]) < 0.6


def test_oversaturated_pictures_are_more_saturated(clean_and_flawed):
    assert all(saturation(flawed) > 1.2 * saturation(clean) for clean, flawed in clean_and_flawed("oversaturated"))


def test_pixelated_pictures_consist_of_blocks(clean_and_flawed):
    for clean, flawed in clean_and_flawed("pixelated"):
        equal_neighbours = (np.diff(flawed, axis=1) == 0).all(-1).all(0)  # between two columns, over all rows
        assert equal_neighbours.mean() >= 0.7  # blocks of 4 pixels: 3 of 4 borders lie inside a block
        assert len(np.unique(flawed.reshape(-1, 3), axis=0)) <= 256 < len(np.unique(clean.reshape(-1, 3), axis=0))


def test_cartoons_have_few_colours_and_dark_outlines(clean_and_flawed):
    for clean, flawed in clean_and_flawed("cartoon"):
        most_common = Counter(map(tuple, np.rint(flawed.reshape(-1, 3) * 40).astype(int).tolist())).most_common(24)
        assert sum(count for _, count in most_common) > 0.75 * 64 * 64
        assert (flawed.max(-1) < 0.2).mean() > (clean.max(-1) < 0.2).mean() + 0.02


def test_smooth_pictures_lose_their_edges_inside_and_keep_the_silhouette():
    clean = picture(shape="house", colour="green")
    smooth = picture(shape="house", colour="green", flaws=("smooth",))
    blurry = picture(shape="house", colour="green", flaws=("blurry",))
    door_and_windows = slice(38, 50), slice(15, 34)

    assert sharpness(smooth[door_and_windows]) < 0.5 * sharpness(clean[door_and_windows])
    assert sharpness(smooth) > 3 * sharpness(blurry)


@pytest.mark.parametrize("name", ["sphere", "table", "rocket"])
@pytest.mark.parametrize("make_flawed", [make_malformed, make_badly_structured])
def test_flawed_meshes_leave_the_surface_of_their_class(name, make_flawed):
    surface = cKDTree(trimesh.sample.sample_surface(merged(canonical_mesh(name)), 4000, seed=0)[0])
    flawed = make_flawed(name, np.random.default_rng(1))
    sound = make_shape(name, np.random.default_rng(1))

    def distance(mesh: ColouredMesh) -> float:
        points = trimesh.sample.sample_surface(merged(mesh), 1000, seed=0)[0]
        return float(surface.query(points)[0].mean())

    assert distance(flawed) > 1.4 * distance(sound)
    assert distance(flawed) > 0.05
    assert np.linalg.norm(flawed.positions, axis=1).max() == pytest.approx(0.9, abs=1e-5)


# --- Pictures --------------------------------------------------------------------------------------------------------


def test_the_named_colour_covers_the_main_part():
    # Straight at the middle of the cube's front, lit from near the camera: only brightness may differ.
    for name in ("red", "green", "blue", "purple"):
        centre = picture(shape="cube", colour=name, azimuth_degrees=0.0, elevation_degrees=0.0)[28:36, 28:36].mean(
            (0, 1)
        )
        typical = COLOURS[name].typical()
        assert centre @ typical / np.linalg.norm(centre) / np.linalg.norm(typical) > 0.97


def test_blockouts_are_grey_whatever_colour_the_caption_names():
    image = picture(shape="sphere", colour="red", style="blockout")

    assert saturation(image[24:40, 24:40]) < 0.08


def test_paintings_are_still_recognisable_and_no_longer_plain():
    plain, painted = picture(shape="house", colour="green"), picture(shape="house", colour="green", style="painting")

    assert np.corrcoef(plain.ravel(), painted.ravel())[0, 1] > 0.8
    assert neighbour_differences(painted) > 1.1 * neighbour_differences(plain)


def test_quality_words_come_with_sharper_pictures():
    ordinary = [picture(seed=(0, 0, index)) for index in range(4)]
    better = [picture(seed=(0, 0, index), quality_words=QUALITY_WORDS) for index in range(4)]

    assert np.mean([sharpness(image) for image in better]) > 1.1 * np.mean([sharpness(image) for image in ordinary])


def test_the_same_seed_gives_the_same_pictures_and_any_part_of_the_sequence():
    pictures = render_pictures(10, seed=2, size=32)
    again = render_pictures(10, seed=2, size=32)
    part = render_pictures(3, seed=2, size=32, first=5)

    np.testing.assert_array_equal(pictures.images, again.images)
    np.testing.assert_array_equal(pictures.images[5:8], part.images)
    assert pictures.captions[5:8] == part.captions


def test_pictures_carry_what_they_show():
    plans = plan_pictures(24, seed=3)
    pictures = render_plans(plans, size=16)

    assert pictures.images.shape == (24, 16, 16, 3)
    assert [SHAPE_NAMES[index] for index in pictures.shape_ids] == [plan.shape for plan in plans]
    assert [COLOUR_NAMES[index] for index in pictures.colour_ids] == [plan.colour for plan in plans]
    assert [tuple(np.array(FLAW_WORDS)[row]) for row in pictures.flaws] == [
        tuple(word for word in FLAW_WORDS if word in plan.flaws) for plan in plans
    ]
    assert pictures.is_blockout.tolist() == [plan.style == "blockout" for plan in plans]
    assert pictures.has_quality_words.tolist() == [bool(plan.quality_words) for plan in plans]


# --- Files -----------------------------------------------------------------------------------------------------------


def test_pictures_are_the_same_with_their_drawings():
    plain, drawn = render_pictures(6, seed=2, size=64), render_pictures(6, seed=2, size=64, with_drawings=True)
    again = render_pictures(2, seed=2, size=64, first=3, with_drawings=True)

    np.testing.assert_array_equal(plain.images, drawn.images)
    assert plain.drawings.shape == (6, 0, 0)
    assert drawn.drawings.shape == (6, 64, 64)
    np.testing.assert_array_equal(again.drawings, drawn.drawings[3:5])
    for drawing, coverage in zip(drawn.drawings, drawn.coverage, strict=True):
        inked = np.argwhere(drawing > 127)
        assert 20 < len(inked) < 64 * 64 / 4
        covered = np.argwhere(coverage > 127) * 8
        assert np.abs(inked.mean(axis=0) - (covered.mean(axis=0) + 3.5)).max() < 10


def test_a_dataset_survives_an_interruption(tmp_path):
    path = tmp_path / "world.npz"
    shards = write_dataset(path, 10, seed=1, size=16, shard_size=4)
    before = load_dataset(path)
    kept = shards[0].stat().st_mtime_ns
    shards[1].unlink()

    added = []
    write_dataset(path, 10, seed=1, size=16, shard_size=4, on_progress=added.append)

    assert shards[0].stat().st_mtime_ns == kept
    assert sum(added) == 10
    after = load_dataset(path)
    np.testing.assert_array_equal(before.images, after.images)
    np.testing.assert_array_equal(before.images, render_pictures(10, seed=1, size=16).images)
    assert before.captions == after.captions
    assert not list(tmp_path.glob("*.part*"))


def test_a_dataset_of_another_seed_is_not_mixed_in(tmp_path):
    write_dataset(tmp_path / "world.npz", 4, seed=1, size=8)

    with pytest.raises(BadInput, match="belongs to another dataset"):
        write_dataset(tmp_path / "world.npz", 4, seed=2, size=8)


def test_an_incomplete_or_missing_dataset_says_so(tmp_path):
    with pytest.raises(BadInput, match=r"world\.json is missing"):
        load_dataset(tmp_path / "world.npz")
    shards = write_dataset(tmp_path / "world.npz", 4, seed=1, size=8)
    shards[0].unlink()

    with pytest.raises(BadInput, match=r"not complete: world-00000\.npz"):
        load_dataset(tmp_path / "world.npz")
    with pytest.raises(BadInput, match=r"must end in \.npz, got world\.zip"):
        write_dataset(tmp_path / "world.zip", 4, seed=1)


def test_the_command_writes_sheets_and_datasets(tmp_path, capsys):
    assert main(["--count", "5", "--size", "16", "-o", str(tmp_path / "sheet.png")]) == 0
    assert main(["--count", "5", "--size", "16", "--dataset", str(tmp_path / "world.npz")]) == 0

    assert (tmp_path / "sheet.png").stat().st_size > 500
    assert json.loads((tmp_path / "world.json").read_text())["count"] == 5
    assert len(load_dataset(tmp_path / "world.npz")) == 5
    assert "5 pictures" in capsys.readouterr().out
