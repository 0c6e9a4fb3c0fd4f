"""Makes the pictures of a cell of the method table, each once: a cell that lies in its file is not made again."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from backend.diffusion.prior import DiffusionPrior
from backend.durable_files import write_whole_file
from backend.evaluation.run_cost import CostMeter, RunCost
from backend.evaluation.table_plan import Cell
from backend.optimise_pictures import PictureOptimisation, PictureStep
from backend.picture_config import SamplingConfig
from backend.pictures import to_bytes
from backend.sample_pictures import PictureSampling


@dataclass(frozen=True)
class MadeCell:
    """The pictures of a cell and what they cost."""

    pictures: UInt8[np.ndarray, "pictures height width 3"]
    cost: RunCost


def make_cell(
    cell: Cell, folder: Path, prior: DiffusionPrior, told: Callable[[PictureStep], None] = lambda step: None
) -> MadeCell:
    """Makes the pictures, or finds them where they were made before.

    Args:
        told: Each step when it has been made.
    """
    found = find_cell(cell, folder)
    if found is not None:
        return found
    config, prompts = cell.config, cell.picture_prompts
    prior.embed_prompts(prompts)  # the first call loads libraries, which is not the first method's cost
    meter = CostMeter(prior)
    with meter.running():
        loop = (
            PictureSampling(prompts, config, prior, cell.seed)
            if isinstance(config, SamplingConfig)
            else PictureOptimisation(prompts, config, prior, cell.seed)
        )
        for step in loop.steps():
            told(step)
    made = MadeCell(to_bytes(loop.pictures()), meter.cost_of(len(prompts)))
    _write(cell.path(folder), made)
    return made


def find_cell(cell: Cell, folder: Path) -> MadeCell | None:
    """The cell if it was made before; None also where its file is damaged, which is then made again."""
    try:
        with np.load(cell.path(folder), allow_pickle=False) as arrays:
            pictures, record = arrays["pictures"], json.loads(str(arrays["cost"]))
        if pictures.dtype != np.uint8 or pictures.shape[0] != len(cell.picture_prompts):
            return None
        return MadeCell(pictures, RunCost(**record))
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _write(path: Path, made: MadeCell) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.savez_compressed(content, pictures=made.pictures, cost=np.array(json.dumps(dataclasses.asdict(made.cost))))
    write_whole_file(path, content.getvalue())
