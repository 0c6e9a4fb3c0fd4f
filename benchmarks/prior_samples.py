"""Draws with a prior for the benchmarks, each batch once. No benchmark itself: `make bench` leaves it out.

The pictures lie in benchmarks/.work/prior under a hash of the prior's weights, as 8-bit arrays under a hash of their
prompts and settings. So an interrupted study goes on where it was, and what other weights drew is never judged.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from jaxtyping import Float, UInt8
from transformers import CLIPTextModel, CLIPTokenizer

from backend import machine
from backend.diffusion import EMBEDDED_FOLDER
from backend.durable_files import write_whole_file
from backend.evaluation.classifier import WorldClassifier
from tools.embedded_training.architecture import PIXELS_PER_LATENT
from tools.embedded_training.samples import Networks, draw

WORK = Path(__file__).parent / ".work" / "prior"
GUIDANCE_SCALE = 4.0
STEPS = 25

Images = UInt8[np.ndarray, "pictures height width 3"]


class SampleStore:
    """Samples of one pipeline folder, drawn by the project's own DDIM or found where they were drawn before."""

    def __init__(self, prior: Path = EMBEDDED_FOLDER) -> None:
        manifest = prior / "manifest.json"
        fingerprint = machine.file_sha256(manifest) if manifest.is_file() else machine.prior_fingerprint(str(prior))
        if fingerprint is None:
            raise SystemExit(f"no folder {prior}; give one with a model_index.json in it")
        self.prior, self.fingerprint = prior, fingerprint
        self.folder = WORK / fingerprint[:16]
        self.networks = load_networks(prior)

    @property
    def size(self) -> int:
        """Height and width of the samples in pixels."""
        return self.networks.denoiser.config.sample_size * PIXELS_PER_LATENT

    def draw(self, prompts: list[str], seed: int) -> Images:
        """One sample per prompt. Batches of one length and one seed start from the same noise, place by place."""
        key = json.dumps([prompts, seed, GUIDANCE_SCALE, STEPS])
        path = self.folder / f"samples-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
        if not path.exists():
            drawn = draw(self.networks, prompts, guidance_scale=GUIDANCE_SCALE, steps=STEPS, seed=seed)
            save_whole(path, images=to_bytes(drawn))
        return np.load(path)["images"]

    @torch.no_grad()
    def through_autoencoder(self, images: Images) -> Images:
        """Pictures encoded and decoded: as soft as the decoder makes whatever it is given."""
        code = self.networks.autoencoder
        parts = [code.decode(code.encode(part * 2 - 1).latent_dist.mean).sample for part in to_tensor(images).split(64)]
        return to_bytes((torch.cat(parts) / 2 + 0.5).clamp(0, 1))


def load_networks(prior: Path) -> Networks:
    """The parts of a pipeline folder, in float32."""
    return Networks(
        AutoencoderKL.from_pretrained(prior, subfolder="vae").eval(),
        UNet2DConditionModel.from_pretrained(prior, subfolder="unet").eval(),
        CLIPTextModel.from_pretrained(prior, subfolder="text_encoder").eval(),
        CLIPTokenizer.from_pretrained(prior, subfolder="tokenizer"),
    )


def save_whole(path: Path, **arrays: np.ndarray) -> None:
    """Writes arrays as an .npz file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_whole_file(path, content.getvalue())


def to_tensor(images: Images) -> Float[torch.Tensor, "pictures 3 height width"]:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def to_bytes(pictures: Float[torch.Tensor, "pictures 3 height width"]) -> Images:
    return (pictures.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()


def named_by(classifier: WorldClassifier, images: Images) -> tuple[list[str], list[str]]:
    """What the classifier calls the shapes and the colours of pictures."""
    shapes, colours = [], []
    for part in to_tensor(images).split(128):
        shape_logits, colour_logits = classifier(part)
        shapes += [classifier.shapes[index] for index in shape_logits.argmax(1)]
        colours += [classifier.colours[index] for index in colour_logits.argmax(1)]
    return shapes, colours


def features_of(classifier: WorldClassifier, images: Images) -> Float[np.ndarray, "pictures 32"]:
    return torch.cat([classifier.features(part) for part in to_tensor(images).split(128)]).numpy().astype(np.float64)
