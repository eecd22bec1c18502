"""The table of models that `headrace serve` shows when it is ready and `headrace models` at any time."""

from collections.abc import Iterable
from typing import Protocol

from headrace.cli.units import duration
from headrace.logs.table import Table

_TITLES = ("MODEL", "VERSION", "STATE", "MAX BATCH", "INSTANCES", "THREADS", "DEVICE", "QUEUE", "LOADED IN")
_NUMBERS = ("MAX BATCH", "INSTANCES", "THREADS", "QUEUE", "LOADED IN")


class ModelRow(Protocol):
    """One version, as the control service's ModelInfo or the Admin service's Model."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def state(self) -> str: ...

    @property
    def reason(self) -> str: ...

    @property
    def max_batch_size(self) -> int: ...

    @property
    def instances(self) -> int: ...

    @property
    def threads_per_instance(self) -> int: ...

    @property
    def device(self) -> str: ...

    @property
    def queue_depth(self) -> int: ...

    @property
    def max_queue_size(self) -> int: ...

    @property
    def load_duration_us(self) -> int: ...

    @property
    def is_default(self) -> bool: ...


def model_table(models: Iterable[ModelRow]) -> str:
    """A line a version; a * marks the one that answers requests which name none."""
    rows = [_row(model) for model in models]
    return Table((*_TITLES, "REASON"), _NUMBERS).format(rows) if rows else "no models are loaded"


def _row(model: ModelRow) -> tuple[object, ...]:
    known = (model.name, model.version + ("*" if model.is_default else ""), model.state)
    if not model.instances:
        return (*known, "-", "-", "-", "-", "-", "-", model.reason)
    return (
        *known,
        model.max_batch_size or "-",
        model.instances,
        model.threads_per_instance,
        model.device,
        f"{model.queue_depth}/{model.max_queue_size}",
        duration(model.load_duration_us),
        model.reason,
    )
