"""Trains the embedded prior's ControlNet on drawings of its world, and puts it into the package.

    python -m tools.embedded_world --size 128 --drawings --dataset training/drawn/world.npz --count 40000 --seed 4
    python -m tools.train_embedded_control --steps 10000

The prior itself stays as it is. Broken off, it goes on from its checkpoint; delete `control.safetensors` in the
training folder to begin anew.
"""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import date
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from backend.diffusion import EMBEDDED_CONTROL_FOLDER, EMBEDDED_FOLDER
from tools.embedded_training.architecture import TRAINED_SIZES
from tools.embedded_training.autoencoder import encode_pictures, freeze_encoder
from tools.embedded_training.control import control_error, make_control_network, train_control_network
from tools.embedded_training.denoiser import TextConditionedDenoiser
from tools.embedded_training.pictures_on_disk import PictureShards
from tools.embedded_training.samples import Networks, draw
from tools.embedded_training.stage import StageSettings
from tools.embedded_world.pictures import render_pictures
from tools.train_embedded_prior import machine_name, manifest_hash

UNSEEN_VARIANTS = (24, 40)
"""Instances of every class that no training picture shows."""
JUDGED_TIMESTEPS = (200, 400, 600, 800, 950)


def main(
    pictures: Annotated[Path, typer.Option(help="Shards with drawings.")] = Path("training/drawn"),
    folder: Annotated[Path, typer.Option(help="Checkpoints and sample grids.")] = Path("training"),
    steps: int = 10000,
    minutes: Annotated[float | None, typer.Option(help="Budget of time.")] = None,
    batch_size: int = 32,
    learning_rate: float = 5e-4,
    judged: Annotated[int, typer.Option(help="Unseen pictures that the result is judged on.")] = 256,
    seed: int = 0,
    device: str = "cpu",
    threads: Annotated[int, typer.Option(help="Two threads on busy cores wait for each other; 1 is safe.")] = 1,
    target: Annotated[Path, typer.Option("--output", "-o", help="Where the network is put.")] = EMBEDDED_CONTROL_FOLDER,
    note: Annotated[list[str] | None, typer.Option(help="A line for PROVENANCE.md; may be given again.")] = None,
) -> None:
    """Trains the ControlNet; see the module's docstring for the whole recipe."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    on = torch.device(device)
    tokenizer = CLIPTokenizer.from_pretrained(EMBEDDED_FOLDER, subfolder="tokenizer")
    autoencoder = AutoencoderKL.from_pretrained(EMBEDDED_FOLDER, subfolder="vae").to(on)
    freeze_encoder(autoencoder)
    networks = TextConditionedDenoiser(
        UNet2DConditionModel.from_pretrained(EMBEDDED_FOLDER, subfolder="unet"),
        CLIPTextModel.from_pretrained(EMBEDDED_FOLDER, subfolder="text_encoder"),
    ).to(on)
    network = make_control_network(networks.denoiser).to(on)

    shards = PictureShards(pictures)
    if shards.drawings is None or shards.coverage is None:
        raise SystemExit(f"the pictures in {pictures} come without drawings; render them anew with --drawings")
    sizes = TRAINED_SIZES[shards.size]
    shards = shards.moved_to(on)
    every = torch.arange(len(shards))
    scale = autoencoder.config.scaling_factor
    latents = [encode_pictures(autoencoder, shards, every, on, size) * scale for size in sizes]
    record = train_control_network(
        network,
        networks,
        tokenizer,
        latents,
        shards.drawings,
        shards.coverage,
        shards.captions,
        StageSettings(steps, batch_size, learning_rate, minutes=minutes, seconds_between_checkpoints=120.0),
        folder,
        on,
    )
    save(network, target)
    measured = _judge(network, networks, autoencoder, tokenizer, judged, shards.size, folder, on)
    print(json.dumps(measured, indent=1), flush=True)
    settings = {
        "for": f"the prior whose manifest has the SHA-256 {manifest_hash(EMBEDDED_FOLDER)}",
        "pictures": shards.description(),
        "seed": seed,
        "batch size": batch_size,
        "sizes in pixels": ", ".join(map(str, sizes)),
    }
    _write_provenance(target, record, measured, settings, note or [])


def save(network: ControlNetModel, target: Path) -> None:
    """Writes a folder that `ControlNetModel.from_pretrained` loads, in half precision; safetensors only."""
    network.half().save_pretrained(target, safe_serialization=True)
    network.float()  # so that what is measured next are the rounded weights that were written


def _judge(
    network: ControlNetModel,
    networks: TextConditionedDenoiser,
    autoencoder: AutoencoderKL,
    tokenizer: CLIPTokenizer,
    count: int,
    size: int,
    folder: Path,
    device: torch.device,
) -> dict[str, dict[str, float]]:
    """Errors on unseen instances with and without their drawings; and a sheet of drawings with what comes of them."""
    unseen = render_pictures(count, 77, size, variants=UNSEEN_VARIANTS, with_drawings=True)
    images = torch.from_numpy(unseen.images).permute(0, 3, 1, 2).float().to(device) / 127.5 - 1
    with torch.no_grad():
        codes = torch.cat([autoencoder.encode(part).latent_dist.mean for part in images.split(64)])
    latents, drawings = codes * autoencoder.config.scaling_factor, torch.from_numpy(unseen.drawings)
    coverage = torch.from_numpy(unseen.coverage)
    measured = {}
    for timestep in JUDGED_TIMESTEPS:
        errors = [
            control_error(networks, each, tokenizer, latents, drawings, coverage, unseen.captions, timestep, device)
            for each in (None, network)
        ]
        measured[f"t = {timestep}"] = {"alone": round(errors[0], 4), "with drawings": round(errors[1], 4)}
    parts = Networks(autoencoder, networks.denoiser, networks.text_encoder, tokenizer)
    shown = min(24, count)
    prompts = [caption.split(", ")[0] for caption in unseen.captions]  # without view and flaws
    sheet = drawn_sheet(drawings[:shown], draw(parts, prompts[:shown], control=(network, drawings[:shown])))
    path = folder / "samples" / "control.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    return measured


def drawn_sheet(drawings: Tensor, pictures: Tensor, columns: int = 6) -> Image.Image:
    """Each drawing beside the picture that came of it, in rows.

    Args:
        drawings: Ink [count, height, width], uint8.
        pictures: [count, 3, height, width] in [0, 1].
    """
    paper = (255 - drawings)[..., None].expand(-1, -1, -1, 3).cpu().numpy()
    painted = (pictures.permute(0, 2, 3, 1).cpu().numpy() * 255).round().astype(np.uint8)
    pairs = np.concatenate([paper, painted], axis=2)
    missing = -len(pairs) % columns
    pairs = np.concatenate([pairs, np.full((missing, *pairs.shape[1:]), 255, np.uint8)])
    rows = [np.concatenate(list(pairs[begin : begin + columns]), axis=1) for begin in range(0, len(pairs), columns)]
    return Image.fromarray(np.concatenate(rows))


def _write_provenance(
    target: Path, record: dict, measured: dict[str, dict[str, float]], settings: dict, notes: list[str]
) -> None:
    """PROVENANCE.md and manifest.json (the hashes that `sketchbridge doctor` checks) beside the weights."""
    files = sorted(path for path in target.iterdir() if path.suffix in (".json", ".safetensors"))
    hashes = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.name != "manifest.json"
    }
    (target / "manifest.json").write_text(json.dumps({"files": hashes}, indent=1) + "\n")
    chosen = record["curve"][:: max(1, len(record["curve"]) // 24)]
    lines = [
        "# Where these weights come from",
        "",
        "A ControlNet for the embedded prior, trained on drawings of the shapes that this project makes",
        "(`tools/embedded_world`). No other picture, text or weight went into it. It is licensed as the package is.",
        "",
        f"- Date: {date.today().isoformat()}",
        f"- Machine: {machine_name()}, torch {torch.__version__}",
        f"- Command: `python -m tools.train_embedded_control {' '.join(sys.argv[1:])}`",
        *(f"- {name[0].upper()}{name[1:]}: {value}" for name, value in settings.items()),
        *(f"- {note}" for note in notes),
        f"- Steps: {record['step']} in {record['seconds'] / 60:.1f} minutes",
        "",
        "Curve (step, loss):",
        "",
        "```",
        *(f"{step:7d}  {loss:.5f}" for step, loss, _ in chosen),
        "```",
        "",
        "## Error of the predicted velocity on instances that no training picture shows",
        "",
        "| | the prior alone | with the drawings |",
        "|---|---|---|",
        *(f"| {name} | {each['alone']:.4f} | {each['with drawings']:.4f} |" for name, each in measured.items()),
        "",
    ]
    (target / "PROVENANCE.md").write_text("\n".join(lines))


if __name__ == "__main__":
    typer.run(main)
