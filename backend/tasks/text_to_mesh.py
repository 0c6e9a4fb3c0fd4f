"""Text to mesh: settings in, an optimisation that can be stepped, saved and finished."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from backend.appearance.bake import FinishedMesh, finish_mesh
from backend.cameras import turntable_cameras
from backend.config import OptimisationConfig, TextToMeshSettings
from backend.diffusion.diffusers_prior import load_prior
from backend.diffusion.prompts import join_prompt
from backend.errors import BadInput, SketchbridgeError
from backend.geometry.components import remove_floaters
from backend.geometry.signed_distance import load_initial_mesh, sphere
from backend.geometry.tetrahedral_grid import TetrahedralGrid
from backend.optimise import MeshOptimisation, Step
from backend.render.rasteriser import choose_rasteriser
from backend.render.shading import headlight

SMALL_MACHINE_CORES = 4


class TextToMesh:
    """One job. Raises what the user can do something about as a SketchbridgeError when it is built.

    Args:
        settings: What was asked for.
        notice: Told sentences for the user, such as the end of a prompt that the model has no room for.
        config: For studies: used instead of what follows from the settings.
    """

    def __init__(
        self,
        settings: TextToMeshSettings,
        notice: Callable[[str], None] = lambda sentence: None,
        config: OptimisationConfig | None = None,
    ) -> None:
        self.settings = settings
        self.config = config or settings.resolve()
        self.device = choose_device(settings.device)
        if self.device.type == "cpu":
            use_few_threads()
        initial_shape = self._initial_shape()
        self.rasteriser = choose_rasteriser(self.device, settings.rasteriser)
        self.prior = load_prior(settings.prior, self.device)
        # Pictures of another size would only be scaled to the model's.
        views = dataclasses.replace(self.config.views, resolution=self.prior.image_size)
        self.config = dataclasses.replace(self.config, views=views)
        self._tell_what_is_cut(notice)
        self._optimisation = MeshOptimisation(
            settings.prompt, self.config, self.prior, self.rasteriser, initial_shape, settings.seed
        )

    @property
    def total_steps(self) -> int:
        return self.config.steps

    def steps(self) -> Iterator[Step]:
        """The steps that are left. Closing the iterator cancels between two of them."""
        return self._optimisation.steps()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `MeshOptimisation.state`."""
        return self._optimisation.state()

    def load_state(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        """See `MeshOptimisation.load_state`."""
        self._optimisation.load_state(tensors, metadata)

    def preview(self, view_count: int = 4, resolution: int = 256) -> UInt8[Tensor, "views height width 3"]:
        """The surface as it is, from around, under a light that moves with the camera."""
        cameras = turntable_cameras(view_count, first_azimuth_degrees=30.0, device=self.device)
        views = self._optimisation.render(cameras, resolution, lighting=headlight(cameras))
        return (views.images.clamp(0, 1) * 255).round().to(torch.uint8).cpu()

    def finish(self, progress: Callable[[str], None] = lambda sentence: None) -> FinishedMesh:
        """The surface so far without floaters, decimated if asked for, unwrapped, with its textures baked.

        Raises:
            SketchbridgeError: There is no surface to finish.
        """
        mesh = remove_floaters(self._optimisation.current_mesh())
        if mesh.is_empty:
            raise SketchbridgeError("the surface is empty, so there is no mesh to write; another seed may help")
        return finish_mesh(
            mesh,
            self._optimisation.texture,
            rasteriser=self.rasteriser,
            face_budget=self.settings.faces,
            texture_size=self.settings.texture_size,
            name=self.settings.prompt,
            progress=progress,
        )

    def _tell_what_is_cut(self, notice: Callable[[str], None]) -> None:
        """Says what the model has no room for, once, for the shortest of its prompts that is too long."""
        distillation = self.config.distillation
        for suffix, which in (
            ("", "the prompt"),
            (distillation.target_suffix, "the prompt with the target words"),
            (distillation.source_suffix, "the prompt with the source words"),
        ):
            cut = self.prior.cut_from_prompt(join_prompt(self.settings.prompt, "overhead view", suffix))
            if cut:
                notice(f"{which} is longer than this model reads; it ignores the end: {cut!r}")
                return

    def _initial_shape(self) -> Callable[[TetrahedralGrid], Tensor]:
        if self.settings.init_mesh is None:
            radius = self.config.surface.start_radius_metres
            return lambda grid: sphere(grid.positions().view(-1, 3), radius).view(grid.side, grid.side, grid.side)
        initial_mesh = load_initial_mesh(Path(self.settings.init_mesh))
        return initial_mesh.signed_distances


def use_few_threads() -> None:
    """One torch thread on a small machine, unless OMP_NUM_THREADS says otherwise.

    Two threads of a small network spend more time waiting for each other than they save, and on cores that are busy
    with something else a step takes 10 to 50 times as long.
    """
    if "OMP_NUM_THREADS" not in os.environ and (os.cpu_count() or 1) <= SMALL_MACHINE_CORES:
        torch.set_num_threads(1)


def choose_device(choice: str) -> torch.device:
    """The device for a setting: `auto` takes CUDA where there is a GPU.

    Raises:
        BadInput: CUDA was asked for by name and is not there.
    """
    if choice == "cuda" and not torch.cuda.is_available():
        raise BadInput(
            "--device cuda: torch sees no NVIDIA GPU here; use --device auto or cpu, or see: sketchbridge doctor"
        )
    if choice == "auto":
        choice = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(choice)
