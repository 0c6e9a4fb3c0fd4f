"""A UV atlas for any mesh: own charts, laid out by two packers of which the denser layout is used.

xatlas packs in a process of its own with a time limit; meanwhile our own packer works here and cannot fail. What xatlas
returns is used only if it is a layout of the charts that were sent, without overlap, and denser than ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from backend.geometry import chart_kernels
from backend.geometry.chart_cutting import ChartCuttingConfig, cut_charts
from backend.geometry.chart_packing import FlatCharts, pack_charts
from backend.geometry.triangle_mesh import TriangleMesh

PackerChoice = Literal["densest", "own", "xatlas"]

OVERLAP_TOLERANCE_TEXELS = 0.01
"""Overlaps below this are rounding: a float32 UV is exact to a few ten-thousandths of a texel."""


@dataclass(frozen=True)
class UnwrapConfig:
    """How the atlas is made."""

    padding_texels: int | None = None
    """Least distance between charts. None is 12 at 1024 and in proportion to the texture, but at least 6: colours on
    the two sides of a seam then differ by less than 1 % in the mipmap of 256 texels and by 6 % in that of 128."""
    packer: PackerChoice = "densest"
    """`xatlas` uses xatlas's layout even if ours is denser; ours remains for when it fails."""
    xatlas_attempts: int = 2
    """How often xatlas packs to approach the size of the texture; each costs 0.3 to 0.8 s."""
    charts: ChartCuttingConfig = field(default_factory=ChartCuttingConfig)

    def __post_init__(self) -> None:
        if self.packer not in ("densest", "own", "xatlas"):
            raise ValueError(f"packer must be densest, own or xatlas, got {self.packer!r}")
        if self.padding_texels is not None and self.padding_texels < 0:
            raise ValueError(f"padding_texels must be at least 0, got {self.padding_texels}")

    def padding(self, texture_size: int) -> int:
        return max(6, 12 * texture_size // 1024) if self.padding_texels is None else self.padding_texels


@dataclass(frozen=True)
class UnwrappedMesh:
    """A mesh whose vertices on seams are doubled, so that each has one UV."""

    positions: Float[np.ndarray, "vertices 3"]
    """float32, as in the mesh that was unwrapped."""
    faces: Int[np.ndarray, "faces 3"]
    """int32, in the order of the mesh that was unwrapped."""
    uv: Float[np.ndarray, "vertices 2"]
    """float32 in [0, 1]; v grows with the rows of the texture, **row 0 is at v = 0**: the texel of a row and column has
    its centre at ((column + 0.5) / size, (row + 0.5) / size), as the rasteriser's texture operation reads it. Files
    differ in this; `mesh_files` converts."""
    source_vertices: Int[np.ndarray, "vertices"]
    """The vertex of the mesh that was unwrapped."""
    chart_of_face: Int[np.ndarray, "faces"]
    texture_size: int
    """What the padding was made for; another size works with a padding that is larger or smaller."""
    padding_texels: float
    """Between charts at `texture_size`."""
    coverage: float
    """Share of the texture that charts cover."""
    packer: str
    """`own` or `xatlas`."""
    notes: tuple[str, ...]
    """What did not go as planned, for the report."""

    @property
    def chart_count(self) -> int:
        return int(self.chart_of_face.max()) + 1


def unwrap(
    mesh: TriangleMesh,
    texture_size: int = 1024,
    timeout_seconds: float = 20.0,
    config: UnwrapConfig | None = None,
    xatlas_program: Path | None = None,
) -> UnwrappedMesh:
    """Makes UVs inside [0, 1] in which no two faces overlap.

    Args:
        mesh: Closed or open; faces without area are allowed.
        texture_size: Side of the texture that will be baked, in texels.
        timeout_seconds: For xatlas. When it is over, our own layout is used and a note says so.
        xatlas_program: Stands in for `xatlas_child.py`, for tests.

    Raises:
        ValueError: There are no faces, or positions that are not finite.
    """
    config = config if config is not None else UnwrapConfig()
    positions = mesh.positions.detach().cpu().numpy().astype(np.float32)
    faces = mesh.faces.cpu().numpy()
    if len(faces) == 0:
        raise ValueError("the mesh has no faces to unwrap")
    if not np.isfinite(positions).all():
        raise ValueError("some positions of the mesh are not finite")
    padding = config.padding(texture_size)
    charts = cut_charts(positions, faces, config.charts, padding / _likely_scale(positions, faces, texture_size))
    flat = FlatCharts.of(charts, faces)

    notes: list[str] = []
    packer, texels, used_padding = "own", np.empty((0, 2)), float(padding)
    job = None
    if config.packer != "own":
        job = _XatlasJob(flat, texture_size, padding, config.xatlas_attempts, xatlas_program)
    try:
        layout = pack_charts(flat, texture_size, float(padding))
        texels, used_padding = layout.place(flat), layout.padding
        if job is not None:
            packed = job.result(timeout_seconds)
            reason = packed if isinstance(packed, str) else _why_not(packed, flat, texture_size)
            if isinstance(packed, str) or reason is not None:
                notes.append(f"xatlas: {reason}; the atlas was packed by our own packer")
            elif config.packer == "xatlas" or _scale_of(packed, flat) > layout.scale:
                packer, texels, used_padding = "xatlas", packed, float(padding)
    finally:
        if job is not None:
            job.end()
    if used_padding < padding:
        notes.append(f"{len(flat)} charts left room for {used_padding:g} texels between them instead of {padding}")

    uv = np.clip(texels / texture_size, 0.0, 1.0).astype(np.float32)
    return UnwrappedMesh(
        positions=positions[flat.source_vertices],
        faces=flat.faces.astype(np.int32),
        uv=uv,
        source_vertices=flat.source_vertices.astype(np.int32),
        chart_of_face=charts.chart_of_face.astype(np.int32),
        texture_size=texture_size,
        padding_texels=used_padding,
        coverage=_area(texels[flat.faces]) / texture_size**2,
        packer=packer,
        notes=tuple(notes),
    )


def overlapping_faces(
    uv: Float[np.ndarray, "vertices 2"], faces: Int[np.ndarray, "faces 3"], texture_size: int
) -> Int[np.ndarray, "pairs 2"]:
    """Pairs of faces that overlap in UV by more than rounding, found exactly."""
    triangles = texture_size * uv.astype(np.float64)[faces]
    return chart_kernels.find_overlaps(triangles, OVERLAP_TOLERANCE_TEXELS)


def uv_overlap_fraction(
    uv: Float[np.ndarray, "vertices 2"], faces: Int[np.ndarray, "faces 3"], resolution: int
) -> float:
    """Share of the covered texels whose centre lies in more than one face; 0 if nothing is covered.

    UVs outside [0, 1] count for nothing. A centre on an edge belongs to one of the two faces, so neighbours do not
    overlap. For overlaps smaller than a texel see `overlapping_faces`.
    """
    counts = np.zeros((resolution, resolution), dtype=np.int32)
    snapped = np.rint(uv.astype(np.float64) * (resolution * 256)).astype(np.int64)
    chart_kernels.count_coverage(snapped[faces], counts)
    covered = int((counts > 0).sum())
    return int((counts > 1).sum()) / covered if covered else 0.0


def _likely_scale(positions: np.ndarray, faces: np.ndarray, texture_size: int) -> float:
    """Texels per metre, before anything is packed: charts cover half of a texture and show 0.83 of the surface."""
    corners = positions[faces].astype(np.float64)
    crosses = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = 0.83 * 0.5 * float(np.linalg.norm(crosses, axis=1).sum())
    return texture_size * float(np.sqrt(0.5 / max(area, 1e-30)))


class _XatlasJob:
    """xatlas packing in another process. Starts at once; `end` leaves neither process nor files."""

    def __init__(self, flat: FlatCharts, texture_size: int, padding: int, attempts: int, program: Path | None) -> None:
        self._started = time.monotonic()
        self._folder = tempfile.TemporaryDirectory(prefix="sketchbridge-atlas-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        chart_of_face = flat.chart_of_point[flat.faces[:, 0]]
        order = np.argsort(chart_of_face, kind="stable")
        every_chart = np.arange(len(flat) + 1)
        arrays: dict[str, np.ndarray] = {
            "points": flat.points.astype(np.float32),
            "faces": flat.faces[order].astype(np.uint32),
            "first_points": np.searchsorted(flat.chart_of_point, every_chart),
            "first_faces": np.searchsorted(chart_of_face[order], every_chart),
        }
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        request = {"texture_size": texture_size, "padding": padding, "attempts": attempts}
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        self._packed = folder / "packed.npy"
        program = program if program is not None else Path(__file__).with_name("xatlas_child.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(program), str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def result(self, timeout_seconds: float) -> np.ndarray | str:
        """Texels float64 [points, 2], or why there are none. The limit counts from the start of the process."""
        left = max(0.0, timeout_seconds - (time.monotonic() - self._started))
        try:
            _, messages = self._process.communicate(timeout=left)
        except subprocess.TimeoutExpired:
            return f"not done after {timeout_seconds:g} s"
        if self._process.returncode != 0:
            last_line = messages.decode(errors="replace").strip().rpartition("\n")[2]
            return f"its process ended with {self._process.returncode} ({last_line or 'no message'})"
        try:
            return np.load(self._packed, allow_pickle=False).astype(np.float64)
        except (OSError, ValueError) as error:
            return f"its result cannot be read ({error})"

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
        self._folder.cleanup()


def _why_not(packed: np.ndarray, flat: FlatCharts, texture_size: int) -> str | None:
    """What is wrong with a foreign layout, None if it is good: right shape, inside, undistorted, nothing overlaps."""
    if packed.shape != flat.points.shape or not np.isfinite(packed).all():
        return f"its result has shape {packed.shape} or is not finite"
    if packed.min() < 0 or packed.max() > texture_size:
        return f"its charts reach from {packed.min():.1f} to {packed.max():.1f} texels of {texture_size}"
    edges = np.concatenate([flat.faces[:, [0, 1]], flat.faces[:, [1, 2]], flat.faces[:, [2, 0]]])
    lengths = np.linalg.norm(packed[edges[:, 0]] - packed[edges[:, 1]], axis=1)
    expected = _scale_of(packed, flat) * np.linalg.norm(flat.points[edges[:, 0]] - flat.points[edges[:, 1]], axis=1)
    # xatlas stretches charts to whole texels along both axes: an edge may become longer by the diagonal of one.
    if np.abs(lengths - expected).max() > 2.0 + 0.01 * expected.max():
        return "its charts are not the ones that it was given"
    overlaps = chart_kernels.find_overlaps(packed[flat.faces], OVERLAP_TOLERANCE_TEXELS)
    if len(overlaps):
        return f"{len(overlaps)} pairs of faces overlap in its layout"
    return None


def _scale_of(packed: np.ndarray, flat: FlatCharts) -> float:
    """Texels per metre."""
    return float(np.sqrt(_area(packed[flat.faces]) / max(flat.area(), 1e-30)))


def _area(triangles: np.ndarray) -> float:
    u, v = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return 0.5 * float(np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).sum())
