"""The process that does the work, one job at a time: `python -m backend.server.worker --link ADDRESS --name ID`.

Started by the server, which may kill it at any moment. It keeps the last prior between jobs.
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

import torch

from backend.commands.stop_signals import StopSignals
from backend.diffusion.diffusers_prior import load_prior
from backend.diffusion.prior import DiffusionPrior
from backend.server.job_runner import JobRun, RunOrder
from backend.server.worker_config import WorkerConfig, read_worker_config
from backend.server.worker_link import WorkerLink
from backend.tasks.setting_up import use_few_threads

SECONDS_BETWEEN_LOOKS = 1.0
"""At whether the server still lives, while there is no job."""

_log = logging.getLogger(__name__)


class KeptPrior:
    """Loads priors, and keeps the last one for the next job that wants the same on the same device."""

    def __init__(self) -> None:
        self._key: tuple[str, str] | None = None
        self._prior: DiffusionPrior | None = None

    def __call__(self, name: str, device: torch.device) -> DiffusionPrior:
        """See `load_prior`."""
        key = (name, str(device))
        if self._prior is None or self._key != key:
            self._prior = None  # first, or both would need memory at a time
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._prior, self._key = load_prior(name, device), key
        return self._prior


def work(link: WorkerLink, config: WorkerConfig, signals: StopSignals, pid: int) -> None:
    """Runs jobs until the server says stop, or is gone."""
    loader = KeptPrior()
    link.send_event("ready", pid=pid)
    while not link.is_lost:
        link.wait(SECONDS_BETWEEN_LOOKS)
        # One at a time: what follows the order run is for the job's own ears.
        order = link.next_order()
        if order is None:
            continue
        if order["order"] == "stop":
            return
        if order["order"] != "run":
            _log.info("the order %s came while there is no job", order["order"])
        elif JobRun(link, RunOrder.of(order), config, loader, signals).run() == "stop":
            return
    _log.warning("the server is gone; this worker ends")


def main(arguments: list[str] | None = None) -> int:
    """Runs the worker; the exit code is 0 unless its own arguments are wrong."""
    parser = argparse.ArgumentParser(prog="backend.server.worker", description="Computes jobs for a server.")
    parser.add_argument("--link", required=True, help="the address at which the server listens for workers")
    parser.add_argument("--name", required=True, help="the worker's id")
    parser.add_argument("--config", type=Path, help="a JSON file: where priors, LoRAs and environments are by name")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    config = WorkerConfig() if options.config is None else read_worker_config(options.config)
    use_few_threads()
    with StopSignals() as signals:
        link: WorkerLink | None = None
        try:
            link = WorkerLink(options.link, options.name)
            work(link, config, signals, os.getpid())
        except KeyboardInterrupt:
            _log.info("stopped by a signal")
        finally:
            if link is not None:
                link.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
