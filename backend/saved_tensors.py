"""Parts of a saved state under names of their own, and an optimiser's moments among them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those whose name begins with `prefix`, by the rest of their name."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def moments_of(optimiser: torch.optim.Optimizer, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What an optimiser remembers of each parameter, as `NAME.MOMENT`."""
    return {
        f"{name}.{moment}": value.detach().clone()
        for name, parameter in parameters.items()
        for moment, value in optimiser.state[parameter].items()
        if value is not None  # momentum, where it is not used
    }


def restore_moments(
    optimiser: torch.optim.Optimizer, parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> None:
    """The reverse of `moments_of`; a parameter of which nothing was saved begins anew."""
    for name, parameter in parameters.items():
        moments = under(f"{name}.", tensors)
        if moments:
            optimiser.state[parameter] = {
                # Adam counts its steps on the CPU.
                moment: value.clone() if moment == "step" else value.to(parameter.device, copy=True)
                for moment, value in moments.items()
            }
