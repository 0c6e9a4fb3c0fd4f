"""An artist's first mesh, in a real Blender against a real server: from the prompt to an accepted, saved object.

What must be so is checked on the way. The pictures are those of docs/blender.md.
"""

import os
import sys

import bpy

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from driver import (
    PACKAGE,
    Failed,
    begin,
    click,
    drawn_anew,
    find_in_sidebar,
    job,
    key,
    orbit,
    press_button,
    run,
    say,
    screenshot,
    type_prompt,
    until,
    view_3d,
    watch_snapshots,
    window,
)

SAVED = "/share/first_mesh.blend"
SNAPSHOTS = 20
BELOW_GENERATE = {"advanced": 37, "history": 63}
"""Pixels from the button to the headers of the panels below it, while these are closed."""
PROMPT = "a red mushroom"


def scenario():
    settings = yield from begin(steps=120)
    yield from type_prompt(settings, PROMPT)
    yield from drawn_anew()
    screenshot("blender-ready")

    generate = yield from find_in_sidebar("sketchbridge.generate")
    yield from _show_panel("advanced", *generate)
    yield from click(*generate)
    yield from until(lambda: job() is not None and job().job, "the server has the job")
    seen = watch_snapshots()
    yield from until(lambda: len(seen) >= 3, "3 snapshots", 240)
    view_3d().spaces.active.shading.color_type = "VERTEX"
    view_3d().spaces.active.region_3d.view_distance = 5.0
    before = view_3d().spaces.active.region_3d.view_rotation.copy()
    yield from orbit()
    if (view_3d().spaces.active.region_3d.view_rotation - before).magnitude < 0.05:
        raise Failed("the view was not turned")
    pause = yield from find_in_sidebar("sketchbridge.pause")
    yield from until(lambda: len(seen) >= SNAPSHOTS, f"{SNAPSHOTS} snapshots", 400)
    screenshot("blender-forming")  # the viewport is drawn with every snapshot
    yield from click(*pause)
    yield from until(lambda: job().status == "paused" or not job().is_active, "it has stopped", 120)
    if job().status != "paused":
        raise Failed(f"it was {job().status} before it could be paused: give it more STEPS")
    yield from drawn_anew()
    screenshot("blender-paused")
    settings.smoothness = 2.0
    yield from drawn_anew()
    screenshot("blender-steering")
    yield from press_button("sketchbridge.steer")
    yield from until(lambda: job().steered["smoothness"] == 2.0 and not job().asked, "steered", 60)
    yield from press_button("sketchbridge.resume")
    yield from until(lambda: job().status == "running" or not job().is_active, "it goes on", 120)
    yield from until(lambda: job().shown == "result", "the result is there", 400)
    yield from press_button("sketchbridge.show_colours")
    yield from drawn_anew()
    screenshot("blender-result")

    yield from press_button("sketchbridge.accept")
    yield from until(lambda: job().shown == "accepted", "accepted")
    yield from key("Z", ctrl=True)
    yield from until(lambda: job().shown == "result", "accepting is undone")
    yield from key("Z", ctrl=True, shift=True)
    yield from until(lambda: job().shown == "accepted", "and done again")
    yield from drawn_anew()
    screenshot("blender-accepted")
    bpy.ops.wm.save_as_mainfile(filepath=SAVED)
    bpy.ops.sketchbridge.new_job()
    yield from drawn_anew()
    yield from _show_panel("history", *(yield from find_in_sidebar("sketchbridge.generate")))
    yield from _show_preferences()
    say("quits")
    bpy.ops.wm.quit_blender()


def _show_panel(name, x, y):
    """Opens a panel below Generate by its header, and closes it again."""
    header = (x, y - BELOW_GENERATE[name])
    yield from click(*header)
    yield from drawn_anew()
    screenshot(f"blender-{name}")
    yield from click(*header)
    yield from drawn_anew()


def _show_preferences():
    bpy.ops.screen.userpref_show(section="ADDONS")
    yield 1.0
    bpy.ops.preferences.addon_show(module=PACKAGE)
    yield 1.0
    yield from drawn_anew()
    screenshot("blender-preferences")
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[-1]):
        if len(bpy.context.window_manager.windows) > 1:
            bpy.ops.wm.window_close()
    yield 0.3
    say(f"{len(window().screen.areas)} areas")


run(scenario)
