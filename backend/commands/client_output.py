"""What the client's commands say: sentences on stderr and results on stdout, or one JSON object per line on stdout."""

from __future__ import annotations

import io
import json
import sys
from typing import IO, Any, cast

from rich.console import Console, RenderableType
from rich.markup import escape

from backend.commands.displays import print_error
from backend.commands.json_values import json_value
from backend.errors import SketchbridgeError
from protocol.errors import ProtocolError


class ClientOutput:
    """One command's output."""

    def __init__(
        self, as_json: bool = False, console: Console | None = None, stream: io.TextIOBase | None = None
    ) -> None:
        """
        Args:
            console: For sentences; stderr if not given.
            stream: For results; stdout if not given.
        """
        self.as_json = as_json
        self.console = console or Console(stderr=True, highlight=False)
        self._stream = stream

    def say(self, sentence: str) -> None:
        """A sentence for people, without markup: it may come from the server. Programs are not told."""
        if not self.as_json:
            self.console.print(escape(sentence), soft_wrap=True)

    def result(self, text: str | RenderableType, **fields: Any) -> None:
        """What the command was called for: a text or a table for people, the fields as one object for programs."""
        if self.as_json:
            self.object(**fields)
        elif isinstance(text, str):
            print(text, file=self._stream or sys.stdout, flush=True)
        else:
            Console(file=cast(IO[str], self._stream or sys.stdout), highlight=False).print(text)

    def object(self, **fields: Any) -> None:
        """One JSON object on a line of its own; nothing for people."""
        if self.as_json:
            line = json.dumps(json_value(fields), ensure_ascii=False)
            print(line, file=self._stream or sys.stdout, flush=True)

    def error(self, error: BaseException, exit_code: int) -> None:
        """The sentence of an error on stderr, and for programs an object too."""
        if isinstance(error, ProtocolError):
            error = SketchbridgeError(str(error))  # written for the user, and shown in the same way
        message = str(error) or type(error).__name__
        self.object(event="error", message=message, exit_code=exit_code)
        print_error(self.console, error)
