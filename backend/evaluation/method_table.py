"""Every method on the same prompts, seeds and steps, judged against the same reference: the rows of the table.

Cells are kept in a folder as they are made, so that a table that was interrupted goes on, and another one on the same
prompts only makes what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from backend.diffusion.prior import DiffusionPrior
from backend.evaluation.classifier import WorldClassifier
from backend.evaluation.further_features import FurtherFeatures
from backend.evaluation.measures import FRECHET, Measure
from backend.evaluation.published_figures import CLAIMED_ORDER
from backend.evaluation.run_cost import RunCost
from backend.evaluation.table_cells import MadeCell, find_cell, make_cell
from backend.evaluation.table_plan import OTHER_NOISE, Cell, TableRow, TableSettings, cells_of
from backend.evaluation.table_scores import Judge, PictureSet, References
from backend.optimise_pictures import PictureStep
from backend.pictures import to_bytes

DDIM_REFERENCE = TableRow("ddim, other noise", "ddim")
CELLS_FOLDER = "cells"
OTHERS, OTHERS_DECODED = "others of the reference", "the same, encoded and decoded"


@dataclass(frozen=True)
class JudgedRow:
    """A row of the table."""

    name: str
    pictures: PictureSet
    measures: dict[str, Measure]
    costs: tuple[RunCost, ...] = ()
    """Of its cells; none for a row that nobody made here."""

    def per_picture(self, cost: str) -> float | None:
        """A field of RunCost per picture, over all cells; None for a row without costs."""
        if not self.costs:
            return None
        return sum(getattr(each, cost) for each in self.costs) / sum(each.pictures for each in self.costs)

    @property
    def peak_bytes(self) -> int | None:
        """The most that any cell used."""
        peaks = [cost.peak_bytes for cost in self.costs if cost.peak_bytes is not None]
        return max(peaks, default=None)


@dataclass(frozen=True)
class Comparison:
    """Whether one row is nearer to the reference than another, by the difference of their Fréchet distances."""

    nearer: str
    farther: str
    difference: Measure
    """Nearer minus farther, drawn again together: below 0 where the name is right."""


@dataclass(frozen=True)
class MethodTable:
    """All that the documents show."""

    settings: TableSettings
    steps: int
    rows: list[JudgedRow]
    floors: list[JudgedRow]
    """What comes as near to the reference as one can: other pictures of the reference itself."""
    reference: PictureSet
    reference_is: str
    """In words."""
    comparisons: list[Comparison]
    notes: tuple[str, ...] = ()
    """What a reader must know, such as features that could not be had."""


@dataclass(frozen=True)
class Watch:
    """Told how far the work is."""

    planned: Callable[[list[Cell]], None] = lambda cells: None
    """Told once of the cells that are to be made, in their order."""
    cell_begins: Callable[[Cell], None] = lambda cell: None
    step: Callable[[PictureStep], None] = lambda step: None
    doing: Callable[[str], None] = field(default=lambda what: None)


def make_table(
    settings: TableSettings,
    folder: Path,
    prior: DiffusionPrior,
    classifier: WorldClassifier,
    references: References | None = None,
    further: FurtherFeatures = FurtherFeatures(),
    watch: Watch = Watch(),
) -> MethodTable:
    """Makes what is missing of the cells, and judges everything.

    Args:
        folder: Of the table; the cells are in `cells` in it.
        references: None: DDIM with other noise is the reference.
        further: Other features than the classifier's.

    Raises:
        BadInput: The prior cannot serve a method.
        OSError: The folder cannot be written.
    """
    rows = settings.rows
    made = _make_cells(settings, rows, folder / CELLS_FOLDER, prior, references is None, watch)
    watch.doing("judging")
    if references is None:
        references = References(_set_of(settings, made.pop(DDIM_REFERENCE)), None)
        reference_is = "pictures that the model itself samples by DDIM, from other noise"
    else:
        reference_is = "pictures that were given"
    judge = Judge(classifier, references.reference)

    def judged(name: str, pictures: PictureSet, costs: Sequence[RunCost] = ()) -> JudgedRow:
        measures = judge.scores(pictures) | further.distances(pictures.images, references.reference.images)
        return JudgedRow(name, pictures, measures, tuple(costs))

    judged_rows = [
        judged(row.name, _set_of(settings, cells), [cell.cost for cell in cells]) for row, cells in made.items()
    ]
    floors = []
    if references.others is not None:
        decoded = replace(references.others, images=through_autoencoder(references.others.images, prior))
        floors = [judged(OTHERS, references.others), judged(OTHERS_DECODED, decoded)]
    return MethodTable(
        settings,
        settings.chosen_steps,
        judged_rows,
        floors,
        references.reference,
        reference_is,
        _comparisons(settings, judged_rows),
        further.missing,
    )


@torch.no_grad()
def through_autoencoder(images: np.ndarray, prior: DiffusionPrior) -> np.ndarray:
    """As well as the prior could draw them at best: 8-bit pictures of its size, encoded and decoded."""
    pictures = torch.from_numpy(images).float().to(prior.device) / 255
    return np.concatenate([to_bytes(prior.decode_latents(prior.encode_images(part))) for part in pictures.split(16)])


def _make_cells(
    settings: TableSettings,
    rows: list[TableRow],
    folder: Path,
    prior: DiffusionPrior,
    with_reference: bool,
    watch: Watch,
) -> dict[TableRow, list[MadeCell]]:
    """All rows of one batch of prompts before the next batch, so that what is there early can be compared."""
    cells = {row: cells_of(settings, row) for row in rows}
    if with_reference:
        cells[DDIM_REFERENCE] = cells_of(settings, DDIM_REFERENCE, OTHER_NOISE)
    in_order = [cell for batch in zip(*cells.values(), strict=True) for cell in batch]
    missing = [cell for cell in in_order if find_cell(cell, folder) is None]
    watch.planned(missing)
    for cell in missing:
        watch.cell_begins(cell)
        make_cell(cell, folder, prior, watch.step)
    return {row: [_found(cell, folder) for cell in of_row] for row, of_row in cells.items()}


def _found(cell: Cell, folder: Path) -> MadeCell:
    made = find_cell(cell, folder)
    if made is None:
        raise OSError(f"{cell.path(folder)} was written and cannot be read")
    return made


def _set_of(settings: TableSettings, cells: Sequence[MadeCell]) -> PictureSet:
    return PictureSet(settings.prompts, np.concatenate([cell.pictures for cell in cells]))


def _comparisons(settings: TableSettings, rows: list[JudgedRow]) -> list[Comparison]:
    """The order that the paper claims; in a study, every row against the first."""
    by_name = {row.name: row for row in rows}
    pairs = CLAIMED_ORDER if settings.study == "methods" else [(row.name, rows[0].name) for row in rows[1:]]
    return [
        Comparison(nearer, farther, by_name[nearer].measures[FRECHET] - by_name[farther].measures[FRECHET])
        for nearer, farther in pairs
        if nearer in by_name and farther in by_name
    ]
