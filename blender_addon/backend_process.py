# SPDX-License-Identifier: GPL-3.0-or-later
"""A server on this machine that Blender starts: `sketchbridge serve` in the environment of another Python.

What it prints goes to a file, so that it can outlive Blender where that is wanted. Nothing here waits: `look`, from the
timer, sees how it stands.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

MOST_LINES = 12
_MOST_BYTES = 16_384
_PYTHONS = ("bin/python3", "bin/python", "Scripts/python.exe", "python.exe")
NO_PYTHON = (
    "Say in the preferences where the Python is that has Sketchbridge installed, such as "
    "/home/ann/sketchbridge/.venv/bin/python"
)


class CannotStart(Exception):
    """The local backend cannot be started; the message is for the user."""


class BackendProcess:
    """At most one process, started here."""

    def __init__(self) -> None:
        self.state = "off"
        """off, starting, running; ended: by itself, see `sentence`."""
        self.sentence = "Not started here"
        self.lines: list[str] = []
        """The last that it has printed."""
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Path | None = None
        self._log_bytes = -1

    @property
    def is_alive(self) -> bool:
        """Whether it is starting or running, as far as was seen."""
        return self.state in ("starting", "running")

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop and has not ended yet."""
        return self.state == "off" and self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path | None:
        """The file with everything that it has printed; None before the first start."""
        return self._log

    def start(self, python: Path, address: str, log: Path, state_folder: Path | None = None) -> None:
        """Starts it, unless it is there already.

        Args:
            python: An interpreter, from `find_python`.
            address: Where it is to listen; on this machine.
            log: Written anew.
            state_folder: For its jobs; None for the server's default.

        Raises:
            CannotStart: The system does not run it.
        """
        if self.is_alive:
            return
        command = [str(python), "-u", "-m", "backend", "serve", "--listen", address, "--json"]
        if state_folder is not None:
            command += ["--state", str(state_folder)]
        # Blender's own Python may be led by these, and another one would be misled.
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
        try:
            with log.open("wb") as output:
                self._process = subprocess.Popen(
                    command,
                    cwd=log.parent,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl+C in Blender's terminal is not for it
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
        except OSError as error:
            raise CannotStart(f"{python} cannot be started: {error.strerror or error}") from error
        self._log, self._log_bytes, self.lines = log, -1, []
        self.state, self.sentence = "starting", "Starting the local backend, which takes some seconds"

    def stop(self) -> None:
        """Tells it to stop: it writes checkpoints of what runs, and ends by itself soon."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
        self.state, self.sentence = "off", "Stopped"

    def leave(self) -> None:
        """Forgets it without stopping it, such as at the end of Blender."""
        self._process = None
        self.state, self.sentence = "off", "Not started here"

    def look(self) -> bool:
        """Sees how it stands; says whether anything has changed."""
        if self._process is None or self._log is None:
            return False
        code = self._process.poll()
        has_news = self._read_log()
        before = self.state
        if self.state == "starting" and any(_is_started(line) for line in self.lines):
            self.state, self.sentence = "running", "The local backend runs"
        if self.is_alive and code is not None:
            self.state, self.sentence = "ended", _why(self.lines, code)
        if code is not None:
            self._process = None
        return has_news or self.state != before

    def _read_log(self) -> bool:
        if self._log is None:
            return False
        try:
            size = self._log.stat().st_size
            if size == self._log_bytes:
                return False
            with self._log.open("rb") as file:
                file.seek(max(0, size - _MOST_BYTES))
                text = file.read(_MOST_BYTES).decode("utf-8", "replace")
        except OSError as error:
            text, size = f"{self._log} cannot be read: {error.strerror or error}", -1
        self._log_bytes = size
        self.lines = [line for line in text.splitlines() if line.strip()][-MOST_LINES:]
        return True


def find_python(given: str) -> Path:
    """The interpreter that a user has named, by its path or by that of its environment.

    Raises:
        CannotStart: There is none.
    """
    if not given.strip():
        raise CannotStart(NO_PYTHON)
    path = Path(given.strip()).expanduser()
    if path.is_dir():
        found = next((path / name for name in _PYTHONS if (path / name).is_file()), None)
        if found is None:
            raise CannotStart(f"There is no Python in {path}; it must be an environment, such as .venv, or a program")
        return found
    if not path.is_file():
        raise CannotStart(f"There is no {path}; it must be the Python that has Sketchbridge installed")
    if sys.platform != "win32" and not os.access(path, os.X_OK):
        raise CannotStart(f"{path} is no program; it must be the Python that has Sketchbridge installed")
    return path


def is_answering(host: str, port: int) -> bool:
    """Whether something listens there. On this machine, that is known at once."""
    try:
        with socket.create_connection((host, port), 0.1):
            return True
    except (OSError, OverflowError):  # the latter for a port above 65535
        return False


def readable(line: str) -> str:
    """A line of the log as text: the server prints objects of JSON."""
    try:
        said = json.loads(line)
        if said["event"] == "started":
            return f"Listening at {said['address']}"
        text = str(said.get("message") or said["event"])
        return text[:1].upper() + text[1:]
    except (ValueError, KeyError, TypeError, AttributeError):
        return line


def _is_started(line: str) -> bool:
    return readable(line).startswith("Listening at ")


def _why(lines: list[str], code: int) -> str:
    objects = [line for line in lines if line.startswith("{")]  # its errors are there for people, in several lines, too
    last = readable((objects or lines)[-1]).strip() if lines else f"exit code {code}, without a word"
    if "No module named backend" in last:
        return "The local backend ended: Sketchbridge is not installed in that Python. Choose the one that has it"
    return f"The local backend ended: {last}"


BACKEND = BackendProcess()
"""Of this Blender session."""
