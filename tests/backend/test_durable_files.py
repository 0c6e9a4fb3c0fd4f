"""A file is written whole or not at all."""

import errno
import os

import pytest

from backend.durable_files import write_whole_file


def test_a_file_is_replaced(tmp_path):
    write_whole_file(tmp_path / "report.html", b"first")
    write_whole_file(tmp_path / "report.html", b"second")

    assert (tmp_path / "report.html").read_bytes() == b"second"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_leaves_the_earlier_file_and_no_litter(tmp_path, monkeypatch):
    write_whole_file(tmp_path / "report.html", b"first")

    def no_space(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_whole_file(tmp_path / "report.html", b"second")

    assert (tmp_path / "report.html").read_bytes() == b"first"
    assert len(list(tmp_path.iterdir())) == 1
