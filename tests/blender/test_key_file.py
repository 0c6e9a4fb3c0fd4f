"""Keys from a file, as `sketchbridge keygen` writes it."""

import json
import os
from pathlib import Path

import bpy
import pytest
import zmq

from blender_addon.connection import CONNECTION
from blender_addon.key_file import UnusableKeyFile, read_key_file

PUBLIC, SECRET = (key.decode() for key in zmq.curve_keypair())
SERVER = zmq.curve_keypair()[0].decode()
RIGHT = {"format": "sketchbridge key 1", "public": PUBLIC, "secret": SECRET, "server_public": SERVER}


def written(folder, content, mode=0o600):
    path = folder / "my.key"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(mode)
    return path


def test_the_keys_of_a_client(tmp_path):
    assert read_key_file(written(tmp_path, RIGHT)) == (SERVER, PUBLIC, SECRET)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("no json", "is no key file; make one with sketchbridge keygen"),
        ("[1, 2]", "is no key file"),
        (RIGHT | {"format": "another"}, "is no key file"),
        (RIGHT | {"secret": 7}, "is no key file"),
        ({name: RIGHT[name] for name in ("format", "public", "secret")}, "names no server"),
    ],
)
def test_what_is_no_clients_key_file_is_said_without_showing_it(tmp_path, content, sentence):
    with pytest.raises(UnusableKeyFile, match=sentence) as raised:
        read_key_file(written(tmp_path, content))

    assert SECRET not in str(raised.value)


def test_a_file_that_is_not_there():
    with pytest.raises(UnusableKeyFile, match=r"The key file /nowhere/my\.key cannot be read: No such file"):
        read_key_file(Path("/nowhere/my.key"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_file_that_others_can_read_is_refused(tmp_path):
    with pytest.raises(UnusableKeyFile, match="allow only yourself: chmod 600"):
        read_key_file(written(tmp_path, RIGHT, 0o644))


def test_connecting_uses_the_file(blender, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(type(CONNECTION), "open", lambda self, *given: opened.append(given) or True)
    blender.preferences.key_file = str(written(tmp_path, RIGHT))

    bpy.ops.sketchbridge.connect()

    assert opened == [(blender.preferences.address, (SERVER, PUBLIC, SECRET), False)]


def test_a_bad_file_is_a_sentence_of_the_connection(blender, tmp_path):
    blender.preferences.key_file = str(tmp_path / "none.key")

    with pytest.raises(RuntimeError):
        bpy.ops.sketchbridge.connect()

    assert CONNECTION.state == "bad-keys"
    assert CONNECTION.sentence.endswith("none.key cannot be read: No such file or directory")
