"""What an operator sees of a server under test: its metrics, its log, its process."""

import asyncio
import re
import urllib.request
from pathlib import Path
from weakref import WeakKeyDictionary

from prometheus_client.parser import text_string_to_metric_families

from support.server import ServerProcess

UNHANDLED = re.compile(
    r"Traceback|this is a bug|never retrieved|never awaited|Exception in callback|Unhandled"
)


class Metrics:
    """One scrape."""

    def __init__(self, server: ServerProcess) -> None:
        with urllib.request.urlopen(server.metrics_url, timeout=10) as response:
            text = response.read().decode()
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples called `name` that carry `labels`."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name in (name, f"{name}_total") and labels.items() <= sample.labels.items()
        )


async def has_waiting(server: ServerProcess, count: int, model: str) -> bool:
    """Whether exactly `count` requests wait for `model`; asked so that the callers can go on meanwhile."""
    return (await asyncio.to_thread(Metrics, server)).value("headrace_queue_depth", model=model) == count


def resident_bytes(server: ServerProcess) -> int:
    return int(_status(server)["VmRSS"].split()[0]) * 1024


def thread_count(server: ServerProcess) -> int:
    return int(_status(server)["Threads"])


def open_file_count(server: ServerProcess) -> int:
    return sum(1 for _ in Path(f"/proc/{server.pid}/fd").iterdir())


def assert_sound(server: ServerProcess) -> None:
    """It still runs, waits for nothing, and has met nothing since the last look that it has no answer to."""
    assert server.exit_status is None, server.log
    log = server.log
    news, _looked_at[server] = log[_looked_at.get(server, 0) :], len(log)
    assert UNHANDLED.search(news) is None, news
    metrics = Metrics(server)
    assert metrics.value("headrace_queue_depth") == 0
    assert metrics.value("nv_inference_pending_request_count") == 0


_looked_at: WeakKeyDictionary[ServerProcess, int] = WeakKeyDictionary()


def _status(server: ServerProcess) -> dict[str, str]:
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)
