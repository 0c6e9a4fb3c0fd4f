"""`sketchbridge` with a FakeJob in the place of TextToMesh, as a process of its own to send signals to."""

import os
import signal

import numpy as np
from fake_job import FakeJob

import backend.cli
import backend.commands.job_steps
import backend.commands.mesh_job
import backend.commands.text

# A test runner in the background of a script hands on that SIGINT is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

FakeJob.seconds_per_step = float(os.environ.get("FAKE_SECONDS_PER_STEP", "0.02"))
backend.commands.job_steps.SECONDS_BETWEEN_CHECKPOINTS = float(os.environ.get("FAKE_SECONDS_BETWEEN_CHECKPOINTS", "30"))
backend.commands.text.TextToMesh = FakeJob
backend.commands.mesh_job.render_turntable = lambda *_: np.zeros((40, 16, 16, 3), dtype=np.uint8)

if __name__ == "__main__":
    backend.cli.main()
