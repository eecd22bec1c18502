"""Makes a model from its files: read, planned, prepared by the backend, tried out; all off the event loop."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from headrace.backend.base import Backend
from headrace.backend.onnx import OnnxSession
from headrace.backend.options import plan_session
from headrace.instance.group import InstanceGroup, Slot
from headrace.instance.planner import CPU, Machine, Placement, place
from headrace.model.golden import GoldenCheck
from headrace.model.inline_choice import is_inline_worthy
from headrace.model.measure import cheap_sizes, has_representative_zeros
from headrace.model.model import Facts, Model
from headrace.model.recorder import Recorder
from headrace.model.signature import Signature, queue_policies
from headrace.model.statistics import Statistics
from headrace.model.time_limit import execution_timeout_s, time_limit
from headrace.model.warmup import warm_up
from headrace.repository.config import ModelConfig
from headrace.repository.override import Override
from headrace.repository.repository import Repository, VersionSource
from headrace.scheduler.batch import Layout
from headrace.scheduler.batcher import CheapSizes, batcher_for
from headrace.scheduler.history import History
from headrace.scheduler.queue import RequestQueue
from headrace.scheduler.scheduler import Scheduler
from headrace.settings import ExecutionSettings

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Loader:
    """Loads versions on `executor`, whose threads bound how much loading takes away from serving."""

    def __init__(
        self,
        repository: Repository,
        machine: Machine,
        settings: ExecutionSettings,
        executor: Executor,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._repository = repository
        self._machine = machine
        self._settings = settings
        self._executor = executor
        self._loop = loop

    async def load(
        self,
        name: str,
        version: int,
        override: Override,
        other_cpu_instances: int,
        statistics: Statistics | None = None,
    ) -> Model:
        """A version that is ready to serve. NotFound, ConfigError or LoadError tell why it is not.

        `other_cpu_instances` are those that share the cores. `statistics` go on being counted where the
        version replaces itself.
        """
        started_ns = time.monotonic_ns()
        source = await self._off_loop(partial(self._repository.read, name, version, override))
        count = self._settings.default_instance_count
        placements, remarks = place(source.config, self._machine, count, other_cpu_instances)
        prepared = await self._off_loop(partial(self._prepare, source, placements))
        for remark in [*source.notes, *remarks, *prepared.remarks]:
            logger.warning("%s version %d: %s", name, version, remark)
        if source.golden:
            count = len(source.golden)
            logger.info("'%s' version %d answers all golden requests (%d) as expected", name, version, count)
        facts = Facts(
            name=name,
            version=version,
            config=source.config,
            sha256=source.sha256,
            metadata=source.model.metadata,
            placements=tuple(placements),
            load_duration_ns=time.monotonic_ns() - started_ns,
            byte_size=source.model.byte_size,
        )
        return self._assemble(facts, prepared, statistics or Statistics())

    def _prepare(self, source: VersionSource, placements: list[Placement]) -> "_Prepared":
        """Blocks while the backend makes its sessions, instances warm up, and golden requests are run."""
        largest = source.config.max_batch_size
        prepared = _Prepared(CheapSizes(largest, largest))
        sessions: dict[tuple[int | None, int], OnnxSession] = {}
        golden, checked = GoldenCheck(source), set[OnnxSession]()
        for placement in placements:
            session = _session(source, placement, sessions)
            backend = self._warm_backend(source, session, prepared)
            if session not in checked:
                golden.run(backend, str(placement.device), self._timeout_s(source.config))
                checked.add(session)
            prepared.backends.append(backend)
            slot = Slot(placement.name, str(placement.device), placement.threads, session.backend)
            prepared.slots.append(slot)
        if self._settings.warmup and not prepared.remarks:
            self._measure(source, session, placements, prepared)
        return prepared

    def _warm_backend(self, source: VersionSource, session: OnnxSession, prepared: "_Prepared") -> Backend:
        """A backend that has executed; one whose warm-up was given up is not used again."""
        backend = session.backend()
        if not self._settings.warmup:
            return backend
        with time_limit(backend, self._timeout_s(source.config)):
            remarks = warm_up(backend, source.config, source.warmup_data)
        if not remarks:
            return backend
        prepared.remarks[:] = remarks
        return session.backend()

    def _measure(
        self,
        source: VersionSource,
        session: OnnxSession,
        placements: list[Placement],
        prepared: "_Prepared",
    ) -> None:
        """Finds out what `prepared` should do with batches, on a backend that may be interrupted."""
        settings, config = self._settings, source.config
        backend = session.backend()
        with time_limit(backend, self._timeout_s(config)):
            if settings.tune_batch_size and _is_size_ours(config) and has_representative_zeros(config):
                prepared.sizes = cheap_sizes(backend, config)
            on_cpu = all(placement.device == CPU for placement in placements)
            if on_cpu and is_inline_worthy(source, backend, settings.inline_limit_us):
                prepared.slots[:] = [replace(slot, is_inline=True) for slot in prepared.slots]

    def _assemble(self, facts: Facts, prepared: "_Prepared", statistics: Statistics) -> Model:
        config = facts.config
        timeout_s = self._timeout_s(config)
        group = InstanceGroup(prepared.slots, self._executor, timeout_s, self._loop)
        history = History()
        recorder = Recorder(facts.version, statistics, history)
        policies = queue_policies(config, self._settings.default_max_queue_size)
        queue = RequestQueue(policies, facts.name)
        batching = config.dynamic_batching
        scheduler = Scheduler(
            Layout.of(config, str(facts.version)),
            queue,
            batcher_for(config, prepared.sizes, len(prepared.slots)),
            group,
            recorder,
            self._loop,
            preserve_ordering=batching is not None and batching.preserve_ordering,
        )
        group.start(prepared.backends)
        return Model(facts, Signature(config, policies), scheduler, group, recorder, statistics, history)

    def _timeout_s(self, config: ModelConfig) -> float:
        """The execution watchdog's time in seconds, 0 for none."""
        return execution_timeout_s(config.parameters, self._settings.execution_timeout_ms)

    async def _off_loop(self, call: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._executor, call)


@dataclass(slots=True)
class _Prepared:
    """What the loading thread made: a slot and a backend for each instance; what it measured; remarks."""

    sizes: CheapSizes
    slots: list[Slot] = field(default_factory=list)
    backends: list[Backend] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def _is_size_ours(config: ModelConfig) -> bool:
    """True where the model's owner has said nothing of how large batches should become."""
    batching = config.dynamic_batching
    if batching is None or config.fixed_batch:
        return False
    return not batching.preferred_batch_sizes and not batching.max_queue_delay_us


def _session(
    source: VersionSource, placement: Placement, sessions: dict[tuple[int | None, int], OnnxSession]
) -> OnnxSession:
    """The session for an instance: CPU instances of one thread share it, and with it the weights.

    A session with threads of its own is not shared: two executions would wait for the same threads.
    """
    plan = plan_session(source.config, placement.device.gpu, placement.threads)
    if plan.gpu is not None or plan.intra_op_threads > 1:
        return OnnxSession(source.model, source.config, plan)
    key = (plan.gpu, plan.intra_op_threads)
    if key not in sessions:
        sessions[key] = OnnxSession(source.model, source.config, plan)
    return sessions[key]
