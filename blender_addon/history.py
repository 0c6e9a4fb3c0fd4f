# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs of earlier sessions: a JSON file in the user's folder, beside the thumbnails. Never in a .blend file."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import bpy

from .jobs import JOBS, STATUS_TITLES, Frame, Job

MOST_JOBS = 200
_SAVED = ("key", "task", "prompt", "settings", "server_id", "job", "status", "submitted_at")
_KEY = re.compile("[0-9a-f]{32}")


def user_folder() -> Path:
    """Where this extension may write, made if need be: not where it is installed, which updates replace."""
    if __package__.startswith("bl_ext."):
        return Path(bpy.utils.extension_path_user(__package__, create=True))
    return Path(bpy.utils.user_resource("CONFIG", path="sketchbridge", create=True))


def is_key(text: object) -> bool:
    """Whether it is a key made by `jobs.new_key`, and so may name a file."""
    return isinstance(text, str) and _KEY.fullmatch(text) is not None


def save() -> None:
    """Writes the newest jobs that a server has accepted. A full or read-only disk costs the history, nothing else."""
    entries = [_entry_of(job) for job in JOBS.newest_first if job.job][:MOST_JOBS]
    try:
        path = user_folder() / "history.json"
        half = path.with_suffix(".tmp")
        half.write_text(json.dumps({"version": 1, "jobs": entries}, indent=1), encoding="utf-8")
        os.replace(half, path)
    except OSError as error:
        JOBS.problem = f"The history of jobs cannot be saved: {error}"


def _entry_of(job: Job) -> dict[str, Any]:
    entry = {name: getattr(job, name) for name in _SAVED}
    return entry | {"frame": list(job.placed.frame.rows)}


def load() -> None:
    """Adds the saved jobs to those of this session. What cannot be read is left out."""
    path = user_folder() / "history.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["jobs"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        JOBS.problem = f"The history of jobs cannot be read, and begins anew: {error}"
        return
    for entry in entries if isinstance(entries, list) else []:
        job = _job_of(entry)
        if job is not None and job.key not in JOBS.by_key:
            JOBS.add(job)


def _job_of(entry: Any) -> Job | None:
    try:
        given = {name: entry[name] for name in _SAVED}
        frame = Frame(tuple(float(number) for number in entry["frame"]))
        texts = [given[name] for name in ("task", "prompt", "server_id", "job", "status")]
        is_right = is_key(given["key"]) and all(isinstance(text, str) for text in texts) and len(frame.rows) == 12
        if not is_right or given["status"] not in STATUS_TITLES or not isinstance(given["settings"], dict):
            return None
        job = Job(**given | {"submitted_at": float(given["submitted_at"])})
    except (KeyError, TypeError, ValueError):
        return None
    job.placed.frame = frame
    return job
