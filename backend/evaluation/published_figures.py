"""What the paper's authors measured, to stand beside our own table. Other model, other pictures, other machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedRow:
    """One method, as the authors give it; None where they give nothing."""

    method: str
    """By our name."""
    fid: float
    clip_fid: float | None
    minutes_per_sample: float


PUBLISHED = (
    PublishedRow("ddim", 49.12, 16.56, 0.05),
    PublishedRow("sds", 86.02, 28.39, 4.48),
    PublishedRow("nfsd", 91.70, 29.25, 7.20),
    PublishedRow("csd", 89.96, 27.07, 6.21),
    PublishedRow("vsd", 59.22, 18.86, 16.02),
    PublishedRow("bridge", 67.89, 20.31, 4.48),
    PublishedRow("vsd-full-bridge", 55.65, None, 21.46),
)
"""McAllister et al. 2024; the last row from their project page."""

PUBLISHED_LABEL = (
    "Published by the authors (McAllister et al. 2024): Stable Diffusion 2.1, prompts of COCO, FID with Inception and"
    " CLIP features against photographs, minutes per sample on their GPU. Neither the distances nor the times compare"
    " with ours; the order may."
)

CLAIMED_ORDER = (("ddim", "vsd"), ("ddim", "bridge"), ("vsd", "sds"), ("bridge", "sds"))
"""Nearer, farther: where their Fréchet distances claim an order that others have repeated."""
