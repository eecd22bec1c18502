"""What is concluded from how long batches of each size take."""

import pytest

from headrace.core.tensor import TensorSpec
from headrace.errors import ExecutionFailed
from headrace.model import measure
from headrace.model.measure import BATCH_OVERHEAD_US, efficient_rows, has_representative_zeros
from support.scheduling import Doubler, config, spec


def efficient(monkeypatch, took_us, max_batch_size=32):
    monkeypatch.setattr(measure, "execution_us", lambda backend, model, rows: took_us(rows))
    return efficient_rows(Doubler(), config(max_batch_size=max_batch_size))


@pytest.mark.parametrize(
    ("took_us", "expected"),
    [
        (lambda rows: 10_000 * rows, 1),
        (lambda rows: 10_000, 32),
        (lambda rows: 20, 32),
        (lambda rows: 1_000 * max(rows, 8), 8),
        (lambda rows: 150_000 * rows, 1),
    ],
    ids=["each row costs the same", "a batch costs as a row", "tiny", "eight rows for free", "very slow"],
)
def test_the_smallest_size_that_is_about_as_cheap_per_row(monkeypatch, took_us, expected):
    assert efficient(monkeypatch, took_us) == expected


def test_what_a_batch_costs_beside_its_execution_counts(monkeypatch):
    assert efficient(monkeypatch, lambda rows: rows * BATCH_OVERHEAD_US) == 8


def test_a_model_that_refuses_zeros_keeps_its_largest_size(monkeypatch):
    def refuse(rows):
        raise ExecutionFailed("no zeros")

    assert efficient(monkeypatch, refuse) == 32


def test_a_largest_size_between_powers_of_two_is_measured_too(monkeypatch):
    assert efficient(monkeypatch, lambda rows: 10_000, max_batch_size=5) == 5


def test_variable_shapes_and_strings_are_not_measured():
    assert has_representative_zeros(config(inputs=(spec("x", dims=(2,)),)))
    assert not has_representative_zeros(config(inputs=(spec("x", dims=(-1,)),)))
    texts: TensorSpec = spec("x", "BYTES", dims=(1,))
    assert not has_representative_zeros(config(inputs=(texts,)))
