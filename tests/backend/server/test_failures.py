"""What artists are told of an error."""

import errno

import pytest
import torch

from backend.errors import (
    BadInput,
    BadPicture,
    DamagedRun,
    EmptySurface,
    MissingModel,
    MissingRasteriser,
    OutputNotWritable,
    UnreadableMesh,
)
from backend.server.failures import failure_of


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnreadableMesh("no area"), "bad-mesh"),
        (BadPicture("cut off"), "bad-picture"),
        (BadInput("no such light"), "bad-settings"),
        (MissingModel("it is gone"), "missing-model"),
        (MissingRasteriser("not installed"), "missing-rasteriser"),
        (EmptySurface("it vanished"), "empty-surface"),
    ],
)
def test_errors_with_a_sentence_for_the_user_keep_it(error, code):
    failure = failure_of(error)

    assert (failure.code, failure.sentence) == (code, str(error))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out-of-memory"),
        (MemoryError(), "out-of-memory"),
        (OSError(errno.ENOSPC, "No space left on device", "/srv/state/jobs/1"), "disk-full"),
        (OutputNotWritable("only 3 MB are free on the disk of /srv/state"), "disk-full"),
        (DamagedRun("/srv/state/jobs/1/run is damaged"), "internal"),
        (OSError(errno.EIO, "Input/output error", "/srv/state/jobs/1"), "internal"),
        (ValueError("a bug at /srv/state"), "internal"),
    ],
)
def test_others_say_what_helps_and_nothing_of_the_servers_disk(error, code):
    failure = failure_of(error)

    assert failure.code == code
    assert "/srv" not in failure.sentence
    assert failure.sentence.endswith(".")


def test_what_nobody_has_foreseen_names_its_place_in_the_log():
    first, second = failure_of(ValueError("a bug")), failure_of(ValueError("a bug"))

    assert first.log_id in first.sentence
    assert first.log_id != second.log_id
