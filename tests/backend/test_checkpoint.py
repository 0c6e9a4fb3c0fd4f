"""Checkpoints appear whole or not at all, and a damaged one is passed over."""

import errno
import json

import pytest
import torch

from backend import checkpoint as checkpoint_module
from backend.checkpoint import Checkpoint, newest_checkpoint_step, read_newest_checkpoint, write_checkpoint
from backend.errors import DamagedRun


def a_checkpoint(step, value=1.0):
    generator = torch.Generator().manual_seed(step)
    tensors = {"signed_distance": torch.full((3, 2), value), "generator": generator.get_state()}
    return Checkpoint(step, elapsed_seconds=1.5 * step, tensors=tensors, metadata={"stage": "SDS", "notes": [1, None]})


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    written = a_checkpoint(7)

    write_checkpoint(tmp_path, written)
    read = read_newest_checkpoint(tmp_path)

    assert (read.step, read.elapsed_seconds, read.metadata) == (7, 10.5, {"stage": "SDS", "notes": [1, None]})
    assert read.tensors.keys() == written.tensors.keys()
    for name, tensor in written.tensors.items():
        assert read.tensors[name].dtype == tensor.dtype
        assert torch.equal(read.tensors[name], tensor)


def test_views_and_transposed_tensors_are_written(tmp_path):
    whole = torch.arange(6.0).reshape(2, 3)

    write_checkpoint(tmp_path, Checkpoint(1, 0.0, {"whole": whole, "transposed": whole.T, "row": whole[1]}, {}))

    read = read_newest_checkpoint(tmp_path).tensors
    assert torch.equal(read["transposed"], whole.T)
    assert torch.equal(read["row"], whole[1])


def test_the_newest_two_are_kept(tmp_path):
    for step in (1, 2, 1_000_000, 3):
        write_checkpoint(tmp_path, a_checkpoint(step))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000003", "step-1000000"]


@pytest.mark.parametrize("damage", ["flip a byte", "cut short", "no tensors", "no record", "record is no JSON"])
def test_a_damaged_checkpoint_is_passed_over_with_a_notice(tmp_path, damage):
    write_checkpoint(tmp_path, a_checkpoint(10))
    newest = write_checkpoint(tmp_path, a_checkpoint(20))
    tensors, record = newest / "state.safetensors", newest / "state.json"
    content = bytearray(tensors.read_bytes())
    if damage == "flip a byte":
        content[-1] ^= 1
        tensors.write_bytes(content)
    elif damage == "cut short":
        tensors.write_bytes(content[:-5])
    elif damage == "no tensors":
        tensors.unlink()
    elif damage == "no record":
        record.unlink()
    else:
        record.write_text('{"step": ')
    notices = []

    read = read_newest_checkpoint(tmp_path, notices.append)

    assert read.step == 10
    assert len(notices) == 1
    assert "step-000020" in notices[0]
    assert "step 10" in notices[0]


def test_no_whole_checkpoint_is_an_error_that_says_why(tmp_path):
    with pytest.raises(DamagedRun, match="holds no checkpoint"):
        read_newest_checkpoint(tmp_path)

    only = write_checkpoint(tmp_path, a_checkpoint(3))
    record = json.loads((only / "state.json").read_text())
    (only / "state.json").write_text(json.dumps({**record, "format_version": 99}))
    with pytest.raises(DamagedRun, match="format version 99, this sketchbridge reads version 1"):
        read_newest_checkpoint(tmp_path)


def test_nothing_but_safetensors_is_read(tmp_path):
    written = write_checkpoint(tmp_path, a_checkpoint(3))
    # A pickle in the place of the tensors, with a hash that fits: what a hostile run folder would hold.
    hostile = b"\x80\x04cbuiltins\nexec\n(V1/0\ntR."
    (written / "state.safetensors").write_bytes(hostile)
    record = json.loads((written / "state.json").read_text())
    record["sha256"] = checkpoint_module.hashlib.sha256(hostile).hexdigest()
    (written / "state.json").write_text(json.dumps(record))

    with pytest.raises(DamagedRun, match="is damaged"):
        read_newest_checkpoint(tmp_path)


def test_a_full_disk_leaves_the_last_checkpoint_and_no_litter(tmp_path, monkeypatch):
    write_checkpoint(tmp_path, a_checkpoint(1))

    def no_space(path, content):
        path.write_bytes(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "write_whole_file", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(tmp_path, a_checkpoint(2))

    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]
    assert read_newest_checkpoint(tmp_path).step == 1


def test_what_a_killed_process_left_half_written_is_ignored_and_removed(tmp_path):
    write_checkpoint(tmp_path, a_checkpoint(1))
    half = tmp_path / "step-000002.partial"
    half.mkdir()
    (half / "state.safetensors").write_bytes(b"half")

    assert newest_checkpoint_step(tmp_path) == 1
    write_checkpoint(tmp_path, a_checkpoint(2))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000001", "step-000002"]
    assert read_newest_checkpoint(tmp_path).step == 2


def test_the_same_step_can_be_written_again(tmp_path):
    write_checkpoint(tmp_path, a_checkpoint(5, value=1.0))
    write_checkpoint(tmp_path, a_checkpoint(5, value=2.0))

    assert read_newest_checkpoint(tmp_path).tensors["signed_distance"].unique() == 2.0
    assert [path.name for path in tmp_path.iterdir()] == ["step-000005"]
