"""Executions that hang, fail or ask for too much: they cost their own batch, never the server."""

import asyncio
import time
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from adversity.clients import EXPLICIT, Caller, Load, code_of, eventually, floats, run, spins
from adversity.observing import Metrics, assert_sound, thread_count
from support.adversity_models import FOREVER, TOO_MANY, filler, picker, scaler, spinner, write_model
from support.server import ServerProcess

UNAVAILABLE, INTERNAL = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL

IMPATIENT = """
max_batch_size: 8
instance_group: [{{kind: KIND_CPU, count: {instances}}}]
parameters: {{execution_timeout_ms: {{string_value: "{timeout_ms}"}}}}
"""
WARMS_UP_FOR_EVER = """
max_batch_size: 8
parameters: {execution_timeout_ms: {string_value: "400"}}
model_warmup:
  - name: endless
    batch_size: 1
    inputs: {spins: {data_type: TYPE_INT64, dims: [1], input_data_file: endless}}
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers") / "models"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def server(models):
    write_model(models, "scale", scaler(3))
    write_model(models, "pick", picker())
    write_model(models, "fill", filler())
    for name, instances, timeout_ms in (("spin", 1, 400), ("pair", 2, 1500), ("loop", 1, 100)):
        config = IMPATIENT.format(instances=instances, timeout_ms=timeout_ms)
        write_model(models, name, spinner(), config=config)
    with ServerProcess(models, *EXPLICIT) as server:
        yield server


def bystander(server):
    """Callers of another model, who must not notice anything."""
    expected = floats() * 3
    return Load(
        server.grpc_url,
        "scale",
        "x",
        floats(),
        lambda got: "" if np.array_equal(got.values, expected) else f"wrong: {got}",
        interval_s=0.01,
    )


def processor_seconds(server) -> float:
    fields = Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_an_execution_that_hangs_costs_its_batch_and_its_worker_is_replaced(server):
    """W01, W03."""

    async def main():
        load = bystander(server)
        others = asyncio.create_task(load.run(4))
        async with Caller(server.grpc_url) as caller:
            await caller.infer("spin", "spins", spins(3))
            threads = thread_count(server)
            restarts = Metrics(server).value("headrace_worker_restarts_total", model="spin")
            started = time.monotonic()
            code, details = await code_of(caller.infer("spin", "spins", spins(FOREVER)))
            assert code is UNAVAILABLE
            assert "within 0.4 s" in details
            assert 0.35 < time.monotonic() - started < 3
            for count in range(20):
                got = await caller.infer("spin", "spins", spins(count))
                assert got.values.item() == count
            metrics = await asyncio.to_thread(Metrics, server)
            assert metrics.value("headrace_worker_restarts_total", model="spin") == restarts + 1
            assert metrics.value("headrace_worker_restarts_total", model="scale") == 0
            await eventually(lambda: thread_count(server) == threads)
        load.is_over = True
        await others
        load.assert_flawless()
        assert sorted(load.latencies_s)[len(load.latencies_s) // 2] < 0.1

    run(main())
    assert "took longer than 0.4 s" in server.log
    before = processor_seconds(server)
    time.sleep(0.5)
    assert processor_seconds(server) - before < 0.25, "the execution that hung goes on"
    assert_sound(server)


def test_the_other_instance_of_a_model_goes_on_while_one_hangs(server):
    """W01: nobody but the batch that hangs waits for the watchdog."""

    async def main():
        async with Caller(server.grpc_url) as caller:
            stuck = asyncio.create_task(code_of(caller.infer("pair", "spins", spins(FOREVER))))
            await asyncio.sleep(0.2)
            started = time.monotonic()
            for count in range(30):
                assert (await caller.infer("pair", "spins", spins(count))).values.item() == count
            assert time.monotonic() - started < 1.2
            assert not stuck.done()
            assert await caller.is_model_ready("pair")
            assert (await stuck)[0] is UNAVAILABLE

    run(main())
    assert_sound(server)


def test_a_model_that_hangs_again_and_again_waits_longer_each_time_and_harms_nobody(server):
    """W02, L18: not ready while it has no worker, live all the time, and well again afterwards."""

    async def main():
        load = bystander(server)
        others = asyncio.create_task(load.run(2))
        async with Caller(server.grpc_url) as caller:
            restarts = Metrics(server).value("headrace_worker_restarts_total", model="loop")
            for _ in range(4):
                code, _ = await code_of(caller.infer("loop", "spins", spins(FOREVER)))
                assert code is UNAVAILABLE
            # The fourth loss in a row: a worker comes back after 2 s only.
            assert not await caller.is_model_ready("loop")
            assert not await caller.is_server_ready()
            assert await caller.is_model_ready("scale")
            started = time.monotonic()
            assert (await caller.infer("loop", "spins", spins(5))).values.item() == 5
            assert 1 < time.monotonic() - started < 6
            assert await caller.is_model_ready("loop")
            assert await caller.is_server_ready()
            metrics = await asyncio.to_thread(Metrics, server)
            assert metrics.value("headrace_worker_restarts_total", model="loop") == restarts + 4
        load.is_over = True
        await others
        load.assert_flawless()

    run(main())
    assert_sound(server)


def test_whoever_watches_health_hears_of_a_lost_worker_and_of_its_replacement(server):
    """L18."""

    async def main():
        serving, not_serving = (
            health_pb2.HealthCheckResponse.SERVING,
            health_pb2.HealthCheckResponse.NOT_SERVING,
        )
        seen = []
        async with Caller(server.grpc_url) as caller, grpc.aio.insecure_channel(server.grpc_url) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="loop"))

            async def follow():
                async for response in watch:
                    seen.append(response.status)

            following = asyncio.create_task(follow())
            await eventually(lambda: seen == [serving])
            for _ in range(3):
                await code_of(caller.infer("loop", "spins", spins(FOREVER)))
            await caller.infer("loop", "spins", spins(1))
            await eventually(lambda: not_serving in seen and seen[-1] == serving, 3)
            watch.cancel()
            await asyncio.wait([following])

    run(main())


def test_an_execution_that_fails_is_an_error_of_its_own_batch_only(server):
    """W01 adapted: the worker is kept, and its next batch is fine."""

    async def main():
        async with Caller(server.grpc_url) as caller:
            for index in (3, -99, 4, 10, 9):
                call = caller.infer("pick", "index", spins(index))
                if 0 <= index < 10:
                    assert (await call).values.item() == index * 10
                    continue
                code, details = await code_of(call)
                assert code is INTERNAL
                assert "model 'pick' failed" in details
                assert "idx" in details or "indices" in details
        metrics = await asyncio.to_thread(Metrics, server)
        assert metrics.value("headrace_worker_restarts_total", model="pick") == 0
        assert metrics.value("nv_inference_request_failure", model="pick", reason="BACKEND") == 2
        assert metrics.value("nv_inference_request_success", model="pick") == 3

    run(main())
    assert_sound(server)


def test_an_execution_that_wants_more_memory_than_there_is_fails_alone(server):
    """W04."""

    async def main():
        load = bystander(server)
        others = asyncio.create_task(load.run(2))
        async with Caller(server.grpc_url) as caller:
            for _ in range(3):
                code, details = await code_of(caller.infer("fill", "count", np.array([TOO_MANY])))
                assert code is INTERNAL
                assert "memory" in details
            assert (await caller.infer("fill", "count", np.array([8]))).values.item() == 0
        load.is_over = True
        await others
        load.assert_flawless()

    run(main())
    assert_sound(server)


def test_a_model_whose_cost_depends_on_its_values_holds_up_nobody_else(server):
    """O06: without a loop in its graph, and next to nothing to do for the zeros of the warm-up."""

    async def main():
        load = bystander(server)
        others = asyncio.create_task(load.run(2))
        async with Caller(server.grpc_url) as caller:
            await eventually(lambda: load.answered_count > 5)
            load.latencies_s.clear()
            started = time.monotonic()
            await caller.infer("fill", "count", np.array([2**28]))
            seconds = time.monotonic() - started
        load.is_over = True
        await others
        load.assert_flawless()
        assert max(load.latencies_s) < max(0.1, seconds / 2), seconds

    run(main())
    assert_sound(server)


def test_a_warm_up_that_hangs_is_a_load_that_fails_in_time(server, models):
    """W10: the reason is told; the other models go on."""
    folder = models / "endless"
    (folder / "warmup").mkdir(parents=True)
    (folder / "warmup" / "endless").write_bytes(np.int64(FOREVER).tobytes())
    write_model(models, "endless", spinner(), config=WARMS_UP_FOR_EVER)

    async def main():
        load = bystander(server)
        others = asyncio.create_task(load.run(2))
        async with Caller(server.grpc_url) as caller:
            started = time.monotonic()
            code, details = await code_of(caller.load("endless"))
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert "warm-up 'endless' failed" in details
            assert time.monotonic() - started < 5
            state, reason = (await caller.index())["endless", "1"]
            assert state == "UNAVAILABLE"
            assert "warm-up 'endless' failed" in reason
        load.is_over = True
        await others
        load.assert_flawless()

    run(main())
    assert Metrics(server).value("headrace_model_loads_total", model="endless", outcome="failure") == 1
    assert_sound(server)
