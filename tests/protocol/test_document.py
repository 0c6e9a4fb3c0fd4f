"""docs/wire_protocol.md says what the code does: every message, field, range, default and code, and its examples."""

import json
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from examples import JOB
from protocol import frames
from protocol.arrays import DTYPES, MOST_ALONG
from protocol.fields import Nested, OneOf, defaults_of, kinds_of, most_arrays_of
from protocol.geometry import quantise
from protocol.messages import MESSAGE_TYPES, PROTOCOL_VERSION, FailureCode, MeshSnapshot, Message, RefusalCode, WatchJob

DOCUMENT = (Path(__file__).parents[2] / "docs" / "wire_protocol.md").read_text()
TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)


def sections():
    """The text under each heading of the third level."""
    parts = re.split(r"^### (.+)$", DOCUMENT.split("## Messages")[1], flags=re.MULTILINE)
    return dict(zip(parts[1::2], (re.split(r"^## ", each, flags=re.MULTILINE)[0] for each in parts[2::2]), strict=True))


def rows(text):
    """The cells of the tables in a text, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines]


def parts_of(record_class, found):
    """All records inside of a record, with those inside of them."""
    for kind in kinds_of(record_class).values():
        while hasattr(kind, "kind") and not isinstance(kind, Nested | OneOf):
            kind = kind.kind
        records = kind.records if isinstance(kind, OneOf) else [kind.record] if isinstance(kind, Nested) else []
        for each in records:
            if each not in found:
                found.append(each)
                parts_of(each, found)
    return found


def all_records():
    found = list(MESSAGE_TYPES.values())
    for message in MESSAGE_TYPES.values():
        parts_of(message, found)
    return {each.__name__: each for each in found}


def test_the_document_describes_exactly_the_messages_and_parts_that_there_are():
    assert sections().keys() == all_records().keys()


@pytest.mark.parametrize("name", all_records())
def test_every_field_is_described_as_it_is(name):
    record_class, defaults = all_records()[name], defaults_of(all_records()[name])
    expected = [
        (
            f"`{field}`",
            kind.describe(),
            f"`{json.dumps(kind.to_json(defaults[field], None))}`" if field in defaults else "needed",
        )
        for field, kind in kinds_of(record_class).items()
    ]

    described = rows(sections()[name])

    assert [row[:3] for row in described] == expected
    assert all(len(row) == 4 and row[3] for row in described)


@pytest.mark.parametrize("name", MESSAGE_TYPES)
def test_the_way_and_the_answer_of_every_message_are_described(name):
    message: type[Message] = MESSAGE_TYPES[name]
    sides = " or ".join(message.sent_by)
    answers = f"; answered by {' or '.join(f'`{each}`' for each in message.answers)}" if message.answers else ""
    count = most_arrays_of(message)
    arrays = f"at most {count} array{'s' if count > 1 else ''}" if count else "no arrays"

    assert f"Sent by the {sides}{answers}; {arrays}." in sections()[name]


@pytest.mark.parametrize("name", [name for name, each in all_records().items() if each.kind])
def test_the_word_that_tells_parts_apart_is_described(name):
    assert f"`kind` is `{all_records()[name].kind}`" in sections()[name]


@pytest.mark.parametrize(("message", "codes"), [("Refused", RefusalCode), ("Failed", FailureCode)])
def test_all_codes_are_described(message, codes):
    table = DOCUMENT.split(f"| code of `{message}` | when |")[1].split("\n\n")[0]

    assert [row[0] for row in rows(table)] == [f"`{code}`" for code in get_args(codes)]


def test_the_limits_are_those_of_the_code():
    text = " ".join(DOCUMENT.split())

    assert f"# The wire protocol, version {PROTOCOL_VERSION} " in text
    assert f"at most {frames.MOST_HEADER_BYTES} bytes" in text
    assert f"| header | {frames.MOST_HEADER_BYTES} bytes, {frames.MOST_DEPTH} deep |" in text
    assert f"never more than {frames.MOST_FRAMES} |" in text
    assert f"| one array, after decompression | {frames.DEFAULT_LIMITS.array_bytes} bytes |" in text
    assert f"| all of a message | {frames.DEFAULT_LIMITS.message_bytes} bytes;" in text
    assert ", ".join(f"{name} {most}" for name, most in MOST_ALONG.items()) in text
    assert "`float32`, `int32`, `uint16` or `uint8`" in text
    assert {"float32", "int32", "uint16", "uint8"} == DTYPES.keys()


def examples_in_bytes():
    blocks = re.findall(r"```frames\n(.*?)\n```", DOCUMENT, re.DOTALL)
    for block in blocks:
        header, *arrays = block.split("\n")
        yield [header.encode(), *(bytes.fromhex(each.removeprefix("hex ")) for each in arrays)]


def test_the_examples_have_the_bytes_that_are_sent():
    values, low, high = quantise(TRIANGLE * 2)
    full = {"positions": TRIANGLE, "faces": np.array([[0, 1, 2]], np.int32)}
    expected = [
        frames.encode(WatchJob(job=JOB, credit=4), 4),
        frames.encode(MeshSnapshot(job=JOB, number=1, step=8, **full)),
        frames.encode(MeshSnapshot(job=JOB, number=2, step=9, builds_on=1, positions=values, low=low, high=high)),
    ]

    assert list(examples_in_bytes()) == [[bytes(part) for part in parts] for parts in expected]
