"""Closed-loop load from h2load, a client in C that leaves the cores to the server.

h2load knows HTTP only: a failed gRPC call looks like any other to it. So every run over gRPC is checked
against what the server has counted; HTTP/1.1 tells by its status.
"""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.control import INFER_PATH
from benchmarks.models import Network
from benchmarks.servers import HttpServer, RunningServer

CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class Load:
    """So many requests of `rows` rows each, so many of them in flight."""

    network: Network
    requests: int
    in_flight: int
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of h2load, and what the server did meanwhile; `mean_batch` counts rows."""

    requests_per_s: float
    rows_per_s: float
    cpu_us_per_request: float
    latencies_us: tuple[int, ...]
    mean_batch: float


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One POST of `body`."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpOutcome:
    """One run of h2load over HTTP/1.1."""

    requests_per_s: float
    cpu_us_per_request: float


def drive(server: RunningServer, load: Load) -> Outcome:
    """Sends `load`; RuntimeError unless the server has answered each request well."""
    name = load.network.name
    before, cpu_before_s = server.control.counts(name), server.cpu_seconds()
    with TemporaryDirectory(prefix="headrace-h2load-") as folder:
        output, log = _run(server.port, load, Path(folder))
    cpu_s = server.cpu_seconds() - cpu_before_s
    counts = server.control.counts(name) - before
    if counts.success != load.requests or counts.fail:
        raise RuntimeError(f"of {load.requests} requests {counts.success} were answered well:\n{output}")
    rate = read_rate(output)
    return Outcome(
        requests_per_s=rate,
        rows_per_s=rate * load.rows,
        cpu_us_per_request=cpu_s / load.requests * 1e6,
        latencies_us=read_latencies_us(log),
        mean_batch=counts.mean_batch,
    )


def drive_http(server: HttpServer, request: HttpRequest, requests: int, connections: int) -> HttpOutcome:
    """Sends `request` over HTTP/1.1 so many times, one at a time on each connection.

    RuntimeError unless every answer's status was 2xx.
    """
    requests = max(requests, connections)
    cpu_before_s = server.cpu_seconds()
    with TemporaryDirectory(prefix="headrace-h2load-") as folder:
        body = Path(folder, "body")
        body.write_bytes(request.body)
        command = [
            *("h2load", "--h1", "-n", str(requests), "-c", str(connections), "-d", str(body)),
            *(part for name, value in request.headers.items() for part in ("-H", f"{name}: {value}")),
            f"http://127.0.0.1:{server.port}{request.path}",
        ]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cpu_s = server.cpu_seconds() - cpu_before_s
    if (good := read_good_statuses(output)) != requests:
        raise RuntimeError(f"of {requests} requests {good} were answered with 2xx:\n{output}")
    return HttpOutcome(read_rate(output), cpu_s / requests * 1e6)


def frame(message: bytes) -> bytes:
    """`message` as gRPC sends it: not compressed, and its length in four bytes."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def read_rate(output: str) -> float:
    """Requests per second from h2load's summary; ValueError where it finished nothing."""
    found = re.search(r"finished in [\d.]+m?s, ([\d.]+) req/s", output)
    if found is None:
        raise ValueError(f"h2load printed no rate:\n{output}")
    return float(found[1])


def read_good_statuses(output: str) -> int:
    """How many answers had a status of 2xx, from h2load's summary; ValueError where it has no such line."""
    found = re.search(r"status codes: (\d+) 2xx", output)
    if found is None:
        raise ValueError(f"h2load printed no statuses:\n{output}")
    return int(found[1])


def read_latencies_us(log: str) -> tuple[int, ...]:
    """The time of each request from h2load's log: lines of start, HTTP status and microseconds taken."""
    return tuple(int(line.split()[2]) for line in log.splitlines())


def _run(port: int, load: Load, folder: Path) -> tuple[str, str]:
    body, log = folder / "body", folder / "log"
    body.write_bytes(frame(load.network.request(load.rows)))
    connections = min(CONNECTIONS, load.in_flight)
    command = [
        *("h2load", "-n", str(load.requests), "-c", str(connections)),
        *("-m", str(load.in_flight // connections), "-d", str(body), f"--log-file={log}"),
        *("-H", "content-type: application/grpc", "-H", "te: trailers"),
        f"http://127.0.0.1:{port}{INFER_PATH}",
    ]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return output, log.read_text()
