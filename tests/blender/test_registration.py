"""Switching the add-on on is quick and starts nothing; switching it off leaves nothing."""

import subprocess
import sys
import threading
from pathlib import Path

import bpy

REPOSITORY = Path(__file__).parents[2]
HANDLERS = [name for name in dir(bpy.app.handlers) if isinstance(getattr(bpy.app.handlers, name), list)]


def traces():
    """Everything of an add-on's that Blender could keep."""
    ours = {name for name in dir(bpy.types) if "sketchbridge" in name.lower()}
    ours |= {f"Scene.{name}" for name in dir(bpy.types.Scene) if "sketchbridge" in name.lower()}
    ours |= {f"ops.{name}" for name in dir(bpy.ops) if name == "sketchbridge" and dir(bpy.ops.sketchbridge)}
    for name in HANDLERS:
        modules = {each.__module__ for each in getattr(bpy.app.handlers, name)}
        ours |= {f"{name}: {module}" for module in modules if "blender_addon" in module}
    for menu in (bpy.types.VIEW3D_MT_mesh_add, bpy.types.STATUSBAR_HT_header):
        functions = getattr(menu.draw, "_draw_funcs", [])
        ours |= {f"{menu.__name__}: {each.__name__}" for each in functions if "blender_addon" in each.__module__}
    ours |= {f"thread {each.name}" for each in threading.enumerate() if "sketchbridge" in each.name}
    if "blender_addon.handlers" in sys.modules:
        timer = sys.modules["blender_addon.handlers"]._on_timer
        ours |= {"timer"} if bpy.app.timers.is_registered(timer) else set()
    return ours


def test_nothing_stays_after_a_job_when_it_is_switched_off(connected, server):
    connected.generate()
    server.send_mesh("job-1")
    connected.until(lambda: connected.object)
    assert len(traces()) > 20

    bpy.ops.preferences.addon_disable(module="blender_addon")
    after = traces()
    bpy.ops.preferences.addon_enable(module="blender_addon")

    assert after == set()


def test_it_can_be_switched_off_and_on_again(blender, server):
    for _ in range(3):
        bpy.ops.preferences.addon_disable(module="blender_addon")
        bpy.ops.preferences.addon_enable(module="blender_addon")

    blender.connect(server.address)
    blender.generate()


def test_switching_it_on_loads_nothing_heavy_and_starts_no_thread_and_no_timer():
    code = (
        "import bpy, os, sys, threading\n"
        "before = set(sys.modules)\n"
        "bpy.ops.preferences.addon_enable(module='blender_addon')\n"
        "from blender_addon import handlers\n"
        "new = set(sys.modules) - before\n"
        "ok = not {'zmq', 'numpy', 'logging', 'blender_addon.protocol'} & new and threading.active_count() == 1\n"
        "ok = ok and not bpy.app.timers.is_registered(handlers._on_timer)\n"
        "os._exit(0 if ok else 1)\n"
    )

    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_operators_are_named_and_described():
    for name in dir(bpy.types):
        if name.startswith("SKETCHBRIDGE_OT_"):
            operator = getattr(bpy.types, name)
            assert operator.bl_label, name
            assert len(operator.bl_description) > 10, name
            assert not operator.bl_description.endswith("."), name  # Blender adds it
