"""Checkpoints on disk: tensors as safetensors, everything else as JSON. Nothing in them can run when they are read.

A checkpoint is a folder `step-000123` that appears under this name only when all of it is on the disk. The newest two
are kept, so that there is a way back when the newest turns out to be damaged.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from backend.durable_files import sync_folder, write_whole_file
from backend.errors import DamagedRun

FORMAT_VERSION = 1
TENSORS_FILE = "state.safetensors"
RECORD_FILE = "state.json"
KEPT_COUNT = 2
_STEP_FOLDER = re.compile(r"step-(\d{6,})")
_PARTIAL_SUFFIX = ".partial"
_REPLACED_SUFFIX = ".replaced"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a job after one of its steps."""

    step: int
    """How many steps are done."""
    elapsed_seconds: float
    """Time the job has run so far, over all its resumptions."""
    tensors: dict[str, torch.Tensor]
    metadata: dict[str, Any]
    """What the job wants back beside its tensors; JSON."""


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes a checkpoint into `folder` and removes all but the newest two.

    Killing the process, or a full disk, at any moment leaves the earlier checkpoints as they are.

    Raises:
        OSError: The disk is full or cannot be written; nothing is left behind then.
    """
    target = folder / f"step-{checkpoint.step:06d}"
    partial = target.with_name(target.name + _PARTIAL_SUFFIX)
    remove_partial_checkpoints(folder)
    try:
        partial.mkdir(parents=True)
        # Copies: safetensors refuses tensors that share memory, such as a row of another one.
        tensors = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in checkpoint.tensors.items()
        }
        # As bytes and not with save_file(): a full disk is then an OSError like any other, and the hash is at hand.
        content = safetensors.torch.save(tensors)
        record = {
            "format_version": FORMAT_VERSION,
            "step": checkpoint.step,
            "elapsed_seconds": checkpoint.elapsed_seconds,
            "sha256": hashlib.sha256(content).hexdigest(),
            "metadata": checkpoint.metadata,
        }
        write_whole_file(partial / TENSORS_FILE, content)
        write_whole_file(partial / RECORD_FILE, json.dumps(record, indent=1).encode())
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # gives a full disk its space back
        raise
    sync_folder(partial)
    replaced = target.with_name(target.name + _REPLACED_SUFFIX)
    if target.exists():
        # Only after falling back from a damaged checkpoint and coming to the same step again.
        target.rename(replaced)
    partial.rename(target)
    sync_folder(folder)
    shutil.rmtree(replaced, ignore_errors=True)
    for _, older in _checkpoints_newest_first(folder)[KEPT_COUNT:]:
        shutil.rmtree(older, ignore_errors=True)
    return target


def read_newest_checkpoint(folder: Path, notice: Callable[[str], None] = lambda _: None) -> Checkpoint:
    """The newest checkpoint that is whole. One that is damaged is named in a notice and passed over.

    Raises:
        DamagedRun: There is none, or none is whole.
    """
    found = _checkpoints_newest_first(folder)
    if not found:
        raise DamagedRun(
            f"{folder} holds no checkpoint: the run stopped before its first one. Start it again instead of resuming it"
        )
    reasons = []
    for step, path in found:
        try:
            checkpoint = _read_checkpoint(path)
        except DamagedRun as error:
            reasons.append(str(error))
            continue
        for reason in reasons:
            notice(f"{reason}; going on from the checkpoint before it, step {step}")
        return checkpoint
    raise DamagedRun(f"no checkpoint of this run can be used: {'; '.join(reasons)}")


def newest_checkpoint_step(folder: Path) -> int | None:
    """The step of the newest checkpoint, without reading it."""
    found = _checkpoints_newest_first(folder)
    return found[0][0] if found else None


def remove_checkpoints_after(folder: Path, step: int) -> None:
    """Removes checkpoints of later steps, which are damaged or belong to a course of the run that was given up."""
    for later, path in _checkpoints_newest_first(folder):
        if later > step:
            shutil.rmtree(path, ignore_errors=True)


def remove_partial_checkpoints(folder: Path) -> None:
    """Removes what a killed process left half written."""
    for suffix in (_PARTIAL_SUFFIX, _REPLACED_SUFFIX):
        for path in folder.glob(f"step-*{suffix}"):
            shutil.rmtree(path, ignore_errors=True)


def _checkpoints_newest_first(folder: Path) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    matches = ((_STEP_FOLDER.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted(((int(match[1]), path) for match, path in matches if match), reverse=True)


def _read_checkpoint(path: Path) -> Checkpoint:
    try:
        record = json.loads((path / RECORD_FILE).read_text(encoding="utf-8"))
        content = (path / TENSORS_FILE).read_bytes()
    except FileNotFoundError as error:
        raise DamagedRun(f"the checkpoint {path} lacks {Path(error.filename).name}") from error
    except (OSError, ValueError) as error:
        raise DamagedRun(f"the checkpoint {path} cannot be read ({error})") from error

    if not isinstance(record, dict) or record.get("format_version") != FORMAT_VERSION:
        version = record.get("format_version") if isinstance(record, dict) else None
        raise DamagedRun(
            f"the checkpoint {path} has format version {version!r}, this sketchbridge reads version {FORMAT_VERSION}"
        )
    if hashlib.sha256(content).hexdigest() != record.get("sha256"):
        raise DamagedRun(f"the checkpoint {path} is damaged: {TENSORS_FILE} is not the file that was written")
    try:
        return Checkpoint(
            int(record["step"]),
            float(record["elapsed_seconds"]),
            safetensors.torch.load(content),
            dict(record["metadata"]),
        )
    except (KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise DamagedRun(f"the checkpoint {path} is damaged ({type(error).__name__}: {error})") from error
