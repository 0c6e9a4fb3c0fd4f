"""Reads from a picture from which side an object is seen. No benchmark itself: `make bench` leaves it out.

Learnt from renders, whose azimuths are known; what it gets wrong on others bounds what it can say of a sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from backend.evaluation.classifier import WorldClassifier
from benchmarks.prior_samples import Images, to_tensor

EIGHTHS = 8
RIDGE = 0.03


@dataclass(frozen=True)
class ViewReader:
    """Kernel ridge regression (Saunders et al. 1998) from the classifier's last maps to the eighths of the circle."""

    classifier: WorldClassifier
    mean: Float[np.ndarray, "numbers"]
    deviation: Float[np.ndarray, "numbers"]
    known: Float[np.ndarray, "renders numbers"]
    width: float
    weights: Float[np.ndarray, "renders eighths"]

    @classmethod
    def learn(cls, classifier: WorldClassifier, images: Images, azimuths: Float[np.ndarray, "pictures"]) -> ViewReader:
        """Learns one shape from pictures of it and their azimuths in degrees."""
        maps = _maps(classifier, images)
        mean, deviation = maps.mean(0), maps.std(0) + 1e-3
        known = (maps - mean) / deviation
        distances = _squared_distances(known, known)
        width = float(np.median(distances))
        targets = np.eye(EIGHTHS)[eighth_of(azimuths)] - 1 / EIGHTHS
        weights = np.linalg.solve(np.exp(-distances / width) + RIDGE * np.eye(len(known)), targets)
        return cls(classifier, mean, deviation, known, width, weights)

    def read(self, images: Images) -> Int[np.ndarray, "pictures"]:
        """The eighth of the circle around azimuth 0, 45, 90, ... degrees."""
        maps = (_maps(self.classifier, images) - self.mean) / self.deviation
        return (np.exp(-_squared_distances(maps, self.known) / self.width) @ self.weights).argmax(axis=1)


def eighth_of(azimuths: Float[np.ndarray, "pictures"]) -> Int[np.ndarray, "pictures"]:
    return np.rint(azimuths / 45).astype(int) % EIGHTHS


def eighths_apart(one: Int[np.ndarray, "pictures"], other: Int[np.ndarray, "pictures"]) -> Int[np.ndarray, "pictures"]:
    """0 to 4: how many eighths lie between, the shorter way round."""
    return np.abs((one - other + EIGHTHS // 2) % EIGHTHS - EIGHTHS // 2)


@torch.no_grad()
def _maps(classifier: WorldClassifier, images: Images) -> Float[np.ndarray, "pictures numbers"]:
    """The last maps before the average over places, which would hide on which side a handle is."""
    parts = [classifier.maps(part).flatten(1) for part in to_tensor(images).split(128)]
    return torch.cat(parts).numpy().astype(np.float64)


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.maximum(np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None] - 2 * a @ b.T, 0)
