"""More work than there is time for: what can be done is done, the rest is told so quickly, nothing is wasted."""

import asyncio
import statistics
import time

import grpc
import pytest
from support.adversity_models import scaler, spinner, write_model
from support.server import ServerProcess

from adversity.clients import EXPLICIT, Caller, Load, code_of, eventually, floats, run, spins
from adversity.observing import Metrics, assert_sound, resident_bytes

# Some milliseconds on a machine of today; a batch takes one request, so that capacity is one over that.
SPINS = 2000
ONE_AT_A_TIME = """
max_batch_size: 1
instance_group: [{kind: KIND_CPU, count: 1}]
dynamic_batching: {default_queue_policy: {max_queue_size: 16}}
"""
PATIENT = """
max_batch_size: 1
instance_group: [{kind: KIND_CPU, count: 1}]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    models = tmp_path_factory.mktemp("overload") / "models"
    models.mkdir()
    write_model(models, "busy", spinner(), config=ONE_AT_A_TIME)
    write_model(models, "patient", spinner(), config=PATIENT)
    write_model(models, "fast", scaler(2))
    with ServerProcess(models, *EXPLICIT) as server:
        yield server


async def goodput(server, callers: int, seconds: float, interval_s: float = 0.0) -> tuple[float, Load]:
    """Answers a second under so many callers."""
    load = Load(server.grpc_url, "busy", "spins", spins(SPINS), interval_s=interval_s)
    sending = asyncio.create_task(load.run(callers))
    await asyncio.sleep(seconds)
    count = load.answered_count
    load.is_over = True
    await sending
    return count / seconds, load


def test_overload_costs_no_goodput_and_refusals_are_quick_and_memory_stays_flat(server):
    """O01, O02: several times the capacity is offered, evenly spaced, for a few seconds."""

    async def main():
        await goodput(server, 4, 0.5)
        peak, _ = await goodput(server, 4, 2)
        memory_bytes = resident_bytes(server)
        # Each of 64 callers sends at most so often that together they offer five times the peak.
        under_load, load = await goodput(server, 64, 4, interval_s=64 / (5 * peak))
        offered = load.sent_count / 4
        assert offered > 2 * peak, (offered, peak)
        assert under_load > 0.7 * peak, (under_load, peak, offered)
        assert load.errors
        assert all(
            text.startswith("UNAVAILABLE: Exceeds maximum queue size") for text in load.errors
        ), load.errors
        refused_s, answered_s = map(statistics.median, (load.error_latencies_s, load.latencies_s))
        assert refused_s < max(0.05, answered_s / 2)
        # 16 wait, one executes.
        assert answered_s < 17 * 2.5 / peak
        assert resident_bytes(server) < memory_bytes + 30_000_000
        refused = load.errors.total()
        metrics = await asyncio.to_thread(Metrics, server)
        assert metrics.value("headrace_rejected_total", model="busy", reason="queue_full") >= refused

        async with Caller(server.grpc_url) as caller:
            started = time.monotonic()
            await caller.infer("busy", "spins", spins(SPINS))
            assert time.monotonic() - started < 2
            started = time.monotonic()
            for _ in range(10):
                await caller.infer("busy", "spins", spins(SPINS))
            assert (time.monotonic() - started) / 10 < 10 / peak + 0.02

    run(main())
    assert_sound(server)


def test_what_nobody_waits_for_any_more_is_never_executed(server):
    """O03: callers who leave, and deadlines that pass behind a second of work."""

    def depth():
        return Metrics(server).value("headrace_queue_depth", model="patient")

    async def main():
        async with Caller(server.grpc_url) as caller:
            executed, _ = await caller.executions("patient")
            long = asyncio.create_task(caller.infer("patient", "spins", spins(250_000)))
            await asyncio.sleep(0.05)
            leaving = [asyncio.create_task(caller.infer("patient", "spins", spins(1))) for _ in range(50)]
            staying = [asyncio.create_task(caller.infer("patient", "spins", spins(7))) for _ in range(3)]
            await eventually(lambda: depth() == 53)
            for task in leaving:
                task.cancel()
            await asyncio.wait(leaving)
            hurried = [caller.infer("patient", "spins", spins(1), timeout_s=0.1) for _ in range(30)]
            codes = [code for code, _ in await asyncio.gather(*map(code_of, hurried))]
            assert set(codes) == {grpc.StatusCode.DEADLINE_EXCEEDED}
            assert not long.done()
            await long
            for task in staying:
                assert (await task).values.item() == 7
            after, _ = await caller.executions("patient")
            assert after - executed == 1 + len(staying)

    run(main())
    metrics = Metrics(server)
    # Some of those in a hurry may not have got as far as the server.
    assert metrics.value("headrace_rejected_total", model="patient", reason="cancelled") >= 50
    assert metrics.value("headrace_rejected_total", model="patient") <= 80
    assert_sound(server)


def test_a_slow_model_does_not_hold_up_a_fast_one(server):
    """O06."""

    async def main():
        async with Caller(server.grpc_url) as caller:
            slow = [asyncio.create_task(caller.infer("patient", "spins", spins(300_000))) for _ in range(4)]
            await asyncio.sleep(0.1)
            load = Load(server.grpc_url, "fast", "x", floats(), interval_s=0.02)
            sending = asyncio.create_task(load.run(4))
            await asyncio.sleep(1.0)
            assert not slow[-1].done()
            load.is_over = True
            await sending
            load.assert_flawless()
            latencies = sorted(load.latencies_s)
            assert latencies[len(latencies) * 9 // 10] < 0.1
            assert [(await each).values.item() for each in slow] == [300_000] * 4

    run(main())
    assert_sound(server)


def test_requests_that_wait_are_answered_though_their_neighbours_leave(server):
    """I7: each of those who stay gets its own answer, each once."""

    async def main():
        async with Caller(server.grpc_url) as caller:
            first = asyncio.create_task(caller.infer("patient", "spins", spins(20_000)))
            await asyncio.sleep(0.02)
            calls = [asyncio.create_task(caller.infer("patient", "spins", spins(n))) for n in range(40)]
            await asyncio.sleep(0.02)
            for task in calls[::2]:
                task.cancel()
            await asyncio.wait(calls)
            assert [task.result().values.item() for task in calls[1::2]] == list(range(1, 40, 2))
            await first
            await eventually(lambda: Metrics(server).value("headrace_queue_depth") == 0)

    run(main())
    assert_sound(server)
