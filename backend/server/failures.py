"""What went wrong with a job, as a code for programs and a sentence for the artist."""

from __future__ import annotations

import errno
import secrets
from dataclasses import dataclass

import torch

from backend.errors import (
    BadInput,
    BadPicture,
    EmptySurface,
    MissingModel,
    MissingRasteriser,
    OutputNotWritable,
    UnreadableMesh,
)
from protocol.messages import FailureCode

_WITH_THEIR_OWN_WORDS: tuple[tuple[type[Exception], FailureCode], ...] = (
    (UnreadableMesh, "bad-mesh"),
    (BadPicture, "bad-picture"),
    (BadInput, "bad-settings"),
    (MissingModel, "missing-model"),
    (MissingRasteriser, "missing-rasteriser"),
    (EmptySurface, "empty-surface"),
)
"""The first that fits counts. Their messages are written for the user, and name no place on the server's disk."""
_NO_ROOM = tuple(getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name))


@dataclass(frozen=True)
class Failure:
    """As the event `failed` has it."""

    code: FailureCode
    sentence: str
    log_id: str
    """Beside the traceback in the job's log."""


def failure_of(error: Exception) -> Failure:
    """What to say of an error. Of one that nobody has foreseen nothing is told: it may hold what is the server's."""
    log_id = secrets.token_hex(6)
    for kind, code in _WITH_THEIR_OWN_WORDS:
        if isinstance(error, kind):
            return Failure(code, str(error), log_id)
    if isinstance(error, torch.OutOfMemoryError):
        helps = "the quality draft, a smaller texture, another model, or the device cpu"
        sentence = f"The GPU has too little memory for this job. What helps: {helps}."
        return Failure("out-of-memory", sentence, log_id)
    if isinstance(error, MemoryError):
        sentence = "The server has too little memory for this job. What helps: the quality draft, or a smaller texture."
        return Failure("out-of-memory", sentence, log_id)
    if isinstance(error, OutputNotWritable) or (isinstance(error, OSError) and error.errno in _NO_ROOM):
        sentence = "The server's disk is full, so that nothing more can be saved. Ask whoever runs it to make room."
        return Failure("disk-full", sentence, log_id)
    sentence = f"Something went wrong on the server that is not the job's fault. Its log says more: {log_id}."
    return Failure("internal", sentence, log_id)
