"""A Blender without a window, with the add-on switched on, and a server that does what a test tells it.

Without bpy, as in the environment of the other tests, nothing here is collected.
"""

import functools
import importlib.util
import os
import sys

HAS_BLENDER = importlib.util.find_spec("bpy") is not None
collect_ignore_glob = [] if HAS_BLENDER else ["*"]

if HAS_BLENDER:
    import tempfile

    # Before bpy is imported: neither the user's preferences nor the history in the user's folder are of any concern.
    os.environ["BLENDER_USER_RESOURCES"] = tempfile.mkdtemp(prefix="sketchbridge-blender-")

    import bpy
    import pytest
    from job_server import JobServer
    from real_server import RealServer
    from session import Session

    _outcome = {"status": 1}

    @pytest.fixture
    def blender():
        """An empty file, and the add-on without any job. Switched off afterwards, which ends its connection."""
        bpy.ops.wm.read_factory_settings(use_empty=True)
        bpy.ops.preferences.addon_enable(module="blender_addon")
        bpy.ops.ed.undo_push(message="Start")
        session = Session()
        session.forget_history()
        yield session
        if bpy.context.object is not None and bpy.context.object.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        bpy.ops.preferences.addon_disable(module="blender_addon")

    @pytest.fixture
    def server():
        with JobServer() as server:
            yield server

    @pytest.fixture
    def impatient(monkeypatch):
        """Where no server answers, that is known after half a second instead of three."""
        from blender_addon.protocol import client

        monkeypatch.setattr(client, "Timing", functools.partial(client.Timing, hello=0.5))

    @pytest.fixture
    def connected(blender, server):
        """The add-on, connected to the server."""
        blender.connect(server.address)
        return blender

    @pytest.fixture(scope="module")
    def real(tmp_path_factory):
        """A server that computes on the embedded prior."""
        with RealServer(tmp_path_factory.mktemp("server") / "state") as server:
            yield server

    @pytest.fixture
    def session(blender, real):
        """The add-on, connected to the real server."""
        from blender_addon.connection import CONNECTION

        blender.preferences.address = real.address
        bpy.ops.sketchbridge.connect()
        blender.until(lambda: CONNECTION.is_connected, 60)
        return blender

    def pytest_sessionfinish(session, exitstatus):
        _outcome["status"] = int(exitstatus)

    def pytest_unconfigure(config):
        # Blender's module does not always survive the end of Python (4.5 hangs, 4.3 crashes).
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_outcome["status"])
