"""Which models execute on the event loop: those whose longest execution is known to be short."""

import time

from headrace.backend.base import Backend
from headrace.core.tensor import DataType
from headrace.errors import HeadraceError
from headrace.model.warmup import Inputs, zeros
from headrace.repository.config import InstanceKind, ModelConfig
from headrace.repository.repository import VersionSource

MEASURED_RUNS = 3


def is_inline_worthy(source: VersionSource, backend: Backend, limit_us: int) -> bool:
    """True where the model's largest batch takes less than `limit_us`, and no input can make it take longer.

    None can where shapes are fixed, there are no strings, and the graph's cost depends on shapes only. Blocks
    while it measures.
    """
    config = source.config
    if not limit_us or not source.model.has_fixed_cost or not _has_fixed_shapes(config):
        return False
    try:
        return _best_us(config, backend) < limit_us
    except HeadraceError:
        return False


def _has_fixed_shapes(config: ModelConfig) -> bool:
    on_cpu = all(group.kind is not InstanceKind.GPU for group in config.instance_groups)
    fixed = all(spec.is_fixed and spec.datatype is not DataType.BYTES for spec in config.inputs)
    return on_cpu and fixed


def _best_us(config: ModelConfig, backend: Backend) -> float:
    """The shortest of a few executions of the largest batch, in microseconds."""
    inputs = zeros(config, config.fixed_batch or config.max_batch_size)
    outputs = [spec.name for spec in config.outputs]
    return min(_execution_us(backend, inputs, outputs) for _ in range(MEASURED_RUNS))


def _execution_us(backend: Backend, inputs: Inputs, outputs: list[str]) -> float:
    started_ns = time.perf_counter_ns()
    backend.execute(inputs, outputs)
    return (time.perf_counter_ns() - started_ns) / 1000
