"""What the Blender extension costs Blender's main thread: ticks, drawing, starting, quitting.

It needs Blender's Python module and the tests' server: `make bench-blender`. Times of ticks and of drawing are CPU time
of the main thread, the median; the server and the client are other threads or processes. Quitting and the slowest tick
without a server are measured by the clock as well, since what counts there is waiting.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ["BLENDER_USER_RESOURCES"] = tempfile.mkdtemp(prefix="sketchbridge-blender-")

import bpy
import numpy as np

FOLDER = Path(__file__).parent
PATHS = [str(FOLDER.parent), str(FOLDER.parent / "tests" / "blender")]
sys.path[:0] = PATHS

from job_server import JobServer  # noqa: E402
from session import Session  # noqa: E402

from blender_addon import live_update, panel  # noqa: E402
from blender_addon.connection import CONNECTION  # noqa: E402

SERVER_PROGRAM = (
    "import time; from job_server import JobServer; server = JobServer(); print(server.address, flush=True)\n"
    "while True: time.sleep(1)"
)
START_PROGRAM = (
    "import bpy, os, sys, time\n"
    "sys.dont_write_bytecode = False\n"
    "start = time.thread_time()\n"
    "bpy.ops.preferences.addon_enable(module='blender_addon')\n"
    "print(1000 * (time.thread_time() - start), flush=True)\n"
    "os._exit(0)"
)


def sphere(triangles: int) -> tuple[np.ndarray, np.ndarray]:
    """A sphere of rings: float32 [vertices, 3] and int32 [triangles or a few more, 3]."""
    rings = round((triangles / 4) ** 0.5)
    around = 2 * rings
    theta = np.linspace(0.01, np.pi - 0.01, rings + 1)[:, None]
    phi = np.linspace(0, 2 * np.pi, around, endpoint=False)[None]
    corners = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi], axis=-1)
    row, column = np.meshgrid(np.arange(rings), np.arange(around), indexing="ij")
    a, b = row * around + column, row * around + (column + 1) % around
    c, d = a + around, b + around
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    return corners.reshape(-1, 3).astype(np.float32), faces.astype(np.int32)


def tick_milliseconds() -> float:
    start = time.thread_time()
    live_update.tick()
    return 1000 * (time.thread_time() - start)


def ticks_that_write(session: Session, send: Callable[[int], None], count: int = 40) -> list[float]:
    """CPU milliseconds of each tick that changed the mesh, for `count` meshes sent one after the other."""
    times = []
    for number in range(count):
        send(number)
        before = session.job.placed.snapshot
        until = time.monotonic() + 30
        while session.job.placed.snapshot is before and time.monotonic() < until:
            milliseconds = tick_milliseconds()
            if session.job.placed.snapshot is not before:
                times.append(milliseconds)
            time.sleep(0.002)
    return times


def rows_of_ticks(session: Session) -> Iterator[str]:
    for triangles, most_moved, most_new in ((20_000, 2, None), (100_000, 5, 30)):
        corners, faces = sphere(triangles)
        colours = np.full((len(corners), 3), 128, np.uint8)
        with JobServer() as server:
            session.connect(server.address)
            bpy.context.scene.cursor.location = (1, 2, 3)
            job = session.generate()
            server.set_state(job.job, "running")
            server.send_mesh(job.job, corners, faces, colours)
            session.until(lambda job=job: job.shown == "mesh")

            def move(number: int, send=server.move, job=job, mesh=(corners, faces, colours)) -> None:
                send(job.job, mesh[0] * (1 + 0.01 * number), step=number + 2, colours=mesh[2])

            def replace(number: int, send=server.send_mesh, job=job, mesh=(corners, faces, colours)) -> None:
                send(job.job, mesh[0], np.roll(mesh[1], number, axis=0), mesh[2], step=number + 2)

            moved, replaced = ticks_that_write(session, move), ticks_that_write(session, replace)
            bpy.ops.sketchbridge.discard()
            bpy.ops.sketchbridge.disconnect()
        for name, times, most in (("moved", moved, most_moved), ("new faces", replaced, most_new)):
            median, bar = statistics.median(times), "-" if most is None else f"< {most}"
            yield f"| {len(faces):,} | {name} | {median:.2f} | {max(times):.2f} | {bar} | {len(times)} |"


@contextmanager
def stopped_server() -> Iterator[str]:
    """Nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    yield f"tcp://127.0.0.1:{port}"


@contextmanager
def hung_server() -> Iterator[str]:
    """A server that said hello once and is stopped by the system: the connection stays open."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(PATHS)}
    with subprocess.Popen(
        [sys.executable, "-c", SERVER_PROGRAM], stdout=subprocess.PIPE, text=True, env=environment
    ) as ran:
        assert ran.stdout is not None
        address = ran.stdout.readline().strip()
        threading.Timer(1.5, ran.send_signal, [signal.SIGSTOP]).start()
        yield address
        ran.kill()


@contextmanager
def another_program() -> Iterator[str]:
    """Something that talks, but not this."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk() -> None:
            while True:
                try:
                    accepted, _ = listening.accept()
                    accepted.sendall(os.urandom(100_000))
                except OSError:
                    return

        threading.Thread(target=talk, daemon=True).start()
        yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"


def rows_without_a_server(session: Session, seconds: float) -> Iterator[str]:
    for name, server in (("stopped", stopped_server), ("hung", hung_server), ("another program", another_program)):
        with server() as address:
            session.preferences.address = address
            bpy.ops.sketchbridge.connect()
            session.settings.prompt = "a red mushroom"
            bpy.ops.sketchbridge.generate()
            until, times = time.monotonic() + seconds, []
            while time.monotonic() < until:
                times.append(tick_milliseconds())
                time.sleep(0.01)
            sentence = CONNECTION.sentence.replace(address, "ADDRESS")
            start = time.perf_counter()
            bpy.ops.preferences.addon_disable(module="blender_addon")
            quitting = time.perf_counter() - start
            bpy.ops.preferences.addon_enable(module="blender_addon")
        yield f"| {name} | {statistics.median(times):.3f} | {max(times):.2f} | {quitting:.2f} | {sentence} |"


def draw_milliseconds(session: Session) -> float:
    """The Python side of drawing the whole tab while a job runs; Blender's own layout is not part of bpy."""
    with JobServer() as server:
        session.connect(server.address)
        job = session.generate()
        server.set_state(job.job, "running")
        server.progress(job.job, 10)
        session.until(lambda: job.step == 10)
        times = []
        for _ in range(200):
            stand_ins = [type("Self", (), {"layout": _SilentLayout()})() for _ in range(3)]
            start = time.thread_time()
            for stand_in, part in zip(stand_ins, panel._CLASSES, strict=True):
                part.draw(stand_in, bpy.context)
            times.append(1000 * (time.thread_time() - start))
    return statistics.median(times)


class _SilentLayout:
    """Takes everything and does nothing, so that only the panel's own work is measured."""

    def __getattr__(self, name: str) -> Callable[..., _SilentLayout]:
        return lambda *values, **given: self


def start_milliseconds(runs: int = 5) -> float:
    """Importing and registering the extension in a new Blender."""
    environment = os.environ | {"PYTHONPYCACHEPREFIX": tempfile.mkdtemp(), "PYTHONDONTWRITEBYTECODE": ""}
    times = []
    for _ in range(1 + runs):  # the first one compiles, as the first start after installing does
        command = [sys.executable, "-c", START_PROGRAM]
        ran = subprocess.run(command, cwd=FOLDER.parent, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        times.append(float(ran.stdout.split()[-1]))
    times = times[1:]
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table to benchmarks/results")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long to be without a server, each time")
    arguments = parser.parse_args()

    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.preferences.addon_enable(module="blender_addon")
    session = Session()
    today = datetime.date.today().isoformat()
    lines = [
        f"# What the extension costs Blender's main thread, {today}",
        "",
        f"`make bench-blender` (benchmarks/blender_ticks.py), bpy {bpy.app.version_string}, {platform.machine()}, "
        "shared machine; CPU milliseconds of the main thread.",
        "",
        "## Ticks that write a mesh, with colours",
        "",
        "| triangles | what | median | most | bar | ticks |",
        "|---|---|---|---|---|---|",
        *rows_of_ticks(session),
        "",
        "## Without a server that answers, with a job on its way",
        "",
        "| server | median tick | slowest tick (bar: 5) | switching off, s by the clock (bar: 1) | the panel says |",
        "|---|---|---|---|---|",
        *rows_without_a_server(session, arguments.seconds),
        "",
        "## The rest",
        "",
        "| what | milliseconds | bar |",
        "|---|---|---|",
        f"| drawing the whole tab, Python side | {draw_milliseconds(session):.3f} | < 0.5 |",
        f"| switching the extension on in a new Blender | {start_milliseconds():.1f} | < 30 |",
        "",
    ]
    print("\n".join(lines))
    if arguments.write:
        (FOLDER / "results" / f"blender_ticks-{today}.md").write_text("\n".join(lines))
    bpy.ops.preferences.addon_disable(module="blender_addon")
    sys.stdout.flush()
    os._exit(0)  # Blender's module does not always survive the end of Python


if __name__ == "__main__":
    main()
