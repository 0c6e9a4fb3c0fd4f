"""Whatever can be said arrives as it was said: every message, over values that hypothesis chooses."""

import pytest
from any_message import any_message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.fields import most_arrays_of
from protocol.frames import decode, encode
from protocol.messages import MESSAGE_TYPES


@pytest.mark.parametrize("name", MESSAGE_TYPES)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(data=st.data())
def test_every_message_arrives_as_it_was_sent(name, data):
    message_class = MESSAGE_TYPES[name]
    message = data.draw(any_message(message_class))
    request = data.draw(st.none() | st.integers(1, 2**53 - 1))
    compression = data.draw(st.sampled_from(["none", "zlib"]))

    parts = [bytes(each) for each in encode(message, request, compression)]
    received = decode(parts, sent_by=message_class.sent_by[0])

    assert received.message == message
    assert received.request == request
    assert len(parts) <= 1 + most_arrays_of(message_class)
    assert [bytes(each) for each in encode(received.message, request, compression)] == parts
