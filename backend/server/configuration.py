"""What a server offers and allows, read from `server.toml`: models by name, limits, quotas, devices.

Clients hear the names and never the places. Every key is known, and every mistake is told with its name and with what
would be right.
"""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.errors import BadInput
from protocol.errors import LocalProtocolError, shortened
from protocol.fields import Flag, Kind, Many, Number, Text, Whole, kinds_of
from protocol.settings import Limits, Prior

EMBEDDED_PRIOR = Prior(name="embedded", title="the embedded prior: 18 classes of simple shapes", resolution=128)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DEVICE = Text(3, 20, "cpu|cuda:[0-9]{1,3}")
_PLACE = Text(1, 4096)
_MOST_FILE_BYTES = 2**20


@dataclass(frozen=True)
class ServedPrior:
    """A diffusion model, as clients see it and where it lies."""

    offered: Prior
    model: str
    """A diffusers folder, a hub id, or "embedded"."""
    controlnet: str | None = None
    """That reads line drawings for it: a folder, a hub id, or "embedded"; None for none."""


@dataclass(frozen=True)
class Quotas:
    """How much is kept of what is done. The oldest results go first; nothing that runs or waits is deleted."""

    result_bytes: int = 50 * 10**9
    """Of all job folders together, in bytes."""
    result_days: float = math.inf
    """How long the results of finished jobs are kept, in days; infinite for ever."""


@dataclass(frozen=True)
class Housekeeping:
    """How the server minds itself and its workers."""

    heartbeat_seconds: float = 1.0
    """Said in ServerHello; a client that says nothing for ten of these is forgotten."""
    checkpoint_seconds: float = 30.0
    """Between the checkpoints of a running job."""
    idle_seconds: float = 300.0
    """After this, a worker without a job ends and gives its memory back."""
    clients: int = 256
    """At most so many are connected."""
    connections_per_key: int = 32
    """At most so many of them have the same key. They share one allowance; each costs the server some memory."""
    bytes_per_second: float = 128.0 * 2**20
    """That one client may send, on average."""
    memory_bytes: int = 2 * 2**30
    """That messages from clients and answers to them may take in the server, all together."""


@dataclass(frozen=True)
class ServerConfig:
    """All of `server.toml`. The defaults are those of no file at all."""

    priors: tuple[ServedPrior, ...] = (ServedPrior(EMBEDDED_PRIOR, "embedded", "embedded"),)
    loras: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Name to file."""
    environments: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Name to file."""
    devices: tuple[str, ...] = ()
    """Such as "cpu" and "cuda:0"; empty for all GPUs, or the CPU where there is none."""
    limits: Limits = dataclasses.field(default_factory=Limits)
    quotas: Quotas = Quotas()
    server: Housekeeping = Housekeeping()

    @property
    def models(self) -> dict[str, str]:
        """The folder or id behind the name of each prior."""
        return {each.offered.name: each.model for each in self.priors}

    @property
    def controlnets(self) -> dict[str, str]:
        """The folder or id of the ControlNet of each prior that has one."""
        return {each.offered.name: each.controlnet for each in self.priors if each.controlnet is not None}


_PRIOR_KINDS: dict[str, Kind] = {"model": _PLACE, "controlnet": _PLACE} | {
    name: kind for name, kind in kinds_of(Prior).items() if name != "name"
}
_QUOTA_KINDS: dict[str, Kind] = {"result_bytes": Whole(10**6, 2**60), "result_days": Number(0.01, 1e5)}
_SERVER_KINDS: dict[str, Kind] = {
    "heartbeat_seconds": Number(0.1, 60.0),
    "checkpoint_seconds": Number(0.1, 86_400.0),
    "idle_seconds": Number(1.0, 1e9),
    "clients": Whole(1, 10_000),
    "connections_per_key": Whole(1, 10_000),
    "bytes_per_second": Number(2**16, 1e12),
    "memory_bytes": Whole(2**24, 2**50),
}


def read_configuration(path: Path) -> ServerConfig:
    """The configuration in a file.

    Raises:
        BadInput: It cannot be read, is no TOML, or something in it is wrong; the message names the file and the field.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_FILE_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadInput(f"the configuration {path} cannot be read ({reason})") from error
    if len(text) > _MOST_FILE_BYTES:
        raise BadInput(f"the configuration {path} is larger than {_MOST_FILE_BYTES} bytes")
    try:
        return configuration_from(tomllib.loads(text), path.parent)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path} is no TOML: {error}") from error
    except LocalProtocolError as error:
        raise BadInput(f"{path}: {error}") from error


def configuration_from(given: Mapping[str, Any], folder: Path) -> ServerConfig:
    """The configuration in parsed TOML.

    Args:
        folder: From which paths that are not absolute begin.

    Raises:
        LocalProtocolError: With the name of the field and what would be right.
    """
    known = ("embedded_prior", "devices", "priors", "loras", "environments", "limits", "quotas", "server")
    _refuse_unknown(given, known, "")
    embedded = _checked(Flag(), given.get("embedded_prior", True), "embedded_prior")
    priors = [ServedPrior(EMBEDDED_PRIOR, "embedded", "embedded")] if embedded else []
    for name, table in _named(given, "priors").items():
        priors.append(_prior(name, table, folder))
        if name == EMBEDDED_PRIOR.name and embedded:
            raise LocalProtocolError.at("priors", name, "another name, or embedded_prior = false")
    if not priors:
        raise LocalProtocolError.at("embedded_prior", False, "true, since no other prior is given in [priors.NAME]")
    devices = _checked(Many(0, 64, _DEVICE), given.get("devices", []), "devices")
    if len(set(devices)) != len(devices):
        raise LocalProtocolError.at("devices", devices, "each device once")
    return ServerConfig(
        priors=tuple(priors),
        loras=_files(given, "loras", folder),
        environments=_files(given, "environments", folder),
        devices=devices,
        limits=_limits(_table(given, "limits")),
        quotas=Quotas(**_values(_QUOTA_KINDS, _table(given, "quotas"), "quotas")),
        server=Housekeeping(**_values(_SERVER_KINDS, _table(given, "server"), "server")),
    )


def _prior(name: str, table: Any, folder: Path) -> ServedPrior:
    path = f"priors.{name}"
    if not isinstance(table, dict) or "model" not in table:
        raise LocalProtocolError.at(f"{path}.model", None, "given: a diffusers folder or a hub id")
    values = _values(_PRIOR_KINDS, table, path)
    model = _model_place(f"{path}.model", values.pop("model"), folder)
    controlnet = values.pop("controlnet", None)
    if controlnet is not None:
        controlnet = _model_place(f"{path}.controlnet", controlnet, folder)
    return ServedPrior(Prior(name=name, **values), model, controlnet)


def _model_place(path: str, place: str, folder: Path) -> str:
    """Whatever begins like a path is one; an id such as runwayml/stable-diffusion-v1-5 stays."""
    if not place.startswith((".", "/", "~")) and not (folder / place).is_dir():
        return place
    absolute = (folder / Path(place).expanduser()).absolute()
    if not absolute.is_dir():
        raise LocalProtocolError.at(path, str(absolute), "a folder that is there, or a hub id")
    return str(absolute)


def _files(given: Mapping[str, Any], key: str, folder: Path) -> dict[str, str]:
    found = {}
    for name, place in _named(given, key).items():
        path = (folder / Path(_checked(_PLACE, place, f"{key}.{name}")).expanduser()).absolute()
        if not path.exists():
            raise LocalProtocolError.at(f"{key}.{name}", str(path), "a file or folder that is there")
        found[name] = str(path)
    return found


def _limits(table: dict[str, Any]) -> Limits:
    _refuse_unknown(table, tuple(each.name for each in dataclasses.fields(Limits)), "limits")
    try:
        return Limits(**table)
    except LocalProtocolError as error:
        raise error.below("limits") from None


def _values(kinds: Mapping[str, Kind], table: dict[str, Any], path: str) -> dict[str, Any]:
    _refuse_unknown(table, tuple(kinds), path)
    return {name: _checked(kinds[name], value, f"{path}.{name}") for name, value in table.items()}


def _named(given: Mapping[str, Any], key: str) -> dict[str, Any]:
    table = _table(given, key)
    for name in table:
        if not _NAME.fullmatch(name):
            right = "1 to 64 letters, digits, dots, - or _, beginning with a letter or digit"
            raise LocalProtocolError.at(f"a name in {key}", name, right)
    return table


def _table(given: Mapping[str, Any], key: str) -> dict[str, Any]:
    table = given.get(key, {})
    if not isinstance(table, dict):
        raise LocalProtocolError.at(key, table, f"a table, [{key}]")
    return table


def _refuse_unknown(given: Mapping[str, Any], known: tuple[str, ...], path: str) -> None:
    for name in given:
        if name not in known:
            shown = f"{path}.{name}" if path else name
            raise LocalProtocolError(
                f"{shortened(shown)[1:-1]} is not known; it must be one of {', '.join(known)}", path=shown
            )


def _checked(kind: Kind, value: Any, path: str) -> Any:
    return kind.checked(value, path, {})
