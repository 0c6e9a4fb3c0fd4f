"""Are the meshes what was asked for? Every shape of the world and three held-out pairs, judged on the final GLB.

    python benchmarks/mesh_quality.py [--seeds 0 1] [--shapes mug chair] [--quality normal] [--judge-only] [--write]

Each GLB is read back from disk. Its views, from cameras that optimisation does not use, go to the classifier; its solid
is compared with the world's canonical mesh and its parts are counted. Meshes stay in benchmarks/.work, so that an
interrupted run goes on where it was; `--judge-only` looks at those that are there. Exit code 1: a bar does not hold or
a mesh is missing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent)]

from backend.appearance.mesh_files import MeshFile, read_mesh_file  # noqa: E402
from backend.errors import SketchbridgeError  # noqa: E402
from backend.evaluation.classifier import load_classifier  # noqa: E402
from backend.evaluation.intervals import bootstrap_interval  # noqa: E402
from backend.evaluation.mesh_scores import (  # noqa: E402
    VIEW_COUNT,
    SurfaceFacts,
    ViewScores,
    appearance_of,
    mean_saturation,
    render_judged_views,
    surface_facts,
    view_scores,
)
from backend.evaluation.occupancy import OccupancyGrid, occupancy_grid  # noqa: E402
from backend.evaluation.part_counts import back_count, leg_count, tunnel_count  # noqa: E402
from backend.evaluation.volume_overlap import VolumeOverlap, volume_iou  # noqa: E402
from backend.geometry.triangle_mesh import TriangleMesh  # noqa: E402
from backend.machine import processor_name, usable_processor_count  # noqa: E402
from backend.render.rasteriser import choose_rasteriser  # noqa: E402
from backend.warm_up import compile_kernels  # noqa: E402
from benchmarks.mesh_runs import MadeMesh, MeshRun, find_mesh, make_mesh  # noqa: E402
from tools.embedded_world.shapes import SHAPE_NAMES, canonical_mesh, make_shape  # noqa: E402
from tools.embedded_world.solids import ColouredMesh  # noqa: E402

RESULTS = FOLDER / "results"
TRAINED_PAIRS = (
    ("red", "mushroom"), ("green", "tree"), ("blue", "rocket"), ("pink", "donut"), ("yellow", "cone"),
    ("cyan", "snowman"), ("purple", "chair"), ("orange", "mug"), ("red", "house"), ("yellow", "star"),
    ("pink", "heart"), ("green", "bottle"), ("blue", "car"), ("purple", "hourglass"), ("white", "table"),
    ("cyan", "sphere"), ("orange", "cube"), ("black", "cylinder"),
)  # fmt: skip
"""Every shape once, each colour once or twice, and no pair that is held out from the prior's training."""
HELD_OUT_PAIRS = (("blue", "mushroom"), ("purple", "mug"), ("orange", "rocket"))

COUNTERS: dict[str, Callable[[OccupancyGrid], int]] = {"legs": leg_count, "tunnels": tunnel_count, "backs": back_count}
EXPECTED_PARTS: dict[str, dict[str, int]] = {name: {"tunnels": 0} for name in SHAPE_NAMES} | {
    "donut": {"tunnels": 1},
    "mug": {"tunnels": 1},
    "chair": {"legs": 4, "tunnels": 0, "backs": 1},
    "table": {"legs": 4, "tunnels": 0},
    "hourglass": {},  # its posts leave gaps, whose number is a matter of taste
}
PART_NAMES = {("mug", "tunnels"): "handles", ("donut", "tunnels"): "holes"}
"""What a part is called where the general word would puzzle."""
BAR_SECONDS = 300
_VIEW_PIXELS = 128


@dataclass(frozen=True)
class JudgedMesh:
    """One row of the table."""

    run: MeshRun
    seconds: float
    cpu_seconds: float | None
    views: ViewScores
    overlap: VolumeOverlap
    parts: dict[str, int]
    """Those that the shape has an expectation for."""
    surface: SurfaceFacts
    saturation: float

    @property
    def is_held_out(self) -> bool:
        return (self.run.colour, self.run.shape) not in TRAINED_PAIRS

    @property
    def parts_are_right(self) -> bool:
        return self.parts == EXPECTED_PARTS[self.run.shape]


def main() -> None:
    arguments = parsed_arguments()
    torch.set_num_threads(1)
    compile_kernels()
    runs = chosen_runs(arguments.shapes, arguments.seeds, arguments.quality)
    judged, pictures = [], []
    for number, run in enumerate(runs, start=1):
        made = made_or_told(run, arguments.judge_only, f"[{number}/{len(runs)}]")
        if made is None:
            continue
        judged.append(judge(made))
        pictures.append(views_of(read_mesh_file(made.path)))
        print(f"[{number}/{len(runs)}] {progress_line(judged[-1])}", flush=True)
    if not judged:
        sys.exit("none of these meshes has been made; leave --judge-only out to make them")

    name = f"mesh_quality-{date.today().isoformat()}" + (
        "" if arguments.quality == "normal" else f"-{arguments.quality}"
    )
    text = report(judged, natural_overlaps({mesh.run.shape for mesh in judged}), len(runs), name)
    print(text)
    if arguments.write:
        (RESULTS / f"{name}.md").write_text(text)
        view_sheet([row_label(mesh) for mesh in judged], pictures).save(RESULTS / f"{name}.png", optimize=True)
    sys.exit(len(judged) < len(runs) or any(not bar.holds for bar in bars(judged)))


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--shapes", nargs="+", default=list(SHAPE_NAMES), choices=SHAPE_NAMES, metavar="SHAPE")
    parser.add_argument("--quality", default="normal", choices=("draft", "normal", "high"))
    parser.add_argument("--judge-only", action="store_true", help="judge what is there, make nothing")
    parser.add_argument("--write", action="store_true", help="write table and sheet to benchmarks/results")
    return parser.parse_args()


def chosen_runs(shapes: Iterable[str], seeds: Iterable[int], quality: str) -> list[MeshRun]:
    """All prompts of the first seed first, so that an interrupted study has seen each."""
    pairs = [pair for pair in (*TRAINED_PAIRS, *HELD_OUT_PAIRS) if pair[1] in set(shapes)]
    return [MeshRun(colour, shape, seed, quality) for seed in seeds for colour, shape in pairs]


def made_or_told(run: MeshRun, must_exist: bool, place: str) -> MadeMesh | None:
    """The mesh, made if need be; None, with a line that says why, where there is none."""
    try:
        made = find_mesh(run) if must_exist else make_mesh(run)
    except SketchbridgeError as error:  # such as an empty surface, which must not end the study of the others
        print(f"{place} {run.prompt}, seed {run.seed}: failed, {error}", flush=True)
        return None
    if made is None:
        print(f"{place} {run.prompt}, seed {run.seed}: not made yet", flush=True)
    return made


# ---------------------------------------------------------------------- judging one mesh


def judge(made: MadeMesh) -> JudgedMesh:
    read = read_mesh_file(made.path)
    run = made.run
    grid = occupancy_grid(read.mesh)
    views = render_judged_views(choose_rasteriser(torch.device("cpu")), read.mesh, appearance_of(read))
    return JudgedMesh(
        run=run,
        seconds=made.seconds,
        cpu_seconds=made.cpu_seconds,
        views=view_scores(load_classifier(), views.images, run.shape, run.colour),
        overlap=volume_iou(read.mesh, triangle_mesh(canonical_mesh(run.shape))),
        parts={part: COUNTERS[part](grid) for part in EXPECTED_PARTS[run.shape]},
        surface=surface_facts(read.mesh, read.uv),
        saturation=mean_saturation(views),
    )


def views_of(read: MeshFile, resolution: int = _VIEW_PIXELS) -> np.ndarray:
    """The judged views, larger: uint8 [views, height, width, 3]."""
    views = render_judged_views(choose_rasteriser(torch.device("cpu")), read.mesh, appearance_of(read), resolution)
    return (views.images.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def triangle_mesh(mesh: ColouredMesh) -> TriangleMesh:
    return TriangleMesh(torch.from_numpy(mesh.positions), torch.from_numpy(mesh.faces))


@cache
def natural_overlap(shape: str, seed: int = 0) -> float:
    """IoU of an instance of the world itself with the canonical mesh: what a perfect answer may have."""
    instance = make_shape(shape, np.random.default_rng(seed))
    return volume_iou(triangle_mesh(instance), triangle_mesh(canonical_mesh(shape))).iou


def natural_overlaps(shapes: Iterable[str]) -> list[float]:
    return [natural_overlap(shape) for shape in sorted(shapes)]


def part_name(shape: str, part: str) -> str:
    return PART_NAMES.get((shape, part), part)


def parts_text(mesh: JudgedMesh) -> str:
    """`legs 3/4, backs 1/1`: found / expected; what is wrong in bold."""
    expected = EXPECTED_PARTS[mesh.run.shape]
    texts = [
        (f"{part_name(mesh.run.shape, part)} {found}/{expected[part]}", found == expected[part])
        for part, found in mesh.parts.items()
    ]
    return ", ".join(text if is_right else f"**{text}**" for text, is_right in texts)


def progress_line(mesh: JudgedMesh) -> str:
    return (
        f"{mesh.run.prompt}, seed {mesh.run.seed}: shape {mesh.views.shape:.0%}, colour {mesh.views.colour:.0%}, "
        f"IoU {mesh.overlap.iou:.2f}, {parts_text(mesh).replace('**', '') or 'no parts to count'}, {mesh.seconds:.0f} s"
    )


# ---------------------------------------------------------------------- all meshes together


@dataclass(frozen=True)
class Bar:
    """A number that was measured beside the one that was asked for."""

    measure: str
    count: int
    value: str
    interval: str
    bar: str
    holds: bool


def bars(judged: Sequence[JudgedMesh]) -> list[Bar]:
    """What must hold. Shape, colour and IoU are asked of the pairs that the prior has seen, the rest of every mesh."""
    trained = [mesh for mesh in judged if not mesh.is_held_out]
    seconds = [mesh.seconds for mesh in judged]
    found = []
    if trained:
        shape, colour = per_prompt(trained, lambda m: m.views.shape), per_prompt(trained, lambda m: m.views.colour)
        iou = per_prompt(trained, lambda m: m.overlap.iou)
        found = [
            Bar("shape named right, mean", len(shape), f"{shape.mean():.0%}", _range(shape, "{:.0%}"), "at least 80%",
                bool(shape.mean() >= 0.80)),
            Bar("colour named right, mean", len(colour), f"{colour.mean():.0%}", _range(colour, "{:.0%}"),
                "at least 90%", bool(colour.mean() >= 0.90)),
            Bar("IoU with the canonical mesh, median", len(iou), f"{np.median(iou):.2f}",
                _range(iou, "{:.2f}", np.median), "at least 0.60", bool(np.median(iou) >= 0.60)),
        ]  # fmt: skip
    return [
        *found,
        _all_of("closed", judged, lambda m: m.surface.is_closed),
        _all_of("one component", judged, lambda m: m.surface.components == 1),
        _all_of("no overlap in the UV map", judged, lambda m: m.surface.uv_overlap == 0),
        Bar("seconds, longest", len(judged), f"{max(seconds):.0f}", f"median {np.median(seconds):.0f}",
            f"under {BAR_SECONDS}", max(seconds) < BAR_SECONDS),
    ]  # fmt: skip


def per_prompt(judged: Sequence[JudgedMesh], measure: Callable[[JudgedMesh], float]) -> np.ndarray:
    """One number per prompt, the mean over its seeds: two seeds of one prompt are not independent."""
    values: dict[tuple[str, str], list[float]] = {}
    for mesh in judged:
        values.setdefault((mesh.run.colour, mesh.run.shape), []).append(float(measure(mesh)))
    return np.array([np.mean(each) for each in values.values()])


def _all_of(measure: str, judged: Sequence[JudgedMesh], is_true: Callable[[JudgedMesh], bool]) -> Bar:
    count = sum(is_true(mesh) for mesh in judged)
    return Bar(measure, len(judged), f"{count} of {len(judged)}", "", "all", count == len(judged))


def _range(values: np.ndarray, form: str, statistic: Callable[..., np.ndarray] = np.mean) -> str:
    low, high = bootstrap_interval(values, statistic)
    return f"{form.format(low)} to {form.format(high)}"


def report(judged: Sequence[JudgedMesh], natural: Sequence[float], wanted: int, picture: str) -> str:
    """The table and the summary as Markdown.

    Args:
        natural: IoU of the world's own instances with the canonical meshes, for comparison.
        wanted: How many meshes the study has when it is complete.
        picture: File name of the contact sheet, without suffix.
    """
    complete = "" if len(judged) == wanted else f" **{wanted - len(judged)} of {wanted} meshes are missing.**"
    lines = [
        f"# Mesh quality, {judged[0].run.quality} quality, {date.today().isoformat()}",
        "",
        f"`{' '.join(['python benchmarks/mesh_quality.py', *sys.argv[1:]])}`; embedded prior, default settings,"
        f" {processor_name()}, {usable_processor_count()} of {os.cpu_count()} cores.{complete}",
        "",
        f"Shape and colour: share of {VIEW_COUNT} views of the GLB that the classifier names right. IoU: with the"
        " world's canonical mesh, after the best yaw, scale and shift; yaw: the turn that this took. Parts: found /"
        " expected. Saturation: mean HSV saturation of the object in these views.",
        "",
        *_row_table(judged),
        "",
        "## Summary",
        "",
        "Intervals are 95% bootstrap percentile intervals over prompts. `n` counts prompts, or meshes where all are"
        " asked. Shape, colour and IoU are those of the pairs that the prior has seen in training.",
        "",
        "| measure | n | value | 95% interval | bar | holds |",
        "|---|---|---|---|---|---|",
        *(
            f"| {bar.measure} | {bar.count} | {bar.value} | {bar.interval} | {bar.bar}"
            f" | {'yes' if bar.holds else '**no**'} |"
            for bar in bars(judged)
        ),
        "",
        "Without a bar:",
        "",
        *(f"- {line}" for line in _further_lines(judged, natural)),
        "",
        f"![Eight views of each mesh]({picture}.png)",
    ]
    return "\n".join(lines) + "\n"


def _row_table(judged: Sequence[JudgedMesh]) -> list[str]:
    columns = (
        "prompt", "seed", "shape", "colour", "seen as", "IoU", "yaw", "parts", "faces", "closed", "components",
        "UV overlap", "saturation", "seconds", "CPU seconds",
    )  # fmt: skip
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for mesh in judged:
        overlap = mesh.surface.uv_overlap
        cells = (
            f"{mesh.run.colour} {mesh.run.shape}" + (" (held out)" if mesh.is_held_out else ""),
            str(mesh.run.seed),
            f"{mesh.views.shape:.0%}",
            f"{mesh.views.colour:.0%}",
            mesh.views.seen_as,
            f"{mesh.overlap.iou:.2f}",
            f"{(mesh.overlap.yaw_degrees + 180) % 360 - 180:+.0f}°",
            parts_text(mesh),
            str(mesh.surface.faces),
            "yes" if mesh.surface.is_closed else "**no**",
            str(mesh.surface.components),
            "no UVs" if overlap is None else f"{overlap:.4%}" if overlap else "0",
            f"{mesh.saturation:.2f}",
            f"{mesh.seconds:.0f}",
            "" if mesh.cpu_seconds is None else f"{mesh.cpu_seconds:.0f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _further_lines(judged: Sequence[JudgedMesh], natural: Sequence[float]) -> list[str]:
    with_parts = [mesh for mesh in judged if mesh.parts]
    special = [mesh for mesh in with_parts if mesh.run.shape in ("chair", "table", "mug", "donut")]
    right = sum(mesh.parts_are_right for mesh in with_parts)
    lines = [f"parts: {right} of {len(with_parts)} meshes have every part as often as expected"]
    if special:
        right = sum(mesh.parts_are_right for mesh in special)
        lines[0] += f"; of chairs, tables, mugs and donuts {right} of {len(special)}"
    held_out = [mesh for mesh in judged if mesh.is_held_out]
    if held_out:
        shape, colour = per_prompt(held_out, lambda m: m.views.shape), per_prompt(held_out, lambda m: m.views.colour)
        lines.append(
            f"held-out pairs, which the prior has never seen together: shape {shape.mean():.0%}, colour"
            f" {colour.mean():.0%} (n = {len(shape)})"
        )
    lines.append(
        f"for comparison, instances of the world itself have a median IoU of {np.median(natural):.2f} with the"
        f" canonical mesh (n = {len(natural)}, from {min(natural):.2f} to {max(natural):.2f})"
    )
    return [*lines, f"mean saturation of the views: {np.mean([mesh.saturation for mesh in judged]):.2f}"]


def row_label(mesh: JudgedMesh) -> str:
    return f"{mesh.run.colour}\n{mesh.run.shape}\nseed {mesh.run.seed}\n\nshape {mesh.views.shape:.0%}\n" + (
        f"colour {mesh.views.colour:.0%}\nIoU {mesh.overlap.iou:.2f}"
    )


def view_sheet(labels: Sequence[str], pictures: Sequence[np.ndarray]) -> Image.Image:
    """A row of views per mesh. Pictures are uint8 [views, height, width, 3]."""
    size, count, left = pictures[0].shape[1], len(pictures[0]), 96
    sheet = Image.new("RGB", (left + size * count, size * len(pictures)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for row, (label, views) in enumerate(zip(labels, pictures, strict=True)):
        draw.multiline_text((8, row * size + 8), label, fill=(40, 42, 48), font=font, spacing=2)
        for column, view in enumerate(views):
            sheet.paste(Image.fromarray(view), (left + column * size, row * size))
    return sheet


if __name__ == "__main__":
    main()
