"""What server and worker say to each other on one machine: orders, events, and the messages of a job. Opens no socket.

The server has a ROUTER socket, each worker a DEALER whose identity is its name. Every message is a tag, one JSON
object, and frames of the wire protocol where the tag says so:

    server -> worker   b"order"    {"order": ...}                     see `ORDERS`
    worker -> server   b"event"    {"event": ...}                     see `EVENTS`
                       b"data"     wire frames of one Progress, MeshSnapshot or Preview, no JSON before them
                       b"partial"  {"token": ...}, wire frames of Finished or Failed: the answer to the order fetch

Orders and events are plain dictionaries. Both sides check them with the same tables, since a worker handles what comes
from clients: what it says is not believed either.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from backend.errors import BadInput
from protocol.errors import LocalProtocolError, shortened
from protocol.fields import Choice, Flag, Kind, Number, Text, Whole
from protocol.messages import FailureCode

ORDER, EVENT, DATA, PARTIAL = b"order", b"event", b"data", b"partial"
"""The tags."""

MOST_JSON_BYTES = 1 << 16
MOST_PATIENCE_SECONDS = 86_400.0

_JOB = Text(1, 64, "[a-z0-9][a-z0-9-]*")
_TOKEN = Text(1, 64, "[A-Za-z0-9-]+")
_STEP = Whole(0, 2_000_000)
_COUNT = Whole(0, 1_000_000)
_SENTENCE = Text(1, 2000, lines=True)
_PLACE = Text(1, 4096)
_RATE = Number(0.0, 1000.0)

ORDERS: dict[str, dict[str, Kind]] = {
    # Begin, or go on from the newest checkpoint in the folder. `updates` is how many are in the folder now.
    "run": {
        "job": _JOB,
        "folder": _PLACE,
        "attempt": _COUNT,
        "updates": _COUNT,
        "checkpoint_seconds": Number(0.0, MOST_PATIENCE_SECONDS),
    },
    # The update with this number is in the folder: take it between two steps.
    "update": {"number": Whole(1, 1_000_000)},
    # After the step: write a checkpoint, answer `paused`, be ready for the next run.
    "pause": {},
    # After the step: with keep, write what is there as a partial result; answer `cancelled`.
    "cancel": {"keep": Flag()},
    # Answer with the mesh as it is, under this token.
    "fetch": {"token": _TOKEN},
    # What watchers want now, and how many snapshots and previews a second at most. All false: make none.
    "demand": {"per_second": _RATE, "mesh": Flag(), "colours": Flag(), "preview": Flag()},
    # Write a checkpoint, if a job is running, and exit with 0.
    "stop": {},
}
"""The fields of each order; all are needed."""

EVENTS: dict[str, dict[str, Kind]] = {
    # The process is there and can take the order run. Its process number, for the log. Said again when the connection
    # was made anew: orders may have been lost, and the server repeats those that still matter.
    "ready": {"pid": Whole(1, 2**31 - 1)},
    # The job's own thread lives; its next beat comes within `patience_seconds`, or it counts as hung.
    "beat": {"job": _JOB, "step": _STEP, "patience_seconds": Number(0.1, MOST_PATIENCE_SECONDS)},
    # The first step is about to be made; `step` is how many are done, from the checkpoint.
    "started": {"job": _JOB, "device": Text(1, 200), "total_steps": _STEP, "step": _STEP},
    "steps": {"job": _JOB, "total_steps": _STEP},
    "checkpointed": {"job": _JOB, "step": _STEP},
    "update_taken": {"job": _JOB, "number": Whole(1, 1_000_000), "step": _STEP},
    "paused": {"job": _JOB, "step": _STEP},
    "finished": {"job": _JOB, "step": _STEP},
    "cancelled": {"job": _JOB, "step": _STEP, "has_result": Flag()},
    "failed": {"job": _JOB, "code": Choice(get_args(FailureCode)), "sentence": _SENTENCE, "log_id": _TOKEN},
    "notice": {"job": _JOB, "sentence": _SENTENCE},
}
"""The fields of each event; all are needed."""

ENDING_EVENTS = ("paused", "finished", "cancelled", "failed")
"""After these the worker has no job and can take another."""

_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class LinkError(ValueError):
    """Something that is no message of this link. The text says what it is and what would be right."""


@dataclass(frozen=True)
class Demand:
    """What all watchers of a job want together, as the order `demand` has it. All false: nothing is to be made."""

    per_second: float = 0.0
    mesh: bool = False
    colours: bool = False
    preview: bool = False

    @classmethod
    def of(cls, order: Mapping[str, Any]) -> Demand:
        """That of an order `demand`."""
        return cls(**{name: value for name, value in order.items() if name != "order"})

    def order(self) -> dict[str, Any]:
        """As the worker is told."""
        return order("demand", **dataclasses.asdict(self))


# --- building


def order(name: str, **fields: Any) -> dict[str, Any]:
    """An order, checked: `order("update", number=3)`.

    Raises:
        LinkError: There is no such order, or a field is missing, unknown or wrong.
    """
    return _checked("order", ORDERS, {"order": name, **fields})


def event(name: str, **fields: Any) -> dict[str, Any]:
    """An event, checked: `event("paused", job="a1", step=40)`.

    Raises:
        LinkError: There is no such event, or a field is missing, unknown or wrong.
    """
    return _checked("event", EVENTS, {"event": name, **fields})


def safe_sentence(text: str) -> str:
    """Any text as the field `sentence` takes it: no control characters, 1 to 2000 characters."""
    cleaned = _UNSAFE.sub(" ", text).strip()
    return (cleaned if len(cleaned) <= 2000 else cleaned[:1997] + "...") or "no more is known"


def order_frames(given: Mapping[str, Any]) -> list[bytes]:
    """What the server sends to a worker, after the worker's identity frame: an order from `order`."""
    return [ORDER, _json(given)]


def event_frames(given: Mapping[str, Any]) -> list[bytes]:
    """What a worker sends for an event from `event`."""
    return [EVENT, _json(given)]


def data_frames(message_frames: Sequence[Any]) -> list[Any]:
    """What a worker sends for a Progress, MeshSnapshot or Preview.

    Args:
        message_frames: From `protocol.frames.encode`.
    """
    return [DATA, *message_frames]


def partial_frames(token: str, message_frames: Sequence[Any]) -> list[Any]:
    """What a worker sends for the order fetch.

    Args:
        token: Of the order.
        message_frames: Of Finished, or of Failed if it cannot be made.
    """
    return [PARTIAL, _json({"token": _value(_TOKEN, token, "token")}), *message_frames]


# --- reading


def read_order(frames: Sequence[Any]) -> dict[str, Any]:
    """The order in what a worker received.

    Raises:
        LinkError: It is none.
    """
    if len(frames) != 2 or bytes(frames[0]) != ORDER:
        raise LinkError(f"{_shown(frames)} came from the server; an order is the tag {ORDER!r} and one JSON object")
    return _checked("order", ORDERS, _parsed(frames[1]))


def read_event(frames: Sequence[Any]) -> dict[str, Any]:
    """The event in what the server received from a worker, without the identity frame; see `tag_of`.

    Raises:
        LinkError: It is none.
    """
    if len(frames) != 2 or bytes(frames[0]) != EVENT:
        raise LinkError(f"{_shown(frames)} came from a worker; an event is the tag {EVENT!r} and one JSON object")
    return _checked("event", EVENTS, _parsed(frames[1]))


def read_partial(frames: Sequence[Any]) -> tuple[str, list[Any]]:
    """The token and the wire frames of a `partial`.

    Raises:
        LinkError: It is none. Whether the frames are a message, `protocol.frames.decode` says.
    """
    if len(frames) < 3 or bytes(frames[0]) != PARTIAL:
        right = f"a partial result is the tag {PARTIAL!r}, one JSON object and the frames of a message"
        raise LinkError(f"{_shown(frames)} came from a worker; {right}")
    given = _parsed(frames[1])
    if set(given) != {"token"}:
        raise LinkError(f"a partial result says {shortened(sorted(given))}; it must say its token and nothing else")
    return _value(_TOKEN, given["token"], "token"), list(frames[2:])


def read_data(frames: Sequence[Any]) -> list[Any]:
    """The wire frames of a `data`.

    Raises:
        LinkError: It is none. Whether the frames are a message, `protocol.frames.decode` says.
    """
    if len(frames) < 2 or bytes(frames[0]) != DATA:
        raise LinkError(f"{_shown(frames)} came from a worker; data is the tag {DATA!r} and the frames of a message")
    return list(frames[1:])


def tag_of(frames: Sequence[Any]) -> bytes:
    """Which of the tags the frames begin with.

    Raises:
        LinkError: None of them.
    """
    tag = bytes(frames[0])[:16] if frames else b""
    if tag not in (ORDER, EVENT, DATA, PARTIAL):
        raise LinkError(f"a message begins with {tag!r}; it must be one of order, event, data, partial")
    return tag


# --- the address

_MOST_SOCKET_BYTES = 100  # a Unix socket's path has at most 107 bytes on Linux, 103 on macOS


def link_address(state_folder: Path) -> str:
    """Where the server listens for its workers: a socket file that only this user can reach.

    It is `workers.sock` in the state folder; of a folder whose path is too long for that, a file in a private folder
    of the system's temporary ones, the same each time. Windows has no such files for ZeroMQ: there it is a free port
    of the loopback, and what the socket has bound to (`LAST_ENDPOINT`) is what workers are told.

    Raises:
        BadInput: The private folder is not this user's alone.
    """
    if os.name == "nt":
        return "tcp://127.0.0.1:*"
    path = state_folder.absolute() / "workers.sock"
    if len(os.fsencode(path)) > _MOST_SOCKET_BYTES:
        path = _private_folder(path.parent) / "workers.sock"
    return f"ipc://{path}"


def _private_folder(state_folder: Path) -> Path:
    name = hashlib.sha256(os.fsencode(state_folder)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"sketchbridge-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    # Somebody else may have made it first, to listen in.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) != 0o700:
        raise BadInput(f"{folder} must be a folder of this user's alone; remove it, or choose a shorter --state")
    return folder


# --- inside


def _checked(what: str, tables: dict[str, dict[str, Kind]], given: Mapping[str, Any]) -> dict[str, Any]:
    name = given.get(what)
    kinds = tables.get(name) if isinstance(name, str) else None
    if kinds is None:
        raise LinkError(f"{what} is {shortened(name)}; it must be one of {', '.join(tables)}")
    if given.keys() - {what} != kinds.keys():
        found = ", ".join(sorted(str(each) for each in given.keys() - {what})) or "none"
        raise LinkError(f"{what} {name} has the fields {shortened(found)}; it must have {', '.join(kinds) or 'none'}")
    return {what: name} | {field: _value(kind, given[field], f"{name}.{field}") for field, kind in kinds.items()}


def _value(kind: Kind, given: Any, path: str) -> Any:
    try:
        return kind.checked(given, path, {})
    except LocalProtocolError as error:
        raise LinkError(str(error)) from None


def _json(given: Mapping[str, Any]) -> bytes:
    return json.dumps(given, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _parsed(frame: Any) -> dict[str, Any]:
    data = bytes(frame)
    if len(data) > MOST_JSON_BYTES:
        raise LinkError(f"the JSON has {len(data)} bytes; at most {MOST_JSON_BYTES} are allowed")
    try:
        given = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise LinkError(f"the JSON cannot be read: {shortened(str(error))}") from None
    if not isinstance(given, dict):
        raise LinkError(f"the JSON is {shortened(given)}; it must be an object")
    return given


def _shown(frames: Sequence[Any]) -> str:
    first = bytes(frames[0])[:16] if frames else b""
    return f"a message of {len(frames)} frames that begins with {first!r}"
