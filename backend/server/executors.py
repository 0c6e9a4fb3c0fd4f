"""Where workers run. An executor starts, stops and counts processes; it knows nothing of jobs."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from backend.server.processes import find_processes_with, is_same_process, start_mark

_log = logging.getLogger(__name__)
_MOST_LOG_BYTES = 10_000_000
_SECONDS_TO_DIE = 5.0


@dataclass(frozen=True)
class WorkerProcess:
    """By what a worker can be recognised after the server was started anew."""

    worker_id: str
    device: str
    """One of the executor's devices."""
    pid: int = 0
    """0 if the server died before it knew."""
    start_mark: str = ""
    """When the process was started, in the system's terms: a later process with this number has another one."""


@runtime_checkable  # for the type checker of the tests
class Executor(Protocol):
    """Starts workers and reaches them. All methods return at once, but for `kill_left_over`."""

    @property
    def devices(self) -> tuple[str, ...]:
        """What workers run on, one at a time on each: "cpu", "cuda:0"."""
        ...

    def start(self, worker_id: str, device: str) -> WorkerProcess:
        """Starts a worker that will send `ready` under this id.

        Raises:
            OSError: The system cannot start a process now.
        """
        ...

    def send(self, worker_id: str, order: dict[str, Any]) -> None:
        """Sends it an order, once it has said `ready`. One to a worker that has ended is lost."""
        ...

    def kill(self, worker_id: str) -> None:
        """Ends the worker and all that it started, at once, even if it is stopped. `poll` tells of it like any."""
        ...

    def poll(self) -> list[tuple[str, int]]:
        """The workers that have ended since the last time, with their exit codes: -9 for one that was killed."""
        ...

    def kill_left_over(self, worker: WorkerProcess) -> bool:
        """Ends a worker of an earlier server, if it still lives, and waits until it is gone.

        Returns:
            Whether there was one.
        """
        ...


class LocalExecutor:
    """Workers as processes of this machine, each in a session and process group of its own."""

    def __init__(
        self,
        devices: Sequence[str],
        link_address: Callable[[], str],
        send: Callable[[str, dict[str, Any]], None],
        *,
        output_file: Path | None = None,
        command: Sequence[str] = (sys.executable, "-m", "backend.server.worker"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            devices: "cpu", "cuda", "cuda:0", ...; a worker sees no other GPU than its own.
            link_address: Where the server listens for workers; asked whenever one is started.
            send: Hands an order to the link's socket; called with a worker's id, which is its identity there.
            output_file: What workers print goes there; None for nowhere. Started anew when it has 10 MB.
            command: Of a worker; `--link ADDRESS --name WORKER_ID` follows.
            environment: Of the workers; None is the server's own.
        """
        self._devices = tuple(devices)
        self._link_address = link_address
        self._send = send
        self._output_file = output_file
        self._command = tuple(command)
        self._environment = dict(os.environ if environment is None else environment)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def devices(self) -> tuple[str, ...]:
        return self._devices

    def start(self, worker_id: str, device: str) -> WorkerProcess:
        arguments = [*self._command, "--link", self._link_address(), "--name", worker_id]
        output = self._open_output()
        try:
            process = subprocess.Popen(
                arguments,
                env=self._environment | _environment_for(device, self._environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl+C at the server's terminal is the server's alone
            )
        finally:
            if output != subprocess.DEVNULL:
                os.close(output)
        self._running[worker_id] = process
        return WorkerProcess(worker_id, device, process.pid, start_mark(process.pid))

    def send(self, worker_id: str, order: dict[str, Any]) -> None:
        if worker_id in self._running:
            self._send(worker_id, order)

    def kill(self, worker_id: str) -> None:
        process = self._running.get(worker_id)
        if process is not None and process.returncode is None:
            _kill_group(process)

    def poll(self) -> list[tuple[str, int]]:
        ended = []
        for worker_id, process in list(self._running.items()):
            if not _has_ended(process):
                continue
            _kill_group(process)  # what it had started, such as a process that unwraps, must not outlive it
            ended.append((worker_id, process.wait()))
            del self._running[worker_id]
        return ended

    def kill_left_over(self, worker: WorkerProcess) -> bool:
        if worker.pid:
            found = [worker.pid] if is_same_process(worker.pid, worker.start_mark) else []
        else:
            found = find_processes_with("--name", worker.worker_id)
        for pid in found:
            _log.warning("worker %s of an earlier server still runs as process %d; it is killed", worker.worker_id, pid)
            mark = start_mark(pid)
            _kill_group_of(pid)
            deadline = time.monotonic() + _SECONDS_TO_DIE
            while is_same_process(pid, mark) and time.monotonic() < deadline:
                time.sleep(0.01)
        return bool(found)

    def _open_output(self) -> int:
        if self._output_file is None:
            return subprocess.DEVNULL
        try:
            is_large = self._output_file.exists() and self._output_file.stat().st_size > _MOST_LOG_BYTES
            emptied = os.O_TRUNC if is_large else 0
            return os.open(self._output_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | emptied, 0o600)
        except OSError:  # a full disk costs what workers print, not the job
            return subprocess.DEVNULL


def _environment_for(device: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Shows a worker its own GPU alone, or none. GPUs are counted among those that the server itself may see."""
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return {"CUDA_VISIBLE_DEVICES": ""}
    visible = [each for each in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    if not number:
        return {}
    return {"CUDA_VISIBLE_DEVICES": visible[int(number)] if int(number) < len(visible) else number}


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended, leaving its number taken: its group can then be killed without hitting a stranger."""
    if process.returncode is not None or not hasattr(os, "waitid"):
        return process.poll() is not None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return process.poll() is not None


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        if os.name == "nt":
            process.kill()
        else:
            _kill_group_of(process.pid)


def _kill_group_of(pid: int) -> None:
    """Kills a session's first process and its group. SIGKILL reaches what SIGSTOP has stopped."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except PermissionError:  # macOS, for a group of which only a zombie is left
        _log.debug("the process group %d is gone already", pid)
