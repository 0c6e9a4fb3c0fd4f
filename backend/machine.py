"""What this machine has: versions, threads, GPUs, folders. Reads only; imports the heavy packages late."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.diffusion import EMBEDDED_FOLDER

RECORDED_PACKAGES = (
    "torch", "diffusers", "transformers", "safetensors", "numpy", "numba", "scipy", "trimesh", "libigl", "xatlas",
    "fast-simplification", "pillow", "nvdiffrast", "numba-cuda",
)  # fmt: skip
"""Packages whose version can change what a run makes."""


@dataclass(frozen=True)
class Gpu:
    """One CUDA device."""

    name: str
    memory_bytes: int
    free_bytes: int


def sketchbridge_version() -> str:
    """The installed version; a source tree on the path without an installation has none."""
    return package_version("sketchbridge") or "not installed, running from source"


def package_version(name: str) -> str | None:
    """The version of an installed distribution, None where it is not installed. Imports nothing."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def package_versions(names: Iterable[str] = RECORDED_PACKAGES) -> dict[str, str]:
    """Versions of those of the packages that are installed."""
    return {name: version for name in names if (version := package_version(name)) is not None}


def versions_record() -> dict[str, Any]:
    """What a run folder keeps to make a run repeatable on the same machine: versions, platform, CPU, threads."""
    import torch

    return {
        "sketchbridge": sketchbridge_version(),
        "python": platform.python_version(),
        **package_versions(),
        "torch": torch.__version__,  # with its build, such as +cpu, which the distribution's version may leave out
        "platform": platform.platform(),
        "processor": processor_name(),
        "processor_count": usable_processor_count(),
        "torch_threads": torch.get_num_threads(),
    }


def processor_name() -> str:
    """The model of the CPU where the system tells it, otherwise its architecture."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux; platform knows less but always something
    return platform.processor() or platform.machine()


def usable_processor_count() -> int:
    """Cores that this process may use, which is fewer than the machine has in a container or under taskset."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus() -> list[Gpu]:
    """The CUDA devices that torch can use."""
    import torch

    if not torch.cuda.is_available():
        return []
    found = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        found.append(Gpu(torch.cuda.get_device_name(index), total, free))
    return found


def has_nvidia_driver() -> bool:
    """True where NVIDIA's driver is installed, whether or not this torch can use it."""
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


@dataclass(frozen=True)
class EmbeddedPriorState:
    """The shipped prior compared with its manifest."""

    folder: Path
    file_count: int
    missing: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def is_intact(self) -> bool:
        return self.file_count > 0 and not self.missing and not self.changed


def check_embedded_prior(folder: Path = EMBEDDED_FOLDER) -> EmbeddedPriorState:
    """Compares each file of the shipped prior, or of its ControlNet, with the SHA-256 in its `manifest.json`."""
    try:
        expected: dict[str, str] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
    except FileNotFoundError:
        return EmbeddedPriorState(folder, 0, ("manifest.json",), ())
    except (OSError, ValueError, KeyError, TypeError):
        return EmbeddedPriorState(folder, 0, (), ("manifest.json",))
    missing, changed = [], []
    for relative_path, sha256 in expected.items():
        path = folder / relative_path
        if not path.is_file():
            missing.append(relative_path)
        elif file_sha256(path) != sha256:
            changed.append(relative_path)
    return EmbeddedPriorState(folder, len(expected), tuple(missing), tuple(changed))


def prior_fingerprint(prior: str) -> str | None:
    """A hash that changes when a prior's weights change; None for a hub id, whose files are not looked up.

    The embedded prior is named by its manifest. Another folder is named by its configuration files and the names and
    sizes of its weights: hashing gigabytes of weights would cost more than loading them.
    """
    folder = EMBEDDED_FOLDER if prior == "embedded" else Path(prior).expanduser()
    if not folder.is_dir():
        return None
    if prior == "embedded":
        manifest = folder / "manifest.json"
        return file_sha256(manifest) if manifest.is_file() else None
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
        if path.suffix == ".json":
            digest.update(path.read_bytes())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class KernelState:
    """The compiled kernels of one module."""

    module: str
    kernel_count: int
    compiled_count: int
    cache_folder: Path

    @property
    def must_compile(self) -> bool:
        # Not each kernel: some serve modes that a machine never uses. A module that was used has at least one.
        return self.kernel_count > 0 and self.compiled_count == 0


def compiled_kernels(package_folder: Path = Path(__file__).parent) -> list[KernelState]:
    """What numba's cache holds of our kernels, which are in the modules named `*_kernels`."""
    states = []
    for source in sorted(package_folder.rglob("*_kernels.py")):
        name = ".".join((package_folder.name, *source.relative_to(package_folder).with_suffix("").parts))
        module = importlib.import_module(name)
        kernels = [kernel for kernel in vars(module).values() if _is_cached_kernel(kernel, name)]
        if kernels:
            folder = Path(kernels[0].stats.cache_path)
            compiled = sum(_is_compiled(kernel.py_func.__name__, source, folder) for kernel in kernels)
            states.append(KernelState(name, len(kernels), compiled, folder))
    return states


def _is_cached_kernel(value: Any, module_name: str) -> bool:
    python_function = getattr(value, "py_func", None)
    return (
        python_function is not None
        and python_function.__module__ == module_name
        and getattr(getattr(value, "stats", None), "cache_path", None) is not None
    )


def _is_compiled(function_name: str, source: Path, cache_folder: Path) -> bool:
    """True if numba has an index for this function that is newer than the source; older ones it throws away."""
    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    indices = cache_folder.glob(f"{source.stem}.{function_name}-*.{version}*.nbi")
    return any(index.stat().st_mtime >= source.stat().st_mtime for index in indices)


def hugging_face_folder() -> Path:
    """Where downloaded models lie, by the rules of huggingface_hub (HF_HOME, then XDG_CACHE_HOME, then ~/.cache)."""
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "huggingface"


def folder_size_bytes(folder: Path) -> int:
    """Bytes of the files under a folder. Links count as nothing: the hub's cache links each file to one blob."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                status = os.lstat(os.path.join(parent, name))
            except OSError:
                continue  # deleted by its owner while we count
            if not os.path.islink(os.path.join(parent, name)):
                total += status.st_size
    return total


def nearest_existing_folder(path: Path) -> Path:
    """The path itself, or the first of its parents that exists: where a disk's free space can be asked for."""
    path = path.expanduser().absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path if path.is_dir() else path.parent


def free_bytes(path: Path) -> int:
    """Free space on the disk that a path lies on, or would lie on."""
    return shutil.disk_usage(nearest_existing_folder(path)).free


def python_description() -> str:
    return f"{platform.python_version()} ({sys.executable})"
