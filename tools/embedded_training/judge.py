"""The classifier: trained on renders of its own, and asked what the prior draws."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from backend.evaluation.classifier import WorldClassifier
from tools.embedded_training.pictures_on_disk import PictureShards
from tools.embedded_training.stage import StageSettings, mixed_precision, train_stage
from tools.embedded_world.captions import CaptionShares
from tools.embedded_world.colours import COLOUR_NAMES
from tools.embedded_world.pictures import render_pictures
from tools.embedded_world.shapes import SHAPE_NAMES

JUDGE_VARIANTS = (24, 40)
"""Instances of every class that the prior never sees (it learns from 0 to 23)."""


def render_judge_pictures(folder: Path, count: int, seed: int) -> None:
    """Renders what the classifier learns from, unless it is there: all pairs, no blockouts, few flaws.

    A blockout has no colour, and a judge that has seen only flawed pictures would forgive flaws.
    """
    path = folder / f"judge-{seed}-{count}.npz"
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    pairs = frozenset((colour, shape) for colour in COLOUR_NAMES for shape in SHAPE_NAMES)
    shares = CaptionShares(painting=0.05, blockout=0.0, flawed=0.2)
    pictures = render_pictures(count, seed, variants=JUDGE_VARIANTS, shares=shares, pairs=pairs)
    with path.open("wb") as file:
        np.savez(
            file,
            images=pictures.images,
            captions=np.array(json.dumps(pictures.captions)),
            shape_ids=pictures.shape_ids,
            colour_ids=pictures.colour_ids,
        )


def train_classifier(
    classifier: WorldClassifier, pictures: PictureShards, settings: StageSettings, folder: Path, device: torch.device
) -> dict:
    """Trains in place. One picture in twenty is kept aside; the record holds the accuracy on those."""
    held_back = torch.arange(len(pictures)) % 20 == 0
    training_indices = (~held_back).nonzero()[:, 0]

    def loss_of_batch(indices: Tensor) -> Tensor:
        chosen = training_indices[indices]
        batch = pictures.batch(chosen, device) / 2 + 0.5
        # Diffusion samples and optimised meshes are never as clean as renders, so the judge sees some noise and shift.
        noise = torch.randn_like(batch) * 0.06 * torch.rand(len(batch), 1, 1, 1, device=device)
        shift = torch.randint(-3, 4, (2,))
        batch = torch.roll(batch + noise, (int(shift[0]), int(shift[1])), dims=(2, 3))
        with mixed_precision(device):
            shapes, colours = classifier(batch)
        return functional.cross_entropy(
            shapes.float(), pictures.shape_ids[chosen].to(device), label_smoothing=0.05
        ) + 0.5 * functional.cross_entropy(
            colours.float(), pictures.colour_ids[chosen].to(device), label_smoothing=0.05
        )

    classifier.train()
    _, record = train_stage(
        "classifier",
        classifier,
        loss_of_batch,
        torch.ones(len(training_indices)),
        settings,
        folder / "classifier.safetensors",
    )
    classifier.eval()
    record["held_back"] = classify_accuracy(classifier, pictures, held_back.nonzero()[:, 0], device)
    print(f"classifier: on {int(held_back.sum())} pictures kept aside {record['held_back']}", flush=True)
    return record


def keep_classifier(classifier: WorldClassifier, pictures: PictureShards, device: torch.device) -> dict:
    """The record of a classifier that is not trained further: its accuracy on pictures that it may not have seen."""
    classifier.eval()
    return {
        "step": 0,
        "seconds": 0.0,
        "curve": [],
        "kept": classify_accuracy(classifier, pictures, torch.arange(len(pictures)), device),
    }


@torch.no_grad()
def classify_accuracy(
    classifier: WorldClassifier, pictures: PictureShards, indices: Tensor, device: torch.device
) -> dict[str, float]:
    """Share of right shapes and colours among the pictures of `indices`."""
    right_shapes = right_colours = 0
    for part in indices.split(256):
        shapes, colours = classifier(pictures.batch(part, device) / 2 + 0.5)
        right_shapes += int((shapes.argmax(1).cpu() == pictures.shape_ids[part]).sum())
        right_colours += int((colours.argmax(1).cpu() == pictures.colour_ids[part]).sum())
    return {"shape": round(right_shapes / len(indices), 4), "colour": round(right_colours / len(indices), 4)}
