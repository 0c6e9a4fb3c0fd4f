"""Does the embedded prior draw what it is asked for, in the words that jobs say? Judged by the classifier and by eye.

    python benchmarks/prior_quality.py [--samples-per-pair 20] [--prior FOLDER] [--write]

DDIM samples (25 steps, guidance 4) of every colour and shape, of the flaws, the quality words and the view words, the
distance to the training pictures, and diffusers' own pipeline. What is drawn stays in benchmarks/.work, so that an
interrupted run goes on and more samples per pair add to those that are there; `--samples-per-pair 1` gives a first look
in minutes. The tables and pictures go to benchmarks/results.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.progress import track

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent)]

from backend.diffusion import EMBEDDED_FOLDER  # noqa: E402
from backend.diffusion.prompts import (  # noqa: E402
    FINE_AZIMUTH_WORDS,
    QUALITY_SUFFIX,
    QUALITY_WORDS,
    fine_view_words,
    join_prompt,
    with_article,
)
from backend.evaluation.classifier import WorldClassifier, load_classifier  # noqa: E402
from backend.evaluation.intervals import bootstrap_interval  # noqa: E402
from backend.evaluation.picture_statistics import (  # noqa: E402
    FLAW_STATISTICS,
    QUALITY_STATISTIC,
    FlawStatistic,
    separation,
)
from backend.machine import processor_name, usable_processor_count  # noqa: E402
from benchmarks.prior_samples import (  # noqa: E402
    GUIDANCE_SCALE,
    STEPS,
    Images,
    SampleStore,
    features_of,
    named_by,
    save_whole,
    to_bytes,
    to_tensor,
)
from benchmarks.view_reader import ViewReader, eighth_of, eighths_apart  # noqa: E402
from tools.embedded_training.samples import contact_sheet  # noqa: E402
from tools.embedded_world.captions import CaptionShares, PicturePlan, plan_pictures  # noqa: E402
from tools.embedded_world.colours import COLOUR_NAMES, held_out_pairs  # noqa: E402
from tools.embedded_world.pictures import render_pictures, render_plans  # noqa: E402
from tools.embedded_world.shapes import SHAPE_NAMES  # noqa: E402

RESULTS = FOLDER / "results"
TRAINING_PICTURES = FOLDER.parent / "training" / "pictures"

Pair = tuple[str, str]

BATCH = 60  # three batches hold every pair once
UNSEEN_VARIANTS = (24, 40)
UNFLAWED = CaptionShares(painting=0, blockout=0, flawed=0, quality_words=0)
VIEW_SHAPES = ("chair", "car", "mug", "house")
VIEW_READER_LEARNS, VIEW_READER_TESTS = 1200, 300
VIEW_READER_VARIANTS = ((24, 36), (36, 40))  # to learn from and to be tested on; the prior has seen 0 to 23
VIEW_ELEVATION_DEGREES = 20.0
GRID_AZIMUTHS = (0, 45, 135, 270)
NEAREST_SAMPLES = 200
RENDERED_ANEW = 8000
ZOOM = 128  # pixels of a picture in a sheet


@dataclass(frozen=True)
class Finding:
    """One line of the summary."""

    what: str
    measured: str
    count: str
    bar: str
    holds: bool


@dataclass
class Report:
    """What the sections find, in their order."""

    findings: list[Finding] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    pictures: dict[str, Image.Image] = field(default_factory=dict)

    def add_table(self, title: str, text: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.lines += ["", f"## {title}", "", text, "", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
        self.lines += ["| " + " | ".join(row) + " |" for row in rows]


@dataclass(frozen=True)
class Judged:
    """A sample of the first section."""

    pair: Pair
    shape_seen: str
    colour_seen: str

    @property
    def shape_right(self) -> bool:
        return self.shape_seen == self.pair[1]

    @property
    def colour_right(self) -> bool:
        return self.colour_seen == self.pair[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples-per-pair", type=int, default=20)
    parser.add_argument("--prior", type=Path, default=EMBEDDED_FOLDER, help="a pipeline folder that training wrote")
    parser.add_argument("--write", action="store_true", help="write tables and pictures to benchmarks/results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    store = SampleStore(arguments.prior)
    classifier = load_classifier(arguments.prior / "classifier")

    report = Report()
    measure_pairs(report, store, classifier, arguments.samples_per_pair)
    measure_flaws(report, store, batches=min(3, arguments.samples_per_pair))
    measure_quality_words(report, store, batches=min(3, arguments.samples_per_pair))
    measure_view_words(report, store, classifier, seeds=min(8, 2 * arguments.samples_per_pair))
    measure_nearest(report, store, classifier)
    measure_diffusers(report, store, classifier)
    draw_grid(report, store)
    write(report, store, arguments)


# --- Colours and shapes ----------------------------------------------------------------------------------------------


def all_pairs() -> list[Pair]:
    """Every pair in an order without a pattern, so that each batch is a mixture."""
    pairs = [(colour, shape) for colour in COLOUR_NAMES for shape in SHAPE_NAMES]
    return [pairs[index] for index in np.random.default_rng(0).permutation(len(pairs))]


def pair_batches(repeats: int) -> Iterator[tuple[list[Pair], int]]:
    """(pairs, seed) of each batch: all pairs once, then all again with other seeds."""
    pairs = all_pairs()
    for repeat in range(repeats):
        for number, start in enumerate(range(0, len(pairs), BATCH)):
            yield pairs[start : start + BATCH], 1000 * repeat + number


def prompt_of(pair: Pair) -> str:
    return with_article(" ".join(pair))


def measure_pairs(report: Report, store: SampleStore, classifier: WorldClassifier, repeats: int) -> None:
    judged: list[Judged] = []
    for pairs, seed in track(list(pair_batches(repeats)), "colours and shapes"):
        shapes, colours = named_by(classifier, store.draw([prompt_of(pair) for pair in pairs], seed))
        judged += [Judged(*each) for each in zip(pairs, shapes, colours, strict=True)]
    held_out = held_out_pairs()
    for name, chosen, bar in (
        ("trained pairs", [each for each in judged if each.pair not in held_out], 0.95),
        ("held-out pairs", [each for each in judged if each.pair in held_out], 0.80),
    ):
        for what, right in (
            ("shape", [each.shape_right for each in chosen]),
            ("colour", [each.colour_right for each in chosen]),
        ):
            add_share(report, f"{name}, {what} right", right, bar)

    def row(word: str, chosen: list[Judged]) -> list[str]:
        wrong = Counter(each.shape_seen for each in chosen if not each.shape_right).most_common(2)
        return [
            word,
            str(len(chosen)),
            share_with_interval([each.shape_right for each in chosen]),
            share_with_interval([each.colour_right for each in chosen]),
            ", ".join(f"{shape} {count}" for shape, count in wrong) or "-",
        ]

    header = ("", "n", "shape right", "colour right", "shapes seen instead")
    rows = [row(shape, [each for each in judged if each.pair[1] == shape]) for shape in sorted(SHAPE_NAMES)]
    report.add_table("Per shape", "Trained and held-out pairs together.", header, rows)
    rows = [row(colour, [each for each in judged if each.pair[0] == colour]) for colour in sorted(COLOUR_NAMES)]
    report.add_table("Per colour", "Trained and held-out pairs together.", header, rows)


# --- Words that change the picture -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairedPictures:
    """Pictures with and without a word, each two alike in everything else."""

    plain: Images
    changed: Images

    def row(self, statistic: FlawStatistic) -> list[str]:
        plain, changed = self.values(statistic)
        difference = changed - plain
        low, high = bootstrap_interval(difference)
        return [
            f"{plain.mean():.4g}",
            f"{changed.mean():.4g}",
            f"{difference.mean():+.3g} [{low:+.3g}, {high:+.3g}]",
            share_with_interval(statistic.share_moved(plain, changed)),
            f"{separation(plain, changed, statistic.rises):.2f}",
        ]

    def values(self, statistic: FlawStatistic) -> tuple[np.ndarray, np.ndarray]:
        return statistic.measure(self.plain / 255), statistic.measure(self.changed / 255)


WORD_HEADER = (
    "word", "statistic, and where it should go", "of", "n", "without", "with", "paired difference", "right direction",
    "AUC",
)  # fmt: skip


def paired_samples(store: SampleStore, addition: str, batches: int) -> PairedPictures:
    """Samples of the same prompts from the same noise, without and with an addition to the prompt."""
    plain, changed = [], []
    for pairs, seed in track(list(pair_batches(1))[:batches], addition.strip(", ")[:24]):
        prompts = [prompt_of(pair) for pair in pairs]
        plain.append(store.draw(prompts, seed))
        changed.append(store.draw([join_prompt(prompt, addition) for prompt in prompts], seed))
    return PairedPictures(np.concatenate(plain), np.concatenate(changed))


def unflawed_plans(count: int) -> list[PicturePlan]:
    return plan_pictures(count, 7, variants=UNSEEN_VARIANTS, shares=UNFLAWED)


def paired_renders(
    store: SampleStore, plain: list[PicturePlan], changed: list[PicturePlan]
) -> dict[str, PairedPictures]:
    """The world's renders as they are, and as the decoder can draw them at best."""
    renders = PairedPictures(render_plans(plain, store.size).images, render_plans(changed, store.size).images)
    decoded = PairedPictures(store.through_autoencoder(renders.plain), store.through_autoencoder(renders.changed))
    return {"renders through the autoencoder": decoded, "renders": renders}


def word_rows(word: str, statistic: FlawStatistic, pictures: dict[str, PairedPictures]) -> Iterator[list[str]]:
    what = f"{statistic.name}, {'up' if statistic.rises else 'down'}"
    for of, pairs in pictures.items():
        yield [word, what, of, str(len(pairs.plain)), *pairs.row(statistic)]


def measure_flaws(report: Report, store: SampleStore, batches: int) -> None:
    plans = unflawed_plans(BATCH * batches)
    rows = []
    for word, statistics in FLAW_STATISTICS.items():
        samples = paired_samples(store, word, batches)
        renders = paired_renders(store, plans, [replace(plan, flaws=(word,)) for plan in plans])
        for statistic in statistics:
            rows += word_rows(word, statistic, {"samples": samples} | renders)
        moved = statistics[0].share_moved(*samples.values(statistics[0]))
        direction = "rises" if statistics[0].rises else "falls"
        add_share(report, f'"{word}": {statistics[0].name} {direction}, pairs', moved, 0.80)
    text = (
        'Samples of "a red mug, blurry" against "a red mug" from the same noise. Below them the world\'s own renders'
        " with and without the flaw: after the autoencoder, which is the most that the prior can draw, and as they are."
    )
    report.add_table("Flaw words", text, WORD_HEADER, rows)


def measure_quality_words(report: Report, store: SampleStore, batches: int) -> None:
    plans = unflawed_plans(BATCH * batches)
    renders = paired_renders(store, plans, [replace(plan, quality_words=QUALITY_WORDS) for plan in plans])
    samples = paired_samples(store, QUALITY_SUFFIX, batches)
    rows = word_rows(QUALITY_SUFFIX.strip(", "), QUALITY_STATISTIC, {"samples": samples} | renders)
    report.add_table("Quality words", "As above.", WORD_HEADER, list(rows))
    plain, changed = samples.values(QUALITY_STATISTIC)
    relative = changed / plain - 1
    low, high = bootstrap_interval(relative)
    measured = f"{relative.mean():+.1%} [{low:+.1%}, {high:+.1%}]"
    report.findings.append(
        Finding("quality words: gradient energy", measured, str(len(relative)), "interval above 0", low > 0)
    )


# --- Views -----------------------------------------------------------------------------------------------------------


def measure_view_words(report: Report, store: SampleStore, classifier: WorldClassifier, seeds: int) -> None:
    rows, all_samples, all_renders = [], [], []
    for number, shape in enumerate(track(VIEW_SHAPES, "view words")):
        known, unseen = view_reader_renders(store, shape)
        reader = ViewReader.learn(classifier, *known)
        on_renders = eighths_apart(reader.read(unseen[0]), eighth_of(unseen[1]))
        asked = np.tile(np.arange(8), seeds)
        drawn = store.draw(
            [view_prompt(shape, int(eighth) * 45, index // 8) for index, eighth in enumerate(asked)], number
        )
        on_samples = eighths_apart(reader.read(drawn), asked)
        all_samples.append(on_samples)
        all_renders.append(on_renders)
        rows += [view_row(f"{shape}, samples", on_samples), view_row(f"{shape}, renders", on_renders)]
    samples, renders = np.concatenate(all_samples), np.concatenate(all_renders)
    rows += [view_row("all samples", samples), view_row("all renders", renders), chance_row()]
    text = (
        f'Prompts such as "{view_prompt("car", 45, 0)}". A reader of views, learnt from {VIEW_READER_LEARNS} renders'
        " of each shape sent through the autoencoder, says from which eighth of the circle a picture is seen; the table"
        " has how far that is from the eighth asked for. The renders' rows are the reader's own errors, on instances"
        " that it has not seen, sent through the autoencoder as well."
    )
    report.add_table("Fine view words", text, ("", "n", "0°", "45°", "90°", "135°", "180°"), rows)
    add_share(report, "fine view words: seen from the eighth asked for", samples == 0, 0.60)
    add_share(report, "fine view words: at most one eighth away", samples <= 1, 0.80)


def view_reader_renders(store: SampleStore, shape: str) -> list[tuple[Images, np.ndarray]]:
    """(pictures, azimuths) to learn from and to be tested on, sent through the autoencoder: as soft as samples are."""
    path = store.folder / f"views-{shape}.npz"
    if not path.exists():
        arrays, pairs = {}, frozenset((colour, shape) for colour in COLOUR_NAMES)
        for number, count in enumerate((VIEW_READER_LEARNS, VIEW_READER_TESTS)):
            variants = VIEW_READER_VARIANTS[number]
            renders = render_pictures(count, 31 + number, store.size, variants=variants, shares=UNFLAWED, pairs=pairs)
            arrays |= {
                f"images{number}": store.through_autoencoder(renders.images),
                f"azimuths{number}": renders.azimuths,
            }
        save_whole(path, **arrays)
    found = np.load(path)
    return [(found[f"images{number}"], found[f"azimuths{number}"]) for number in (0, 1)]


def view_prompt(shape: str, azimuth_degrees: float, turn: int) -> str:
    """A prompt in one of the shape's colours that training has seen."""
    colours = [colour for colour in COLOUR_NAMES if (colour, shape) not in held_out_pairs()]
    subject = prompt_of((colours[turn % len(colours)], shape))
    return join_prompt(subject, fine_view_words(azimuth_degrees, VIEW_ELEVATION_DEGREES))


def view_row(name: str, apart: np.ndarray) -> list[str]:
    return [name, str(len(apart)), *(f"{share:.0%}" for share in np.bincount(apart, minlength=5) / len(apart))]


def chance_row() -> list[str]:
    return ["by chance", "-", *(f"{count / 8:.0%}" for count in (1, 2, 2, 2, 1))]


# --- Is anything copied? ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Nearest:
    """For each picture how far the nearest training picture is."""

    pixels: np.ndarray
    """Root mean squared difference of the channels, in [0, 1]."""
    features: np.ndarray
    pictures: Images
    """The nearest by pixels."""


def measure_nearest(report: Report, store: SampleStore, classifier: WorldClassifier) -> None:
    held_out, samples, labels = held_out_pairs(), [], []
    for pairs, seed in pair_batches(2):
        drawn = store.draw([prompt_of(pair) for pair in pairs], seed)
        kept = [index for index, pair in enumerate(pairs) if pair not in held_out]
        samples.append(drawn[kept])
        labels += [" ".join(pairs[index]) for index in kept]
    drawn = np.concatenate(samples)[:NEAREST_SAMPLES]
    fresh = render_pictures(NEAREST_SAMPLES, 8, store.size, variants=UNSEEN_VARIANTS, shares=UNFLAWED).images
    fresh = store.through_autoencoder(fresh)  # the decoder's softness brings a picture nearer to any other
    source, of_both = nearest_training_pictures(store, np.concatenate([drawn, fresh]), classifier)
    count = len(drawn)
    rows = []
    for name, values, digits in (("pixels", of_both.pixels, 4), ("features", of_both.features, 3)):
        ours, theirs = values[:count], values[count:]
        for who, distances in (("samples", ours), ("fresh renders", theirs)):
            quantiles = np.quantile(distances, (0, 0.05, 0.25, 0.5, 0.75))
            rows.append([f"{who}, {name}", *(f"{value:.{digits}f}" for value in quantiles), "-"])
        ratios = np.quantile(ours, (0, 0.05, 0.25, 0.5, 0.75)) / np.quantile(theirs, (0, 0.05, 0.25, 0.5, 0.75))
        rows.append([f"ratio, {name}", *(f"{ratio:.2f}" for ratio in ratios), f"{separation(theirs, ours):.2f}"])
    text = (
        f"{count} samples of trained pairs and as many fresh renders of other instances, sent through the autoencoder,"
        f" against {source}. Fresh renders show what not being copied looks like. AUC: how often a sample is further"
        " from its nearest training picture than a fresh render from its own; 0.5 is alike, near 0 is copied (Meehan et"
        " al. 2020)."
    )
    header = ("nearest training picture", "least", "5 %", "25 %", "50 %", "75 %", "AUC")
    report.add_table("Nearest training pictures", text, header, rows)
    ratio = of_both.pixels[:count].min() / of_both.pixels[count:].min()
    what = "nearest sample to a training picture, against the nearest fresh render, in pixels"
    report.findings.append(Finding(what, f"{ratio:.2f}", str(count), ">= 0.5", bool(ratio >= 0.5)))
    closest = np.argsort(of_both.pixels[:count])[:8]
    sheet = [picture for index in closest for picture in (drawn[index], of_both.pictures[index])]
    names = [name for index in closest for name in (labels[index], f"{of_both.pixels[index]:.3f} away")]
    report.pictures["nearest"] = contact_sheet(to_tensor(np.stack(sheet)), names, zoom=ZOOM // store.size)
    report.lines += ["", "The eight closest pairs, each sample to the left of its training picture:", "", "{nearest}"]


def nearest_training_pictures(store: SampleStore, pictures: Images, classifier: WorldClassifier) -> tuple[str, Nearest]:
    """Searches once, which takes minutes, and finds the answer again afterwards; and says among what it searched."""
    source, total, parts = training_pictures(store)
    key = hashlib.sha256(source.encode() + pictures.tobytes()).hexdigest()[:16]
    path = store.folder / f"nearest-{key}.npz"
    if not path.exists():
        found = find_nearest(pictures, parts, total, classifier)
        save_whole(path, pixels=found.pixels, features=found.features, pictures=found.pictures)
    return source, Nearest(**np.load(path))


def training_pictures(store: SampleStore) -> tuple[str, int, Iterator[Images]]:
    """What the prior learnt from last: from disk where it lies there, else some of it rendered anew from its record.

    Returns:
        In words what it is, how many, and the pictures themselves in parts of 500.
    """
    found = re.search(r"^- Pictures: \d+, (\{.*?\})", (store.prior / "PROVENANCE.md").read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{store.prior / 'PROVENANCE.md'} does not say of which pictures the prior learnt")
    record = json.loads(found[1])
    said = f"seed {record['seed']}"
    index = TRAINING_PICTURES / "world.json"
    if index.exists() and json.loads(index.read_text()) == record:
        shards = sorted(TRAINING_PICTURES.glob("world-*.npz"))
        parts = (part for path in shards for part in np.array_split(np.load(path)["images"], 10))
        return f"all {record['count']} pictures of its last training ({said})", record["count"], parts
    count = min(RENDERED_ANEW, record["count"])
    parts = (
        render_pictures(
            min(500, count - first), record["seed"], record["size"], first=first, variants=tuple(record["variants"])
        ).images
        for first in range(0, count, 500)
    )
    what = f"the first {count} of the {record['count']} pictures of its last training ({said}), rendered anew"
    return what, count, parts


def find_nearest(pictures: Images, parts: Iterator[Images], total: int, classifier: WorldClassifier) -> Nearest:
    flat = pictures.reshape(len(pictures), -1).astype(np.float32) / 255
    features = features_of(classifier, pictures)
    best = Nearest(np.full(len(flat), np.inf), np.full(len(flat), np.inf), np.zeros_like(pictures))
    for part in track(parts, "nearest training pictures", total=-(-total // 500)):
        others = part.reshape(len(part), -1).astype(np.float32) / 255
        squares = np.square(flat).sum(1)[:, None] + np.square(others).sum(1)[None] - 2 * flat @ others.T
        index = squares.argmin(axis=1)
        # Exactly for the winner: the difference of large sums above is only good for ranking.
        distances = np.sqrt(np.square(flat - others[index]).mean(axis=1))
        is_nearer = distances < best.pixels
        best.pixels[is_nearer], best.pictures[is_nearer] = distances[is_nearer], part[index[is_nearer]]
        between = np.linalg.norm(features[:, None] - features_of(classifier, part)[None], axis=-1)
        np.minimum(best.features, between.min(axis=1), out=best.features)
    return best


# --- diffusers, and something to look at -----------------------------------------------------------------------------


def measure_diffusers(report: Report, store: SampleStore, classifier: WorldClassifier) -> None:
    """Draws one sample of each shape by diffusers' own pipeline, as somebody without this project would."""
    from diffusers import StableDiffusionPipeline

    trained = [pair for pair in all_pairs() if pair not in held_out_pairs()]
    pairs = [next(pair for pair in trained if pair[1] == shape) for shape in SHAPE_NAMES]
    path = store.folder / "diffusers.npz"
    if not path.exists():
        pipeline = StableDiffusionPipeline.from_pretrained(store.prior, safety_checker=None, feature_extractor=None)
        pipeline.set_progress_bar_config(disable=True)
        drawn = pipeline(
            [prompt_of(pair) for pair in pairs],
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE_SCALE,
            generator=torch.Generator().manual_seed(0),
            output_type="pt",
        ).images
        save_whole(path, images=to_bytes(drawn))
    shapes, colours = named_by(classifier, np.load(path)["images"])
    right = [pair == (colour, shape) for pair, colour, shape in zip(pairs, colours, shapes, strict=True)]
    add_share(report, "diffusers' own pipeline, shape and colour right", right, 0.80)


def draw_grid(report: Report, store: SampleStore) -> None:
    labels, pictures = [], []
    for shape in track(SHAPE_NAMES, "grid"):
        prompts = [view_prompt(shape, azimuth, SHAPE_NAMES.index(shape)) for azimuth in GRID_AZIMUTHS]
        pictures.append(store.draw(prompts, seed=5))
        words = [FINE_AZIMUTH_WORDS[azimuth // 45].removesuffix(" view") for azimuth in GRID_AZIMUTHS]
        labels += [f"{shape} {word}" for word in words]
    report.pictures["samples"] = contact_sheet(to_tensor(np.concatenate(pictures)), labels, zoom=ZOOM // store.size)
    report.lines += ["", "## Samples with fine view words", "", "{samples}"]


# --- The report ------------------------------------------------------------------------------------------------------


def share_with_interval(right: Sequence[bool] | np.ndarray) -> str:
    low, high = bootstrap_interval(np.asarray(right, dtype=np.float64))
    return f"{np.mean(right):.1%} [{low:.1%}, {high:.1%}]"


def add_share(report: Report, what: str, right: Sequence[bool] | np.ndarray, bar: float) -> None:
    holds = bool(np.mean(right) >= bar)
    report.findings.append(Finding(what, share_with_interval(right), str(len(right)), f">= {bar:.0%}", holds))


def write(report: Report, store: SampleStore, arguments: argparse.Namespace) -> None:
    name = f"prior_quality-{date.today().isoformat()}"
    # The results are the embedded prior's; those of another stay beside its samples.
    folder = RESULTS if arguments.write and store.prior == EMBEDDED_FOLDER else store.folder
    names = {key: f"{name}-{key}.png" for key in report.pictures}
    for key, picture in report.pictures.items():
        picture.save(folder / names[key], optimize=True)
    text = format_report(report, store, {key: f"![{key}]({file})" for key, file in names.items()})
    (folder / f"{name}.md").write_text(text)
    print(text)


def format_report(report: Report, store: SampleStore, images: dict[str, str]) -> str:
    lines = [
        f"# The embedded prior, {date.today().isoformat()}",
        "",
        f"`{' '.join(['python benchmarks/prior_quality.py', *sys.argv[1:]])}`; {processor_name()},"
        f" {usable_processor_count()} of {os.cpu_count()} cores, torch {torch.__version__}; weights: manifest"
        f" {store.fingerprint[:16]}.",
        f"DDIM, {STEPS} steps, guidance {GUIDANCE_SCALE:g}; the noise of batch b in repetition r is seeded with"
        " 1000 r + b. In brackets bootstrap intervals of 95 % over the samples; a bar holds where the measured value"
        " does, whatever the interval.",
        "",
        "| what | measured | n | bar | holds |",
        "|---|---|---|---|---|",
        *(
            f"| {each.what} | {each.measured} | {each.count} | {each.bar} | {'yes' if each.holds else '**no**'} |"
            for each in report.findings
        ),
        *(line.format(**images) if line.startswith("{") else line for line in report.lines),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
