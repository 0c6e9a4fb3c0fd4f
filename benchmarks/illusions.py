"""Do illusions show what they should? A picture per pair and seed, named by the classifier upright and transformed.

    python benchmarks/illusions.py [--seeds 5] [--pairs 6] [--change distillation.guidance_scale=7.5] [--write]

Bar: the classifier names both shapes in at least 60 % of the seeds. Pictures stay in benchmarks/.work/illusions, under
a hash over everything that decides what comes out, so that an interrupted run goes on. `--change` studies settings
other than the defaults, by their path in PictureConfig.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from rich.progress import track

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent)]

from backend.durable_files import write_whole_file  # noqa: E402
from backend.evaluation.classifier import WorldClassifier, load_classifier  # noqa: E402
from backend.evaluation.intervals import bootstrap_interval  # noqa: E402
from backend.evaluation.table_plan import words_of  # noqa: E402
from backend.machine import prior_fingerprint, processor_name, usable_processor_count  # noqa: E402
from backend.picture_config import IllusionSettings, PictureConfig, Transform  # noqa: E402
from backend.pictures import encode_picture  # noqa: E402
from backend.tasks.illusion import Illusion  # noqa: E402
from benchmarks.mesh_runs import replace_at  # noqa: E402
from benchmarks.prior_samples import named_by  # noqa: E402

RESULTS = FOLDER / "results"
WORK = FOLDER / ".work" / "illusions"
BAR = 0.6
SHOWN_PIXELS = 96

Changes = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Pair:
    """What is to be seen upright, and what after the transform."""

    upright: str
    transformed: str
    transform: Transform = "rotate-180"

    def __str__(self) -> str:
        return f"{self.upright} / {self.transformed}, {self.transform}"


PAIRS = (
    Pair("a red mushroom", "a red mug"),
    Pair("a green tree", "a green bottle"),
    Pair("a blue rocket", "a blue heart"),
    Pair("a yellow cone", "a yellow star"),
    Pair("a pink snowman", "a pink heart", "flip"),
    Pair("an orange house", "an orange hourglass", "rotate-90"),
)
"""Of one colour each, since a turn changes none. Chosen before anything was measured."""


@dataclass(frozen=True)
class Run:
    """One illusion."""

    pair: Pair
    seed: int
    changes: Changes = ()

    @property
    def settings(self) -> IllusionSettings:
        return IllusionSettings(
            self.pair.upright, more_prompts=[self.pair.transformed], transform=self.pair.transform, seed=self.seed
        )

    @property
    def config(self) -> PictureConfig:
        config = self.settings.resolve()
        for path, value in self.changes:
            config = replace_at(config, path.split("."), value)
        return config

    @property
    def path(self) -> Path:
        """Of the views side by side; the record lies beside it."""
        decides = f"{self.config} {self.pair} {self.seed} {prior_fingerprint('embedded')}"
        return WORK / f"{hashlib.sha256(decides.encode()).hexdigest()[:16]}.png"


@dataclass(frozen=True)
class Seen:
    """What the classifier says of the two views."""

    shapes: list[bool]
    colours: list[bool]
    named: list[str]
    """The shapes that it names."""
    cpu_seconds: float

    @property
    def is_illusion(self) -> bool:
        return all(self.shapes)


def make(run: Run, classifier: WorldClassifier) -> Seen:
    """Makes and judges an illusion, or finds what was said of it before."""
    record = run.path.with_suffix(".json")
    if record.exists():
        return Seen(**json.loads(record.read_text()))
    began = time.process_time()
    job = Illusion(run.settings, config=run.config)
    for _ in job.steps():
        pass
    seconds = time.process_time() - began
    sheet = job.finish().sheet
    assert sheet is not None  # an illusion always has one
    views = np.stack(np.split(sheet, 2, axis=1))
    shapes, colours = named_by(classifier, views)
    prompts = (run.pair.upright, run.pair.transformed)
    seen = Seen(
        [words_of(prompt, classifier.shapes) == shape for prompt, shape in zip(prompts, shapes, strict=True)],
        [words_of(prompt, classifier.colours) == colour for prompt, colour in zip(prompts, colours, strict=True)],
        shapes,
        round(seconds, 1),
    )
    WORK.mkdir(parents=True, exist_ok=True)
    write_whole_file(run.path, encode_picture(sheet, ".png"))
    # Last: a picture without its record is made again.
    write_whole_file(record, json.dumps(dataclasses.asdict(seen)).encode())
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=len(PAIRS), choices=range(1, len(PAIRS) + 1))
    parser.add_argument(
        "--change", action="append", default=[], metavar="PATH=VALUE", type=parsed_change, help="may be given again"
    )
    parser.add_argument("--write", action="store_true", help="write table and pictures to benchmarks/results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    classifier = load_classifier()
    changes = tuple(arguments.change)
    runs = [Run(pair, seed, changes) for seed in range(arguments.seeds) for pair in PAIRS[: arguments.pairs]]
    seen = {run: make(run, classifier) for run in track(runs, "illusions")}
    name = f"illusions-{date.today().isoformat()}"
    text = report(seen, name)
    print(text)
    folder = RESULTS if arguments.write else WORK
    (folder / f"{name}.md").write_text(text)
    sheet(seen).save(folder / f"{name}.png", optimize=True)


def parsed_change(text: str) -> tuple[str, Any]:
    """`steps=800` as a path in PictureConfig and its value."""
    path, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} must be PATH=VALUE, such as distillation.guidance_scale=7.5")
    try:
        return path, json.loads(value)
    except ValueError:
        return path, value


def report(seen: dict[Run, Seen], picture: str) -> str:
    """A row per pair and one for all."""
    first = next(iter(seen))
    config, seeds = first.config, len({run.seed for run in seen})
    lines = [
        f"# Illusions, {date.today().isoformat()}",
        "",
        f"`{' '.join(['python benchmarks/illusions.py', *sys.argv[1:]])}`; embedded prior (manifest"
        f" {str(prior_fingerprint('embedded'))[:16]}), {processor_name()}, one thread of {usable_processor_count()} of"
        f" {os.cpu_count()} cores, torch {torch.__version__}; {config.steps} steps, method"
        f" {config.distillation.method}, guidance {config.distillation.guidance_scale:g}, learning rate"
        f" {config.learning_rate:g}.",
        "",
        f"{seeds} seeds of each pair. The classifier names the shape upright (A) and after the transform (B); an"
        " illusion needs both. In brackets the bootstrap interval of 95 % over the pictures; over so few seeds of one"
        f" pair none is given. Bar: at least {BAR:.0%} of the seeds.",
        "",
        "| A / B | A right | B right | both | both colours | holds | seen instead | CPU seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for pair in dict.fromkeys(run.pair for run in seen):
        lines.append(_row(str(pair), [each for run, each in seen.items() if run.pair == pair]))
    both = [float(each.is_illusion) for each in seen.values()]
    low, high = bootstrap_interval(both)
    lines += [
        _row("**all**", list(seen.values())),
        "",
        f"Both shapes right: {np.mean(both):.0%} [{low:.0%}, {high:.0%}] of {len(both)}.",
        "",
        f"![A pair per row, two views of each seed]({picture}.png)",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, seen: list[Seen]) -> str:
    share = [float(np.mean([each.shapes[view] for each in seen])) for view in (0, 1)]
    both = float(np.mean([each.is_illusion for each in seen]))
    colours = float(np.mean([all(each.colours) for each in seen]))
    wrong = [each.named[view] for view in (0, 1) for each in seen if not each.shapes[view]]
    instead = ", ".join(f"{shape} {wrong.count(shape)}" for shape in dict.fromkeys(wrong)) or "-"
    holds = "yes" if both >= BAR else "**no**"
    seconds = float(np.mean([each.cpu_seconds for each in seen]))
    return (
        f"| {name} | {share[0]:.0%} | {share[1]:.0%} | {both:.0%} | {colours:.0%} | {holds} | {instead} |"
        f" {seconds:.0f} |"
    )


def sheet(seen: dict[Run, Seen]) -> Image.Image:
    """A pair per row, the two views of each seed beside each other; a green line under those that are illusions."""
    pairs = list(dict.fromkeys(run.pair for run in seen))
    seeds = sorted({run.seed for run in seen})
    width, height = 2 * SHOWN_PIXELS + 8, SHOWN_PIXELS + 20
    picture = Image.new("RGB", (width * len(seeds), height * len(pairs)), "white")
    pen = ImageDraw.Draw(picture)
    for run, each in seen.items():
        x, y = seeds.index(run.seed) * width, pairs.index(run.pair) * height
        if run.seed == seeds[0]:
            pen.text((x + 2, y + 2), str(run.pair), fill=(40, 42, 48))
        with Image.open(run.path) as views:
            picture.paste(views.convert("RGB").resize((2 * SHOWN_PIXELS, SHOWN_PIXELS)), (x, y + 14))
        if each.is_illusion:
            pen.line([(x, y + height - 4), (x + 2 * SHOWN_PIXELS, y + height - 4)], fill=(21, 128, 61), width=3)
    return picture


if __name__ == "__main__":
    main()
