"""The jobs of a server on disk: one SQLite file, and a folder for each job. What is in here survives the server.

    STATE/jobs.sqlite
    STATE/jobs/JOB/submit.message           the SubmitJob
                   updates/000001.message   each UpdateJob accepted
                   run/                     of the worker: checkpoints and records
                   result.message           Finished, written by the worker

Every call that changes something returns when it is on the disk, or raises and has changed nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

from backend.durable_files import sync_folder
from backend.errors import UnusableState
from backend.server.executors import WorkerProcess
from backend.server.job_record import JobRecord
from backend.server.state_folder import DATABASE

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x53426A62  # "SBjb": tells our database from others
_SCHEMA = """
CREATE TABLE jobs ({columns}, PRIMARY KEY (job), UNIQUE (owner, key));
CREATE TABLE updates (job TEXT NOT NULL, key TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (job, key));
CREATE TABLE turns (owner TEXT PRIMARY KEY, turn INTEGER NOT NULL);
CREATE TABLE workers (worker_id TEXT PRIMARY KEY, device TEXT NOT NULL, pid INTEGER NOT NULL, start_mark TEXT NOT NULL);
CREATE TABLE numbers (name TEXT PRIMARY KEY, value REAL NOT NULL);
"""
_FIELDS = tuple(each.name for each in dataclasses.fields(JobRecord))
_INSERT = f"INSERT INTO jobs ({', '.join(_FIELDS)}) VALUES ({', '.join('?' * len(_FIELDS))})"
_UPDATE = f"UPDATE jobs SET {', '.join(f'{name} = ?' for name in _FIELDS)} WHERE job = ?"


class JobStore:
    """The state folder of one server, used by one thread. Use it as a context manager, or `close` it."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: Made if it is not there, for this user alone.

        Raises:
            UnusableState: It cannot be written, is in use by another server, damaged, or of another version.
        """
        self.folder = folder
        self.jobs_folder = folder / "jobs"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.jobs_folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise UnusableState(f"the state folder {folder} cannot be made ({error.strerror or error})") from error
        # isolation_level None: transactions are begun here, where they are seen.
        self._database = sqlite3.connect(folder / DATABASE, timeout=0.0, isolation_level=None)
        try:
            self._open()
        except sqlite3.Error as error:
            self._database.close()
            raise _unusable(folder, error) from error
        except UnusableState:
            self._database.close()
            raise

    def _open(self) -> None:
        self._database.execute("PRAGMA locking_mode = EXCLUSIVE")  # let go by the system, however the server ends
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        with self._transaction():
            application = self._database.execute("PRAGMA application_id").fetchone()[0]
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            is_new = not self._database.execute("SELECT 1 FROM sqlite_master").fetchone()
            if is_new:
                self._make_tables()
            elif application != _APPLICATION_ID:
                raise UnusableState(f"{self.folder / DATABASE} is the database of something else")
            elif version != SCHEMA_VERSION:
                raise UnusableState(
                    f"{self.folder} has jobs of schema version {version}, this server reads version {SCHEMA_VERSION}; "
                    "start the version of Sketchbridge that made it, or choose another folder with --state"
                )
        damage = self._database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise sqlite3.DatabaseError(damage)

    def _make_tables(self) -> None:
        hints = get_type_hints(JobRecord)
        columns = ", ".join(f"{name} {_column_type(hints[name])}" for name in _FIELDS)
        for statement in _SCHEMA.format(columns=columns).split(";"):
            self._database.execute(statement)
        self._database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        self._database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def __enter__(self) -> JobStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    # --- jobs

    def jobs(self) -> list[JobRecord]:
        """All, in the order in which they came."""
        rows = self._database.execute(f"SELECT {', '.join(_FIELDS)} FROM jobs ORDER BY number")
        return [JobRecord(**_from_row(row)) for row in rows]

    def add(self, record: JobRecord) -> None:
        """Adds a job.

        Raises:
            sqlite3.IntegrityError: There is one with this id, or with this owner and key.
            sqlite3.Error: The disk is full or cannot be written.
        """
        with self._transaction():
            self._database.execute(_INSERT, _to_row(record))

    def save(self, records: Iterable[JobRecord]) -> None:
        """Puts these in the place of what was known of the same jobs, all or none.

        Raises:
            sqlite3.Error: The disk is full or cannot be written.
        """
        with self._transaction():
            for record in records:
                self._database.execute(_UPDATE, (*_to_row(record), record.job))

    def forget(self, jobs: Iterable[str]) -> None:
        """Removes all that the database has of these jobs; not their folders."""
        with self._transaction():
            for job in jobs:
                self._database.execute("DELETE FROM updates WHERE job = ?", (job,))
                self._database.execute("DELETE FROM jobs WHERE job = ?", (job,))

    # --- updates

    def add_update(self, record: JobRecord, key: str) -> None:
        """Saves a job with its last update's key.

        Args:
            record: With the update counted in `updates`, which becomes its number.

        Raises:
            sqlite3.Error: The key is known, or the disk is full or cannot be written.
        """
        with self._transaction():
            self._database.execute("INSERT INTO updates VALUES (?, ?, ?)", (record.job, key, record.updates))
            self._database.execute(_UPDATE, (*_to_row(record), record.job))

    def has_update(self, job: str, key: str) -> bool:
        found = self._database.execute("SELECT 1 FROM updates WHERE job = ? AND key = ?", (job, key))
        return found.fetchone() is not None

    # --- turns, workers, numbers

    def turns(self) -> dict[str, int]:
        """Of each owner, the number of the turn in which a job of theirs was begun last."""
        return dict(self._database.execute("SELECT owner, turn FROM turns"))

    def begin(self, record: JobRecord, turn: int) -> None:
        """Saves a job that is given to a worker, and that it was its owner's turn."""
        with self._transaction():
            self._database.execute(_UPDATE, (*_to_row(record), record.job))
            self._database.execute("INSERT OR REPLACE INTO turns VALUES (?, ?)", (record.owner, turn))

    def workers(self) -> list[WorkerProcess]:
        """Those that were not known to have ended."""
        rows = self._database.execute("SELECT worker_id, device, pid, start_mark FROM workers")
        return [WorkerProcess(*row) for row in rows]

    def keep_worker(self, worker: WorkerProcess) -> None:
        with self._transaction():
            self._database.execute("INSERT OR REPLACE INTO workers VALUES (?, ?, ?, ?)", dataclasses.astuple(worker))

    def forget_worker(self, worker_id: str) -> None:
        with self._transaction():
            self._database.execute("DELETE FROM workers WHERE worker_id = ?", (worker_id,))

    def number(self, name: str) -> float:
        """A number kept under a name; 0 if there is none."""
        row = self._database.execute("SELECT value FROM numbers WHERE name = ?", (name,)).fetchone()
        return 0.0 if row is None else float(row[0])

    def keep_number(self, name: str, value: float) -> None:
        with self._transaction():
            self._database.execute("INSERT OR REPLACE INTO numbers VALUES (?, ?)", (name, value))

    # --- folders

    def job_folder(self, job: str) -> Path:
        return self.jobs_folder / job

    def submit_file(self, job: str) -> Path:
        return self.job_folder(job) / "submit.message"

    def update_file(self, job: str, number: int) -> Path:
        return self.job_folder(job) / "updates" / f"{number:06d}.message"

    def result_file(self, job: str) -> Path:
        return self.job_folder(job) / "result.message"

    def make_job_folder(self, job: str) -> None:
        """Makes an empty one.

        Raises:
            FileExistsError: There is one.
            OSError: The disk is full or cannot be written.
        """
        folder = self.job_folder(job)
        folder.mkdir(mode=0o700)
        (folder / "updates").mkdir(mode=0o700)
        sync_folder(folder)
        sync_folder(self.jobs_folder)

    def remove_job_folder(self, job: str) -> None:
        """Removes it with all that is in it, as far as that is possible."""
        shutil.rmtree(self.job_folder(job), ignore_errors=True)

    def put_aside(self, job: str) -> Path:
        """Moves the folder of a job that the database does not know to where no job uses it.

        Raises:
            OSError: It cannot be moved.
        """
        aside = self.folder / "unknown-jobs"
        aside.mkdir(mode=0o700, exist_ok=True)
        return self.job_folder(job).rename(aside / job)

    def drop_run(self, job: str) -> None:
        """Removes what a worker has made of the job, but for its result."""
        shutil.rmtree(self.job_folder(job) / "run", ignore_errors=True)

    def drop_checkpoints(self, job: str) -> None:
        """Removes what is needed only to go on with a job."""
        shutil.rmtree(self.job_folder(job) / "run" / "checkpoints", ignore_errors=True)

    def has_checkpoint(self, job: str) -> bool:
        """Whether a worker has kept any state of the job. Which one can be used, the worker says."""
        folder = self.job_folder(job) / "run" / "checkpoints"
        return folder.is_dir() and any(not each.name.endswith(".partial") for each in folder.glob("step-*"))

    def folder_bytes(self, job: str) -> int:
        """What all files of the job take, in bytes; those that vanish meanwhile count nothing."""
        total = 0
        for path in self.job_folder(job).rglob("*"):
            with contextlib.suppress(OSError):
                found = path.lstat()
                total += found.st_size if stat.S_ISREG(found.st_mode) else 0
        return total

    def job_folders(self) -> set[str]:
        """The names of the folders there are."""
        return {each.name for each in self.jobs_folder.iterdir()}

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:  # SQLite itself may have ended it, such as on a full disk
                self._database.execute("ROLLBACK")
            raise


def _unusable(folder: Path, error: sqlite3.Error) -> UnusableState:
    path = folder / DATABASE
    if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return UnusableState(f"{folder} is in use by another server; stop that one, or choose another with --state")
    if isinstance(error, sqlite3.OperationalError):
        return UnusableState(f"{path} cannot be used ({error}); is its disk full, or may it not be written?")
    return UnusableState(
        f"{path} is damaged ({error}); put a copy in its place, or move it away: the server then starts without jobs "
        "and moves what they have made to unknown-jobs"
    )


def _column_type(hint: Any) -> str:
    options = [each for each in get_args(hint) if each is not type(None)]
    nullable = type(None) in get_args(hint)
    name = {int: "INTEGER", bool: "INTEGER", float: "REAL"}.get(hint if not options else type(None), "TEXT")
    return name if nullable else f"{name} NOT NULL"


def _to_row(record: JobRecord) -> tuple[Any, ...]:
    return tuple(getattr(record, name) for name in _FIELDS)


def _from_row(row: tuple[Any, ...]) -> dict[str, Any]:
    values = dict(zip(_FIELDS, row, strict=True))
    return values | {name: bool(values[name]) for name in ("is_first", "has_result")}
