"""Metrics: what a scrape says, and how the endpoint behaves."""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.errors import ConfigError
from headrace.metrics import BATCH_SIZE_BOUNDS, Histogram
from headrace.metrics.collector import MODEL_STATES, registry_of
from headrace.metrics.exposition import render
from headrace.metrics.loop_lag import LoopLag
from headrace.metrics.machine import Machine
from headrace.metrics.routing import RolloutSample, RoutingSample
from headrace.metrics.server import MAX_CONNECTIONS, MetricsServer
from headrace.metrics.source import ServerSample, VersionSample
from headrace.model.state import ModelState
from headrace.model.statistics import BatchTimes, FailReason, Statistics
from headrace.settings import MetricsSettings

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "metrics.md"


class FakeServer:
    """A server with one ready version, which executed one batch of 2 requests and 5 rows, and one broken."""

    def __init__(self) -> None:
        self.statistics = Statistics()
        self.statistics.add_batch(
            BatchTimes(
                requests=2,
                rows=5,
                batch_wait_ns=30_000,
                compute_input_ns=1_000,
                compute_infer_ns=500_000,
                compute_output_ns=2_000,
            ),
            queue_ns=[40_000, 60_000],
            total_ns=[600_000, 700_000],
        )
        self.statistics.add_failures(FailReason.REJECTED, [10], cause="queue_full")
        self.ready = VersionSample(
            model="digits",
            version="1",
            state="READY",
            statistics=self.statistics,
            tags={"team": 'a"b\\c\nd', "cost-centre": "7"},
            pending_count=4,
            queue_depth=3,
            load_duration_s=1.5,
        )
        self.broken = VersionSample(model="digits", version="2", state="UNAVAILABLE")
        self.sample = ServerSample(
            version="0.1.0",
            transport="grpcio",
            uptime_s=12.5,
            loop_lag=Histogram((1000,)),
            loads={("digits", "success"): 1, ("digits", "failure"): 2},
            rejected={("", "not_found"): 6, ("digits", "rate_limit"): 7},
            audit_records=8,
            audit_lost=9,
            audit_archives=10,
            audit_archive_failures=11,
            worker_restarts={"digits": 1},
            certificate_ends_s=2e9,
            routing=RoutingSample(
                routed={("digits", "1", "weights"): 95},
                shadowed={("digits", "3", "paired"): 12},
                uncompared={"dropped": 2},
                breakers={("digits", "1"): "half-open"},
                rollouts=[RolloutSample("digits", "3", "running", 2, 6, 0.05)],
                events={("digits", "promoted"): 3},
                webhooks={"delivered": 4},
            ),
        )

    def versions(self) -> list[VersionSample]:
        return [self.ready, self.broken]

    def server(self) -> ServerSample:
        return self.sample


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


def page_of(server: FakeServer) -> str:
    return "".join(map(render, registry_of(server, Machine()).collect()))


def samples_of(page: str) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """Values by name and labels."""
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    # This parser puts `_total` behind the name of every counter, whatever its line says.
    for family in text_string_to_metric_families(page.replace(" counter\n", " gauge\n")):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


TAGS = {"_team": 'a"b\\c\nd', "_cost_centre": "7"}
READY = {"model": "digits", "version": "1", **TAGS}


def labels(**more: str) -> frozenset[tuple[str, str]]:
    return frozenset({**READY, **more}.items())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nv_inference_request_success", 2),
        ("nv_inference_count", 5),
        ("nv_inference_exec_count", 1),
        ("nv_inference_pending_request_count", 4),
        ("nv_inference_request_duration_us", 1300),
        ("nv_inference_queue_duration_us", 100),
        ("nv_inference_compute_input_duration_us", 2),
        ("nv_inference_compute_infer_duration_us", 1000),
        ("nv_inference_compute_output_duration_us", 4),
        ("nv_model_load_duration_secs", 1.5),
        ("headrace_queue_depth", 3),
    ],
)
def test_figures_of_a_version_stand_under_their_names(server, name, value):
    assert samples_of(page_of(server))[name] == {labels(): value}


def test_triton_counters_have_tritons_names_and_type(server):
    server.ready = VersionSample("digits", "1", "READY", server.statistics)
    page = page_of(server)
    assert "# TYPE nv_inference_count counter\n" in page
    assert 'nv_inference_count{model="digits",version="1"} 5\n' in page
    assert not re.search(r"nv_\w+_total\b", page)


def test_failures_are_counted_by_reason(server):
    failures = samples_of(page_of(server))["nv_inference_request_failure"]
    assert failures == {
        labels(reason="REJECTED"): 1,
        labels(reason="CANCELED"): 0,
        labels(reason="BACKEND"): 0,
        labels(reason="OTHER"): 0,
    }


def test_rejections_are_told_with_and_without_a_model(server):
    assert samples_of(page_of(server))["headrace_rejected_total"] == {
        labels(reason="queue_full"): 1,
        frozenset({"model": "", "version": "", "reason": "not_found"}.items()): 6,
        frozenset({"model": "digits", "version": "", "reason": "rate_limit"}.items()): 7,
    }


def test_records_of_the_audit_log_are_counted_by_whether_they_were_kept(server):
    assert samples_of(page_of(server))["headrace_audit_records_total"] == {
        frozenset({("outcome", "written")}): 8,
        frozenset({("outcome", "lost")}): 9,
    }


def test_archives_of_the_audit_log_are_counted_by_whether_they_were_made(server):
    assert samples_of(page_of(server))["headrace_audit_archives_total"] == {
        frozenset({("outcome", "success")}): 10,
        frozenset({("outcome", "failure")}): 11,
    }


def test_histograms_are_cumulative_and_in_seconds(server):
    samples = samples_of(page_of(server))
    buckets = samples["headrace_queue_seconds_bucket"]
    assert buckets[labels(le="5e-05")] == 1
    assert buckets[labels(le="0.0001")] == 2
    assert buckets[labels(le="10")] == 2
    assert buckets[labels(le="+Inf")] == 2
    assert samples["headrace_queue_seconds_count"][labels()] == 2
    assert samples["headrace_queue_seconds_sum"][labels()] == pytest.approx(0.0001)
    assert samples["headrace_request_seconds_sum"][labels()] == pytest.approx(0.0013)
    assert samples["headrace_compute_seconds_sum"][labels()] == pytest.approx(2 * 0.000503)
    assert samples["headrace_batch_wait_seconds_count"][labels()] == 2


def test_batch_size_counts_rows(server):
    buckets = samples_of(page_of(server))["headrace_batch_size_bucket"]
    assert buckets[labels(le="4")] == 0
    assert buckets[labels(le="8")] == 1
    assert len(buckets) == len(BATCH_SIZE_BOUNDS) + 1


def test_state_is_one_for_the_state_a_version_is_in(server):
    states = samples_of(page_of(server))["headrace_model_state"]
    assert states[labels(state="READY")] == 1
    assert states[labels(state="LOADING")] == 0
    broken = {"model": "digits", "version": "2"}
    assert states[frozenset({**broken, "state": "UNAVAILABLE"}.items())] == 1


def test_every_state_of_a_model_is_known():
    assert {state.value for state in ModelState} == set(MODEL_STATES)


def test_a_version_that_was_never_ready_has_a_state_only(server):
    page = page_of(server)
    named = {line.partition("{")[0] for line in page.splitlines() if 'version="2"' in line}
    assert named == {"headrace_model_state"}


def test_figures_of_the_server_stand_under_their_names(server):
    server.sample.loop_lag.observe(500)
    samples = samples_of(page_of(server))
    assert samples["headrace_model_loads_total"] == {
        frozenset({"model": "digits", "outcome": "success"}.items()): 1,
        frozenset({"model": "digits", "outcome": "failure"}.items()): 2,
    }
    assert samples["headrace_worker_restarts_total"] == {frozenset({("model", "digits")}): 1}
    assert samples["headrace_uptime_seconds"] == {frozenset(): 12.5}
    assert samples["headrace_event_loop_lag_seconds_count"] == {frozenset(): 1}
    (build,) = samples["headrace_build_info"]
    assert {"version": "0.1.0", "transport": "grpcio"}.items() <= dict(build).items()
    assert samples["process_resident_memory_bytes"][frozenset()] > 0
    assert samples["process_cpu_seconds_total"][frozenset()] > 0


def test_every_metric_is_documented_with_its_type(server):
    documented = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", DOCUMENTATION.read_text(), re.M))
    served = dict(re.findall(r"^# TYPE ((?:nv|headrace)_\w+) (\w+)$", page_of(server), re.M))
    assert documented == served


def fake_proc(folder: Path, user: int, idle: int) -> Path:
    (folder / "stat").write_text(f"cpu  {user} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 2 3\n")
    (folder / "meminfo").write_text("MemTotal:  1000 kB\nMemFree: 100 kB\nMemAvailable:  400 kB\n")
    return folder


def test_utilization_is_the_share_since_the_last_reading(tmp_path):
    now = 0.0
    machine = Machine(fake_proc(tmp_path, user=100, idle=100), lambda: now)
    fake_proc(tmp_path, user=130, idle=190)
    now = 2.0
    assert machine.utilization() == pytest.approx(0.25)
    fake_proc(tmp_path, user=999, idle=190)
    now = 2.5
    assert machine.utilization() == pytest.approx(0.25)


def test_memory_in_use_is_what_is_not_available(tmp_path):
    assert Machine(fake_proc(tmp_path, 1, 1)).memory() == (1000 * 1024, 600 * 1024)


def test_machine_without_proc_has_no_figures(tmp_path):
    machine = Machine(tmp_path / "none")
    assert machine.utilization() is None
    assert machine.memory() is None


def test_loop_lag_counts_how_late_the_loop_was():
    async def hold_up_the_loop() -> LoopLag:
        lag = LoopLag(interval_s=0.001)
        lag.start()
        await asyncio.sleep(0.01)
        lag.stop()
        counted = sum(lag.histogram.counts)
        await asyncio.sleep(0.01)
        assert sum(lag.histogram.counts) == counted
        return lag

    lag = asyncio.run(hold_up_the_loop())
    assert sum(lag.histogram.counts) > 0
    assert lag.histogram.total > 0


def serve(
    server: FakeServer,
    act: Callable[[int], Awaitable[None]],
    scrape_timeout_s: float = 5.0,
    **settings: object,
) -> None:
    async def run() -> None:
        metrics = MetricsServer(
            MetricsSettings(port=0, **settings), server, scrape_timeout_s=scrape_timeout_s
        )  # type: ignore[arg-type]
        port = await metrics.start()
        try:
            await act(port)
        finally:
            await metrics.stop()

    asyncio.run(run())


async def request(port: int, head: bytes) -> tuple[str, bytes, bytes]:
    """Status line, headers and body; all empty where the connection is closed or reset instead."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    with suppress(ConnectionError):
        writer.write(head)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    headers, _, body = answer.partition(b"\r\n\r\n")
    return headers.decode().partition("\r\n")[0], headers, body


GET_METRICS = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def test_metrics_are_served_as_prometheus_text(server):
    async def act(port: int) -> None:
        status, headers, body = await request(port, GET_METRICS)
        assert status == "HTTP/1.1 200 OK"
        assert b"Content-Type: text/plain; version=0.0.4; charset=utf-8" in headers
        assert f"Content-Length: {len(body)}".encode() in headers
        assert samples_of(body.decode())["nv_inference_count"] == {labels(): 5}

    serve(server, act)


@pytest.mark.parametrize(
    ("head", "status", "text"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "200 OK", b'href="/metrics"'),
        (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", "200 OK", b"nv_inference_count"),
        (b"GET /other HTTP/1.1\r\n\r\n", "404 Not Found", b"/metrics"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed", b"only GET"),
        (b"\r\n\r\n", "405 Method Not Allowed", b"only GET"),
    ],
)
def test_only_get_of_known_paths_is_answered(server, head, status, text):
    async def act(port: int) -> None:
        line, _, body = await request(port, head)
        assert line == f"HTTP/1.1 {status}"
        assert text in body

    serve(server, act)


def test_silent_or_endless_client_is_let_go(server):
    async def act(port: int) -> None:
        assert (await request(port, b"GET /metr"))[2] == b""
        assert (await request(port, b"x" * 100_000))[2] == b""
        assert (await request(port, GET_METRICS))[0] == "HTTP/1.1 200 OK"

    serve(server, act, scrape_timeout_s=0.1)


def test_slow_scraper_does_not_hold_up_others_or_the_stop(server):
    server.versions = lambda: [server.ready] * 300  # type: ignore[method-assign]

    async def act(port: int) -> None:
        slow = socket.create_connection(("127.0.0.1", port))
        slow.sendall(GET_METRICS)
        status, _, body = await request(port, GET_METRICS)
        assert status == "HTTP/1.1 200 OK"
        assert len(body) > 1_000_000
        slow.close()

    serve(server, act)


def test_connections_are_bounded(server):
    async def act(port: int) -> None:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
        assert (await request(port, GET_METRICS))[2] == b""
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        await asyncio.sleep(0.05)
        assert (await request(port, GET_METRICS))[0] == "HTTP/1.1 200 OK"

    serve(server, act)


def test_stop_ends_connections_and_frees_the_port(server):
    async def run() -> None:
        metrics = MetricsServer(MetricsSettings(port=0), server)
        port = await metrics.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.01)
        await asyncio.wait_for(metrics.stop(), 1)
        assert await asyncio.wait_for(reader.read(), 1) == b""
        writer.close()
        again = MetricsServer(MetricsSettings(port=port), server)
        assert await again.start() == port
        await again.stop()

    asyncio.run(run())


def test_busy_port_is_told_in_one_line(server):
    async def act(port: int) -> None:
        with pytest.raises(ConfigError) as refused:
            await MetricsServer(MetricsSettings(port=port), server).start()
        assert str(refused.value) == (
            f"metrics.port: cannot listen on 127.0.0.1:{port}: address already in use"
        )

    serve(server, act)


def test_unknown_address_is_told_in_one_line(server):
    async def run() -> None:
        with pytest.raises(ConfigError, match=r"^metrics.port: cannot listen on no such host:0: .+$"):
            await MetricsServer(MetricsSettings(address="no such host", port=0), server).start()

    asyncio.run(run())
