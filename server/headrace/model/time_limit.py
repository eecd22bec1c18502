"""How long a model's execution may take, while it is loaded as well."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from headrace.backend.base import Backend


def execution_timeout_s(parameters: Mapping[str, str], default_ms: int) -> float:
    """The time of one execution in seconds, 0 for any; a model may state its own."""
    return int(parameters.get("execution_timeout_ms", default_ms)) / 1000


@contextmanager
def time_limit(backend: Backend, timeout_s: float) -> Iterator[None]:
    """Interrupts what `backend` executes after `timeout_s`, or never where it is 0."""
    if not timeout_s:
        yield
        return
    timer = threading.Timer(timeout_s, backend.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
