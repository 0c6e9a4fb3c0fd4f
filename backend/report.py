"""report.html: one run as a page that needs no other file and no network. Everything a user wrote is escaped."""

from __future__ import annotations

import base64
import io
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from backend.durable_files import write_whole_file
from backend.html_page import self_contained_page
from backend.readable import readable_bytes, readable_seconds
from backend.run_folder import RunFolder

MOST_PREVIEWS = 12
MOST_CURVE_POINTS = 500
PREVIEW_WIDTH_PIXELS = 640
MOST_PICTURES = 12
SKETCH_PREFIX = "sketch-"
"""Of the names of pictures that show a drawing over the mesh."""
SKETCHES_NAME = "sketches.json"
"""A list of objects with `picture`, a file name, and `caption`."""
_MESH_SUFFIXES = (".glb", ".obj", ".ply", ".stl")
_ANIMATIONS = ("turntable.gif", "turn.gif")
_SHEETS = ("contact_sheet.png", "views.png", "picture-sheet.png")


@dataclass(frozen=True)
class Report:
    """What a report shows. Images are data URIs."""

    prompt: str
    created: str
    step: int
    total: int
    elapsed_seconds: float
    turntable: str | None = None
    contact_sheet: str | None = None
    pictures: Sequence[tuple[str, str]] = ()
    """Name and picture, of a run that makes pictures."""
    sketches: Sequence[tuple[str, str]] = ()
    """What is said of a drawing, and the drawing over the mesh, of a run that has drawings."""
    previews: Sequence[tuple[int, str]] = ()
    """Step and picture."""
    metrics: Sequence[Mapping[str, Any]] = ()
    """As in metrics.jsonl."""
    notices: Sequence[Mapping[str, Any]] = ()
    """As in notices.jsonl."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    resolved: Mapping[str, Any] = field(default_factory=dict)
    """The numbers that followed from the settings; mappings may hold mappings."""
    versions: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[tuple[str, int]] = ()
    """Name, relative to the report, and bytes."""


def write_report(run: RunFolder, step: int, total: int, elapsed_seconds: float) -> Path:
    """Writes the report of a run from what lies in its folder. What is missing there is left out.

    Raises:
        OSError: The folder cannot be written.
    """
    path = run.path / "report.html"
    meshes = sorted(file for file in run.path.iterdir() if file.suffix in _MESH_SUFFIXES)
    pictures = sorted(
        file for file in run.path.glob("*.png") if file.name not in _SHEETS and not file.name.startswith(SKETCH_PREFIX)
    )
    report = Report(
        prompt=_title(run),
        created=run.created,
        step=step,
        total=total,
        elapsed_seconds=elapsed_seconds,
        turntable=_first_uri(run.path, _ANIMATIONS, "image/gif"),
        contact_sheet=_first_uri(run.path, _SHEETS, "image/png"),
        pictures=[(file.stem, _file_uri(file, "image/png") or "") for file in evenly_picked(pictures, MOST_PICTURES)],
        sketches=_sketches(run.path),
        previews=[(number, _preview_uri(file)) for number, file in evenly_picked(run.previews(), MOST_PREVIEWS)],
        metrics=run.metrics(),
        notices=run.notices(),
        settings=run.settings,
        resolved=run.resolved,
        versions=run.versions(),
        files=[(file.name, file.stat().st_size) for file in [*meshes, *pictures]],
    )
    write_whole_file(path, report_html(report).encode("utf-8", "replace"))
    return path


def report_html(report: Report) -> str:
    """The whole page."""
    state = "" if report.step >= report.total else f'<span class="unfinished">stopped at {report.step:,}</span>'
    facts = [
        report.created.replace("T", " ")[:16],
        f"{report.total:,} steps {state}",
        f"{readable_seconds(report.elapsed_seconds)} of computing",
        *(escape(str(report.versions[name])) for name in ("device", "rasteriser") if name in report.versions),
    ]
    sections = [
        _pictures(report),
        _section("Pictures", _picture_figures(report.pictures)),
        _section("The drawings over the mesh", _picture_figures(report.sketches)),
        _section("How it formed", _preview_strips(report.previews)),
        _section("Curves", _curves(report.metrics)),
        _section("Where the time of a step went", _time_bars(report.metrics)),
        _section("Notices", _notice_list(report.notices)),
        _section("Files", _file_list(report.files)),
        _section("Settings", _table(report.settings)),
        _section("What followed from them", _table(_flat(report.resolved)), is_folded=True),
        _section("Versions", _table(report.versions), is_folded=True),
    ]
    said = " <i>·</i> ".join(fact for fact in facts if fact)
    content = "\n".join(section for section in sections if section)
    body = f'<main>\n<h1>{escape(report.prompt)}</h1>\n<p class="facts">{said}</p>\n{content}\n</main>'
    return self_contained_page(report.prompt, _STYLE, body)


def evenly_picked(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the items, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    return [items[round(index * (len(items) - 1) / (count - 1))] for index in range(count)]


# ---------------------------------------------------------------------- pictures


def _title(run: RunFolder) -> str:
    """The prompts of the run; what a broken settings.json has in their place is shown as it is."""
    more = run.settings.get("more_prompts")
    prompts = [run.settings.get("prompt", run.path.name), *(more if isinstance(more, list) else [])]
    return " / ".join(str(prompt) for prompt in prompts)


def _first_uri(folder: Path, names: Sequence[str], media_type: str) -> str | None:
    """Of the first of the files that is there."""
    return next((uri for name in names if (uri := _file_uri(folder / name, media_type)) is not None), None)


def _sketches(folder: Path) -> list[tuple[str, str]]:
    """Caption and picture of each drawing; none where the record is missing or damaged."""
    try:
        record = json.loads((folder / SKETCHES_NAME).read_text(encoding="utf-8"))
        named = [(str(each["caption"]), Path(str(each["picture"])).name) for each in record]
    except (OSError, ValueError, TypeError, KeyError):
        return []
    return [(caption, _file_uri(folder / name, "image/png") or "") for caption, name in named]


def _file_uri(path: Path, media_type: str) -> str | None:
    try:
        return _data_uri(path.read_bytes(), media_type)
    except OSError:
        return None


def _data_uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _preview_uri(path: Path) -> str:
    """The preview as a small JPEG: a dozen PNGs would make the page several megabytes."""
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
            small.thumbnail((PREVIEW_WIDTH_PIXELS, PREVIEW_WIDTH_PIXELS))
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=88)
    except OSError:  # torn by a full disk
        return ""
    return _data_uri(buffer.getvalue(), "image/jpeg")


def _pictures(report: Report) -> str:
    if report.turntable is None and report.contact_sheet is None:
        return ""
    turntable = f'<img class="turntable" src="{report.turntable}" alt="turntable">' if report.turntable else ""
    sheet = f'<img class="sheet" src="{report.contact_sheet}" alt="views">' if report.contact_sheet else ""
    return f'<section class="pictures">{turntable}{sheet}</section>'


def _picture_figures(pictures: Iterable[tuple[str, str]]) -> str:
    figures = [
        f'<figure><img src="{uri}" alt="{escape(name, quote=True)}"><figcaption>{escape(name)}</figcaption></figure>'
        for name, uri in pictures
        if uri
    ]
    return f'<div class="results">{"".join(figures)}</div>' if figures else ""


def _preview_strips(previews: Iterable[tuple[int, str]]) -> str:
    figures = [
        f'<figure><img src="{uri}" alt="step {step}"><figcaption>step {step:,}</figcaption></figure>'
        for step, uri in previews
        if uri
    ]
    return f'<div class="previews">{"".join(figures)}</div>' if figures else ""


# ---------------------------------------------------------------------- curves


def _curves(metrics: Sequence[Mapping[str, Any]]) -> str:
    if len(metrics) < 2:
        return ""
    boundaries = _stage_boundaries(metrics)
    loss_names: dict[str, None] = {}
    for line in metrics:
        loss_names.update(dict.fromkeys(line.get("losses") or {}))
    plots = [
        _curve("gradient norm", [(line["step"], line.get("gradient_norm")) for line in metrics], boundaries),
        *(
            _curve(name, [(line["step"], (line.get("losses") or {}).get(name)) for line in metrics], boundaries)
            for name in loss_names
        ),
        _curve("steps per second", [(line["step"], line.get("steps_per_second")) for line in metrics[1:]], boundaries),
        _curve("faces", [(line["step"], line.get("faces")) for line in metrics], boundaries),
    ]
    return f'<div class="curves">{"".join(plots)}</div>'


def _stage_boundaries(metrics: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
    """First step and name of each stage."""
    boundaries: list[tuple[int, str]] = []
    for line in metrics:
        stage = str(line.get("stage", ""))
        if stage and (not boundaries or boundaries[-1][1] != stage):
            boundaries.append((line["step"], stage))
    return boundaries


_PLOT_WIDTH, _PLOT_HEIGHT = 520, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 12, 24


def _curve(name: str, values: Sequence[tuple[int, Any]], boundaries: Sequence[tuple[int, str]]) -> str:
    """One curve as an SVG: the numbers as they are in a faint line, their running median in a strong one."""
    points = [
        (step, float(value)) for step, value in values if isinstance(value, int | float) and math.isfinite(float(value))
    ]
    if len(points) < 2:
        return ""
    first_step, last_step = points[0][0], points[-1][0]
    smooth = _running_median(points)
    is_logarithmic = _spans_decades([value for _, value in points])
    # The axis follows the median and most of the values; a lone spike leaves the picture instead of flattening it.
    in_order = sorted(value for _, value in points)
    low = min(in_order[int(0.01 * len(in_order))], *(value for _, value in smooth))
    high = max(in_order[min(len(in_order) - 1, int(0.99 * len(in_order)))], *(value for _, value in smooth))
    ticks = _log_ticks(low, high) if is_logarithmic else _linear_ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def x_of(step: int) -> float:
        return _LEFT + (step - first_step) / max(last_step - first_step, 1) * (_PLOT_WIDTH - _LEFT - _RIGHT)

    def y_of(value: float) -> float:
        if is_logarithmic:
            share = math.log(max(value, low) / low) / max(math.log(high / low), 1e-12)
        else:
            share = (value - low) / max(high - low, 1e-12)
        return _PLOT_HEIGHT - _BOTTOM - min(max(share, 0.0), 1.0) * (_PLOT_HEIGHT - _TOP - _BOTTOM)

    def path_of(line: Sequence[tuple[int, float]]) -> str:
        return " ".join(f"{x_of(step):.1f},{y_of(value):.1f}" for step, value in evenly_picked(line, MOST_CURVE_POINTS))

    right = _PLOT_WIDTH - _RIGHT
    parts = []
    for tick in ticks:
        y = y_of(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{_short_number(tick)}</text>')
    for step, stage in boundaries:
        if first_step < step <= last_step:
            x = x_of(step)
            parts.append(f'<line class="stage" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_PLOT_HEIGHT - _BOTTOM}"/>')
            near_right = x > 0.75 * _PLOT_WIDTH
            anchor, offset = ("end", -5) if near_right else ("start", 5)
            parts.append(f'<text x="{x + offset:.1f}" y="{_TOP + 9}" text-anchor="{anchor}">{escape(stage)}</text>')
    for step, anchor in ((first_step, "start"), (last_step, "end")):
        parts.append(f'<text x="{x_of(step):.1f}" y="{_PLOT_HEIGHT - 7}" text-anchor="{anchor}">{step:,}</text>')
    parts.append(f'<polyline class="raw" points="{path_of(points)}"/>')
    parts.append(f'<polyline class="middle" points="{path_of(smooth)}"/>')
    scale = "logarithmic, " if is_logarithmic else ""
    caption = f"<b>{escape(name)}</b> <span>{scale}{_short_number(smooth[-1][1])} at the end</span>"
    return (
        f"<figure><figcaption>{caption}</figcaption>"
        f'<svg viewBox="0 0 {_PLOT_WIDTH} {_PLOT_HEIGHT}" role="img" aria-label="{escape(name)} over the steps">'
        f"{''.join(parts)}</svg></figure>"
    )


def _running_median(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Median over a centred window of a twentieth of the curve, which a lone spike does not move."""
    half = max(1, len(points) // 40)
    values = [value for _, value in points]
    return [
        (points[index][0], statistics.median(values[max(0, index - half) : index + half + 1]))
        for index in evenly_picked(range(len(points)), MOST_CURVE_POINTS)
    ]


def _spans_decades(values: Sequence[float]) -> bool:
    """True if a linear axis would flatten most of the curve."""
    in_order = sorted(values)
    low, high = in_order[int(0.02 * len(in_order))], in_order[min(len(in_order) - 1, int(0.98 * len(in_order)))]
    return in_order[0] > 0 and high / low > 30


def _linear_ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers that enclose the range."""
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-30):
        margin = abs(high) * 0.1 or 1.0
        low, high = low - margin, high + margin
    rough = (high - low) / 4
    magnitude = 10.0 ** math.floor(math.log10(rough))
    spacing = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough)
    first, last = math.floor(low / spacing), math.ceil(high / spacing)
    return [index * spacing for index in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten that enclose the range, at most six of them."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    spacing = max(1, math.ceil((last - first) / 5))
    return [10.0**exponent for exponent in range(first, last + spacing, spacing)]


def _short_number(value: float) -> str:
    """`12k`, `0.035`, `1.2e-7`."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6 or size < 1e-3:
        return f"{value:.2g}".replace("e-0", "e-").replace("e+0", "e")
    if size >= 10_000:
        return f"{value / 1000:.4g}k"
    return f"{value:.4g}" if size >= 1 else f"{value:.3g}"


# ---------------------------------------------------------------------- timings, notices, tables


def _time_bars(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Mean milliseconds per part of a step. The first steps compile and warm up, so they do not count."""
    warm = metrics[5:] if len(metrics) > 10 else metrics
    totals: dict[str, float] = {}
    for line in warm:
        for part, seconds in (line.get("seconds") or {}).items():
            if isinstance(seconds, int | float):
                totals[part] = totals.get(part, 0.0) + seconds
    overall = sum(totals.values())
    if overall <= 0:
        return ""
    rows = []
    for part, seconds in sorted(totals.items(), key=lambda item: -item[1]):
        share = seconds / overall
        rows.append(
            f'<tr><th>{escape(str(part))}</th><td class="bar"><i style="width:{100 * share:.1f}%"></i></td>'
            f"<td>{1000 * seconds / len(warm):.1f} ms</td><td>{100 * share:.0f} %</td></tr>"
        )
    total = f'<tr class="total"><th>all parts</th><td></td><td>{1000 * overall / len(warm):.1f} ms</td><td></td></tr>'
    return f'<table class="times">{"".join(rows)}{total}</table>'


def _notice_list(notices: Iterable[Mapping[str, Any]]) -> str:
    items = []
    for notice in notices:
        step = notice.get("step")
        where = f"<span>step {escape(str(step))}</span> " if step is not None else ""
        items.append(f"<li>{where}{escape(str(notice.get('text', '')))}</li>")
    return f'<ul class="notices">{"".join(items)}</ul>' if items else ""


def _file_list(files: Iterable[tuple[str, int]]) -> str:
    items = [
        f'<li><a href="{escape(name, quote=True)}">{escape(name)}</a> <span>{readable_bytes(size)}</span></li>'
        for name, size in files
    ]
    return f'<ul class="files">{"".join(items)}</ul>' if items else ""


def _table(values: Mapping[str, Any]) -> str:
    rows = [
        f"<tr><th>{escape(str(name).replace('_', ' '))}</th><td>{escape(_readable_value(value))}</td></tr>"
        for name, value in values.items()
    ]
    return f'<table class="values">{"".join(rows)}</table>' if rows else ""


def _readable_value(value: Any) -> str:
    if value is None:
        return "–"  # noqa: RUF001  (an en dash, which looks like "nothing" in a table)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(_readable_value(item) for item in value)
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_readable_value(item)}" for name, item in value.items())
    return str(value)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"views": {"count": 8}}` -> `{"views, count": 8}`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}, "))
        else:
            flat[prefix + str(name)] = value
    return flat


def _section(title: str, content: str, is_folded: bool = False) -> str:
    if not content:
        return ""
    if is_folded:
        return f"<section><details><summary><h2>{title}</h2></summary>{content}</details></section>"
    return f"<section><h2>{title}</h2>{content}</section>"


_STYLE = """
:root { --page: #fbfbfa; --card: #ffffff; --ink: #1d2025; --soft: #676d78; --line: #e4e5e8; --strong: #c2410c;
  --accent: #2563eb; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --page: #16181c; --card: #1e2126; --ink: #e8e9ec; --soft: #99a0ac;
  --line: #33373f; --strong: #fb923c; --accent: #7aa5ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.5;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 48px 24px 80px; }
h1 { font-size: 34px; line-height: 1.2; font-weight: 650; letter-spacing: -.015em; margin: 0 0 6px;
  overflow-wrap: anywhere; text-wrap: balance; }
h2 { font-size: 13px; font-weight: 600; letter-spacing: .06em; text-transform: uppercase; color: var(--soft);
  margin: 0 0 14px; }
.facts { color: var(--soft); margin: 0 0 28px; } .facts i { opacity: .5; font-style: normal; padding: 0 4px; }
.unfinished { color: var(--strong); font-weight: 600; }
section { margin: 0 0 44px; }
img { display: block; max-width: 100%; }
.pictures { display: flex; gap: 16px; align-items: stretch; flex-wrap: wrap; }
.pictures img { border-radius: 12px; }
.turntable { flex: 1 1 300px; min-width: 240px; max-width: 368px; object-fit: cover; }
.sheet { flex: 2 1 480px; min-width: 0; max-width: 736px; }
.previews { display: grid; grid-template-columns: repeat(auto-fill, minmax(350px, 1fr)); gap: 16px; }
.previews img { width: 100%; border-radius: 8px; } figure { margin: 0; }
.results { display: flex; flex-wrap: wrap; gap: 16px; }
.results img { min-width: 192px; max-width: 512px; border-radius: 12px; }
figcaption { font-variant-numeric: tabular-nums; }
.previews figcaption, .results figcaption { color: var(--soft); font-size: 13px; margin-top: 4px; }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(440px, 100%), 1fr)); gap: 16px; }
.curves figure { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 14px 16px 8px; }
.curves figcaption { display: flex; justify-content: space-between; gap: 12px; margin-bottom: 6px; }
.curves figcaption b { font-weight: 600; } .curves span, .files span, .notices span { color: var(--soft); }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 11px; }
.grid { stroke: var(--line); } .stage { stroke: var(--soft); stroke-dasharray: 2 3; }
polyline { fill: none; stroke: var(--accent); stroke-linejoin: round; }
.raw { opacity: .28; stroke-width: 1; } .middle { stroke-width: 2; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 400; color: var(--soft); vertical-align: top; white-space: nowrap; width: 1%;
  padding: 5px 24px 5px 0; } td { padding: 5px 0; overflow-wrap: anywhere; }
tr { border-bottom: 1px solid var(--line); }
.times td { white-space: nowrap; width: 1%; padding-left: 20px; text-align: right; }
.times .bar { width: 100%; }
.times .bar i { display: block; height: 10px; border-radius: 3px; background: var(--accent); min-width: 2px; }
.total { border: 0; } .total td, .total th { color: var(--ink); font-weight: 600; }
details h2 { display: inline-block; margin-left: 4px; } summary { cursor: pointer; color: var(--soft); }
ul { margin: 0; padding: 0; list-style: none; } li { padding: 5px 0; border-bottom: 1px solid var(--line); }
a { color: var(--accent); }
"""
