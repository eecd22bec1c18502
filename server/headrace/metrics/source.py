"""What a scrape reads: plain figures that the parts of the server keep anyway."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from headrace.metrics.histogram import Histogram
from headrace.metrics.routing import RoutingSample


class DurationSource(Protocol):
    """How often something happened and how long it took together."""

    @property
    def count(self) -> int: ...

    @property
    def ns(self) -> int: ...


class StatisticsSource(Protocol):
    """The counters of one version, as `headrace.model.statistics.Statistics` has them."""

    @property
    def inference_count(self) -> int: ...

    @property
    def execution_count(self) -> int: ...

    @property
    def success(self) -> DurationSource: ...

    @property
    def queue(self) -> DurationSource: ...

    @property
    def compute_input(self) -> DurationSource: ...

    @property
    def compute_infer(self) -> DurationSource: ...

    @property
    def compute_output(self) -> DurationSource: ...

    @property
    def failures(self) -> Mapping[Any, int]:
        """By members of an enumeration whose values are Triton's reasons."""
        ...

    @property
    def rejected(self) -> Mapping[str, int]: ...

    @property
    def queue_histogram(self) -> Histogram: ...

    @property
    def batch_wait_histogram(self) -> Histogram: ...

    @property
    def compute_histogram(self) -> Histogram: ...

    @property
    def total_histogram(self) -> Histogram: ...

    @property
    def batch_size_histogram(self) -> Histogram: ...


@dataclass(frozen=True, slots=True)
class VersionSample:
    """One version as it is at a scrape; `statistics` is None where it has never been ready.

    `tags` are the configuration's `metric_tags`. `pending_count` counts requests that wait to be executed,
    `queue_depth` those that are still in the queue and so in no batch yet.
    """

    model: str
    version: str
    state: str
    statistics: StatisticsSource | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    pending_count: int = 0
    queue_depth: int = 0
    load_duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ServerSample:
    """The rest of the server as it is at a scrape.

    `loads` counts by model and outcome (`success`, `failure`), `worker_restarts` by model. `rejected` counts,
    by model ("" where none is meant) and reason, the requests that no version has seen. `audit_records` were
    written, `audit_lost` were not; `audit_archives` were made of them, `audit_archive_failures` times not.
    `certificate_ends_s` is the end of the TLS certificate, in seconds since 1970, or None.
    """

    version: str
    transport: str
    uptime_s: float
    loop_lag: Histogram
    loads: Mapping[tuple[str, str], int] = field(default_factory=dict)
    rejected: Mapping[tuple[str, str], int] = field(default_factory=dict)
    audit_records: int = 0
    audit_lost: int = 0
    audit_archives: int = 0
    audit_archive_failures: int = 0
    worker_restarts: Mapping[str, int] = field(default_factory=dict)
    certificate_ends_s: float | None = None
    routing: RoutingSample = field(default_factory=RoutingSample)


class MetricsSource(Protocol):
    """The server as the collector sees it; called on the event loop."""

    def versions(self) -> Iterable[VersionSample]: ...

    def server(self) -> ServerSample: ...
