"""THE loop: a generator that yields steps. It never sends, saves, logs or draws; whoever asks for steps does.

Cancelling is closing the generator, pausing is not asking for the next step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from backend.appearance.texture_field import TextureField, TextureFieldConfig
from backend.cameras import CameraBatch, OrbitRange, sample_orbit_cameras
from backend.config import DistillationConfig, OptimisationConfig
from backend.diffusion.prediction import add_noise
from backend.diffusion.prior import DiffusionPrior
from backend.diffusion.prompts import describe_view, join_prompt
from backend.geometry.dmtet import DMTet, DMTetConfig, add_new_groups
from backend.geometry.smoothness import laplacian_roughness, normal_consistency, sign_change_entropy
from backend.geometry.surface_guard import SurfaceGuard, gradients_are_finite
from backend.geometry.tetrahedral_grid import TetrahedralGrid
from backend.geometry.triangle_mesh import TriangleMesh
from backend.losses.score_distillation import bridge_gradient, loss_with_gradient, sds_gradient, time_weight
from backend.render.backgrounds import sample_backgrounds
from backend.render.rasteriser import Rasteriser
from backend.render.renderer import FieldAppearance, RenderedViews, render_views
from backend.render.shading import ShadingMode, sample_lighting

InitialShape = Callable[[TetrahedralGrid], Tensor]
"""Signed distances [side, side, side] at the vertices of a lattice; asked again when the lattice grows."""


@dataclass(frozen=True)
class Step:
    """What happened in one step."""

    number: int
    """From 1."""
    total: int
    stage: str
    """`SDS` or `bridge`."""
    gradient_norm: float
    """Mean over the views of the norm of the gradient on the latents: the one number that tells of progress."""
    losses: dict[str, float]
    """The regularising terms, weighted."""
    face_count: int
    timestep_range: tuple[int, int]
    notices: tuple[str, ...]
    """Sentences for the user: the surface was put back, the lattice grew."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time per part: surface, render, prior, backward (of surface and render), update."""


class MeshOptimisation:
    """A DMTet surface and a texture field on their way to a prompt.

    Args:
        initial_shape: Where the surface starts.
        seed: Of every random number in the loop.
    """

    def __init__(
        self,
        prompt: str,
        config: OptimisationConfig,
        prior: DiffusionPrior,
        rasteriser: Rasteriser,
        initial_shape: InitialShape,
        seed: int,
    ) -> None:
        self.prompt, self.config, self.prior, self.rasteriser = prompt, config, prior, rasteriser
        self._initial_shape = initial_shape
        self._step = 0
        self._rate_factor = 1.0  # halved whenever the surface had to be put back
        self._generator = torch.Generator().manual_seed(seed)
        self.dmtet = DMTet(DMTetConfig(resolution=self._resolution(0.0))).to(prior.device)
        self.dmtet.initialise_from(initial_shape(self.dmtet.grid).to(prior.device))
        # Views of 64 pixels see no more than 64 cells a side.
        cells = (16, 32, 64) if config.views.resolution <= 128 else (16, 32, 64, 128, 256)
        texture_config = TextureFieldConfig(resolutions=cells)
        self.texture = TextureField(texture_config, torch.Generator().manual_seed(seed)).to(prior.device)
        self._renew_optimiser()
        self._guard = SurfaceGuard(self.dmtet)

    @property
    def step(self) -> int:
        """How many steps have been made."""
        return self._step

    def steps(self) -> Iterator[Step]:
        """Makes the steps that are left, one each time the next is asked for."""
        while self._step < self.config.steps:
            yield self._make_step()

    def current_mesh(self) -> TriangleMesh:
        """The surface as it is, without gradients."""
        with torch.no_grad():
            return self.dmtet.extract_mesh().detach()

    @torch.no_grad()
    def render(self, cameras: CameraBatch, resolution: int, **options: Any) -> RenderedViews:
        """Views of the surface as it is, without gradients; options as of `render_views`."""
        return render_views(
            self.rasteriser, self.current_mesh(), FieldAppearance(self.texture), cameras, resolution, **options
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON-able facts from which `load_state` goes on as if nothing had been broken off."""
        tensors = {f"dmtet.{name}": value for name, value in self.dmtet.state().items()}
        tensors |= {f"texture.{name}": value.detach().clone() for name, value in self.texture.state_dict().items()}
        for group in self._optimiser.param_groups:
            for index, parameter in enumerate(group["params"]):
                for name, value in self._optimiser.state[parameter].items():
                    tensors[f"adam.{group['name']}.{index}.{name}"] = value.detach().clone()
        tensors["random"] = self._generator.get_state().clone()
        return tensors, {"step": self._step, "rate_factor": self._rate_factor}

    def load_state(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        """Goes back to what `state` told. Shapes that do not fit raise ValueError."""
        self._step, self._rate_factor = int(metadata["step"]), float(metadata["rate_factor"])
        self.dmtet.load_state(_under("dmtet.", tensors))
        self.texture.load_state_dict(_under("texture.", tensors))
        self._renew_optimiser()
        for group in self._optimiser.param_groups:
            for index, parameter in enumerate(group["params"]):
                saved = _under(f"adam.{group['name']}.{index}.", tensors)
                if saved:
                    self._optimiser.state[parameter] = {
                        # Adam counts its steps on the CPU.
                        name: value.clone() if name == "step" else value.to(parameter.device, copy=True)
                        for name, value in saved.items()
                    }
        self._generator.set_state(tensors["random"].cpu())
        self._guard.remember(self._step)

    def _make_step(self) -> Step:
        clock = _Clock()
        progress = self._step / self.config.steps
        mesh = self.dmtet.extract_mesh()
        notices = self._restore_if_broken(mesh) + self._grow(progress)
        if notices:  # the surface, or its lattice, is another one now
            mesh = self.dmtet.extract_mesh()
        clock.lap("surface")

        cameras, views = self._render_random_views(mesh)
        clock.lap("render")

        # The graph is cut at the pictures, so that the prior's share of the time can be told from ours.
        pictures = views.images.detach().requires_grad_()
        gradient_norm, timestep_range, stage = self._distil(pictures, cameras, progress)
        clock.lap("prior")

        losses = self._regularise(mesh, views)
        self._optimiser.zero_grad(set_to_none=True)
        outputs, gradients = [views.images], [pictures.grad]
        if losses:
            outputs.append(torch.stack(list(losses.values())).sum())
            gradients.append(None)
        torch.autograd.backward(outputs, gradients)
        clock.lap("backward")

        if gradients_are_finite(self.dmtet) and gradients_are_finite(self.texture):
            self._set_learning_rates(progress)
            self._optimiser.step()
            # Here as well as before the step, so that what is saved, shown or finished between two steps is good.
            notices += self._restore_if_broken(self.current_mesh())
        else:
            notices.append(self._slow_down(f"The gradient held numbers that are not finite at step {self._step + 1}."))
        clock.lap("update")

        self._step += 1
        return Step(
            number=self._step,
            total=self.config.steps,
            stage=stage,
            gradient_norm=gradient_norm,
            losses={name: value.item() for name, value in losses.items()},
            face_count=len(mesh.faces),
            timestep_range=timestep_range,
            notices=tuple(notices),
            seconds=clock.seconds,
        )

    def _restore_if_broken(self, mesh: TriangleMesh) -> list[str]:
        """Puts the last good surface back where the present one, `mesh`, is empty or not finite, and says so."""
        trouble = self._guard.inspect(self._step, mesh)
        return [] if trouble is None else [self._slow_down(trouble.sentence)]

    def _render_random_views(self, mesh: TriangleMesh) -> tuple[CameraBatch, RenderedViews]:
        config = self.config.views
        device = self.prior.device
        orbit = OrbitRange(elevation_degrees=config.elevation_degrees)
        cameras = sample_orbit_cameras(config.views, self._generator, orbit, device)
        chance = torch.rand((), generator=self._generator).item()
        mode: ShadingMode = "lit"
        if chance < config.textureless_share:
            mode = "textureless"
        elif chance < config.textureless_share + config.albedo_share:
            mode = "albedo"
        lighting = sample_lighting(cameras, self._generator, mode)
        background = sample_backgrounds(config.views, config.resolution, self._generator, config.background, device)
        views = render_views(
            self.rasteriser,
            mesh,
            FieldAppearance(self.texture),
            cameras,
            config.resolution,
            lighting=lighting,
            background=background,
            supersample=config.supersample,
        )
        return cameras, views

    def _distil(self, pictures: Tensor, cameras: CameraBatch, progress: float) -> tuple[float, tuple[int, int], str]:
        """Leaves the gradient of the diffusion model in `pictures.grad`."""
        distillation = self.config.distillation
        is_bridge = progress >= distillation.bridge_start
        latents = self.prior.encode_images(pictures)
        timesteps, timestep_range = self._sample_timesteps(len(latents), progress)
        alphas_cumprod = self.prior.alphas_cumprod[timesteps]
        noise = torch.randn(latents.shape, generator=self._generator).to(latents.device)
        noisy = add_noise(latents.detach(), noise, alphas_cumprod)

        first, second = self._prompts(cameras, distillation, is_bridge)
        # Both branches in one call: twice the batch, half the launches.
        embeddings = self.prior.embed_prompts(first + second)
        predicted = self.prior.predict_noise(noisy.repeat(2, 1, 1, 1), timesteps.repeat(2), embeddings)
        first_noise, second_noise = predicted.chunk(2)
        if is_bridge:
            weight = time_weight(alphas_cumprod, distillation.bridge_time_weighting)
            gradient = bridge_gradient(second_noise, first_noise, weight, distillation.bridge_scale)
        else:
            weight = time_weight(alphas_cumprod, distillation.time_weighting)
            gradient = sds_gradient(first_noise, second_noise, noise, weight, distillation.guidance_scale)
        gradient = torch.nan_to_num(gradient)  # half-precision networks overflow now and then; the authors do the same
        loss_with_gradient(latents, gradient).backward()
        norm = gradient.flatten(1).norm(dim=1).mean().item()
        return norm, timestep_range, "bridge" if is_bridge else "SDS"

    def _prompts(
        self, cameras: CameraBatch, distillation: DistillationConfig, is_bridge: bool
    ) -> tuple[list[str], list[str]]:
        """(source, target) per view in the bridge, (empty, prompt) in SDS; view words in both of the bridge's."""
        words = [
            describe_view(azimuth, elevation, distillation.view_wording)
            for azimuth, elevation in zip(
                cameras.azimuth_degrees.tolist(), cameras.elevation_degrees.tolist(), strict=True
            )
        ]
        if not is_bridge:
            return [""] * len(words), [join_prompt(self.prompt, view) for view in words]
        return (
            [join_prompt(self.prompt, view, distillation.source_suffix) for view in words],
            [join_prompt(self.prompt, view, distillation.target_suffix) for view in words],
        )

    def _sample_timesteps(self, count: int, progress: float) -> tuple[Tensor, tuple[int, int]]:
        """One timestep per view, stratified over the range, so that every step sees much and little noise."""
        total = len(self.prior.alphas_cumprod)
        low = int(self.config.distillation.lowest_noise.at(progress) * total)
        high = max(low + 1, int(self.config.distillation.highest_noise.at(progress) * total))
        strata = torch.randperm(count, generator=self._generator)
        uniform = (strata + torch.rand(count, generator=self._generator)) / count
        timesteps = (low + uniform * (high - low)).long().clamp(max=total - 1)
        return timesteps.to(self.prior.device), (low, high)

    def _regularise(self, mesh: TriangleMesh, views: RenderedViews) -> dict[str, Tensor]:
        config = self.config.surface
        terms: tuple[tuple[str, float, Callable[[], Tensor]], ...] = (
            ("area", config.area_weight, lambda: views.masks.mean()),
            ("normal consistency", config.normal_consistency_weight, lambda: normal_consistency(mesh)),
            ("laplacian", config.laplacian_weight, lambda: laplacian_roughness(mesh)),
            ("sign change", config.sign_change_weight, lambda: sign_change_entropy(self.dmtet.signed_distances())),
        )
        return {name: weight * term() for name, weight, term in terms if weight > 0}

    def _resolution(self, progress: float) -> int:
        """Cells a side at this share of the job."""
        return [cells for begin, cells in self.config.surface.resolutions if begin <= progress][-1]

    def _grow(self, progress: float) -> list[str]:
        wanted = self._resolution(progress)
        if wanted <= self.dmtet.grid.resolution:
            return []
        # Sampled anew: a finer lattice sees more of an initial mesh than interpolation of the coarser one would.
        shape = self._initial_shape(TetrahedralGrid(wanted, self.dmtet.grid.half_extent_metres))
        self.dmtet.grow(wanted, shape.to(self.prior.device))
        add_new_groups(self._optimiser, self._parameter_groups())
        self._guard.remember(self._step)
        return [f"the lattice grows to {wanted} cells a side"]

    def _set_learning_rates(self, progress: float) -> None:
        distillation = self.config.distillation
        factor = distillation.bridge_learning_rate_factor if progress >= distillation.bridge_start else 1.0
        surface_rate = self.config.surface.learning_rate.at(progress) * self._rate_factor * factor
        texture_rate = self.config.texture_learning_rate.at(progress) * factor
        for group in self._optimiser.param_groups:
            group["lr"] = group["share"] * (texture_rate if group["name"].startswith("texture") else surface_rate)

    def _slow_down(self, reason: str) -> str:
        """Halves the surface's rate and forgets the moments that led here."""
        self._rate_factor *= 0.5
        self._renew_optimiser()
        return f"{reason} The surface now moves at {self._rate_factor:.3g} of its rate."

    def _renew_optimiser(self) -> None:
        # The authors' betas and epsilon, in 2D and in 3D.
        self._optimiser = torch.optim.Adam(self._parameter_groups(), betas=(0.9, 0.99), eps=1e-15)

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Groups that remember as `share` how fast they go relative to the rate of the surface or of the texture."""
        surface = self.dmtet.parameter_groups(1.0)
        texture = [
            group | {"name": f"texture_{level}"} for level, group in enumerate(self.texture.parameter_groups(1.0))
        ]
        return [group | {"share": group["lr"]} for group in surface + texture]


class _Clock:
    """Seconds per part of a step; on a GPU a part's time is that of its launches unless the caller synchronises."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
