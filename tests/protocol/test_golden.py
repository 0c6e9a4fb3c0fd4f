"""The bytes of every message, as they are for as long as the protocol has this version.

`UPDATE_GOLDEN=1` writes files for messages that have none. Those of `older/` are what other sides, and earlier versions
of this one, have sent in version 1: they are only read, and must go on being read.
"""

import json
from pathlib import Path

import pytest
from golden_files import GOLDEN, UPDATE

from examples import EXAMPLES, pack, sender_of, unpack
from protocol.frames import decode, encode
from protocol.messages import PROTOCOL_VERSION, PauseJob, SubmitJob
from protocol.settings import Settings

WIRE = GOLDEN / "wire"
OLDER = sorted((WIRE / "older").glob("*.frames"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_message_has_exactly_the_bytes_it_had(name):
    path = WIRE / f"{name}.frames"
    written = pack(encode(EXAMPLES[name], request=1))
    if UPDATE and not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(written)

    assert written == path.read_bytes()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_bytes_of_every_message_say_what_they_said(name):
    received = decode(unpack((WIRE / f"{name}.frames").read_bytes()), sent_by=sender_of(EXAMPLES[name]))

    assert (received.message, received.request) == (EXAMPLES[name], 1)


@pytest.mark.parametrize("path", OLDER, ids=lambda path: path.stem)
def test_what_others_have_sent_in_this_version_is_still_read(path):
    meaning = {
        "every-default-spelled-out": SubmitJob(key="a-key-of-16-chars", task="text", prompt="a cup"),
        "spaces-and-another-order": PauseJob(job="a-1"),
        "whole-numbers-for-numbers": SubmitJob(
            key="a-key-of-16-chars", task="text", prompt="ein Becher", settings=Settings(guidance_scale=7.0)
        ),
    }

    assert decode(unpack(path.read_bytes()), sent_by="client").message == meaning[path.stem]


def test_no_golden_file_is_forgotten():
    assert {path.stem for path in WIRE.glob("*.frames")} == EXAMPLES.keys()
    assert len(OLDER) == 3


def test_golden_files_are_of_this_version():
    for path in [*WIRE.glob("*.frames"), *OLDER]:
        assert json.loads(unpack(Path(path).read_bytes())[0])["protocol"] == PROTOCOL_VERSION == 1
