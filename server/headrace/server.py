"""Builds every part of the server once, starts them in order, and stops them in reverse order."""

import asyncio
import gc
import logging
import os
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NoReturn

import uvloop

from headrace.backend.onnx import gpus
from headrace.errors import HeadraceError, LoadError
from headrace.instance.machine import available_cores
from headrace.instance.planner import Machine
from headrace.logs import LogControl
from headrace.metrics.loop_lag import LoopLag
from headrace.metrics.server import MetricsServer
from headrace.model.lifecycle import Lifecycle
from headrace.model.loader import Loader
from headrace.model.registry import Registry
from headrace.model.state import ModelState
from headrace.repository.changes import FileChanges
from headrace.repository.files.scan import Scan
from headrace.repository.repository import Repository
from headrace.repository.settling import Settling, youngest_age_s
from headrace.repository.watcher import Watcher
from headrace.rollout.parts import RolloutParts
from headrace.sampling import Sampling
from headrace.security.certificates import Certificates, Pair
from headrace.security.hosts import Hosts
from headrace.security.security import Security
from headrace.service.answers import ModelInfo
from headrace.service.control import ControlService
from headrace.service.health import Health
from headrace.service.inference import InferenceService
from headrace.settings import Gpu, LimitsSettings, ModelControlMode, Settings
from headrace.transport.grpc.grpcio import GrpcioTransport
from headrace.transport.grpc.methods import build_methods
from headrace.transport.http.endpoints import build_routes
from headrace.transport.http.http_server import HttpTransport
from headrace.transport.http.off_loop import OffLoop
from headrace.transport.http.routes import Routes
from headrace.transport.limits import Limits

logger = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_NOT_DRAINED = 3

# After the transport has waited for its calls, how long what still executes may take.
DRAIN_REST_S = 0.5

# New objects before the collector looks at them, and how many such looks before one at older ones.
COLLECTOR_THRESHOLDS = (20_000, 20, 50)

# For how long a thread may keep the GIL while another waits for it. Python's 5 ms would be seen in every
# request that comes while a model is loaded (benchmarks/reload).
SWITCH_INTERVAL_S = 0.0005

LOADER_THREADS = "headrace loader"
# How long a loader thread without work takes to end, at most.
IDLE_LOADER_S = 0.2


@dataclass(frozen=True, slots=True)
class Started:
    """What runs: the ports (None: not served), the transport, the machine and the models."""

    grpc_address: str
    grpc_port: int
    http_address: str
    http_port: int | None
    metrics_address: str
    metrics_port: int | None
    is_encrypted: bool
    transport: str
    machine: Machine
    models: Sequence[ModelInfo]


class Server:
    """All parts of one server, on one event loop."""

    def __init__(self, settings: Settings, logs: LogControl, loop: asyncio.AbstractEventLoop) -> None:
        self._settings = settings
        repository_settings, execution = settings.repository, settings.execution
        self._executor = ThreadPoolExecutor(
            repository_settings.load_threads, thread_name_prefix=LOADER_THREADS
        )
        cores = execution.cpu_cores or available_cores()
        self._machine = Machine(cores, gpus() if execution.gpu is Gpu.AUTO else ())
        self._repository = Repository(
            repository_settings.path,
            default_max_batch_size=repository_settings.default_max_batch_size,
            ready_marker=repository_settings.ready_marker,
            require_manifest=repository_settings.require_manifest,
            require_golden=repository_settings.require_golden,
        )
        self._registry = Registry()
        loader = Loader(self._repository, self._machine, execution, self._executor, loop)
        self._lifecycle = Lifecycle(self._repository, self._registry, loader, self._executor, loop)
        self._rollouts = RolloutParts(
            settings.rollout,
            settings.server.name,
            settings.server.state_dir,
            self._machine.cores,
            self._registry,
            self._lifecycle,
            loop,
        )
        router = self._rollouts.router
        self._health = Health(self._registry, router)
        self._inference = InferenceService(router)
        self.control = ControlService(
            settings.server.name,
            repository_settings.model_control_mode,
            self._registry,
            router,
            self._lifecycle,
            self._health,
            logs,
        )
        limits = _limits(settings.limits)
        self._certificates = Certificates(settings.tls) if settings.tls.is_on else None
        self._security = Security(
            settings.security,
            settings.audit,
            settings.server.state_dir,
            Hosts(settings.http.allowed_hosts, settings.metrics.address),
            self._certificates.revocations if self._certificates else None,
        )
        inference = self._security.inference(self._inference)
        control = self._security.control(self.control)
        rollouts = self._security.rollouts(self._rollouts.service)
        self._grpc = GrpcioTransport(
            settings.grpc,
            build_methods(inference, control, settings.grpc, limits, rollouts),
            self._security.entrance,
            self._newest_pair if self._certificates else None,
        )
        off_loop = OffLoop()
        routes = Routes(build_routes(inference, control, settings.http, limits, off_loop, rollouts))
        http = HttpTransport(
            settings.http, routes, off_loop, self._security.entrance, self._listener_context()
        )
        self._http = http if settings.http.enabled else None
        self._loop_lag = LoopLag()
        sampling = Sampling(
            self._registry,
            self._lifecycle,
            self._inference,
            self._loop_lag,
            "grpcio",
            self._security,
            self._rollouts,
            self._certificates,
        )
        metrics_tls = self._listener_context() if settings.tls.metrics else None
        metrics = MetricsServer(
            settings.metrics, sampling, metrics_tls, may_scrape=self._security.check_scraper
        )
        self._metrics = metrics if settings.metrics.enabled else None
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> Started:
        """Opens the endpoints, then loads the models; ready when it returns, or ConfigError or OSError."""
        scan = await self._first_scan()
        for name, reason in scan.ignored.items():
            logger.info("ignored in the repository: '%s': %s", name, reason)
        if self._settings.is_open:
            logger.warning("open to other machines, and everybody may call (security.allow_anonymous)")
        if self._settings.is_reachable:
            self._security.check_strangers(may_do_all=self._settings.security.allow_anonymous)
        if self._certificates:
            self._certificates.start()
        self._security.start()
        grpc_port = await self._grpc.start()
        http_port = await self._http.start() if self._http else None
        metrics_port = await self._metrics.start() if self._metrics else None
        self._security.record_start()
        self._loop_lag.start()
        await self._rollouts.start()
        await self._load_first(scan)
        self._rollouts.run()
        self._health.started()
        _calm_collector()
        return Started(
            grpc_address=self._settings.grpc.address,
            grpc_port=grpc_port,
            http_address=self._settings.http.address,
            http_port=http_port,
            metrics_address=self._settings.metrics.address,
            metrics_port=metrics_port,
            is_encrypted=self._certificates is not None,
            transport="grpcio",
            machine=self._machine,
            models=self.control.models(""),
        )

    async def stop(self) -> bool:
        """Readiness off first, then what is under way is finished; False where time ran out for some."""
        self._health.stopping()
        await asyncio.sleep(self._settings.server.drain_delay_s)
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        grace_s = self._settings.server.drain_timeout_s
        http_stop = [self._http.stop(grace_s)] if self._http else []
        await asyncio.gather(self._grpc.stop(grace_s), *http_stop)
        await self._rollouts.stop()
        is_drained = await self._lifecycle.stop(DRAIN_REST_S)
        self._loop_lag.stop()
        if self._metrics:
            await self._metrics.stop()
        if self._certificates:
            await self._certificates.stop()
        await self._security.stop()
        self._executor.shutdown(wait=False, cancel_futures=True)
        return is_drained

    def _listener_context(self) -> ssl.SSLContext | None:
        return self._certificates.listener_context() if self._certificates else None

    def _newest_pair(self) -> Pair:
        assert self._certificates is not None
        return self._certificates.pair

    async def _first_scan(self) -> Scan:
        """What the repository holds, once nobody seems to be writing to it any more."""
        settle_s = self._settings.repository.settle_time_s
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + 3 * settle_s
        scan = await self._lifecycle.rescan()
        while (wait_s := settle_s - youngest_age_s(scan, time.time_ns())) > 0 and loop.time() < give_up_s:
            await asyncio.sleep(min(wait_s, settle_s))
            scan = await self._lifecycle.rescan()
        return scan

    async def _load_first(self, scan: Scan) -> None:
        """Loads what the start asks for, and in poll mode follows the repository from then on."""
        settings = self._settings.repository
        mode = settings.model_control_mode
        if mode is ModelControlMode.EXPLICIT and "*" not in settings.load_models:
            await self._load_named(settings.load_models)
        else:
            await self._lifecycle.apply(scan)
        if settings.exit_on_error:
            self._refuse_failures()
        if mode is ModelControlMode.POLL:
            self._following = asyncio.get_running_loop().create_task(self._follow(scan))

    async def _load_named(self, names: Sequence[str]) -> None:
        for name in names:
            try:
                await self._lifecycle.load(name)
            except HeadraceError as error:
                logger.error("%s", error)

    def _refuse_failures(self) -> None:
        failed = [info for info in self.control.models("") if info.state == ModelState.UNAVAILABLE.value]
        if failed:
            reasons = "; ".join(f"'{info.name}' version {info.version}: {info.reason}" for info in failed)
            raise LoadError(f"exit_on_error is set and models cannot be loaded: {reasons}")

    async def _follow(self, known: Scan) -> None:
        """Applies each settled change of the repository, for as long as the server runs."""
        settings = self._settings.repository
        settling = Settling(
            settings.settle_time_s, has_marker=settings.ready_marker is not None, settled=known
        )
        changes = FileChanges(settings.path)
        watcher = Watcher(self._repository, changes, settling, interval_s=settings.poll_interval_s)
        changes.start()
        try:
            async for scan in watcher.settled(known):
                await self._apply(scan)
        finally:
            await changes.stop()

    async def _apply(self, scan: Scan) -> None:
        try:
            await self._lifecycle.apply(scan)
        except Exception:
            logger.exception("following the repository failed; the next change is tried again")


def _limits(settings: LimitsSettings) -> Limits:
    return Limits(
        inputs=settings.max_inputs,
        outputs=settings.max_outputs,
        parameters=settings.max_parameters,
        json_values=settings.max_json_values,
        text_characters=settings.max_text_characters,
        text_elements=settings.max_text_elements,
    )


def run(settings: Settings, started: Callable[[Started], None]) -> int:
    """Serves until SIGTERM or SIGINT; `started` is called once it is ready. Returns the exit status.

    0: stopped and drained; 1: could not start; 3: requests were still under way when the drain time ended. A
    second signal ends the process at once.
    """
    logs = LogControl(settings.log)
    logs.start()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            status = runner.run(_serve(settings, logs, started))
        if status == EXIT_NOT_DRAINED or _is_loading():
            _end_at_once(status)
        return status
    except (HeadraceError, OSError) as error:
        logger.error("cannot start: %s", error)
        return EXIT_FAILED
    finally:
        logs.stop()


async def _serve(settings: Settings, logs: LogControl, started: Callable[[Started], None]) -> int:
    loop = asyncio.get_running_loop()
    stop = _stop_event(loop)
    server = Server(settings, logs, loop)
    starting = loop.create_task(server.start())
    stopping = loop.create_task(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.wait([starting])
    elif error := starting.exception():
        stopping.cancel()
        await server.stop()
        raise error
    else:
        started(starting.result())
        await stopping
    logger.info("stopping: requests under way have %g s to finish", settings.server.drain_timeout_s)
    is_drained = await server.stop()
    logger.info("stopped" if is_drained else "stopped with requests unanswered")
    return EXIT_OK if is_drained else EXIT_NOT_DRAINED


def _calm_collector() -> None:
    """Keeps the garbage collector away from what lives as long as the server, and from running per request.

    Requests make few cycles, but many objects that wait for an answer: by default they are looked through
    every few requests (benchmarks/overhead).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


def _is_loading() -> bool:
    """True while a thread is still busy with a model that nobody will serve any more."""
    loaders = [each for each in threading.enumerate() if each.name.startswith(LOADER_THREADS)]
    for loader in loaders:
        loader.join(IDLE_LOADER_S)
    return any(loader.is_alive() for loader in loaders)


def _end_at_once(status: int) -> NoReturn:
    """Ends the process though a thread may still execute: the interpreter would wait for it, or crash."""
    logging.shutdown()
    os._exit(status)


def _stop_event(loop: asyncio.AbstractEventLoop) -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; the second one ends the process at once."""
    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stop
