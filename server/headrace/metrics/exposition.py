"""Metrics as text that Prometheus reads (text format 0.0.4).

prometheus_client's own writer gives every counter's name the ending `_total`, which Triton's names have not.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import isfinite, isnan
from typing import Protocol

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})
_LABEL_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class SampleSource(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> Mapping[str, str]: ...

    @property
    def value(self) -> float: ...


class MetricSource(Protocol):
    """A family of samples, as prometheus_client's `Metric`."""

    @property
    def name(self) -> str: ...

    @property
    def documentation(self) -> str: ...

    @property
    def type(self) -> str: ...

    @property
    def samples(self) -> Sequence[SampleSource]: ...


def render(metric: MetricSource) -> str:
    """The lines of `metric`; none where it has no samples."""
    if not metric.samples:
        return ""
    # prometheus_client's own counters have the ending in their samples only.
    name = metric.samples[0].name if metric.type == "counter" else metric.name
    lines = [f"# HELP {name} {metric.documentation.translate(_HELP_ESCAPES)}", f"# TYPE {name} {metric.type}"]
    lines += [f"{item.name}{_labels(item.labels)} {_number(item.value)}" for item in metric.samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join([f'{key}="{_escape(value)}"' for key, value in labels.items()]) + "}"


@lru_cache(maxsize=4096)
def _escape(value: str) -> str:
    """Remembered, as the few values of a server stand in each of its thousands of lines."""
    return value.translate(_LABEL_ESCAPES)


def _number(value: float) -> str:
    if isfinite(value):
        return repr(value)
    return "NaN" if isnan(value) else "+Inf" if value > 0 else "-Inf"
