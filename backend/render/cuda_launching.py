"""Launching numba's CUDA kernels on torch tensors, without copies and without waiting for the card.

With NUMBA_ENABLE_CUDASIM=1, set before numba is imported, numba's simulator runs the same kernels on tensors of the
CPU, one Python thread for each thread of the card: for tests at toy sizes. The device functions that are shared with
the CPU's kernels must then be plain Python too (NUMBA_DISABLE_JIT=1).
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any, no_type_check

import numpy as np
import torch
from numba import config, cuda, types
from torch import Tensor

SIMULATED = bool(config.ENABLE_CUDASIM)  # type: ignore[attr-defined]

if not SIMULATED:
    from numba.cuda import dispatcher

    # It warns of small grids. Small images have small grids.
    dispatcher.config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # type: ignore[attr-defined]

THREADS = 128
"""In a block."""

LANES = 32
"""In a warp."""

ALL_LANES = 0xFFFFFFFF

Argument = Tensor | int | float | bool


@functools.cache
def why_numba_cuda_is_not_usable() -> str | None:
    """What numba lacks to run kernels on a card, or to simulate one; None if nothing."""
    if SIMULATED:
        return None
    problem = cannot_compile()
    if problem is not None:
        return problem
    try:
        return None if cuda.is_available() else "numba-cuda finds no NVIDIA driver"
    except Exception as error:  # whatever is broken, the choice goes on to another rasteriser
        return f"numba-cuda does not work ({type(error).__name__}: {error})"


@functools.cache
def cannot_compile() -> str | None:
    """What numba lacks to compile kernels; None if nothing."""
    if importlib.util.find_spec("numba_cuda") is None:
        return "numba-cuda is not installed"
    try:
        cuda.compile_ptx(_do_nothing, types.void(), cc=(8, 0))
    except Exception as error:
        return f"numba-cuda cannot compile ({type(error).__name__}: {error})"
    return None


def _do_nothing() -> None:
    pass


def launch(kernel: Any, threads: int, *arguments: Argument) -> None:
    """Runs a kernel with at least so many threads, numbered by `cuda.grid(1)`, on torch's current stream.

    Args:
        arguments: Tensors, contiguous and not empty, all on one device; numbers.
    """
    launch_blocks(kernel, ((threads + THREADS - 1) // THREADS, 1), *arguments)


def launch_blocks(kernel: Any, blocks: tuple[int, int], *arguments: Argument) -> None:
    """Runs a kernel in so many blocks of THREADS threads."""
    if blocks[0] == 0:
        return
    if SIMULATED:
        kernel[blocks, THREADS](*[each.detach().numpy() if isinstance(each, Tensor) else each for each in arguments])
        return
    device = next(each.device for each in arguments if isinstance(each, Tensor))
    with torch.cuda.device(device):  # also makes its context the one that numba finds
        _launch_in_context(kernel, blocks, device, arguments)


def _launch_on_card(
    kernel: Any, blocks: tuple[int, int], device: torch.device, arguments: tuple[Argument, ...]
) -> None:
    arrays = [_description(each) if isinstance(each, Tensor) else each for each in arguments]
    _configured(kernel, blocks, device, torch.cuda.current_stream(device).cuda_stream)(*arrays)


_descriptions: dict[tuple[Any, ...], Any] = {}
MOST_DESCRIPTIONS = 4096


def _description(tensor: Tensor) -> Any:
    """The tensor's memory as numba's kernels take it: address, shape and type, which keep no memory alive.

    To make one takes longer than to launch a kernel. torch gives out the same memory again and again, so they are kept.
    """
    key = (tensor.data_ptr(), tensor.device, tensor.dtype, tensor.shape)
    description = _descriptions.get(key)
    if description is None:
        if len(_descriptions) >= MOST_DESCRIPTIONS:
            _descriptions.clear()
        interface = tensor.detach().__cuda_array_interface__
        description = _descriptions[key] = cuda.from_cuda_array_interface(interface, owner=None, sync=False)
    return description


@functools.lru_cache(maxsize=256)
def _configured(kernel: Any, blocks: tuple[int, int], device: torch.device, stream: int) -> Any:
    return kernel[blocks, THREADS, cuda.external_stream(stream) if stream else 0]


# Looks for the context once a launch, not once an array.
_launch_in_context = _launch_on_card if SIMULATED else cuda.require_context(_launch_on_card)


@functools.lru_cache(maxsize=64)
def absent(device: torch.device, axes: int) -> Tensor:
    """Stands in the place of a float32 tensor that is not there; kernels take it and leave it alone."""
    return torch.zeros((1,) * axes, device=device)


# Adding up within a warp, before one of its threads adds to memory that many threads add to


@cuda.jit(device=True)
@no_type_check
def run_of(owner):
    """The run of neighbouring lanes with the same owner that this lane is in. All lanes of the warp must call it.

    Args:
        owner: int64.

    Returns:
        Whether this lane is the first of its run, which adds the sum to memory; the lane after the run; and whether
        there is anything to sum. Where nearly every lane has an owner of its own, each is taken for a run.
    """
    if SIMULATED:  # the simulator has no warps
        return True, 0, False
    lane = cuda.laneid
    before = cuda.shfl_up_sync(ALL_LANES, owner, 1)
    leads = lane == 0 or before != owner
    leaders = np.uint32(cuda.ballot_sync(ALL_LANES, leads))
    if cuda.popc(leaders) > LANES // 2:
        return True, 0, False
    end = LANES
    if lane < LANES - 1:
        later = np.uint32(leaders >> np.uint32(lane + 1))
        if later != 0:
            end = lane + cuda.ffs(later)
    return leads, end, True


@cuda.jit(device=True)
@no_type_check
def sum_of_run(value, end, sums):
    """The sum of a value over the run, in its first lane. All lanes of the warp must call it.

    Args:
        end, sums: Of `run_of`.
    """
    if SIMULATED or not sums:
        return value
    lane = cuda.laneid
    for doubling in range(5):
        offset = 1 << doubling
        other = cuda.shfl_down_sync(ALL_LANES, value, offset)
        if lane + offset < end:
            value += other
    return value
