"""`sketchbridge image` as a user types it, stopped by Ctrl+C and resumed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parent.parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
SKETCHBRIDGE = [sys.executable, "-m", "backend"]


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.slow
def test_a_picture_stopped_by_ctrl_c_resumes_to_the_picture_of_an_unbroken_run(tmp_path):
    job = ["image", "a red mushroom", "--steps", "80", "--json", "-o"]
    options = {"cwd": tmp_path, "env": ENVIRONMENT, "text": True}
    unbroken = subprocess.run(
        [*SKETCHBRIDGE, *job, "unbroken.png", "--run-dir", "elsewhere"],
        capture_output=True, timeout=300, check=False, **options,
    )  # fmt: skip
    running = subprocess.Popen(
        [*SKETCHBRIDGE, *job, "stopped.png"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **options,
        # A test run in the background of a script hands on that SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    for line in running.stdout:
        event = json.loads(line)
        if event["event"] == "progress":
            running.send_signal(signal.SIGINT)
            break
    rest, _ = running.communicate(timeout=300)
    (run,) = (tmp_path / "runs").iterdir()
    resumed = subprocess.run(
        [*SKETCHBRIDGE, "image", "--resume", str(run), "-o", "resumed.png"],
        capture_output=True, timeout=300, check=False, **options,
    )  # fmt: skip

    assert (unbroken.returncode, running.returncode, resumed.returncode) == (0, 130, 0)
    finished = json.loads(rest.splitlines()[-1])
    assert finished["step"] < 80
    assert finished["pictures"] == [str(tmp_path / "stopped.png")]
    assert resumed.stdout == f"{tmp_path / 'resumed.png'}\n"
    assert (read(tmp_path / "resumed.png") == read(tmp_path / "unbroken.png")).all()
    assert (read(tmp_path / "stopped.png") != read(tmp_path / "unbroken.png")).any()
    # 80 steps are enough for a cap that is red.
    height, width = read(tmp_path / "unbroken.png").shape[:2]
    cap = read(tmp_path / "unbroken.png")[height // 5 : height // 2, width // 3 : 2 * width // 3].reshape(-1, 3).mean(0)
    assert cap[0] > cap[1] + 20
    assert cap[0] > cap[2] + 20
