"""What can go wrong between the two sides, as one tree. The classes say whose fault it is; the messages, what is right.

    ProtocolError
      LocalProtocolError    this side tried to build or to send something that the protocol does not allow
      RemoteProtocolError   the other side sent something that the protocol does not allow
        VersionMismatch     it speaks another version; the message says which side to update
        UnknownMessage      a message type that this version does not have
      RequestRefused        the server understood the request and said no; carries its code
      ServerUnreachable     there is no server to talk to, or it was lost
        RequestTimedOut     the server did not answer this request in time

The checks are the same for what is built here and for what arrives, so they raise `LocalProtocolError`; `frames.decode`
turns it into the `RemoteProtocolError` with the same path, since what it builds, the other side has sent. A server
answers `RemoteProtocolError` with a `Refused` message. Any other exception is a bug of ours.
"""

from __future__ import annotations

import reprlib
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlong = 30
_SHORT.maxlevel = 2


class ProtocolError(Exception):
    """Base of all errors of this package."""


class FieldProblem(ProtocolError):
    """A value that the protocol does not allow, and where it is."""

    def __init__(self, sentence: str, *, path: str = "", value: str = "", right: str = "") -> None:
        """
        Args:
            sentence: The whole message.
            path: Of the field inside its message, such as `sketches[1].camera.fov_degrees`; empty for the whole.
            value: The bad value, shortened.
            right: What would be right.
        """
        super().__init__(sentence)
        self.path, self.value, self.right = path, value, right


class LocalProtocolError(FieldProblem, ValueError):
    """This side built something wrong: a bug here, or a value of the user's that was not checked before."""

    @classmethod
    def at(cls, path: str, value: object, right: str) -> LocalProtocolError:
        """The error for a `value` at `path` that should have been `right`, such as "a number from 1 to 170"."""
        shown = shortened(value)
        sentence = f"{path} is {shown}; it must be {right}" if path else f"{shown} was given; it must be {right}"
        return cls(sentence, path=path, value=shown, right=right)

    def below(self, outer: str) -> LocalProtocolError:
        """The same error, seen from the record or list in whose field `outer` it happened."""
        path = outer + self.path if self.path.startswith("[") or not self.path else f"{outer}.{self.path}"
        return LocalProtocolError(
            f"{path} is {self.value}; it must be {self.right}", path=path, value=self.value, right=self.right
        )


class RemoteProtocolError(FieldProblem):
    """The other side sent something wrong."""

    request: int | None = None
    """The id of the request that it was, where that could be read: a refusal can then name it."""


class VersionMismatch(RemoteProtocolError):
    """The other side speaks another version of the protocol."""


class UnknownMessage(RemoteProtocolError):
    """A message type that this version does not have, or that this side is not to be sent."""


class RequestRefused(ProtocolError):
    """The server said no."""

    def __init__(self, code: str, sentence: str) -> None:
        """
        Args:
            code: One of `messages.RefusalCode`.
            sentence: For the user.
        """
        super().__init__(sentence)
        self.code = code


class ServerUnreachable(ProtocolError):
    """No server answers at the address, or the connection to it was lost or closed."""


class RequestTimedOut(ServerUnreachable):
    """A request was not answered in time. Every request may be sent again: the server does nothing twice."""


class Described(str):
    """What an error shows in the place of a value that is too large to be shown, or is not there."""


def shortened(value: object) -> str:
    """A value as it may stand in a message: one line of about 60 characters, whatever it is."""
    if isinstance(value, Described):
        return str(value)
    if type(value).__module__ == "numpy" and hasattr(value, "shape") and hasattr(value, "dtype"):
        array: Any = value
        return f"an array {array.dtype} {list(array.shape)}" if array.shape else repr(value)[:60]
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes"
    if isinstance(value, list | tuple) and len(value) > 6:
        return f"a list of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"
    return "".join(each if each.isprintable() else "?" for each in _SHORT.repr(value))[:120]
