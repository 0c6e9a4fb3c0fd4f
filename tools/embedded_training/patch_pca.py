"""Writes principal components of patches into an `AutoencoderKL`'s encoder, which then needs no training.

A small autoencoder that is trained from nothing stays blurred for hours on a CPU. The components are the best linear
code of 8 x 8 patches, known in seconds; being linear, the encoder's gradient is exact, which score distillation likes.
The decoder is trained against this fixed code.

How a convolutional encoder with normalisation comes to compute a linear function:
- a residual block whose second convolution is zero is the identity, or its own 1 x 1 shortcut;
- a strided convolution can lay the 2 x 2 pixels of a block side by side as channels;
- the last normalisation would divide by the spread of each group of channels, so large constant channels join every
  group and make that spread nearly constant;
- silu(z) - silu(-z) = z, so a channel and its negative pass the activation unharmed.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

TAPS = ((0, 0), (0, 1), (1, 0), (1, 1))
CONSTANT = 10.0
"""Of the channels that steady the normalisation, against a leading component of unit spread: its scale then varies
by less than one per cent between pictures."""
WHITENING = 0.5
"""0 leaves the components their spread (details drown in the noise of a diffusion model), 1 makes them equal (details
count as much as shapes)."""
LOG_VARIANCE = -12.0  # of the posterior: practically none


def blocks_to_channels(maps: Tensor) -> Tensor:
    """[batch, c, h, w] -> [batch, 4 c, h / 2, w / 2], the 2 x 2 pixels of a block one after the other."""
    return torch.cat([maps[:, :, dy::2, dx::2] for dy, dx in TAPS], dim=1)


def principal_components(maps: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of the channels of [batch, c, h, w]: directions [count, c], their standard deviations [count], the mean [c]."""
    vectors = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
    mean = vectors.mean(0)
    covariance = (vectors - mean).T @ (vectors - mean) / len(vectors)
    variances, directions = torch.linalg.eigh(covariance)
    return directions[:, -count:].flip(1).T, variances[-count:].flip(0).sqrt(), mean


@torch.no_grad()
def write_components_into_encoder(autoencoder: AutoencoderKL, pictures: Tensor) -> None:
    """Sets every weight of the encoder, from pictures [n, 3, height, width] in [-1, 1]."""
    encoder = autoencoder.encoder
    latent_channels = autoencoder.config.latent_channels
    widths = autoencoder.config.block_out_channels
    for block in [*encoder.down_blocks, encoder.mid_block]:
        for resnet in block.resnets:
            nn.init.zeros_(resnet.conv2.weight)
            nn.init.zeros_(resnet.conv2.bias)

    _set(encoder.conv_in, torch.eye(3))
    maps = blocks_to_channels(pictures)
    first, _, _ = principal_components(maps, widths[1] // 4)
    _lay_out_blocks(encoder.down_blocks[0].downsamplers[0].conv, 3)
    _set(encoder.down_blocks[1].resnets[0].conv_shortcut, first)

    maps = blocks_to_channels(torch.einsum("oc,bchw->bohw", first, maps))
    second, _, _ = principal_components(maps, widths[2] // 4)
    _lay_out_blocks(encoder.down_blocks[1].downsamplers[0].conv, len(first))
    _set(encoder.down_blocks[2].resnets[0].conv_shortcut, second)

    maps = blocks_to_channels(torch.einsum("oc,bchw->bohw", second, maps))
    third, spreads, mean = principal_components(maps, latent_channels)
    _lay_out_blocks(encoder.down_blocks[2].downsamplers[0].conv, len(second))
    gains = (spreads / spreads[0]) ** (1 - WHITENING) / spreads  # leading component of unit spread
    _write_last_stage(autoencoder, third * gains[:, None], mean, (spreads * gains).square())


def _write_last_stage(autoencoder: AutoencoderKL, directions: Tensor, mean: Tensor, variances: Tensor) -> None:
    """Components and their negatives through normalisation and activation, to the mean of the posterior."""
    encoder = autoencoder.encoder
    latent_channels = len(directions)
    shortcut, norm = encoder.down_blocks[3].resnets[0].conv_shortcut, encoder.conv_norm_out
    width, groups = norm.num_channels, norm.num_groups
    per_group = width // groups
    if latent_channels % groups or 2 * latent_channels >= width:
        raise ValueError(
            f"{latent_channels} latent channels do not spread over {groups} groups of {per_group} channels"
        )
    pairs = latent_channels // groups

    weight, bias = torch.zeros(width, directions.shape[1]), torch.zeros(width)
    scale = torch.zeros(width)
    to_mean = torch.zeros(2 * latent_channels, width)
    for component in range(latent_channels):
        # Dealt out over the groups, so that each holds strong and weak ones.
        plus = component % groups * per_group + 2 * (component // groups)
        for channel, sign in ((plus, 1.0), (plus + 1, -1.0)):
            weight[channel] = sign * directions[component]
            bias[channel] = -sign * directions[component] @ mean
            to_mean[component, channel] = sign
    for group in range(groups):
        start, end = group * per_group + 2 * pairs, (group + 1) * per_group
        bias[start:end:2], bias[start + 1 : end : 2] = CONSTANT, -CONSTANT
        in_group = variances[group::groups]
        spread = ((2 * in_group.sum() + (end - start) * CONSTANT**2) / per_group).sqrt()
        scale[group * per_group : start] = spread
    _set(shortcut, weight)
    shortcut.bias.copy_(bias)
    norm.weight.copy_(scale)
    nn.init.zeros_(norm.bias)
    _set(encoder.conv_out, to_mean)
    encoder.conv_out.bias[latent_channels:] = LOG_VARIANCE
    _set(autoencoder.quant_conv, torch.eye(2 * latent_channels))
    _set(autoencoder.post_quant_conv, torch.eye(latent_channels))


def _set(convolution: nn.Conv2d, matrix: Tensor) -> None:
    """Makes a convolution the matrix [out, in] applied to each pixel; channels beyond it give and take zero."""
    nn.init.zeros_(convolution.weight)
    nn.init.zeros_(convolution.bias)
    middle = convolution.kernel_size[0] // 2
    convolution.weight[: matrix.shape[0], : matrix.shape[1], middle, middle] = matrix


def _lay_out_blocks(convolution: nn.Conv2d, channels: int) -> None:
    """Makes a strided convolution `blocks_to_channels` of the first `channels` channels.

    diffusers pads such a convolution on the right and below only, so that its first tap lies on the first
    pixel of the block.
    """
    nn.init.zeros_(convolution.weight)
    nn.init.zeros_(convolution.bias)
    for index, (dy, dx) in enumerate(TAPS):
        for channel in range(channels):
            convolution.weight[index * channels + channel, channel, dy, dx] = 1.0
