"""THE loop: a generator that yields steps. It never sends, saves, logs or draws; whoever asks for steps does.

Cancelling is closing the generator, pausing is not asking for the next step, steering is calling `steer` between two.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from backend.appearance.painting import paint_surface
from backend.appearance.texture_field import TextureField, TextureFieldConfig
from backend.cameras import Cameras, OrbitRange, sample_orbit_cameras
from backend.config import OptimisationConfig
from backend.diffusion.prior import DiffusionPrior
from backend.diffusion.prompts import describe_view
from backend.distillation import Distillation, Distilled
from backend.drawn_views import DrawnView, LoopViews
from backend.geometry.dmtet import DMTet, add_new_groups
from backend.geometry.held_region import HeldRegion
from backend.geometry.placed_mesh import PlacedMesh
from backend.geometry.surface_constraints import SurfaceConstraints
from backend.geometry.surface_guard import gradients_are_finite
from backend.geometry.triangle_mesh import TriangleMesh
from backend.losses.score_distillation import loss_with_gradient
from backend.render.backgrounds import sample_backgrounds
from backend.render.rasteriser import Rasteriser
from backend.render.renderer import FieldAppearance, RenderedViews, render_views
from backend.render.shading import ShadingMode, sample_lighting
from backend.saved_tensors import moments_of, restore_moments, under
from backend.steering import Steered, Steering
from backend.surfaces import DMTetSurface, FixedSurface, InitialShape, Surface

FurtherTerms = Callable[[TriangleMesh, TextureField, float], dict[str, Tensor]]
"""Weighted terms by name, from the surface, its texture and the share of the job that is done, in [0, 1)."""

DrawnViews = Callable[[int, int], Sequence[DrawnView]]
"""Views that take the place of random ones, from the number of a step and that of its views."""


@dataclass(frozen=True)
class Step:
    """What happened in one step."""

    number: int
    """From 1."""
    total: int
    stage: str
    """Of the method: `SDS`, then `bridge`, unless another was chosen."""
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
    """A surface and a texture field on their way to a prompt.

    Args:
        shape: Where a DMTet surface starts; or a mesh, which stays as it is and gets its texture alone.
        seed: Of every random number in the loop.
        further_terms: Minimised together with what the diffusion model wants.
        drawn_views: Shown to the diffusion model with their drawings; it must be a `ControllablePrior` then.
        constraints: What surface and texture keep to. Colours of a held region are those that `paint` gives it.
    """

    def __init__(
        self,
        prompt: str,
        config: OptimisationConfig,
        prior: DiffusionPrior,
        rasteriser: Rasteriser,
        shape: InitialShape | TriangleMesh,
        seed: int,
        further_terms: FurtherTerms | None = None,
        constraints: SurfaceConstraints | None = None,
        drawn_views: DrawnViews | None = None,
    ) -> None:
        constraints = constraints or SurfaceConstraints()
        self._further_terms, self._drawn_views = further_terms, drawn_views
        self.prompt, self.config, self.prior, self.rasteriser = prompt, config, prior, rasteriser
        self._first_prompt, self._first_config, self._steered = prompt, config, Steered()
        self._step = 0
        self._mesh: TriangleMesh | None = None  # of the last step, as long as it is the present one
        self._generator = torch.Generator().manual_seed(seed)
        self._distillation = Distillation(prompt, config.distillation, prior, self._generator)
        self.surface: Surface = (
            FixedSurface(shape.to(prior.device))
            if isinstance(shape, TriangleMesh)
            else DMTetSurface(shape, config.surface, prior.device, constraints)
        )
        # Views of 64 pixels see no more than 64 cells a side.
        finest = config.views.resolution_at(1.0)
        cells = (16, 32, 64) if finest <= 128 else (16, 32, 64, 128, 256)
        texture_config = TextureFieldConfig(resolutions=cells, mirror_axes=constraints.mirror_axes)
        self.texture = TextureField(texture_config, torch.Generator().manual_seed(seed)).to(prior.device)
        self._renew_optimiser()

    @property
    def dmtet(self) -> DMTet:
        """The lattice under a surface that is learnt. AttributeError for a mesh that stays as it is, which has none."""
        if not isinstance(self.surface, DMTetSurface):
            raise AttributeError("a fixed surface has no lattice")
        return self.surface.dmtet

    @property
    def step(self) -> int:
        """How many steps have been made."""
        return self._step

    def steps(self) -> Iterator[Step]:
        """Makes the steps that are left, one each time the next is asked for."""
        while self._step < self.config.steps:
            yield self._make_step()

    def current_mesh(self) -> TriangleMesh:
        """The surface as it is, without gradients. Costs nothing after a step, which has looked at it already."""
        if self._mesh is None:
            with torch.no_grad():
                self._mesh = self.surface.extract_mesh().detach()
        return self._mesh

    def steer(self, change: Steering) -> None:
        """Takes a change, between two steps.

        After an edited mesh the surface is that mesh, with its colours, or those that the old surface had nearest to
        it.

        Raises:
            BadInput: The edited mesh has no surface on the lattice; nothing has changed then.
        """
        if change.mesh is not None:
            earlier = self.current_mesh()
            self.surface.replace(change.mesh, self._step)
            self._mesh = None
            self.paint(change.mesh, earlier)
        self._take(self._steered.after(change, self._step, self._first_config.steps))

    def paint(self, mesh: PlacedMesh, earlier: TriangleMesh | None = None) -> None:
        """Fits the texture to a mesh; see `paint_surface`. What the optimiser remembers is forgotten."""
        device = self.prior.device
        colours = None if mesh.colours is None else torch.from_numpy(mesh.colours).float().to(device)
        self.texture.hold(None)
        paint_surface(self.texture, mesh.triangle_mesh().to(device), colours, earlier)
        has_colours = colours is not None or earlier is not None
        self.texture.hold(HeldRegion.of(mesh) if has_colours else None)  # grey is not worth keeping
        self._renew_optimiser()

    @torch.no_grad()
    def render(self, cameras: Cameras, resolution: int, **options: Any) -> RenderedViews:
        """Views of the surface as it is, without gradients; options as of `render_views`."""
        return render_views(
            self.rasteriser, self.current_mesh(), FieldAppearance(self.texture), cameras, resolution, **options
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON-able facts from which `load_state` goes on as if nothing had been broken off."""
        tensors, metadata = self.surface.state()
        tensors |= {f"texture.{name}": value.detach().clone() for name, value in self.texture.state_dict().items()}
        tensors |= moments_of(self._optimiser, self._named_parameters())
        tensors |= {f"distillation.{name}": value for name, value in self._distillation.state().items()}
        tensors["random"] = self._generator.get_state().clone()
        return tensors, {"step": self._step, "steered": self._steered.to_json(), **metadata}

    def load_state(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        """Goes back to what `state` told. Shapes that do not fit raise ValueError."""
        self._step = int(metadata["step"])
        self._mesh = None
        self._take(Steered.from_json(metadata.get("steered", {})))
        self.surface.load_state(tensors, metadata, self._step)
        self.texture.load_state_dict(under("texture.", tensors))
        if self.surface.edited is not None:
            self.texture.hold(HeldRegion.of(self.surface.edited))
        self._distillation.load_state(under("distillation.", tensors))
        self._renew_optimiser()
        restore_moments(self._optimiser, self._named_parameters(), tensors)
        self._generator.set_state(tensors["random"].cpu())

    def _take(self, steered: Steered) -> None:
        """Goes on with these changes to what the job began with."""
        self._steered = steered
        self.config = steered.mesh_config(self._first_config)
        self.prompt = self._first_prompt if steered.prompt is None else steered.prompt
        self.surface.configure(self.config.surface)
        self._distillation.prompt, self._distillation.config = self.prompt, self.config.distillation

    def _make_step(self) -> Step:
        clock = _Clock()
        progress = self._steered.progress(self._step, self._first_config.steps)
        self._mesh = None
        mesh = self.surface.extract_mesh()
        notices = self._restore_if_broken(mesh) + self._grow(progress)
        if notices:  # the surface, or its lattice, is another one now
            mesh = self.surface.extract_mesh()
        clock.lap("surface")

        seen, views = self._render_random_views(mesh, progress)
        clock.lap("render")

        # The graph is cut at the pictures, so that the prior's share of the time can be told from ours.
        pictures = views.images.detach().requires_grad_()
        gradient_norm, distilled = self._distil(pictures, seen, progress)
        clock.lap("prior")

        losses = self._regularise(mesh, views)
        if self._further_terms is not None:
            losses |= self._further_terms(mesh, self.texture, progress)
            clock.lap("sketches")
        self._optimiser.zero_grad(set_to_none=True)
        outputs, gradients = [views.images], [pictures.grad]
        if losses:
            outputs.append(torch.stack(list(losses.values())).sum())
            gradients.append(None)
        torch.autograd.backward(outputs, gradients)
        clock.lap("backward")

        if self.surface.has_finite_gradients() and gradients_are_finite(self.texture):
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
            stage=distilled.stage,
            gradient_norm=gradient_norm,
            losses={name: value.item() for name, value in losses.items()},
            face_count=len(mesh.faces),
            timestep_range=distilled.timestep_range,
            notices=tuple(notices),
            seconds=clock.seconds,
        )

    def _restore_if_broken(self, mesh: TriangleMesh) -> list[str]:
        """Puts the last good surface back where the present one, `mesh`, is empty or not finite, and says so."""
        trouble = self.surface.restore_if_broken(self._step, mesh)
        if trouble is None:
            return []
        self._mesh = None
        return [self._slow_down(trouble)]

    def _grow(self, progress: float) -> list[str]:
        notices = self.surface.grow(self._step, progress)
        if notices:
            add_new_groups(self._optimiser, self._parameter_groups())
        return notices

    def _render_random_views(self, mesh: TriangleMesh, progress: float) -> tuple[LoopViews, RenderedViews]:
        config = self.config.views
        device = self.prior.device
        orbit = OrbitRange(elevation_degrees=config.elevation_degrees)
        random = sample_orbit_cameras(config.views, self._generator, orbit, device)
        drawn = self._drawn_views(self._step, config.views) if self._drawn_views is not None else ()
        seen = LoopViews.of(random, drawn)
        chance = torch.rand((), generator=self._generator).item()
        mode: ShadingMode = "lit"
        if chance < config.textureless_share or progress < config.textureless_until:
            mode = "textureless"
        elif chance < config.textureless_share + config.albedo_share:
            mode = "albedo"
        lighting = sample_lighting(seen.cameras, self._generator, mode)
        resolution = config.resolution_at(progress)
        background = sample_backgrounds(config.views, resolution, self._generator, config.background, device)
        views = render_views(
            self.rasteriser,
            mesh,
            FieldAppearance(self.texture),
            seen.cameras,
            resolution,
            lighting=lighting,
            background=background,
            supersample=config.supersample,
        )
        return seen, views

    def _distil(self, pictures: Tensor, seen: LoopViews, progress: float) -> tuple[float, Distilled]:
        """Leaves the gradient of the diffusion model in `pictures.grad`, and returns its mean norm."""
        latents = self.prior.encode_images(pictures)
        uses_opposite_views = self.config.distillation.perp_neg_weight != 0
        distilled = self._distillation.gradient_of(
            latents,
            self._describe(seen),
            progress,
            seen.camera_to_world(),
            opposite_views=self._describe(seen, turned_degrees=180.0) if uses_opposite_views else None,
            control=seen.control,
        )
        loss_with_gradient(latents, distilled.gradient).backward()
        return distilled.gradient.flatten(1).norm(dim=1).mean().item(), distilled

    def _describe(self, seen: LoopViews, turned_degrees: float = 0.0) -> list[str]:
        """What a prompt says of each camera, or of one that stands so much further around."""
        wording = self.config.distillation.view_wording
        angles = zip(seen.azimuth_degrees, seen.elevation_degrees, strict=True)
        return [describe_view(azimuth + turned_degrees, elevation, wording) for azimuth, elevation in angles]

    def _regularise(self, mesh: TriangleMesh, views: RenderedViews) -> dict[str, Tensor]:
        return self.surface.regularise(mesh, views.masks)

    def _set_learning_rates(self, progress: float) -> None:
        distillation = self.config.distillation
        is_second_stage = self._distillation.is_second_stage(progress)
        factor = distillation.bridge_learning_rate_factor if is_second_stage else 1.0
        surface_rate = self.surface.learning_rate(progress) * factor
        texture_rate = self.config.texture_learning_rate.at(progress) * factor
        for group in self._optimiser.param_groups:
            group["lr"] = group["share"] * (texture_rate if group["name"].startswith("texture") else surface_rate)

    def _slow_down(self, reason: str) -> str:
        """Forgets the moments that led here; a surface that is learnt halves its rate."""
        self._renew_optimiser()
        return f"{reason} {self.surface.slow_down()}"

    def _renew_optimiser(self) -> None:
        # The authors' betas and epsilon, in 2D and in 3D.
        self._optimiser = torch.optim.Adam(self._parameter_groups(), betas=(0.9, 0.99), eps=1e-15)

    def _named_parameters(self) -> dict[str, Tensor]:
        """What is optimised, by the names under which its moments are saved."""
        return {
            f"adam.{group['name']}.{index}": parameter
            for group in self._optimiser.param_groups
            for index, parameter in enumerate(group["params"])
        }

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Groups that remember as `share` how fast they go relative to the rate of the surface or of the texture."""
        surface = self.surface.parameter_groups()
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
