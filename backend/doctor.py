"""`sketchbridge doctor`: what this machine has, and what to do about what is missing.

Each check stands for itself and survives a broken installation: that is when a doctor is needed.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from backend import machine
from backend.diffusion import EMBEDDED_CONTROL_FOLDER
from backend.readable import readable_bytes

State = Literal["fine", "note", "broken"]
LITTLE_SPACE_BYTES = 2_000_000_000

# Distribution, the module it brings, and what it is for.
NEEDED_PACKAGES = (
    ("torch", "torch", "computing"),
    ("numpy", "numpy", "arrays"),
    ("numba", "numba", "the portable rasteriser and the tetrahedral lattice"),
    ("diffusers", "diffusers", "diffusion models"),
    ("transformers", "transformers", "text encoders"),
    ("safetensors", "safetensors", "checkpoints and weights"),
    ("jaxtyping", "jaxtyping", "array types"),
    ("trimesh", "trimesh", "mesh files"),
    ("scipy", "scipy", "geometry"),
    ("libigl", "igl", "initial meshes that are not closed"),
    ("xatlas", "xatlas", "packing the texture"),
    ("fast-simplification", "fast_simplification", "--faces"),
    ("pillow", "PIL", "pictures"),
)
OPTIONAL_PACKAGES = (
    ("tensorboard", "curves in TensorBoard; without it they are in report.html and metrics.jsonl"),
    ("accelerate", "faster loading of large diffusion models"),
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: State
    """`broken` means that no mesh can be made here."""
    value: str
    advice: str = ""


def examine_machine() -> list[Finding]:
    """All findings. Imports torch and the kernels, which takes some seconds."""
    checks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("sketchbridge", _sketchbridge),
        ("packages", _packages),
        ("torch", _torch),
        ("GPU", _gpu),
        ("nvdiffrast", _nvdiffrast),
        ("CUDA kernels", _cuda_kernels),
        ("rasteriser in use", _rasteriser),
        ("kernels", _kernels),
        ("embedded prior", _embedded_prior),
        ("caches", _caches),
        ("disk space", _disk_space),
        ("optional packages", _optional_packages),
    )
    findings: list[Finding] = []
    for name, check in checks:
        try:
            findings.extend(check())
        except Exception as error:  # a doctor that dies of the illness helps nobody
            advice = "reinstall sketchbridge in a fresh environment"
            findings.append(Finding(name, "broken", f"{type(error).__name__}: {error}", advice))
    return findings


def run_doctor(as_json: bool = False) -> int:
    """Shows the findings. Returns 0 if a mesh can be made here, 1 if not."""
    findings = examine_machine()
    is_healthy = all(finding.state != "broken" for finding in findings)
    if as_json:
        print(json.dumps({"can_run": is_healthy, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        _print_table(findings, is_healthy)
    return 0 if is_healthy else 1


def _print_table(findings: list[Finding], is_healthy: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    marks = {"fine": "[green]ok[/green]", "note": "[yellow]note[/yellow]", "broken": "[bold red]broken[/bold red]"}
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        advice = f"\n[dim]-> {escape(finding.advice)}[/dim]" if finding.advice else ""
        table.add_row(marks[finding.state], finding.name, escape(finding.value) + advice)
    console.print(table)
    console.print()
    if is_healthy:
        console.print('[bold green]Ready.[/bold green] Try: sketchbridge text "a red mushroom" -o mushroom.glb')
    else:
        broken = ", ".join(finding.name for finding in findings if finding.state == "broken")
        console.print(f"[bold red]No mesh can be made here yet:[/bold red] see {broken} above")


# ---------------------------------------------------------------------- the checks


def _sketchbridge() -> Iterator[Finding]:
    yield Finding("sketchbridge", "fine", machine.sketchbridge_version())
    supported = sys.version_info >= (3, 11)
    yield Finding(
        "Python",
        "fine" if supported else "broken",
        machine.python_description(),
        "" if supported else "sketchbridge needs Python 3.11 or newer",
    )
    yield Finding("processor", "fine", f"{machine.processor_name()}, {machine.usable_processor_count()} cores usable")


def _packages() -> Iterator[Finding]:
    missing, broken = [], []
    for distribution, module, purpose in NEEDED_PACKAGES:
        try:
            importlib.import_module(module)
        except ImportError as error:
            if error.name == module:
                missing.append(f"{distribution} ({purpose})")
            else:
                broken.append(f"{distribution} ({error})")
    if not missing and not broken:
        yield Finding("packages", "fine", f"all {len(NEEDED_PACKAGES)} needed ones")
    if missing:
        yield Finding("packages", "broken", f"missing: {', '.join(missing)}", "pip install . in the project's folder")
    if broken:
        yield Finding("packages", "broken", f"cannot be imported: {', '.join(broken)}", "reinstall them with pip")


def _torch() -> Iterator[Finding]:
    import torch

    threads = torch.get_num_threads()
    yield Finding("torch", "fine", f"{torch.__version__}, {threads} {'thread' if threads == 1 else 'threads'}")


def _gpu() -> Iterator[Finding]:
    import torch

    found = machine.gpus()
    for gpu in found:
        free, total = readable_bytes(gpu.free_bytes), readable_bytes(gpu.memory_bytes)
        yield Finding("GPU", "fine", f"{gpu.name}, {total}, {free} free; CUDA {torch.version.cuda}")
    if found:
        return
    if machine.has_nvidia_driver():
        advice = (
            "install a CUDA build: https://pytorch.org/get-started/locally"
            if torch.version.cuda is None
            else f"this torch is for CUDA {torch.version.cuda}: update the driver, or choose a torch for an older CUDA"
        )
        yield Finding("GPU", "note", "there is an NVIDIA driver, but this torch cannot use the GPU", advice)
    else:
        yield Finding("GPU", "fine", "none; everything runs on the CPU")


def _nvdiffrast() -> Iterator[Finding]:
    from backend.render.nvdiffrast_rasteriser import nvdiffrast_is_installed

    if nvdiffrast_is_installed():
        yield Finding("nvdiffrast", "fine", machine.package_version("nvdiffrast") or "installed")
    elif not machine.gpus():
        yield Finding("nvdiffrast", "fine", "not installed, and not needed without a GPU")
    else:
        compiler = "" if shutil.which("nvcc") else "; it needs nvcc on the PATH, from the CUDA toolkit"
        yield Finding(
            "nvdiffrast",
            "note",
            "not installed; the portable rasteriser works in its place, on the CPU",
            'pip install setuptools wheel ninja && pip install --no-build-isolation ".[cuda]"'
            f"{compiler}. Its licence is for non-commercial use",
        )


def _cuda_kernels() -> Iterator[Finding]:
    if not machine.gpus():
        yield Finding("CUDA kernels", "fine", "not needed without a GPU")
        return
    from backend.render.cuda_rasteriser import INSTALL_COMMAND, why_cuda_kernels_cannot_run

    problem = why_cuda_kernels_cannot_run()
    if problem is None:
        value = f"numba-cuda {machine.package_version('numba-cuda')}; used with --rasteriser cuda"
        yield Finding("CUDA kernels", "fine", value)
    else:
        value = f"{problem}; only --rasteriser cuda needs it"
        yield Finding("CUDA kernels", "note", value, f"{INSTALL_COMMAND}, or [cu12] for a torch of CUDA 12")


def _rasteriser() -> Iterator[Finding]:
    import torch

    from backend.render.rasteriser import choose_rasteriser

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    yield Finding("rasteriser in use", "fine", f"{choose_rasteriser(device).name} (on {device.type})")


def _kernels() -> Iterator[Finding]:
    states = machine.compiled_kernels()
    compiled = sum(state.compiled_count for state in states)
    total = sum(state.kernel_count for state in states)
    folder = os.path.commonpath([state.cache_folder for state in states])
    folders = {state.cache_folder for state in states}  # modules of a package share one
    size = readable_bytes(sum(file.stat().st_size for each in folders for file in each.glob("*.nb[ic]")))
    if any(state.must_compile for state in states):
        yield Finding(
            "kernels",
            "fine",
            f"{compiled} of {total} compiled",
            "the first run compiles the rest, which takes about half a minute, once",
        )
    else:
        yield Finding("kernels", "fine", f"compiled ({compiled} of {total}), {size} under {folder}")


def _embedded_prior() -> Iterator[Finding]:
    yield _shipped_model("embedded prior", machine.check_embedded_prior(), "give another model with --prior")
    control = machine.check_embedded_prior(EMBEDDED_CONTROL_FOLDER)
    yield _shipped_model("its ControlNet", control, "draw with --controlnet off")


def _shipped_model(name: str, state: machine.EmbeddedPriorState, otherwise: str) -> Finding:
    if state.is_intact:
        size = readable_bytes(machine.folder_size_bytes(state.folder))
        return Finding(name, "fine", f"intact, {state.file_count} files, {size}")
    problems = []
    if state.missing:
        problems.append(f"missing: {', '.join(state.missing)}")
    if state.changed:
        problems.append(f"not as shipped: {', '.join(state.changed)}")
    return Finding(
        name,
        "broken",
        f"{'; '.join(problems)} in {state.folder}",
        f"git checkout -- {_relative(state.folder)}, or reinstall sketchbridge; or {otherwise}",
    )


def _caches() -> Iterator[Finding]:
    folder = machine.hugging_face_folder()
    size = readable_bytes(machine.folder_size_bytes(folder)) if folder.is_dir() else "nothing there yet"
    yield Finding("downloaded models", "fine", f"{folder}, {size}")


def _disk_space() -> Iterator[Finding]:
    here = Path.cwd()
    free = machine.free_bytes(here)
    enough = free >= LITTLE_SPACE_BYTES
    yield Finding(
        "disk space",
        "fine" if enough else "note",
        f"{readable_bytes(free)} free for runs in {here}",
        "" if enough else "a run takes some 200 MB; choose another disk with --run-dir",
    )


def _optional_packages() -> Iterator[Finding]:
    for name, purpose in OPTIONAL_PACKAGES:
        version = machine.package_version(name)
        if version is not None:
            yield Finding(name, "fine", version)
        else:
            yield Finding(name, "note", f"not installed: {purpose}", f"pip install {name}")


def _relative(path: Path) -> str:
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)
