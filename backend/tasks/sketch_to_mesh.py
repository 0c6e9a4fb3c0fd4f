"""Sketch to mesh: drawings, and if need be a blocked-out shape, steer what a sentence becomes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from backend.appearance.bake import FinishedMesh
from backend.appearance.texture_field import TextureField
from backend.config import OptimisationConfig
from backend.diffusion.control_network import ControllablePrior
from backend.diffusion.prior import DiffusionPrior
from backend.drawn_views import DrawnView
from backend.errors import BadInput
from backend.geometry.placed_mesh import PlacedMesh, load_initial_mesh
from backend.geometry.triangle_mesh import TriangleMesh
from backend.render.portable_rasteriser import PortableRasteriser
from backend.render.renderer import FieldAppearance
from backend.saved_tensors import under
from backend.sketch_config import NO_CONTROLNET, SketchConfig, SketchToMeshSettings
from backend.sketches.changes import changed_drawings
from backend.sketches.control import DrawnViewsOf
from backend.sketches.drawing import Drawing, ready_drawings
from backend.sketches.first_shape import first_shape, tell_contradictions
from backend.sketches.overlay import SketchScore, overlays, sketch_scores
from backend.sketches.saved import restored_drawings, saved_drawings
from backend.sketches.sketch import Sketch
from backend.sketches.terms import SketchTerms
from backend.sketches.view_argument import parse_view, read_sketch
from backend.steering import Steering
from backend.tasks.mesh_task import MeshTask
from backend.tasks.setting_up import PriorLoader, set_up
from backend.tasks.text_to_mesh import ball, finish_surface


class SketchToMesh(MeshTask):
    """One job. Raises what the user can do something about as a SketchbridgeError when it is built.

    Args:
        settings: What was asked for.
        notice: Told sentences for the user: what of a drawing is left out, which two contradict each other.
        config: For studies: used instead of what follows from the settings.
        sketch_config: The same for what the drawings ask for.
        given: The blocked-out mesh, of a caller that has it in memory; otherwise the settings may name a file.
        sketches: The drawings, of a caller that has them in memory; otherwise the settings name their files.
        loader: Of the prior; see `set_up`.
    """

    def __init__(
        self,
        settings: SketchToMeshSettings,
        notice: Callable[[str], None] = lambda sentence: None,
        config: OptimisationConfig | None = None,
        sketch_config: SketchConfig | None = None,
        given: PlacedMesh | None = None,
        sketches: tuple[Sketch, ...] | None = None,
        loader: PriorLoader | None = None,
    ) -> None:
        self.settings = settings
        # First, as it is what may be wrong with the least to wait for.
        if sketches is None:
            sketches = tuple(read_sketch(parse_view(view), notice) for view in settings.views or ())
        has_mesh = given is not None or settings.mesh is not None
        self._first_drawings = ready_drawings(sketches, notice) if sketches or not has_mesh else ()
        self.drawings: tuple[Drawing, ...] = self._first_drawings
        """Those that hold now, after all steering."""
        if given is None:
            given = self._first_mesh()
        config = config or settings.resolve()
        ready = set_up(settings, config, notice, loader)
        self._has_control = self._use_control_network(ready.prior)
        for sketch in sketches:
            if (trouble := self._trouble_of_scribble(sketch)) is not None:
                raise BadInput(trouble)
        tell_contradictions(PortableRasteriser(), self.drawings, notice)
        self._sketch_config = sketch_config or settings.resolve_sketches()
        self._terms = SketchTerms(self.drawings, self._sketch_config, ready.rasteriser, ready.device)
        self._views_with_drawings = DrawnViewsOf(self.drawings, self._sketch_config)
        shape = ball(config.surface.start_radius_metres) if given is None else given.signed_distances
        drawn_views = self._drawn_views if self._has_control else None
        super().__init__(settings, ready, shape, given, self._further_terms, drawn_views)

    def _first_mesh(self) -> PlacedMesh | None:
        """None for a ball: nothing is known of the shape but loose scribbles."""
        settings = self.settings
        if settings.mesh is not None:
            return load_initial_mesh(settings.mesh, settings.lock)
        if all(each.shape is None and each.sketch.drawn == "scribble" for each in self.drawings):
            return None
        return first_shape(self.drawings)

    def _use_control_network(self, prior: DiffusionPrior) -> bool:
        """Whether there is one now."""
        identifier = self.settings.chosen_controlnet
        if identifier is None or not isinstance(prior, ControllablePrior):
            return False
        prior.use_control_network(identifier)
        return True

    def _trouble_of_scribble(self, sketch: Sketch) -> str | None:
        if sketch.drawn != "scribble" or self._has_control:
            return None
        reason = "which is off" if self.settings.controlnet == NO_CONTROLNET else "and this job has none"
        return (
            f"the sketch {sketch.name} is a scribble, which steers through a ControlNet, {reason}; make it lines, or "
            "an outline if it is closed"
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `MeshOptimisation.state`. The drawings that the job began with are not saved: a fingerprint tells if they
        are still the same. What steering has made of them is."""
        tensors, metadata = super().state()
        metadata |= {"drawings": self._fingerprint()}
        if self.drawings is not self._first_drawings:
            drawn, metadata["steered_drawings"] = saved_drawings(self.drawings)
            tensors |= {f"drawing.{name}": tensor for name, tensor in drawn.items()}
        return tensors, metadata

    def load_state(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        if metadata["drawings"] != self._fingerprint():
            raise ValueError("the drawings are not those that the run began with")
        super().load_state(tensors, metadata)
        steered = metadata.get("steered_drawings")
        self._draw(self._first_drawings if steered is None else restored_drawings(under("drawing.", tensors), steered))

    def steer(self, change: Steering) -> list[str]:
        """As `MeshTask.steer`; drawings that cannot be used are left out and told."""
        notices = super().steer(change)  # raises before anything has changed
        usable = []
        for sketch in change.add_sketches:
            if (trouble := self._trouble_of_scribble(sketch)) is None:
                usable.append(sketch)
            else:
                notices.append(f"a sketch was left out: {trouble}")
        change = dataclasses.replace(change, add_sketches=tuple(usable))
        if change.changes_sketches:
            before = {drawing.name: drawing for drawing in self.drawings}
            self._draw(
                changed_drawings(
                    self.drawings, change.remove_sketches, change.add_sketches, change.sketch_weights, notices.append
                )
            )
            added = {each.name for each in change.add_sketches}
            new = [each.name for each in self.drawings if each.name in added and each is not before.get(each.name)]
            tell_contradictions(PortableRasteriser(), self.drawings, notices.append, new)
        return notices

    def finish(self, progress: Callable[[str], None] = lambda sentence: None) -> FinishedMesh:
        """As `TextToMesh.finish`.

        Raises:
            EmptySurface: There is no surface to finish.
        """
        return finish_surface(
            self._optimisation,
            self.rasteriser,
            name=self.settings.prompt,
            faces=self.settings.faces,
            texture_size=self.settings.texture_size,
            progress=progress,
        )

    def scores(self) -> list[SketchScore]:
        """How well the surface fits each drawing now."""
        return sketch_scores(self.rasteriser, self.current_mesh(), self.drawings)

    def overlays(self, resolution: int = 384) -> list[UInt8[np.ndarray, "height width 3"]]:
        """Each drawing over the surface as it is now, from the drawing's camera."""
        appearance = FieldAppearance(self._optimisation.texture)
        return overlays(self.rasteriser, self.current_mesh(), appearance, self.drawings, resolution)

    def _draw(self, drawings: tuple[Drawing, ...]) -> None:
        """Goes on with these drawings."""
        self.drawings = drawings
        self._views_with_drawings = DrawnViewsOf(drawings, self._sketch_config)
        self._terms = SketchTerms(drawings, self._sketch_config, self.rasteriser, self.device)

    def _further_terms(self, mesh: TriangleMesh, texture: TextureField, progress: float) -> dict[str, Tensor]:
        return self._terms(mesh, texture, progress)  # those that hold now

    def _drawn_views(self, step: int, view_count: int) -> list[DrawnView]:
        return self._views_with_drawings(step, view_count)  # of those that hold now

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for drawing in self._first_drawings:
            digest.update(f"{drawing.camera} {drawing.sketch.drawn} {drawing.sketch.weight}".encode())
            digest.update(np.packbits(drawing.ink).tobytes())
        return digest.hexdigest()
