"""The built zips, by Blender's own tools: valid, installed with their wheels, and used against a server."""

import os
import subprocess
import sys
from pathlib import Path

import bpy
import pytest
from job_server import JobServer, wait_for

from tools.build_extension import COMMON_PLATFORMS, PLATFORMS, PYTHONS, WHEELS, build_dev, build_release, fetch_wheel

VALIDATOR = Path(bpy.utils.system_resource("SCRIPTS")) / "addons_core" / "bl_pkg" / "cli" / "blender_ext.py"
HERE = PYTHONS[0] if sys.version_info < (3, 12) else PYTHONS[1]
OTHER = PYTHONS[1] if sys.version_info < (3, 12) else PYTHONS[0]

INSTALL = """
import os, sys, bpy
try:
    bpy.ops.extensions.package_install_files(filepath=sys.argv[1], repo="user_default", enable_on_install=True)
except RuntimeError as error:
    print(error, flush=True)
if "bl_ext.user_default.sketchbridge" not in bpy.context.preferences.addons:
    os._exit(7)
"""
USE = """
import time
sys.path.sort(key=lambda path: ".local" not in path)  # the environment of the tests has a pyzmq, too
from bl_ext.user_default.sketchbridge import handlers, history, jobs, live_update
bpy.context.preferences.addons["bl_ext.user_default.sketchbridge"].preferences.address = sys.argv[2]
bpy.context.scene.sketchbridge.prompt = "a red mushroom"
bpy.ops.sketchbridge.generate()
end = time.monotonic() + 60
while time.monotonic() < end and jobs.JOBS.current.shown != "result":
    live_update.tick()
    time.sleep(0.01)
import zmq
objects = [each.name for each in bpy.data.objects]
print(jobs.JOBS.current.shown, "|", objects, "|", zmq.__file__, "|", history.user_folder())
sys.stdout.flush()
os._exit(0)
"""


def start(program, folder, *arguments):
    """A new Blender with its own user's folder."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | {"BLENDER_USER_RESOURCES": str(folder)},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wheels_of(pythons, platforms):
    """The cached ones: tests do not reach the network."""
    folders = [WHEELS / f"{pythons.name}-{PLATFORMS[name]}" for name in platforms]
    if not all(list(folder.glob("*.whl")) for folder in folders):
        pytest.skip("the wheels are not there: make extension fetches them")
    return {name: fetch_wheel(pythons, PLATFORMS[name], WHEELS) for name in platforms}


@pytest.mark.parametrize("kind", ["dev", *[each.name for each in PYTHONS]])
def test_blenders_own_tool_finds_the_zips_valid(kind, tmp_path):
    if kind == "dev":
        path = build_dev(tmp_path)
    else:
        pythons = next(each for each in PYTHONS if each.name == kind)
        path = build_release(tmp_path, pythons, wheels_of(pythons, COMMON_PLATFORMS), suffix="")
        assert path.stat().st_size < 3.5e6

    command = [sys.executable, str(VALIDATOR), "validate", str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_installed_zip_makes_a_mesh_with_the_zeromq_that_it_brought(tmp_path):
    path = build_release(tmp_path, HERE, wheels_of(HERE, COMMON_PLATFORMS), suffix="")
    with JobServer() as server, start(INSTALL + USE, tmp_path, str(path), server.address) as blender:
        wait_for(lambda: server.states or blender.poll() is not None, 120)
        server.send_mesh("job-1")
        server.finish("job-1")
        output, _ = blender.communicate(timeout=120)

    shown, objects, zmq_file, folder = next(line for line in output.splitlines() if " | " in line).split(" | ")
    assert shown == "result"
    assert "'a red mushroom'" in objects
    assert zmq_file.startswith(str(tmp_path / "extensions" / ".local"))
    assert folder == str(tmp_path / "extensions" / ".user" / "user_default" / "sketchbridge")


def test_the_zip_for_other_blenders_is_refused_with_a_reason(tmp_path):
    path = build_release(tmp_path, OTHER, wheels_of(OTHER, COMMON_PLATFORMS), suffix="")

    with start(INSTALL, tmp_path, str(path)) as blender:
        output, _ = blender.communicate(timeout=120)

    assert blender.returncode == 7
    assert "5.1.0" in output
