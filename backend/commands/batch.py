"""`sketchbridge batch`: a table of prompts becomes a folder of meshes with a page that shows them.

What is done is kept in the folder: the same command goes on after an interruption, sends nothing twice, and makes only
those rows anew that have changed.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from backend.commands.batch_page import Exhibit, batch_page
from backend.commands.batch_rows import BatchRow, read_rows
from backend.commands.client_output import ClientOutput
from backend.commands.exit_codes import EXIT_DONE, EXIT_JOB_FAILED
from backend.commands.fetch_result import FETCH_SECONDS, FetchWishes, write_result
from backend.commands.server_connection import ServerOptions, answer_of, list_jobs, run_client_command
from backend.commands.submit_job import SUBMIT_SECONDS, submission
from backend.durable_files import write_whole_file
from backend.errors import BadInput, SketchbridgeError
from protocol.client import Client
from protocol.errors import LocalProtocolError, RequestRefused
from protocol.messages import FINAL_STATUSES, Failed, FetchResult, Finished, JobState, SubmitAccepted

RECORD_NAME, PAGE_NAME = "batch.json", "index.html"
POLL_SECONDS = 2.0
_TURNTABLE_PIXELS = 256


@dataclass(frozen=True)
class BatchWishes:
    """What the command line asked for."""

    table: Path
    folder: Path
    variations: int = 1
    has_turntables: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.variations <= 100:
            raise BadInput(f"--variations must be from 1 to 100; got {self.variations}")


class BatchRecord:
    """What became of the rows so far, in the folder, written after every change."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / RECORD_NAME
        self.batch = uuid.uuid4().hex
        """Part of every job's key, so that another folder gets meshes of its own."""
        self.rows: dict[str, dict[str, Any]] = {}
        if self._path.exists():
            try:
                kept = json.loads(self._path.read_text(encoding="utf-8"))
                self.batch, self.rows = str(kept["batch"]), dict(kept["rows"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise BadInput(f"{self._path} is damaged ({error}); move it away to begin anew") from error

    def of(self, row: BatchRow) -> dict[str, Any]:
        """What is known of a row as it is now; empty if it is new or if anything of it or its files has changed."""
        known = self.rows.get(row.name, {})
        return known if known.get("content") == row.content else {}

    def key_of(self, row: BatchRow) -> str:
        """Of its job: the same one until the row changes, or its job has failed."""
        attempt = self.of(row).get("attempt", 0)
        return hashlib.sha256(f"{self.batch} {row.name} {row.content} {attempt}".encode()).hexdigest()[:32]

    def note(self, row: BatchRow, **facts: Any) -> None:
        """Remembers facts of a row."""
        self.rows[row.name] = self.of(row) | {"content": row.content, "prompt": row.command.prompt} | facts
        self.save()

    def note_failure(self, row: BatchRow, reason: str) -> None:
        """The next run of the command tries the row again, with a job of its own."""
        self.note(row, is_made=False, problem=reason, attempt=self.of(row).get("attempt", 0) + 1)

    def save(self) -> None:
        kept = {"batch": self.batch, "rows": self.rows}
        write_whole_file(self._path, (json.dumps(kept, indent=1, ensure_ascii=False) + "\n").encode())


def run_batch_command(options: ServerOptions, wishes: BatchWishes, output: ClientOutput | None = None) -> int:
    """Makes all rows of a table. Returns the exit code: 0 only if every row has its result."""

    def work(client: Client, output: ClientOutput) -> int:
        rows = read_rows(wishes.table, wishes.variations)
        try:
            wishes.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"the folder {wishes.folder} cannot be made: {error.strerror or error}") from error
        return _Batch(client, output, wishes, rows).run()

    return run_client_command(options, work, output)


class _Batch:
    def __init__(self, client: Client, output: ClientOutput, wishes: BatchWishes, rows: list[BatchRow]) -> None:
        self._client, self._output, self._wishes, self._rows = client, output, wishes, rows
        self._record = BatchRecord(wishes.folder)
        self._record.save()

    def run(self) -> int:
        done = [row for row in self._rows if self._is_done(row)]
        left = [row for row in self._rows if not self._is_done(row)]
        self._output.say(
            f"{len(self._rows)} jobs" + (f", of which {len(done)} are done already" if done else "")
            + f"; Ctrl+C leaves the others to the server, and the same command goes on. {self._page}"
        )  # fmt: skip
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._output.console, disable=self._output.as_json) as progress:
            bar = progress.add_task("batch", total=len(self._rows), completed=len(done))
            unsent = list(left)
            while left:
                unsent = self._submit(unsent)
                left, status = self._collect(left, unsent)
                progress.update(bar, completed=len(self._rows) - len(left), description=status)
                if left:
                    # Each hundred jobs are a request; there are limits to these as well.
                    self._client.wait(max(POLL_SECONDS, len(self._rows) / 500))
                    self._client.events()
        self._write_page()
        failed = [row for row in self._rows if not self._is_done(row)]
        self._output.say(
            f"{len(self._rows) - len(failed)} of {len(self._rows)} made"
            + (f"; without a result: {', '.join(row.name for row in failed[:10])}" if failed else "")
        )
        self._output.result(
            str(self._page), event="batch", page=self._page.absolute(), made=len(self._rows) - len(failed),
            failed=[row.name for row in failed],
        )  # fmt: skip
        return EXIT_JOB_FAILED if failed else EXIT_DONE

    @property
    def _page(self) -> Path:
        return self._wishes.folder / PAGE_NAME

    def _file(self, row: BatchRow) -> Path:
        return self._wishes.folder / f"{row.name}{'.png' if row.is_picture else '.glb'}"

    def _is_done(self, row: BatchRow) -> bool:
        return bool(self._record.of(row).get("is_made")) and self._file(row).exists()

    def _submit(self, rows: list[BatchRow]) -> list[BatchRow]:
        """Sends what the server takes. Returns the rest: a client may have a limited number of jobs at a time."""
        for index, row in enumerate(rows):
            try:
                message = submission(row.command, self._record.key_of(row), self._client, self._output)
                accepted: SubmitAccepted = answer_of(self._client, message, self._output, SUBMIT_SECONDS)
            except RequestRefused as refusal:
                if refusal.code == "too-many":
                    return rows[index:]
                self._fail(row, str(refusal))
            except (SketchbridgeError, LocalProtocolError) as error:
                self._fail(row, str(error))
            else:
                self._record.note(row, job=accepted.job, is_made=False, problem=None)
                self._output.object(event="submitted", name=row.name, job=accepted.job)
        return []

    def _collect(self, rows: list[BatchRow], unsent: list[BatchRow]) -> tuple[list[BatchRow], str]:
        """Fetches what has ended. Returns what has not, and how it stands with that in words."""
        states = {state.job: state for state in list_jobs(self._client, self._output)}
        left, counts = [], Counter[str]()
        waiting = {row.name for row in unsent}
        for row in rows:
            known = self._record.of(row)
            if row.name in waiting:
                left.append(row)
                counts["to be sent"] += 1
                continue
            if known.get("problem"):
                continue
            state = states.get(known.get("job", ""))
            if state is None:
                self._fail(row, "the server does not know the job any more; the same command makes it again")
            elif state.status in FINAL_STATUSES:
                self._end(row, state)
            else:
                left.append(row)
                counts[state.status] += 1
        return left, ", ".join(f"{count} {status}" for status, count in counts.items()) or "all ended"

    def _end(self, row: BatchRow, state: JobState) -> None:
        if state.status != "finished":
            self._fail(row, state.sentence or f"the job was {state.status}")
            return
        try:
            answer = answer_of(self._client, FetchResult(job=state.job), self._output, FETCH_SECONDS)
        except RequestRefused as refusal:
            self._fail(row, str(refusal))
            return
        if isinstance(answer, Failed):
            self._fail(row, answer.sentence)
            return
        write_result(answer, state, FetchWishes(self._file(row)))
        self._record.note(row, **self._facts(row, answer), is_made=True)
        self._output.say(f"{self._file(row)}")
        self._output.object(event="made", name=row.name, job=state.job, file=self._file(row).absolute())
        self._write_page()

    def _facts(self, row: BatchRow, answer: Finished) -> dict[str, Any]:
        facts: dict[str, Any] = {"seconds": round(answer.seconds, 1), "problem": None}
        if answer.mesh is None:
            return facts
        facts["faces"] = len(answer.mesh.faces)
        if self._wishes.has_turntables:
            from backend.commands.batch_turntable import show_turning

            facts["scores"] = show_turning(
                self._file(row), self._file(row).with_suffix(".gif"), row.command.prompt or "", _TURNTABLE_PIXELS
            )
        return facts

    def _fail(self, row: BatchRow, reason: str) -> None:
        self._record.note_failure(row, reason)
        self._output.say(f"{row.name}: {reason}")
        self._output.object(event="failed", name=row.name, reason=reason)

    def _write_page(self) -> None:
        exhibits = [Exhibit.of(row, self._record.of(row), self._wishes.folder, self._file(row)) for row in self._rows]
        title = f"{self._wishes.table.stem}, {time.strftime('%Y-%m-%d')}"
        write_whole_file(self._page, batch_page(title, exhibits).encode())
