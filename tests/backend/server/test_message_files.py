"""Messages as files."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import DamagedRun
from backend.server.message_files import check_message_file, read_fields, read_frames, read_message, write_message
from examples import JOB, input_mesh, result_mesh, submit_job
from protocol.frames import encode
from protocol.messages import Finished, SubmitJob, UpdateJob


def test_a_message_is_read_as_it_was_written(tmp_path):
    for message in (submit_job(), Finished(job=JOB, step=9, mesh=result_mesh())):  # one from each side
        size = write_message(tmp_path / "a.message", message)

        assert read_message(tmp_path / "a.message") == message
        assert (tmp_path / "a.message").stat().st_size == size


def test_frames_are_read_as_they_were_written_and_their_arrays_need_no_copy(tmp_path):
    frames = [b"{}", b"x" * 13, b"", np.arange(5, dtype=np.float32).tobytes()]

    write_message(tmp_path / "a.message", frames)

    read = read_frames(tmp_path / "a.message")
    assert [bytes(frame) for frame in read] == frames
    assert np.frombuffer(read[3], np.float32).flags.aligned
    assert all(frame.readonly for frame in read)


@pytest.mark.parametrize("frames", [[], [b"x"] * 88])
def test_too_few_or_too_many_frames_are_not_written(tmp_path, frames):
    with pytest.raises(ValueError, match="it must have 1 to 87"):  # 87: docs/wire_protocol.md, "Limits"
        write_message(tmp_path / "a.message", frames)


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    write_message(tmp_path / "a.message", [b"old"])

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_message(tmp_path / "a.message", [b"new"])

    assert [bytes(frame) for frame in read_frames(tmp_path / "a.message")] == [b"old"]
    assert [each.name for each in tmp_path.iterdir()] == ["a.message"]


def test_the_fields_of_a_header_are_read_without_what_follows(tmp_path):
    path = tmp_path / "a.message"
    write_message(path, UpdateJob(job="a-1", key="a-key-of-16-chars", more_steps=7, mesh=input_mesh()))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # in the last array
    path.write_bytes(content)

    fields = read_fields(path, UpdateJob)

    assert (fields["job"], fields["more_steps"]) == ("a-1", 7)
    with pytest.raises(DamagedRun, match="holds no SubmitJob"):
        read_fields(path, SubmitJob)


@pytest.mark.parametrize("header", [b"", b"{", b"[]", b'{"fields": {}}', b'{"type": "UpdateJob", "fields": 7}'])
def test_a_header_that_is_none_is_damaged(tmp_path, header):
    write_message(tmp_path / "a.message", [header, b"abc"])

    with pytest.raises(DamagedRun, match=r"its header is none"):
        read_fields(tmp_path / "a.message", UpdateJob)


def test_a_file_that_is_not_there_is_named(tmp_path):
    for read in (read_frames, read_message, check_message_file):
        with pytest.raises(DamagedRun, match=r"a\.message cannot be read \(No such file"):
            read(tmp_path / "a.message")


def test_a_file_that_is_cut_off_anywhere_is_damaged(tmp_path):
    path = tmp_path / "a.message"
    write_message(path, [b"{}", b"abcdefgh"])
    content = path.read_bytes()

    for length in range(len(content)):
        path.write_bytes(content[:length])
        for read in (read_frames, check_message_file):
            with pytest.raises(DamagedRun, match=r"cut off|by its own account"):
                read(path)


def test_a_file_in_which_any_byte_is_changed_is_damaged(tmp_path):
    path = tmp_path / "a.message"
    write_message(path, [b"{}", b"abcdefgh"])
    content = path.read_bytes()

    for index in (*range(20), *range(24, len(content))):  # bytes 20 to 23 are of no use
        path.write_bytes(content[:index] + bytes([content[index] ^ 0x40]) + content[index + 1 :])
        with pytest.raises(DamagedRun):
            read_frames(path)


def test_a_file_of_another_version_says_so(tmp_path):
    path = tmp_path / "a.message"
    write_message(path, [b"{}"])
    content = bytearray(path.read_bytes())
    content[8] = 2
    path.write_bytes(content)

    with pytest.raises(DamagedRun, match="of version 2; this server reads version 1"):
        read_frames(path)


def test_frames_that_are_no_message_are_refused_with_the_place(tmp_path):
    frames = encode(submit_job())
    header = bytes(frames[0]).replace(b'"task":"sketch"', b'"task":"scetch"')
    write_message(tmp_path / "a.message", [header, *frames[1:]])

    with pytest.raises(DamagedRun, match="no message of this version at task"):
        read_message(tmp_path / "a.message")


@settings(deadline=None, max_examples=50)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_damaged_and_nothing_worse(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.message"
    path.write_bytes(b"SBframes\x01\x00\x00\x00" + content)

    for read in (read_message, check_message_file):
        with pytest.raises(DamagedRun):
            read(path)
