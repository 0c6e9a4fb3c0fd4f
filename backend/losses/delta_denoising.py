"""Delta denoising: an edit of a picture that leaves alone what its description does not change."""

from __future__ import annotations

from backend.losses.score_distillation import bridge_gradient, guided_noise
from backend.noise_levels import Latents, PerSample


def dds_gradient(
    unconditional: Latents,
    conditional: Latents,
    reference_unconditional: Latents,
    reference_conditional: Latents,
    weight: PerSample,
    guidance_scale: float,
) -> Latents:
    """`w(t) (E_s(x_t, y) - E_s(x_ref_t, y_ref))`, both guided with the same scale (Hertz et al. 2023).

    Both predictions must be of the same timestep and the same added noise: what SDS gets wrong about any picture it
    then gets wrong about both, and the difference is the edit.

    Args:
        unconditional, conditional: Of the picture that is edited, for the empty prompt and the wanted one.
        reference_unconditional, reference_conditional: Of the picture as it was, for the empty prompt and its own.
    """
    edited = guided_noise(unconditional, conditional, guidance_scale)
    reference = guided_noise(reference_unconditional, reference_conditional, guidance_scale)
    return bridge_gradient(edited, reference, weight)
