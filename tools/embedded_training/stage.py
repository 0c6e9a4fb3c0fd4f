"""One stage of training as a loop: a module, a loss, a schedule; with progress, checkpoints and resume."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from tools.embedded_training.checkpoints import MovingAverage, load_checkpoint, save_checkpoint


def mixed_precision(device: torch.device) -> torch.autocast:
    """bf16 on CUDA and on CPUs with instructions for it; elsewhere it would be slower than float32."""
    is_fast = device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=is_fast)


@dataclass(frozen=True)
class StageSettings:
    """How long and how fast a stage trains."""

    steps: int
    batch_size: int
    peak_learning_rate: float
    average_decay: float = 0.999
    warm_up_steps: int = 200
    weight_decay: float = 0.01
    seconds_between_checkpoints: float = 180.0
    minutes: float | None = None
    """A budget of time: the learning rate then falls with the time used, and the stage ends when it is spent."""

    def progress(self, step: int, seconds: float) -> float:
        """Share of the stage that is done, in [0, 1]: by steps, or by time where that comes first."""
        by_time = seconds / (60.0 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(step / self.steps, by_time))

    def learning_rate(self, step: int, seconds: float) -> float:
        """Linear warm-up, a plateau over the first third, then a cosine down to one fiftieth."""
        warm = min(1.0, (step + 1) / self.warm_up_steps)
        fall = max(0.0, (self.progress(step, seconds) - 1 / 3) / (2 / 3))
        low = 0.02
        cosine = 0.5 * (1 + torch.cos(torch.tensor(fall * torch.pi)).item())
        return self.peak_learning_rate * warm * (low + (1 - low) * cosine)


def train_stage(
    name: str,
    module: nn.Module,
    loss_of_batch: Callable[[Tensor], Tensor],
    picture_weights: Tensor,
    settings: StageSettings,
    checkpoint: Path,
    on_checkpoint: Callable[[MovingAverage, int], None] = lambda average, step: None,
) -> tuple[MovingAverage, dict]:
    """Trains until the steps or the minutes are spent, going on from `checkpoint` where it exists.

    Args:
        loss_of_batch: From the indices of the batch's pictures to a scalar.
        picture_weights: How often each picture comes up, relative to the others [pictures].
        on_checkpoint: Called with the moving average at each checkpoint, to draw samples.

    Returns:
        The moving average of the parameters, and the record: step, seconds, the curve of the loss.
    """
    optimiser = torch.optim.AdamW(
        module.parameters(), lr=settings.peak_learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay
    )
    average = MovingAverage(module, settings.average_decay)
    record: dict = {"step": 0, "seconds": 0.0, "curve": []}
    if checkpoint.exists():
        record = load_checkpoint(checkpoint, module, average, optimiser)
        print(f"{name}: going on from step {record['step']}", flush=True)

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    last_checkpoint, recent = time.monotonic(), []
    with Progress(*columns) as progress:
        bar = progress.add_task(name, total=settings.steps, completed=record["step"])
        while settings.progress(record["step"], record["seconds"]) < 1.0:
            began = time.monotonic()
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate(record["step"], record["seconds"])
            indices = torch.multinomial(picture_weights, settings.batch_size, replacement=True)
            loss = loss_of_batch(indices)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimiser.step()
            average.update(module, record["step"])

            record["step"] += 1
            record["seconds"] += time.monotonic() - began
            recent.append(loss.detach())
            if len(recent) == 100:
                mean = torch.stack(recent).mean().item()
                if mean != mean:
                    raise SystemExit(
                        f"{name}: the loss is not a number at step {record['step']}; lower the learning rate"
                    )
                record["curve"].append([record["step"], round(mean, 6), round(record["seconds"])])
                recent = []
                print(f"{name} step {record['step']} loss {mean:.5f} {record['seconds']:.0f}s", flush=True)
            progress.update(bar, completed=record["step"])
            if time.monotonic() - last_checkpoint > settings.seconds_between_checkpoints:
                save_checkpoint(checkpoint, module, average, optimiser, record)
                on_checkpoint(average, record["step"])
                last_checkpoint = time.monotonic()
    save_checkpoint(checkpoint, module, average, optimiser, record)
    on_checkpoint(average, record["step"])
    return average, record
