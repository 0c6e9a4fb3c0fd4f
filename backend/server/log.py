"""The server's log: one JSON object per line. What a client does wrong is told once per period, with how often it was.

Writing never raises and never blocks for long: a full disk must not stop the server. Nothing secret is ever passed in.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

REFUSAL_PERIOD_SECONDS = 60.0
MOST_REASONS_OF_ONE = 20
"""Of one client in a period; further ones are counted under "others"."""
MOST_REMEMBERED = 2000
"""Clients and reasons of which it is known when they were told last."""
MOST_LOG_BYTES = 16 * 2**20
OLDER_LOGS = 2
_LINE_SEPARATORS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}
"""JSON leaves them as they are, but much that reads lines ends one there."""
_INDEX = re.compile(r"\[[^\]]*\]")


@dataclass
class _Told:
    """When something was written last, and how often it came since."""

    at: float
    repeated: int = 0


class ServerLog:
    """Lines of JSON in a file that is begun anew when it is long, and on a stream for whoever looks on. Thread-safe."""

    def __init__(
        self,
        path: Path | None = None,
        stream: TextIO | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        most_bytes: int = MOST_LOG_BYTES,
    ) -> None:
        """
        Args:
            path: The file; its older ones get .1 and .2. Only this user may read it.
            stream: Such as stderr.
            most_bytes: From this size on the file is begun anew.
        """
        self._path, self._stream, self._clock, self._most_bytes = path, stream, clock, most_bytes
        self._lock = threading.Lock()
        self._file: TextIO | None = None
        self._told: OrderedDict[tuple[str, str], _Told] = OrderedDict()

    def write(self, event: str, /, level: str = "info", **fields: Any) -> None:
        """Adds a line with the time (UTC), the level, the event, and these fields. A field `event` becomes `about`."""
        moment = time.time()
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1000):03d}Z"
        if "event" in fields:
            fields["about"] = fields.pop("event")
        line = json.dumps(
            {"at": at, "level": level, "event": event, **fields}, ensure_ascii=False, default=str
        ).translate(_LINE_SEPARATORS)
        with self._lock:
            if self._stream is not None:
                _write_line(self._stream, line)
            if self._path is not None:
                self._write_to_file(self._path, line)

    def refusal(self, who: str, reason: str, **fields: Any) -> None:
        """Adds a line about something that was refused, if this client was not refused for this reason lately.

        Args:
            who: The client's owner, or its address if nothing else is known of it.
            reason: A code, perhaps with the path of a field; its indices do not count.
        """
        reason = _INDEX.sub("[]", reason)[:120]
        with self._lock:
            reason, repeated = self._count_refusal(who, reason)
        if repeated is not None:
            more = {"repeated": repeated} if repeated else {}
            self.write("refused", "warning", client=who, reason=reason, **more, **fields)

    def close(self) -> None:
        """Lets go of the file. May be called twice."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _count_refusal(self, who: str, reason: str) -> tuple[str, int | None]:
        """As what it is to be told, and how often it came since; None if it is not to be told now."""
        now = self._clock()
        known = self._told.get((who, reason))
        if known is None or now - known.at >= REFUSAL_PERIOD_SECONDS:
            lately = [
                key for key, told in self._told.items() if key[0] == who and now - told.at < REFUSAL_PERIOD_SECONDS
            ]
            if len(lately) >= MOST_REASONS_OF_ONE:
                reason = "others"
                known = self._told.get((who, reason))
        if known is not None and now - known.at < REFUSAL_PERIOD_SECONDS:
            known.repeated += 1
            return reason, None
        self._told[who, reason] = _Told(now)
        self._told.move_to_end((who, reason))
        if len(self._told) > MOST_REMEMBERED:
            self._told.popitem(last=False)
        return reason, known.repeated if known is not None else 0

    def _write_to_file(self, path: Path, line: str) -> None:
        try:
            if self._file is None:
                self._file = open(path, "a", encoding="utf-8", errors="backslashreplace", opener=_private)  # noqa: SIM115  (kept open)
            self._file.write(line + "\n")
            self._file.flush()
            if self._file.tell() >= self._most_bytes:
                self._file.close()
                self._file = None
                for number in range(OLDER_LOGS, 0, -1):
                    older = path if number == 1 else path.with_name(f"{path.name}.{number - 1}")
                    if older.exists():
                        older.replace(path.with_name(f"{path.name}.{number}"))
        except OSError:
            self._file = None  # the next line tries again


class LogHandler(logging.Handler):
    """Brings what Python's logging gets from our modules into the server's log."""

    def __init__(self, log: ServerLog) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"module": record.name, "message": record.getMessage()}
        if record.exc_info:
            fields["traceback"] = logging.Formatter().formatException(record.exc_info)
        self._log.write("message", record.levelname.lower(), **fields)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _write_line(stream: TextIO, line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody looks on any more
        stream.write(line + "\n")
        stream.flush()
