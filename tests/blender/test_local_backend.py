"""The local backend: started and stopped by Blender, and by Generate when it is needed.

In place of the real one, a program that takes the same arguments and does what its name says.
"""

import os
import socket
import sys

import bpy
import pytest
from job_server import JobServer
from recording_layout import RecordingLayout

from blender_addon import local_backend
from blender_addon.backend_process import BACKEND, CannotStart, find_python, is_answering, readable
from blender_addon.connection import CONNECTION
from blender_addon.jobs import JOBS, Job

SERVES = """
import json, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (open({stopped!r}, "w").close(), sys.exit(0)))
print(json.dumps({{"event": "started", "address": sys.argv[sys.argv.index("--listen") + 1]}}), flush=True)
while True:
    time.sleep(0.02)
"""
SLOW_TO_STOP = """
import json, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(json.dumps({"event": "started", "address": sys.argv[sys.argv.index("--listen") + 1]}), flush=True)
time.sleep(60)
"""
FAILS = """
import json, sys
print(json.dumps({"event": "error", "message": "there is no room on the disk", "exit_code": 2}), flush=True)
print("there is no room\\non the disk", file=sys.stderr)
sys.exit(2)
"""


@pytest.fixture
def stand_in(tmp_path):
    """Makes a program that can be named as the Python of the backend."""

    def make(code):
        (tmp_path / "code.py").write_text(code.format(stopped=str(tmp_path / "stopped")) if code is SERVES else code)
        path = tmp_path / "python"
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path / "code.py"}" "$@"\n')
        path.chmod(0o755)
        return str(path)

    return make


@pytest.fixture
def blender_with(blender, stand_in):
    """The add-on with a stand-in as its local backend, at a free port."""

    def make(code):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            blender.preferences.address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        blender.preferences.backend_python = stand_in(code)
        return blender

    yield make
    BACKEND.stop()


def refusal_of(operator):
    with pytest.raises(RuntimeError) as raised:
        operator()
    return str(raised.value)


def test_it_is_started_and_stopped(blender_with, tmp_path):
    session = blender_with(SERVES)

    bpy.ops.sketchbridge.start_backend()
    assert BACKEND.state == "starting"
    session.until(lambda: BACKEND.state == "running")
    assert CONNECTION.is_open
    assert not bpy.ops.sketchbridge.start_backend.poll()

    bpy.ops.sketchbridge.stop_backend()
    session.until(lambda: (tmp_path / "stopped").exists())
    assert BACKEND.state == "off"
    assert not CONNECTION.is_open
    assert bpy.ops.sketchbridge.start_backend.poll()


def test_it_is_not_started_again_before_it_has_ended(blender_with):
    session = blender_with(SLOW_TO_STOP)
    bpy.ops.sketchbridge.start_backend()
    session.until(lambda: BACKEND.state == "running")
    process = BACKEND._process
    bpy.ops.sketchbridge.stop_backend()
    session.settings.prompt = "a red mushroom"

    for operator in (bpy.ops.sketchbridge.start_backend, bpy.ops.sketchbridge.generate):
        assert "is still stopping" in refusal_of(operator)
    process.kill()
    process.wait(10)
    bpy.ops.sketchbridge.start_backend()
    BACKEND._process.kill()


def test_one_that_ends_by_itself_says_why_and_can_be_started_again(blender_with):
    session = blender_with(FAILS)

    bpy.ops.sketchbridge.start_backend()
    session.until(lambda: BACKEND.state == "ended")

    assert BACKEND.sentence == "The local backend ended: There is no room on the disk"
    assert bpy.ops.sketchbridge.start_backend.poll()


def test_a_python_without_sketchbridge_is_said_so(blender_with):
    session = blender_with("import sys\nsys.exit('/usr/bin/python3: No module named backend')\n")

    bpy.ops.sketchbridge.start_backend()
    session.until(lambda: BACKEND.state == "ended")

    assert BACKEND.sentence.endswith("Sketchbridge is not installed in that Python. Choose the one that has it")


def test_generate_starts_it_when_nobody_answers(blender_with):
    session = blender_with(SERVES)
    session.settings.prompt = "a red mushroom"

    bpy.ops.sketchbridge.generate()

    assert BACKEND.is_alive
    assert session.job.status == "submitting"
    with JobServer(session.preferences.address):
        session.until(lambda: session.job.status == "queued")


def test_a_job_that_waits_for_it_fails_with_its_reason_and_can_be_tried_again(blender_with):
    session = blender_with(FAILS)
    session.settings.prompt = "a red mushroom"

    bpy.ops.sketchbridge.generate()
    session.until(lambda: session.job.status == "failed")

    assert session.job.sentence == "The local backend ended: There is no room on the disk"
    assert bpy.ops.sketchbridge.try_again.poll()
    assert bpy.ops.sketchbridge.generate.poll()


def test_try_again_starts_it_as_generate_does(blender_with, stand_in):
    session = blender_with(FAILS)
    session.settings.prompt = "a red mushroom"
    bpy.ops.sketchbridge.generate()
    session.until(lambda: session.job.status == "failed")
    stand_in(SERVES)  # what was wrong is mended

    bpy.ops.sketchbridge.try_again()

    assert BACKEND.is_alive
    assert not JOBS.problem
    with JobServer(session.preferences.address):
        session.until(lambda: session.job.status == "queued")


def test_showing_a_job_of_before_starts_it(blender_with):
    blender_with(SERVES)
    JOBS.add(Job(key="0" * 32, task="text", prompt="a red mushroom", settings={}, job="job-1", status="finished"))

    bpy.ops.sketchbridge.show_job(key="0" * 32)

    assert BACKEND.is_alive


def test_while_there_is_a_connection_generate_does_not_look_for_a_server(blender_with, server, monkeypatch):
    session = blender_with(SERVES)
    session.connect(server.address)
    monkeypatch.setattr(local_backend, "is_answering", lambda host, port: pytest.fail("looked for a server"))

    session.generate()

    assert not BACKEND.is_alive


def test_generate_does_not_start_it_where_a_server_answers_or_it_is_not_wanted(blender_with, server):
    session = blender_with(SERVES)
    session.preferences.address = server.address
    session.generate()
    assert not BACKEND.is_alive

    session.preferences.address = "tcp://127.0.0.1:1"
    session.preferences.starts_backend = False
    bpy.ops.sketchbridge.connect()
    bpy.ops.sketchbridge.generate()

    assert not BACKEND.is_alive


@pytest.mark.parametrize(("stops", "is_left"), [(True, False), (False, True)])
def test_it_ends_with_blender_if_that_is_wanted(blender_with, tmp_path, stops, is_left):
    session = blender_with(SERVES)
    session.preferences.stops_backend = stops
    bpy.ops.sketchbridge.start_backend()
    session.until(lambda: BACKEND.state == "running")
    process = BACKEND._process

    local_backend.let_go()

    assert (process.poll() is None) or not is_left
    if is_left:
        process.terminate()
    assert process.wait(10) == 0
    assert (tmp_path / "stopped").exists()


def test_it_is_for_this_machine_only(blender_with):
    session = blender_with(SERVES)
    session.preferences.address = "tcp://gpu.example.org:5710"

    assert "the server is tcp://gpu.example.org:5710; set it to tcp://127.0.0.1:5710" in refusal_of(
        bpy.ops.sketchbridge.start_backend
    )


def test_it_is_not_started_where_something_answers(blender_with, server):
    session = blender_with(SERVES)
    session.preferences.address = server.address

    assert "press Test, or set another port" in refusal_of(bpy.ops.sketchbridge.start_backend)
    assert JOBS.problem.startswith("Something answers")


def test_a_port_that_cannot_be_does_not_answer():
    assert not is_answering("127.0.0.1", 99_999)


def test_it_has_no_keys(blender_with):
    session = blender_with(SERVES)
    session.preferences.server_key = "x" * 40

    assert "The local backend has no keys" in refusal_of(bpy.ops.sketchbridge.start_backend)
    session.preferences.server_key = ""


def test_the_python_of_an_environment_is_found(tmp_path):
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.touch(0o755)

    assert find_python(str(tmp_path)) == python
    assert find_python(f" {python} ") == python


def test_what_is_no_python_is_said_so(tmp_path):
    (tmp_path / "text").touch(0o644)
    cases = {
        "": "Say in the preferences where the Python is",
        str(tmp_path): "There is no Python in ",
        str(tmp_path / "none"): "it must be the Python that has Sketchbridge installed",
    }
    if os.name != "nt":
        cases[str(tmp_path / "text")] = "is no program"
    for given, sentence in cases.items():
        with pytest.raises(CannotStart, match=sentence):
            find_python(given)


def test_the_log_is_shown(blender_with):
    session = blender_with(SERVES)
    bpy.ops.sketchbridge.start_backend()
    session.until(lambda: BACKEND.state == "running")
    layout = RecordingLayout()

    local_backend.draw(layout, session.preferences)

    assert f"Listening at {session.preferences.address}" in layout.text
    assert {"start_backend", "stop_backend", "show_backend_log"} <= set(layout.operators)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('{"event": "stopping"}', "Stopping"),
        ('{"event": "error", "message": "no room"}', "No room"),
        ("Traceback", "Traceback"),
        ("7", "7"),
        ('{"event": "started"}', '{"event": "started"}'),
    ],
)
def test_lines_of_the_log_are_read_to_people(line, text):
    assert readable(line) == text
