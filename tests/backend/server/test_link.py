"""What server and worker may say to each other."""

import os
import stat
import tempfile
from pathlib import Path

import pytest
import zmq

from backend.errors import BadInput
from backend.server import link
from examples import progress
from protocol.frames import decode, encode

EXAMPLES = {
    "run": {"job": "a1", "folder": "/state/jobs/a1", "attempt": 1, "updates": 0, "checkpoint_seconds": 60.0},
    "update": {"number": 3},
    "pause": {},
    "cancel": {"keep": True},
    "fetch": {"token": "0f"},
    "demand": {"per_second": 10.0, "mesh": True, "colours": False, "preview": False},
    "stop": {},
    "ready": {"pid": 17},
    "beat": {"job": "a1", "step": 4, "patience_seconds": 30.0},
    "started": {"job": "a1", "device": "a CPU", "total_steps": 100, "step": 0},
    "steps": {"job": "a1", "total_steps": 150},
    "checkpointed": {"job": "a1", "step": 4},
    "update_taken": {"job": "a1", "number": 3, "step": 4},
    "paused": {"job": "a1", "step": 4},
    "finished": {"job": "a1", "step": 100},
    "cancelled": {"job": "a1", "step": 4, "has_result": True},
    "failed": {"job": "a1", "code": "bad-mesh", "sentence": "Its faces cross.", "log_id": "f0"},
    "notice": {"job": "a1", "sentence": "The surface was\nempty."},
}


@pytest.mark.parametrize("name", link.ORDERS)
def test_every_order_arrives_as_it_was_sent(name):
    given = link.order(name, **EXAMPLES[name])

    assert link.read_order(link.order_frames(given)) == {"order": name, **EXAMPLES[name]}


@pytest.mark.parametrize("name", link.EVENTS)
def test_every_event_arrives_as_it_was_sent(name):
    given = link.event(name, **EXAMPLES[name])

    assert link.read_event(link.event_frames(given)) == {"event": name, **EXAMPLES[name]}


@pytest.mark.parametrize("name", [*link.ORDERS, *link.EVENTS])
def test_a_field_that_is_missing_unknown_or_of_another_type_is_refused(name):
    build = link.order if name in link.ORDERS else link.event
    fields = EXAMPLES[name]

    with pytest.raises(link.LinkError, match="extra"):
        build(name, **fields, extra=1)
    for field in fields:
        with pytest.raises(link.LinkError, match="it must have"):
            build(name, **{key: value for key, value in fields.items() if key != field})
        with pytest.raises(link.LinkError, match=field):
            build(name, **(fields | {field: [1]}))


def test_data_and_partial_results_carry_the_frames_of_a_message():
    frames = encode(progress())

    assert decode(link.read_data(link.data_frames(frames)), "server").message == progress()
    token, carried = link.read_partial(link.partial_frames("t0", frames))
    assert (token, decode(carried, "server").message) == ("t0", progress())
    assert [link.tag_of(each) for each in (link.data_frames(frames), link.partial_frames("t0", frames))] == [
        b"data", b"partial"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b"order"],
        [b"event", b"{}", b"more"],
        [b"order", b"{"],
        [b"order", b"[]"],
        [b"order", b'{"order": "explode"}'],
        [b"order", b'{"order": ["run"]}'],
        [b"order", b"\xff"],
        [b"order", b"[" * 60_000],
        [b"order", b'{"order": "update", "number": NaN}'],
        [b"order", b'{"order": "update", "number": 0}'],
        [b"order", b" " * 70_000],
        [b"data"],
        [b"partial", b'{"token": "../x"}', b"frame"],
        [b"partial", b'{"token": "a", "b": 1}', b"frame"],
        [b"partial", b'{"token": "a"}'],
        [b"x" * 100_000],
    ],
)
def test_what_is_no_message_is_refused_by_every_reader_in_one_short_sentence(frames):
    readers = [link.read_order, link.read_event, link.read_partial, link.read_data]
    if not frames or frames[0] not in (b"order", b"event", b"data", b"partial"):
        readers.append(link.tag_of)

    for read in readers:
        with pytest.raises(link.LinkError) as caught:
            read(frames)
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all is well", "all is well"),
        ("a\x00b\u2028c\ud800", "a b c"),
        ("  ", "no more is known"),
        ("", "no more is known"),
    ],
)
def test_any_text_can_be_made_a_sentence(text, expected):
    assert link.event("notice", job="a1", sentence=link.safe_sentence(text))["sentence"] == expected


def test_a_long_text_is_cut_to_what_a_sentence_may_have():
    assert len(link.event("notice", job="a1", sentence=link.safe_sentence("x" * 5000))["sentence"]) == 2000


@pytest.mark.skipif(os.name == "nt", reason="Windows has no socket files for ZeroMQ")
@pytest.mark.parametrize("name", ["state", "a-folder-with-a-name-that-is-far-too-long-for-a-socket-" * 3])
def test_the_address_can_be_bound_however_long_the_path_of_the_state_folder_is(name, monkeypatch):
    with tempfile.TemporaryDirectory() as short:  # pytest's own folders have long paths
        monkeypatch.setattr(tempfile, "tempdir", short)
        state = Path(short) / name
        state.mkdir()
        address = link.link_address(state)
        socket = zmq.Context.instance().socket(zmq.ROUTER)
        socket.linger = 0
        socket.bind(address)
        socket.close()

        assert address == link.link_address(state)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no socket files for ZeroMQ")
def test_a_folder_that_others_may_enter_is_not_used_for_the_socket(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = Path(link.link_address(tmp_path / ("x" * 120)).removeprefix("ipc://")).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)

    with pytest.raises(BadInput, match="this user's alone"):
        link.link_address(tmp_path / ("x" * 120))
