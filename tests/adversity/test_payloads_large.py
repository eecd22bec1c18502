"""Requests that are sound and large, or small and much work: answers right, memory bounded, nobody waits."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from adversity.observing import assert_sound, resident_bytes
from adversity.payloads import Caller, assert_counters_add_up, request
from support import onnx_models
from support.server import ServerProcess

TENSOR_BYTES = 30_000_000
TENSORS = 10
LIMIT_BYTES = 64 * 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    repository = tmp_path_factory.mktemp("models")
    onnx_models.write_models(repository, "identity_int32", "identity_bytes", "fixed_bytes", "work")
    with ServerProcess(repository, f"--grpc-max-receive-message-bytes={LIMIT_BYTES}") as server:
        yield server


@pytest.fixture(scope="module")
def caller(server: ServerProcess) -> Iterator[Caller]:
    caller = Caller(server.grpc_url)
    yield caller
    assert_sound(server)
    assert_counters_add_up(server, caller)
    caller.channel.close()
    assert server.terminate() == 0, server.log


def test_large_tensors_in_parallel(server: ServerProcess, caller: Caller) -> None:
    """C09: ten times 30 MB in and out at once are right, within three times the payload."""
    tensors = [np.arange(TENSOR_BYTES // 4, dtype=np.int32) + number for number in range(TENSORS)]
    before = resident_bytes(server)
    peak = Peak(server)

    def one(array: np.ndarray) -> bool:
        own = Caller(server.grpc_url)
        try:
            response = own.infer(request("identity_int32", x=("INT32", array.reshape(1, -1))), timeout_s=60)
            return bool(response.raw_output_contents[0] == array.tobytes())
        finally:
            own.channel.close()

    with peak, ThreadPoolExecutor(TENSORS) as pool:
        assert all(pool.map(one, tensors))

    caller.answered["identity_int32"] += TENSORS
    assert peak.bytes - before < 3 * TENSORS * TENSOR_BYTES


class Peak:
    """The largest resident memory while it is entered."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.bytes = 0

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(0.005):
            self.bytes = max(self.bytes, resident_bytes(self._server))


def test_over_the_limit_is_refused_as_such(caller: Caller) -> None:
    """C09"""
    message = request("identity_int32", x=("INT32", (1, LIMIT_BYTES // 4), bytes(LIMIT_BYTES)))

    assert caller.outcome(message)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_million_empty_strings_take_linear_time(caller: Caller) -> None:
    """C04: ten times the elements take about ten times as long."""

    def seconds(count: int) -> float:
        data = bytes(4 * count)
        began_s = time.monotonic()
        response = caller.infer(request("identity_bytes", x=("BYTES", (1, count), data)))
        elapsed_s = time.monotonic() - began_s
        assert response.raw_output_contents[0] == data
        return elapsed_s

    seconds(1000)
    hundred_thousand_s = min(seconds(100_000) for _ in range(3))

    assert seconds(1_000_000) < 40 * hundred_thousand_s


def test_others_are_answered_while_a_million_strings_are_read(server: ServerProcess, caller: Caller) -> None:
    """I4, C04: what is left to wait for is ONNX Runtime's own conversion of strings, which holds the GIL."""
    with Others(server, caller) as others:
        began_s = time.monotonic()
        caller.infer(request("identity_bytes", x=("BYTES", (1, 1_000_000), bytes(4_000_000))))
        elapsed_s = time.monotonic() - began_s

    assert others.longest_wait_s < elapsed_s / 3


def test_a_small_request_for_much_work_holds_up_nobody_else(server: ServerProcess, caller: Caller) -> None:
    """I4: a model that takes microseconds may take seconds with other values."""
    with Others(server, caller) as others:
        began_s = time.monotonic()
        response = caller.infer(request("work", shape=("INT64", np.array([5000, 5000]))))
        elapsed_s = time.monotonic() - began_s

    assert response.raw_output_contents[0] == np.float32(1).tobytes()
    assert others.longest_wait_s < elapsed_s / 2


class Others:
    """Somebody else, who asks one small thing after the other while it is entered."""

    def __init__(self, server: ServerProcess, caller: Caller) -> None:
        self._own = Caller(server.grpc_url)
        self._count_with = caller
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.longest_wait_s = 0.0

    def __enter__(self) -> "Others":
        self._own.infer(request("fixed_bytes", x=("BYTES", (2, 3), bytes(24))))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._count_with.answered += self._own.answered
        self._own.channel.close()

    def _ask(self) -> None:
        while not self._is_over.is_set():
            began_s = time.monotonic()
            self._own.infer(request("fixed_bytes", x=("BYTES", (2, 3), bytes(24))))
            self.longest_wait_s = max(self.longest_wait_s, time.monotonic() - began_s)
