"""Messages to bytes and back, in both directions; and bytes that are no message."""

import json
import time
import tracemalloc
import zlib

import numpy as np
import pytest

from examples import CORNERS, EXAMPLES, JOB, KEY, TETRAHEDRON, full_snapshot, sender_of, submit_job, tiny_png
from protocol import frames
from protocol.errors import LocalProtocolError, RemoteProtocolError, UnknownMessage, VersionMismatch
from protocol.frames import ReceiveLimits, decode, encode
from protocol.messages import Heartbeat, JobList, MeshSnapshot, PauseJob, Preview, ServerHello, SubmitJob, WatchJob

SAID = [
    # who says it, message, request, the exact bytes of the header
    ("client", Heartbeat(), None, b'{"protocol":1,"type":"Heartbeat","fields":{},"arrays":[]}'),
    ("server", Heartbeat(), None, b'{"protocol":1,"type":"Heartbeat","fields":{},"arrays":[]}'),
    (
        "client",
        PauseJob(job="a-1"),
        7,
        b'{"protocol":1,"type":"PauseJob","request":7,"fields":{"job":"a-1"},"arrays":[]}',
    ),
    (
        "client",
        WatchJob(job="a-1", channels=(), snapshots_per_second=2.5),
        1,
        b'{"protocol":1,"type":"WatchJob","request":1,'
        b'"fields":{"job":"a-1","channels":[],"snapshots_per_second":2.5},"arrays":[]}',
    ),
    (
        "client",
        SubmitJob(key=KEY, task="text", prompt='"ä" 🍄'),
        None,
        b'{"protocol":1,"type":"SubmitJob","fields":{"key":"4f0c1c8e9b7d4a52","task":"text",'
        b'"prompt":"\\"\xc3\xa4\\" \xf0\x9f\x8d\x84"},"arrays":[]}',
    ),
    (
        "server",
        MeshSnapshot(job="a-1", number=2, step=9, builds_on=1, colours=np.zeros((1, 3), np.uint8)),
        None,
        b'{"protocol":1,"type":"MeshSnapshot","fields":{"job":"a-1","number":2,"step":9,"builds_on":1,'
        b'"colours":{"array":0}},"arrays":[{"dtype":"uint8","shape":[1,3],"bytes":3}]}',
    ),
]


@pytest.mark.parametrize(("side", "message", "request_id", "header"), SAID)
def test_what_is_said_has_these_bytes(side, message, request_id, header):
    assert encode(message, request_id)[0] == header


@pytest.mark.parametrize(("side", "message", "request_id", "header"), SAID)
def test_these_bytes_say_it(side, message, request_id, header):
    received = decode([header, *encode(message)[1:]], sent_by=side)

    assert (received.message, received.request) == (message, request_id)


def header(kind="PauseJob", fields=None, **changes):
    made = {"protocol": 1, "type": kind, "request": 5, "fields": {"job": "a"} if fields is None else fields}
    return json.dumps(made | changes).encode()


def colours_header(**changes):
    """A MeshSnapshot with one array, uint8 [2, 3]."""
    described = {"dtype": "uint8", "shape": [2, 3], "bytes": 6} | changes
    fields = {"job": "a", "number": 2, "step": 0, "builds_on": 1, "colours": {"array": 0}}
    return header("MeshSnapshot", fields, arrays=[described])


def positions_header(**changes):
    described = {"dtype": "float32", "shape": [1, 3], "bytes": 12} | changes
    fields = {"job": "a", "number": 2, "step": 0, "builds_on": 1, "positions": {"array": 0}}
    return header("MeshSnapshot", fields, arrays=[described])


def place_header(reference, **more):
    described = {"dtype": "uint8", "shape": [2, 3], "bytes": 6}
    fields = {"job": "a", "number": 2, "step": 0, "builds_on": 1, "colours": reference} | more
    return header("MeshSnapshot", fields, arrays=[described])


PNG = {"dtype": "uint8", "shape": [len(tiny_png())], "bytes": len(tiny_png())}


def preview_header(**changes):
    return header("Preview", {"job": "a", "step": 0, "picture": {"array": 0}}, arrays=[PNG | changes])


def two_pictures_header():
    pictures = [{"name": "mask", "picture": {"array": 0}}] * 2
    return header("Finished", {"job": "a", "step": 0, "pictures": pictures}, arrays=[PNG])


def no_pictures_header():
    return header("Finished", {"job": "a", "step": 0}, arrays=[PNG])


def sketch_header(**camera):
    sketch = {"name": "a", "camera": {"kind": "preset", "view": "front"} | camera, "picture": {"array": 0}}
    return header("SubmitJob", {"key": KEY, "task": "sketch", "prompt": "a", "sketches": [sketch]}, arrays=[PNG])


SIX = bytes(range(6))
NAN = np.full(3, np.nan, "<f4").tobytes()
REFUSED = [
    # situation, who sent it, the frames, part of the message
    ("no frames", "client", [], "the number of frames is 0"),
    ("too many frames", "client", [header()] + [b""] * 5000, "the number of frames is 5001"),
    ("an empty header", "client", [b""], "no JSON"),
    ("half a header", "client", [header()[:-5]], "no JSON"),
    ("two objects", "client", [header() + header()], "no JSON"),
    ("UTF-16", "client", [header().decode().encode("utf-16")], "no JSON in UTF-8"),
    ("a byte-order mark", "client", [b"\xef\xbb\xbf" + header()], "no JSON"),
    ("bad UTF-8", "client", [b'{"protocol":1,"type":"\xff"}'], "no JSON in UTF-8"),
    ("a list", "client", [b"[1]"], "it must be a JSON object"),
    ("a number with 9,999 digits", "client", [b'{"protocol":' + b"9" * 9999 + b"}"], "no JSON"),
    ("a header too long", "client", [b" " * (2**20 + 1)], "the header is 1048577 bytes"),
    ("deep lists", "client", [b"[" * 100_000], "nested 13 deep"),
    ("deep objects", "client", [b'{"a":' * 1000], "nested 13 deep"),
    ("a key twice", "client", [b'{"protocol":1,"protocol":1}'], "'protocol'; it must be there once only"),
    ("a field twice", "client", [b'{"protocol":1,"type":"PauseJob","fields":{"job":"a","job":"b"}}'], "once only"),
    ("NaN", "client", [header(fields={"job": float("nan")})], "NaN; it must be finite"),
    ("-Infinity", "client", [header(fields={"job": float("-inf")})], "-Infinity; it must be finite"),
    ("1e999", "client", [header(request=0).replace(b"0", b"1e999")], "request is inf"),
    ("no version", "client", [b'{"type":"PauseJob"}'], "protocol is missing"),
    ("a version of text", "client", [header(protocol="1")], "protocol is '1'"),
    ("a version of true", "client", [header(protocol=True)], "protocol is True"),
    ("request 0", "client", [header(request=0)], "request is 0"),
    ("request 2**53", "client", [header(request=2**53)], "it must be a whole number from 1 to 9007199254740991"),
    ("an unknown key", "client", [header(route="x")], "a key of header is 'route'"),
    ("a list of fields", "client", [header(fields=["a"])], "fields is ['a']; it must be an object: PauseJob"),
    ("an unknown field", "client", [header(fields={"job": "a", "force": 1})], "force is 1; it must be left out"),
    ("a missing field", "client", [header(fields={})], "job is missing; it must be text of 1 to 64"),
    ("a wrong type", "client", [header(fields={"job": 3})], "job is 3; it must be text"),
    ("null where none may be", "client", [header(fields={"job": None})], "job is None; it must be text"),
    ("an object for text", "client", [header(fields={"job": {"array": 0}})], "job is {'array': 0}; it must be text"),
    ("3.0 for 3", "client", [header("Credit", {"job": "a", "more": 3.0})], "more is 3.0; it must be a whole number"),
    ("-4 steps", "client", [header("SubmitJob", {"settings": {"steps": -4}})], "settings.steps is -4"),
    ("text for a list", "client", [header("WatchJob", {"job": "a", "channels": "mesh"})], "channels is 'mesh'"),
    (
        "a field deep inside",
        "client",
        [sketch_header(fov_degrees=190), tiny_png()],
        "sketches[0].camera.fov_degrees is 190; it must be a number from 1 to 170",
    ),
    ("an unknown kind", "client", [sketch_header(kind="fish"), tiny_png()], "sketches[0].camera.kind is 'fish'"),
    ("a list for a kind", "client", [sketch_header(kind=[]), tiny_png()], "sketches[0].camera.kind is []"),
    ("a field of another kind", "client", [sketch_header(shift=[0, 0]), tiny_png()], "sketches[0].camera.shift"),
    ("a frame too many", "client", [header(), b""], "frames after the header is 1; it must be as many as"),
    ("a frame too few", "server", [colours_header()], "frames after the header is 0"),
    ("arrays where none may be", "client", [header(arrays=[PNG]), tiny_png()], "at most 0 for this message type"),
    ("arrays as an object", "client", [header(arrays={})], "arrays is {}"),
    ("an array described by text", "server", [header("Preview", {}, arrays=["x"]), b""], "arrays[0] is 'x'"),
    ("an unknown key of an array", "server", [colours_header(order="F"), SIX], "a key of arrays[0] is 'order'"),
    ("an unknown type", "server", [colours_header(dtype="float64"), SIX], "arrays[0].dtype is 'float64'"),
    ("an object type", "server", [colours_header(dtype="O"), SIX], "arrays[0].dtype is 'O'"),
    ("an unknown encoding", "server", [colours_header(encoding="lz4"), SIX], "one of raw, zlib"),
    ("a negative length", "server", [colours_header(shape=[-2, 3]), SIX], "arrays[0].shape is -2"),
    ("two negative lengths", "server", [colours_header(shape=[-2, -3]), SIX], "arrays[0].shape is -2"),
    ("a length of NaN", "server", [colours_header(shape=[float("nan"), 3]), SIX], "NaN; it must be finite"),
    ("a length of 2.0", "server", [colours_header(shape=[2.0, 3]), SIX], "arrays[0].shape is 2.0"),
    ("a length of true", "server", [colours_header(shape=[True, 6]), SIX], "arrays[0].shape is True"),
    ("an overflowing shape", "server", [colours_header(shape=[2**33, 2**31]), SIX], "it must be at most 268435456"),
    ("no axes", "server", [colours_header(shape=[]), SIX], "a list of 1 to 3 lengths"),
    ("32 axes", "server", [colours_header(shape=[1] * 32), SIX], "a list of 1 to 3 lengths"),
    ("a frame too short", "server", [colours_header(), SIX[:5]], "arrays[0].bytes is 6; it must be the length of its"),
    ("a length that lies", "server", [colours_header(shape=[3, 3]), SIX], "arrays[0].shape is [3, 3]"),
    ("a length of text", "server", [colours_header(bytes="6"), SIX], "arrays[0].bytes is '6'"),
    ("another type than the field's", "server", [positions_header(dtype="int32"), bytes(12)], "positions is an array"),
    ("another shape than the field's", "server", [positions_header(shape=[3, 1]), bytes(12)], "[vertices, 3]"),
    ("NaN in an array", "server", [positions_header(), NAN], "positions[0, 0] is nan"),
    ("an array in two places", "server", [two_pictures_header(), tiny_png()], "no other field has"),
    ("an array in no place", "server", [no_pictures_header(), tiny_png()], "arrays[0] is used by no field"),
    ("index -1", "server", [place_header({"array": -1}), SIX], "colours is {'array': -1}"),
    ("index 1 of 1", "server", [place_header({"array": 1}), SIX], "colours is {'array': 1}"),
    ("index true", "server", [place_header({"array": False}), SIX], "colours is {'array': False}"),
    ("index and more", "server", [place_header({"array": 0, "x": 1}), SIX], "colours is"),
    ("numbers for an array", "server", [place_header([1, 2, 3]), SIX], "colours is [1, 2, 3]"),
    ("no PNG", "server", [preview_header(), bytes(len(tiny_png()))], "picture is 68 bytes; it must be a PNG"),
    ("a PNG of two axes", "server", [preview_header(shape=[len(tiny_png()), 1]), tiny_png()], "an array uint8 [bytes]"),
    ("a PNG in zlib", "server", [preview_header(encoding="zlib"), tiny_png()], "not compressed"),
    ("no zlib", "server", [positions_header(encoding="zlib"), bytes(12)], "positions is damaged"),
]


@pytest.mark.parametrize(("situation", "side", "parts", "expected"), REFUSED, ids=[each[0] for each in REFUSED])
def test_what_is_no_message_is_refused(situation, side, parts, expected):
    with pytest.raises(RemoteProtocolError) as caught:
        decode(parts, sent_by=side)

    assert expected in str(caught.value)
    assert len(str(caught.value)) < 700


def test_a_refusal_knows_the_request_it_is_for():
    with pytest.raises(RemoteProtocolError) as caught:
        decode([header(fields={"job": 3})], sent_by="client")

    assert (caught.value.request, caught.value.path) == (5, "job")


@pytest.mark.parametrize(("version", "older"), [(2, "this"), (999, "this")])
def test_another_version_is_named_with_the_side_to_update(version, older):
    with pytest.raises(VersionMismatch) as caught:
        # Nothing else of a message of another version is looked at.
        decode([json.dumps({"protocol": version, "type": 7, "request": 3, "unknown": []}).encode()], sent_by="server")

    sentence = f"the other side speaks protocol {version} and this one protocol 1: update Sketchbridge on {older} side"
    assert str(caught.value) == sentence
    assert caught.value.request == 3


def test_an_older_version_is_to_be_updated_on_the_other_side(monkeypatch):
    monkeypatch.setattr(frames, "PROTOCOL_VERSION", 2)

    with pytest.raises(VersionMismatch, match="update Sketchbridge on the other side"):
        decode([header()], sent_by="client")


@pytest.mark.parametrize(
    ("kind", "side"), [("JobState", "client"), ("PauseJob", "server"), ("Fly", "client"), (3, "client")]
)
def test_each_side_may_send_its_own_messages_only(kind, side):
    with pytest.raises(UnknownMessage, match=f"what a {side} may send"):
        decode([header(kind)], sent_by=side)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_message_without_its_last_frame_is_refused(name):
    parts = encode(EXAMPLES[name])
    if len(parts) > 1:
        with pytest.raises(RemoteProtocolError, match="frames after the header"):
            decode(parts[:-1], sent_by=sender_of(EXAMPLES[name]))
    else:
        with pytest.raises(RemoteProtocolError, match="the number of frames"):
            decode([], sent_by=sender_of(EXAMPLES[name]))


def test_frames_in_another_order_are_refused():
    head, *arrays = encode(EXAMPLES["MeshSnapshot"])

    with pytest.raises(RemoteProtocolError, match="it must be the length of its frame, 12"):
        decode([head, *arrays[::-1]], sent_by="server")
    with pytest.raises(RemoteProtocolError, match="no JSON"):
        decode([*arrays, head], sent_by="server")


# --- how it is done


def test_sending_and_receiving_copies_no_array():
    positions = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)
    parts = encode(full_snapshot(positions=positions, faces=TETRAHEDRON))
    received = decode(parts, sent_by="server").message

    assert np.shares_memory(np.frombuffer(parts[1], np.float32), positions)
    assert np.shares_memory(received.positions, positions)
    assert not received.positions.flags.writeable


def test_frames_at_odd_addresses_give_aligned_arrays():
    parts = encode(full_snapshot())
    moved = [memoryview(b"x" + bytes(each))[1:] for each in parts]

    received = decode(moved, sent_by="server").message

    assert received == full_snapshot()
    assert received.positions.flags.aligned


def test_arrays_that_are_not_contiguous_arrive_as_they_look():
    wide = np.arange(24, dtype=np.float32).reshape(4, 6)
    message = full_snapshot(positions=wide[:, ::2])

    assert np.array_equal(decode(encode(message), sent_by="server").message.positions, wide[:, ::2])


def test_an_empty_mesh_can_be_sent():
    message = full_snapshot(positions=CORNERS[:0], faces=TETRAHEDRON[:0])

    assert decode(encode(message, compression="zlib"), sent_by="server").message == message


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_compression_is_exact_and_smaller(dtype):
    values = (np.arange(30_000).reshape(-1, 3) % 997).astype(dtype)
    box = {"low": (0.0,) * 3, "high": (1.0,) * 3} if dtype == np.uint16 else {}
    message = MeshSnapshot(job=JOB, number=2, step=0, builds_on=1, positions=values, **box)

    packed = encode(message, compression="zlib")

    assert len(packed[1]) < values.nbytes / 2
    assert decode(packed, sent_by="server").message == message


def test_what_compression_would_make_larger_is_sent_raw():
    noise = np.random.default_rng(0).integers(0, 2**16, (3000, 3)).astype(np.uint16)
    message = MeshSnapshot(job=JOB, number=2, step=0, builds_on=1, positions=noise, low=(0.0,) * 3, high=(1.0,) * 3)

    assert "encoding" not in json.loads(encode(message, compression="zlib")[0])["arrays"][0]


# --- limits


def zlib_snapshot(packed, vertices):
    described = {"dtype": "float32", "shape": [vertices, 3], "bytes": len(packed), "encoding": "zlib"}
    fields = {"job": "a", "number": 2, "step": 0, "builds_on": 1, "positions": {"array": 0}}
    return [header("MeshSnapshot", fields, arrays=[described]), packed]


BOMB = zlib.compress(bytes(200 * 2**20), 9)  # 200 MiB in 200 kB


@pytest.mark.parametrize("vertices", [1, 1000, 100_000])
def test_a_bomb_fills_no_more_memory_than_it_announced(vertices):
    tracemalloc.start()

    with pytest.raises(RemoteProtocolError, match="zlib data of another size"):
        decode(zlib_snapshot(BOMB, vertices), sent_by="server")

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * vertices * 3 + 2**20


def test_a_bomb_that_tells_the_truth_is_refused_by_the_limits():
    with pytest.raises(RemoteProtocolError, match="at most 1000000 bytes"):
        decode(zlib_snapshot(BOMB, 10**6), sent_by="server", limits=ReceiveLimits(array_bytes=10**6))
    with pytest.raises(RemoteProtocolError, match="together"):
        decode(zlib_snapshot(BOMB, 10**6), sent_by="server", limits=ReceiveLimits(message_bytes=10**6))


@pytest.mark.parametrize("packed", [zlib.compress(bytes(12)) + b"x", zlib.compress(bytes(12))[:-1], b"x" * 9])
def test_zlib_data_must_be_exactly_one_stream(packed):
    with pytest.raises(RemoteProtocolError, match="zlib data"):
        decode(zlib_snapshot(packed, 1), sent_by="server")


def test_many_keys_of_which_one_is_double_are_refused_soon():
    keys = b",".join(b'"%x":0' % index for index in range(90_000))
    began = time.perf_counter()

    with pytest.raises(RemoteProtocolError, match="there once only"):
        decode([b"{" + keys + b',"1":0}'], sent_by="client")

    assert time.perf_counter() - began < 5  # comparing each with each would take minutes


def test_a_message_above_the_receivers_limit_is_refused_before_its_header_is_read():
    with pytest.raises(RemoteProtocolError, match="the message is 2000000 bytes; it must be at most 1000000"):
        decode([b"x", bytes(1_999_999)], sent_by="client", limits=ReceiveLimits(message_bytes=10**6))


def test_more_vertices_than_any_mesh_may_have_are_refused_before_decompression():
    parts = zlib_snapshot(b"never looked at", 5_000_001)

    with pytest.raises(RemoteProtocolError, match="with at most 5000000 vertices"):
        decode(parts, sent_by="server")


def test_the_longest_lists_of_the_longest_texts_fit_in_a_header():
    state = EXAMPLES["JobState"]
    words = "🍄" * 2000
    long_state = type(state)(
        job="j" * 64, key="k" * 64, task="text", title="🍄" * 200, status="running", sentence=words, device="🍄" * 200
    )
    message = JobList(jobs=(long_state,) * 100, total=100)

    assert decode(encode(message), sent_by="server").message == message


def test_a_request_number_must_be_one():
    for number in (0, -1, 2**53, True, 1.0):
        with pytest.raises(LocalProtocolError, match="request is"):
            encode(Heartbeat(), number)


def test_unknown_capabilities_are_no_error():
    hello = EXAMPLES["ServerHello"]
    parts = encode(hello)
    parts[0] = parts[0].replace(b'"zlib"', b'"zlib","teleport-2"')

    assert decode(parts, sent_by="server").message.capabilities == ("zlib", "teleport-2")
    assert isinstance(hello, ServerHello)


def test_the_bound_of_frames_is_that_of_the_largest_message():
    assert frames.MOST_FRAMES == 1 + 86  # SubmitJob: a mesh of 5 arrays, 16 sketches of 5, a picture
    assert len(encode(submit_job())) == 1 + 5 + 4 + 1
    assert isinstance(EXAMPLES["Preview"], Preview)
