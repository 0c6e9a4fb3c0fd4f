"""The client's commands as they are typed, against a server that computes nothing."""

import dataclasses
import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import fake_server
import numpy as np
import pytest
import trimesh
import typer
from fake_job_server import FakeJobServer, partial_result, picture_result, png, textured_result
from fake_server import HELLO
from PIL import Image, ImageDraw

from backend.appearance.mesh_files import read_mesh_file
from backend.cli import app
from backend.commands import job_table
from examples import CORNERS, job_state, progress
from protocol.messages import (
    CancelJob,
    DeleteJob,
    Failed,
    FetchResult,
    PauseJob,
    Refused,
    ResumeJob,
    SubmitJob,
    UpdateJob,
)

REPOSITORY = Path(__file__).parents[3]
RED = "red-mushroom-7f3a"
FINISHED = job_state(status="finished", step=20, total_steps=20)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@dataclass(frozen=True)
class Ran:
    """What a command came to."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self):
        return self.stdout + self.stderr


@pytest.fixture(scope="module")
def built():
    """Built once: typer takes its time."""
    return typer.main.get_command(app)


@pytest.fixture
def typed(built, monkeypatch):
    """Runs a command line for a server."""

    def run(server, *arguments):
        monkeypatch.setenv("SKETCHBRIDGE_SERVER", server.address)
        monkeypatch.setenv("COLUMNS", "200")
        stdout, stderr = io.StringIO(), io.StringIO()
        with redirect_stdout(stdout), redirect_stderr(stderr), pytest.raises(SystemExit) as ended:
            built.main([str(each) for each in arguments], prog_name="sketchbridge")
        return Ran(ended.value.code, stdout.getvalue(), stderr.getvalue())

    return run


def objects(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def write_tetrahedron(path):
    faces = [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]
    trimesh.Trimesh(CORNERS, faces, process=False).export(path)


@pytest.mark.parametrize("arguments", [["submit", "text", "--help"], ["watch", "--help"], ["fetch", "x", "--bad"]])
def test_help_and_wrong_options_import_nothing_heavy(arguments):
    program = f"""
import sys
from backend.cli import main
sys.argv = ["sketchbridge", *{arguments!r}]
try:
    main()
except SystemExit:
    pass
print(sorted({{"torch", "numpy", "zmq", "trimesh", "PIL"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, cwd=REPOSITORY
    )

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "name", ["batch", "jobs", "watch", "steer", "pause", "resume", "cancel", "fetch", "delete", "status"]
)
def test_the_help_of_every_command_has_its_exit_codes_and_where_the_server_is(name, typed):
    with FakeJobServer() as server:
        shown = " ".join(typed(server, name, "--help").stdout.split())

    for word in ("Exit codes: 0 done, 2 wrong input", "3 not finished", "4 no server", "SKETCHBRIDGE_SERVER", "--key"):
        assert word in shown


# --- submit


def test_submit_prints_the_id_alone_on_stdout(typed):
    with FakeJobServer() as server:
        result = typed(server, "submit", "text", "a red mushroom", "--steps", 20, "--quality", "draft", "--seed", 3)

    assert result.exit_code == 0
    assert result.stdout == "new-1\n"
    assert "sketchbridge watch new-1" in result.stderr
    (job,) = server.of(SubmitJob)
    assert (job.task, job.prompt, job.mesh) == ("text", "a red mushroom", None)
    assert (job.settings.steps, job.settings.quality, job.settings.seed) == (20, "draft", 3)
    assert job.settings.guidance_scale is None


def test_submit_ends_with_the_job_for_programs(typed):
    with FakeJobServer() as server:
        result = typed(server, "submit", "text", "a red mushroom", "--json")

    assert objects(result) == [{"event": "submitted", "job": "new-1", "queue_position": 2}, {"job": "new-1"}]


def test_every_setting_of_a_job_can_be_submitted(typed):
    settings = {
        "prior": "sd-2.1", "lora": "ink", "environment": "studio", "quality": "high", "steps": 9, "seed": 5,
        "texture_size": 512, "faces": 5000, "method": "vsd", "guidance_scale": 7.5, "bridge_start": 0.5,
        "source_suffix": ", blurry", "target_suffix": ", sharp", "device": "cpu", "rasteriser": "portable",
    }  # fmt: skip
    options = [text for name, value in settings.items() for text in (f"--{name.replace('_', '-')}", value)]
    with FakeJobServer() as server:
        # Left and right, and above and below: y is upwards in the command, z on the wire.
        typed(server, "submit", "text", "a mug", *options, "--symmetry", "xy", "--priority", 4)

    (job,) = server.of(SubmitJob)
    assert {name: getattr(job.settings, name) for name in settings} == settings
    assert job.settings.symmetry == ("x", "z")
    assert set(dataclasses.asdict(job.settings)) == settings.keys() | {"symmetry", "to_real"}
    assert job.priority == 4


def test_a_sketch_in_3d_can_be_submitted_without_drawings(typed, tmp_path):
    write_tetrahedron(tmp_path / "blockout.ply")
    with FakeJobServer() as server:
        result = typed(server, "submit", "sketch", "a blue car", "--mesh", "blockout.ply", "--to-real")

    assert result.exit_code == 0, result.output
    (job,) = server.of(SubmitJob)
    assert (job.task, job.settings.to_real, job.sketches) == ("sketch", True, ())
    assert job.mesh is not None


def test_submit_texture_sends_the_mesh_with_z_up(typed, tmp_path):
    write_tetrahedron(tmp_path / "mug.ply")
    with FakeJobServer() as server:
        result = typed(server, "submit", "texture", "mug.ply", "a red mug")

    assert result.exit_code == 0, result.output
    (job,) = server.of(SubmitJob)
    assert job.task == "texture"
    # glTF's (x, y, z) is Blender's (x, -z, y).
    np.testing.assert_allclose(job.mesh.positions, CORNERS[:, [0, 2, 1]] * [1, -1, 1])


def test_submit_text_can_begin_with_a_mesh_that_has_z_up_already(typed, tmp_path):
    write_tetrahedron(tmp_path / "block.stl")
    with FakeJobServer() as server:
        typed(server, "submit", "text", "a mug", "--init-mesh", "block.stl", "--up", "z")

    bounds = server.of(SubmitJob)[0].mesh.positions
    assert (bounds.min(0).tolist(), bounds.max(0).tolist()) == ([0, 0, 0], [1, 1, 1])


def write_drawings():
    """A ring in a picture and a square of strokes in an SVG."""
    picture = Image.new("L", (300, 200), 255)
    ImageDraw.Draw(picture).ellipse((80, 30, 220, 170), outline=0, width=5)
    picture.save("front.png")
    square = '<path fill="none" stroke="#000" d="M2 2H8V8H2Z"/>'
    Path("left.svg").write_text(f'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10">{square}</svg>')


def test_submit_sketch_sends_pictures_as_pictures_and_svgs_as_strokes(typed, tmp_path):
    write_drawings()
    write_tetrahedron(tmp_path / "block.ply")
    options = ("--mesh", "block.ply", "--strength", 0.7, "--sketch-weight", 2, "--symmetry", "x", "--steps", 9)
    views = ("--view", "front=front.png", "--view", "az=30,el=20,fov=50,weight=3@left.svg")
    with FakeJobServer() as server:
        result = typed(server, "submit", "sketch", "a red mug", *views, *options)

    assert result.exit_code == 0, result.output
    assert result.stdout == "new-1\n"
    (job,) = server.of(SubmitJob)
    assert (job.task, job.prompt, job.settings.symmetry, job.settings.steps) == ("sketch", "a red mug", ("x",), 9)
    assert job.mesh.positions.shape == (4, 3)
    front, left = job.sketches
    assert (front.name, front.camera.view, front.drawn, front.weight) == ("front", "front", "outline", 2)
    assert front.aspect == 1.5
    assert front.picture is not None
    assert (left.name, left.camera.azimuth_degrees, left.camera.fov_degrees) == ("az=30,el=20", 30, 50)
    assert left.weight == 6
    assert left.points is not None
    (update,) = server.of(UpdateJob)
    assert (update.job, update.mesh_weight) == ("new-1", 0.7)


def test_submit_sketch_sends_what_is_locked_and_the_colours_of_the_mesh(typed, tmp_path):
    write_drawings()
    for name, colours in (("block.ply", [200, 0, 0, 255]), ("mask.ply", [0, 0, 0, 255])):
        mesh = trimesh.Trimesh(CORNERS, [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], process=False)
        painted = np.tile(np.array(colours, np.uint8), (4, 1))
        if name == "mask.ply":
            painted[:3] = 255
        mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=painted)
        mesh.export(tmp_path / name)
    with FakeJobServer() as server:
        block = ("--view", "front=front.png", "--mesh", "block.ply", "--lock", "mask.ply")
        result = typed(server, "submit", "sketch", "a red mug", *block)

    assert result.exit_code == 0, result.output
    mesh = server.of(SubmitJob)[0].mesh
    assert mesh.locked.tolist() == [1, 1, 1, 0]
    assert (mesh.colours == [200, 0, 0]).all()
    assert not server.of(UpdateJob)


def test_an_empty_or_open_drawing_is_refused_before_anything_is_submitted(typed):
    Image.new("L", (60, 60), 255).save("empty.png")
    line = Image.new("L", (200, 200), 255)
    ImageDraw.Draw(line).line((20, 20, 180, 60), fill=0, width=3)
    line.save("open.png")
    with FakeJobServer() as server:
        empty = typed(server, "submit", "sketch", "a mug", "--view", "front=empty.png")
        is_open = typed(server, "submit", "sketch", "a mug", "--view", "front=open.png")

    assert (empty.exit_code, is_open.exit_code) == (2, 2)
    assert "the sketch empty.png is empty" in empty.output
    assert "the outline of the sketch front cannot be closed" in is_open.output
    assert not server.of(SubmitJob)


def test_submit_image_sends_a_picture_in_the_size_of_the_prior(typed, tmp_path):
    Image.new("RGB", (60, 40), "blue").save(tmp_path / "sketch.jpg")
    with FakeJobServer() as server:
        result = typed(server, "submit", "image", "a blue mug", "--init-picture", "sketch.jpg")

    assert result.exit_code == 0, result.output
    # The fake server names no priors; 512 is what most take.
    assert int.from_bytes(server.of(SubmitJob)[0].picture[16:20]) == 512
    assert HELLO.priors == ()


def test_submit_wait_watches_and_fetches_in_one(typed, tmp_path):
    with FakeJobServer() as server:
        server.news["new"] = [progress(), FINISHED]
        server.results["new"] = textured_result()
        result = typed(server, "submit", "text", "a red mushroom", "--wait", "-o", "out/m.glb")

    assert result.exit_code == 0, result.output
    assert result.stdout == "out/m.glb\n"
    assert "bridge step 120/250" in result.stderr
    assert read_mesh_file(tmp_path / "out" / "m.glb").base_colour is not None


def test_submit_wait_for_programs_tells_all_and_ends_with_the_job(typed):
    with FakeJobServer() as server:
        server.news["new"] = [progress(), FINISHED]
        server.results["new"] = textured_result()
        result = typed(server, "submit", "text", "a red mushroom", "--wait", "-o", "m.glb", "--json")

    told = objects(result)
    # States that follow each other fast become one.
    assert {each.get("event") for each in told} == {"submitted", "state", "progress", "fetched", None}
    assert told[0]["event"] == "submitted"
    assert told[-1] == {"job": "new-1"}
    assert told[-2]["is_partial"] is False


def test_submit_wait_writes_what_was_kept_of_a_cancelled_job_and_exits_with_3(typed, tmp_path):
    with FakeJobServer() as server:
        server.news["new"] = [job_state(status="cancelled", has_result=True)]
        server.results["new"] = partial_result()
        result = typed(server, "submit", "text", "a red mushroom", "--wait", "-o", "m.glb")

    assert result.exit_code == 3
    assert (tmp_path / "m.glb").exists()
    assert "unfinished: as it was after step 7" in result.stderr


def test_submit_wait_of_a_job_that_fails_exits_with_5(typed):
    with FakeJobServer() as server:
        server.news["new"] = [job_state(status="failed")]
        server.results["new"] = Failed(job="any", code="missing-model", sentence="There is no model.", log_id="l-1")
        result = typed(server, "submit", "text", "a red mushroom", "--wait", "-o", "m.glb")

    assert result.exit_code == 5
    assert "There is no model." in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["text"], "Usage"),
        (["text", "a", "mug"], 'put the prompt in quotes: sketchbridge submit text "a mug"'),
        (["text", "a mug", "-o", "m.glb"], "-o m.glb needs --wait"),
        (["text", "a mug", "--up", "z"], "--up says how a mesh lies in its file; give one with --init-mesh"),
        (["text", "a mug", "--steps", "0"], "steps is 0; it must be a whole number from 1 to 1000000"),
        (["text", "a mug", "--wait", "-o", "m.fbx"], "'.fbx' names no format"),
        (["text", "a mug", "--prior", "../secret"], "prior is '../secret'; it must be"),
        (["text", "a mug", "--init-mesh", "none.glb"], "there is no file none.glb"),
        (["texture", "mug.glb"], "say which mesh and what it is to look like"),
        (["image", "a mug", "--wait", "-o", "m.glb"], "m.glb"),
        (["text", "a mug", "--symmetry", "left"], "symmetry must name axes to mirror across"),
        (
            ["sketch", "a mug"],
            "say what to make and from where it was drawn, or from which mesh, such as: sketchbridge",
        ),
        (
            ["sketch", "a mug", "--view", "front=a.png", "--to-real"],
            "--to-real makes a blocked-out mesh real, and none",
        ),
        (["sketch", "a mug", "--view", "mug.png"], "names no file; write front=mug.png"),
        (["sketch", "a mug", "--view", "front=mug.png"], "there is no picture mug.png"),
        (["sketch", "a mug", "--view", "front=mug.svg"], "the drawing mug.svg cannot be read"),
        (["sketch", "a mug", "--view", "front=a.png", "--view", "front=b.png"], "two drawings are given for front"),
        (["sketch", "a mug", "--view", "front=a.png", "--strength", "0.5"], "give --mesh too"),
        (["sketch", "a mug", "--view", "front=a.png", "--lock", "a.ply"], "give --mesh too"),
        (["sketch", "a mug", "--view", "front=a.png", "--up", "z"], "give one with --mesh, or leave it out"),
        (["sketch", "a mug", "--view", "front=a.png", "--sketch-weight", "-1"], "sketch weight must be a number"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_submitted(typed, arguments, sentence):
    with FakeJobServer() as server:
        result = typed(server, "submit", *arguments)

    assert result.exit_code == 2
    assert sentence in " ".join(result.output.replace("│", " ").split())
    assert not server.of(SubmitJob)


def test_the_mesh_that_is_submitted_is_not_overwritten(typed, tmp_path):
    write_tetrahedron(tmp_path / "mug.stl")
    with FakeJobServer() as server:
        result = typed(server, "submit", "texture", "mug.stl", "a mug", "--wait", "-o", "./mug.stl")

    assert result.exit_code == 2
    assert "choose another name" in result.output


def test_what_the_server_refuses_is_exit_code_2_with_its_sentence(typed):
    with FakeJobServer() as server:
        server.answers["SubmitJob"] = Refused(code="unknown-name", sentence="no prior [sd]; there is embedded")
        result = typed(server, "submit", "text", "a mug", "--prior", "sd")

    assert result.exit_code == 2
    assert "no prior [sd]; there is embedded" in result.output
    assert "Traceback" not in result.output


# --- fetch


def test_fetch_writes_a_textured_glb(typed, tmp_path):
    with FakeJobServer(FINISHED) as server:
        server.results[RED] = textured_result()
        result = typed(server, "fetch", "red", "-o", "m.glb")

    assert result.exit_code == 0, result.output
    assert result.stdout == "m.glb\n"
    read = read_mesh_file(tmp_path / "m.glb")
    assert read.name == "a red mushroom"
    assert read.base_colour[2, 2].tolist() == [200, 0, 0]


def test_fetch_writes_obj_with_its_textures_beside_it(typed, tmp_path):
    with FakeJobServer(FINISHED) as server:
        server.results[RED] = textured_result()
        typed(server, "fetch", "red", "-o", "m.obj", "--up", "z")

    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"m.obj", "m.mtl", "m_base_colour.png", "m_roughness.png", "m_metallic.png"}
    np.testing.assert_allclose(trimesh.load(tmp_path / "m.obj", process=False).vertices, CORNERS)


@pytest.mark.parametrize("name", ["m.png", "m.jpg"])
def test_fetch_writes_pictures(typed, name, tmp_path):
    with FakeJobServer(job_state(task="image", status="finished")) as server:
        server.results[RED] = picture_result()
        result = typed(server, "fetch", "red", "-o", name)

    assert result.exit_code == 0, result.output
    picture = Image.open(tmp_path / name)
    assert picture.format == {"m.png": "PNG", "m.jpg": "JPEG"}[name]
    assert picture.size == (4, 4)


def test_an_unfinished_job_exits_with_3_and_says_what_to_do(typed, tmp_path):
    with FakeJobServer(job_state()) as server:
        server.results[RED] = textured_result()
        result = typed(server, "fetch", "red", "-o", "m.glb", "--json")

    assert result.exit_code == 3
    assert objects(result)[-1]["exit_code"] == 3
    assert f"{RED} is running; --wait waits for it, --partial takes it as it is" in result.stderr
    assert not list(tmp_path.iterdir())


def test_fetch_partial_writes_the_mesh_as_it_is(typed, tmp_path):
    with FakeJobServer(job_state()) as server:
        server.results[RED] = partial_result()
        result = typed(server, "fetch", "red", "-o", "m.ply", "--partial")

    assert result.exit_code == 0, result.output
    assert "unfinished: as it was after step 7" in result.stderr
    assert server.of(FetchResult)[0].partial is True
    assert trimesh.load(tmp_path / "m.ply").visual.vertex_colors[0, :3].tolist() == [255, 188, 0]


def test_fetch_wait_watches_first(typed, tmp_path):
    with FakeJobServer(job_state()) as server:
        server.news[RED] = [progress(), FINISHED]
        server.results[RED] = textured_result()
        result = typed(server, "fetch", "red", "-o", "m.glb", "--wait")

    assert result.exit_code == 0, result.output
    assert "bridge step 120/250" in result.stderr
    assert (tmp_path / "m.glb").exists()


def test_fetch_takes_what_was_kept_of_a_cancelled_job(typed, tmp_path):
    with FakeJobServer(job_state(status="cancelled", has_result=True)) as server:
        server.results[RED] = partial_result()
        result = typed(server, "fetch", "red", "-o", "m.glb")

    assert result.exit_code == 0, result.output
    assert (tmp_path / "m.glb").exists()


def test_fetch_of_a_failed_job_exits_with_5_and_says_why(typed):
    with FakeJobServer(job_state(status="failed")) as server:
        server.results[RED] = Failed(job=RED, code="bad-mesh", sentence="It has no area.", log_id="log-3")
        result = typed(server, "fetch", "red", "-o", "m.glb")

    assert result.exit_code == 5
    assert "It has no area. (bad-mesh; log-3 in the server's log)" in result.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "say where to write it: sketchbridge fetch red -o result.glb"),
        (["-o", "m.glb", "--wait", "--partial"], "give one of them"),
        (["-o", "m.glb", "--up", "z"], "a GLB is Y up always"),
        (["-o", "m.fbx"], "'.fbx' names no format"),
    ],
)
def test_a_fetch_that_cannot_be_written_is_not_asked_for(typed, arguments, sentence):
    with FakeJobServer(FINISHED) as server:
        result = typed(server, "fetch", "red", *arguments)

    assert result.exit_code == 2
    assert sentence in result.output
    assert not server.of(FetchResult)


# --- pause, resume, cancel, delete, steer


@pytest.mark.parametrize(
    ("command", "kind", "status"),
    [
        (["pause"], PauseJob, "paused"),
        (["resume"], ResumeJob, "queued"),
        (["cancel"], CancelJob, "cancelled"),
        (["delete"], DeleteJob, "deleted"),
    ],
)
def test_jobs_are_changed_by_the_beginnings_of_their_ids(typed, command, kind, status):
    with FakeJobServer(job_state(job="red-1"), job_state(job="blue-2"), job_state(job="blue-3")) as server:
        result = typed(server, *command, "red", "blue-2")

    assert result.exit_code == 0, result.output
    assert [message.job for message in server.of(kind)] == ["red-1", "blue-2"]
    assert f"red-1: {status}\nblue-2: {status}\n" == result.stderr


def test_a_wrong_id_among_several_changes_nothing(typed):
    with FakeJobServer(job_state(job="red-1")) as server:
        result = typed(server, "delete", "red", "green")

    assert result.exit_code == 2
    assert not server.of(DeleteJob)


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_what_is_refused_of_one_job_does_not_keep_the_others(typed, more):
    running = [job_state(job=name) for name in ("a-1", "b-2", "c-3", "d-4")]

    class Refusing(FakeJobServer):
        def _changed(self, message):
            if isinstance(message, DeleteJob) and message.job in ("a-1", "c-3"):
                return Refused(code="wrong-state", sentence="it is being written")
            return super()._changed(message)

    with Refusing(*running) as server:
        result = typed(server, "delete", *server.jobs, *more)
        status = {job: state.status for job, state in server.jobs.items()}

    assert result.exit_code == 2
    assert status == {"a-1": "running", "b-2": "deleted", "c-3": "running", "d-4": "deleted"}
    for job in ("a-1", "c-3"):
        assert f"{job}: it is being written" in result.stderr
    if more:
        told = objects(result)
        assert [each.get("message", each.get("job")) for each in told] == [
            "a-1: it is being written", "b-2", "c-3: it is being written", "d-4"
        ]  # fmt: skip


@pytest.mark.parametrize(("options", "kept"), [([], "keep"), (["--drop"], "drop")])
def test_cancel_keeps_the_mesh_unless_told_to_drop_it(typed, options, kept):
    with FakeJobServer(job_state()) as server:
        typed(server, "cancel", "red", *options)

    assert server.of(CancelJob)[0].result == kept


def test_programs_get_the_new_state(typed):
    with FakeJobServer(job_state()) as server:
        result = typed(server, "pause", "red", "--json")

    assert objects(result)[0]["status"] == "paused"


def test_steer_changes_what_is_given_and_nothing_else(typed, tmp_path):
    write_tetrahedron(tmp_path / "edited.ply")
    changes = {
        "prompt": "a blue mushroom", "guidance_scale": 20.0, "source_suffix": ", blurry", "target_suffix": "",
        "learning_rate_factor": 0.5, "smoothness_weight": 2.0, "mesh_weight": 0.0, "more_steps": 100,
    }  # fmt: skip
    options = [text for name, value in changes.items() for text in (f"--{name.replace('_', '-')}", value)]
    with FakeJobServer(job_state(step=40, total_steps=250)) as server:
        result = typed(server, "steer", "red", *options, "--mesh", "edited.ply")
        typed(server, "steer", "red", "--more-steps", 5)

    assert result.exit_code == 0, result.output
    assert f"{RED}: running after step 40 of 250, 1 update" in result.stderr
    first, second = server.of(UpdateJob)
    assert {name: getattr(first, name) for name in changes} == changes
    np.testing.assert_allclose(first.mesh.positions, CORNERS[:, [0, 2, 1]] * [1, -1, 1])
    assert (second.prompt, second.guidance_scale, second.more_steps, second.mesh) == (None, None, 5, None)
    assert first.key != second.key


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "nothing changes; give one of --prompt, --guidance-scale"),
        (["--more-steps", "0"], "more_steps is 0; it must be a whole number from 1 to 1000000"),
        (["--up", "z", "--prompt", "x"], "give one with --mesh"),
        (["--mesh", "none.ply"], "there is no file none.ply"),
        (["--add-view", "front=none.png"], "there is no picture none.png"),
        (["--add-view", "none.png"], "names no file"),
        (["--view-weight", "front"], "--view-weight 'front' must be the name of a view and a weight"),
        (["--view-weight", "front=much"], "--view-weight 'front=much' must be"),
        (["--view-weight", "front=101"], "a weight from 0 to 100, such as front=0.5"),
        (["--remove-view", "front", "--remove-view", "front"], "the view front is removed twice"),
        (["--remove-view", "front"], "is a job of the task text, which looks at no drawings"),
    ],
)
def test_a_steer_that_says_nothing_right_is_not_sent(typed, options, sentence):
    with FakeJobServer(job_state()) as server:
        result = typed(server, "steer", "red", *options)

    assert result.exit_code == 2
    assert sentence in result.output
    assert not server.of(UpdateJob)


def test_steer_adds_removes_and_weighs_drawings(typed):
    write_drawings()
    changes = ("--add-view", "left=left.svg", "--remove-view", "front", "--view-weight", "az=30,el=20=0.5")
    with FakeJobServer(job_state(task="sketch")) as server:
        result = typed(server, "steer", "red", *changes)

    assert result.exit_code == 0, result.output
    (update,) = server.of(UpdateJob)
    assert [(each.name, each.points is not None) for each in update.add_sketches] == [("left", True)]
    assert update.remove_sketches == ("front",)
    assert [(each.name, each.weight) for each in update.sketch_weights] == [("az=30,el=20", 0.5)]


# --- jobs, status


def test_jobs_are_shown_as_a_table(typed):
    jobs = [
        job_state(step=120, total_steps=250, submitted_at=1.75e9),
        job_state(job="b-2", status="queued", queue_position=3, title="a [blue] mug", task="texture"),
    ]
    with FakeJobServer(*jobs) as server:
        result = typed(server, "jobs")

    lines = result.stdout.splitlines()
    assert lines[0].split() == ["job", "status", "task", "step", "age", "prompt"]
    assert lines[1].split()[:4] == [RED, "running", "text", "120/250"]
    assert "queued (3 before)" in lines[2]
    assert "a [blue] mug" in lines[2]


def test_jobs_for_programs_are_one_object_each(typed):
    with FakeJobServer(job_state(), job_state(job="b-2")) as server:
        result = typed(server, "jobs", "--json")

    assert [each["job"] for each in objects(result)] == [RED, "b-2"]
    assert objects(result)[0]["queue_position"] is None


def test_no_jobs_say_how_to_submit_one(typed):
    with FakeJobServer() as server:
        result = typed(server, "jobs")

    assert result.exit_code == 0
    assert result.stdout == ""
    assert "no jobs yet" in result.stderr


def test_status_shows_device_jobs_by_state_and_speed(typed, monkeypatch):
    jobs = [job_state(), job_state(job="b-2", status="queued"), job_state(job="c-3", status="queued")]
    with FakeJobServer(*jobs) as server:
        server.news[RED] = [progress(memory_bytes=2_000_000_000, seconds_left=30.0)]
        result = typed(server, "status")

    assert result.exit_code == 0, result.output
    shown = " ".join(result.stdout.split())
    assert "device a fake device, 2.0 GB in use by running jobs" in shown
    assert "jobs 2 queued, 1 running" in shown
    assert f"running {RED} bridge 120/250, 4.5 steps/s, 0:30 left" in shown
    assert "connection no keys, " in shown


@pytest.mark.parametrize(("count", "shown"), [(1, "clients this one alone"), (3, "clients 3 connected, this one")])
def test_status_shows_how_many_clients_there_are(typed, monkeypatch, count, shown):
    monkeypatch.setattr(fake_server, "HELLO", dataclasses.replace(fake_server.HELLO, clients=count))
    with FakeJobServer() as server:
        for_people, for_programs = typed(server, "status"), typed(server, "status", "--json")

    assert shown in " ".join(for_people.stdout.split())
    assert objects(for_programs)[0]["server"]["clients"] == count


def test_status_of_an_older_server_does_not_speak_of_clients(typed):
    with FakeJobServer() as server:
        result = typed(server, "status")

    assert result.exit_code == 0
    assert "clients" not in result.stdout


def test_status_does_not_wait_for_ever_for_a_slow_job(typed, monkeypatch):
    monkeypatch.setattr(job_table, "SECONDS_TO_LISTEN", 0.2)
    with FakeJobServer(job_state(step=3, total_steps=9)) as server:
        result = typed(server, "status")

    assert f"running {RED} 3/9" in " ".join(result.stdout.split())


def test_status_for_programs_is_one_object(typed):
    with FakeJobServer(job_state()) as server:
        server.news[RED] = [progress()]
        result = typed(server, "status", "--json")

    (told,) = objects(result)
    assert told["server"]["device"] == "a fake device"
    assert told["jobs"] == {"running": 1}
    assert told["running"][0]["steps_per_second"] == 4.5
    assert told["connection"]["encrypted"] is False


def test_a_picture_of_the_server_that_is_none_is_not_written(typed, tmp_path):
    damaged = picture_result()
    picture = damaged.pictures[0].__class__(name="picture", picture=png([0, 0, 0])[:50])
    with FakeJobServer(job_state(task="image", status="finished")) as server:
        server.results[RED] = damaged.__class__(job="any", step=1, pictures=(picture,))
        result = typed(server, "fetch", "red", "-o", "m.jpg")

    assert result.exit_code == 2
    assert "damaged PNG" in result.output
    assert not (tmp_path / "m.jpg").exists()
