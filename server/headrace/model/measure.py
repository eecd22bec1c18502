"""How long a model's batches take, measured while it is loaded, and what follows from it."""

import time
from collections.abc import Mapping
from math import inf

from headrace.backend.base import Backend
from headrace.core.tensor import DataType
from headrace.errors import HeadraceError
from headrace.model.warmup import zeros
from headrace.repository.config import ModelConfig
from headrace.scheduler.batcher import CheapSizes

# How often a batch is executed, unless that takes longer than so much in all.
MEASURED_RUNS = 3
MEASURED_NS = 4_000_000
# What a batch costs beside its execution: taking, joining, cutting, answering, and caches that are cold
# after the event loop has had its turn (benchmarks/compute).
BATCH_OVERHEAD_US = 1500
# A size is cheap where a row costs at most so much more than it would at best, and large enough where little
# is left to gain.
CHEAP = 1.25
LARGE_ENOUGH = 1.05
# Larger batches are not measured once one takes so long.
LONGEST_MEASURED_US = 200_000


def has_representative_zeros(config: ModelConfig) -> bool:
    """True where executing zeros tells what executing anything takes: shapes are fixed, and no strings."""
    return all(spec.is_fixed and spec.datatype is not DataType.BYTES for spec in config.inputs)


def execution_us(backend: Backend, config: ModelConfig, rows: int) -> float:
    """The shortest of a few executions of `rows` rows of zeros, in microseconds. Raises ExecutionFailed."""
    inputs = zeros(config, rows)
    outputs = [spec.name for spec in config.outputs]
    times_ns: list[int] = []
    while len(times_ns) < MEASURED_RUNS and sum(times_ns) < MEASURED_NS:
        started_ns = time.perf_counter_ns()
        backend.execute(inputs, outputs)
        times_ns.append(time.perf_counter_ns() - started_ns)
    return min(times_ns) / 1000


def cheap_sizes(backend: Backend, config: ModelConfig) -> CheapSizes:
    """The sizes of batches that are about as cheap per row as any; at most `max_batch_size`.

    Batching speeds up some models and not others. Where it does not, large batches only make requests wait
    for each other, and instances for work.
    """
    row_us: dict[int, float] = {}
    for rows in _sizes(config.max_batch_size):
        try:
            took_us = execution_us(backend, config, rows)
        except HeadraceError:
            return CheapSizes(config.max_batch_size, config.max_batch_size)
        row_us[rows] = took_us / rows
        if took_us > LONGEST_MEASURED_US or _is_exhausted(row_us, rows):
            break
    best_us = min(row_us.values()) + BATCH_OVERHEAD_US / config.max_batch_size
    return CheapSizes(_smallest(row_us, CHEAP * best_us), _smallest(row_us, LARGE_ENOUGH * best_us))


def _is_exhausted(row_us: Mapping[int, float], rows: int) -> bool:
    """True where larger batches promise nothing: rows get no cheaper, and the overhead is small already."""
    is_flat = row_us[rows] * LARGE_ENOUGH > row_us.get(rows // 2, inf)
    return is_flat and row_us[rows] * rows * (LARGE_ENOUGH - 1) > BATCH_OVERHEAD_US


def _smallest(row_us: Mapping[int, float], limit_us: float) -> int:
    """The smallest size with which a row costs at most `limit_us` in all; else the largest one."""
    enough = (rows for rows, cost_us in row_us.items() if cost_us + BATCH_OVERHEAD_US / rows <= limit_us)
    return next(enough, max(row_us))


def _sizes(largest: int) -> list[int]:
    sizes = [1]
    while sizes[-1] * 2 < largest:
        sizes.append(sizes[-1] * 2)
    return sizes if largest == 1 else [*sizes, largest]
