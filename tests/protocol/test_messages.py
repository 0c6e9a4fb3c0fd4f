"""Wrong messages cannot be built: the error names the field by its path, the value, and what would be right."""

import dataclasses

import numpy as np
import pytest

from examples import (
    CORNERS,
    EXAMPLES,
    JOB,
    KEY,
    TETRAHEDRON,
    full_snapshot,
    input_mesh,
    job_state,
    moved_snapshot,
    picture_sketch,
    progress,
    strokes,
    submit_job,
    tiny_png,
)
from protocol.errors import LocalProtocolError, shortened
from protocol.geometry import dequantise, quantise
from protocol.messages import (
    MESSAGE_TYPES,
    CancelJob,
    Credit,
    Heartbeat,
    JobList,
    Preview,
    UpdateJob,
    WatchJob,
)
from protocol.settings import Placement, Settings
from protocol.sketches import MatrixCamera, OrbitCamera, PresetCamera


def with_nan():
    positions = CORNERS.copy()
    positions[2, 1] = np.nan
    return positions


MIRRORED = (-1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
NO_LAST_ROW = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0)

WRONG = [
    # situation, how it is built, path, value, what is right
    ("bool for a whole number", lambda: Settings(steps=True), "steps", "True", "from 1 to 1000000"),
    ("float for a whole number", lambda: Settings(steps=3.0), "steps", "3.0", "a whole number"),
    ("below the range", lambda: Settings(steps=0), "steps", "0", "from 1 to 1000000"),
    ("NaN", lambda: Settings(guidance_scale=float("nan")), "guidance_scale", "nan", "from 0 to 1000"),
    ("infinity", lambda: Settings(guidance_scale=float("inf")), "guidance_scale", "inf", "from 0 to 1000"),
    ("bool for a number", lambda: Settings(guidance_scale=True), "guidance_scale", "True", "a number"),
    ("a huge number", lambda: Settings(seed=10**5000), "seed", "a number of 16610 bits", "a whole number"),
    ("a number for text", lambda: Settings(prior=3), "prior", "3", "text of 1 to 64"),
    ("a path for a name", lambda: Settings(prior="../../etc/passwd"), "prior", "'../../etc/passwd'", "matches"),
    ("a line feed after a name", lambda: Settings(prior="sd\n"), "prior", r"'sd\n'", "matches"),
    ("an unknown word", lambda: Settings(quality="best"), "quality", "'best'", "one of draft, normal, high"),
    ("an empty prompt", lambda: submit_job(prompt=""), "prompt", "''", "1 to 2000"),
    ("a prompt of spaces", lambda: submit_job(prompt=" \n "), "prompt", r"' \n '", "1 to 2000"),
    ("a prompt too long", lambda: submit_job(prompt="x" * 2001), "prompt", "'xxx", "1 to 2000"),
    ("a control character", lambda: submit_job(prompt="a\x1b[2Jb"), "prompt", r"'a\x1b[2Jb'", "text"),
    ("half of a surrogate pair", lambda: submit_job(prompt="\ud800"), "prompt", r"'\ud800'", "text"),
    ("two lines in a title", lambda: job_state(title="a\nb"), "title", r"'a\nb'", "one line"),
    ("an integer for a flag", lambda: Credit(job=JOB, more=1, wants_full=1), "wants_full", "1", "true or false"),
    ("a job id with capitals", lambda: CancelJob(job="A"), "job", "'A'", "matches"),
    ("an unknown channel", lambda: WatchJob(job=JOB, channels=("mesh", "sound")), "channels[1]", "'sound'", "one of"),
    ("text for a list", lambda: WatchJob(job=JOB, channels="mesh"), "channels", "'mesh'", "a list of 0 to 4"),
    ("too many in a list", lambda: JobList(jobs=[job_state()] * 101, total=101), "jobs", "a list of 101", "0 to 100"),
    ("two numbers for three", lambda: Placement(centre=(0.0, 0.0)), "centre", "(0.0, 0.0)", "a list of 3"),
    ("NaN in a list", lambda: Placement(centre=(0.0, float("nan"), 0.0)), "centre[1]", "nan", "a number"),
    ("a bad loss", lambda: progress(losses={"area": float("nan")}), "losses.area", "nan", "a number"),
    ("a bad name of a loss", lambda: progress(losses={"a b": 1.0}), "losses (a name)", "'a b'", "matches"),
    ("another record", lambda: submit_job(settings=Placement()), "settings", "Placement()", "Settings"),
    ("a list for an array", lambda: input_mesh(positions=[[0, 0, 0]]), "positions", "[[0, 0, 0]]", "an array float32"),
    (
        "double precision",
        lambda: input_mesh(positions=CORNERS.astype(np.float64)),
        "positions",
        "an array float64 [4, 3]",
        "an array float32 [vertices, 3]",
    ),
    ("big-endian", lambda: input_mesh(positions=CORNERS.astype(">f4")), "positions", "an array", "little-endian"),
    ("two coordinates", lambda: input_mesh(positions=CORNERS[:, :2]), "positions", "[4, 2]", "[vertices, 3]"),
    ("one axis", lambda: input_mesh(positions=CORNERS.ravel()), "positions", "[12]", "[vertices, 3]"),
    ("NaN in an array", lambda: input_mesh(positions=with_nan()), "positions[2, 1]", "nan", "-1000000 to 1000000"),
    ("too far away", lambda: input_mesh(positions=CORNERS * 2e6), "positions[1, 0]", "2000000.0", "1000000"),
    ("another length", lambda: input_mesh(locked=np.zeros(5, np.uint8)), "locked", "[5]", "with 4 vertices"),
    ("a mask of 2", lambda: input_mesh(locked=np.full(4, 2, np.uint8)), "locked[0]", "2", "from 0 to 1"),
    ("no faces", lambda: input_mesh(faces=TETRAHEDRON[:0], uv=None), "faces", "[0, 3]", "at least one face"),
    ("a face too far", lambda: input_mesh(faces=TETRAHEDRON + 1), "faces[1, 2]", "4", "a vertex from 0 to 3"),
    ("a face below zero", lambda: input_mesh(faces=TETRAHEDRON - 1), "faces[0, 0]", "-1", "a vertex from 0 to 3"),
    ("no PNG", lambda: picture_sketch(picture=b"GIF89a" * 9), "picture", "54 bytes", "a PNG file of at most 4096"),
    ("a huge PNG", lambda: Preview(job=JOB, step=1, picture=tiny_png(4097)), "picture", "bytes", "4096 x 4096"),
    ("a field of view of 190", lambda: PresetCamera(view="top", fov_degrees=190), "fov_degrees", "190", "1 to 170"),
    ("a mirrored camera", lambda: MatrixCamera(camera_to_world=MIRRORED), "camera_to_world", "a list", "rotation"),
    ("no last row", lambda: MatrixCamera(camera_to_world=NO_LAST_ROW), "camera_to_world", "a list", "0 0 0 1"),
    ("a scaled camera", lambda: MatrixCamera(camera_to_world=(2.0,) * 16), "camera_to_world", "a list", "rotation"),
    ("neither strokes nor picture", lambda: strokes(points=None), "points", "None", "no picture"),
    ("strokes and picture", lambda: strokes(picture=tiny_png()), "points", "an array", "no picture"),
    ("strokes of nothing", lambda: picture_sketch(pressure=np.ones(2, np.float32)), "pressure", "array", "left out"),
    ("strokes too long", lambda: strokes(stroke_lengths=np.array([3, 2], np.int32)), "stroke_lengths", "array", "is"),
    ("colours for strokes", lambda: strokes(has_colour=True), "has_colour", "True", "stroke_colours"),
    ("a texture without mesh", lambda: submit_job(task="texture", mesh=None), "mesh", "None", "task is texture"),
    ("a sketch task without", lambda: submit_job(sketches=(), mesh=None), "sketches", "()", "task is sketch"),
    (
        "a 3D sketch without mesh",
        lambda: submit_job(settings=Settings(to_real=True), mesh=None),
        "settings.to_real",
        "True",
        "the task sketch with a mesh",
    ),
    ("a picture for a mesh", lambda: submit_job(picture=tiny_png()), "picture", "bytes", "task is not image"),
    (
        "two sketches of one name",
        lambda: submit_job(sketches=(strokes(), picture_sketch(name="front"))),
        "sketches[1].name",
        "'front'",
        "no other sketch",
    ),
    ("an update of nothing", lambda: UpdateJob(job=JOB, key=KEY), "prompt", "None", "nothing changes"),
    ("no positions in a full one", lambda: full_snapshot(positions=None), "positions", "None", "builds_on is not"),
    ("faces in a moved one", lambda: moved_snapshot(faces=TETRAHEDRON), "faces", "array", "left out"),
    ("a moved one of nothing", lambda: moved_snapshot(positions=None), "positions", "None", "no colours"),
    ("one that builds on itself", lambda: moved_snapshot(builds_on=13), "builds_on", "13", "less than"),
    ("uint16 without a box", lambda: moved_snapshot(low=None), "low", "None", "uint16"),
    ("a box for float32", lambda: full_snapshot(low=(0.0,) * 3, high=(1.0,) * 3), "low", "(0.0", "uint16"),
    ("a box upside down", lambda: moved_snapshot(low=(0.0, 3.0, 0.0)), "high", "(2.0", "below low"),
]


@pytest.mark.parametrize(("situation", "build", "path", "value", "right"), WRONG, ids=[each[0] for each in WRONG])
def test_what_is_wrong_cannot_be_built(situation, build, path, value, right):
    with pytest.raises(LocalProtocolError) as caught:
        build()

    error = caught.value
    assert error.path == path
    assert value in error.value
    assert right in error.right
    assert str(error) == f"{error.path} is {error.value}; it must be {error.right}"


def test_every_message_has_an_example():
    assert {type(each).__name__ for each in EXAMPLES.values()} == MESSAGE_TYPES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_messages_are_frozen_and_equal_to_their_copies(name):
    message = EXAMPLES[name]
    field = next(iter(dataclasses.fields(message)), None)

    assert message == dataclasses.replace(message)
    assert len(repr(message)) < 2000
    if field is not None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(message, field.name, None)


def test_messages_that_differ_in_one_number_of_an_array_are_not_equal():
    other = CORNERS.copy()
    other[3, 2] = 1.5

    assert full_snapshot() != full_snapshot(positions=other)
    assert full_snapshot() != full_snapshot(colours=np.zeros((4, 3), np.uint8))


def test_arrays_are_kept_without_a_copy_and_read_only():
    positions = CORNERS.copy()

    message = full_snapshot(positions=positions)

    assert np.shares_memory(message.positions, positions)
    with pytest.raises(ValueError, match="read-only"):
        message.positions[0, 0] = 1


def test_every_answer_is_a_message_of_the_server():
    answers = {answer for message in MESSAGE_TYPES.values() for answer in message.answers}

    assert all("server" in MESSAGE_TYPES[answer].sent_by for answer in answers)


def test_errors_stay_short_whatever_was_given():
    for value in ("x" * 10**6, ["y" * 1000] * 1000, {"k" * 999: "v" * 999}, b"z" * 10**6, 10**9999, "\x1b[2J\u202e"):
        assert len(shortened(value)) <= 120
        assert shortened(value).isprintable()


# --- which older message is of no use any more

SUPERSEDED = [
    # older, newer, whether the newer takes the older's place
    (job_state(step=1), job_state(step=2), True),
    (job_state(), job_state(job="another"), False),
    (progress(), progress(step=121), True),
    (full_snapshot(), full_snapshot(number=14), True),
    (full_snapshot(), full_snapshot(job="another"), False),
    (progress(), full_snapshot(), False),
    (Preview(job=JOB, step=1, view="a", picture=tiny_png()), Preview(job=JOB, step=2, picture=tiny_png()), False),
    (Heartbeat(), Heartbeat(), True),
]


@pytest.mark.parametrize(("older", "newer", "replaces"), SUPERSEDED)
def test_latest_wins_within_one_job_and_kind(older, newer, replaces):
    assert (older.latest_wins_key == newer.latest_wins_key) is replaces


@pytest.mark.parametrize("name", ["SubmitAccepted", "JobList", "Finished", "Failed", "Refused", "SubmitJob", "Credit"])
def test_answers_and_requests_are_never_replaced(name):
    assert EXAMPLES[name].latest_wins_key is None


def test_notices_outlive_the_progress_they_came_with():
    merged = progress(step=121, notices=("b",)).superseding(progress(notices=("a",)))

    assert (merged.step, merged.notices) == (121, ("a", "b"))


def test_an_unsent_full_snapshot_takes_over_newer_positions_and_keeps_its_number():
    colours = np.full((4, 3), 5, np.uint8)

    merged = moved_snapshot(positions=CORNERS + 1, low=None, high=None).superseding(full_snapshot(colours=colours))

    assert merged == full_snapshot(step=120, positions=CORNERS + 1, colours=colours)


def test_an_unsent_moved_snapshot_leaves_its_colours_to_a_newer_one():
    colours = np.full((4, 3), 5, np.uint8)

    merged = moved_snapshot(number=14).superseding(moved_snapshot(colours=colours))

    assert merged == moved_snapshot(number=14, colours=colours)


def test_a_snapshot_of_other_faces_keeps_nothing_of_the_older():
    newer = moved_snapshot(number=21, builds_on=20)

    assert newer.superseding(full_snapshot()) is newer


def test_snapshots_of_other_numbers_of_vertices_are_not_merged():
    newer = moved_snapshot(positions=np.zeros((5, 3), np.float32), low=None, high=None)

    with pytest.raises(LocalProtocolError, match="the number of vertices is 5; it must be as before, 4"):
        newer.superseding(full_snapshot())


# --- 16-bit positions


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e5])
def test_quantised_positions_are_off_by_half_a_step_at_most(scale):
    positions = (np.random.default_rng(0).normal(size=(1000, 3)) * scale).astype(np.float32)

    values, low, high = quantise(positions)

    step = (np.array(high) - np.array(low)) / 65535
    error = np.abs(dequantise(values, low, high).astype(np.float64) - positions)
    assert (error <= step / 2 + np.abs(positions) * 2**-23).all()


def test_quantising_keeps_the_corners_of_the_box_exactly():
    values, low, high = quantise(CORNERS)

    assert np.array_equal(dequantise(values, low, high), CORNERS)


def test_a_flat_and_an_empty_mesh_can_be_quantised():
    flat = np.full((3, 3), 0.25, np.float32)

    assert np.array_equal(dequantise(*quantise(flat)), flat)
    assert dequantise(*quantise(flat[:0])).shape == (0, 3)


def test_an_orbit_camera_may_look_straight_down():
    assert OrbitCamera(azimuth_degrees=0, elevation_degrees=90).elevation_degrees == 90.0
