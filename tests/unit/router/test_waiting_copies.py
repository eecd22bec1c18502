"""Copies wait within bounds, by count, by bytes and by age."""

import numpy as np

from headrace.core.tensor import DataType, Tensor
from headrace.router.shadow.pair import held_bytes
from headrace.router.shadow.waiting import Copy, WaitingCopies


def copy(byte_size, answered_ns=0):
    return Copy(None, 1, None, None, answered_ns, byte_size)


def test_bytes_are_bounded():
    waiting = WaitingCopies(max_bytes=100)

    dropped = [waiting.put(copy(40)) for _ in range(4)]

    assert dropped == [0, 0, 1, 1]
    assert waiting.byte_count == 80


def test_what_is_taken_counts_until_it_is_released():
    waiting = WaitingCopies(max_bytes=100)
    waiting.put(copy(60))
    taken = waiting.take()

    assert waiting.put(copy(60)) == 1
    waiting.release(taken)

    assert waiting.put(copy(60)) == 0
    assert waiting.byte_count == 60


def test_one_that_is_too_large_by_itself_does_not_wait():
    waiting = WaitingCopies(max_bytes=100)

    assert waiting.put(copy(101)) == 1
    assert not waiting
    assert waiting.byte_count == 0


def test_a_view_holds_all_that_it_is_a_view_of_but_only_once():
    batch = np.zeros(1000, np.float32)
    view = batch.reshape(-1).view(np.uint8).data
    tensors = [Tensor(name, DataType.FP32, (1,), view[:4]) for name in ("a", "b")]
    message = Tensor("c", DataType.FP32, (1,), memoryview(bytes(10))[2:6])

    assert held_bytes(tensors) == 4000
    assert held_bytes([*tensors, message]) == 4010
    assert held_bytes([Tensor("d", DataType.FP32, (1,), b"abcd")]) == 4
