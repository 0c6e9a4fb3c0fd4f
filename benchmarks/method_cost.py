"""Does a step of the bridge cost two calls of the U-Net and nothing else? Counted, and timed against bare calls.

    python benchmarks/method_cost.py [--rounds 40] [--batches 1 8] [--write]

Calls: how often a step of each method calls the U-Net, with how many samples, and whether it encodes text or decodes a
picture on the way. Time: process CPU time of a step of the two-prompt losses against two bare forwards of the same
U-Net on the same batch, in interleaved runs: one of each in every round, in an order that turns.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent)]

from backend.diffusion.diffusers_prior import DiffusersPrior, load_prior  # noqa: E402
from backend.evaluation.intervals import bootstrap_interval  # noqa: E402
from backend.evaluation.run_cost import NetworkCalls, counted_calls  # noqa: E402
from backend.machine import prior_fingerprint, processor_name, usable_processor_count  # noqa: E402
from backend.optimise_pictures import PictureOptimisation  # noqa: E402
from backend.picture_config import METHODS_FOR_PICTURES, TextToImageSettings  # noqa: E402

RESULTS = FOLDER / "results"
BAR = 1.15
PROMPT = "a red mushroom"
WARM_UP_ROUNDS = 3
METHODS = tuple(method for method in METHODS_FOR_PICTURES if method != "ddim")


@dataclass(frozen=True)
class Stage:
    """A method from its first step on in one of its stages."""

    name: str
    method: str
    is_second: bool

    def loop(self, prior: DiffusersPrior, batch: int) -> PictureOptimisation:
        """An optimisation that never leaves the stage."""
        settings = TextToImageSettings(PROMPT, method=self.method, bridge_start=0.0 if self.is_second else 1.0)
        return PictureOptimisation([PROMPT] * batch, replace(settings.resolve(), steps=10**9), prior, seed=0)


TIMED = (Stage("SDS", "sds", False), Stage("bridge, stage two", "bridge", True))
COUNTED = (
    *(Stage(method, method, False) for method in METHODS if not method.endswith("bridge")),
    *(Stage(f"{method}, stage two", method, True) for method in METHODS if method.endswith("bridge")),
)


@dataclass(frozen=True)
class Counted:
    """What one step asks for."""

    calls: NetworkCalls
    encoded_texts: int
    decoded_pictures: int


def count_step(stage: Stage, prior: DiffusersPrior, batch: int) -> Counted:
    """One step after the first, which fills what is kept."""
    steps = stage.loop(prior, batch).steps()
    next(steps)
    texts, decodings = [], []
    with (
        counted_calls(prior) as calls,
        _noted(prior._text_encoder, texts),
        _noted(prior._vae.decoder, decodings),
    ):
        next(steps)
    return Counted(calls, len(texts), len(decodings))


@contextmanager
def _noted(module: torch.nn.Module, notes: list[Any]) -> Iterator[None]:
    hook = module.register_forward_pre_hook(lambda *_: notes.append(None))
    try:
        yield
    finally:
        hook.remove()


def two_bare_forwards(prior: DiffusersPrior, batch: int) -> Callable[[], object]:
    """The U-Net on two samples per picture, without anything around it."""
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn((2 * batch, *prior.latent_shape), generator=generator)
    timesteps = torch.randint(len(prior.noise_levels), (2 * batch,), generator=generator)
    words = prior.embed_prompts([""] * batch + [PROMPT] * batch)

    @torch.no_grad()
    def run() -> object:
        return prior.unet(noisy, timesteps, encoder_hidden_states=words, return_dict=False)

    return run


def interleaved_seconds(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Process CPU time of each, one run of all in every round."""
    names = list(work)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for round_number in range(WARM_UP_ROUNDS + rounds):
        turn = round_number % len(names)
        for name in names[turn:] + names[:turn]:
            began = time.process_time()
            work[name]()
            if round_number >= WARM_UP_ROUNDS:
                seconds[name].append(time.process_time() - began)
    return {name: np.array(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--write", action="store_true", help="write the table to benchmarks/results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    prior = load_prior("embedded", torch.device("cpu"))
    text = report(prior, arguments.batches, arguments.rounds)
    print(text)
    if arguments.write:
        (RESULTS / f"method_cost-{date.today().isoformat()}.md").write_text(text)


def report(prior: DiffusersPrior, batches: list[int], rounds: int) -> str:
    lines = [
        f"# What a step costs, {date.today().isoformat()}",
        "",
        f"`{' '.join(['python benchmarks/method_cost.py', *sys.argv[1:]])}`; embedded prior (manifest"
        f" {str(prior_fingerprint('embedded'))[:16]}), {processor_name()}, one thread of {usable_processor_count()} of"
        f" {os.cpu_count()} cores, torch {torch.__version__}.",
        "",
        "## Calls of the U-Net in one step, for three pictures",
        "",
        "Texts and decodings: how often the text encoder and the decoder run in the step.",
        "",
        "| method | calls | samples of each | of them in training | texts | decodings |",
        "|---|---|---|---|---|---|",
        *(_count_row(stage, count_step(stage, prior, 3)) for stage in COUNTED),
        "",
        "## CPU time of a step against two bare forwards",
        "",
        f"{rounds} interleaved rounds; medians, in brackets bootstrap intervals of 95 %. Bar: at most {BAR} times.",
        "",
        "| step | pictures | milliseconds | two bare forwards, milliseconds | ratio | holds |",
        "|---|---|---|---|---|---|",
    ]
    for batch in batches:
        steps = {stage.name: stage.loop(prior, batch).steps() for stage in TIMED}
        work: dict[str, Callable[[], object]] = {"bare": two_bare_forwards(prior, batch)}
        work |= {name: lambda made=made: next(made) for name, made in steps.items()}
        seconds = interleaved_seconds(work, rounds)
        lines += [_time_row(name, batch, seconds[name], seconds["bare"]) for name in steps]
    return "\n".join(lines) + "\n"


def _count_row(stage: Stage, counted: Counted) -> str:
    calls = counted.calls
    sizes = sorted(set(calls.batches), reverse=True)
    samples = ", ".join(f"{calls.batches.count(size)} of {size}" if len(sizes) > 1 else str(size) for size in sizes)
    return (
        f"| {stage.name} | {calls.calls} | {samples} | {calls.in_training or '-'} | {counted.encoded_texts} |"
        f" {counted.decoded_pictures} |"
    )


def _time_row(name: str, batch: int, step: np.ndarray, bare: np.ndarray) -> str:
    ratios = step / bare
    low, high = bootstrap_interval(ratios, np.median)
    ratio = float(np.median(ratios))
    return (
        f"| {name} | {batch} | {1000 * np.median(step):.1f} | {1000 * np.median(bare):.1f} |"
        f" {ratio:.3f} [{low:.3f}, {high:.3f}] | {'yes' if ratio <= BAR else '**no**'} |"
    )


if __name__ == "__main__":
    main()
