"""What the pictures of the method table are judged by: distances to a reference, names, saturation, with intervals.

Everything is resampled by prompt: pictures of one prompt are alike, and what is claimed is claimed of other prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from backend.errors import BadInput
from backend.evaluation.classifier import WorldClassifier
from backend.evaluation.distances import Resampling
from backend.evaluation.measures import Measure, distances_between, resampled_mean
from backend.evaluation.picture_statistics import saturation
from backend.evaluation.table_plan import folder_name, words_of
from backend.pictures import read_picture, to_bytes

Images = UInt8[np.ndarray, "pictures height width 3"]
FeatureExtractor = Callable[[Images], Float[np.ndarray, "pictures features"]]

RESAMPLES = 1000
SATURATION = "saturation"
SHAPE_RIGHT, COLOUR_RIGHT = "shape right", "colour right"
READ_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class PictureSet:
    """As many pictures of each prompt, those of one prompt next to each other."""

    prompts: tuple[str, ...]
    images: Images

    @property
    def groups(self) -> np.ndarray:
        """The prompt of each picture, by its number."""
        return np.repeat(np.arange(len(self.prompts)), len(self.images) // len(self.prompts))

    def by_prompt(self, values: Float[np.ndarray, "pictures"]) -> Float[np.ndarray, "prompts"]:
        """The mean over the pictures of each prompt."""
        return values.reshape(len(self.prompts), -1).mean(axis=1)


@dataclass(frozen=True)
class Judge:
    """Measures pictures against a reference of as many pictures of the same prompts."""

    classifier: WorldClassifier
    reference: PictureSet

    def scores(self, pictures: PictureSet) -> dict[str, Measure]:
        """By name. Names are judged only if every prompt has one known shape, and one known colour.

        Raises:
            ValueError: The pictures are not of the reference's prompts, or not as many.
        """
        if pictures.prompts != self.reference.prompts or len(pictures.images) != len(self.reference.images):
            raise ValueError("pictures and reference must be as many pictures of the same prompts")
        resampling = Resampling(len(pictures.prompts), RESAMPLES)
        saturations = saturation(pictures.images / 255)
        return (
            self.distances(pictures, resampling)
            | self._names(pictures, resampling)
            | {SATURATION: resampled_mean(pictures.by_prompt(saturations), resampling)}
        )

    def distances(self, pictures: PictureSet, resampling: Resampling) -> dict[str, Measure]:
        """Of the features of the classifier; both sets drawn again together, prompt by prompt."""
        # `scores` has seen to it that both are of the same prompts, so that they have the same groups.
        return distances_between(self.features(pictures.images), self._reference_features, resampling, pictures.groups)

    @cached_property
    def _reference_features(self) -> Float[np.ndarray, "pictures features"]:
        return self.features(self.reference.images)

    @torch.no_grad()
    def features(self, images: Images) -> Float[np.ndarray, "pictures features"]:
        """What the classifier's last layer but one says of pictures."""
        parts = [self.classifier.features(part) for part in _to_tensor(images).split(64)]
        return torch.cat(parts).numpy().astype(np.float64)

    @torch.no_grad()
    def _names(self, pictures: PictureSet, resampling: Resampling) -> dict[str, Measure]:
        logits = [self.classifier(part) for part in _to_tensor(pictures.images).split(64)]
        seen = [torch.cat(heads).argmax(1).numpy() for heads in zip(*logits, strict=True)]
        measures = {}
        for name, words, found in zip(
            (SHAPE_RIGHT, COLOUR_RIGHT), (self.classifier.shapes, self.classifier.colours), seen, strict=True
        ):
            asked = [words_of(prompt, words) for prompt in pictures.prompts]
            if None in asked:
                continue
            wanted = np.array([words.index(word) for word in asked if word is not None])[pictures.groups]
            measures[name] = resampled_mean(pictures.by_prompt((found == wanted).astype(np.float64)), resampling)
        return measures


@dataclass(frozen=True)
class References:
    """Pictures of every prompt from elsewhere: the ones to compare with, and as many others if there are."""

    reference: PictureSet
    others: PictureSet | None


def read_references(folder: Path, prompts: Sequence[str], seeds: int, size: int) -> References:
    """Reads the pictures of each prompt from a folder of its name: `a-red-mug` for `a red mug`, in the order of names.

    Args:
        seeds: So many of each prompt are the reference; if each folder has twice as many, the next are the others.
        size: To which they are resized, in pixels.

    Raises:
        BadInput: A folder is not there or has too few pictures, or one of them cannot be read.
    """
    if not folder.expanduser().is_dir():
        raise BadInput(f"there is no folder {folder} with pictures to compare with")
    files = [_pictures_of(folder.expanduser() / folder_name(prompt), prompt, seeds) for prompt in prompts]

    def read(first: int) -> PictureSet:
        chosen = [path for of_prompt in files for path in of_prompt[first : first + seeds]]
        return PictureSet(tuple(prompts), to_bytes(torch.stack([read_picture(path, size) for path in chosen])))

    has_others = all(len(of_prompt) >= 2 * seeds for of_prompt in files)
    return References(read(0), read(seeds) if has_others else None)


def _pictures_of(folder: Path, prompt: str, seeds: int) -> list[Path]:
    if not folder.is_dir():
        raise BadInput(f"there is no folder {folder} with pictures of {prompt!r} to compare with")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in READ_SUFFIXES)
    if len(paths) < seeds:
        raise BadInput(
            f"{folder} has {len(paths)} pictures of {prompt!r}, but {seeds} are compared with; add some or give "
            f"--seeds {max(len(paths), 1)}"
        )
    return paths


def _to_tensor(images: Images) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255  # [pictures, 3, height, width]
