"""Perp-Neg: negative prompts that take nothing away from what the prompt itself asks for."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from backend.noise_levels import Latents


def perpendicular(of: Latents, to: Latents) -> Latents:
    """The part of each sample of `of` that is perpendicular to that sample of `to`; all of it where that is zero."""
    along = (of * to).flatten(1).sum(1) / (to * to).flatten(1).sum(1).clamp(min=torch.finfo(to.dtype).tiny)
    return of - along[:, None, None, None] * to


def perp_neg_noise(
    unconditional: Latents,
    conditional: Latents,
    negatives: Float[Tensor, "negatives batch channels height width"],
    negative_weights: Float[Tensor, "negatives batch"],
    guidance_scale: float,
) -> Latents:
    """`E(0) + s (D + sum_i w_i D_i_perp)`, with D = E(y) - E(0) and D_i = E(y_i) - E(0) (Armandpour et al. 2023).

    Stands where the guided prediction of classifier-free guidance stands. Against Janus faces the negatives are the
    other views: a front view is kept from looking like a side view without losing what makes it a front.

    Args:
        negative_weights: w_i, below zero to keep away, 0 to leave out.
    """
    wanted = conditional - unconditional
    direction = wanted
    for negative, weight in zip(negatives, negative_weights, strict=True):
        direction = direction + weight[:, None, None, None] * perpendicular(negative - unconditional, wanted)
    return unconditional + guidance_scale * direction
