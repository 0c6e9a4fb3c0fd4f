"""Fréchet distances in the features that papers use, Inception's and CLIP's, where their weights are on the machine.

Nothing is ever downloaded for it: what is not there is left out, with a sentence that says what would have to be where.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from backend.evaluation.distances import frechet_distance
from backend.evaluation.measures import Measure
from backend.machine import file_sha256

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
"""As torch-fidelity calls the weights of Heusel et al. 2017, ported to torch."""
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""torch-fidelity unpickles the file, so no other content is handed to it."""
CLIP_ID = "openai/clip-vit-base-patch32"
PICTURES_AT_ONCE = 32

Images = UInt8[np.ndarray, "pictures height width 3"]
OtherImages = UInt8[np.ndarray, "pictures other_height other_width 3"]
Extractor = Callable[[UInt8[Tensor, "pictures 3 height width"]], Float[Tensor, "pictures features"]]


@dataclass(frozen=True)
class FurtherFeatures:
    """Extractors by the name of their column, and sentences on those that are missing."""

    extractors: tuple[tuple[str, Extractor], ...] = ()
    missing: tuple[str, ...] = ()

    def distances(self, ours: Images, theirs: OtherImages) -> dict[str, Measure]:
        """Without intervals: a bootstrap of covariances of hundreds of features takes hours."""
        found = {}
        for name, extract in self.extractors:
            distance = frechet_distance(_features(extract, ours), _features(extract, theirs))
            found[f"Fréchet distance, {name}"] = Measure(distance, np.array([]), is_distance=True)
        return found


def features_on_this_machine(device: torch.device) -> FurtherFeatures:
    """What can be had here. Looks for files only."""
    extractors: list[tuple[str, Extractor]] = []
    missing: list[str] = []
    for name, load in (("Inception", _inception), ("CLIP", _clip)):
        try:
            extractors.append((name, load(device)))
        except (ImportError, OSError, ValueError) as reason:
            said = str(reason).strip().splitlines()
            missing.append(f"No {name} features: {said[0] if said else type(reason).__name__}")
    return FurtherFeatures(tuple(extractors), tuple(missing))


def _inception(device: torch.device) -> Extractor:
    path = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
    if not path.is_file():
        shown = str(path).replace(str(Path.home()), "~", 1)  # into a table that others read
        raise FileNotFoundError(f"its weights are not on this machine; they would have to be {shown}.")
    if file_sha256(path) != INCEPTION_SHA256:
        raise ValueError(f"{path} is not the file that torch-fidelity published; delete it.")
    try:
        from torchmetrics.image.fid import NoTrainInceptionV3
    except ImportError as error:
        raise ImportError("torchmetrics is not installed; pip install 'torchmetrics[image]'.") from error
    network: Any = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(path)).to(device)
    return lambda pictures: network(pictures.to(device))


def _clip(device: torch.device) -> Extractor:
    from transformers import CLIPVisionModelWithProjection

    try:
        network: Any = CLIPVisionModelWithProjection.from_pretrained(
            CLIP_ID, local_files_only=True, use_safetensors=True
        )
    except OSError as error:
        raise FileNotFoundError(f"the weights of {CLIP_ID} are not in this machine's Hugging Face cache.") from error
    network.to(device).eval()
    side = network.config.image_size
    # CLIP's own normalisation (Radford et al. 2021).
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073], device=device)[:, None, None]
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711], device=device)[:, None, None]

    def extract(pictures: Tensor) -> Tensor:
        scaled = torch.nn.functional.interpolate(
            pictures.to(device).float() / 255, (side, side), mode="bicubic", antialias=True
        )
        return network(pixel_values=(scaled.clamp(0, 1) - mean) / deviation).image_embeds

    return extract


@torch.no_grad()
def _features(extract: Extractor, images: Images) -> Float[np.ndarray, "pictures features"]:
    pictures = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    parts = [extract(part).flatten(1).cpu() for part in pictures.split(PICTURES_AT_ONCE)]
    return torch.cat(parts).double().numpy()
