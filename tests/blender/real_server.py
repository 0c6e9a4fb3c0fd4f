"""`sketchbridge serve` with the embedded prior, as a process in the project's own environment, which has no Blender."""

import json
import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("SKETCHBRIDGE_PYTHON", REPOSITORY / ".venv" / "bin" / "python"))
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}


def can_serve():
    """Whether there is an environment with the backend."""
    if not PYTHON.is_file():
        return False
    ran = subprocess.run([str(PYTHON), "-c", "import backend, torch"], cwd=REPOSITORY, capture_output=True)
    return ran.returncode == 0


class RealServer:
    """Use as a context manager; its address is known when it can be connected to."""

    def __init__(self, state):
        command = [str(PYTHON), "-m", "backend", "serve", "--listen", "tcp://127.0.0.1:*", "--state", str(state)]
        self._process = subprocess.Popen(
            [*command, "--json"], cwd=REPOSITORY, env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, text=True
        )
        line = self._process.stdout.readline()
        assert line, f"the server ended at once with {self._process.wait()}"
        self.address = json.loads(line)["address"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
