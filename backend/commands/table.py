"""`sketchbridge table`: every method side by side, as a table with its pictures and figures."""

from __future__ import annotations

import logging
import os
import shlex
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import torch

from backend import machine
from backend.commands.displays import Display, JobProgress, JobResult, JsonLinesDisplay, TerminalDisplay
from backend.commands.job_command import EXIT_BAD_INPUT, EXIT_BUG, EXIT_DONE, EXIT_STOPPED
from backend.commands.job_steps import explained
from backend.commands.stop_signals import StopSignals
from backend.config import JobSettings
from backend.durable_files import write_whole_file
from backend.errors import BadInput, OutputNotWritable, SketchbridgeError
from backend.evaluation.classifier import load_classifier
from backend.evaluation.diagnosis_figures import diagnose, diagnosis_csv, figures_of
from backend.evaluation.further_features import features_on_this_machine
from backend.evaluation.method_table import CELLS_FOLDER, Watch, make_table
from backend.evaluation.table_documents import GRID_NAME, TableText, write_documents
from backend.evaluation.table_plan import Cell, TableSettings, read_prompts
from backend.evaluation.table_scores import read_references
from backend.optimise_pictures import PictureStep
from backend.pictures import check_folder_output
from backend.tasks.setting_up import set_up_prior

DEFAULT_OUTPUT = Path("table")
TITLES = {
    "methods": "Methods side by side",
    "descriptors": "Five ways to describe the source",
    "switch": "When the bridge begins",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableCommand:
    """What the command line asked for."""

    settings: dict[str, Any] = field(default_factory=dict)
    """Fields of TableSettings that were given; `methods` still with commas, `prompts` still a file."""
    output: Path = DEFAULT_OUTPUT
    references: Path | None = None
    with_diagnosis: bool = False

    def resolve(self) -> TableSettings:
        """Raises BadInput for a wrong method, a file without prompts, and what TableSettings does not take."""
        values = dict(self.settings)
        if "methods" in values:
            names = [name.strip() for name in values["methods"].split(",")]
            values["methods"] = tuple(name for name in names if name)
        if "prompts" in values:
            values["prompts"] = read_prompts(Path(values["prompts"]))
        settings = TableSettings(**values)
        if settings.study != "methods" and "methods" in values:
            raise BadInput(
                f"the study {settings.study} has rows of its own, so --methods cannot be given with it; leave it out"
            )
        return settings

    def words(self) -> str:
        """As one types it."""
        options = self.settings | {"out": self.output, "references": self.references}
        given = [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
        return shlex.join(["sketchbridge", "table", *given, *(["--diagnose"] if self.with_diagnosis else [])])


def run_table_command(command: TableCommand, as_json: bool = False) -> int:
    """Makes the table and shows how far it is. Returns the exit code; errors are shown, not raised."""
    with StopSignals() as stop:
        display: Display = JsonLinesDisplay() if as_json else TerminalDisplay(lambda: stop.is_requested)
        with display:
            try:
                _run(command, display)
            except KeyboardInterrupt as interrupt:
                display.failed(interrupt, EXIT_STOPPED, command.words())
                return EXIT_STOPPED
            except Exception as error:
                _log.exception("the table failed")
                error = explained(error, "fewer --seeds, ")
                if isinstance(error, OSError):
                    error = OutputNotWritable(f"{command.output} cannot be written: {error.strerror or error}")
                display.failed(error, EXIT_BAD_INPUT, command.words())
                return EXIT_BAD_INPUT if isinstance(error, SketchbridgeError) else EXIT_BUG
            return EXIT_DONE


def _run(command: TableCommand, display: Display) -> None:
    settings = command.resolve()
    output = command.output.expanduser()
    check_folder_output(output)
    display.doing("loading the prior")
    prior = set_up_prior(JobSettings(settings.prompts[0], prior=settings.prior, device=settings.device))
    references = None
    if command.references is not None:
        references = read_references(command.references, settings.prompts, settings.seeds, prior.image_size)
    further = features_on_this_machine(prior.device)
    progress = _Progress(display)
    watch = Watch(progress.planned, progress.cell_begins, progress.step, display.doing)
    table = make_table(settings, output, prior, load_classifier(), references, further, watch)
    figures = []
    if command.with_diagnosis:
        diagnosis = diagnose(settings, output / CELLS_FOLDER, prior, progress.occasionally)
        figures = figures_of(diagnosis)
        write_whole_file(output / "diagnosis.csv", diagnosis_csv(diagnosis).encode())
    display.doing("writing the table")
    text = TableText(f"{TITLES[settings.study]}, {date.today().isoformat()}", _made_by(command, settings, prior.device))
    write_documents(table, text, output, figures)
    for note in table.notes:
        display.notice(note)
    display.finished(
        JobResult(
            is_complete=True,
            step=progress.done,
            total=progress.done,
            seconds=progress.seconds,
            faces=0,
            run_dir=output,
            mesh=None,
            report=output / "table.html",
            turntable=None,
            resume_command=None,
            sheet=output / GRID_NAME,
        )
    )


def _made_by(command: TableCommand, settings: TableSettings, device: torch.device) -> str:
    weights = machine.prior_fingerprint(settings.prior)
    where = machine.processor_name() if device.type == "cpu" else torch.cuda.get_device_name(device)
    return (
        f"`{command.words()}`; {settings.prior} prior" + (f" ({weights[:16]})" if weights else "") + f", {where},"
        f" {machine.usable_processor_count()} of {os.cpu_count()} cores, {torch.get_num_threads()} torch threads, torch"
        f" {torch.__version__}."
    )


class _Progress:
    """Turns cells and steps into what a display shows, and foretells the time by the evaluations that are left."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._began = self._said = time.monotonic()
        self._cells: list[Cell] = []
        self._number = 0
        self.done = 0
        """Steps."""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def planned(self, cells: list[Cell]) -> None:
        self._cells = cells

    def cell_begins(self, cell: Cell) -> None:
        self._number += 1
        count = len(cell.picture_prompts)
        self._display.doing(f"{cell.row.name}, {count} pictures ({self._number} of {len(self._cells)})")

    def step(self, step: PictureStep) -> None:
        self.done += 1
        works = [cell.work for cell in self._cells]
        made = sum(works[: self._number - 1]) + works[self._number - 1] * step.number / step.total
        row = self._cells[self._number - 1].row.name
        self._display.progress(
            JobProgress(
                stage=f"{self._number} of {len(self._cells)}: {row}",
                step=step.number,
                total=step.total,
                steps_per_second=self.done / max(self.seconds, 1e-9),
                seconds_left=self.seconds * (sum(works) - made) / max(made, 1e-9),
                gradient_norm=step.gradient_norm,
                faces=None,
            )
        )

    def occasionally(self, what: str) -> None:
        """Says what is being done, but no more than once in some seconds: it changes with every step."""
        if not what.endswith(tuple("0123456789")) or time.monotonic() - self._said > 10:
            self._said = time.monotonic()
            self._display.doing(what)
