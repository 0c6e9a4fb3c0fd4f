"""What the panel shows in each situation, and that there is always a button that helps."""

from types import SimpleNamespace

import bpy
import pytest
from job_server import CORNERS, picture
from recording_layout import RecordingLayout, drawn

from blender_addon import menus, panel, thumbnails
from blender_addon.backend_process import BACKEND
from blender_addon.connection import CONNECTION
from blender_addon.jobs import JOBS, Job
from blender_addon.preferences import SketchbridgePreferences


def main():
    return drawn(panel.SKETCHBRIDGE_PT_main)


@pytest.fixture
def job(connected, server):
    job = connected.generate("a red mushroom")
    server.set_state(job.job, "running")
    server.progress(job.job, 120, 250, seconds_left=65.0)
    connected.until(lambda: job.step == 120)
    return job


def test_at_first_it_offers_to_connect_and_to_generate(blender):
    layout = main()

    assert layout.operators == ["connect", "generate"]
    assert "Not connected" in layout.text


def test_connected_it_names_the_device(connected):
    assert main().drawn[0] == ("label", "a test's device")


def test_while_a_job_runs_generate_has_become_pause_and_cancel(job):
    layout = main()

    assert "generate" not in layout.operators
    assert {"pause", "cancel", "new_job"} <= set(layout.operators)
    assert "Bridge, step 120 of 250, 1:05 left" in layout.text


def test_it_says_how_fast_a_job_runs_and_on_what(job, connected, server):
    assert "5.0 steps a second" in main().text

    server.set_state(job.job, "running", device="cuda:0")
    server.progress(job.job, 130, 250, steps_per_second=0.4)
    connected.until(lambda: job.step == 130)
    assert "2.5 s a step on cuda:0" in main().text

    server.set_state(job.job, "paused", device="cuda:0")
    connected.until(lambda: job.status == "paused")
    assert "On cuda:0" in main().text


def test_paused_it_offers_to_resume(job, connected, server):
    server.set_state(job.job, "paused")
    connected.until(lambda: job.status == "paused")

    assert {"resume", "cancel"} <= set(main().operators)


def test_the_place_in_the_queue(job, connected, server):
    server.set_state(job.job, "queued", queue_position=3)
    connected.until(lambda: job.status == "queued")

    assert "Waiting: 3 before it" in main().text


def test_apply_is_there_once_something_was_changed(job):
    assert "steer" not in main().operators

    bpy.context.scene.sketchbridge.prompt = "a blue mushroom"

    assert "steer" in main().operators


def test_a_finished_job_can_be_accepted_or_discarded_and_the_next_one_begun(job, connected, server):
    server.finish(job.job)
    connected.until(lambda: job.shown == "result")

    assert {"generate", "accept", "discard"} <= set(main().operators)


def test_an_accepted_result_is_called_so(job, connected, server):
    server.finish(job.job)
    connected.until(lambda: job.shown == "result")
    assert "Finished" in main().text

    bpy.ops.sketchbridge.accept()

    layout = main()
    assert "Accepted" in layout.text
    assert not {"accept", "discard"} & set(layout.operators)


def test_an_undone_result_can_be_put_back(job, connected, server):
    server.finish(job.job)
    connected.until(lambda: job.shown == "result")
    bpy.ops.ed.undo()

    layout = main()

    assert "put_back" in layout.operators
    assert "It is not in the scene" in layout.text


def test_in_edit_mode_it_says_that_the_newest_mesh_waits(job, connected, server):
    server.send_mesh(job.job, CORNERS)
    connected.until(lambda: connected.object)
    bpy.context.view_layer.objects.active = connected.object
    bpy.ops.object.mode_set(mode="EDIT")
    server.move(job.job, CORNERS * 2)
    connected.until(lambda: job.is_held)

    layout = main()

    assert "the newest one waits" in layout.text
    assert "send_edit" in layout.operators


def test_a_failure_shows_its_sentence_and_generate(job, connected, server):
    server.fail(job.job)
    connected.until(lambda: job.status == "failed" and job.sentence)

    layout = main()

    assert "The shape vanished; try another seed. (log log-1)" in " ".join(layout.text.split())
    assert "generate" in layout.operators


def test_without_online_access_there_is_the_button_that_opens_the_preference(blender):
    CONNECTION.open("tcp://gpu.example.org:5710")

    layout = main()

    assert "show_online_access" in layout.operators
    assert "online access is off" in layout.text


def test_without_a_server_there_is_the_way_to_the_preferences(blender, impatient):
    CONNECTION.open("tcp://127.0.0.1:1")
    blender.until(lambda: CONNECTION.state in ("lost", "refused"))

    assert "preferences.addon_show" in main().operators


def test_while_the_local_backend_starts_it_says_so(blender, impatient, monkeypatch):
    monkeypatch.setattr(BACKEND, "state", "starting")
    CONNECTION.open("tcp://127.0.0.1:1")
    blender.until(lambda: CONNECTION.state in ("lost", "refused"))

    assert "Starting the local backend" in main().text
    assert "No server answers" not in main().text


def test_previews_are_shown(job, connected, server):
    server.send_preview(job.job, "front")
    connected.until(lambda: job.views == ["front"])

    assert f"{job.key}-0" in thumbnails._Shown.previews
    main()


def test_a_huge_preview_is_not_shown(job, connected, server):
    server.send_preview(job.job, "front", picture(2000, 8))
    server.progress(job.job, 130, 250)
    connected.until(lambda: job.step == 130)

    assert job.views == []


@pytest.mark.parametrize(
    "part", [panel.SKETCHBRIDGE_PT_advanced, panel.SKETCHBRIDGE_PT_history, menus.SKETCHBRIDGE_MT_add]
)
@pytest.mark.parametrize("begin_with", ["NOTHING", "SELECTED"])
@pytest.mark.parametrize("task", ["text", "texture"])
def test_all_other_parts_can_be_drawn(job, part, begin_with, task):
    bpy.context.scene.sketchbridge.begin_with = begin_with
    bpy.context.scene.sketchbridge.task = task

    assert drawn(part).drawn
    assert main().drawn


def test_the_preferences_can_be_drawn(blender):
    layout = RecordingLayout()
    own = blender.preferences
    names = [each.identifier for each in own.bl_rna.properties if each.identifier != "rna_type"]
    values = {name: getattr(own, name) for name in names}
    stand_in = type("Self", (), {"layout": layout, "bl_rna": own.bl_rna, **values})()

    SketchbridgePreferences.draw(stand_in, bpy.context)

    assert {"connect", "make_keys", "start_backend", "stop_backend"} <= set(layout.operators)


def test_the_status_bar_shows_the_job_only_while_it_goes_on(job, connected, server):
    bar = type("Header", (), {"layout": RecordingLayout()})()
    menus._draw_in_status_bar(bar, bpy.context)
    assert "Sketchbridge: Bridge, step 120 of 250" in bar.layout.text

    server.fail(job.job)
    connected.until(lambda: not job.is_active)
    bar = type("Header", (), {"layout": RecordingLayout()})()
    menus._draw_in_status_bar(bar, bpy.context)

    assert bar.layout.drawn == []


def test_every_status_has_a_title_and_a_line(blender):
    for status in panel.STATUS_TITLES:
        assert panel.progress_text(Job(key="0" * 32, task="text", prompt="x", settings={}, status=status))


def test_drawing_changes_nothing(job):
    before = {name: value for name, value in vars(job).items() if name != "placed"}

    main()
    drawn(panel.SKETCHBRIDGE_PT_history)

    assert {name: value for name, value in vars(job).items() if name != "placed"} == before
    assert JOBS.current is job


def test_sentences_fit_the_sidebar(blender):
    def context(width, scale):
        system = SimpleNamespace(ui_scale=scale)
        return SimpleNamespace(region=SimpleNamespace(width=width), preferences=SimpleNamespace(system=system))

    # Counted in a picture of Blender 4.3: 200 pixels beside an icon in a box, 28 letters on 168 pixels.
    assert panel.letters_a_line(context(280, 1.0)) == panel.letters_a_line(context(560, 2.0)) == 33
    assert panel.letters_a_line(context(100, 1.0)) == 16


@pytest.mark.parametrize(
    ("text", "lines"), [("", []), ("a b", ["a b"]), ("aaa bbb ccc", ["aaa bbb", "ccc"]), ("a" * 20, ["a" * 20])]
)
def test_sentences_are_broken_at_words(text, lines):
    assert panel.wrapped(text, 8) == lines
