"""One loaded version of a model: it admits requests, and knows what it is made of."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from headrace.core.request import InferenceRequest, Reply
from headrace.errors import HeadraceError, Unavailable
from headrace.instance.group import InstanceGroup
from headrace.instance.planner import CPU, Placement
from headrace.model.recorder import Recorder, Watch
from headrace.model.signature import Signature
from headrace.model.statistics import Statistics
from headrace.repository.config import ModelConfig
from headrace.scheduler.history import History
from headrace.scheduler.scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class Facts:
    """What was learned while a version was loaded.

    `sha256` has the digest of each of its files.
    """

    name: str
    version: int
    config: ModelConfig
    sha256: Mapping[str, str]
    metadata: Mapping[str, str]
    placements: tuple[Placement, ...]
    load_duration_ns: int
    byte_size: int


class Model:
    """A version that is ready: admitted requests are answered by its scheduler."""

    def __init__(
        self,
        facts: Facts,
        signature: Signature,
        scheduler: Scheduler,
        group: InstanceGroup,
        recorder: Recorder,
        statistics: Statistics,
        history: History,
    ) -> None:
        self.facts = facts
        self.name = facts.name
        self.version = facts.version
        self.config = facts.config
        self.statistics = statistics
        self.history = history
        self.ready_since_ns = time.time_ns()
        self._signature = signature
        self._scheduler = scheduler
        self._group = group
        self._recorder = recorder

    @cached_property
    def digest(self) -> str:
        """Tells its files from others under the same number."""
        return hashlib.sha256(json.dumps(sorted(self.facts.sha256.items())).encode()).hexdigest()

    @property
    def queue_depth(self) -> int:
        """Requests that wait for a batch."""
        return self._scheduler.queue_depth

    @property
    def backlog(self) -> int:
        """Of these, those that wait because every instance is busy, not for more requests to come."""
        return self._scheduler.backlog

    @property
    def max_queue_size(self) -> int:
        """Requests that may wait, over all priority levels."""
        return self._scheduler.max_queue_depth

    @property
    def restart_count(self) -> int:
        """How often an instance was replaced."""
        return self._group.restart_count

    @property
    def is_able(self) -> bool:
        """False while no instance is left to execute anything."""
        return self._group.alive_count > 0

    def watch_ability(self, changed: Callable[[], None]) -> None:
        """`changed` is called whenever an instance was lost or replaced."""
        self._group.alive_changed = changed

    def watch(self, watch: Watch) -> Callable[[], None]:
        """Tells `watch` what becomes of requests from now on; returns what ends that."""
        return self._recorder.watch(watch)

    def submit(self, request: InferenceRequest, reply: Reply) -> None:
        """Takes `request` on; it is answered later. Raises what is wrong with it, or QueueFull, at once."""
        try:
            entry = self._signature.admit(request, reply)
            self._scheduler.submit(entry)
        except HeadraceError as error:
            self._recorder.refused(request, error)
            raise

    @property
    def cpu_instance_count(self) -> int:
        """How many of its instances share the CPU's cores."""
        return sum(placement.device == CPU for placement in self.facts.placements)

    async def drain(self) -> None:
        """Returns once everything that was taken on is answered."""
        await self._scheduler.drain()

    async def retire(self) -> None:
        """Answers what was taken on, then gives back the model's threads and memory."""
        await self._scheduler.drain()
        self._scheduler.close(Unavailable(f"model '{self.name}' version {self.version} was unloaded"))
        await self._group.stop()

    async def abort(self, error: HeadraceError) -> None:
        """Answers what still waits with `error`, and tells what executes to give up."""
        self._scheduler.close(error)
        await self._group.abort()
