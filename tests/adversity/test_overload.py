"""More work than there is time for: what can be done is done, the rest hears so quickly."""

import asyncio
import statistics
import time
from dataclasses import dataclass

import grpc
import numpy as np
import pytest

from adversity.clients import EXPLICIT, Caller, Load, code_of, eventually, floats, run, spins
from adversity.observing import Metrics, assert_sound, has_waiting, resident_bytes
from support.adversity_models import scaler, spinner, write_model
from support.server import ServerProcess

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
    write_model(models, "joined", spinner(), config="max_batch_size: 64\ndynamic_batching: {}\n")
    write_model(models, "fast", scaler(2))
    with ServerProcess(models, *EXPLICIT) as server:
        yield server


@dataclass(frozen=True, slots=True)
class Observed:
    """A stretch of load: answers a second, and which share of the time the instance executed."""

    load: Load
    goodput: float
    busy_share: float


async def observe(server, callers: int, seconds: float, interval_s: float = 0.0) -> Observed:
    load = Load(server.grpc_url, "busy", "spins", spins(SPINS), interval_s=interval_s)
    async with Caller(server.grpc_url) as caller:
        sending = asyncio.create_task(load.run(callers))
        await asyncio.sleep(0.3)
        count, busy_s, started = load.answered_count, await caller.busy_s("busy"), time.monotonic()
        await asyncio.sleep(seconds)
        count, busy_s = load.answered_count - count, await caller.busy_s("busy") - busy_s
        seconds = time.monotonic() - started
        load.is_over = True
        await sending
    return Observed(load, count / seconds, busy_s / seconds)


def test_overload_costs_no_goodput_and_refusals_are_quick_and_memory_stays_flat(server):
    """O01, O02: several times the capacity is offered, evenly spaced, for a few seconds."""

    async def main():
        before = await observe(server, 4, 1.2)
        memory_bytes = resident_bytes(server)
        # Each of 64 callers sends at most so often that together they offer five times the peak.
        over = await observe(server, 64, 3, interval_s=64 / (5 * before.goodput))
        after = await observe(server, 4, 1.2)

        peak = min(before.goodput, after.goodput)
        load = over.load
        assert load.sent_count / 3.3 > 2 * peak
        # The callers' own work takes processor time away, so the instance's share of it says more.
        assert over.busy_share > 0.8 * min(before.busy_share, after.busy_share), (before, over, after)
        assert over.goodput > 0.5 * peak, (before, over, after)

        assert load.errors
        refusals = "UNAVAILABLE: Exceeds maximum queue size"
        assert all(text.startswith(refusals) for text in load.errors), load.errors
        refused_s, answered_s = map(statistics.median, (load.error_latencies_s, load.latencies_s))
        assert refused_s < max(0.05, answered_s / 2)
        # Sixteen wait while one executes.
        assert answered_s < 17 * 2.5 / over.goodput
        assert resident_bytes(server) < memory_bytes + 30_000_000
        metrics = await asyncio.to_thread(Metrics, server)
        refused = metrics.value("headrace_rejected_total", model="busy", reason="queue_full")
        assert refused == load.errors.total()

        assert not after.load.errors
        assert statistics.median(after.load.latencies_s) < 4 * 2.5 / after.goodput
        assert after.load.latencies_s[0] < 2

    run(main())
    assert_sound(server)


def test_what_nobody_waits_for_any_more_is_never_executed(server):
    """O03: callers who leave, and deadlines that pass behind a second of work."""

    async def main():
        async with Caller(server.grpc_url) as caller:
            executed, _ = await caller.executions("patient")
            long = asyncio.create_task(caller.infer("patient", "spins", spins(250_000)))
            await asyncio.sleep(0.05)
            leaving = [asyncio.create_task(caller.infer("patient", "spins", spins(1))) for _ in range(50)]
            staying = [asyncio.create_task(caller.infer("patient", "spins", spins(7))) for _ in range(3)]
            await eventually(lambda: has_waiting(server, 53, "patient"))
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


def test_deadlines_that_pass_on_both_sides_at_once_are_nothing_to_log(server):
    """O03, I9: it is up to chance whether the caller or the server gives up first."""

    async def main():
        async with Caller(server.grpc_url) as caller:
            for _ in range(8):
                long = asyncio.create_task(caller.infer("patient", "spins", spins(60_000)))
                await asyncio.sleep(0.02)
                calls = [
                    caller.infer("patient", "spins", spins(1), timeout_s=0.05 + turn / 1000)
                    for turn in range(100)
                ]
                codes = {code for code, _ in await asyncio.gather(*map(code_of, calls))}
                assert codes <= {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.OK}
                await long

    run(main())
    assert_sound(server)


def test_a_slow_model_does_not_hold_up_a_fast_one(server):
    """O06."""

    async def main():
        async with Caller(server.grpc_url) as caller:
            started = time.monotonic()
            await caller.infer("patient", "spins", spins(50_000))
            spins_per_second = 50_000 / (time.monotonic() - started)
            load = Load(server.grpc_url, "fast", "x", floats(), interval_s=0.02)
            started = time.monotonic()
            slow = asyncio.create_task(caller.infer("patient", "spins", spins(int(1.5 * spins_per_second))))
            sending = asyncio.create_task(load.run(4))
            await slow
            seconds = time.monotonic() - started
            load.is_over = True
            await sending
        load.assert_flawless()
        latencies = sorted(load.latencies_s)
        assert latencies[len(latencies) * 9 // 10] < max(0.1, seconds / 5), (seconds, latencies)

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
            await eventually(lambda: has_waiting(server, 0, "patient"))

    run(main())
    assert_sound(server)


@pytest.mark.parametrize("model", ["fast", "joined"])
def test_every_caller_gets_its_own_rows_however_they_are_batched(server, model):
    """R12: each answer is checked, under load, on the event loop as on a thread."""

    async def send(caller, first: int) -> None:
        for turn in range(25):
            rows = 1 + (first + turn) % 7
            if model == "fast":
                own = floats(rows, start=1000 * first + 10 * turn)
                got = await caller.infer(model, "x", own)
                np.testing.assert_array_equal(got.values, own * 2)
            else:
                own = first * 25 + turn + np.arange(rows).reshape(rows, 1)
                got = await caller.infer(model, "spins", own)
                np.testing.assert_array_equal(got.values, own)

    async def main():
        async with Caller(server.grpc_url) as caller, Caller(server.grpc_url) as other:
            await asyncio.gather(*(send((caller, other)[first % 2], first) for first in range(40)))

    run(main())
    metrics = Metrics(server)
    answered = metrics.value("nv_inference_request_success", model=model)
    assert answered >= 1000
    if model == "joined":
        assert metrics.value("nv_inference_exec_count", model=model) < answered
    assert_sound(server)
