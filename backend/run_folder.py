"""The folder of one run: what was asked for, what happened, what came out. Reads only JSON and safetensors.

    settings.json      what the run was started with         checkpoints/   see backend.checkpoint
    versions.json      of the software and the machine       previews/      step-000123.png
    metrics.jsonl      one line per step                     tensorboard/   the same numbers for TensorBoard
    notices.jsonl      what the user was told                log.txt        for people; tracebacks too
    mesh.glb  turntable.gif  contact_sheet.png  report.html  at the end, or picture.png, or what an illusion ends in

Numbers, notices and pictures that cannot be written (a full disk) are reported once and lost; the job goes on.
"""

from __future__ import annotations

import datetime
import io
import json
import logging
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from backend import machine
from backend.checkpoint import (
    Checkpoint,
    newest_checkpoint_step,
    read_newest_checkpoint,
    remove_checkpoints_after,
    remove_partial_checkpoints,
    write_checkpoint,
)
from backend.durable_files import write_whole_file
from backend.errors import BadInput, DamagedRun, OutputNotWritable
from backend.readable import readable_bytes

FORMAT_NAME = "sketchbridge run"
FORMAT_VERSION = 1
DEFAULT_PARENT = Path("runs")
NEEDED_BYTES = 200_000_000  # two checkpoints of about 40 MB at high quality, previews, metrics, mesh and report
_SLUG_LENGTH = 40
_PREVIEW_NAME = re.compile(r"step-(\d{6,})\.png")

_log = logging.getLogger(__name__)


class RunFolder:
    """One run on disk. Made by `create` or `open`; `close` it, or use it as a context manager."""

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path = path
        self._record = record
        self._lock = _FolderLock(path / "lock")
        self._log_handler: _RunLogHandler | None = None
        self._tensorboard: Any = None
        self._metrics_file: Any = None
        self._already_told: set[str] = set()
        self._is_new = False
        self.tell: Callable[[str], None] = lambda _: None
        """Shows a notice to the user; `notice` calls it and keeps the notice as well."""
        self.uses_tensorboard = True

    # ------------------------------------------------------------------ beginning

    @classmethod
    def create(
        cls,
        parent: Path | None,
        *,
        task: str,
        title: str,
        settings: Mapping[str, Any],
        resolved: Mapping[str, Any] | None = None,
        output: Path | None = None,
    ) -> RunFolder:
        """A new folder such as `runs/2026-11-23-a-red-mushroom`, with `-2`, `-3` ... if that is taken.

        Args:
            parent: What it is made in; None is `runs`.
            title: What its name is made from: the prompt.
            settings: What the user chose; given back when the run is resumed.
            resolved: The numbers that followed from it, for the record.
            output: Where the user wants the result; kept, so that resuming needs no option.

        Raises:
            BadInput: `parent` is a file.
            OutputNotWritable: The folder cannot be made, or its disk is nearly full.
        """
        parent = DEFAULT_PARENT if parent is None else parent
        if parent.exists() and not parent.is_dir():
            raise BadInput(f"--run-dir {parent} is a file; give a folder, in which each run gets one of its own")
        _require_space(parent)
        record = _new_record(task, settings, resolved, output)
        with _explained(parent):
            folder = _make_dated_folder(parent, title)
            write_whole_file(folder / "settings.json", record)
        return cls._begun_anew(folder)

    @classmethod
    def create_at(
        cls, path: Path, *, task: str, settings: Mapping[str, Any], resolved: Mapping[str, Any] | None = None
    ) -> RunFolder:
        """A run in exactly this folder, which may be there already, as long as it is no run yet; see `create`.

        Raises:
            OutputNotWritable: The folder cannot be made, or its disk is nearly full.
        """
        _require_space(path)
        with _explained(path):
            path.mkdir(parents=True, exist_ok=True)
            write_whole_file(path / "settings.json", _new_record(task, settings, resolved, None))
        return cls._begun_anew(path)

    @classmethod
    def _begun_anew(cls, folder: Path) -> RunFolder:
        run = cls(folder, _read_record(folder))
        run._begin()
        run._is_new = True
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run, to go on with it.

        Raises:
            DamagedRun: It is no folder, foreign, of another version, damaged, or in use by another process.
        """
        if not path.exists():
            raise DamagedRun(f"there is no folder {path}; the runs of this folder are in {DEFAULT_PARENT}/")
        if not path.is_dir():
            raise DamagedRun(f"{path} is a file; give the folder of the run, such as runs/2026-11-23-a-red-mushroom")
        run = cls(path, _read_record(path))
        run._begin()
        return run

    def _begin(self) -> None:
        self._lock.acquire()
        self._log_handler = _RunLogHandler(self.path / "log.txt")
        logging.getLogger().addHandler(self._log_handler)
        logging.getLogger("backend").setLevel(logging.INFO)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._close_metrics()
        if self._log_handler is not None:
            logging.getLogger().removeHandler(self._log_handler)
            self._log_handler.close()
            self._log_handler = None
        self._lock.release()

    def _close_metrics(self) -> None:
        if self._tensorboard is not None:
            with self._surviving("the TensorBoard events"):
                self._tensorboard.close()
            self._tensorboard = None
        if self._metrics_file is not None:
            with self._surviving("metrics.jsonl"):
                self._metrics_file.close()
            self._metrics_file = None

    @property
    def is_untouched(self) -> bool:
        """True for a new run without any step."""
        return self._is_new and self.checkpoint_step is None and not (self.path / "metrics.jsonl").exists()

    def discard(self) -> None:
        """Removes the whole folder."""
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)

    # ------------------------------------------------------------------ what it was started with

    @property
    def task(self) -> str:
        return str(self._record["task"])

    @property
    def created(self) -> str:
        """ISO 8601 with the time zone."""
        return str(self._record.get("created", ""))

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self._record["settings"])

    @property
    def resolved(self) -> dict[str, Any]:
        return dict(self._record.get("resolved") or {})

    @property
    def output(self) -> Path | None:
        return None if self._record["output"] is None else Path(self._record["output"])

    def write_versions(self, versions: Mapping[str, Any]) -> None:
        """Keeps the versions of the run; a resumed run adds what has changed under `resumed_with`."""
        path = self.path / "versions.json"
        before = _read_json_object(path)
        if before is None:
            record = dict(versions)
        else:
            changed = {
                name: value
                for name, value in versions.items()
                if _plain(value) != before.get(name) and name != "resumed_with"
            }
            if not changed:
                return
            named = ", ".join(f"{name} was {before.get(name)}, is {value}" for name, value in changed.items())
            self.notice(f"this run began with other versions, so its result may differ from an unbroken run: {named}")
            record = {**before, "resumed_with": [*before.get("resumed_with", []), changed]}
        with self._surviving("versions.json"):
            write_whole_file(path, _encode(_to_json(record, indent=2)))

    # ------------------------------------------------------------------ what happens

    def notice(self, text: str, step: int | None = None) -> None:
        """Tells the user something, once, and keeps it."""
        self.tell(text)
        _log.info("notice: %s", text)
        entry = {"time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"), "step": step, "text": text}
        with self._surviving("notices.jsonl"), (self.path / "notices.jsonl").open("ab") as file:
            file.write(_encode(_to_json(entry) + "\n"))

    def add_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Appends the numbers of one step, which has `step` in it. Numbers that are not finite become null."""
        with self._surviving("metrics.jsonl"):
            if self._metrics_file is None:
                self._metrics_file = (self.path / "metrics.jsonl").open("ab")
            # Each line reaches the system at once: a killed process loses none, and others can read along.
            self._metrics_file.write(_encode(_to_json(metrics) + "\n"))
            self._metrics_file.flush()
        with self._surviving("the TensorBoard events"):
            writer = self._tensorboard_writer(metrics["step"])
            if writer is not None:
                for name, value in _flat_numbers(metrics):
                    writer.add_scalar(name, value, metrics["step"])

    def add_preview(self, views: UInt8[np.ndarray, "views height width 3"], step: int) -> Path | None:
        """Writes the views side by side; None if that was not possible."""
        strip = np.concatenate(list(views), axis=1)
        path = self.path / "previews" / f"step-{step:06d}.png"
        with self._surviving("previews"):
            path.parent.mkdir(exist_ok=True)
            picture = io.BytesIO()
            Image.fromarray(strip).save(picture, "PNG")
            write_whole_file(path, picture.getvalue())
            if self._tensorboard is not None:
                self._tensorboard.add_image("preview", strip, step, dataformats="HWC")
            return path
        return None

    def metrics(self) -> list[dict[str, Any]]:
        """All lines of metrics.jsonl. A line torn by a full disk or a killed process is left out."""
        return _read_json_lines(self.path / "metrics.jsonl")

    def notices(self) -> list[dict[str, Any]]:
        return _read_json_lines(self.path / "notices.jsonl")

    def versions(self) -> dict[str, Any]:
        return _read_json_object(self.path / "versions.json") or {}

    def previews(self) -> list[tuple[int, Path]]:
        """Step and file of each preview, in order."""
        folder = self.path / "previews"
        if not folder.is_dir():
            return []
        matches = ((_PREVIEW_NAME.fullmatch(path.name), path) for path in folder.iterdir())
        return sorted((int(match[1]), path) for match, path in matches if match)

    # ------------------------------------------------------------------ checkpoints

    def save_checkpoint(self, checkpoint: Checkpoint) -> bool:
        """Writes a checkpoint. False, with a notice, if that was not possible; the caller tries again later."""
        started = time.perf_counter()
        try:
            write_checkpoint(self.path / "checkpoints", checkpoint)
        except OSError as error:
            kept = newest_checkpoint_step(self.path / "checkpoints")
            standing = "there is none yet" if kept is None else f"the last one is of step {kept}"
            self.notice(
                f"the checkpoint of step {checkpoint.step} could not be written ({error.strerror or error}); "
                f"{standing}. Free some space on the disk of {self.path}: the next try follows",
                checkpoint.step,
            )
            return False
        _log.info("checkpoint of step %d in %.2f s", checkpoint.step, time.perf_counter() - started)
        return True

    @property
    def checkpoint_step(self) -> int | None:
        """The step of the newest checkpoint, None where there is none."""
        return newest_checkpoint_step(self.path / "checkpoints")

    def rewind(self) -> Checkpoint:
        """The newest whole checkpoint, after removing what was recorded since, so that no step stands twice.

        Raises:
            DamagedRun: There is no checkpoint to go on from.
        """
        self._close_metrics()  # its file is about to be replaced
        folder = self.path / "checkpoints"
        checkpoint = read_newest_checkpoint(folder, self.notice)
        remove_partial_checkpoints(folder)
        self._forget_after(checkpoint.step)
        return checkpoint

    def start_over(self) -> None:
        """Goes back to before the first step: removes all checkpoints, and what was recorded."""
        self._close_metrics()
        remove_partial_checkpoints(self.path / "checkpoints")
        self._forget_after(0)

    def _forget_after(self, step: int) -> None:
        """Removes what was recorded since a step."""
        remove_checkpoints_after(self.path / "checkpoints", step)
        for name in ("metrics.jsonl", "notices.jsonl"):
            path = self.path / name
            kept = [entry for entry in _read_json_lines(path) if (entry.get("step") or 0) <= step]
            if path.exists():
                # Even if no step is too many: a torn last line would swallow the next one.
                write_whole_file(path, _encode("".join(_to_json(entry) + "\n" for entry in kept)))
        for drawn_at, path in self.previews():
            if drawn_at > step:
                path.unlink(missing_ok=True)

    # ------------------------------------------------------------------ inside

    @contextmanager
    def _surviving(self, what: str) -> Iterator[None]:
        """Lets the job outlive a record that cannot be written; the user hears of each kind of record once."""
        try:
            yield
        except OSError as error:
            if what not in self._already_told:
                self._already_told.add(what)
                self.notice(f"{what} of {self.path} cannot be written ({error.strerror or error}); the job goes on")

    def _tensorboard_writer(self, first_step: int) -> Any:
        """A SummaryWriter, made when the first numbers come; None where TensorBoard is not installed."""
        if self._tensorboard is None and self.uses_tensorboard and "TensorBoard" not in self._already_told:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                self._already_told.add("TensorBoard")
                self.notice("TensorBoard is not installed (pip install tensorboard): metrics go to metrics.jsonl alone")
                return None
            # purge_step hides what a broken-off course of this run had recorded from this step on.
            self._tensorboard = SummaryWriter(str(self.path / "tensorboard"), purge_step=first_step)
        return self._tensorboard


class _FolderLock:
    """Keeps two processes from writing one run. The system lets go of it when the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None

    def acquire(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows: without it, as the files there are locked while they are written
            return
        try:
            self._file = self._path.open("w")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            self._file = None
            raise DamagedRun(f"{self._path.parent} is in use by another sketchbridge; stop that one first") from error
        except OSError as error:
            raise DamagedRun(f"{self._path.parent} cannot be written ({error.strerror or error})") from error

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _RunLogHandler(logging.FileHandler):
    """log.txt: our own messages, and the warnings of everybody else. Silent when the disk is full."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self.addFilter(lambda record: record.name.startswith("backend") or record.levelno >= logging.WARNING)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        """logging would print a traceback per message here; the run has its own notice for a full disk."""


def _new_record(
    task: str, settings: Mapping[str, Any], resolved: Mapping[str, Any] | None, output: Path | None
) -> bytes:
    """The content of settings.json."""
    record = {
        "format": FORMAT_NAME,
        "format_version": FORMAT_VERSION,
        "task": task,
        "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "output": None if output is None else str(output.absolute()),
        "settings": dict(settings),
        "resolved": dict(resolved or {}),
    }
    return _encode(_to_json(record, indent=2))


@contextmanager
def _explained(place: Path) -> Iterator[None]:
    """What the system says against a new run folder as an OutputNotWritable."""
    try:
        yield
    except OSError as error:
        raise OutputNotWritable(
            f"no run folder can be made in {place} ({error.strerror or error}); choose another place with --run-dir"
        ) from error


def slug_of(title: str) -> str:
    """`A red mushroom!` -> `a-red-mushroom`; letters of every script stay; at most 40 characters, cut between words."""
    words = re.findall(r"\w+", title.lower())
    slug = ""
    for word in words:
        longer = f"{slug}-{word}" if slug else word[:_SLUG_LENGTH]
        if len(longer) > _SLUG_LENGTH:
            break
        slug = longer
    return slug or "mesh"


def _make_dated_folder(parent: Path, title: str) -> Path:
    name = f"{datetime.date.today().isoformat()}-{slug_of(title)}"
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def _require_space(path: Path) -> None:
    free = machine.free_bytes(path)
    if free < NEEDED_BYTES:
        raise OutputNotWritable(
            f"only {readable_bytes(free)} are free on the disk of {path.absolute()}, a run needs about "
            f"{readable_bytes(NEEDED_BYTES)}; free some space or choose another disk with --run-dir"
        )


def _read_record(path: Path) -> dict[str, Any]:
    settings_path = path / "settings.json"
    if not settings_path.is_file():
        raise DamagedRun(f"{path} is no run of sketchbridge: it has no settings.json")
    try:
        record = json.loads(settings_path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedRun(f"{settings_path} cannot be read ({error})") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT_NAME:
        raise DamagedRun(f"{path} is no run of sketchbridge: its settings.json is of something else")
    version = record.get("format_version")
    if version != FORMAT_VERSION:
        raise DamagedRun(
            f"{path} is a run of format version {version!r}, this sketchbridge reads version {FORMAT_VERSION}; "
            "resume it with the version that made it (see versions.json)"
        )
    for field, kinds in (("task", str), ("settings", dict), ("output", (str, type(None)))):
        if field not in record or not isinstance(record[field], kinds):
            raise DamagedRun(f"{settings_path} is damaged: its field {field!r} is missing or not what it should be")
    return record


def _read_json_object(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _read_json_lines(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    entries = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            entries.append(entry)
    return entries


def _flat_numbers(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """`{"losses": {"sds": 1.0}}` -> `("losses/sds", 1.0)`; what is no number is left out."""
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _flat_numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "step":
            yield prefix + name, float(value)


def _plain(value: Any) -> Any:
    """A value as JSON would give it back, with null for numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(_plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _encode(text: str) -> bytes:
    # Bytes of a file name or prompt that are no UTF-8 arrive as lone surrogates. Written as \udcXX they are valid JSON.
    return text.encode("utf-8", "backslashreplace")
