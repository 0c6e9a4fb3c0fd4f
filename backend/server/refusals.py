"""Why a server says no, and the checks of requests that need no look at the jobs."""

from __future__ import annotations

from collections.abc import Iterable

from backend.server.job_record import JobsConfig
from backend.server.link import safe_sentence
from backend.server.worker_pool import suits
from protocol.geometry import InputMesh
from protocol.messages import RefusalCode, Refused, SubmitJob, UpdateJob
from protocol.settings import Limits
from protocol.sketches import Sketch


class Refusal(Exception):
    """A request that the server does not do."""

    def __init__(self, code: RefusalCode, sentence: str, path: str = "", right: str = "") -> None:
        """
        Args:
            sentence: For people: what is wrong, and what would be right.
            path: Of the field that is wrong, if it is one.
            right: What would be right there.
        """
        super().__init__(sentence)
        self.code, self.path, self.right = code, path, right

    def message(self) -> Refused:
        """As it is sent."""
        return Refused(
            code=self.code, sentence=safe_sentence(str(self)), path=self.path[:200], right=_one_line(self.right, 500)
        )


def check_submit(message: SubmitJob, limits: Limits, config: JobsConfig, devices: Iterable[str]) -> None:
    """Refuses what this server does not have, or not as large.

    Raises:
        Refusal: With the code unknown-name, too-large or bad-message.
    """
    settings = message.settings
    _require_task(message, config)
    _require_name("prior", settings.prior, config.priors)
    _refuse_name("lora", settings.lora, config.loras)
    _refuse_name("environment", settings.environment, config.environments)
    _require_device(settings.device, tuple(devices))
    _require_size("mesh", message.mesh, limits)
    _require_at_most("settings.texture_size", settings.texture_size, limits.texture_size, "pixels a side")
    if settings.faces is not None:
        _require_at_most("settings.faces", settings.faces, limits.faces, "faces")
    _require_at_most("sketches", len(message.sketches), limits.sketches, "sketches")
    _refuse_scribbles(message.sketches, settings.prior, config)


def check_update(message: UpdateJob, limits: Limits, config: JobsConfig) -> None:
    """Refuses what this server does not do, or not as large.

    Raises:
        Refusal: With the code too-large or bad-message.
    """
    _require_size("mesh", message.mesh, limits)
    _require_at_most("add_sketches", len(message.add_sketches), limits.sketches, "sketches")
    for name in ("add_sketches", "remove_sketches", "sketch_weights"):
        if getattr(message, name) and "sketch" not in config.tasks:
            raise Refusal("bad-message", _NO_SKETCHES, name, "left out")


_NO_SKETCHES = "Sketches are not served yet by this server: leave them out."


def _require_task(message: SubmitJob, config: JobsConfig) -> None:
    if message.task not in config.tasks:
        served = ", ".join(config.tasks)
        sentence = f"The task {message.task} is not served yet by this server; it serves {served}."
        raise Refusal("bad-message", sentence, "task", f"one of {served}")
    if message.sketches and "sketch" not in config.tasks:
        raise Refusal("bad-message", _NO_SKETCHES, "sketches", "left out")


def _require_name(kind: str, name: str | None, known: frozenset[str]) -> None:
    if name is None or name in known:
        return
    if not known:
        right, sentence = "left out", f"This server has no {kind} {name}, and no other: leave it out."
    else:
        right = f"one of {', '.join(sorted(known))}"
        sentence = f"This server has no {kind} {name}; it must be {right}."
    raise Refusal("unknown-name", sentence, f"settings.{kind}", right)


def _refuse_name(kind: str, name: str | None, known: frozenset[str]) -> None:
    """Of what is offered by name, and what no task uses yet."""
    if not known:
        _require_name(kind, name, known)
    elif name is not None:
        names = ", ".join(sorted(known))
        if name in known:
            sentence = f"No task of this server uses the {kind} {name} yet: leave it out. It has {names}."
            raise Refusal("bad-message", sentence, f"settings.{kind}", "left out")
        sentence = f"This server has no {kind} {name}, only {names}, and no task uses one yet: leave it out."
        raise Refusal("unknown-name", sentence, f"settings.{kind}", "left out")


def _require_device(wanted: str, devices: tuple[str, ...]) -> None:
    if not any(suits(each, wanted) for each in devices):
        right = " or ".join(["auto", *sorted({each.partition(":")[0] for each in devices})])
        sentence = f"This server has no device {wanted}; it has {', '.join(devices)}. Ask for {right}."
        raise Refusal("unknown-name", sentence, "settings.device", right)


def _require_size(path: str, mesh: InputMesh | None, limits: Limits) -> None:
    if mesh is not None:
        _require_at_most(f"{path}.positions", len(mesh.positions), limits.vertices, "vertices")
        _require_at_most(f"{path}.faces", len(mesh.faces), limits.faces, "faces")


def _refuse_scribbles(sketches: Iterable[Sketch], prior: str, config: JobsConfig) -> None:
    """Before they cost a job. Those of an update are left out by the job, which knows its prior."""
    if prior in config.controlled_priors:
        return
    for index, sketch in enumerate(sketches):
        if sketch.drawn == "scribble":
            sentence = (
                f"The sketch {sketch.name} is a scribble, which steers through a ControlNet, and this server has none "
                f"for the model {prior}; send it as lines, or as an outline if it is closed."
            )
            raise Refusal("bad-message", sentence, f"sketches[{index}].drawn", "lines or outline")


def _require_at_most(path: str, count: int, most: int, what: str) -> None:
    if count > most:
        sentence = f"{path} has {count} {what}; this server takes at most {most}."
        raise Refusal("too-large", sentence, path, f"at most {most} {what}")


def _one_line(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
