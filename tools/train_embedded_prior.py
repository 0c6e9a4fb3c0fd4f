"""Trains the embedded prior and its classifier from pictures of the embedded world, and puts them into the package.

    python -m tools.embedded_world --dataset training/pictures/world.npz --count 40000 --seed 1
    python -m tools.train_embedded_prior --minutes 90

Stages: decoder (the encoder is computed, not trained), classifier, denoiser. Each goes on
where it was broken off; delete a stage's file in the training folder to train it anew. `--export` writes what is
there into the package without training further.

    python -m tools.train_embedded_prior --from backend/diffusion/embedded --learning-rate 5e-4 --minutes 90

goes on from a pipeline folder: its picture code and its classifier are kept as they are, so that results stay
comparable, and words that its captions did not have are added to its tokenizer.
"""

from __future__ import annotations

import copy
import hashlib
import json
import platform
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Annotated

import torch
import typer
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from backend.diffusion import EMBEDDED_FOLDER
from backend.diffusion.prompts import with_article
from backend.evaluation.classifier import WorldClassifier, load_classifier
from tools.embedded_training.architecture import (
    PICTURE_SIZES,
    TRAINED_SIZES,
    caption_words,
    make_autoencoder,
    make_denoiser,
    make_text_encoder,
    make_tokenizer,
    save_pipeline,
    teach_more_words,
)
from tools.embedded_training.autoencoder import compute_encoder, encode_pictures, freeze_encoder, train_decoder
from tools.embedded_training.checkpoints import MovingAverage
from tools.embedded_training.denoiser import TextConditionedDenoiser, train_denoiser
from tools.embedded_training.judge import keep_classifier, render_judge_pictures, train_classifier
from tools.embedded_training.pictures_on_disk import PictureShards
from tools.embedded_training.samples import Networks, contact_sheet, draw, judge_samples
from tools.embedded_training.stage import StageSettings
from tools.embedded_world.colours import COLOUR_NAMES, held_out_pairs
from tools.embedded_world.shapes import SHAPE_NAMES

STAGES = ("decoder", "classifier", "denoiser")
REPOSITORY = Path(__file__).parent.parent
PACKAGED = EMBEDDED_FOLDER


def main(
    pictures: Annotated[Path, typer.Option(help="Shards for the prior.")] = Path("training/pictures"),
    judge_count: Annotated[int, typer.Option(help="Pictures of their own for the classifier.")] = 12000,
    folder: Annotated[Path, typer.Option(help="Checkpoints and sample grids.")] = Path("training"),
    decoder_steps: int = 4000,
    decoder_minutes: Annotated[float | None, typer.Option(help="Budget of time for this stage.")] = None,
    decoder_learning_rate: Annotated[float, typer.Option(help="At its peak; less to refine a trained one.")] = 1e-3,
    classifier_steps: int = 2500,
    denoiser_steps: Annotated[int, typer.Option(help="0 keeps the one of --from.")] = 20000,
    minutes: Annotated[float | None, typer.Option(help="Budget of time for the denoiser.")] = None,
    size: Annotated[int, typer.Option(help="Height and width of the pictures, 64 or 128 pixels.")] = 64,
    batch_size: int = 32,
    learning_rate: Annotated[float, typer.Option(help="Of the denoiser, at its peak.")] = 1e-3,
    seed: int = 0,
    device: str = "cpu",
    threads: Annotated[int, typer.Option(help="Two threads on busy cores wait for each other; 1 is safe.")] = 1,
    kept_classifier: Annotated[
        Path | None,
        typer.Option("--classifier", help="Keep this one, so that results stay comparable; --from keeps its own."),
    ] = None,
    checkpoint_seconds: Annotated[float, typer.Option(help="Between checkpoints of the denoiser.")] = 400.0,
    judge_checkpoints: Annotated[
        int, typer.Option(help="Samples per pair that the classifier judges at every checkpoint of the denoiser.")
    ] = 0,
    stop_after: Annotated[str | None, typer.Option(help="End after this stage and write no package.")] = None,
    start_from: Annotated[
        Path | None, typer.Option("--from", help="Go on from the weights of a pipeline folder; keeps its classifier.")
    ] = None,
    export: Annotated[bool, typer.Option(help="Only judge what is there and write it into the package.")] = False,
    note: Annotated[list[str] | None, typer.Option(help="A line for PROVENANCE.md; may be given again.")] = None,
    samples_per_pair: Annotated[int, typer.Option(help="Samples that the final judgement draws per pair.")] = 4,
) -> None:
    """Trains the embedded prior; see the module's docstring for the whole recipe."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    target = torch.device(device)
    if size not in PICTURE_SIZES:
        raise SystemExit(f"--size must be one of {', '.join(map(str, PICTURE_SIZES))}, got {size}")
    if stop_after not in (None, *STAGES):
        raise SystemExit(f"--stop-after must be one of {', '.join(STAGES)}, got {stop_after}")
    sizes = TRAINED_SIZES[size]
    render_judge_pictures(folder / "judge", judge_count, seed + 1000)
    shards, judge_shards = PictureShards(pictures), PictureShards(folder / "judge")
    if shards.coverage is None:
        raise SystemExit(f"the pictures in {pictures} do not tell what the object covers; render them anew")
    if shards.size != size:
        raise SystemExit(
            f"the pictures in {pictures} have {shards.size} pixels, not {size}; render others with: "
            f"python -m tools.embedded_world --size {size} --dataset {pictures}-{size}/world.npz --count {len(shards)}"
        )

    if start_from is None:
        tokenizer = make_tokenizer(caption_words())
        autoencoder, denoiser, text_encoder = make_autoencoder(size), make_denoiser(size), make_text_encoder(tokenizer)
        compute_encoder(autoencoder, shards, folder, target, sizes)
    else:
        # The denoiser knows this code for pictures and no other.
        known = CLIPTokenizer.from_pretrained(start_from, subfolder="tokenizer")
        tokenizer = make_tokenizer(caption_words())
        autoencoder = AutoencoderKL.from_pretrained(start_from, subfolder="vae")
        denoiser = UNet2DConditionModel.from_pretrained(start_from, subfolder="unet")
        text_encoder = CLIPTextModel.from_pretrained(start_from, subfolder="text_encoder")
        text_encoder = teach_more_words(text_encoder, known, tokenizer)
        freeze_encoder(autoencoder)
        if autoencoder.config.sample_size != size:
            raise SystemExit(
                f"{start_from} draws pictures of {autoencoder.config.sample_size} pixels; give --size "
                f"{autoencoder.config.sample_size}, or leave out --from"
            )
    autoencoder, denoiser, text_encoder = autoencoder.to(target), denoiser.to(target), text_encoder.to(target)
    if start_from is not None:
        kept_classifier = start_from / "classifier"
    classifier = WorldClassifier(list(SHAPE_NAMES), list(COLOUR_NAMES))
    if kept_classifier is not None:
        classifier = load_classifier(kept_classifier)
    classifier = classifier.to(target)

    stages = [name for name in STAGES if name != "classifier" or kept_classifier is None]
    missing = [name for name in stages if not (folder / f"{name}.safetensors").exists()]
    if export and missing:
        raise SystemExit(f"nothing to export: {folder} lacks {', '.join(f'{name}.safetensors' for name in missing)}")
    scale = 0 if export else 1  # a stage with a checkpoint and one step to do has nothing left to do
    shards = shards.moved_to(target)
    every = torch.arange(min(1000, len(shards)) if export else len(shards))
    codes = [encode_pictures(autoencoder, shards, every, target, each) for each in sizes]
    decoder_record = train_decoder(
        autoencoder,
        shards,
        codes,
        StageSettings(
            max(1, decoder_steps * scale), max(16, batch_size // 4), decoder_learning_rate, minutes=decoder_minutes
        ),
        folder,
        target,
    )
    if stop_after == "decoder":
        return
    if kept_classifier is None:
        settings = StageSettings(max(1, classifier_steps * scale), 64, 2e-3)
        classifier_record = train_classifier(classifier, judge_shards, settings, folder, target)
    else:
        classifier_record = keep_classifier(classifier, judge_shards, target)
    if stop_after == "classifier":
        return
    latents = [code * autoencoder.config.scaling_factor for code in codes]

    networks = TextConditionedDenoiser(denoiser, text_encoder)
    shown = [with_article(f"{COLOUR_NAMES[i % len(COLOUR_NAMES)]} {shape}") for i, shape in enumerate(SHAPE_NAMES)]
    shown += ["a red mushroom, back view", "a blue mug, blurry", "a red mug, foggy", "a green tree, noisy, cartoon"]
    shown += [f"a yellow chair, {word}" for word in ("oversaturated", "pixelated", "painting", "high quality, sharp")]

    held_out = held_out_pairs()
    trained = [(colour, shape) for colour in COLOUR_NAMES for shape in SHAPE_NAMES if (colour, shape) not in held_out]
    learning_curve: list[dict] = []

    def judge(parts: Networks, per_pair: int, size: int | None = None) -> dict[str, dict]:
        return {
            "trained pairs": judge_samples(parts, classifier, trained, per_pair, size=size),
            "held-out pairs": judge_samples(parts, classifier, sorted(held_out), per_pair, size=size),
        }

    def draw_samples(average: MovingAverage, step: int) -> None:
        averaged = TextConditionedDenoiser(copy.deepcopy(denoiser), copy.deepcopy(text_encoder))
        average.copy_to(averaged)
        parts = Networks(autoencoder, averaged.denoiser, averaged.text_encoder, tokenizer)
        grid = folder / "samples" / f"step-{step:06d}.png"
        grid.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(draw(parts, shown), shown, zoom=128 // size).save(grid)
        if judge_checkpoints:
            result = judge(parts, judge_checkpoints)
            shares = {f"{which} of {pairs}": result[pairs][which] for pairs in result for which in ("shape", "colour")}
            learning_curve.append({"step": step, **shares})
            print(json.dumps(learning_curve[-1]), flush=True)

    if denoiser_steps == 0 and start_from is not None:
        denoiser_record = {"step": 0, "seconds": 0.0, "curve": [], "kept": "as it was"}
    else:
        denoiser_record = train_denoiser(
            networks,
            tokenizer,
            latents,
            shards.coverage,
            shards.captions,
            StageSettings(
                max(1, denoiser_steps * scale),
                batch_size,
                learning_rate,
                seconds_between_checkpoints=checkpoint_seconds,
                minutes=minutes,
            ),
            folder,
            target,
            draw_samples,
        )

    before = manifest_hash(start_from) if start_from else ""
    history = (start_from / "PROVENANCE.md").read_text() if start_from else ""
    save_pipeline(PACKAGED, autoencoder, denoiser, text_encoder, tokenizer)
    classifier.save(PACKAGED / "classifier")
    parts = Networks(autoencoder, denoiser, text_encoder, tokenizer)
    judgement = judge(parts, samples_per_pair)
    for smaller in sizes[1:]:
        judged = judge(parts, samples_per_pair, smaller)
        judgement |= {f"{pairs} at {smaller} pixels": result for pairs, result in judged.items()}
    print(json.dumps(judgement, indent=1), flush=True)
    contact_sheet(draw(parts, shown), shown, zoom=128 // size).save(folder / "samples" / "final.png")
    write_provenance(
        {"decoder": decoder_record, "classifier": classifier_record, "denoiser": denoiser_record},
        judgement,
        sizes,
        {
            "going on from": f"{start_from}, whose manifest has the SHA-256 {before}" if start_from else "nothing",
            "seed": seed,
            "pictures": shards.description(),
            "judge pictures": judge_shards.description(),
            "batch size": batch_size,
            "sizes in pixels": ", ".join(map(str, sizes)),
        },
        learning_curve,
        note or [],
        history,
    )


def machine_name() -> str:
    """What trained: the GPU where there is one."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()


def manifest_hash(folder: Path) -> str:
    """Names the weights of a pipeline folder that this script wrote."""
    manifest = folder / "manifest.json"
    return hashlib.sha256(manifest.read_bytes()).hexdigest() if manifest.exists() else "none"


def write_provenance(
    records: dict[str, dict],
    judgement: dict,
    sizes: tuple[int, ...],
    settings: dict,
    learning_curve: list[dict],
    notes: list[str],
    history: str,
) -> None:
    """Writes PROVENANCE.md and manifest.json (the hashes that `sketchbridge doctor` checks) beside the weights.

    Args:
        history: The PROVENANCE.md of the weights that training went on from, which is kept without its hashes.
    """
    files = sorted(
        path
        for path in PACKAGED.rglob("*")
        if path.is_file() and path.suffix in (".json", ".safetensors", ".txt") and path.name != "manifest.json"
    )
    hashes = {str(path.relative_to(PACKAGED)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (PACKAGED / "manifest.json").write_text(json.dumps({"picture_sizes": sizes, "files": hashes}, indent=1) + "\n")
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    commit = described.stdout.strip() or "unknown"
    lines = [
        "# Where these weights come from",
        "",
        "Trained from nothing on pictures that this project renders of shapes that it makes (`tools/embedded_world`).",
        "No other picture, text or weight went into them. They are licensed as the package is (Apache-2.0).",
        "",
        f"- Date: {date.today().isoformat()}; commit: {commit}",
        f"- Machine: {machine_name()}, torch {torch.__version__}",
        f"- Command: `python -m tools.train_embedded_prior {' '.join(sys.argv[1:])}`",
        *(f"- {name[0].upper()}{name[1:]}: {value}" for name, value in settings.items()),
        *(f"- {note}" for note in notes),
        "",
        "## Stages",
        "",
        "| stage | steps | minutes | last loss | measured |",
        "|---|---|---|---|---|",
    ]
    for name, record in records.items():
        last = record["curve"][-1][1] if record["curve"] else "-"
        measured = {key: value for key, value in record.items() if key not in ("step", "seconds", "curve")}
        lines.append(f"| {name} | {record['step']} | {record['seconds'] / 60:.0f} | {last} | {measured or ''} |")
    lines.append("")
    if curve := records["denoiser"]["curve"]:
        chosen = curve[:: max(1, len(curve) // 24)]
        lines += ["Curve of the denoiser (step, loss):", ""]
        lines += ["```", *(f"{step:7d}  {loss:.5f}" for step, loss, _ in chosen), "```", ""]
    if learning_curve:
        columns = list(learning_curve[0])
        lines += ["## Quality against steps (of the moving average)", ""]
        lines += [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
        for entry in learning_curve:
            cells = [f"{entry[column]:.1%}" if column != "step" else str(entry[column]) for column in columns]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    lines += ["## What the classifier says of DDIM samples (25 steps, guidance 4)", ""]
    lines += ["| pairs | samples | shape right | colour right |", "|---|---|---|---|"]
    for name, result in judgement.items():
        lines.append(f"| {name} | {result['samples']} | {result['shape']:.1%} | {result['colour']:.1%} |")
    lines += ["", "| shape | right |", "|---|---|"]
    lines += [f"| {shape} | {right:.0%} |" for shape, right in judgement["trained pairs"]["per_shape"].items()]
    lines += ["", "## Hashes (SHA-256)", "", "```", *(f"{value}  {name}" for name, value in hashes.items()), "```", ""]
    if history:
        before, _, _ = history.partition("\n## Hashes")
        before = before.replace("# Where these weights come from", "# What they went on from", 1)
        lines += [re.sub("^#", "##", before, flags=re.MULTILINE), ""]
    (PACKAGED / "PROVENANCE.md").write_text("\n".join(lines))


if __name__ == "__main__":
    typer.run(main)
