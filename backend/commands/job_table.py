"""`sketchbridge jobs` and `sketchbridge status`: what a server has and does."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from typing import Any, get_args

from rich.markup import escape
from rich.table import Table

from backend.commands.client_output import ClientOutput
from backend.commands.exit_codes import EXIT_DONE
from backend.commands.server_connection import ServerOptions, answer_of, list_jobs, run_client_command, server_of
from backend.readable import readable_bytes, readable_pace, readable_seconds
from protocol.client import Client
from protocol.messages import JobState, ListJobs, Progress, ServerHello, Status

SECONDS_TO_LISTEN = 2.0
"""How long `status` waits for the progress of running jobs, which is told a few times a second or once a step."""


def run_jobs_command(options: ServerOptions, output: ClientOutput | None = None) -> int:
    """Lists the client's jobs, newest first. Returns the exit code."""

    def work(client: Client, output: ClientOutput) -> int:
        jobs = list_jobs(client, output)
        if output.as_json:
            for job in jobs:
                output.object(**dataclasses.asdict(job))
        elif jobs:
            output.result(_table(jobs, time.time()))
        else:
            output.say('no jobs yet; submit one: sketchbridge submit text "a red mushroom"')
        return EXIT_DONE

    return run_client_command(options, work, output)


def run_status_command(options: ServerOptions, output: ClientOutput | None = None) -> int:
    """Shows the server, the jobs by state, and how fast the running ones are. Returns the exit code."""

    def work(client: Client, output: ClientOutput) -> int:
        server = server_of(client)
        began = time.monotonic()
        answer_of(client, ListJobs(most=1), output)
        round_trip = time.monotonic() - began
        jobs = list_jobs(client, output)
        progress = _listen_to(client, [job.job for job in jobs if job.status == "running"])
        counts: Counter[str] = Counter(job.status for job in jobs)
        connection = {
            "address": options.address,
            "encrypted": options.key_file is not None,
            "round_trip_seconds": round(round_trip, 6),
        }
        output.result(
            _status_table(server, counts, jobs, progress, connection),
            server=dataclasses.asdict(server),
            jobs={status: counts[status] for status in get_args(Status) if counts[status]},
            running=[
                {"job": each.job, "step": each.step, "total_steps": each.total_steps, "stage": each.stage,
                 "steps_per_second": each.steps_per_second, "seconds_left": each.seconds_left,
                 "memory_bytes": each.memory_bytes}
                for each in progress.values()
            ],
            connection=connection,
        )  # fmt: skip
        return EXIT_DONE

    return run_client_command(options, work, output)


def _listen_to(client: Client, jobs: list[str]) -> dict[str, Progress]:
    """The newest progress of each of these jobs, of those that tell it in time."""
    most = server_of(client).limits.watches
    watched = jobs[:most]
    for job in watched:
        client.watch(job, ("progress",))
    heard: dict[str, Progress] = {}
    until = time.monotonic() + SECONDS_TO_LISTEN
    while len(heard) < len(watched) and (left := until - time.monotonic()) > 0:
        client.wait(left)
        heard |= {each.job: each for each in client.events() if isinstance(each, Progress)}
    return heard


def _table(jobs: list[JobState], now: float) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("job", "status", "task", "step", "age", "prompt"):
        table.add_column(name, no_wrap=name != "prompt", justify="right" if name in ("step", "age") else "left")
    for job in jobs:
        step = f"{job.step}/{job.total_steps}" if job.total_steps else ""
        age = readable_seconds(now - job.submitted_at) if job.submitted_at else ""
        table.add_row(job.job, _coloured_status(job), job.task, step, age, escape(job.title))
    return table


def _coloured_status(job: JobState) -> str:
    colours = {"running": "cyan", "finishing": "cyan", "finished": "green", "failed": "red", "paused": "yellow"}
    text = f"queued ({job.queue_position} before)" if job.status == "queued" and job.queue_position else job.status
    colour = colours.get(job.status)
    return f"[{colour}]{text}[/{colour}]" if colour else text


def _status_table(
    server: ServerHello,
    counts: Counter[str],
    jobs: list[JobState],
    progress: dict[str, Progress],
    connection: dict[str, Any],
) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    memory = f", {readable_bytes(server.device_memory_bytes)}" if server.device_memory_bytes else ""
    used = sum(each.memory_bytes for each in progress.values())
    in_use = f", {readable_bytes(used)} in use by running jobs" if used else ""
    kind = "encrypted" if connection["encrypted"] else "no keys"
    milliseconds = connection["round_trip_seconds"] * 1000
    table.add_row("server", f"{escape(connection['address'])}, Sketchbridge {escape(server.software_version)}")
    table.add_row("connection", f"{kind}, {milliseconds:.1f} ms there and back")
    if server.clients:  # an older server does not say
        others = "this one alone" if server.clients == 1 else f"{server.clients} connected, this one included"
        table.add_row("clients", others)
    table.add_row("device", escape(f"{server.device}{memory}{in_use}"))
    table.add_row("tasks", ", ".join(server.tasks))
    table.add_row("priors", escape(", ".join(each.name for each in server.priors)) or "none")
    for name, served in (("LoRAs", server.loras), ("lights", server.environments)):
        if served:
            table.add_row(name, escape(", ".join(served)))
    shown = [f"{counts[status]} {status}" for status in get_args(Status) if counts[status]]
    table.add_row("jobs", ", ".join(shown) or "none")
    for job in jobs:
        if job.status == "running":
            table.add_row("running", _running_line(job, progress.get(job.job)))
    return table


def _running_line(job: JobState, progress: Progress | None) -> str:
    if progress is None:
        return f"{job.job}  {job.step}/{job.total_steps}"
    left = "" if progress.seconds_left is None else f", {readable_seconds(progress.seconds_left)} left"
    pace = readable_pace(progress.steps_per_second)
    return f"{job.job}  {escape(progress.stage)} {progress.step}/{progress.total_steps}, {pace}{left}"
