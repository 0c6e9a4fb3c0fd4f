"""Makes meshes for the benchmarks, each once. No benchmark itself: `make bench` leaves it out.

A mesh lies in benchmarks/.work/meshes under a name that holds its prompt and seed and a hash over everything else that
decides what comes out: the resolved configuration and the weights of the prior. So an interrupted study goes on where
it was, studies share the meshes that they have in common, and nothing made with other settings is ever judged again.
Delete the folder after a change of the code that makes meshes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from backend import machine
from backend.appearance.mesh_files import write_mesh
from backend.config import LinearRamp, OptimisationConfig, TextToMeshSettings
from backend.diffusion.prompts import with_article
from backend.durable_files import write_whole_file
from backend.tasks.text_to_mesh import TextToMesh

WORK = Path(__file__).parent / ".work" / "meshes"


@dataclass(frozen=True)
class MeshRun:
    """One mesh to make with the embedded prior."""

    colour: str
    shape: str
    seed: int = 0
    quality: str = "normal"
    changes: tuple[tuple[str, Any], ...] = ()
    """Settings other than the defaults, by their path in OptimisationConfig: ("distillation.bridge_start", 1.0)."""

    @property
    def prompt(self) -> str:
        return with_article(f"{self.colour} {self.shape}")

    @property
    def settings(self) -> TextToMeshSettings:
        return TextToMeshSettings(self.prompt, quality=self.quality, seed=self.seed)

    @property
    def config(self) -> OptimisationConfig:
        """The configuration with the changes.

        Raises:
            AttributeError: A change names a field that there is not.
        """
        config: Any = self.settings.resolve()
        for path, value in self.changes:
            config = replace_at(config, path.split("."), value)
        return config

    @property
    def path(self) -> Path:
        """Of the GLB; the record with the time that it took lies beside it."""
        decides = f"{self.config} {machine.prior_fingerprint('embedded')}"
        fingerprint = hashlib.sha256(decides.encode()).hexdigest()[:10]
        return WORK / f"{self.colour}-{self.shape}-seed{self.seed}-{fingerprint}.glb"


@dataclass(frozen=True)
class MadeMesh:
    run: MeshRun
    path: Path
    seconds: float
    """From the settings to the GLB on disk, kernels compiled before."""
    steps: int
    cpu_seconds: float | None = None
    """What this process computed in that time; less than `seconds` where others used the machine as well."""


def make_mesh(run: MeshRun) -> MadeMesh:
    """Makes the mesh, or finds it where it was made before."""
    made = find_mesh(run)
    if made is not None:
        return made
    path = run.path
    path.parent.mkdir(parents=True, exist_ok=True)
    began, cpu_began = time.monotonic(), time.process_time()
    job = TextToMesh(run.settings, config=run.config)
    for _ in job.steps():
        pass
    write_mesh(path, job.finish())
    facts: dict[str, Any] = {
        "prompt": run.prompt,
        "seed": run.seed,
        "changes": {
            path: dataclasses.asdict(value) if isinstance(value, LinearRamp) else value for path, value in run.changes
        },
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time() - cpu_began, 1),
        "steps": job.total_steps,
        "torch": torch.__version__,
    }
    # Last: a mesh without its record is made again.
    write_whole_file(path.with_suffix(".json"), (json.dumps(facts, indent=1) + "\n").encode())
    return MadeMesh(run, path, facts["seconds"], facts["steps"], facts["cpu_seconds"])


def find_mesh(run: MeshRun) -> MadeMesh | None:
    """The mesh if it was made before."""
    path = run.path
    record = path.with_suffix(".json")
    if not (record.exists() and path.exists()):
        return None
    facts = json.loads(record.read_text())
    return MadeMesh(run, path, facts["seconds"], facts["steps"], facts.get("cpu_seconds"))


def replace_at(config: Any, path: list[str], value: Any) -> Any:
    """A frozen configuration with another value at a path of fields.

    Raises:
        AttributeError: There is no such field.
    """
    if not hasattr(config, path[0]):
        raise AttributeError(f"{type(config).__name__} has no {path[0]!r}")
    inner = value if len(path) == 1 else replace_at(getattr(config, path[0]), path[1:], value)
    return dataclasses.replace(config, **{path[0]: inner})
