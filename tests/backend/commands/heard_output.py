"""What a client's command says, for tests to read."""

import io
import json

import pytest
from rich.console import Console

from backend.commands.client_output import ClientOutput


class Heard(ClientOutput):
    """An output that keeps what is said."""

    def __init__(self, as_json=False):
        self.said, self.lines = io.StringIO(), io.StringIO()
        super().__init__(as_json, Console(file=self.said, width=200, highlight=False), self.lines)

    @property
    def text(self):
        return self.said.getvalue()

    @property
    def events(self):
        return [json.loads(line, parse_constant=pytest.fail) for line in self.lines.getvalue().splitlines()]
