"""Leads a real Blender through a scenario: simulated mouse and keyboard, screenshots, and waiting for things to happen.

A scenario is a generator that a timer steps through; what it yields is how many seconds to let Blender be. It runs in
Blender's own Python (see run_blender.sh), where `--enable-event-simulate` is needed.

Pictures are taken of the display from outside Blender: with OpenGL in software, its own operator writes a black one.
"""

import itertools
import math
import os
import subprocess
import sys
import time
import traceback

import bpy

PACKAGE = "bl_ext.user_default.sketchbridge"
SHOTS = os.environ.get("SHOTS", "/share/shots")
_START = time.monotonic()
_PATIENCE = float(os.environ.get("PATIENCE", "1"))
"""By how much the waits are longer, on a machine that is slow or does something else."""


class Failed(Exception):
    """The scenario did not go as it must."""


def say(text):
    print(f"[{time.monotonic() - _START:6.1f} s] {text}", flush=True)


def run(scenario):
    """Begins a scenario once Blender is there; a failure takes a picture and ends Blender with 3."""
    bpy.context.preferences.view.show_splash = False
    steps = scenario()

    def advance():
        try:
            return next(steps)
        except StopIteration:
            return None
        except Exception:
            traceback.print_exc()
            sys.stderr.flush()
            screenshot("failed")
            os._exit(3)

    bpy.app.timers.register(advance, first_interval=1.0, persistent=True)


def window():
    return bpy.context.window_manager.windows[0]


def view_3d():
    return next(area for area in window().screen.areas if area.type == "VIEW_3D")


def region(kind):
    return next(each for each in view_3d().regions if each.type == kind)


def screenshot(name):
    """Of the whole display, as a PNG file that is small enough for a repository."""
    path = os.path.join(SHOTS, f"{name}.png")
    subprocess.run(
        ["import", "-window", "root", "+dither", "-colors", "255", "-define", "png:compression-level=9", path]
    )
    say(f"picture {name}.png")


def until(condition, what, seconds=60.0):
    """Lets Blender be until something is so."""
    end = time.monotonic() + seconds * _PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise Failed(f"not within {seconds * _PATIENCE:g} s: {what}")
        yield 0.1
    say(what)


def drawn_anew():
    """Long enough for Blender to draw what has changed."""
    for area in window().screen.areas:
        area.tag_redraw()
    yield 0.5 * _PATIENCE
    yield 0.5 * _PATIENCE


def move(x, y):
    window().event_simulate(type="MOUSEMOVE", value="NOTHING", x=int(x), y=int(y))


def press(key, x, y, unicode=None, ctrl=False, shift=False):
    """A key or a button of the mouse, down and up."""
    where = {"x": int(x), "y": int(y), "ctrl": ctrl, "shift": shift}
    letter = {"unicode": unicode} if unicode else {}
    window().event_simulate(type=key, value="PRESS", **where, **letter)
    yield 0.05
    window().event_simulate(type=key, value="RELEASE", **where)
    yield 0.05


def key(name, **held):
    """A key, with the pointer over the viewport."""
    area = region("WINDOW")
    x, y = area.x + area.width // 2, area.y + area.height // 2
    move(x, y)
    yield 0.2
    yield from press(name, x, y, **held)
    yield 0.3


def click(x, y):
    move(x, y)
    yield 0.2
    yield from press("LEFTMOUSE", x, y)
    yield 0.2


def type_text(text, x, y):
    """Into the field that is being edited."""
    for letter in text:
        key = "SPACE" if letter == " " else letter.upper()
        yield from press(key, x, y, unicode=letter)


def orbit(right=160, up=40):
    """Turns the view by dragging with the middle button."""
    area = region("WINDOW")
    x, y = area.x + area.width // 3, area.y + area.height // 2
    move(x, y)
    yield 0.1
    window().event_simulate(type="MIDDLEMOUSE", value="PRESS", x=x, y=y)
    for part in range(1, 9):
        yield 0.05
        move(x + right * part // 8, y + up * part // 8)
    yield 0.05
    window().event_simulate(type="MIDDLEMOUSE", value="RELEASE", x=x + right, y=y + up)
    yield 0.2


def draw_line(points, step_pixels=6.0):
    """Draws along a polyline of places in the window with the left button held."""
    places = [points[0]]
    for start, end in itertools.pairwise(points):
        count = max(1, round(math.dist(start, end) / step_pixels))
        places += [
            (start[0] + (end[0] - start[0]) * part / count, start[1] + (end[1] - start[1]) * part / count)
            for part in range(1, count + 1)
        ]
    move(*places[0])
    yield 0.2
    window().event_simulate(type="LEFTMOUSE", value="PRESS", x=int(places[0][0]), y=int(places[0][1]))
    for place in places[1:]:
        yield 0.02
        move(*place)
    yield 0.1
    window().event_simulate(type="LEFTMOUSE", value="RELEASE", x=int(places[-1][0]), y=int(places[-1][1]))
    yield 0.3


def find_in_sidebar(wanted, shares=(0.3, 0.85)):
    """Where a button is: an operator such as `sketchbridge.generate`, or a property such as `sketchbridge.prompt`.

    The pointer is moved down the sidebar, and Blender is asked over what it is. Returns (x, y).

    Args:
        shares: Of the sidebar's width, where in it the pointer is moved down.
    """
    sidebar, places = region("UI"), []
    for y in range(sidebar.y + sidebar.height - 20, sidebar.y + 5, -14):  # a button is 20 high
        for share in shares:
            places.insert(0, (sidebar.x + int((sidebar.width - 20) * share), y))
            move(*places[0])
            yield 0.06
            if wanted in _under_pointer(sidebar):
                # Blender may be some places behind: which one was it?
                for place in places[:4]:
                    move(*place)
                    yield 0.5
                    yield 0.5
                    if wanted in _under_pointer(sidebar):
                        return place
    raise Failed(f"{wanted} is not in the sidebar")


def _under_pointer(sidebar):
    """The commands that Blender copies for what the pointer is over; an operator has one, and a property another."""
    manager, found = bpy.context.window_manager, ""
    asks = ((bpy.ops.ui.copy_python_command_button, {}), (bpy.ops.ui.copy_data_path_button, {"full_path": True}))
    with bpy.context.temp_override(window=window(), area=view_3d(), region=sidebar):
        for ask, given in asks:
            manager.clipboard = "-"
            if ask.poll():
                ask(**given)
                found += manager.clipboard
    return found


def press_button(wanted, **where):
    x, y = yield from find_in_sidebar(wanted, **where)
    say(f"presses {wanted} at {x}, {y}")
    yield from click(x, y)


def choose(group, name, identifier):
    """An item of a menu in the sidebar, by its number, as one does with a key."""
    numbers = ("ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
    x, y = yield from find_in_sidebar(f"sketchbridge.{name}")
    yield from click(x, y)
    yield 0.5
    yield from press(numbers[group.bl_rna.properties[name].enum_items.find(identifier)], x, y)
    yield from until(lambda: getattr(group, name) == identifier, f"the {name} is {identifier}", 20)


def end_drawing():
    """Back to Object mode, by the pie menu of modes."""
    yield from key("TAB", ctrl=True)
    yield 0.5
    yield from key("O")
    yield from until(lambda: bpy.context.mode == "OBJECT", "Blender is in Object mode", 20)


def of_extension(module):
    """A module of the extension that is installed."""
    return sys.modules[f"{PACKAGE}.{module}"]


def job():
    """The job that the panel shows; None before the first."""
    return of_extension("jobs").JOBS.current


def watch_snapshots():
    """A set that gets the step of each mesh that the scene has from now on."""
    seen = set()

    def look():
        shown = job().placed.snapshot if job() is not None else None
        if shown is not None:
            seen.add(shown.step)
        return 0.05

    bpy.app.timers.register(look, persistent=True)
    return seen


def begin(steps):
    """Opens the tab, empties the scene, connects, and returns the settings: of a draft of so many steps, or STEPS."""
    say(f"Blender {bpy.app.version_string}, Python {sys.version.split()[0]}")
    yield from open_tab()
    screenshot("tab")
    yield from key("DEL")  # the default cube, which is where the mesh is to form
    yield from until(lambda: "Cube" not in bpy.data.objects, "the cube is deleted")
    settings = bpy.context.scene.sketchbridge
    settings.quality, settings.steps = "draft", int(os.environ.get("STEPS") or steps)
    settings.texture_size = "512"
    yield from press_button("sketchbridge.connect")
    yield from until(lambda: of_extension("connection").CONNECTION.is_connected, "connected")
    return settings


def open_tab():
    """Points the extension to the server, and opens its tab in the sidebar."""
    if PACKAGE not in bpy.context.preferences.addons:
        raise Failed("the extension is not switched on")
    bpy.context.preferences.addons[PACKAGE].preferences.address = os.environ["SERVER"]
    view_3d().spaces.active.show_region_ui = True
    yield 0.6
    region("UI").active_panel_category = "Sketchbridge"
    yield from drawn_anew()


def type_prompt(settings, prompt):
    x, y = yield from find_in_sidebar("sketchbridge.prompt")
    yield from click(x, y)
    if settings.prompt:
        yield from press("A", x, y, ctrl=True)
    yield from type_text(prompt, x, y)
    yield from press("RET", x, y)
    yield from until(lambda: settings.prompt == prompt, f"the prompt is {prompt}", 20)
