"""What a server's workers compute on. Asks the driver's own program: loading torch for that would take gigabytes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from backend.errors import BadInput
from backend.machine import processor_name

_SECONDS_TO_ANSWER = 20.0


@dataclass(frozen=True)
class Device:
    """One of them."""

    name: str
    """As torch calls it: "cpu", "cuda:0"."""
    title: str
    """For people."""
    memory_bytes: int = 0
    """0 if not known."""


def find_devices(wanted: Sequence[str]) -> list[Device]:
    """Those that are wanted, or all GPUs, or the CPU if there is no GPU.

    Args:
        wanted: Such as "cpu" and "cuda:1"; empty for all.

    Raises:
        BadInput: A GPU that is wanted is not there.
    """
    gpus = {gpu.name: gpu for gpu in _gpus()}
    cpu = Device("cpu", processor_name()[:100])
    if not wanted:
        return list(gpus.values()) or [cpu]
    found = []
    for name in wanted:
        if name != "cpu" and name not in gpus:
            raise BadInput(f"devices names {name}; it must be one of {', '.join(['cpu', *gpus])}")
        found.append(cpu if name == "cpu" else gpus[name])
    return found


def device_line(devices: Sequence[Device]) -> str:
    """All of them in one line of at most 200 characters."""
    titles = [each.title for each in devices]
    counted = {title: titles.count(title) for title in titles}
    line = ", ".join(title if count == 1 else f"{count} x {title}" for title, count in counted.items())
    return line if len(line) <= 200 else line[:197] + "..."


def _gpus() -> list[Device]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=_SECONDS_TO_ANSWER, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return gpus_from(answer.stdout) if answer.returncode == 0 else []


def gpus_from(table: str) -> list[Device]:
    """The GPUs in what nvidia-smi has printed: index, name and MiB, with commas between them."""
    found = []
    for line in table.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 3 and parts[0].isdigit():
            memory = int(parts[2]) * 2**20 if parts[2].isdigit() else 0
            found.append(Device(f"cuda:{parts[0]}", parts[1][:100], memory))
    return found
