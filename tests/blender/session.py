"""What a test does in Blender: presses buttons, lets time pass, looks at the scene."""

import shutil
import time

import bpy

from blender_addon import history, live_update
from blender_addon.connection import CONNECTION
from blender_addon.jobs import JOBS
from blender_addon.result_object import find


class Session:
    """The add-on as its user has it."""

    @property
    def settings(self):
        return bpy.context.scene.sketchbridge

    @property
    def preferences(self):
        return bpy.context.preferences.addons["blender_addon"].preferences

    @property
    def job(self):
        return JOBS.current

    @property
    def object(self):
        """The job's object in the scene; None if it is not there."""
        return find(JOBS.current)

    def forget_history(self):
        shutil.rmtree(history.user_folder(), ignore_errors=True)
        JOBS.clear()

    def connect(self, address):
        self.preferences.address = address
        bpy.ops.sketchbridge.connect()
        self.until(lambda: CONNECTION.is_connected)

    def generate(self, prompt="a red mushroom", **settings):
        """Presses Generate and waits until the server has the job."""
        self.settings.prompt = prompt
        for name, value in settings.items():
            setattr(self.settings, name, value)
        bpy.ops.sketchbridge.generate()
        self.until(lambda: self.job.job)
        return self.job

    def until(self, condition, seconds=10.0):
        """Ticks until something is so."""
        end = time.monotonic() + seconds
        live_update.tick()
        while not condition() and time.monotonic() < end:
            time.sleep(0.004)
            live_update.tick()
        assert condition()

    def tick_for(self, seconds):
        """Ticks, to see that something does not happen."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            live_update.tick()
            time.sleep(0.004)


def positions(found):
    """Of an object's mesh, as lists, in its own coordinates."""
    return [[round(number, 4) for number in vertex.co] for vertex in found.data.vertices]
