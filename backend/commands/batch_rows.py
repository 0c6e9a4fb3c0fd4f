"""A table of jobs: what its rows ask for, checked all at once before anything starts."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from backend.commands.submit_job import SubmitCommand
from backend.errors import BadInput
from backend.geometry.mesh_input import OTHER_AXES
from backend.run_folder import slug_of
from backend.sketch_config import parse_views
from protocol.errors import LocalProtocolError
from protocol.settings import Settings, Task

MOST_ROWS = 10_000
MOST_ERRORS_TOLD = 20
VIEW_SEPARATOR = "|"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SETTINGS: Mapping[str, Callable[[str], Any]] = {
    "prior": str, "quality": str, "steps": int, "seed": int, "faces": int, "texture_size": int, "method": str,
    "guidance_scale": float, "bridge_start": float, "source_suffix": str, "target_suffix": str, "symmetry": str,
    "device": str, "to_real": lambda text: _flag(text),
}  # fmt: skip
COLUMNS = ("prompt", "name", "task", "mesh", "lock", "views", "picture", "priority", *_SETTINGS)
"""What a table may have; only the prompt must be there."""


@dataclass(frozen=True)
class BatchRow:
    """One job."""

    line: int
    """Of the file, counted from 1."""
    name: str
    """Of its files; no other row has it."""
    command: SubmitCommand
    seed: int
    content: str
    """Hash over everything that decides what is made: the options, and what the files hold."""

    @property
    def is_picture(self) -> bool:
        return self.command.task == "image"


def read_rows(path: Path, variations: int = 1) -> list[BatchRow]:
    """The jobs of a CSV file with a header; empty cells mean the defaults. Files are named from the table's folder.

    Args:
        variations: So many jobs of each row, with the seeds that follow its own.

    Raises:
        BadInput: The file cannot be read, or rows are wrong; the message names up to `MOST_ERRORS_TOLD` by line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the table {path} cannot be read: {error}") from error
    reader = csv.DictReader(io.StringIO(text), restkey="", strict=True)
    _check_header(path, reader.fieldnames)
    rows: list[BatchRow] = []
    errors: list[str] = []
    names: dict[str, int] = {}
    try:
        for cells in reader:
            line = reader.line_num
            try:
                made = _rows_of(line, cells, path.parent, variations)
            except (BadInput, LocalProtocolError, ValueError) as error:
                errors.append(f"line {line}: {error}")
                continue
            for row in made:
                if row.name in names:
                    errors.append(f"line {line}: the name {row.name} is that of line {names[row.name]} already")
                names.setdefault(row.name, line)
            rows += made
    except csv.Error as error:
        raise BadInput(f"the table {path} is no CSV from line {reader.line_num} on: {error}") from error
    if errors:
        more = len(errors) - MOST_ERRORS_TOLD
        told = "\n  ".join(errors[:MOST_ERRORS_TOLD] + ([f"and {more} more"] if more > 0 else []))
        raise BadInput(f"nothing was started, as {len(errors)} rows of {path} are wrong:\n  {told}")
    if not rows:
        raise BadInput(f"the table {path} has a header and no row; write one prompt per line below it")
    if len(rows) > MOST_ROWS:
        raise BadInput(f"{path} asks for {len(rows):,} jobs; at most {MOST_ROWS:,} are taken at a time")
    return rows


def _check_header(path: Path, header: Any) -> None:
    columns = [(each or "").strip() for each in header or ()]
    if "prompt" not in columns:
        hint = "; its columns must be parted by commas" if any(";" in each for each in columns) else ""
        found = ", ".join(columns) or "nothing"
        raise BadInput(f"the table {path} has no column prompt in its first line, only {found}{hint}")
    unknown = [each for each in columns if each not in COLUMNS]
    if unknown:
        raise BadInput(f"the table {path} has the column {unknown[0]!r}; known are {', '.join(COLUMNS)}")
    doubled = next((each for each in columns if columns.count(each) > 1), None)
    if doubled is not None:
        raise BadInput(f"the table {path} has two columns {doubled}")


def _rows_of(line: int, cells: Mapping[str, Any], folder: Path, variations: int) -> list[BatchRow]:
    if "" in cells:
        raise BadInput("it has more cells than the header; put quotes around a prompt with commas")
    given = {name.strip(): value.strip() for name, value in cells.items() if value is not None and value.strip()}
    if "prompt" not in given:
        raise BadInput("its prompt is empty")
    settings = {name: _read(name, read, given[name]) for name, read in _SETTINGS.items() if name in given}
    seed = settings.pop("seed", 0)
    files = {name: _file(name, given[name], folder) for name in ("mesh", "lock", "picture") if name in given}
    views = tuple(_placed_view(view.strip(), folder) for view in given.get("views", "").split(VIEW_SEPARATOR) if view)
    if views:
        parse_views(views)
    task = given.get("task") or ("sketch" if views or settings.get("to_real") else "text")
    if task not in get_args(Task):
        raise BadInput(f"task must be one of {', '.join(get_args(Task))}; got {task!r}")
    name = given.get("name", slug_of(given["prompt"]) + (f"-{seed}" if seed else ""))
    if not _NAME.fullmatch(name):
        raise BadInput(f"name must be letters, digits, dots, dashes and underscores; got {name!r}")
    priority = _read("priority", int, given.get("priority", "0"))
    rows = []
    for number in range(variations):
        own = settings | {"seed": seed + number}
        command = SubmitCommand(
            cast(Task, task), given["prompt"], own, files.get("mesh"), None, files.get("picture"), views,
            lock=files.get("lock"), priority=priority,
        )  # fmt: skip
        _check_settings(own)
        own_name = name if variations == 1 else f"{name}-{number + 1}"
        rows.append(BatchRow(line, own_name, command, seed + number, _content_of(command)))
    return rows


def _check_settings(settings: dict[str, Any]) -> None:
    axes = tuple(sorted(OTHER_AXES[axis] for axis in settings.get("symmetry", "")))
    Settings(**(settings | {"symmetry": axes}))


def _read(name: str, read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except ValueError as error:
        what = {int: "a whole number", float: "a number"}.get(cast(Any, read), "true or false")
        raise BadInput(f"{name} must be {what}; got {text!r}") from error


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false", "yes", "no", "1", "0"):
        raise ValueError(text)
    return text.lower() in ("true", "yes", "1")


def _file(name: str, text: str, folder: Path) -> Path:
    path = (folder / Path(text).expanduser()).absolute()
    if not path.is_file():
        raise BadInput(f"the {name} {text} is not there")
    return path


def _placed_view(text: str, folder: Path) -> str:
    (view,) = parse_views((text,))
    path = _file("drawing", view.path, folder)
    return text[: len(text) - len(view.path)] + str(path)


def _content_of(command: SubmitCommand) -> str:
    views = parse_views(command.views) if command.views else ()
    sides = [(view.name, view.viewpoint, view.weight, view.has_colour_hints) for view in views]
    options = (command.task, command.prompt, sorted(command.settings.items()), sides)
    digest = hashlib.sha256(repr(options).encode())
    for path in (command.mesh, command.lock, command.picture, *(Path(view.path) for view in views)):
        digest.update(b"none" if path is None else hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
