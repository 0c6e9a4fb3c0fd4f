"""The classifier: trained on renders of its own, and asked what the prior draws."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from backend.evaluation.classifier import WorldClassifier
from tools.embedded_training.pictures_on_disk import PictureShards
from tools.embedded_training.stage import StageSettings, train_stage


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
        with torch.autocast(device.type, torch.bfloat16):
            shapes, colours = classifier(batch)
        return functional.cross_entropy(
            shapes.float(), pictures.shape_ids[chosen].to(device), label_smoothing=0.05
        ) + 0.5 * functional.cross_entropy(
            colours.float(), pictures.colour_ids[chosen].to(device), label_smoothing=0.05
        )

    classifier.train()
    _, record = train_stage(
        "classifier", classifier, loss_of_batch, len(training_indices), settings, folder / "classifier.safetensors"
    )
    classifier.eval()
    record["held_back"] = classify_accuracy(classifier, pictures, held_back.nonzero()[:, 0], device)
    print(f"classifier: on {int(held_back.sum())} pictures kept aside {record['held_back']}", flush=True)
    return record


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
