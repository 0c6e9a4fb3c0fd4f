"""A server, its worker and a job for benchmarks. No benchmark itself: `make bench` leaves it out.

The server is that of `sketchbridge serve`, in a process of its own. Its worker is the real one, which notes its CPU
time before each step; or one that makes no steps and is idle but for a mesh that it sends ten times a second.

As a program: `served_job.py serve STATE real|idle`, or a worker, with the arguments of backend.server.worker.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import trimesh

REPOSITORY = Path(__file__).parent.parent
TESTS = REPOSITORY / "tests"
sys.path[:0] = [str(REPOSITORY), str(TESTS), str(TESTS / "protocol"), str(TESTS / "backend" / "server")]

from protocol.client import Client  # noqa: E402
from protocol.messages import ListJobs, SubmitJob  # noqa: E402
from protocol.settings import Settings  # noqa: E402

SECONDS = 600.0
_NOTES = "SKETCHBRIDGE_BENCHMARK_NOTES"
_IDLE_STEPS_PER_SECOND = 10.0


def sphere(faces: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions, float32 [vertices, 3], and about so many faces, int32 [faces, 3]."""
    rings = round((faces / 4) ** 0.5) + 1
    mesh = trimesh.creation.uv_sphere(count=(rings, rings))
    return np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int32)


class ServedJob:
    """A running server and the job on its worker."""

    def __init__(self, process: subprocess.Popen[str], address: str, notes: Path) -> None:
        self.pid, self.address = process.pid, address
        self._process, self._notes = process, notes

    def client(self) -> Client:
        return Client(self.address, "a benchmark", "0")

    def wait_for_step(self, step: int) -> None:
        """Until the worker has made so many steps."""
        until = time.monotonic() + SECONDS
        while len(self.cpu_seconds()) <= step:
            if self._process.poll() is not None or time.monotonic() > until:
                raise SystemExit("the job's steps do not come; the state folder's log says why")
            time.sleep(0.05)

    def cpu_seconds(self) -> list[float]:
        """Of the worker's process, all its threads: before each step, from the first one on."""
        text = self._notes.read_text() if self._notes.exists() else ""
        return [float(line) for line in text[: text.rfind("\n") + 1].splitlines()]


@contextmanager
def served_job(worker: Literal["real", "idle"], toml: str = "") -> Iterator[ServedJob]:
    """A server that can be connected to.

    Args:
        toml: Its configuration.
    """
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes"
        (Path(folder) / "server.toml").write_text(toml)
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(sys.path[:4]),
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "CUDA_VISIBLE_DEVICES": "",
            _NOTES: str(notes),
        }
        process = subprocess.Popen(
            [sys.executable, __file__, "serve", folder, worker], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield ServedJob(process, process.stdout.readline().strip(), notes)
        finally:
            process.stdin.close()
            process.wait()


def submit(client: Client, key: str, **settings: object) -> str:
    """A job on the embedded prior; its id."""
    message = SubmitJob(
        key=f"bench-{key}", task="text", prompt="a red mushroom",
        settings=Settings(device="cpu", rasteriser="portable", **settings),
    )  # fmt: skip
    return client.request(message, SECONDS).job


def wait_for_server(client: Client) -> None:
    client.request(ListJobs(), SECONDS)


def memory_bytes(pid: int) -> int:
    """That a process takes now."""
    text = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(text.partition("VmRSS:")[2].split()[0])


# --- the other processes


def _serve(folder: Path, worker: str) -> None:
    from backend.server.configuration import read_configuration
    from backend.server.executors import LocalExecutor
    from backend.server.server import Server, ServerOptions
    from backend.server.state_folder import WORKER_OUTPUT

    state = folder / "state"
    options = ServerOptions(state, "tcp://127.0.0.1:*", config=read_configuration(folder / "server.toml"))
    command = (sys.executable, __file__, *(("idle",) if worker == "idle" else ()))

    def make_executor(devices, address, send):
        return LocalExecutor(
            [each.name for each in devices], address, send, output_file=state / WORKER_OUTPUT, command=command
        )

    server = Server(options, make_executor=make_executor)
    server.start()
    print(server.address, flush=True)
    sys.stdin.read()
    server.stop(10.0)


def _work() -> int:
    from backend.server import worker

    class NotedRun(worker.JobRun):
        def _before_step(self, step: int) -> None:
            notes.write(f"{time.process_time():.9f}\n")
            super()._before_step(step)

    worker.JobRun = NotedRun
    with open(os.environ[_NOTES], "a", buffering=1) as notes:
        return worker.main(sys.argv[1:])


def _idle(arguments: list[str]) -> None:
    from fake_workers import FakeWorker

    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    ended: list[tuple[str, int]] = []
    positions, faces = sphere(67_000)
    FakeWorker(
        given["--link"], given["--name"], ended, steps_per_second=_IDLE_STEPS_PER_SECOND, positions=positions,
        faces=faces,
    )  # fmt: skip
    while not ended:
        time.sleep(0.2)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(Path(sys.argv[2]), sys.argv[3])
    elif sys.argv[1] == "idle":
        _idle(sys.argv[2:])
    else:
        raise SystemExit(_work())
