"""Saves and resumes a stage: parameters, their moving average, Adam's state, random numbers. Safetensors only."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


class MovingAverage:
    """Exponential moving average of parameters, with a warm-up so that the first steps are soon forgotten."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters = [parameter.detach().clone() for parameter in module.parameters()]

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.parameters, [p.detach() for p in module.parameters()], 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        for parameter, average in zip(module.parameters(), self.parameters, strict=True):
            parameter.copy_(average)


def save_checkpoint(
    path: Path, module: nn.Module, average: MovingAverage, optimiser: torch.optim.Optimizer, record: dict
) -> None:
    """Writes everything that a stage needs to go on, in one file that appears only when it is complete.

    Args:
        record: JSON-able facts: step, losses so far, settings.
    """
    tensors: dict[str, Tensor] = {f"module.{name}": value.detach() for name, value in module.state_dict().items()}
    tensors |= {f"average.{index}": value for index, value in enumerate(average.parameters)}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    tensors["random.torch"] = torch.get_rng_state()
    unfinished = path.with_suffix(".unfinished")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: value.contiguous().cpu() for name, value in tensors.items()}, unfinished, {"record": json.dumps(record)}
    )
    os.replace(unfinished, path)


def load_checkpoint(path: Path, module: nn.Module, average: MovingAverage, optimiser: torch.optim.Optimizer) -> dict:
    """Restores what `save_checkpoint` wrote, and returns its record."""
    with safe_open(path, framework="pt") as file:
        record = json.loads(file.metadata()["record"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no dict)
    module.load_state_dict(
        {name.removeprefix("module."): t for name, t in tensors.items() if name.startswith("module.")}
    )
    for index, parameter in enumerate(average.parameters):
        parameter.copy_(tensors[f"average.{index}"])
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    for parameter, known in optimiser.state.items():
        for name, value in known.items():
            if value.shape == parameter.shape:  # with the parameter's strides, which fused steps expect
                known[name] = torch.empty_like(parameter).copy_(value)
    torch.set_rng_state(tensors["random.torch"])
    return record
