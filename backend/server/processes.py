"""Which process a process number stands for. Numbers are used again; a number and its start time are not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_PROC = Path("/proc")


def start_mark(pid: int) -> str:
    """A text that tells this process from every other one that had or will have its number.

    On Linux, the boot and the clock ticks since; elsewhere what ps says, to the second. Empty for a process that is
    gone, or waits only for its parent to notice, and on Windows.
    """
    if (_PROC / "self" / "stat").exists():
        return _mark_from_proc(pid)
    if os.name == "nt":
        return ""
    answer = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = answer.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()


def is_same_process(pid: int, mark: str) -> bool:
    """Whether the process that had this mark still lives under this number."""
    return bool(mark) and start_mark(pid) == mark


def find_processes_with(*arguments: str) -> list[int]:
    """The numbers of this user's processes in whose command line these arguments follow each other. Linux only."""
    wanted = b"\0" + b"\0".join(os.fsencode(each) for each in arguments) + b"\0"
    found = []
    for folder in _PROC.glob("[0-9]*") if _PROC.is_dir() else ():
        try:
            is_ours = folder.stat().st_uid == os.getuid()
            if is_ours and wanted in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:  # ended in between
            continue
    return [pid for pid in found if pid != os.getpid()]


def _mark_from_proc(pid: int) -> str:
    try:
        line = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
    # The name, in parentheses, may hold anything; after it come the state (third) and, as the 22nd, the start.
    fields = line.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else f"{boot}:{fields[19]}"
