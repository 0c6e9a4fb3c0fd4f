"""What a server's workers compute on. Asks the driver's own program: loading torch for that would take gigabytes."""

from __future__ import annotations

import os
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
    query = [program, "--query-gpu=index,name,memory.total,uuid", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=_SECONDS_TO_ANSWER, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return gpus_from(answer.stdout, os.environ.get("CUDA_VISIBLE_DEVICES")) if answer.returncode == 0 else []


def gpus_from(table: str, visible: str | None = None) -> list[Device]:
    """The GPUs in what nvidia-smi has printed: index, name, MiB and UUID, with commas between them.

    Args:
        visible: CUDA_VISIBLE_DEVICES, which nvidia-smi does not heed: torch counts those named there from 0 on. None
            for all.
    """
    rows = [parts for parts in ([part.strip() for part in line.split(",")] for line in table.splitlines())
            if len(parts) == 4 and parts[0].isdigit()]  # fmt: skip
    if visible is not None:
        rows = _seen(rows, visible)
    return [
        Device(f"cuda:{number}", title[:100], int(mebibytes) * 2**20 if mebibytes.isdigit() else 0)
        for number, (_, title, mebibytes, _) in enumerate(rows)
    ]


def _seen(rows: list[list[str]], visible: str) -> list[list[str]]:
    """In the order of their naming, up to the first name that names none, as CUDA has it."""
    found: list[list[str]] = []
    for name in (each.strip() for each in visible.split(",")):
        named = [row for row in rows if row[0] == name or (name.startswith("GPU-") and row[3].startswith(name))]
        if not named:
            break
        found += named[:1]
    return found
