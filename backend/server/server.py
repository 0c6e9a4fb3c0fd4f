"""The server: a thread with the sockets, a thread with the jobs, three for what takes long, and how they are wired.

The thread with the sockets only moves bytes and never waits for anything but them. What others have for it they `post`;
what it has for the jobs goes into their thread's queue.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import socket as sockets
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq

from backend.durable_files import write_whole_file
from backend.errors import BadInput, UnusableState
from backend.machine import sketchbridge_version
from backend.server import link
from backend.server.auth import ALLOW_FILE, SERVER_KEY_FILE, AllowList, KeyPair, is_loopback, read_key_file
from backend.server.clients import Clients
from backend.server.configuration import ServerConfig
from backend.server.conversations import Answer, Conversations
from backend.server.devices import Device, device_line, find_devices
from backend.server.executors import Executor, LocalExecutor
from backend.server.front_door import FrontDoor
from backend.server.jobs import JobManager, JobsConfig
from backend.server.jobs_thread import BackgroundThread, JobsThread
from backend.server.log import LogHandler, ServerLog
from backend.server.metrics import Observation
from backend.server.state_folder import LOG, WORKER_CONFIG, WORKER_OUTPUT, prepare_state_folder, server_id_of
from backend.server.store import JobStore
from backend.server.stream import Variant
from protocol.frames import DEFAULT_LIMITS
from protocol.messages import Failed, JobState, Message, ServerHello

DEFAULT_ADDRESS = "tcp://127.0.0.1:5710"
CAPABILITIES = ("zlib", "uint16")
_MOST_AT_ONCE = 64
"""Messages taken from one socket before the others have their turn."""
_SECONDS_BETWEEN_TICKS = 0.25
_LAST_WORDS_MILLISECONDS = 250
_log = logging.getLogger(__name__)

Send = Callable[[str, dict[str, Any]], None]
MakeExecutor = Callable[[list[Device], Callable[[], str], Send], Executor]


@dataclass(frozen=True)
class ServerOptions:
    """What `sketchbridge serve` was asked for."""

    state: Path
    listen: str = DEFAULT_ADDRESS
    keys: Path | None = None
    """The folder with the server's key and the list of allowed clients; None for a server on this machine only."""
    config: ServerConfig = field(default_factory=ServerConfig)
    checkpoint_seconds: float | None = None
    """Instead of that of the configuration."""


class Server:
    """A running server. `start`, then `stop`; in between, `failure` says if something went wrong."""

    def __init__(self, options: ServerOptions, log: ServerLog | None = None, make_executor: MakeExecutor | None = None):
        """
        Args:
            log: Instead of the one in the state folder.
            make_executor: Instead of worker processes on this machine: from the devices, the link's address, and what
                sends an order.
        """
        self._options, self._given_log = options, log
        self._make_executor = make_executor or self._make_local_executor
        self._mail: deque[Callable[[], None]] = deque()
        self._waker, self._wake_up_call = sockets.socketpair()
        self._waker.setblocking(False)
        self._wake_up_call.setblocking(False)
        self._context: zmq.Context[Any] = zmq.Context()
        self._link: zmq.Socket[Any] | None = None
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name="sketchbridge sockets", daemon=True)
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Opens the sockets, takes up the jobs of before, and returns when clients can connect.

        Raises:
            SketchbridgeError: The address, the keys, the state or a device cannot be used; the message says what to do.
        """
        options = self._options
        keys, allow_list = self._keys()
        devices = find_devices(options.config.devices)
        prepare_state_folder(options.state)
        hello = self._hello(devices, server_id_of(options.state))
        self.log = self._given_log or ServerLog(options.state / LOG)
        self._log_handler = LogHandler(self.log)
        self._door = FrontDoor(
            self._context,
            options.listen,
            min(hello.limits.message_bytes, DEFAULT_LIMITS.array_bytes),
            keys=keys,
            allow_list=allow_list,
            refused=lambda reason, address, key: self.log.refusal(address, reason, key=key),
        )
        self.address = self._door.address
        self.server_public = keys.public if keys is not None else None
        self.devices = devices
        self._jobs = JobsThread(lambda: self._make_manager(devices), self._close_store)
        self._reader, self._encoder = BackgroundThread("sketchbridge reader"), BackgroundThread("sketchbridge encoder")
        self._results = BackgroundThread("sketchbridge results")
        self.clients = Clients(
            self._door,
            options.config.server,
            hello.limits.requests_per_second,
            self.log,
            order=self._send_order,
            make_elsewhere=self._make_elsewhere,
            allow_list=allow_list,
        )
        self.conversations = self._make_conversations(hello)
        self._store: JobStore | None = None
        try:
            self._jobs.start()
        except BaseException:
            self._close()
            raise
        logging.getLogger("backend").addHandler(self._log_handler)
        self._thread.start()
        self.log.write(
            "started", address=self.address, encrypted=keys is not None, devices=[each.name for each in devices]
        )

    def stop(self, seconds: float = 30.0) -> None:
        """Refuses what is new, lets the workers keep their state, and ends. May be called twice.

        Args:
            seconds: That the workers have.
        """
        if self._is_ending:
            return
        self.log.write("stopping")
        self.conversations.is_shutting_down = True
        self._jobs.end(seconds)
        self._is_ending = True
        self._wake()
        self._thread.join()
        self.log.write("stopped")
        self._close()

    @property
    def is_alive(self) -> bool:
        """Whether its threads are well."""
        return self._thread.is_alive() and self._jobs.is_alive

    def observe(self, seconds: float = 2.0) -> Observation:
        """What is to be said of it now. May be called from any thread but its own.

        Raises:
            TimeoutError: One of its threads is busy.
        """
        counts = self._jobs.ask(lambda manager: manager.count_by_status())
        seen: Future[Observation] = Future()

        def look() -> None:
            try:
                seen.set_result(self._observe())
            except Exception as error:
                seen.set_exception(error)

        self.post(look)
        return dataclasses.replace(seen.result(seconds), jobs=counts.result(seconds))

    def _observe(self) -> Observation:
        jobs = self.clients.jobs
        return Observation(
            steps_per_second=float(sum(each.steps_per_second for each in jobs.running)),
            device_memory_bytes=sum(each.memory_bytes for each in jobs.running),
            clients=self.clients.count,
            connections=self._door.connections,
            watches=jobs.watches,
            pending_bytes=self.conversations.pending_bytes,
            snapshots_received=jobs.snapshots_received,
            snapshots_dropped=jobs.snapshots_dropped,
            counters=dataclasses.replace(self.clients.counters),
        )

    def post(self, work: Callable[[], None]) -> None:
        """Has this done by the thread with the sockets. May be called from any thread."""
        self._mail.append(work)
        self._wake()

    # --- wiring

    def _keys(self) -> tuple[KeyPair | None, AllowList | None]:
        folder, address = self._options.keys, self._options.listen
        if folder is None:
            if not is_loopback(address):
                raise BadInput(
                    f"{address} can be reached from other machines, which needs keys: make them with "
                    "`sketchbridge keygen --keys DIR`, let clients in with "
                    "`sketchbridge allow NAME PUBLIC_KEY --keys DIR`, and give --keys DIR; or "
                    f"listen at {DEFAULT_ADDRESS}, on this machine only"
                )
            return None, None
        if not (folder / SERVER_KEY_FILE).exists():
            raise BadInput(
                f"{folder / SERVER_KEY_FILE} is not there; make it with: sketchbridge keygen --keys {folder}"
            )
        keys = read_key_file(folder / SERVER_KEY_FILE)
        return keys, AllowList(folder / ALLOW_FILE, self._complain_of_allow_list)

    def _complain_of_allow_list(self, sentence: str) -> None:
        self.log.write("allow-list-damaged", "error", sentence=sentence)

    def _hello(self, devices: list[Device], server_id: str) -> ServerHello:
        config = self._options.config
        return ServerHello(
            software_version=sketchbridge_version()[:64],
            server_id=server_id,
            device=device_line(devices),
            device_memory_bytes=max(each.memory_bytes for each in devices),
            priors=tuple(each.offered for each in config.priors),
            loras=tuple(config.loras),
            environments=tuple(config.environments),
            tasks=self._jobs_config().tasks,
            limits=config.limits,
            capabilities=CAPABILITIES,
            heartbeat_seconds=config.server.heartbeat_seconds,
        )

    def _jobs_config(self) -> JobsConfig:
        config = self._options.config
        given = self._options.checkpoint_seconds
        return JobsConfig(
            priors=frozenset(each.offered.name for each in config.priors),
            controlled_priors=frozenset(config.controlnets),
            loras=frozenset(config.loras),
            environments=frozenset(config.environments),
            checkpoint_seconds=config.server.checkpoint_seconds if given is None else given,
            idle_seconds=config.server.idle_seconds,
            quota_bytes=config.quotas.result_bytes,
            keep_days=config.quotas.result_days,
        )

    def _make_manager(self, devices: list[Device]) -> JobManager:
        """Called in the jobs' thread."""
        # The database comes first: it keeps a second server away from the workers' socket.
        self._store = JobStore(self._options.state)
        self._link = self._open_link()
        executor = self._make_executor(devices, lambda: self._link_address, self._send_order)
        limits, config = self._options.config.limits, self._jobs_config()
        return JobManager(self._store, executor, limits, _Listener(self), config, read_elsewhere=self._results.submit)

    def _make_local_executor(self, devices: list[Device], address: Callable[[], str], send: Send) -> Executor:
        state, config = self._options.state, self._options.config
        places = {
            "priors": config.models,
            "controlnets": config.controlnets,
            "loras": dict(config.loras),
            "environments": dict(config.environments),
        }
        write_whole_file(state / WORKER_CONFIG, json.dumps(places).encode())
        command = (sys.executable, "-m", "backend.server.worker", "--config", str(state / WORKER_CONFIG))
        names = [each.name for each in devices]
        return LocalExecutor(names, address, send, output_file=state / WORKER_OUTPUT, command=command)

    def _open_link(self) -> zmq.Socket[Any]:
        address = link.link_address(self._options.state)
        socket = self._context.socket(zmq.ROUTER)
        socket.linger = 0
        socket.router_mandatory = True
        socket.router_handover = True  # only our own workers get here, and their names are never given out twice
        socket.rcvhwm = _MOST_AT_ONCE
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            socket.close()  # or the context would wait for it for ever
            raise UnusableState(f"workers cannot be listened to at {address} ({error.strerror})") from error
        self._link_address = socket.last_endpoint.decode().rstrip("\0")
        return socket

    def _make_conversations(self, hello: ServerHello) -> Conversations:
        return Conversations(
            self.clients,
            hello,
            self._options.config.server.memory_bytes,
            self.log.write,
            hand_on=self._hand_on,
            look_up=self._look_up,
            read_elsewhere=lambda read: self._reader.submit(lambda: self.post(read())),
        )

    def _hand_on(self, owner: str, message: Message, take: Callable[[Answer], None]) -> None:
        self._jobs.submit(
            lambda manager: manager.handle(owner, message, lambda answer: self.post(lambda: take(answer)))
        )

    def _look_up(self, owner: str, job: str, take: Callable[[JobState | None], None]) -> None:
        def work(manager: JobManager) -> None:
            state = manager.state_of(owner, job)
            self.post(lambda: take(state))

        self._jobs.submit(work)

    def _make_elsewhere(self, variant: Variant, then: Callable[[], None]) -> None:
        def work() -> None:
            try:
                variant.make()
            except Exception:
                variant.give_up()
                _log.exception("a snapshot could not be made for a slow link")
            self.post(then)

        self._encoder.submit(work)

    def _send_order(self, worker_id: str, order: dict[str, Any]) -> None:
        """May be called from any thread."""
        frames = [worker_id.encode(), *link.order_frames(order)]

        def send() -> None:
            assert self._link is not None
            try:
                self._link.send_multipart(frames, zmq.NOBLOCK)
            except zmq.ZMQError as error:  # it has ended, which the executor tells the jobs
                self.log.write("order-lost", "warning", worker=worker_id, order=order["order"], error=str(error))

        self.post(send)

    # --- the thread with the sockets

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            self.failure = error
            _log.exception("the thread with the sockets failed")

    def _serve(self) -> None:
        assert self._link is not None
        poller = zmq.Poller()
        for each in (*self._door.sockets, self._link, self._wake_up_call):
            poller.register(each, zmq.POLLIN)
        tick_at = time.monotonic()
        while not self._is_ending or self._mail:
            seconds = min(self.clients.send_due(), max(0.0, tick_at - time.monotonic()))
            ready = dict(poller.poll(int(seconds * 1000) + 1 if seconds > 0 else 0))
            if self._wake_up_call.fileno() in ready:
                with contextlib.suppress(BlockingIOError):
                    self._wake_up_call.recv(4096)
            self._read_mail()
            self._door.let_in()
            self._door.count_connections()
            self._hear_clients()
            self._hear_workers(self._link)
            if time.monotonic() >= tick_at:
                tick_at = time.monotonic() + _SECONDS_BETWEEN_TICKS
                self.clients.tick()
        self.clients.send_due()

    def _read_mail(self) -> None:
        for _ in range(len(self._mail)):
            work = self._mail.popleft()
            with self._surviving():
                work()

    def _hear_clients(self) -> None:
        for _ in range(_MOST_AT_ONCE):
            arrived = self._door.receive()
            if arrived is None:
                return
            with self._surviving():
                self.conversations.hear(arrived)

    @contextlib.contextmanager
    def _surviving(self) -> Iterator[None]:
        """One message that we handle wrongly must not end the server for all others."""
        try:
            yield
        except link.LinkError:
            raise  # the worker's fault
        except Exception as error:
            self.log.refusal("this server", f"a bug: {error!r}", traceback=traceback.format_exc())

    def _hear_workers(self, socket: zmq.Socket[Any]) -> None:
        for _ in range(_MOST_AT_ONCE):
            try:
                parts = socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            worker_id = parts[0].bytes.decode("ascii", "replace")
            try:
                with self._surviving():
                    self._hear_worker(worker_id, [each.buffer for each in parts[1:]])
            except link.LinkError as error:
                self.log.refusal(f"worker {worker_id}", "bad-message", sentence=str(error))

    def _hear_worker(self, worker_id: str, frames: list[Any]) -> None:
        tag = link.tag_of(frames)
        if tag == link.DATA:
            problem = self.clients.jobs.take_data(worker_id, link.read_data(frames))
            if problem:
                self.log.refusal(f"worker {worker_id}", "bad-data", sentence=problem)
        elif tag == link.PARTIAL:
            token, message_frames = link.read_partial(frames)
            self._jobs.submit(lambda manager: manager.on_partial(worker_id, token, message_frames))
        else:
            event = link.read_event(frames)
            self._jobs.submit(lambda manager: manager.on_event(worker_id, event))

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # enough calls are waiting already, or the thread has ended
            self._waker.send(b"x")

    # --- ending

    def _close_store(self) -> None:
        """Called in the jobs' thread."""
        if self._store is not None:
            self._store.close()

    def _close(self) -> None:
        self._is_ending = True
        logging.getLogger("backend").removeHandler(self._log_handler)
        for each in (self._reader, self._encoder, self._results):
            each.end()
        self._door.close(linger_milliseconds=_LAST_WORDS_MILLISECONDS)
        if self._link is not None:
            self._link.close(linger=0)
        self._context.term()
        self._waker.close()
        self._wake_up_call.close()
        if self._given_log is None:
            self.log.close()


class _Listener:
    """What the jobs tell, brought to the thread with the sockets and to the log."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def job_changed(self, state: JobState) -> None:
        self._server.post(lambda: self._server.clients.jobs.job_changed(state))

    def job_failed(self, failed: Failed) -> None:
        self._server.post(lambda: self._server.clients.jobs.job_failed(failed))

    def demand_reset(self, job_id: str, worker_id: str) -> None:
        jobs = self._server.clients.jobs
        self._server.post(lambda: jobs.worker_began(job_id, worker_id, time.monotonic()))

    def log(self, event: str, level: str = "info", **fields: Any) -> None:
        self._server.log.write(event, level, **fields)
