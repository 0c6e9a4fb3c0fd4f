"""Hostile bytes: whatever arrives, only a RemoteProtocolError comes out, and memory stays bounded. Seeded."""

import contextlib
import gc
import json
import random
import tracemalloc

import numpy as np
import pytest

from examples import EXAMPLES, sender_of
from protocol.errors import RemoteProtocolError
from protocol.frames import ReceiveLimits, decode, encode

MESSAGES = 4000
LIMITS = ReceiveLimits(array_bytes=2**20, message_bytes=2**22)
SAID = [([bytes(part) for part in encode(each, 1, "zlib")], sender_of(each)) for each in EXAMPLES.values()]
BAD_VALUES = [
    None, True, False, -1, 0, 1, 2**31, 2**53, 2**64, 10**400, 0.5, -0.0, 1e308, "", "x", "\x00", "../..", "%s%n",
    "x" * 5000, "\ud800", [], [[]], {}, [0] * 2000, {"array": 0}, {"array": -1}, {"array": 10**9}, {"kind": "matrix"},
    {str(index): index for index in range(500)}, float("nan"), float("inf"),
]  # fmt: skip


def random_bytes(dice, parts):
    return [dice.randbytes(dice.choice([0, 1, 7, 100, 5000])) for _ in range(dice.randrange(1, 5))]


def truncated(dice, parts):
    index = dice.randrange(len(parts))
    return [*parts[:index], parts[index][: dice.randrange(len(parts[index]) + 1)], *parts[index + 1 :]]


def flipped(dice, parts):
    index = dice.randrange(len(parts))
    part = bytearray(parts[index])
    for _ in range(dice.randrange(1, 4)):
        if part:
            part[dice.randrange(len(part))] ^= 1 << dice.randrange(8)
    return [*parts[:index], bytes(part), *parts[index + 1 :]]


def reordered(dice, parts):
    return dice.sample(parts, len(parts))


def repeated(dice, parts):
    return parts * dice.choice([2, 3, 100])


def many_frames(dice, parts):
    return [parts[0]] + [b""] * dice.choice([1, 86, 87, 1000, 200_000])


def oversize(dice, parts):
    return [*parts, bytes(LIMITS.message_bytes)]


def deep(dice, parts):
    depth = dice.choice([5, 13, 1000, 100_000])
    opening = dice.choice([b"[", b'{"a":', b'[{"a":'])
    return [parts[0][:-1] + b',"x":' + opening * depth + dice.choice([b"", b"]" * depth]), *parts[1:]]


def doubled_key(dice, parts):
    return [
        parts[0][:-1] + b"," + dice.choice([b'"type":"Heartbeat"', b'"fields":{}', b'"arrays":[]']) + b"}",
        *parts[1:],
    ]


def places(value, found=()):
    """Every place in a JSON value, as the keys that lead to it."""
    yield found
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*found, key))


def another_value(dice, parts):
    """One value anywhere in the header is another, is gone, or has a neighbour."""
    header = json.loads(parts[0])
    path = dice.choice([each for each in places(header) if each])
    holder = header
    for key in path[:-1]:
        holder = holder[key]
    if dice.random() < 0.2:
        del holder[path[-1]]
    elif dice.random() < 0.2 and isinstance(holder, dict):
        holder[dice.choice(["x", "__class__", "array", "\x00"])] = dice.choice(BAD_VALUES)
    else:
        holder[path[-1]] = dice.choice(BAD_VALUES)
    return [json.dumps(header).encode("utf-8", "surrogatepass"), *parts[1:]]


def another_array(dice, parts):
    """An array is described in another way: type, shape, length or encoding."""
    header = json.loads(parts[0])
    if not header["arrays"]:
        return random_bytes(dice, parts)
    described = dice.choice(header["arrays"])
    shapes = [[], [0], [-1], [2**62, 4], [1, -1, -12], [float("nan")], [1] * 64, [3, 3], None, "3"]
    changes = [("dtype", dice.choice(["float64", "object", "uint8", "int32"])), ("shape", dice.choice(shapes))]
    changes += [("bytes", dice.choice([-1, 0, 2**62])), ("encoding", dice.choice(["zlib", "raw", "lz4"]))]
    key, value = dice.choice(changes)
    described[key] = value
    return [json.dumps(header).encode(), *parts[1:]]


def other_numbers(dice, parts):
    """The arrays hold any bytes: NaN, infinity, indices of no vertex."""
    return [parts[0], *(dice.randbytes(len(part)) for part in parts[1:])]


MUTATIONS = [
    random_bytes, truncated, flipped, reordered, repeated, many_frames, oversize, deep, doubled_key, another_value,
    another_value, another_value, another_array, other_numbers,
]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_whatever_arrives_only_a_protocol_error_comes_out(seed):
    dice = random.Random(seed)
    refusals = []
    for _ in range(MESSAGES // 4):
        parts, side = dice.choice(SAID)
        hostile = dice.choice(MUTATIONS)(dice, list(parts))
        try:
            received = decode(hostile, sent_by=dice.choice([side, side, "client", "server"]), limits=LIMITS)
        except RemoteProtocolError as error:
            refusals.append(str(error))
        else:
            encode(received.message, received.request)  # a harmless change: then it is a message like any other

    assert len(refusals) > MESSAGES // 4 * 0.6
    assert max(len(each) for each in refusals) < 2500
    assert all(each.isprintable() for each in refusals)


def test_a_flood_of_hostile_messages_leaves_no_memory_behind():
    dice = random.Random(99)
    hostile = [mutate(dice, list(parts)) for parts, _ in SAID for mutate in MUTATIONS if mutate is not many_frames]
    sides = [side for _, side in SAID for mutate in MUTATIONS if mutate is not many_frames]
    tracemalloc.start()
    for _ in range(2):  # what the first round leaves in caches, the second finds
        gc.collect()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for parts, side in zip(hostile, sides, strict=True):
            with contextlib.suppress(RemoteProtocolError):
                decode(parts, sent_by=side, limits=LIMITS)
        peak = tracemalloc.get_traced_memory()[1]
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert after - before < 2**18
    assert peak - before < 2**24  # a header of 1 MiB is some MiB of Python values for as long as it is looked at


@pytest.mark.parametrize("size", [1, 20, 4096])
def test_zlib_frames_of_any_bytes(size):
    dice = np.random.default_rng(size)
    header = {
        "protocol": 1,
        "type": "MeshSnapshot",
        "fields": {"job": "a", "number": 2, "step": 0, "builds_on": 1, "positions": {"array": 0}},
        "arrays": [{"dtype": "float32", "shape": [1000, 3], "bytes": size, "encoding": "zlib"}],
    }
    for _ in range(50):
        frame = b"\x78\x01" + dice.bytes(size - 2) if size > 2 else dice.bytes(size)
        with pytest.raises(RemoteProtocolError):
            decode([json.dumps(header).encode(), frame], sent_by="server")
