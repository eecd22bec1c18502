"""What a scrape of the metrics sees of the server."""

import time
from collections import Counter
from collections.abc import Iterator

from headrace.metrics.loop_lag import LoopLag
from headrace.metrics.source import ServerSample, VersionSample
from headrace.model.lifecycle import Lifecycle
from headrace.model.registry import Registry
from headrace.rollout.parts import RolloutParts
from headrace.security.certificates import Certificates
from headrace.security.security import Security
from headrace.service.inference import InferenceService
from headrace.version import VERSION


class Sampling:
    """Reads the figures that the parts of the server keep; on the event loop, once per scrape."""

    def __init__(
        self,
        registry: Registry,
        lifecycle: Lifecycle,
        inference: InferenceService,
        loop_lag: LoopLag,
        transport: str,
        security: Security,
        rollouts: RolloutParts,
        certificates: Certificates | None = None,
    ) -> None:
        self._registry = registry
        self._lifecycle = lifecycle
        self._inference = inference
        self._loop_lag = loop_lag
        self._transport = transport
        self._security = security
        self._rollouts = rollouts
        self._certificates = certificates
        self._started_s = time.monotonic()

    def versions(self) -> Iterator[VersionSample]:
        for name in self._registry.names():
            ready = self._registry.ready(name)
            for status in self._registry.statuses(name):
                model = ready.get(status.version)
                if model is None:
                    yield VersionSample(name, str(status.version), status.state.value)
                    continue
                yield VersionSample(
                    model=name,
                    version=str(status.version),
                    state=status.state.value,
                    statistics=model.statistics,
                    tags=model.config.metric_tags,
                    pending_count=model.queue_depth,
                    queue_depth=model.queue_depth,
                    load_duration_s=model.facts.load_duration_ns / 1e9,
                )

    def server(self) -> ServerSample:
        restarts: Counter[str] = Counter()
        for model in self._registry.models():
            restarts[model.name] += model.restart_count
        return ServerSample(
            version=VERSION,
            transport=self._transport,
            uptime_s=time.monotonic() - self._started_s,
            loop_lag=self._loop_lag.histogram,
            loads=self._lifecycle.load_counts,
            rejected=self._rejected(),
            audit_records=self._security.audit.recorded_count,
            audit_lost=self._security.audit.lost_count,
            audit_archives=self._security.audit.archived_count,
            audit_archive_failures=self._security.audit.unarchived_count,
            worker_restarts=restarts,
            certificate_ends_s=self._certificates.expires_at.timestamp() if self._certificates else None,
            routing=self._rollouts.sample(),
        )

    def _rejected(self) -> Counter[tuple[str, str]]:
        """What no version has counted; a model that there is not is not named."""
        known = set(self._registry.names())
        counts = Counter({("", reason): count for reason, count in self._inference.unrouted_counts.items()})
        for (model, reason), count in self._security.refusals.counts.items():
            counts[model if model in known else "", reason] += count
        return counts
