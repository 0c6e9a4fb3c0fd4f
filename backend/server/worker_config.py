"""What a worker knows of the server's configuration: where the models are that jobs name. Read from a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backend.errors import BadInput

_KEYS = ("priors", "controlnets", "loras", "environments")


@dataclass(frozen=True)
class WorkerConfig:
    """Names on the wire and what they stand for. Nothing else is ever made from a name."""

    priors: Mapping[str, str] = field(default_factory=lambda: {"embedded": "embedded"})
    """To a diffusers folder, a hub id, or "embedded"."""
    controlnets: Mapping[str, str] = field(default_factory=lambda: {"embedded": "embedded"})
    """From the names of priors to folders or hub ids."""
    loras: Mapping[str, str] = field(default_factory=dict)
    """To files."""
    environments: Mapping[str, str] = field(default_factory=dict)
    """To files."""


def read_worker_config(path: Path) -> WorkerConfig:
    """The configuration in a file: {"priors": {NAME: PLACE}, "controlnets": {...}, ...}, each optional.

    Raises:
        BadInput: It cannot be read, or holds something else.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"the worker's configuration {path} cannot be read ({error})") from error
    if not isinstance(given, dict) or not given.keys() <= set(_KEYS):
        raise BadInput(f"the worker's configuration {path} must be an object with no other keys than {_KEYS}")
    for key, table in given.items():
        if not isinstance(table, dict) or not all(isinstance(place, str) and place for place in table.values()):
            raise BadInput(f"{key} in the worker's configuration {path} must name a place for each name, as text")
    return WorkerConfig(**given)
