"""Told to stop: what was accepted is answered, nothing new is taken on, and the end comes in time."""

import asyncio
import signal
import socket
import time
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from adversity.clients import EXPLICIT, Caller, code_of, eventually, request, run, spins
from adversity.observing import UNHANDLED, has_waiting
from support.adversity_models import FOREVER, scaler, spinner, write_model
from support.server import ServerProcess

OK, UNAVAILABLE, CANCELLED = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING

ONE_BY_ONE = "max_batch_size: 1\ninstance_group: [{kind: KIND_CPU, count: 1}]\n"
WARMS_UP_FOR_EVER = """
max_batch_size: 8
parameters: {execution_timeout_ms: {string_value: "20000"}}
model_warmup:
  - name: endless
    batch_size: 1
    inputs: {spins: {data_type: TYPE_INT64, dims: [1], input_data_file: endless}}
"""
# Some tens of milliseconds of work.
A_WHILE = 10_000


@pytest.fixture
def models(repository):
    write_model(repository, "spin", spinner(), config=ONE_BY_ONE)
    write_model(repository, "scale", scaler(2))
    return repository


async def watch_health(url: str, seen: list) -> None:
    """Notes each health of the server, and how the watching ended."""
    async with grpc.aio.insecure_channel(url) as channel:
        try:
            async for response in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()):
                seen.append(response.status)
        except grpc.aio.AioRpcError as error:
            seen.append(error.code())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_whoever_was_accepted_is_answered_before_the_end(models, number):
    """L10: requests in the queue, under execution and in streams."""

    async def main(server):
        seen = []
        watching = asyncio.create_task(watch_health(server.grpc_url, seen))
        async with Caller(server.grpc_url) as caller:
            await eventually(lambda: seen == [SERVING])
            first = asyncio.create_task(caller.infer("spin", "spins", spins(40 * A_WHILE)))
            await asyncio.sleep(0.05)
            unary = [asyncio.create_task(caller.infer("spin", "spins", spins(A_WHILE + n))) for n in range(8)]
            got = []
            is_over = asyncio.Event()

            async def requests():
                for n in range(4):
                    yield request("spin", "spins", spins(A_WHILE + 100 + n))
                await is_over.wait()  # the caller leaves its side open

            async def stream():
                async for response in caller.stream(requests()):
                    assert not response.error_message
                    got.append(np.frombuffer(response.infer_response.raw_output_contents[0], np.int64).item())

            streaming = asyncio.create_task(code_of(stream()))
            await eventually(lambda: has_waiting(server, 12, "spin"))
            server.signal(number)
            assert (await first).values.item() == 40 * A_WHILE
            answers = await asyncio.gather(*unary)
            assert [each.values.item() for each in answers] == [A_WHILE + n for n in range(8)]
            code, _ = await streaming
            is_over.set()
            assert got == [A_WHILE + 100 + n for n in range(4)]
            assert code in (OK, UNAVAILABLE)
            await watching
            assert seen[:2] == [SERVING, NOT_SERVING]
            assert seen[2:] in ([UNAVAILABLE], [])
            code, _ = await code_of(caller.infer("spin", "spins", spins(1), timeout_s=2))
            assert code is UNAVAILABLE

    with ServerProcess(models, *EXPLICIT, "--drain-timeout-s=20") as server:
        started = time.monotonic()
        run(main(server))
        assert server.wait() == 0
        assert time.monotonic() - started < 15
        assert UNHANDLED.search(server.log) is None, server.log
        assert server.log.rstrip().endswith("stopped")


def test_a_server_told_to_stop_under_load_loses_nothing_that_it_accepted(models):
    """L10: callers who send without pause get an answer, or hear at once that the server is going."""

    async def main(server):
        codes = []

        async def send(caller):
            while True:
                code, details = await code_of(caller.infer("scale", "x", np.ones((1, 4), np.float32)))
                codes.append(code)
                if code is not OK:
                    # CANCELLED is what grpc.aio makes of calls that arrive as it stops: no handler saw them.
                    assert code in (UNAVAILABLE, CANCELLED), (code, details)
                    return

        async with Caller(server.grpc_url) as first, Caller(server.grpc_url) as second:
            sending = [asyncio.create_task(send(caller)) for caller in (first, second) for _ in range(8)]
            await eventually(lambda: len(codes) > 300)
            server.signal(signal.SIGTERM)
            await asyncio.wait_for(asyncio.gather(*sending), 10)
            assert len(codes) - codes.count(OK) == len(sending)

    with ServerProcess(models, *EXPLICIT, "--drain-timeout-s=10") as server:
        run(main(server))
        assert server.wait(12) == 0
        assert UNHANDLED.search(server.log) is None, server.log


def test_an_execution_that_hangs_ends_with_the_drain_time_and_the_exit_status_says_so(models):
    """L11."""

    async def main(server):
        async with Caller(server.grpc_url) as caller:
            stuck = asyncio.create_task(code_of(caller.infer("spin", "spins", spins(FOREVER))))
            await asyncio.sleep(0.3)
            waiting = asyncio.create_task(code_of(caller.infer("spin", "spins", spins(1))))
            await eventually(lambda: has_waiting(server, 1, "spin"))
            started = time.monotonic()
            server.signal(signal.SIGTERM)
            for call in (stuck, waiting):
                code, _ = await call
                assert code in (UNAVAILABLE, CANCELLED)
            assert 0.9 < time.monotonic() - started < 4
            status = await asyncio.to_thread(server.wait, 15)
            assert status == 3
            assert time.monotonic() - started < 5, "it took long after its drain time"

    with ServerProcess(models, *EXPLICIT, "--drain-timeout-s=1") as server:
        run(main(server))
        assert UNHANDLED.search(server.log) is None, server.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_second_signal_ends_it_at_once(models, number):
    """L12."""

    async def main(server):
        async with Caller(server.grpc_url) as caller:
            stuck = asyncio.create_task(code_of(caller.infer("spin", "spins", spins(FOREVER))))
            await asyncio.sleep(0.3)
            server.signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            assert server.exit_status is None
            started = time.monotonic()
            server.signal(number)
            status = await asyncio.to_thread(server.wait, 5)
            assert time.monotonic() - started < 1
            assert status == 128 + number
            assert (await stuck)[0] in (UNAVAILABLE, CANCELLED)

    with ServerProcess(models, *EXPLICIT) as server:
        run(main(server))


@pytest.mark.parametrize("delay_s", [0.1, 0.4, 0.8])
def test_told_to_stop_while_it_starts_it_stops(models, delay_s):
    """L12: at any moment of its start."""
    server = ServerProcess(models, *EXPLICIT)
    server.start()
    try:
        time.sleep(delay_s)
        status = server.terminate(10)
        # Before it listens to signals the system ends it.
        assert status in (0, -signal.SIGTERM), server.log
        assert UNHANDLED.search(server.log) is None, server.log
    finally:
        server._end()


def _add_endless(models):
    folder = models / "endless"
    (folder / "warmup").mkdir(parents=True)
    (folder / "warmup" / "endless").write_bytes(np.int64(FOREVER).tobytes())
    write_model(models, "endless", spinner(), config=WARMS_UP_FOR_EVER)


def test_told_to_stop_while_a_model_warms_up_at_the_start_it_does_not_wait_for_it(models):
    """L12: the warm-up's own time limit is twenty seconds."""
    _add_endless(models)
    server = ServerProcess(models, *EXPLICIT)
    server.start()
    try:
        deadline = time.monotonic() + 20
        while "loaded 'spin'" not in server.log:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.2)
        assert server.terminate(5) == 0, server.log
        assert UNHANDLED.search(server.log) is None, server.log
    finally:
        server._end()


def test_told_to_stop_during_a_load_call_it_answers_that_call_and_stops(models):
    """L12."""

    async def main(server):
        async with Caller(server.grpc_url) as caller:
            _add_endless(models)
            loading = asyncio.create_task(code_of(caller.load("endless")))
            await asyncio.sleep(0.5)
            server.signal(signal.SIGTERM)
            code, _ = await loading
            assert code in (grpc.StatusCode.INVALID_ARGUMENT, UNAVAILABLE, CANCELLED)
            status = await asyncio.to_thread(server.wait, 5)
            assert status in (0, 3)

    with ServerProcess(models, *EXPLICIT, "--drain-timeout-s=1") as server:
        run(main(server))
        assert UNHANDLED.search(server.log) is None, server.log


def test_nothing_is_left_behind_when_it_is_killed(models):
    """W08: no child of its own, and its port is free for the next."""
    with ServerProcess(models, *EXPLICIT) as server:
        tasks = Path(f"/proc/{server.pid}/task").iterdir()
        assert "".join((task / "children").read_text() for task in tasks) == ""
        assert server.kill() == -signal.SIGKILL
        for port in (server.grpc_port, server.metrics_port):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
