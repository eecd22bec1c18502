"""What is concluded from how long batches of each size take."""

import pytest

from headrace.core.tensor import TensorSpec
from headrace.errors import ExecutionFailed
from headrace.model import measure
from headrace.model.measure import (
    BATCH_OVERHEAD_US,
    cheap_sizes,
    execution_us,
    has_representative_zeros,
)
from support.scheduling import Doubler, config, spec


def sizes(monkeypatch, took_us, max_batch_size=32):
    monkeypatch.setattr(measure, "execution_us", lambda backend, model, rows: took_us(rows))
    return cheap_sizes(Doubler(), config(max_batch_size=max_batch_size))


@pytest.mark.parametrize(
    ("took_us", "expected"),
    [
        (lambda rows: 10_000 * rows, (1, 4)),
        (lambda rows: 10_000, (32, 32)),
        (lambda rows: 20, (32, 32)),
        (lambda rows: 8_000 * max(rows, 8), (8, 8)),
        (lambda rows: 10_000 * rows + 5_000, (4, 8)),
        (lambda rows: 150_000 * rows, (1, 1)),
    ],
    ids=[
        "each row costs the same",
        "a batch costs as a row",
        "tiny",
        "eight rows for the price of one",
        "half a row to begin with",
        "very slow",
    ],
)
def test_the_smallest_sizes_that_are_cheap_and_that_are_enough(monkeypatch, took_us, expected):
    assert sizes(monkeypatch, took_us) == expected


def test_what_a_batch_costs_beside_its_execution_counts(monkeypatch):
    assert sizes(monkeypatch, lambda rows: rows * BATCH_OVERHEAD_US) == (4, 16)


def test_sizes_that_promise_nothing_are_not_measured(monkeypatch):
    measured = []
    sizes(monkeypatch, lambda rows: measured.append(rows) or 10_000 * rows)
    assert measured == [1, 2, 4]


def test_a_model_that_refuses_zeros_keeps_its_largest_size(monkeypatch):
    def refuse(rows):
        raise ExecutionFailed("no zeros")

    assert sizes(monkeypatch, refuse) == (32, 32)


def test_a_largest_size_between_powers_of_two_is_measured_too(monkeypatch):
    assert sizes(monkeypatch, lambda rows: 10_000, max_batch_size=5) == (4, 5)


def test_short_executions_are_repeated_and_long_ones_are_not(monkeypatch):
    class Counted(Doubler):
        executions = 0

        def execute(self, inputs, outputs):
            self.executions += 1
            return []

    clock = iter(range(10**9))
    short, long = Counted(), Counted()
    monkeypatch.setattr(measure.time, "perf_counter_ns", lambda: next(clock) * 1_000)
    assert execution_us(short, config(), 1) == 1.0
    monkeypatch.setattr(measure.time, "perf_counter_ns", lambda: next(clock) * 10_000_000)
    assert execution_us(long, config(), 1) == 10_000.0
    assert (short.executions, long.executions) == (3, 1)


def test_variable_shapes_and_strings_are_not_measured():
    assert has_representative_zeros(config(inputs=(spec("x", dims=(2,)),)))
    assert not has_representative_zeros(config(inputs=(spec("x", dims=(-1,)),)))
    texts: TensorSpec = spec("x", "BYTES", dims=(1,))
    assert not has_representative_zeros(config(inputs=(texts,)))
