"""Every metric of the server by name, read from the server when a scraper asks."""

import platform
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from headrace.metrics.histogram import Histogram
from headrace.metrics.machine import Machine
from headrace.metrics.routing import routing_metrics
from headrace.metrics.source import MetricsSource, ServerSample, StatisticsSource, VersionSample

Labels: TypeAlias = dict[str, str]

# The words of headrace.model.state, which stands above this package.
MODEL_STATES = ("UNKNOWN", "LOADING", "READY", "UNLOADING", "UNAVAILABLE")

_SECONDS = 1e-9


class _Figure(NamedTuple):
    """A counter with one sample a version."""

    name: str
    help: str
    read: Callable[[StatisticsSource], int]


class _Distribution(NamedTuple):
    """A histogram with one series a version; `scale` takes its figures to the unit of its name."""

    name: str
    help: str
    read: Callable[[StatisticsSource], Histogram]
    scale: float


# Triton's names, types and labels, so that its dashboards work (Triton, docs/user_guide/metrics.md).
_COUNTERS = (
    _Figure(
        "nv_inference_request_success", "Requests that were answered well", lambda own: own.success.count
    ),
    _Figure(
        "nv_inference_count", "Inferences: a request of n rows counts n", lambda own: own.inference_count
    ),
    _Figure("nv_inference_exec_count", "Executed batches", lambda own: own.execution_count),
    _Figure(
        "nv_inference_request_duration_us",
        "Time from a request's arrival to its answer, in microseconds",
        lambda own: own.success.ns // 1000,
    ),
    _Figure(
        "nv_inference_queue_duration_us",
        "Time of requests in the queue, in microseconds",
        lambda own: own.queue.ns // 1000,
    ),
    _Figure(
        "nv_inference_compute_input_duration_us",
        "Time of requests while their batch's inputs were joined, in microseconds",
        lambda own: own.compute_input.ns // 1000,
    ),
    _Figure(
        "nv_inference_compute_infer_duration_us",
        "Time of requests while their batch was executed, in microseconds",
        lambda own: own.compute_infer.ns // 1000,
    ),
    _Figure(
        "nv_inference_compute_output_duration_us",
        "Time of requests while their batch's outputs were split, in microseconds",
        lambda own: own.compute_output.ns // 1000,
    ),
)
_HISTOGRAMS = (
    _Distribution(
        "headrace_request_seconds",
        "Time from a request's arrival to its answer",
        lambda own: own.total_histogram,
        _SECONDS,
    ),
    _Distribution(
        "headrace_queue_seconds", "Time of a request in the queue", lambda own: own.queue_histogram, _SECONDS
    ),
    _Distribution(
        "headrace_batch_wait_seconds",
        "Time of a request between its batch being taken and a worker starting on it",
        lambda own: own.batch_wait_histogram,
        _SECONDS,
    ),
    _Distribution(
        "headrace_compute_seconds",
        "Time of a request while its batch was executed, joining and splitting included",
        lambda own: own.compute_histogram,
        _SECONDS,
    ),
    _Distribution(
        "headrace_batch_size", "Rows of an executed batch", lambda own: own.batch_size_histogram, 1
    ),
)


class ServerCollector(Collector):
    """Makes Prometheus metrics of what `source` says at that moment; nothing is counted here."""

    def __init__(self, source: MetricsSource, machine: Machine) -> None:
        self._source = source
        self._machine = machine

    def collect(self) -> Iterator[Metric]:
        versions = [(_labels(sample), sample) for sample in self._source.versions()]
        counted = [
            (labels, sample, sample.statistics)
            for labels, sample in versions
            if sample.statistics is not None
        ]
        statistics = [(labels, own) for labels, _, own in counted]
        server = self._source.server()
        yield from _version_counters(statistics)
        yield from _version_gauges([(labels, sample) for labels, sample, _ in counted])
        yield _rejections(statistics, server)
        yield from _version_histograms(statistics)
        yield _states(versions)
        yield from _server_metrics(server)
        yield from routing_metrics(server.routing)
        yield from self._machine_metrics()

    def _machine_metrics(self) -> Iterator[Metric]:
        utilization, memory = self._machine.utilization(), self._machine.memory()
        if utilization is not None:
            yield _single(
                "nv_cpu_utilization", "Share of the machine's processors in use, 0 to 1", utilization
            )
        if memory is not None:
            yield _single("nv_cpu_memory_total_bytes", "The machine's memory", memory[0])
            yield _single("nv_cpu_memory_used_bytes", "The machine's memory in use", memory[1])


def registry_of(source: MetricsSource, machine: Machine) -> CollectorRegistry:
    """The server's metrics and, under Prometheus' usual names, those of its process."""
    registry = CollectorRegistry()
    registry.register(ServerCollector(source, machine))
    ProcessCollector(registry=registry)
    return registry


def _labels(sample: VersionSample) -> Labels:
    """Triton's: the configuration's tags with an underscore before each key."""
    labels = {"model": sample.model, "version": sample.version}
    for key, value in sample.tags.items():
        labels["_" + re.sub(r"[^a-zA-Z0-9_]", "_", key)] = value
    return labels


def _version_counters(statistics: Sequence[tuple[Labels, StatisticsSource]]) -> Iterator[Metric]:
    for name, help_text, read in _COUNTERS:
        metric = Metric(name, help_text, "counter")
        for labels, own in statistics:
            metric.add_sample(name, labels, read(own))
        yield metric
    failures = Metric("nv_inference_request_failure", "Requests that failed, by reason", "counter")
    for labels, own in statistics:
        for reason, count in own.failures.items():
            failures.add_sample(failures.name, {**labels, "reason": reason.value}, count)
    yield failures


def _version_gauges(versions: Sequence[tuple[Labels, VersionSample]]) -> Iterator[Metric]:
    pending = Metric("nv_inference_pending_request_count", "Requests that wait to be executed", "gauge")
    depth = Metric("headrace_queue_depth", "Requests in the queue, in no batch yet", "gauge")
    load = Metric("nv_model_load_duration_secs", "Time that the load took, in seconds", "gauge")
    for labels, sample in versions:
        pending.add_sample(pending.name, labels, sample.pending_count)
        depth.add_sample(depth.name, labels, sample.queue_depth)
        load.add_sample(load.name, labels, sample.load_duration_s)
    yield from (pending, depth, load)


def _rejections(statistics: Sequence[tuple[Labels, StatisticsSource]], server: ServerSample) -> Metric:
    rejected = Metric(
        "headrace_rejected_total",
        "Requests that were turned away, by reason; without a model where none was found",
        "counter",
    )
    for labels, own in statistics:
        for reason, count in own.rejected.items():
            rejected.add_sample(rejected.name, {**labels, "reason": reason}, count)
    for (model, reason), count in server.rejected.items():
        rejected.add_sample(rejected.name, {"model": model, "version": "", "reason": reason}, count)
    return rejected


def _version_histograms(statistics: Sequence[tuple[Labels, StatisticsSource]]) -> Iterator[Metric]:
    for name, help_text, read, scale in _HISTOGRAMS:
        metric = Metric(name, help_text, "histogram")
        for labels, own in statistics:
            _add_histogram(metric, labels, read(own), scale)
        yield metric


def _add_histogram(metric: Metric, labels: Labels, histogram: Histogram, scale: float) -> None:
    """Prometheus' buckets are cumulative, and each has its upper end as a label."""
    so_far = 0
    for bound, count in zip(histogram.bounds, histogram.counts):
        so_far += count
        metric.add_sample(f"{metric.name}_bucket", {**labels, "le": f"{bound * scale:.10g}"}, so_far)
    so_far += histogram.counts[-1]
    metric.add_sample(f"{metric.name}_bucket", {**labels, "le": "+Inf"}, so_far)
    metric.add_sample(f"{metric.name}_sum", labels, histogram.total * scale)
    metric.add_sample(f"{metric.name}_count", labels, so_far)


def _states(versions: Sequence[tuple[Labels, VersionSample]]) -> Metric:
    states = Metric("headrace_model_state", "1 for the state that a version is in, 0 for the others", "gauge")
    for labels, sample in versions:
        for state in MODEL_STATES:
            states.add_sample(states.name, {**labels, "state": state}, int(state == sample.state))
    return states


def _server_metrics(server: ServerSample) -> Iterator[Metric]:
    loads = Metric("headrace_model_loads_total", "Loads of a model's versions, by outcome", "counter")
    for (model, outcome), count in server.loads.items():
        loads.add_sample(loads.name, {"model": model, "outcome": outcome}, count)
    restarts = Metric("headrace_worker_restarts_total", "Workers that were replaced after a loss", "counter")
    for model, count in server.worker_restarts.items():
        restarts.add_sample(restarts.name, {"model": model}, count)
    lag = Metric("headrace_event_loop_lag_seconds", "How late the event loop ran a timer", "histogram")
    _add_histogram(lag, {}, server.loop_lag, _SECONDS)
    build = {"version": server.version, "transport": server.transport, "python": platform.python_version()}
    records = Metric(
        "headrace_audit_records_total", "Records of the audit log, by whether they were kept", "counter"
    )
    records.add_sample(records.name, {"outcome": "written"}, server.audit_records)
    records.add_sample(records.name, {"outcome": "lost"}, server.audit_lost)
    archives = Metric(
        "headrace_audit_archives_total", "Archives of the audit log, by whether they were made", "counter"
    )
    archives.add_sample(archives.name, {"outcome": "success"}, server.audit_archives)
    archives.add_sample(archives.name, {"outcome": "failure"}, server.audit_archive_failures)
    yield from (loads, restarts, lag, records, archives)
    yield _single("headrace_build_info", "What serves: its labels say it, its value is 1", 1, build)
    yield _single("headrace_uptime_seconds", "Time since the server started", server.uptime_s)
    if server.certificate_ends_s is not None:
        yield _single(
            "headrace_tls_certificate_expiry_timestamp_seconds",
            "When the TLS certificate in use ends, in seconds since 1970",
            server.certificate_ends_s,
        )


def _single(name: str, help_text: str, value: float, labels: Labels | None = None) -> Metric:
    metric = Metric(name, help_text, "gauge")
    metric.add_sample(name, labels or {}, value)
    return metric
