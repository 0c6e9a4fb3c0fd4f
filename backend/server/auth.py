"""Who may connect: CURVE keys in files that only their owner can read, and a list of the clients that are allowed.

A key pair is ZeroMQ's (Curve25519, as Z85 text of 40 characters or 64 hexadecimal digits). Secret keys are written
once, never printed, never logged. The owner of a client's jobs is its public key in hexadecimal digits.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import stat
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils import z85

from backend.durable_files import sync_folder
from backend.errors import BadInput, OutputNotWritable
from protocol import key_files

LOOPBACK_OWNER = "loopback"
"""Of all jobs of a server without keys."""
SERVER_KEY_FILE, ALLOW_FILE = "server.key", "allowed"
ZAP_ADDRESS = "inproc://zeromq.zap.01"
ZAP_DOMAIN = b"sketchbridge"
_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")
_Z85_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MOST_FILE_BYTES = 2**20


@dataclass(frozen=True)
class KeyPair:
    """Keys as Z85 text of 40 characters."""

    public: str
    secret: str = field(repr=False)
    server_public: str | None = None
    """In a client's file: the server that it is for."""

    @property
    def public_hex(self) -> str:
        return hex_of(self.public)


def make_key_pair(server_public: str | None = None) -> KeyPair:
    """A new random pair."""
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode(), server_public)


def hex_of(key: str) -> str:
    """A Z85 key as 64 hexadecimal digits, which every shell takes as they are."""
    return z85.decode(key).hex()


def checked_public_key(given: str) -> str:
    """A public key that somebody typed, as Z85 or as hexadecimal digits, as Z85.

    Raises:
        BadInput: It is none.
    """
    given = given.strip()
    if _HEX_KEY.fullmatch(given):
        return z85.encode(bytes.fromhex(given)).decode()
    if _Z85_KEY.fullmatch(given) and _decodes(given):
        return given
    raise BadInput(
        f"{given[:70]!r} is no public key; it must be the 64 hexadecimal digits that sketchbridge keygen has "
        "printed, or 40 characters (Z85) in single quotes"
    )


def write_key_file(path: Path, keys: KeyPair) -> None:
    """Writes a new file that only this user can read (0600), in a folder that is made for this user alone if need be.

    Raises:
        BadInput: The file is there already: a key is never overwritten.
        OutputNotWritable: It cannot be written.
    """
    content = {"format": key_files.FORMAT, "public": keys.public, "secret": keys.secret}
    if keys.server_public is not None:
        content["server_public"] = keys.server_public
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_private_file(path, (json.dumps(content, indent=1) + "\n").encode(), is_new=True)
    except FileExistsError:
        raise BadInput(
            f"{path} is there already and is not overwritten; choose another name, or remove it first"
        ) from None
    except OSError as error:
        raise OutputNotWritable(f"{path} cannot be written ({error.strerror or error})") from error


def read_key_file(path: Path) -> KeyPair:
    """The keys of a file from `write_key_file`.

    Raises:
        BadInput: It is not there, is no key file, or others can read it.
    """
    try:
        content = key_files.read_key_file(path)
        keys = KeyPair(content.public, content.secret, content.server_public)
        texts = [keys.public, keys.secret] + ([] if keys.server_public is None else [keys.server_public])
        if not all(_Z85_KEY.fullmatch(each) and _decodes(each) for each in texts):
            raise key_files.no_key_file(path)
        derived = zmq.curve_public(keys.secret.encode()).decode()
    except key_files.UnusableKeyFile as error:
        raise BadInput(str(error)) from error
    except (ValueError, zmq.ZMQError):
        # What is in the file is not shown: it may be a secret.
        raise BadInput(str(key_files.no_key_file(path))) from None
    if derived != keys.public:
        raise BadInput(
            f"the public and the secret key in {path} do not belong together; make new ones: sketchbridge keygen"
        )
    return keys


class AllowList:
    """The clients that may connect, by name: a text file with a name and a public key per line. Read again when it
    changes.
    """

    def __init__(self, path: Path, complain: Callable[[str], None] = lambda sentence: None) -> None:
        """Reads the file; one that is not there allows nobody.

        Args:
            complain: Told when the file was changed to something that cannot be read; the list stays as it was then.

        Raises:
            BadInput: The file cannot be read, others can write it or its folder, or a line is wrong; the message says
                which.
        """
        self._path, self._complain = path, complain
        self._stamp = _stamp_of(path)
        self._names = self._read()

    def name_of(self, owner: str) -> str | None:
        """The name of the client with this public key (hexadecimal digits), or None if it is not allowed."""
        return self._names.get(owner)

    def refresh(self) -> bool:
        """Reads the file again if it was changed; says whether the list is another now."""
        stamp = _stamp_of(self._path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            names = self._read()
        except BadInput as error:
            self._complain(f"{error}; the clients allowed stay as they were")
            return False
        was_changed, self._names = names != self._names, names
        return was_changed

    def __len__(self) -> int:
        return len(self._names)

    def _read(self) -> dict[str, str]:
        return {hex_of(key): name for name, key in _read_allow_file(self._path)}


def allow_client(folder: Path, name: str, public_key: str) -> bool:
    """Adds a client to the list in a keys folder; says whether the name was there already and has a new key now.

    Raises:
        BadInput: The name or the key is none, or another name has this key.
        OutputNotWritable: The list cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"the name {name[:70]!r} is not allowed; it must be 1 to 64 letters, digits, dots, - or _, as anna-laptop"
        )
    key = checked_public_key(public_key)
    path = folder / ALLOW_FILE
    known = dict(_read_allow_file(path))
    other = next((each for each, its_key in known.items() if its_key == key and each != name), None)
    if other is not None:
        raise BadInput(f"this key is allowed already, as {other}")
    was_known = name in known
    known[name] = key
    lines = [
        "# Clients of sketchbridge serve: a name and a public key per line.",
        *(f"{each} {known[each]}" for each in known),
    ]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_private_file(path, ("\n".join(lines) + "\n").encode(), is_new=False)
    except OSError as error:
        raise OutputNotWritable(f"{path} cannot be written ({error.strerror or error})") from error
    return was_known


def zap_reply(
    request: Sequence[bytes],
    allow_list: AllowList | None,
    refused: Callable[[str, str, str], None],
    is_full: bool = False,
) -> list[bytes]:
    """Answers ZeroMQ's question whether a peer may connect (ZAP, RFC 27). The peer's user id becomes its owner.

    Args:
        request: The frames of the question.
        allow_list: None for a server without keys, whose peers are all the same owner.
        refused: Told why, the address, and the public key (hexadecimal digits, or empty) of who is not let in.
        is_full: Whether there are too many connections to let anybody in.
    """
    if len(request) < 6 or request[0] != b"1.0":
        return [b"1.0", request[1] if len(request) > 1 else b"", b"400", b"not understood", b"", b""]
    number, address, mechanism, credentials = request[1], request[3], request[5], request[6:]
    key = credentials[0].hex() if mechanism == b"CURVE" and len(credentials) == 1 and len(credentials[0]) == 32 else ""
    owner = None
    if allow_list is None:
        owner = LOOPBACK_OWNER if mechanism == b"NULL" else None
    elif key:
        allow_list.refresh()
        owner = key if allow_list.name_of(key) is not None else None
    if owner is not None and not is_full:
        return [b"1.0", number, b"200", b"OK", owner.encode(), b""]
    refused("unknown-key" if owner is None else "too-many-connections", address.decode("utf-8", "replace")[:100], key)
    return [b"1.0", number, b"400", b"not allowed", b"", b""]


def is_loopback(address: str) -> bool:
    """Whether a ZeroMQ address to listen at, such as tcp://127.0.0.1:5710, can be reached from this machine only."""
    if address.startswith(("inproc://", "ipc://")):
        return True
    host = address.removeprefix("tcp://").rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name, * or an interface: what it stands for may change


def _read_allow_file(path: Path) -> list[tuple[str, str]]:
    try:
        with path.open("rb") as file:
            _refuse_if_others_can_write(path, os.fstat(file.fileno()))
            _refuse_if_others_can_write(path.parent, path.parent.stat())
            text = file.read(_MOST_FILE_BYTES).decode()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the list of allowed clients {path} cannot be read ({error})") from error
    found: list[tuple[str, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        # Keys may hold #, so that there are no comments after them.
        if len(words) != 2 or not _NAME.fullmatch(words[0]):
            raise BadInput(f"line {number} of {path} is wrong; it must be a name and a public key")
        if any(words[0] == name for name, _ in found):
            raise BadInput(f"line {number} of {path} has the name {words[0]}, which is there already")
        try:
            found.append((words[0], checked_public_key(words[1])))
        except BadInput as error:
            raise BadInput(f"line {number} of {path}: {error}") from None
    return found


def _refuse_if_others_can_write(path: Path, found: os.stat_result) -> None:
    """Whoever can write the list, or put another in its place, can let themselves in. In a folder with the sticky bit
    nobody can replace what is another's.
    """
    is_sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    if os.name != "nt" and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not is_sticky:
        raise BadInput(
            f"others can write {path} (mode {stat.S_IMODE(found.st_mode):04o}), and so let clients in; "
            f"take that away with: chmod go-w {path}"
        )


def _write_private_file(path: Path, content: bytes, is_new: bool) -> None:
    """Writes with mode 0600 from the first byte on. A new file is never put in the place of another."""
    partial = path if is_new else path.with_name(f"{path.name}.{os.getpid()}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _stamp_of(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode


def _decodes(key: str) -> bool:
    try:
        return len(z85.decode(key)) == 32
    except (ValueError, KeyError, struct.error):
        return False
