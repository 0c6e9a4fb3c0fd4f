"""Random predictions and denoisers that the tests of all losses share."""

import torch

BATCHES = [1, 3, 64]


def random_latents(batch, count):
    return torch.randn(count, batch, 4, 8, 8, generator=torch.Generator().manual_seed(batch))


def wide(per_sample):
    return per_sample[:, None, None, None]
