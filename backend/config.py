"""Settings of a job: what the user chose, and what follows from it for each part. Frozen."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

from backend.diffusion.prompts import AUTHORS_SOURCE_SUFFIX, QUALITY_SUFFIX, ViewWording
from backend.errors import BadInput
from backend.geometry.mesh_input import UpAxis
from backend.losses import classifier_score, noise_free
from backend.losses.score_distillation import TimeWeighting
from backend.render.backgrounds import BackgroundKind
from backend.render.rasteriser import RasteriserChoice

Method = Literal["sds", "nfsd", "csd", "vsd", "dds", "bridge", "full-bridge", "vsd-full-bridge"]
BridgeForm = Literal["inversion", "shared-noise"]
ControlBranches = Literal["target", "both"]
Quality = Literal["draft", "normal", "high"]
DeviceChoice = Literal["auto", "cpu", "cuda"]
Settings = TypeVar("Settings", bound="JobSettings")


METHODS_FOR_MESHES = tuple(method for method in get_args(Method) if method != "dds")
"""All but the one that edits pictures."""
METHOD_DEFAULTS: dict[str, dict[str, Any]] = {
    "nfsd": {"guidance_scale": 7.5},  # Katzir et al. 2023
    "vsd": {"guidance_scale": 7.5},  # Wang et al. 2023
    "vsd-full-bridge": {"guidance_scale": 7.5},
}
"""What a method wants, whatever the prior; the others take the prior's."""


@dataclass(frozen=True)
class LinearRamp:
    """A value that goes straight from `start` to `end` while the job goes from `begin` to `until`, and stays."""

    start: float
    end: float
    begin: float = 0.0
    """Share of the job, in [0, 1]."""
    until: float = 1.0
    """Share of the job, in [0, 1]."""

    def scaled(self, factor: float) -> LinearRamp:
        """The same course with so many times the values."""
        return dataclasses.replace(self, start=self.start * factor, end=self.end * factor)

    def at(self, progress: float) -> float:
        if progress <= self.begin:
            return self.start
        if progress >= self.until:
            return self.end
        return self.start + (self.end - self.start) * (progress - self.begin) / (self.until - self.begin)


@dataclass(frozen=True)
class DistillationConfig:
    """The losses that come from the diffusion model."""

    method: Method = "bridge"
    guidance_scale: float = 100.0  # the authors' 3D configuration; diffusers' convention
    bridge_start: float = 0.8  # share of the steps; 20,000 of 25,000 in the authors' 3D configuration
    bridge_scale: float = 1.0  # stage_two_weight of the same; the guidance scale in their 2D code
    bridge_learning_rate_factor: float = 1.0
    """The learning rates in stage two, relative to stage one. Under Adam the rate is what a weight would be."""
    source_suffix: str = AUTHORS_SOURCE_SUFFIX
    target_suffix: str = QUALITY_SUFFIX
    negative_prompt: str = noise_free.NEGATIVE_PROMPT
    """What NFSD takes for a picture out of the domain."""
    csd_negative_suffix: str = ", " + classifier_score.NEGATIVE_PROMPT
    csd_positive_weight: LinearRamp = LinearRamp(1.0, 1.0)  # the authors' code
    """Times the guidance scale, which CSD itself does not have: only the ratio of the two weights is its own."""
    csd_negative_weight: LinearRamp = LinearRamp(0.0, 1.0)  # their first stage; 1 to 0.5 in their refinement
    adapter_rank: int = 4  # of the second model of variational methods; ProlificDreamer
    adapter_learning_rate: float = 1e-4  # their 3D code; 3e-4 in the bridge's 2D code
    bridge_form: BridgeForm = "inversion"
    bridge_steps: int = 10
    """Of the full bridge's ODE, each way."""
    view_wording: ViewWording = "coarse"  # DreamFusion, section 3.2
    control_branches: ControlBranches = "target"
    """Which predictions a drawing counts for: that of the target prompt alone, so that the guidance scale strengthens
    it as well, or that it is compared with too."""
    perp_neg_weight: float = 0.0
    """Of the opposite view as a negative prompt in SDS (Perp-Neg), against a second face on the back; below 0 to keep
    away from it, 0 to leave it out. One more prediction per view."""
    time_weighting: TimeWeighting = "variance"  # stage one of both of the authors' codes
    bridge_time_weighting: TimeWeighting = "variance"  # as in their 2D code; their 3D code uses "uniform"
    lowest_noise: LinearRamp = LinearRamp(0.02, 0.02)  # DreamFusion, section 3.2; shares of the timesteps
    highest_noise: LinearRamp = LinearRamp(0.98, 0.5, 0.2, 0.2)  # the authors' step at 5,000 of 25,000


@dataclass(frozen=True)
class SurfaceConfig:
    """The lattice, the starting shape and what keeps the surface smooth."""

    resolutions: tuple[tuple[float, int], ...] = ((0.0, 32), (0.5, 64))
    """From which share of the job on, how many cells a side."""
    start_radius_metres: float = 0.6
    learning_rate: LinearRamp = LinearRamp(0.02, 0.008)
    area_weight: float = 0.0
    """On the mean share of the picture that the object covers: keeps the surface from growing into a background."""
    normal_consistency_weight: float = 1.0
    laplacian_weight: float = 0.0
    sign_change_weight: float = 0.0
    mesh_weight: float = 0.0
    """On how far the signed distances are from those of the initial mesh; see `geometry.shape_difference`."""


@dataclass(frozen=True)
class ViewConfig:
    """What the diffusion model is shown in a step."""

    views: int = 8
    resolutions: tuple[tuple[float, int], ...] = ((0.0, 64),)
    """From which share of the job on, how many pixels a side. Sizes that the model does not know become its own."""
    supersample: int = 1
    elevation_degrees: tuple[float, float] = (-10.0, 60.0)
    background: BackgroundKind = "mixed"
    albedo_share: float = 0.25  # magic3d and DreamFusion: shaded with probability 0.75
    textureless_share: float = 0.1  # of the steps; only the shape is then seen
    textureless_until: float = 0.0  # share of the job at its beginning in which nothing but the shape is seen

    def resolution_at(self, progress: float) -> int:
        """Height and width of the pictures at a share of the job, in pixels."""
        return [pixels for begin, pixels in self.resolutions if begin <= progress][-1]

    def fitted_to(self, known: tuple[int, ...]) -> ViewConfig:
        """The same with sizes that a model knows; others would only be scaled to the largest of these.

        Args:
            known: Sizes in pixels, ascending.
        """
        fitted: list[tuple[float, int]] = []
        for begin, pixels in self.resolutions:
            size = pixels if pixels in known else known[-1]
            if not fitted or fitted[-1][1] != size:
                fitted.append((begin, size))
        return dataclasses.replace(self, resolutions=tuple(fitted))


@dataclass(frozen=True)
class OptimisationConfig:
    """Everything that the loop needs to know. Built from the user's settings by `MeshSettings.resolve`."""

    steps: int
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    surface: SurfaceConfig = field(default_factory=SurfaceConfig)
    views: ViewConfig = field(default_factory=ViewConfig)
    texture_learning_rate: LinearRamp = LinearRamp(0.02, 0.01)


@dataclass(frozen=True)
class JobSettings:
    """What the user asks for in every task. None means: what suits the prior and the task."""

    prompt: str
    prior: str = "embedded"
    steps: int | None = None
    seed: int = 0
    device: str = "auto"  # a DeviceChoice
    guidance_scale: float | None = None
    method: str | None = None  # a Method; what users give is checked below, with a sentence
    bridge_start: float | None = None
    source_suffix: str | None = None
    target_suffix: str | None = None

    def __post_init__(self) -> None:
        check_prompt(self.prompt)
        if self.method is not None:
            check_one_of("method", self.method, self.methods())
        check_one_of("device", self.device, get_args(DeviceChoice))
        check_whole_number("steps", self.steps, 1, 1_000_000)
        check_whole_number("seed", self.seed, 0, 2**63 - 1)
        check_number("guidance scale", self.guidance_scale, 0.0, 1000.0)
        check_number("bridge start", self.bridge_start, 0.0, 1.0)

    @property
    def title(self) -> str:
        """What a run is called after."""
        return self.prompt

    @classmethod
    def methods(cls) -> tuple[str, ...]:
        """Those that the task can be done by."""
        return METHODS_FOR_MESHES

    def to_json(self) -> dict[str, Any]:
        """All fields, as the run folder keeps them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls: type[Settings], values: dict[str, Any]) -> Settings:
        """The reverse of `to_json`.

        Raises:
            BadInput: A field is unknown, missing, or has a value that is not allowed; the message names it.
        """
        fields = dataclasses.fields(cls)
        unknown = sorted(values.keys() - {each.name for each in fields})
        if unknown:
            known = ", ".join(sorted(each.name for each in fields))
            raise BadInput(f"unknown setting {unknown[0]!r}; known are {known}")
        for each in fields:
            if each.default is dataclasses.MISSING and each.name not in values:
                raise BadInput(f"the setting {each.name!r} is missing")
        return cls(**values)

    def resolved_to_json(self) -> dict[str, Any]:
        """The configuration that follows from the settings, for the record."""
        raise NotImplementedError

    def chosen_distillation(self, base: DistillationConfig) -> DistillationConfig:
        """The defaults of the prior, then of the method, then what the user chose."""
        chosen: dict[str, Any] = dict(METHOD_DEFAULTS.get(self.method or "", {}))
        chosen |= {
            name: value
            for name in ("method", "guidance_scale", "bridge_start", "source_suffix", "target_suffix")
            if (value := getattr(self, name)) is not None
        }
        return dataclasses.replace(base, **chosen)


@dataclass(frozen=True)
class MeshSettings(JobSettings):
    """What the user asks for in every task that ends in a mesh."""

    quality: str = "normal"  # a Quality
    texture_size: int = 1024
    rasteriser: str = "auto"  # a RasteriserChoice
    symmetry: str | None = None
    """Axes across which shape and texture are mirrored at the middle: x for left and right, xz, ..."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.symmetry is not None:
            check_axes("symmetry", self.symmetry)
        check_one_of("quality", self.quality, get_args(Quality))
        check_one_of("rasteriser", self.rasteriser, get_args(RasteriserChoice))
        check_whole_number("texture size", self.texture_size, 64, 8192)

    def resolve(self) -> OptimisationConfig:
        """The configuration of every part: the defaults of the prior and the quality, then what the user chose."""
        base = self._defaults()
        distillation = self.chosen_distillation(base.distillation)
        return dataclasses.replace(base, steps=self.steps or base.steps, distillation=distillation)

    def resolved_to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self.resolve())

    def _defaults(self) -> OptimisationConfig:
        return _embedded_defaults(self.quality) if self.prior == "embedded" else _large_model_defaults(self.quality)


@dataclass(frozen=True)
class TextToMeshSettings(MeshSettings):
    """Text to mesh: a surface and its texture from a sentence."""

    init_mesh: str | None = None
    faces: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole_number("faces", self.faces, 100, 5_000_000)


@dataclass(frozen=True)
class TextureMeshSettings(MeshSettings):
    """A texture from a sentence, for a mesh that stays as it is."""

    mesh: str = field(kw_only=True)
    """The file."""
    up: str = "y"  # an UpAxis: which axis of the file points upwards

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.mesh, str) or not self.mesh:
            raise BadInput(f"the mesh must be the name of a file, such as mug.glb; got {self.mesh!r}")
        check_one_of("up", self.up, get_args(UpAxis))

    def resolved_to_json(self) -> dict[str, Any]:
        """Without the surface's configuration, of which nothing is used."""
        return {name: value for name, value in super().resolved_to_json().items() if name != "surface"}

    def _defaults(self) -> OptimisationConfig:
        return _texture_defaults(super()._defaults(), self.quality, is_embedded=self.prior == "embedded")


def _embedded_defaults(quality: str) -> OptimisationConfig:
    """Measured on the embedded prior."""
    steps = {"draft": 250, "normal": 600, "high": 1500}[quality]
    resolutions: dict[str, tuple[tuple[float, int], ...]] = {
        "draft": ((0.0, 32),),
        "normal": ((0.0, 32), (0.6, 64)),
        "high": ((0.0, 32), (0.4, 64), (0.75, 128)),
    }
    return OptimisationConfig(
        steps=steps,
        distillation=DistillationConfig(
            guidance_scale=5.0,  # 10 saturates the colours more and has no better shapes
            bridge_start=0.8,
            # At 1 the bridge's gradient is a tenth of SDS's, and the terms that smooth and shrink the surface win.
            bridge_scale=10.0,
            bridge_learning_rate_factor=0.33,
            view_wording="fine",  # its captions have these words; they keep a mug to one handle
            lowest_noise=LinearRamp(0.2, 0.05, 0.4, 0.8),
            highest_noise=LinearRamp(0.98, 0.98),
        ),
        surface=SurfaceConfig(
            resolutions=resolutions[quality],
            area_weight=8.0,  # without it the surface spreads as ground under the object
            normal_consistency_weight=60.0,  # 1 leaves lumps, 100 is as smooth as clay
        ),
        views=ViewConfig(resolutions=((0.0, 64), (0.5, 128))),  # 64 pixels decide the shape at 0.6 of the time
    )


def _large_model_defaults(quality: str) -> OptimisationConfig:
    """The authors' 3D configuration, with DMTet instead of a NeRF and steps for a budget of minutes."""
    steps = {"draft": 1000, "normal": 5000, "high": 15000}[quality]
    resolutions: dict[str, tuple[tuple[float, int], ...]] = {
        "draft": ((0.0, 32), (0.5, 64)),
        "normal": ((0.0, 32), (0.2, 64), (0.5, 128)),
        "high": ((0.0, 64), (0.3, 128)),
    }
    return OptimisationConfig(
        steps=steps,
        surface=SurfaceConfig(resolutions=resolutions[quality]),
        views=ViewConfig(views=4, resolutions=((0.0, 512),)),
    )


def _texture_defaults(base: OptimisationConfig, quality: str, is_embedded: bool) -> OptimisationConfig:
    """Those of text to mesh with fewer steps: only colours have to be found, and they come first there as well."""
    steps = {"draft": 100, "normal": 250, "high": 600} if is_embedded else {"draft": 400, "normal": 2000, "high": 6000}
    views = dataclasses.replace(base.views, textureless_share=0.0)  # without its texture there is nothing to learn
    return dataclasses.replace(base, steps=steps[quality], views=views)


def check_prompt(prompt: object) -> None:
    """Raises BadInput for what is no prompt."""
    if not isinstance(prompt, str) or not prompt.strip():
        raise BadInput('the prompt is empty; say what to make, for example "a red mushroom"')
    if len(prompt) > 2000:
        raise BadInput(f"the prompt has {len(prompt)} characters; at most 2000 are taken")


def check_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises BadInput for a value that is not allowed."""
    if value not in allowed:
        raise BadInput(f"{name} must be one of {', '.join(allowed)}; got {value!r}")


def check_axes(name: str, value: object) -> None:
    """Raises BadInput for what is not one to three of x, y, z, each once."""
    if not isinstance(value, str) or not value or set(value) - set("xyz") or len(set(value)) != len(value):
        raise BadInput(f"{name} must name axes to mirror across: x (left and right), y, z, or several as in xz; "
                       f"got {value!r}")  # fmt: skip


def check_whole_number(name: str, value: object, low: int, high: int) -> None:
    """Raises BadInput for what is no whole number of the range; None, which means the default, is allowed."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadInput(f"{name} must be a whole number from {low} to {high}; got {value!r}")
    if not low <= value <= high:
        raise BadInput(f"{name} must be from {low} to {high}; got {value}")


def check_number(name: str, value: object, low: float, high: float) -> None:
    """Raises BadInput for what is no number of the range; None, which means the default, is allowed."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise BadInput(f"{name} must be a number from {low:g} to {high:g}; got {value!r}")
