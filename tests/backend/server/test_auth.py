import json
import os
import stat
import time
from contextlib import nullcontext

import pytest

from backend.errors import BadInput
from backend.server.auth import (
    ALLOW_FILE,
    LOOPBACK_OWNER,
    AllowList,
    allow_client,
    checked_public_key,
    hex_of,
    is_loopback,
    make_key_pair,
    read_key_file,
    write_key_file,
    zap_reply,
)

NOBODY = print


def question(mechanism, *credentials):
    """As ZeroMQ asks: version, number, domain, address, routing id, mechanism, credentials (RFC 27)."""
    return [b"1.0", b"7", b"sketchbridge", b"192.0.2.1", b"", mechanism, *credentials]


def test_a_key_file_is_private_and_read_back(tmp_path):
    keys = make_key_pair(server_public=make_key_pair().public)
    path = tmp_path / "new folder" / "my.key"

    write_key_file(path, keys)

    assert read_key_file(path) == keys
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_the_secret_key_is_in_no_text_of_it(tmp_path):
    keys = make_key_pair()

    assert keys.secret not in repr(keys)
    assert keys.secret not in str(keys)


def test_a_key_is_never_overwritten(tmp_path):
    path = tmp_path / "my.key"
    write_key_file(path, make_key_pair())
    before = path.read_bytes()

    with pytest.raises(BadInput, match="there already"):
        write_key_file(path, make_key_pair())

    assert path.read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="no such permissions")
def test_a_key_file_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "my.key"
    write_key_file(path, make_key_pair())
    path.chmod(0o640)

    with pytest.raises(BadInput, match="chmod 600"):
        read_key_file(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content | {"secret": make_key_pair().secret},
        lambda content: content | {"public": "x"},
        lambda content: content | {"format": "another"},
        lambda content: {},
        lambda content: [1],
        lambda content: content | {"server_public": 7},
    ],
)
def test_a_damaged_key_file_is_refused_without_showing_what_is_in_it(tmp_path, change):
    path, keys = tmp_path / "my.key", make_key_pair()
    write_key_file(path, keys)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))

    with pytest.raises(BadInput) as caught:
        read_key_file(path)

    assert keys.secret not in str(caught.value)
    assert "sketchbridge keygen" in str(caught.value)


def test_a_public_key_may_be_given_as_hexadecimal_digits_or_as_z85():
    public = make_key_pair().public

    assert checked_public_key(public) == public
    assert checked_public_key(hex_of(public)) == public
    assert checked_public_key(f" {hex_of(public).upper()}\n") == public


@pytest.mark.parametrize("given", ["", "abc", "z" * 64, "0" * 63, "%" * 41, "#" * 40, "ünicode" * 6])
def test_what_is_no_public_key_is_refused(given):
    with pytest.raises(BadInput, match="64 hexadecimal digits"):
        checked_public_key(given)


def test_an_allowed_client_is_known_by_its_name(tmp_path):
    public = make_key_pair().public
    allow_client(tmp_path, "ann", hex_of(public))

    allowed = AllowList(tmp_path / ALLOW_FILE)

    assert allowed.name_of(hex_of(public)) == "ann"
    assert allowed.name_of(hex_of(make_key_pair().public)) is None
    assert stat.S_IMODE((tmp_path / ALLOW_FILE).stat().st_mode) == 0o600


def test_a_name_gets_a_new_key_and_a_key_one_name(tmp_path):
    old, new = make_key_pair().public, make_key_pair().public
    assert not allow_client(tmp_path, "ann", old)

    assert allow_client(tmp_path, "ann", new)

    assert len(AllowList(tmp_path / ALLOW_FILE)) == 1
    with pytest.raises(BadInput, match="as ann"):
        allow_client(tmp_path, "bob", new)


@pytest.mark.parametrize("name", ["", "../x", "two words", "a" * 65, "-x", "a\nb"])
def test_a_name_that_is_none_is_refused(tmp_path, name):
    with pytest.raises(BadInput, match="the name"):
        allow_client(tmp_path, name, make_key_pair().public)


def test_the_list_is_read_again_when_it_changes(tmp_path):
    first, second = make_key_pair().public, make_key_pair().public
    allow_client(tmp_path, "ann", first)
    allowed = AllowList(tmp_path / ALLOW_FILE)
    assert not allowed.refresh()

    allow_client(tmp_path, "bob", second)
    assert allowed.refresh()
    assert allowed.name_of(hex_of(second)) == "bob"
    (tmp_path / ALLOW_FILE).unlink()
    assert allowed.refresh()

    assert allowed.name_of(hex_of(first)) is None


def test_a_damaged_list_is_told_once_and_the_last_good_one_stays(tmp_path):
    public, complaints = make_key_pair().public, []
    allow_client(tmp_path, "ann", public)
    allowed = AllowList(tmp_path / ALLOW_FILE, complaints.append)
    (tmp_path / ALLOW_FILE).write_text("ann too many words\n")
    time.sleep(0.01)

    assert not allowed.refresh()
    assert not allowed.refresh()

    assert allowed.name_of(hex_of(public)) == "ann"
    assert len(complaints) == 1
    assert "line 1" in complaints[0]


@pytest.mark.parametrize("text", ["ann\n", "ann key\n", "ann {key}\nann {key}\n", "../ann {key}\n", "ann {key} x\n"])
def test_a_wrong_line_stops_the_server_from_starting(tmp_path, text):
    (tmp_path / ALLOW_FILE).write_text(text.format(key=hex_of(make_key_pair().public)))
    (tmp_path / ALLOW_FILE).chmod(0o600)

    with pytest.raises(BadInput, match=r"line [12]"):
        AllowList(tmp_path / ALLOW_FILE)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o664])
def test_a_list_that_others_can_write_stops_the_server_from_starting(tmp_path, mode):
    allow_client(tmp_path, "ann", make_key_pair().public)
    (tmp_path / ALLOW_FILE).chmod(mode)

    with pytest.raises(BadInput, match=rf"others can write .*allowed \(mode {mode:04o}\).*chmod go-w .*allowed"):
        AllowList(tmp_path / ALLOW_FILE)


def test_a_list_that_others_may_only_read_is_used(tmp_path):
    allow_client(tmp_path, "ann", make_key_pair().public)
    (tmp_path / ALLOW_FILE).chmod(0o644)

    assert len(AllowList(tmp_path / ALLOW_FILE)) == 1


@pytest.mark.parametrize(("mode", "is_refused"), [(0o770, True), (0o777, True), (0o1777, False), (0o755, False)])
def test_a_list_in_whose_place_others_can_put_another_is_refused(tmp_path, mode, is_refused):
    folder = tmp_path / "keys"
    allow_client(folder, "ann", make_key_pair().public)
    folder.chmod(mode)

    with pytest.raises(BadInput, match=r"others can write .*keys ") if is_refused else nullcontext():
        AllowList(folder / ALLOW_FILE)


def test_a_list_that_others_can_write_from_now_on_is_not_believed(tmp_path):
    complaints = []
    allow_client(tmp_path, "ann", make_key_pair().public)
    allowed = AllowList(tmp_path / ALLOW_FILE, complaints.append)
    mallory = make_key_pair().public
    (tmp_path / ALLOW_FILE).write_text(f"mallory {hex_of(mallory)}\n")
    (tmp_path / ALLOW_FILE).chmod(0o666)

    assert not allowed.refresh()
    assert allowed.name_of(hex_of(mallory)) is None
    assert "others can write" in complaints[0]


def test_only_allowed_keys_are_let_in_and_named_by_their_key(tmp_path):
    public = make_key_pair().public
    allow_client(tmp_path, "ann", public)
    allowed, refused = AllowList(tmp_path / ALLOW_FILE), []
    stranger = bytes(32)

    good = zap_reply(question(b"CURVE", bytes.fromhex(hex_of(public))), allowed, NOBODY)
    bad = zap_reply(question(b"CURVE", stranger), allowed, lambda *what: refused.append(what))

    # version, number, status, text, user id, metadata
    assert good == [b"1.0", b"7", b"200", b"OK", hex_of(public).encode(), b""]
    assert bad[2] == b"400"
    assert refused == [("unknown-key", "192.0.2.1", stranger.hex())]


@pytest.mark.parametrize(
    "asked",
    [
        question(b"NULL"),
        question(b"PLAIN", b"ann", b"x"),
        question(b"CURVE"),
        question(b"CURVE", b"short"),
        [b"1.0", b"7"],
    ],
)
def test_with_keys_nobody_gets_in_without(tmp_path, asked):
    allow_client(tmp_path, "ann", make_key_pair().public)

    assert zap_reply(asked, AllowList(tmp_path / ALLOW_FILE), NOBODY)[2] == b"400"


def test_a_client_that_was_just_allowed_gets_in(tmp_path):
    allowed, public = AllowList(tmp_path / ALLOW_FILE), make_key_pair().public

    allow_client(tmp_path, "ann", public)

    assert zap_reply(question(b"CURVE", bytes.fromhex(hex_of(public))), allowed, NOBODY)[2] == b"200"


def test_without_keys_all_have_one_owner():
    assert zap_reply(question(b"NULL"), None, NOBODY)[2:5] == [b"200", b"OK", LOOPBACK_OWNER.encode()]
    assert zap_reply(question(b"NULL"), None, NOBODY, is_full=True)[2] == b"400"


@pytest.mark.parametrize(
    ("address", "is_so"),
    [
        ("tcp://127.0.0.1:5710", True),
        ("tcp://127.8.9.1:*", True),
        ("tcp://[::1]:5710", True),
        ("ipc:///tmp/x", True),
        ("tcp://0.0.0.0:5710", False),
        ("tcp://*:5710", False),
        ("tcp://192.168.1.7:5710", False),
        ("tcp://[::]:5710", False),
        ("tcp://localhost:5710", False),  # what a name stands for may change
        ("tcp://127.0.0.1.example.org:5710", False),
        ("tcp://eth0:5710", False),
    ],
)
def test_which_addresses_are_of_this_machine_only(address, is_so):
    assert is_loopback(address) == is_so
