"""The two diagnoses of the bridge as figures and as plain numbers, made once and kept like a cell of the table."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backend import machine
from backend.diffusion.prior import DiffusionPrior
from backend.durable_files import write_whole_file
from backend.evaluation.bridge_diagnosis import (
    LEARNT,
    DiagnosisConfig,
    Samples,
    SingleStepError,
    SourceMismatch,
    single_step_error,
    source_mismatch,
)
from backend.evaluation.line_chart import Chart, Line
from backend.evaluation.table_documents import Figure
from backend.evaluation.table_plan import TableRow, TableSettings, cells_of
from backend.optimise_pictures import PictureOptimisation
from backend.picture_config import PictureConfig

MOST_PROMPTS = 6
MOST_SEEDS = 4


@dataclass(frozen=True)
class Diagnosis:
    """Both answers, and of what."""

    error: SingleStepError
    mismatch: SourceMismatch
    config: DiagnosisConfig
    pictures: int
    prompts: int
    sds_steps: int
    """That the pictures have behind them."""


def diagnose(
    settings: TableSettings,
    folder: Path,
    prior: DiffusionPrior,
    doing: Callable[[str], None] = lambda what: None,
) -> Diagnosis:
    """Looks at pictures where the table's bridge begins: after stage one, which is SDS.

    Args:
        folder: Where the numbers are kept, so that they are measured once.
        doing: Told what is being done.

    Raises:
        BadInput: The prior's network takes no adapters.
    """
    prompts = settings.prompts[:MOST_PROMPTS]
    seeds = min(settings.seeds, MOST_SEEDS)
    chosen = dataclasses.replace(settings, prompts=prompts, seeds=seeds)
    cell = cells_of(chosen, TableRow("bridge", "bridge"))[0]
    bridge = cell.config
    assert isinstance(bridge, PictureConfig)  # only ddim has another
    distillation = bridge.distillation
    sds_steps = max(1, round(bridge.steps * distillation.bridge_start))
    config = DiagnosisConfig(
        distillation.source_suffix,
        distillation.target_suffix,
        vsd_steps=sds_steps,
        vsd_rank=distillation.adapter_rank,
        vsd_learning_rate=distillation.adapter_learning_rate,
    )
    of_pictures = [prompt for prompt in prompts for _ in range(seeds)]
    decides = [dataclasses.asdict(config), dataclasses.asdict(bridge), of_pictures, settings.device]
    weights = machine.prior_fingerprint(settings.prior) or settings.prior
    key = hashlib.sha256(json.dumps([decides, weights]).encode()).hexdigest()[:12]
    path = folder / f"diagnosis-{key}.npz"
    found = _read(path)
    if found is None:
        doing(f"diagnosis: {len(of_pictures)} pictures by SDS")
        loop = PictureOptimisation(of_pictures, bridge, prior, seed=0)
        for step in loop.steps():
            if step.number >= sds_steps:
                break
        latents = loop.variable.tensors[0].detach().clone()
        doing("diagnosis: one step against the whole bridge")
        error = single_step_error(latents, of_pictures, prior, config)
        mismatch = source_mismatch(
            latents,
            of_pictures,
            prior,
            config,
            lambda step, total: doing(f"diagnosis: learning the pictures, step {step} of {total}"),
        )
        found = error, mismatch
        _write(path, *found)
    return Diagnosis(*found, config, len(of_pictures), len(prompts), sds_steps)


def figures_of(diagnosis: Diagnosis) -> list[Figure]:
    """Mean over the pictures as a line, the middle half of them as a band."""
    error, mismatch, config = diagnosis.error, diagnosis.mismatch, diagnosis.config
    of = (
        f"{diagnosis.pictures} pictures of {diagnosis.prompts} prompts after {diagnosis.sds_steps} steps of SDS, where"
        " the bridge begins; lines are means, bands the middle half of the pictures."
    )
    untrained, before_end, end = mismatch.converged
    x = [float(timestep) for timestep in error.timesteps]
    full = f"full bridge, {config.ode_steps} steps each way"

    def lines(values: dict[str, Samples], names: dict[str, str] | None = None) -> list[Line]:
        found = []
        for name, of_name in values.items():
            low, high = np.quantile(of_name, (0.25, 0.75), axis=1).tolist()
            found.append(Line((names or {}).get(name, name), of_name.mean(1).tolist(), low, high))
        return found

    return [
        Figure(
            "single-step-angle.svg",
            "Single-step error: direction",
            f"Angle between the gradient of one step, E(target) - E(source), and that of the {full}. {of}",
            Chart("Angle to the full bridge's gradient", "timestep", "degrees", x, lines(error.degrees)).svg(),
        ),
        Figure(
            "single-step-norm.svg",
            "Single-step error: size",
            f"Norm of the gradient of one step over that of the {full}; 1 is right. {of}",
            Chart("Norm relative to the full bridge's", "timestep", "ratio", x, lines(error.norm_ratio)).svg(),
        ),
        Figure(
            "source-mismatch.svg",
            "Source mismatch",
            "Root mean square distance of what each method takes for the noise of the current pictures from what a"
            f" model says that has learnt these pictures (adapters of rank {config.converged_rank},"
            f" {config.converged_steps} steps). That model's own error on noise it was not trained on fell from"
            f" {untrained:.3f} to {before_end:.3f} in three quarters of its steps and to {end:.3f} in the end. {of}",
            Chart(
                "Distance from the source of the current pictures",
                "timestep",
                "RMS of the noise",
                x,
                lines(mismatch.distance, {LEARNT: f"{LEARNT}, {config.vsd_steps} steps"}),
            ).svg(),
        ),
    ]


def diagnosis_csv(diagnosis: Diagnosis) -> str:
    """One line per question, case and timestep: mean and quartiles."""
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(["figure", "case", "timestep", "mean", "lower quartile", "upper quartile", "n"])
    for figure, values in (
        ("angle, degrees", diagnosis.error.degrees),
        ("norm ratio", diagnosis.error.norm_ratio),
        ("source mismatch, RMS", diagnosis.mismatch.distance),
    ):
        for case, samples in values.items():
            for timestep, of_timestep in zip(diagnosis.error.timesteps, samples, strict=True):
                low, high = np.quantile(of_timestep, (0.25, 0.75))
                writer.writerow([figure, case, timestep, of_timestep.mean(), low, high, len(of_timestep)])
    return content.getvalue()


def _write(path: Path, error: SingleStepError, mismatch: SourceMismatch) -> None:
    arrays: dict[str, Any] = {
        "timesteps": np.array(error.timesteps),
        "converged": np.array(mismatch.converged),
        **{f"degrees/{name}": values for name, values in error.degrees.items()},
        **{f"norm_ratio/{name}": values for name, values in error.norm_ratio.items()},
        **{f"distance/{name}": values for name, values in mismatch.distance.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_whole_file(path, content.getvalue())


def _read(path: Path) -> tuple[SingleStepError, SourceMismatch] | None:
    """None also where the file is damaged; everything is then measured again."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            every = dict(arrays)
        timesteps = [int(timestep) for timestep in every["timesteps"]]
        untrained, before_end, end = every["converged"].tolist()
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None

    def of(prefix: str) -> dict[str, Samples]:
        return {name.split("/", 1)[1]: values for name, values in every.items() if name.startswith(prefix + "/")}

    error = SingleStepError(timesteps, of("degrees"), of("norm_ratio"))
    return error, SourceMismatch(timesteps, of("distance"), (untrained, before_end, end))
