"""A table of prompts and the folder that it becomes, against a server that computes nothing."""

import dataclasses
import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import typer
from fake_job_server import FakeJobServer, picture_result, textured_result

from backend.cli import app
from backend.commands.batch_rows import read_rows
from backend.errors import BadInput
from protocol.messages import FetchResult, Refused, SubmitJob


class QuickServer(FakeJobServer):
    """Every job ends at once: as `endings` says by its prompt, else finished."""

    def __init__(self, **options):
        self.endings, self.most_jobs = {}, 10_000
        super().__init__(**options)
        self.results["new"] = textured_result()

    def _answer(self, message):
        if isinstance(message, SubmitJob):
            known = next((each for each in self.jobs.values() if each.key == message.key), None)
            if known is None and sum(each.status == "running" for each in self.jobs.values()) >= self.most_jobs:
                return Refused(code="too-many", sentence="You have too many jobs.")
            if known is not None:
                return dataclasses.replace(super()._answer(message), job=known.job)
        answer = super()._answer(message)
        if isinstance(message, SubmitJob):
            ending = self.endings.get(message.prompt, "finished")
            self.jobs[answer.job] = dataclasses.replace(self.jobs[answer.job], status=ending, sentence="")
        return answer


@pytest.fixture(scope="module")
def built():
    return typer.main.get_command(app)


@pytest.fixture
def batch(built, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(server, *options):
        monkeypatch.setenv("SKETCHBRIDGE_SERVER", server.address)
        monkeypatch.setenv("COLUMNS", "200")
        stdout, stderr = io.StringIO(), io.StringIO()
        with redirect_stdout(stdout), redirect_stderr(stderr), pytest.raises(SystemExit) as ended:
            built.main(["batch", "table.csv", "-o", "made", *options], prog_name="sketchbridge")
        return ended.value.code, stdout.getvalue(), stderr.getvalue()

    return run


def table(*lines):
    Path("table.csv").write_text("\n".join(lines) + "\n")


def record():
    return json.loads(Path("made/batch.json").read_text())["rows"]


def test_a_table_becomes_a_folder_of_meshes_with_a_page(batch):
    table("prompt,seed,quality,symmetry", "a red mug,3,draft,x", '"a house, blue",,,', "a green tree,,high,")
    with QuickServer() as server:
        code, out, err = batch(server)

    assert code == 0, err
    assert out.strip() == "made/index.html"
    asked = server.of(SubmitJob)
    assert [each.prompt for each in asked] == ["a red mug", "a house, blue", "a green tree"]
    assert [each.settings.quality for each in asked] == ["draft", "normal", "high"]
    assert (asked[0].settings.seed, asked[0].settings.symmetry) == (3, ("x",))
    assert sorted(path.name for path in Path("made").glob("*.glb")) == [
        "a-green-tree.glb", "a-house-blue.glb", "a-red-mug-3.glb",
    ]  # fmt: skip
    page = Path("made/index.html").read_text()
    assert "3 of 3 made" in page
    assert '<img src="a-red-mug-3.gif"' in page
    assert page.count("<article>") == 3
    assert Path("made/a-red-mug-3.gif").read_bytes()[:3] == b"GIF"
    assert set(record()["a-red-mug-3"]["scores"]) == {"shape", "colour"}


def test_the_same_command_makes_nothing_twice_and_changed_rows_anew(batch):
    table("prompt,name", "a red mug,mug", "a tree,tree")
    with QuickServer() as server:
        batch(server, "--no-turntables")
        first = len(server.of(SubmitJob))
        code, _, err = batch(server, "--no-turntables")
        second = len(server.of(SubmitJob))
        table("prompt,name", "a red mug,mug", "a tall tree,tree")
        batch(server, "--no-turntables")
        third = server.of(SubmitJob)

    assert (first, second, len(third)) == (2, 2, 3)
    assert code == 0
    assert "2 jobs, of which 2 are done already" in err
    assert third[-1].prompt == "a tall tree"


def test_an_interrupted_batch_asks_for_the_same_jobs_again(batch, monkeypatch):
    from backend.commands import batch as module

    table("prompt", "a mug", "a tree")
    with QuickServer() as server:
        with monkeypatch.context() as patch:
            patch.setattr(module._Batch, "_collect", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
            code, _, _ = batch(server, "--no-turntables")
        again, _, _ = batch(server, "--no-turntables")
        keys = [each.key for each in server.of(SubmitJob)]

    assert (code, again) == (130, 0)
    assert keys[:2] == keys[2:]


def test_a_job_that_fails_is_told_and_tried_again_by_the_next_run(batch):
    table("prompt", "a mug", "a tree")
    with QuickServer() as server:
        server.endings["a tree"] = "failed"
        code, _, err = batch(server, "--no-turntables")
        page = Path("made/index.html").read_text()
        server.endings.clear()
        again, _, _ = batch(server, "--no-turntables")

    assert code == 5
    assert "1 of 2 made; without a result: a-tree" in err
    assert '<p class="problem">the job was failed</p>' in page
    assert again == 0
    assert [each.prompt for each in server.of(SubmitJob)] == ["a mug", "a tree", "a tree"]


def test_what_the_server_does_not_take_yet_is_sent_later(batch, monkeypatch):
    from backend.commands import batch as module

    monkeypatch.setattr(module, "POLL_SECONDS", 0.05)
    table("prompt", "a mug", "a tree", "a car")
    with QuickServer() as server:
        server.most_jobs = 1
        server.endings = {"a mug": "running", "a tree": "finished", "a car": "finished"}

        real = module._Batch._collect

        def ends_later(self, rows, unsent):
            result = real(self, rows, unsent)
            server.jobs = {name: dataclasses.replace(job, status="finished") for name, job in server.jobs.items()}
            return result

        monkeypatch.setattr(module._Batch, "_collect", ends_later)
        code, _, err = batch(server, "--no-turntables")

    assert code == 0, err
    assert len(server.of(FetchResult)) == 3


def test_pictures_are_files_too(batch):
    table("prompt,task", "a red mug,image")
    with QuickServer() as server:
        server.results["new"] = picture_result()
        code, _, err = batch(server)

    assert code == 0, err
    assert Path("made/a-red-mug.png").exists()
    assert '<img src="a-red-mug.png"' in Path("made/index.html").read_text()


def test_variations_are_of_seeds_that_follow(tmp_path):
    (tmp_path / "table.csv").write_text("prompt,seed\na mug,7\n")

    rows = read_rows(tmp_path / "table.csv", 3)

    assert [row.name for row in rows] == ["a-mug-7-1", "a-mug-7-2", "a-mug-7-3"]
    assert [row.command.settings["seed"] for row in rows] == [7, 8, 9]


def test_drawings_and_meshes_lie_beside_the_table(tmp_path):
    (tmp_path / "front.svg").write_text("<svg/>")
    (tmp_path / "block.obj").write_text("v 0 0 0")
    (tmp_path / "table.csv").write_text(
        "prompt,views,mesh,to_real\na mug,front=front.svg|left@front.svg,,\na car,,block.obj,yes\n"
    )

    drawn, real = read_rows(tmp_path / "table.csv")

    assert drawn.command.task == real.command.task == "sketch"
    assert drawn.command.views == (f"front={tmp_path}/front.svg", f"left@{tmp_path}/front.svg")
    assert real.command.mesh == tmp_path / "block.obj"
    assert real.command.settings["to_real"] is True
    (tmp_path / "front.svg").write_text("<svg> </svg>")
    assert read_rows(tmp_path / "table.csv")[0].content != drawn.content


def test_the_example_can_be_read():
    rows = read_rows(Path(__file__).parents[3] / "examples" / "prompts.csv")

    assert [row.command.task for row in rows] == ["text", "text", "text", "sketch", "sketch"]


def test_all_wrong_rows_are_told_at_once_by_their_lines(tmp_path):
    (tmp_path / "table.csv").write_text(
        "prompt,seed,task,mesh,name,quality,views\n"
        ",1,,,,,\n"
        "a mug,x,,,,,\n"
        "a mug,,statue,,,,\n"
        "a mug,,,none.obj,,,\n"
        "a mug,,,,../up,,\n"
        "a mug,,,,,quick,\n"
        "a mug,,,,,,fnort=a.svg\n"
        "a mug,,,,same,,\n"
        "a cup,,,,same,,\n"
        "a mug,1,2,3,4,5,6,7\n"
    )

    with pytest.raises(BadInput) as caught:
        read_rows(tmp_path / "table.csv")

    told = str(caught.value).splitlines()
    assert told[0].endswith("table.csv are wrong:")
    assert "nothing was started, as 9 rows" in told[0]
    for line, sentence in (
        (2, "its prompt is empty"),
        (3, "seed must be a whole number; got 'x'"),
        (4, "task must be one of text, texture, sketch, image; got 'statue'"),
        (5, "the mesh none.obj is not there"),
        (6, "name must be letters"),
        (7, "quality"),
        (8, "fnort"),
        (10, "the name same is that of line 9 already"),
        (11, "more cells than the header"),
    ):
        assert any(each.strip().startswith(f"line {line}: ") and sentence in each for each in told), (line, told)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("title\na mug\n", "has no column prompt in its first line, only title"),
        ("prompt;seed\na mug;1\n", "its columns must be parted by commas"),
        ("prompt,sed\na mug,1\n", "has the column 'sed'; known are prompt, name"),
        ("prompt,prompt\na,b\n", "has two columns prompt"),
        ("prompt\n", "has a header and no row"),
        ("", "has no column prompt in its first line, only nothing"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, content, sentence):
    (tmp_path / "table.csv").write_text(content)

    with pytest.raises(BadInput, match=sentence):
        read_rows(tmp_path / "table.csv")


def test_bytes_that_are_no_text_and_a_missing_file_are_told(tmp_path):
    (tmp_path / "table.csv").write_bytes(b"\xff\xfe\x00")

    for name in ("table.csv", "other.csv"):
        with pytest.raises(BadInput, match=f"{name} cannot be read"):
            read_rows(tmp_path / name)
