"""How `gpu.py` takes times, counts waits, records graphs and reads profiles. No benchmark itself."""

from __future__ import annotations

import gc
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from backend.diffusion.diffusers_prior import DiffusersPrior
from backend.evaluation.intervals import bootstrap_interval
from benchmarks.gpu_networks import Size

REPOSITORY = Path(__file__).resolve().parent.parent
RUNS_BEFORE_RECORDING = 3
LEAST_RUNS = 3
SECONDS_PER_MEASUREMENT = 8.0
Result = TypeVar("Result")


@dataclass(frozen=True)
class Measured:
    """Some runs of the same work."""

    milliseconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return float(np.median(self.milliseconds))

    @property
    def interval(self) -> tuple[float, float]:
        """Of the median, 95 %, by bootstrap."""
        return bootstrap_interval(np.array(self.milliseconds), np.median)

    def over(self, other: float) -> str:
        """As a multiple of some milliseconds, with its interval."""
        low, high = self.interval
        return f"{self.median / other:.3f} [{low / other:.3f}, {high / other:.3f}]"


@dataclass
class Bench:
    """What the sections share, what they found, and the report."""

    size: Size
    device: torch.device
    prior: DiffusersPrior
    lines: list[str] = field(default_factory=list)
    measured: dict[str, Measured] = field(default_factory=dict)
    """By the names that other sections know them by."""
    numbers: dict[str, float] = field(default_factory=dict)
    """`peak` in TFLOP/s, `... flops` in TFLOP, `faces`, ..."""
    _is_in_table: bool = False

    @property
    def is_on_card(self) -> bool:
        return self.device.type == "cuda"

    def say(self, line: str = "") -> None:
        """Prints a line of the report at once, and keeps it."""
        if self._is_in_table and not line.startswith("|"):
            self._is_in_table = False
            self.say()
        print(line, flush=True)
        self.lines.append(line)

    def measure(self, name: str, what: str, work: Callable[[], object], flops: float | None = None) -> Measured:
        """Times some work and writes a row of a table.

        Args:
            flops: In 10^12.
        """
        return self.row(name, what, self.time(work), flops)

    def row(self, name: str, what: str, measured: Measured, flops: float | None = None) -> Measured:
        """A row of the table of what was measured, which is begun where there is none."""
        if not self._is_in_table:
            self.say("| what | n | ms, median [95 %] | TFLOP | of the peak |")
            self.say("|---|---|---|---|---|")
            self._is_in_table = True
        low, high = measured.interval
        counted = f"{flops:.2f}" if flops is not None else "-"
        share = "-"
        if flops is not None and "peak" in self.numbers:
            share = f"{1000 * flops / measured.median / self.numbers['peak']:.0%}"
        count = len(measured.milliseconds)
        self.say(f"| {what} | {count} | {measured.median:.2f} [{low:.2f}, {high:.2f}] | {counted} | {share} |")
        self.measured[name] = measured
        return measured

    def time(self, work: Callable[[], object]) -> Measured:
        """Each run from an idle card until its work is done there. Fewer runs where they take long."""
        times: list[float] = []
        started, warm_up = time.perf_counter(), self.size.warm_up_runs
        for run in range(warm_up + self.size.repeats):
            self.synchronise()
            began = time.perf_counter()
            work()
            self.synchronise()
            ended = time.perf_counter()
            if run >= warm_up:
                times.append(1000 * (ended - began))
            if len(times) >= LEAST_RUNS and ended - started > SECONDS_PER_MEASUREMENT:
                break
        return Measured(tuple(times))

    def synchronise(self) -> None:
        if self.is_on_card:
            torch.cuda.synchronize()

    def attempt(self, work: Callable[[], None]) -> None:
        """Goes on when something cannot be measured, and says what went wrong."""
        try:
            work()
        except Exception as error:
            traceback.print_exc()
            sentence = (str(error).strip().splitlines() or ["no more is known"])[0]
            self.say(f"This could not be measured: {type(error).__name__}: {sentence}")

    def forget_memory(self) -> float:
        """Frees what is not in use and starts the count of the most memory anew; GiB that stay allocated."""
        gc.collect()
        if not self.is_on_card:
            return 0.0
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**30

    def peak_memory(self) -> tuple[float, float]:
        """The most GiB that were allocated, and that torch had reserved for itself."""
        if not self.is_on_card:
            return 0.0, 0.0
        return torch.cuda.max_memory_allocated() / 2**30, torch.cuda.max_memory_reserved() / 2**30


def count_flops(work: Callable[[], object]) -> float:
    """Of products of matrices, convolutions and attention, there and back; in 10^12."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e12


def recorded(work: Callable[[], Result]) -> Callable[[], Result]:
    """The kernels of some work as one CUDA graph, replayed without Python between them; on the CPU the work itself.

    The work must use the same tensors each time. What it returns is overwritten by the next replay.
    """
    if not torch.cuda.is_available():
        return work
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(RUNS_BEFORE_RECORDING):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()

    def replay() -> Result:
        graph.replay()
        return result

    return replay


@contextmanager
def noted_waits() -> Iterator[Counter[str]]:
    """Counts where the processor waits for the card, by the innermost line of `backend` on the way there.

    torch warns of its own operations only; of a wait in a backward pass it tells the line that asked for the pass.
    """
    places: Counter[str] = Counter()

    def note(message: Warning | str, category: Any, filename: str, line: int, *_: Any, **__: Any) -> None:
        if "synchroniz" in str(message):
            places[_place_of(sys._getframe(1), f"{Path(filename).name}:{line}")] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note  # type: ignore[assignment]
        if torch.cuda.is_available():
            torch.cuda.set_sync_debug_mode("warn")
        try:
            yield places
        finally:
            if torch.cuda.is_available():
                torch.cuda.set_sync_debug_mode("default")


def _place_of(frame: FrameType | None, told: str) -> str:
    """The line of ours that led to a warning, and the one that it was given at if that is another."""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(REPOSITORY / "backend"):
            place = f"{path.relative_to(REPOSITORY)}:{frame.f_lineno}"
            return place if told == f"{path.name}:{frame.f_lineno}" else f"{place} (at {told})"
        frame = frame.f_back
    return told


@dataclass(frozen=True)
class Kernel:
    """All launches of one kernel."""

    name: str
    count: int
    milliseconds: float

    @property
    def kind(self) -> str:
        """What it is for, as far as its name tells."""
        name = self.name.lower()
        return next((kind for kind, words in _KINDS if any(word in name for word in words)), "others")


_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "rasterising",
        (
            "cuda_kernels_",
            "rasterize",
            "interpolate",
            "antialias",
            "binraster",
            "coarseraster",
            "fineraster",
            "trianglesetup",
        ),
    ),
    ("copies between processor and card", ("memcpy", "memset")),
    ("changes of layout", ("nchwtonhwc", "nhwctonchw", "transpose", "nhwcaddpadding", "tensortransform")),
    ("attention", ("flash", "fmha", "attention", "sdpa")),
    ("convolutions", ("conv", "fprop", "dgrad", "wgrad", "winograd")),
    ("products of matrices", ("gemm", "cutlass", "cublas", "nvjet", "gemv", "splitk")),
    ("norms", ("norm", "moments", "computefusedparams", "computeinternalgradients", "computebackwardfused")),
    ("sorts, indices, scattering", ("sort", "index", "scatter", "gather", "radix", "scan", "select", "unique")),
    ("softmax", ("softmax",)),
    ("Adam and other lists of tensors", ("multi_tensor",)),
    ("copies and casts", ("copy", "catarray")),
    ("sums", ("reduce",)),
    ("pointwise", ("elementwise", "vectorized", "pointwise")),
)
"""Kinds by words in the names of kernels, the first that fits."""


def kernels_of(work: Callable[[], object], device: torch.device) -> list[Kernel]:
    """What some work launches, the dearest first; on the CPU torch's operations stand in for kernels."""
    from torch.profiler import ProfilerActivity, profile

    is_on_card = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if is_on_card else ProfilerActivity.CPU]) as profiled:
        work()
        if is_on_card:
            torch.cuda.synchronize()
    rows = [
        (row.key, row.count, (row.self_device_time_total if is_on_card else row.self_cpu_time_total) / 1000)
        for row in profiled.key_averages()
    ]
    return sorted((Kernel(*row) for row in rows if row[2] > 0), key=lambda kernel: -kernel.milliseconds)
