"""Jobs of before: listed, shown, used again, deleted; kept over sessions in the user's folder, never in the file."""

import json

import bpy
from job_server import CORNERS, picture
from recording_layout import drawn

from blender_addon import history, panel, thumbnails
from blender_addon.jobs import JOBS
from blender_addon.protocol.messages import DeleteJob, JobState, ListJobs


def restart():
    """As if Blender had been ended and started again, with the same preferences."""
    address = bpy.context.preferences.addons["blender_addon"].preferences.address
    bpy.ops.preferences.addon_disable(module="blender_addon")
    bpy.ops.preferences.addon_enable(module="blender_addon")
    bpy.context.preferences.addons["blender_addon"].preferences.address = address


def finished(connected, server, prompt="a red mushroom", **settings):
    job = connected.generate(prompt, **settings)
    server.send_mesh(job.job)
    server.finish(job.job)
    connected.until(lambda: job.shown == "result")
    return job


def test_a_job_of_an_earlier_session_can_be_shown_again(connected, server):
    bpy.context.scene.cursor.location = (1, 2, 3)
    key = finished(connected, server).key
    restart()
    bpy.ops.wm.read_homefile(use_empty=True)
    assert [job.prompt for job in JOBS.newest_first] == ["a red mushroom"]

    bpy.ops.sketchbridge.show_job(key=key)
    connected.until(lambda: connected.job.shown == "result")

    assert tuple(connected.object.location) == (1, 2, 3)
    assert connected.job.status == "finished"


def test_a_job_that_ran_while_blender_was_away_is_followed_again(connected, server):
    key = connected.generate().key
    restart()

    bpy.ops.sketchbridge.show_job(key=key)
    server.send_mesh("job-1", CORNERS)
    connected.until(lambda: connected.job.shown == "mesh")
    server.finish("job-1")
    connected.until(lambda: connected.job.shown == "result")


def test_more_jobs_than_the_server_names_at_once_are_all_asked_about(connected, server):
    job = connected.generate()
    for number in range(250):  # newer ones, of this user's other programs
        server.states[f"other-{number}"] = JobState(
            job=f"other-{number}", key=f"{number:032}", task="text", title="x", status="finished"
        )
    restart()
    server.set_state(job.job, "cancelled")

    bpy.ops.sketchbridge.connect()
    connected.until(lambda: JOBS.newest_first[0].status == "cancelled")

    assert [each.offset for each in server.of(ListJobs)] == [0, 100, 200]


def test_only_as_many_pages_are_asked_for_as_it_takes(connected, server):
    for number in range(250):
        server.states[f"other-{number}"] = JobState(
            job=f"other-{number}", key=f"{number:032}", task="text", title="x", status="finished"
        )
    connected.generate()  # the newest
    before = len(server.of(ListJobs))
    restart()

    bpy.ops.sketchbridge.connect()
    connected.until(lambda: len(server.of(ListJobs)) > before)
    connected.tick_for(0.1)

    assert [each.offset for each in server.of(ListJobs)[before:]] == [0]


def test_a_running_job_that_the_server_has_no_more_is_not_called_running(connected, server):
    connected.generate()
    restart()
    server.states.clear()

    bpy.ops.sketchbridge.connect()
    connected.until(lambda: JOBS.newest_first[0].status == "deleted")

    assert JOBS.newest_first[0].sentence == "There is no such job."


def test_its_settings_can_be_used_again(connected, server):
    key = finished(connected, server, seed=42, quality="draft", source_words="blurry").key
    connected.settings.seed, connected.settings.prompt, connected.settings.source_words = 0, "something else", ""

    bpy.ops.sketchbridge.reuse_settings(key=key)

    settings = connected.settings
    assert (settings.prompt, settings.seed, settings.source_words) == ("a red mushroom", 42, "blurry")


def test_the_thumbnail_stays_over_sessions_and_goes_with_the_job(connected, server):
    key = finished(connected, server).key
    path = history.user_folder() / f"{key}.png"
    assert path.is_file()
    restart()
    assert key in thumbnails._Shown.previews

    bpy.ops.sketchbridge.delete_job(key=key)

    assert not path.exists()
    assert JOBS.newest_first == []


def test_a_job_whose_result_has_no_picture_keeps_its_newest_preview(connected, server):
    job = connected.generate()
    server.send_preview(job.job, "front", picture(16, 8))
    connected.until(lambda: job.views)

    server.finish(job.job, pictures=())
    connected.until(lambda: job.shown == "result")

    assert (history.user_folder() / f"{job.key}.png").read_bytes() == picture(16, 8)
    assert job.key in thumbnails._Shown.previews


def test_deleting_tells_the_server_and_leaves_the_scene(connected, server):
    job = finished(connected, server)

    bpy.ops.sketchbridge.delete_job(key=job.key)
    connected.until(lambda: server.of(DeleteJob))

    assert [each.name for each in bpy.data.objects] == ["a red mushroom"]
    restart()
    assert JOBS.newest_first == []


def test_a_broken_history_is_left_alone(blender):
    for content in ("not json", "[]", '{"jobs": 3}', '{"jobs": [1, {"key": "../x"}]}'):
        (history.user_folder() / "history.json").write_text(content)

        restart()

        assert JOBS.newest_first == []


def test_a_job_with_a_status_of_another_version_is_not_taken(connected, server):
    finished(connected, server)
    path = history.user_folder() / "history.json"
    saved = json.loads(path.read_text())
    saved["jobs"][0]["status"] = "dreaming"
    path.write_text(json.dumps(saved))

    restart()

    assert JOBS.newest_first == []
    assert drawn(panel.SKETCHBRIDGE_PT_history).text == "Jobs will be listed here"


def test_a_key_that_is_a_path_is_not_taken(connected, server):
    finished(connected, server)
    path = history.user_folder() / "history.json"
    saved = json.loads(path.read_text())
    saved["jobs"][0]["key"] = "../../somewhere"
    path.write_text(json.dumps(saved))

    restart()

    assert JOBS.newest_first == []


def test_a_job_that_the_server_has_no_more_says_so(connected, server):
    key = finished(connected, server).key
    restart()
    server.states.clear()

    bpy.ops.sketchbridge.show_job(key=key)
    connected.until(lambda: connected.job.sentence)

    assert connected.job.sentence == "There is no such job."


def test_names_in_any_script(connected, server):
    job = finished(connected, server, "красный гриб 🍄 " * 10)

    assert len(connected.object.name.encode()) <= 63
    assert connected.object.name.startswith("красный гриб")
    assert job.title.endswith("...")
