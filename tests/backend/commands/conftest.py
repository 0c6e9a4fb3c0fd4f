"""What the tests of commands begin with."""

import signal

import numpy as np
import pytest

from backend import machine
from backend.commands import mesh_job


@pytest.fixture(autouse=True)
def _python_handles_ctrl_c():
    """A test runner in the background of a script has SIGINT ignored, which StopSignals respects."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def an_empty_folder(tmp_path, monkeypatch):
    """The one that commands run in."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def nothing_is_rendered(monkeypatch):
    """Turntables are grey, and there are no kernels to compile: for fake jobs."""
    monkeypatch.setattr(mesh_job, "render_turntable", lambda *_: np.zeros((40, 16, 16, 3), dtype=np.uint8))
    monkeypatch.setattr(machine, "compiled_kernels", lambda: [])
