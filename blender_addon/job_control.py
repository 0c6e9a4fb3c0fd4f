# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of the server about jobs, and what its answers and news make of them. Does not touch the scene."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from . import history, thumbnails
from .connection import CONNECTION
from .jobs import JOBS, Job, new_key
from .protocol.inbox import ConnectionChanged, Event, WatchRefused
from .protocol.messages import (
    CancelJob,
    DeleteJob,
    Failed,
    FetchResult,
    Finished,
    InputMesh,
    JobList,
    JobState,
    ListJobs,
    MeshSnapshot,
    Message,
    PauseJob,
    Preview,
    Progress,
    ResumeJob,
    SketchChange,
    SubmitAccepted,
    SubmitJob,
    UpdateJob,
)
from .protocol.sketches import Sketch
from .steering import STEERABLE, changes_of

if TYPE_CHECKING:
    import numpy as np

MOST_VIEWS = 4
ELSEWHERE = "This job is at another server than the one that is connected: set that one's address, and press Test"
NEWS_SECONDS = 0.5
"""How old the known step of a running job may be: the server sends Progress every 0.3 s, and then it is on its way."""
LONG_SECONDS = 120.0
"""For requests that carry meshes: over a slow link these take their time."""
FETCH_SECONDS = 1800.0
"""For results with their textures, which are larger."""


def submit(job: Job, request: SubmitJob) -> None:
    """Sends a new job, which becomes the one that the panel shows."""
    job.request = request
    JOBS.add(job)
    JOBS.current_key = job.key
    JOBS.problem = ""
    _submit(job)


def submit_again(job: Job) -> None:
    """Once more, with the same key: if the server has the job already, nothing is done twice."""
    job.status, job.sentence = "submitting", ""
    _submit(job)


def _submit(job: Job) -> None:
    if job.request is None:
        return

    def accepted(answer: SubmitAccepted) -> None:
        job.job, job.queue_position, job.request = answer.job, answer.queue_position, None
        if job.status == "cancelled":  # while it was on its way
            _request(job, "cancel", CancelJob(job=job.job, result="drop"))
            return
        job.status = "queued"
        job.server_id = CONNECTION.server.server_id if CONNECTION.server else ""
        history.save()
        follow(job)
        if job.settings.get("initial_strength", 1.0) != 1.0 and job.task != "texture":
            changes = {"mesh_weight": job.settings["initial_strength"]}
            _update(job, UpdateJob(job=job.job, key=new_key(), **changes))

    def refused(sentence: str, code: str) -> None:
        job.status, job.sentence = "failed", sentence

    CONNECTION.ask(job.request, accepted, refused, LONG_SECONDS)


def follow(job: Job) -> None:
    """Has news of the job come; meshes, unless live updates are off."""
    job.is_followed = True
    CONNECTION.watch(job.job, wants_mesh=not job.is_put_away)


def follow_all() -> None:
    """Again, such as when the rate has changed."""
    for job in JOBS.by_key.values():
        if job.is_followed and job.is_active:
            follow(job)


def pause(job: Job) -> None:
    _request(job, "pause", PauseJob(job=job.job))


def resume(job: Job) -> None:
    _request(job, "resume", ResumeJob(job=job.job))


def cancel(job: Job, result: Literal["keep", "drop"] = "keep") -> None:
    """Ends the job; with `keep`, the mesh as it is becomes its result."""
    if not job.job:
        job.status = "cancelled"
        return
    _request(job, "cancel", CancelJob(job=job.job, result=result))


def steer(job: Job, settings: Any) -> None:
    """Sends what has changed in the panel since the job was sent.

    Raises:
        LocalProtocolError: Nothing has changed, or a value is not allowed.
    """
    update = UpdateJob(job=job.job, key=new_key(), **changes_of(job, settings))
    values = {name: getattr(settings, name) for name in STEERABLE}
    _update(job, update, then=lambda: job.steered.update(values))


def send_edit(job: Job, mesh: InputMesh, local: np.ndarray) -> None:
    """Sends a mesh that the user has edited; the job goes on from it, and only then is the scene written again.

    Args:
        local: Its positions in the object's own coordinates: what differs from them later is another edit.
    """
    job.pending_edit = mesh

    def taken() -> None:
        job.pending_edit, job.has_edit, job.newest = None, False, None
        job.placed.topology, job.placed.written = None, local
        # The step that is being computed does not have the edit yet, and a fast job is some steps further than is
        # known here. A paused job computes none.
        unknown_steps = int(NEWS_SECONDS * job.steps_per_second + 0.5)
        job.stale_until_step = job.step + 1 + unknown_steps if job.status == "running" else -1

    _update(job, UpdateJob(job=job.job, key=new_key(), mesh=mesh), then=taken)


def update_sketches(
    job: Job,
    added: tuple[Sketch, ...],
    removed: tuple[str, ...],
    weights: tuple[SketchChange, ...],
    then: Callable[[], object],
) -> None:
    """Sends what has changed in the sketches.

    Args:
        then: Called when the server has taken it.
    """
    update = UpdateJob(job=job.job, key=new_key(), add_sketches=added, remove_sketches=removed, sketch_weights=weights)
    _update(job, update, then=then)


def _update(job: Job, update: UpdateJob, then: Callable[[], object] = lambda: None) -> None:
    def taken(answer: Message) -> None:
        job.asked = job.sentence = ""
        then()

    def refused(sentence: str, code: str) -> None:
        job.asked, job.pending_edit, job.sentence = "", None, sentence

    if _is_here(job):
        job.asked = "update"
        CONNECTION.ask(update, taken, refused, LONG_SECONDS)


def fetch(job: Job) -> None:
    """Asks for what the job has made; it is shown when it is there."""

    def got(answer: Message) -> None:
        job.asked = ""
        if isinstance(answer, Finished):
            job.finished, job.newest, job.sentence = answer, None, ""
            pictures = sorted(answer.pictures, key=lambda each: each.name != "turntable")
            if pictures:
                thumbnails.keep(job.key, pictures[0].picture)
            JOBS.drop_old_results()
        elif isinstance(answer, Failed):
            _fail(job, answer)

    def refused(sentence: str, code: str) -> None:
        job.asked, job.sentence = "", sentence

    if not _is_here(job):
        return
    job.asked = "fetch"
    CONNECTION.ask(FetchResult(job=job.job, partial=True), got, refused, FETCH_SECONDS)


def delete(job: Job) -> None:
    """Forgets the job here, and has the server delete what it has of it. The scene stays as it is."""
    is_there = job.job and CONNECTION.is_open and _is_of_this_server(job)
    if is_there:
        CONNECTION.unwatch(job.job)
        CONNECTION.ask(DeleteJob(job=job.job), lambda answer: None, lambda sentence, code: None)
    JOBS.remove(job.key)
    thumbnails.forget(job.key)
    history.save()


def _is_of_this_server(job: Job) -> bool:
    return CONNECTION.server is None or job.server_id == CONNECTION.server.server_id


def _is_here(job: Job) -> bool:
    """Whether its server can be asked, which is said in its sentence if not."""
    if CONNECTION.is_open and _is_of_this_server(job):
        return True
    is_elsewhere = CONNECTION.is_open
    job.sentence = ELSEWHERE if is_elsewhere else "There is no connection to the server: press Connect"
    return False


def _request(job: Job, name: str, message: Message) -> None:
    def answered(answer: Message) -> None:
        job.asked = ""

    def refused(sentence: str, code: str) -> None:
        job.asked, job.sentence = "", sentence
        if code == "unknown-job":
            job.status = "deleted"

    if _is_here(job):
        job.asked, job.sentence = name, ""
        CONNECTION.ask(message, answered, refused)


def hear(event: Event) -> None:
    """Takes a piece of news from the server."""
    if isinstance(event, ConnectionChanged):
        if event.state == "connected":
            _ask_about_jobs()
        return
    server = CONNECTION.server
    job = JOBS.of_server(server.server_id, event.job) if server is not None and hasattr(event, "job") else None
    if job is None:
        return
    if isinstance(event, WatchRefused):
        job.sentence = event.sentence
        if event.code == "unknown-job":
            job.status = "deleted"
    elif isinstance(event, JobState):
        _take_state(job, event)
    elif isinstance(event, Progress):
        _take_progress(job, event)
    elif isinstance(event, MeshSnapshot):
        job.step = max(job.step, event.step)
        if job.is_active and job.pending_edit is None and event.step > job.stale_until_step:
            job.newest = event
    elif isinstance(event, Preview):
        _take_preview(job, event)
    elif isinstance(event, Failed):
        _fail(job, event)


def _take_state(job: Job, state: JobState) -> None:
    was_active = job.is_active
    job.status, job.queue_position, job.has_result = state.status, state.queue_position, state.has_result
    job.step, job.total_steps = max(job.step, state.step), state.total_steps or job.total_steps
    job.device = state.device or job.device
    if state.sentence or state.status == "paused":  # that it was about to pause is over then
        job.sentence = state.sentence
    if was_active and not job.is_active:
        job.seconds_left = None
        thumbnails.keep_shown(job.key)  # until the result brings a better picture, if it does
        history.save()
        is_wanted = job.status == "finished" or (job.status == "cancelled" and state.has_result)
        if is_wanted and not job.is_put_away and job.finished is None:
            fetch(job)


def _take_progress(job: Job, progress: Progress) -> None:
    job.step, job.total_steps, job.stage = progress.step, progress.total_steps, progress.stage
    job.steps_per_second, job.seconds_left = progress.steps_per_second, progress.seconds_left
    if progress.notices:
        job.sentence = progress.notices[-1]


def _take_preview(job: Job, preview: Preview) -> None:
    """The first few views have a place each in the panel."""
    is_new = preview.view not in job.views
    place = len(job.views) if is_new else job.views.index(preview.view)
    if place < MOST_VIEWS and thumbnails.show(job.key, place, preview.picture) and is_new:
        job.views.append(preview.view)


def _fail(job: Job, failed: Failed) -> None:
    job.status, job.sentence, job.newest = "failed", f"{failed.sentence} (log {failed.log_id})", None


def _ask_about_jobs(unseen: set[str] | None = None, offset: int = 0) -> None:
    """After each hello: what became of the jobs that are known here, such as those of an earlier session.

    The server names 100 jobs at a time, newest first: it is asked until all that are known here were named.

    Args:
        unseen: The server's ids of those that it has not named yet; None at first, for all of this server.
        offset: How many it has named.
    """
    if unseen is None:
        unseen = {job.job for job in JOBS.by_key.values() if job.job and _is_of_this_server(job)}

    def listed(answer: JobList) -> None:
        states = {state.job: state for state in answer.jobs}
        for job in JOBS.by_key.values():
            state = states.get(job.job)
            if state is not None and _is_of_this_server(job):
                _take_listed(job, state)
        left, named = unseen - states.keys(), offset + len(answer.jobs)
        if left and answer.jobs and named < answer.total:
            _ask_about_jobs(left, named)
            return
        for job in JOBS.by_key.values():
            if job.job in left and job.is_active and _is_of_this_server(job):
                follow(job)  # the refusal says that the server has it no more
        history.save()

    if unseen:
        CONNECTION.ask(ListJobs(offset=offset), listed, lambda sentence, code: None)


def _take_listed(job: Job, state: JobState) -> None:
    was_active = job.is_active
    job.status, job.has_result, job.device = state.status, state.has_result, state.device or job.device
    job.step, job.total_steps = state.step, state.total_steps
    if job.is_active and (job.is_followed or job is JOBS.current):
        follow(job)
    elif was_active and not job.is_active and job.is_followed:  # it ended while there was no connection
        thumbnails.keep_shown(job.key)
        if job.has_result and not job.is_put_away:
            fetch(job)
