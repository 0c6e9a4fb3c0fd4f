"""The method table as Markdown, CSV and HTML, and its pictures as a grid of prompts and methods."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from backend.durable_files import write_whole_file
from backend.evaluation.measures import verdict
from backend.evaluation.method_table import JudgedRow, MethodTable
from backend.evaluation.published_figures import PUBLISHED, PUBLISHED_LABEL
from backend.evaluation.table_scores import COLOUR_RIGHT, SHAPE_RIGHT
from backend.html_page import self_contained_page
from backend.pictures import Picture, encode_picture
from backend.readable import readable_bytes

GRID_NAME = "pictures.png"
SHOWN_PIXELS = 96
NOTHING = "-"
SCALED = {SHAPE_RIGHT: (100.0, "shape right, %"), COLOUR_RIGHT: (100.0, "colour right, %")}
"""Measures that read better as another number."""
COSTS = ("U-Net evaluations", "of them in training", "CPU seconds", "peak memory")
"""Per picture, but for the memory, which is that of a whole batch."""
_COST_FIELDS = ("evaluations", "in_training", "calls", "cpu_seconds", "seconds")
"""Of RunCost."""


@dataclass(frozen=True)
class Figure:
    """A drawing below the table."""

    name: str
    """Of the file, with `.svg`."""
    title: str
    text: str
    svg: str


@dataclass(frozen=True)
class TableText:
    """What stands around a table's numbers."""

    title: str
    made_by: str
    """Date, command, machine, weights."""


def write_documents(table: MethodTable, text: TableText, folder: Path, figures: Sequence[Figure] = ()) -> list[Path]:
    """Writes table.md, table.csv, table.html, the grid and the figures.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    grid = encode_picture(picture_grid(table), ".png")
    contents = {
        "table.md": markdown(table, text, figures).encode(),
        "table.csv": csv_text(table).encode(),
        "table.html": html_page(table, text, grid, figures).encode("utf-8", "replace"),
        GRID_NAME: grid,
        **{figure.name: figure.svg.encode() for figure in figures},
    }
    for name, content in contents.items():
        write_whole_file(folder / name, content)
    return [folder / name for name in contents]


# --- The parts that Markdown and HTML have in common -----------------------------------------------------------------


@dataclass(frozen=True)
class _Grid:
    """A table of words."""

    header: list[str]
    lines: list[list[str]]


@dataclass(frozen=True)
class _Section:
    title: str
    text: str
    grid: _Grid | None = None


def _sections(table: MethodTable) -> Iterator[_Section]:
    settings = table.settings
    count = len(settings.prompts) * settings.seeds
    names = [row.name for row in table.rows]
    memory = "the most that the process used with all its libraries (on a GPU: that torch used) for a whole batch"
    yield _Section(
        "Measured",
        f"{len(settings.prompts)} prompts, {settings.seeds} pictures of each: n = {count} per row, {table.steps} steps"
        f" of every method that optimises, the same noise for all. Reference: {table.reference_is}, as many of the same"
        " prompts. Distances are in the features of the classifier that names shapes and colours, which no method has"
        " seen; the Fréchet distance compares only at equal n. In brackets bootstrap intervals of 95 %, prompts drawn"
        f" again with their reference. Costs are per picture, in batches of up to {len(settings.batches[0])} prompts;"
        f" peak memory is {memory}.",
        _measured(table),
    )
    if table.comparisons:
        yield _Section(
            "Does the order hold?" if settings.study == "methods" else f"Against {names[0]}",
            "Differences of Fréchet distances, drawn again together. The first is nearer to the reference where the"
            " difference is below 0.",
            _Grid(
                ["nearer", "farther", "difference", "holds"],
                [
                    [each.nearer, each.farther, each.difference.text("+"), verdict(each.difference, True)]
                    for each in table.comparisons
                ],
            ),
        )
    if settings.study == "methods":
        yield _Section("Published figures", PUBLISHED_LABEL, _published())
    if table.notes:
        yield _Section("Left out", " ".join(table.notes))


def _measured(table: MethodTable) -> _Grid:
    names = _measure_names(table)
    lines = [[row.name, *_values(row, names), *_costs(row)] for row in [*table.rows, *table.floors]]
    return _Grid(["method", *(SCALED.get(name, (1.0, name))[1] for name in names), *COSTS], lines)


def _measure_names(table: MethodTable) -> list[str]:
    return list(dict.fromkeys(name for row in table.rows for name in row.measures))


def _values(row: JudgedRow, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        measure = row.measures.get(name)
        factor = SCALED.get(name, (1.0, ""))[0]
        if measure is None:
            yield NOTHING
            continue
        digits = 0 if factor == 100 else 2
        interval = measure.interval
        brackets = "" if interval is None else " [" + ", ".join(f"{factor * end:.{digits}f}" for end in interval) + "]"
        yield f"{factor * measure.estimate:.{digits}f}{brackets}"


def _costs(row: JudgedRow) -> list[str]:
    evaluations = row.per_picture("evaluations")
    training = row.per_picture("in_training")
    seconds = row.per_picture("cpu_seconds")
    if evaluations is None or training is None or seconds is None:
        return [NOTHING] * len(COSTS)
    peak = NOTHING if row.peak_bytes is None else readable_bytes(row.peak_bytes)
    return [f"{evaluations:.0f}", f"{training:.0f}" if training else NOTHING, f"{seconds:.2f}", peak]


def _published() -> _Grid:
    lines = [
        [
            row.method,
            f"{row.fid:.2f}",
            NOTHING if row.clip_fid is None else f"{row.clip_fid:.2f}",
            f"{row.minutes_per_sample:.2f}",
        ]
        for row in PUBLISHED
    ]
    return _Grid(["method", "FID", "CLIP FID", "minutes per sample"], lines)


# --- Documents -------------------------------------------------------------------------------------------------------


def markdown(table: MethodTable, text: TableText, figures: Sequence[Figure] = ()) -> str:
    """The table for people who read it on paper or in a repository."""
    lines = [f"# {text.title}", "", text.made_by]
    for section in _sections(table):
        lines += ["", f"## {section.title}", "", section.text]
        if section.grid is not None:
            lines += ["", *_markdown_rows(section.grid)]
    lines += ["", "## Pictures", "", f"![A row per prompt, a column per method]({GRID_NAME})"]
    for figure in figures:
        lines += ["", f"## {figure.title}", "", figure.text, "", f"![{figure.title}]({figure.name})"]
    return "\n".join(lines) + "\n"


def _markdown_rows(grid: _Grid) -> Iterator[str]:
    for line in (grid.header, ["---"] * len(grid.header), *grid.lines):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"


def csv_text(table: MethodTable) -> str:
    """One line per row with plain numbers: each measure, its interval as NAME low and NAME high, and the costs."""
    names = _measure_names(table)
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    ends = [column for name in names for column in (name, f"{name} low", f"{name} high")]
    costs = [name.replace("_", " ") for name in _COST_FIELDS]
    writer.writerow(["method", "n", "steps", *ends, *costs, "peak bytes"])
    for row in [*table.rows, *table.floors]:
        values: list[object] = []
        for name in names:
            measure = row.measures.get(name)
            interval = None if measure is None else measure.interval
            values += ["" if measure is None else measure.estimate, *(interval or ("", ""))]
        per_picture = [row.per_picture(name) for name in _COST_FIELDS]
        writer.writerow([row.name, len(row.pictures.images), table.steps, *values, *per_picture, row.peak_bytes])
    return content.getvalue()


def html_page(table: MethodTable, text: TableText, grid: bytes, figures: Sequence[Figure] = ()) -> str:
    """One page that needs no other file and no network. Everything a user wrote is escaped."""
    parts = [f"<h1>{escape(text.title)}</h1><p class=soft>{escape(text.made_by)}</p>"]
    for section in _sections(table):
        parts.append(f"<h2>{escape(section.title)}</h2><p>{escape(section.text)}</p>")
        if section.grid is not None:
            parts.append(_html_table(section.grid))
    data = base64.b64encode(grid).decode()
    parts.append(f'<h2>Pictures</h2><img alt="a row per prompt" src="data:image/png;base64,{data}">')
    parts += [f"<h2>{escape(each.title)}</h2><p>{escape(each.text)}</p>{each.svg}" for each in figures]
    return self_contained_page(text.title, _STYLE, "\n".join(parts))


def _html_table(grid: _Grid) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in grid.header)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in grid.lines)
    return f"<div class=wide><table><tr>{head}</tr>{rows}</table></div>"


def picture_grid(table: MethodTable) -> Picture:
    """A row per prompt, a column per method and one for the reference: the first picture of each."""
    columns = {"reference": table.reference} | {row.name: row.pictures for row in table.rows}
    seeds = table.settings.seeds
    font = ImageFont.load_default(12)
    margin, top = 150, 22
    sheet = Image.new("RGB", (margin + SHOWN_PIXELS * len(columns), top + SHOWN_PIXELS * len(table.reference.prompts)))
    sheet.paste((255, 255, 255), (0, 0, *sheet.size))
    pen = ImageDraw.Draw(sheet)
    for column, (name, pictures) in enumerate(columns.items()):
        x = margin + column * SHOWN_PIXELS
        pen.text((x + 3, 4), name[:16], fill=(40, 42, 48), font=font)
        for row in range(len(pictures.prompts)):
            shown = Image.fromarray(pictures.images[row * seeds]).resize((SHOWN_PIXELS, SHOWN_PIXELS))
            sheet.paste(shown, (x, top + row * SHOWN_PIXELS))
    for row, prompt in enumerate(table.reference.prompts):
        pen.text((6, top + row * SHOWN_PIXELS + SHOWN_PIXELS // 2 - 8), prompt[:22], fill=(40, 42, 48), font=font)
    return np.asarray(sheet)


_STYLE = """
body { margin: 40px auto; max-width: 1160px; padding: 0 24px; font: 15px/1.5 system-ui, sans-serif; color: #1d2025; }
h1 { font-size: 30px; margin: 0 0 6px; } h2 { font-size: 18px; margin: 36px 0 8px; } .soft { color: #676d78; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 16px 5px 0; border-bottom: 1px solid #e4e5e8; white-space: nowrap; }
img, svg { max-width: 100%; height: auto; }
"""
