"""One stage of training as a loop: a module, a loss, a schedule; with progress, checkpoints and resume.

On CUDA a step of these small networks is some thousand kernels of microseconds each, and launching them from Python
would take longer than running them. There the whole step is recorded once as a CUDA graph and replayed: 29 ms for 256
pictures of 128 pixels and 64 of 64 on an H100. To fuse the kernels as well (torch.compile) takes minutes at first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from tools.embedded_training.checkpoints import MovingAverage, load_checkpoint, save_checkpoint

SMALLER_SHARE = 4
"""A batch has one picture of each smaller size to this many of the largest."""


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
    """Of the moving average of the parameters."""
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


class _Step:
    """One update of the parameters from the pictures of a batch; recorded and replayed on CUDA.

    Args:
        loss_of_batch: Where the module is on CUDA, this must neither copy between the host and the device nor depend
            on values: its kernels are recorded once.
        indices: Of a first batch, which has the size of all.
    """

    WARM_UP = 3  # steps before recording, in which libraries choose their kernels and allocate their workspaces

    def __init__(
        self,
        module: nn.Module,
        loss_of_batch: Callable[[Tensor], Tensor],
        optimiser: torch.optim.Optimizer,
        batch_size: int,
        device: torch.device,
    ) -> None:
        self._module, self._loss_of_batch, self._optimiser = module, loss_of_batch, optimiser
        self._indices = torch.zeros(batch_size, dtype=torch.long, device=device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._loss = torch.zeros(())
        self._calls = 0

    def __call__(self, indices: Tensor) -> Tensor:
        """The loss, before the update."""
        if self._indices.device.type != "cuda":
            return self._run(indices)
        self._indices.copy_(indices)
        self._calls += 1
        if self._calls <= self.WARM_UP:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                loss = self._run(self._indices)
            torch.cuda.current_stream().wait_stream(side)
            return loss
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            self._optimiser.zero_grad(set_to_none=True)  # gradients then live in the graph's own memory
            with torch.cuda.graph(self._graph):
                self._loss = self._run(self._indices)
        self._graph.replay()
        return self._loss.clone()

    def _run(self, indices: Tensor) -> Tensor:
        self._optimiser.zero_grad(set_to_none=True)
        loss = self._loss_of_batch(indices)
        loss.backward()
        nn.utils.clip_grad_norm_(self._module.parameters(), 1.0)
        self._optimiser.step()
        return loss.detach()


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
        loss_of_batch: From the indices of the batch's pictures, on the device of the module, to a scalar; see `_Step`
            for what it must not do on CUDA.
        picture_weights: How often each picture comes up, relative to the others [pictures].
        on_checkpoint: Called with the moving average at each checkpoint, to draw samples.

    Returns:
        The moving average of the parameters, and the record: step, seconds, the curve of the loss.
    """
    device = next(module.parameters()).device
    is_recorded = device.type == "cuda"
    rate = torch.tensor(settings.peak_learning_rate, device=device)  # a tensor: a recorded step reads it anew
    optimiser = torch.optim.AdamW(
        module.parameters(),
        lr=rate if is_recorded else settings.peak_learning_rate,
        betas=(0.9, 0.99),
        weight_decay=settings.weight_decay,
        fused=is_recorded,
        capturable=is_recorded,
    )
    step = _Step(module, loss_of_batch, optimiser, settings.batch_size, device)
    picture_weights = picture_weights.to(device)
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
            wanted_rate = settings.learning_rate(record["step"], record["seconds"])
            for group in optimiser.param_groups:
                if is_recorded:
                    group["lr"].fill_(wanted_rate)
                else:
                    group["lr"] = wanted_rate
            loss = step(torch.multinomial(picture_weights, settings.batch_size, replacement=True))
            average.update(module, record["step"])

            record["step"] += 1
            record["seconds"] += time.monotonic() - began
            recent.append(loss)
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
