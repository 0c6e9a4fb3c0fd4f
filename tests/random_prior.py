"""A prior with a small real U-Net of random weights, of any kind of prediction: for tests of formulas."""

import hashlib

import torch
from diffusers import UNet2DConditionModel

from backend.diffusion.prediction import noise_of
from backend.noise_levels import NoiseLevels

KINDS = ["epsilon", "v_prediction", "flow"]
WIDTH = 16


class RandomPrior:
    name, image_size, image_sizes, latent_shape = "random", 32, (32,), (4, 8, 8)

    def __init__(self, kind="epsilon"):
        torch.manual_seed(7)
        self.unet = UNet2DConditionModel(
            sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=WIDTH,
            attention_head_dim=2, norm_num_groups=4,
        ).eval().requires_grad_(False)  # fmt: skip
        with torch.no_grad():
            for parameter in self.unet.parameters():
                parameter.mul_(2)  # so that prompts make a difference
        self.prediction_kind, self.device = kind, torch.device("cpu")
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        self.noise_levels = (
            NoiseLevels.flow(torch.linspace(0.001, 0.999, 1000))
            if kind == "flow"
            else NoiseLevels.variance_preserving(torch.cumprod(1 - betas, 0))
        )
        self.calls = []
        self.evaluations = 0

    def encode_images(self, images):
        pooled = torch.nn.functional.avg_pool2d(images.permute(0, 3, 1, 2), 4)
        return torch.cat([pooled, pooled.mean(1, keepdim=True)], dim=1)

    def decode_latents(self, latents):
        return latents[:, :3].permute(0, 2, 3, 1).clamp(0, 1)

    def cut_from_prompt(self, prompt):
        return ""

    def embed_prompts(self, prompts):
        def embedding(prompt):
            seed = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4], "little")
            return torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(seed))

        return torch.stack([embedding(prompt) for prompt in prompts])

    @torch.no_grad()
    def predict_noise(self, noisy, timesteps, embeddings):
        self.calls.append(len(noisy))
        self.evaluations += len(noisy)
        output = self.run_unet(noisy, timesteps, embeddings)
        return noise_of(output, noisy, *self.noise_levels.at(timesteps), self.prediction_kind)

    def run_unet(self, noisy, timesteps, embeddings):
        return self.unet(noisy, timesteps, encoder_hidden_states=embeddings).sample
