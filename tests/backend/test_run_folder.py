"""Run folders: what is in them, how they are found to be damaged, and that a full disk does not end a job."""

import builtins
import datetime
import errno
import json
import pathlib

import numpy as np
import pytest
import torch
from PIL import Image

from backend import run_folder as run_folder_module
from backend.checkpoint import Checkpoint
from backend.errors import BadInput, DamagedRun, OutputNotWritable
from backend.run_folder import RunFolder, slug_of


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    """Makes runs inside an empty current folder, and closes them."""
    monkeypatch.chdir(tmp_path)
    made = []

    def make(parent=None, title="a red mushroom", **changes):
        given = {"task": "text", "title": title, "settings": {"prompt": title, "seed": 0}, "output": None, **changes}
        made.append(RunFolder.create(parent, **given))
        return made[-1]

    yield make
    for run in made:
        run.close()


def metrics_of(step, **changes):
    return {"step": step, "stage": "SDS", "gradient_norm": 1.0, "losses": {"sds": 0.5}, "faces": 12, **changes}


def checkpoint_of(step):
    return Checkpoint(step, 0.1 * step, {"x": torch.zeros(2)}, {})


def test_the_default_name_is_date_and_prompt_and_counts_up(make_run):
    first, second, third = make_run(), make_run(), make_run()

    today = datetime.date.today().isoformat()
    assert first.path == pathlib.Path("runs") / f"{today}-a-red-mushroom"
    assert second.path.name == f"{today}-a-red-mushroom-2"
    assert third.path.name == f"{today}-a-red-mushroom-3"


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("a red mushroom", "a-red-mushroom"),
        ("A  Red/../../Mushroom!", "a-red-mushroom"),
        ("ein grüner Würfel", "ein-grüner-würfel"),
        ("赤いキノコ", "赤いキノコ"),
        ("../..", "mesh"),
        ("", "mesh"),
        ("one two three four five six seven eight nine ten", "one-two-three-four-five-six-seven-eight"),
        ("x" * 100, "x" * 40),
    ],
)
def test_slugs_stay_inside_the_folder_and_short(title, slug):
    assert slug_of(title) == slug


def test_settings_come_back_when_a_run_is_opened(make_run, tmp_path):
    settings = {"prompt": 'a "red" mushroom\udcff', "seed": 3, "init_mesh": None}
    created = make_run(settings=settings, output=pathlib.Path("mushroom.glb"))
    created.close()

    with RunFolder.open(created.path) as opened:
        assert opened.settings == settings
        assert opened.task == "text"
        assert opened.output == tmp_path / "mushroom.glb"


def test_runs_can_be_made_elsewhere(make_run, tmp_path):
    first, second = make_run(tmp_path / "some" / "where"), make_run(tmp_path / "some" / "where")

    assert first.path.parent == second.path.parent == tmp_path / "some" / "where"
    assert second.path.name == f"{first.path.name}-2"

    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadInput, match="is a file"):
        make_run(tmp_path / "file")


def test_a_place_that_cannot_be_written_is_told_before_the_work(make_run, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputNotWritable, match="no run folder can be made"):
        make_run(tmp_path / "file" / "below")

    monkeypatch.setattr(run_folder_module.machine, "free_bytes", lambda path: 5_000_000)
    with pytest.raises(OutputNotWritable, match=r"only 5\.0 MB are free"):
        make_run(tmp_path / "elsewhere")


def test_each_damage_has_its_own_sentence(make_run, tmp_path):
    run = make_run()
    run.close()
    settings_path = run.path / "settings.json"
    whole = json.loads(settings_path.read_text())

    def message_with(content):
        settings_path.write_text(content)
        with pytest.raises(DamagedRun) as caught:
            RunFolder.open(run.path)
        return str(caught.value)

    assert "cannot be read" in message_with("{")
    assert "is of something else" in message_with('{"format": "a diary"}')
    assert "is of something else" in message_with("[1, 2]")
    assert "format version 7, this sketchbridge reads version 1" in message_with(
        json.dumps({**whole, "format_version": 7})
    )
    assert "'settings'" in message_with(json.dumps({**whole, "settings": "none"}))

    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for path, words in (("empty", "no settings.json"), ("file", "is a file"), ("nowhere", "there is no folder")):
        with pytest.raises(DamagedRun, match=words):
            RunFolder.open(tmp_path / path)


def test_two_processes_cannot_write_one_run(make_run):
    run = make_run()

    with pytest.raises(DamagedRun, match="in use by another sketchbridge"):
        RunFolder.open(run.path)

    run.close()
    RunFolder.open(run.path).close()


def test_metrics_are_json_even_if_the_numbers_are_not_finite(make_run):
    run = make_run()

    run.add_metrics(metrics_of(1, gradient_norm=float("nan"), losses={"sds": float("inf")}))

    line = (run.path / "metrics.jsonl").read_text()
    assert json.loads(line, parse_constant=pytest.fail)["gradient_norm"] is None
    assert run.metrics()[0]["losses"] == {"sds": None}


def test_tensorboard_gets_the_same_numbers(make_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = make_run()
    for step in (1, 2):
        run.add_metrics(metrics_of(step, gradient_norm=2.0 * step))
    run.close()

    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("gradient_norm")] == [(1, 2.0), (2, 4.0)]
    assert [event.value for event in events.Scalars("losses/sds")] == [0.5, 0.5]


def test_without_tensorboard_metrics_are_still_kept(make_run, monkeypatch):
    import_really = builtins.__import__

    def refuse_tensorboard(name, *rest):
        if "tensorboard" in name:
            raise ImportError(name)
        return import_really(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse_tensorboard)
    run = make_run()
    told = []
    run.tell = told.append

    for step in (1, 2):
        run.add_metrics(metrics_of(step))

    assert [entry["step"] for entry in run.metrics()] == [1, 2]
    assert len(told) == 1
    assert "TensorBoard is not installed" in told[0]


def test_previews_are_strips_named_by_step(make_run):
    views = np.zeros((3, 4, 5, 3), dtype=np.uint8)
    views[1] = 200

    run = make_run()
    path = run.add_preview(views, 123)

    assert path == run.path / "previews" / "step-000123.png"
    with Image.open(path) as image:
        assert image.size == (15, 4)
        assert image.getpixel((7, 2)) == (200, 200, 200)
    assert run.previews() == [(123, path)]


def test_rewinding_removes_all_that_came_after_the_checkpoint(make_run):
    run = make_run()
    for step in range(1, 8):
        run.add_metrics(metrics_of(step))
        run.notice(f"notice {step}", step)
        run.add_preview(np.zeros((1, 2, 2, 3), dtype=np.uint8), step)
        if step == 5:
            run.save_checkpoint(checkpoint_of(step))
    run.notice("about no step")
    run.close()
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "gra')  # torn by kill -9

    with RunFolder.open(run.path) as resumed:
        checkpoint = resumed.rewind()
        resumed.add_metrics(metrics_of(6))

        assert checkpoint.step == 5
        assert [entry["step"] for entry in resumed.metrics()] == [1, 2, 3, 4, 5, 6]
        assert [entry["text"] for entry in resumed.notices()][-2:] == ["notice 5", "about no step"]
        assert [step for step, _ in resumed.previews()] == [1, 2, 3, 4, 5]


def test_rewinding_to_the_older_checkpoint_forgets_the_damaged_one(make_run):
    run = make_run()
    for step in (10, 20):
        run.save_checkpoint(checkpoint_of(step))
    run.close()
    (run.path / "checkpoints" / "step-000020" / "state.json").write_text("")
    told = []

    with RunFolder.open(run.path) as resumed:
        resumed.tell = told.append
        assert resumed.rewind().step == 10
        assert resumed.checkpoint_step == 10
    assert "step-000020" in told[0]


def test_a_run_without_checkpoint_cannot_be_rewound(make_run):
    run = make_run()
    with pytest.raises(DamagedRun, match="holds no checkpoint"):
        run.rewind()


def test_a_full_disk_is_told_once_and_does_not_end_the_job(make_run, monkeypatch):
    run = make_run()
    told = []
    run.tell = told.append
    open_really = pathlib.Path.open

    def no_space(path, mode="r", *rest, **options):
        if "a" in mode or "w" in mode:
            raise OSError(errno.ENOSPC, "No space left on device")
        return open_really(path, mode, *rest, **options)

    def no_space_for_pictures(image, *rest, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "open", no_space)
    monkeypatch.setattr(Image.Image, "save", no_space_for_pictures)
    for step in (1, 2, 3):
        run.add_metrics(metrics_of(step))
        assert run.add_preview(np.zeros((1, 2, 2, 3), dtype=np.uint8), step) is None

    assert sum("metrics.jsonl" in text for text in told) == 1
    assert sum("previews" in text for text in told) == 1
    assert all("No space left on device" in text for text in told)


def test_a_checkpoint_that_cannot_be_written_is_told_each_time(make_run, monkeypatch):
    run = make_run()
    told = []
    run.tell = told.append
    assert run.save_checkpoint(checkpoint_of(1))

    def no_space(folder, checkpoint):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_folder_module, "write_checkpoint", no_space)
    assert not run.save_checkpoint(checkpoint_of(2))
    assert not run.save_checkpoint(checkpoint_of(3))

    assert len(told) == 2
    assert "checkpoint of step 3 could not be written (No space left on device)" in told[1]
    assert "the last one is of step 1" in told[1]


def test_versions_that_changed_since_the_beginning_are_told(make_run):
    run = make_run()
    told = []
    run.tell = told.append
    run.write_versions({"torch": "2.6", "numpy": "2.0"})
    run.write_versions({"torch": "2.6", "numpy": "2.0"})
    assert told == []

    run.write_versions({"torch": "2.7", "numpy": "2.0"})

    assert "torch was 2.6, is 2.7" in told[0]
    assert run.versions() == {"torch": "2.6", "numpy": "2.0", "resumed_with": [{"torch": "2.7"}]}


def test_only_a_new_run_without_steps_is_untouched(make_run):
    run = make_run()
    assert run.is_untouched
    run.add_metrics(metrics_of(1))
    assert not run.is_untouched
    run.close()

    with RunFolder.open(run.path) as opened:
        assert not opened.is_untouched
    run.discard()
    assert not run.path.exists()


def test_a_run_can_be_made_in_a_folder_that_is_there_already(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "updates.jsonl").write_text("{}\n")

    with RunFolder.create_at(tmp_path / "run", task="text", settings={"seed": 3}) as run:
        assert run.is_untouched
    with RunFolder.open(tmp_path / "run") as again:
        assert (again.task, again.settings) == ("text", {"seed": 3})
    assert (tmp_path / "run" / "updates.jsonl").exists()


def test_starting_over_removes_all_steps_and_keeps_the_settings(make_run):
    run = make_run()
    run.add_metrics(metrics_of(1))
    run.add_preview(np.zeros((1, 4, 4, 3), np.uint8), 1)
    run.save_checkpoint(checkpoint_of(1))
    run.notice("about the whole run")

    run.start_over()

    assert run.metrics() == []
    assert run.previews() == []
    assert run.checkpoint_step is None
    assert [each["text"] for each in run.notices()] == ["about the whole run"]
    assert run.settings["seed"] == 0
