"""What it costs to make pictures: calls of the U-Net, time, and the most memory that was used."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from backend.diffusion.prior import DiffusionPrior

_PROCESS = Path("/proc/self")
_RESET_PEAK = "5"  # proc(5): sets the peak of the resident set to what is resident now


@dataclass
class NetworkCalls:
    """How often a U-Net was asked; both counts of a training step's way forward are in them."""

    calls: int = 0
    evaluations: int = 0
    """Samples, over all calls: a call with two prompts for one picture is two."""
    in_training: int = 0
    """Those of them whose gradient was asked for, which costs about as much again, and more."""
    batches: list[int] = field(default_factory=list)
    """The samples of each call."""

    def count(self, samples: int) -> None:
        self.calls += 1
        self.evaluations += samples
        self.in_training += samples if torch.is_grad_enabled() else 0
        self.batches.append(samples)


@contextmanager
def counted_calls(prior: DiffusionPrior) -> Iterator[NetworkCalls]:
    """Counts every call of the prior's U-Net, whoever makes it: a second model's too, which runs on the same one.

    A prior without a U-Net of its own is taken at its word, as one call that it cannot divide.
    """
    counted, before = NetworkCalls(), prior.evaluations
    network = getattr(prior, "unet", None)
    if not isinstance(network, torch.nn.Module):
        yield counted
        counted.count(prior.evaluations - before)
        return

    def note(module: torch.nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        counted.count(len(inputs[0] if inputs else keywords["sample"]))

    hook = network.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield counted
    finally:
        hook.remove()


@dataclass(frozen=True)
class RunCost:
    """Of making some pictures together."""

    pictures: int
    evaluations: int
    in_training: int
    calls: int
    cpu_seconds: float
    """What this process computed; other programs on the machine do not count."""
    seconds: float
    """On the clock."""
    peak_bytes: int | None
    """The most memory in use: of the GPU, or of the whole process with its libraries; None where it is not told."""


class CostMeter:
    """Measures what happens inside of `running`.

    Args:
        prior: Whose U-Net is called, and on whose device.
    """

    def __init__(self, prior: DiffusionPrior) -> None:
        self._prior = prior
        self._cost: tuple[NetworkCalls, float, float, int | None] | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        _begin_peak(self._prior.device)
        with counted_calls(self._prior) as calls:
            began, cpu_began = time.perf_counter(), time.process_time()
            yield
            if self._prior.device.type == "cuda":
                torch.cuda.synchronize(self._prior.device)
            cpu, seconds = time.process_time() - cpu_began, time.perf_counter() - began
        self._cost = calls, cpu, seconds, _peak_bytes(self._prior.device)

    def cost_of(self, pictures: int) -> RunCost:
        """Once the run is over."""
        if self._cost is None:
            raise RuntimeError("nothing has been run yet")
        calls, cpu, seconds, peak = self._cost
        return RunCost(pictures, calls.evaluations, calls.in_training, calls.calls, cpu, seconds, peak)


def _begin_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    _give_back_freed_memory()
    try:
        (_PROCESS / "clear_refs").write_text(_RESET_PEAK)
    except OSError:
        return  # not Linux, or not allowed: the peak is then that of the process so far


def _peak_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        lines = (_PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return found[0] if found else None


def _give_back_freed_memory() -> None:
    """Else what an earlier run has freed counts as used: glibc keeps it for later."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        return
