"""What clients ask for, as settings and tasks of the backend; and what a task makes, as messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from backend.appearance.bake import FinishedMesh
from backend.config import JobSettings, TextToMeshSettings, TextureMeshSettings
from backend.diffusion.prior import DiffusionPrior
from backend.errors import BadInput, BadPicture, EmptySurface, MissingModel, SketchbridgeError
from backend.geometry.mesh_input import OTHER_AXES, Placement
from backend.picture_config import TextToImageSettings
from backend.pictures import FinishedPictures, encode_picture, read_png
from backend.server.mesh_conversion import placed_mesh, placement_of, textured_mesh, untextured_mesh
from backend.server.sketch_conversion import placed_sketch, placed_sketches
from backend.server.worker_config import WorkerConfig
from backend.sketch_config import NO_CONTROLNET, SketchToMeshSettings
from backend.sketches.overlay import fit_sentence
from backend.sketches.sketch import Sketch
from backend.steering import Steering
from backend.tasks.mesh_task import MeshTask
from backend.tasks.picture_task import PictureTask
from backend.tasks.setting_up import PriorLoader
from backend.tasks.sketch_to_mesh import SketchToMesh
from backend.tasks.text_to_image import TextToImage
from backend.tasks.text_to_mesh import TextToMesh
from backend.tasks.texture_mesh import TextureMesh
from protocol.geometry import NamedPicture
from protocol.messages import Finished, SubmitJob, UpdateJob

ServedTask = TextToMesh | TextureMesh | SketchToMesh | TextToImage
_AS_THEY_ARE = (
    "steps", "seed", "method", "guidance_scale", "bridge_start", "source_suffix", "target_suffix", "device",
)  # fmt: skip
"""Fields that mean the same on the wire and in `JobSettings`."""
_SENT_MESH = "the mesh that was sent"


@dataclass(frozen=True)
class JobRequest:
    """A job as the backend understands it."""

    message: SubmitJob
    settings: JobSettings
    placement: Placement
    """From the client's scene to the ball that objects live in."""

    @classmethod
    def of(cls, message: SubmitJob, config: WorkerConfig) -> JobRequest:
        """Converts, and refuses what this worker cannot do.

        Raises:
            MissingModel: It does not know the prior.
            UnreadableMesh: The mesh has no extent to be placed by.
            BadInput: Something else cannot be done; the message says what would be right.
        """
        _refuse_what_is_not_there(message)
        prior = config.priors.get(message.settings.prior)
        if prior is None:
            known = ", ".join(config.priors) or "none"
            raise MissingModel(f"the model {message.settings.prior} is not on the server any more; it has: {known}")
        controlnet = config.controlnets.get(message.settings.prior)
        return cls(message, _settings_of(message, prior, controlnet), placement_of(message))

    def make_task(self, notice: Callable[[str], None], loader: PriorLoader) -> ServedTask:
        """Sets the task up, ready for its first step.

        Raises:
            SketchbridgeError: What the client can do something about.
        """
        given = None if self.message.mesh is None else placed_mesh(self.message.mesh, self.placement)
        loader = self._explaining(loader)
        settings = self.settings
        if isinstance(settings, SketchToMeshSettings):
            sketches = placed_sketches(self.message.sketches, self.placement, notice)
            return SketchToMesh(settings, notice, given=given, sketches=sketches, loader=loader)
        if self.message.sketches:
            notice("sketches are not looked at by this task; the prompt and the mesh are")
        if isinstance(settings, TextureMeshSettings):
            return TextureMesh(settings, notice, given=given, loader=loader)
        if isinstance(settings, TextToMeshSettings):
            return TextToMesh(settings, notice, given=given, loader=loader)
        assert isinstance(settings, TextToImageSettings)
        if self.message.picture is None:
            return TextToImage(settings, notice, loader=loader)
        picture = self.message.picture

        def read_start(size: int) -> torch.Tensor:
            try:
                return read_png(picture, "that was sent", size, notice)
            except BadInput as error:
                raise BadPicture(str(error)) from error

        return TextToImage(settings, notice, read_start=read_start, loader=loader)

    def _explaining(self, loader: PriorLoader) -> PriorLoader:
        """A loader whose errors name the model as the client does, and not its place on the server's disk."""

        def load(name: str, device: torch.device) -> DiffusionPrior:
            try:
                return loader(name, device)
            except SketchbridgeError as error:
                model = self.message.settings.prior
                raise MissingModel(
                    f"the model {model} cannot be loaded; whoever runs the server finds the reason in its log"
                ) from error

        return load

    def steering(self, update: UpdateJob, notice: Callable[[str], None]) -> Steering:
        """An update as a change for the loop. An edited mesh or a sketch that cannot be used is left out, and told."""
        mesh = None
        if update.mesh is not None:
            try:
                mesh = placed_mesh(update.mesh, self.placement)
            except BadInput as error:
                notice(f"the edited mesh was left out: {error}")
        return Steering(
            prompt=update.prompt,
            source_suffix=update.source_suffix,
            target_suffix=update.target_suffix,
            guidance_scale=update.guidance_scale,
            learning_rate_factor=update.learning_rate_factor,
            smoothness_factor=update.smoothness_weight,
            mesh_weight=update.mesh_weight,
            more_steps=update.more_steps,
            mesh=mesh,
            **self._sketch_changes(update, notice),
        )

    def _sketch_changes(self, update: UpdateJob, notice: Callable[[str], None]) -> dict[str, Any]:
        """Those fields of a `Steering`."""
        if not (update.add_sketches or update.remove_sketches or update.sketch_weights):
            return {}
        if self.message.task != "sketch":
            notice("sketches cannot be changed: this task does not look at them")
            return {}
        added: list[Sketch] = []
        for sketch in update.add_sketches:
            try:
                added.append(placed_sketch(sketch, self.placement, notice))
            except BadInput as error:
                notice(f"a sketch was left out: {error}")
        return {
            "add_sketches": tuple(added),
            "remove_sketches": update.remove_sketches,
            "sketch_weights": tuple((each.name, each.weight) for each in update.sketch_weights),
        }

    def finished(
        self, job: str, task: ServedTask, step: int, seconds: float, is_partial: bool, tell: Callable[[str], None]
    ) -> tuple[Finished, tuple[str, ...]]:
        """The whole result, with textures, and notes on how it was made.

        Args:
            step: How many are done.
            seconds: Of computing so far.
            tell: Told what is being done.

        Raises:
            EmptySurface: There is none.
        """
        result = task.finish(tell)
        facts: dict[str, Any] = {"job": job, "step": step, "is_partial": is_partial, "seconds": seconds}
        if isinstance(result, FinishedPictures):
            return Finished(**facts, pictures=_pictures(next(iter(result.pictures.values())))), ()
        assert isinstance(result, FinishedMesh)
        given = task.mesh if isinstance(task, TextureMesh) else None
        mesh, textures = textured_mesh(result, self.placement, given)
        notes = result.report.notes
        if isinstance(task, SketchToMesh):
            notes += (fit_sentence(task.scores()),)
        return Finished(**facts, mesh=mesh, textures=textures), notes

    def partial(self, job: str, task: ServedTask, step: int, seconds: float) -> Finished:
        """What is there now, made in milliseconds: a mesh with colours at its vertices, or a picture.

        Raises:
            EmptySurface: There is no surface now.
        """
        facts: dict[str, Any] = {"job": job, "step": step, "is_partial": True, "seconds": seconds}
        if isinstance(task, PictureTask):
            return Finished(**facts, pictures=_pictures(task.preview()[0].numpy()))
        assert isinstance(task, MeshTask)
        mesh = task.current_mesh()
        if mesh.is_empty:
            raise EmptySurface("there is no surface at the moment; ask again after some steps")
        return Finished(**facts, mesh=untextured_mesh(mesh, task.vertex_colours(), self.placement))


def _refuse_what_is_not_there(message: SubmitJob) -> None:
    settings = message.settings
    if settings.lora is not None:
        raise BadInput(f"this server cannot use the LoRA {settings.lora}, or any other; leave it out")
    if settings.environment is not None:
        raise BadInput(f"this server cannot use the light {settings.environment}, or any other; leave it out")
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise BadInput("this server has no NVIDIA GPU that can be used; ask for the device auto or cpu")


def _settings_of(message: SubmitJob, prior: str, controlnet: str | None) -> JobSettings:
    wire = message.settings
    chosen: dict[str, Any] = {name: getattr(wire, name) for name in _AS_THEY_ARE}
    chosen |= {"prompt": message.prompt, "prior": prior}
    if message.task == "image":
        return TextToImageSettings(**chosen)
    chosen["symmetry"] = "".join(sorted({OTHER_AXES[axis] for axis in wire.symmetry})) or None
    chosen |= {"quality": wire.quality, "texture_size": wire.texture_size, "rasteriser": wire.rasteriser}
    if message.task == "texture":
        return TextureMeshSettings(**chosen, mesh=_SENT_MESH, up="z")
    if message.task == "sketch":
        return SketchToMeshSettings(
            **chosen,
            faces=wire.faces,
            views=None,
            mesh=None if message.mesh is None else _SENT_MESH,
            to_real=wire.to_real,
            controlnet=controlnet or NO_CONTROLNET,
        )
    return TextToMeshSettings(**chosen, faces=wire.faces)


def _pictures(picture: Any) -> tuple[NamedPicture, ...]:
    return (NamedPicture(name="picture", picture=encode_picture(picture, ".png")),)
