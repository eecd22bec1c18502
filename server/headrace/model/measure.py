"""How long a model's batches take, measured while it is loaded, and what follows from it."""

import time

from headrace.backend.base import Backend
from headrace.core.tensor import DataType
from headrace.errors import HeadraceError
from headrace.model.warmup import zeros
from headrace.repository.config import ModelConfig

# How often a batch is executed, unless that takes longer than so much in all.
MEASURED_RUNS = 3
MEASURED_NS = 4_000_000
# What a batch costs beside its execution: taking, joining, cutting, answering.
BATCH_OVERHEAD_US = 150
# A batch is large enough where larger ones are at most so much cheaper per row.
GOOD_ENOUGH = 1.1
# Larger batches are not measured once one takes so long, or has not paid.
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


def efficient_rows(backend: Backend, config: ModelConfig) -> int:
    """The smallest batch that is about as cheap per row as larger ones; at most `max_batch_size`.

    Batching speeds up some models and not others. Where it does not, large batches only make requests wait
    for each other, and instances for work.
    """
    costs: dict[int, float] = {}
    for rows in _sizes(config.max_batch_size):
        try:
            took_us = execution_us(backend, config, rows)
        except HeadraceError:
            return config.max_batch_size
        costs[rows] = (took_us + BATCH_OVERHEAD_US) / rows
        best = min(costs, key=costs.__getitem__)
        if took_us > LONGEST_MEASURED_US or rows >= 4 * best:
            break
    enough = GOOD_ENOUGH * min(costs.values())
    return next(rows for rows, cost in costs.items() if cost <= enough)


def _sizes(largest: int) -> list[int]:
    sizes = [1]
    while sizes[-1] * 2 < largest:
        sizes.append(sizes[-1] * 2)
    return sizes if largest == 1 else [*sizes, largest]
