"""The classifier that judges the embedded prior's world: which shape, which colour. Never used in optimisation.

Its penultimate layer is the feature space for Fréchet distances. It is trained on other renders than the prior.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from backend.diffusion import EMBEDDED_FOLDER
from backend.errors import MissingModel

CLASSIFIER_FOLDER = EMBEDDED_FOLDER / "classifier"
FEATURES = 32
CLASSIFIER_PIXELS = 64
"""Height and width of the pictures that the classifier was trained on."""


class WorldClassifier(nn.Module):
    """A small convolutional network with two heads over 32 shared features.

    Args:
        shapes: Names of the shapes, in the order of the output.
        colours: Names of the colours, in the order of the output.
        width: Channels of the first layer.
    """

    def __init__(self, shapes: list[str], colours: list[str], width: int = 32) -> None:
        super().__init__()
        self.shapes, self.colours, self.width = list(shapes), list(colours), width
        channels = (3, width, 2 * width, 3 * width, 4 * width)
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [
                nn.Conv2d(before, after, 3, padding=1),
                nn.BatchNorm2d(after),
                nn.SiLU(),
                nn.Conv2d(after, after, 3, stride=2, padding=1),
                nn.BatchNorm2d(after),
                nn.SiLU(),
            ]
        self.layers = nn.Sequential(*layers)
        self.to_features = nn.Sequential(nn.Linear(2 * channels[-1], FEATURES), nn.SiLU())
        self.shape_head = nn.Linear(FEATURES, len(shapes))
        self.colour_head = nn.Linear(FEATURES, len(colours))

    def maps(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channels map_height map_width"]:
        """The last maps before they are pooled, of pictures in [0, 1]; larger ones are averaged down first."""
        if max(images.shape[-2:]) > CLASSIFIER_PIXELS:
            images = functional.interpolate(images, (CLASSIFIER_PIXELS, CLASSIFIER_PIXELS), mode="area")
        return self.layers(images * 2 - 1)

    def features(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 32"]:
        """Features of pictures in [0, 1] of any size."""
        maps = self.maps(images)
        return self.to_features(torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1))

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, "batch shapes"], Float[Tensor, "batch colours"]]:
        """Logits of the shapes and of the colours."""
        features = self.features(images)
        return self.shape_head(features), self.colour_head(features)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        weights = {
            name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
            for name, value in self.state_dict().items()
        }
        save_file(weights, folder / "model.safetensors")
        description = {"shapes": self.shapes, "colours": self.colours, "width": self.width}
        (folder / "config.json").write_text(json.dumps(description, indent=1) + "\n")


def load_classifier(folder: Path = CLASSIFIER_FOLDER) -> WorldClassifier:
    """The shipped classifier, ready to judge.

    Raises:
        MissingModel: The folder holds no classifier.
    """
    try:
        description = json.loads((folder / "config.json").read_text())
        weights = load_file(folder / "model.safetensors")
    except FileNotFoundError as error:
        raise MissingModel(
            f"no classifier in {folder}: {error.filename or 'model.safetensors'} is missing; install the package again"
        ) from error
    classifier = WorldClassifier(description["shapes"], description["colours"], description["width"])
    classifier.load_state_dict({name: v.float() if v.is_floating_point() else v for name, v in weights.items()})
    return classifier.eval().requires_grad_(False)
