"""Versions come, go and are replaced while callers send: nobody notices, except by the better answers."""

import asyncio
import os
import time

import grpc
import numpy as np
import pytest

from adversity.clients import EXPLICIT, Answer, Caller, Load, code_of, eventually, floats, run, spins
from adversity.observing import (
    Metrics,
    assert_sound,
    has_waiting,
    open_file_count,
    resident_bytes,
    thread_count,
)
from support.adversity_models import (
    external_scaler,
    picker,
    remove_version,
    scaler,
    spinner,
    write_config,
    write_model,
)
from support.server import ServerProcess

NOT_FOUND, UNAVAILABLE = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT

POLL = ("--repository-poll-interval-s=0.2", "--repository-settle-time-s=0.5")
PADDING_BYTES = 200_000
FAILING_WARM_UP = """
max_batch_size: 4
model_warmup:
  - name: impossible
    batch_size: 1
    inputs: {index: {data_type: TYPE_INT64, dims: [1], input_data_file: index}}
"""


def version_times_x(got: Answer) -> str:
    """What is wrong with an answer of a model whose version n multiplies by n."""
    return "" if np.array_equal(got.values, floats(2) * got.version) else f"wrong: {got}"


@pytest.fixture(scope="module")
def steady(tmp_path_factory):
    """A server in explicit mode with a model `m`, and its repository."""
    models = tmp_path_factory.mktemp("reload") / "models"
    models.mkdir()
    write_model(models, "m", scaler(1))
    with ServerProcess(models, *EXPLICIT) as server:
        yield server, models


@pytest.fixture(scope="module")
def polled(tmp_path_factory):
    """A server that follows a repository, and that repository."""
    models = tmp_path_factory.mktemp("polled") / "models"
    models.mkdir()
    with ServerProcess(models, *POLL) as server:
        yield server, models


def load_all(server, *names: str) -> None:
    async def main():
        async with Caller(server.grpc_url) as caller:
            for name in names:
                await caller.load(name)

    run(main())


def load_on(server, model: str, **changes) -> Load:
    return Load(server.grpc_url, model, "x", floats(2), version_times_x, **changes)


def test_reloads_under_load_fail_no_request_and_answer_each_from_one_version(steady):
    """L01, explicit: sixty loads of three models, each to another version, while callers send."""
    server, models = steady
    names = ("one", "two", "three")
    for name in names:
        write_model(models, name, scaler(1))

    async def main():
        loads = [load_on(server, name, interval_s=0.02) for name in names]
        sending = [asyncio.create_task(load.run(3)) for load in loads]
        async with Caller(server.grpc_url) as caller:
            started = time.monotonic()
            for version in range(2, 22):
                for name in names:
                    write_model(models, name, scaler(version), version=version)
                await asyncio.gather(*(caller.load(name) for name in names))
                for name in names:
                    assert await caller.ready_versions(name) == {version}
                    if version > 2:
                        remove_version(models, name, version - 1)
                if version == 7:
                    threads, files = thread_count(server), open_file_count(server)
            seconds = time.monotonic() - started
            for load in loads:
                load.is_over = True
            await asyncio.gather(*sending)
            for load in loads:
                load.assert_flawless()
                assert len(load.answers) > 10
            rate = sum(load.answered_count for load in loads) / seconds
            assert rate > 50, rate
            await eventually(lambda: thread_count(server) <= threads + 2)
            assert open_file_count(server) <= files + 4

    load_all(server, *names)
    run(main())
    metrics = Metrics(server)
    for name in names:
        assert metrics.value("headrace_model_loads_total", model=name, outcome="success") == 21
        assert metrics.value("headrace_model_loads_total", model=name, outcome="failure") == 0
    assert_sound(server)


def test_a_version_replaced_under_the_same_number_is_switched_in_one_step(steady):
    """L01: an answer is the old file's or the new file's, and after the load the new one's."""
    server, models = steady
    write_model(models, "switched", scaler(1))
    factors = {1.0}

    def whole(got: Answer) -> str:
        factor = float(got.values[0, 0])
        is_right = factor in factors and np.array_equal(got.values, floats(2) * np.float32(factor))
        return "" if is_right else f"wrong: {got}"

    async def main():
        load = Load(server.grpc_url, "switched", "x", floats(2), whole, interval_s=0.01)
        async with Caller(server.grpc_url) as caller:
            await caller.load("switched")
            sending = asyncio.create_task(load.run(4))
            for factor in range(2, 17):
                factors.add(float(factor))
                write_model(models, "switched", scaler(factor))
                await caller.load("switched")
                got = await caller.infer("switched", "x", floats(2))
                assert got.values[0, 0] == factor
        load.is_over = True
        await sending
        load.assert_flawless()

    run(main())
    assert_sound(server)


def copy_slowly(data: bytes, target, seconds: float) -> None:
    """As a slow copy over a network does it: into place, piece by piece."""
    pieces = 10
    size = -(-len(data) // pieces)
    target.parent.mkdir(parents=True)
    with target.open("wb") as file:
        for start in range(0, len(data), size):
            file.write(data[start : start + size])
            file.flush()
            os.fsync(file.fileno())
            time.sleep(seconds / pieces)


def test_a_version_that_is_copied_in_slowly_is_never_loaded_half_and_old_ones_leave_unnoticed(polled):
    """L01 in poll mode, L03."""
    server, models = polled
    write_model(models, "copied", scaler(1, PADDING_BYTES))

    async def main():
        load = load_on(server, "copied", interval_s=0.01)
        async with Caller(server.grpc_url) as caller:
            await eventually(lambda: caller.is_model_ready("copied"))
            sending = asyncio.create_task(load.run(4))
            for version in (2, 3):
                data = scaler(version, PADDING_BYTES).SerializeToString()
                target = models / "copied" / str(version) / "model.onnx"
                copying = asyncio.create_task(asyncio.to_thread(copy_slowly, data, target, 1.5))
                while not copying.done():
                    assert await caller.ready_versions("copied") == {version - 1}
                    await asyncio.sleep(0.1)
                await copying
                await eventually(lambda: _is_only(caller, "copied", version))  # noqa: B023
                remove_version(models, "copied", version - 1)
            await asyncio.sleep(1.0)
            assert await caller.ready_versions("copied") == {3}
        load.is_over = True
        await sending
        load.assert_flawless()
        assert set(load.answers) == {1, 2, 3}

    run(main())
    failures = {"model": "copied", "outcome": "failure"}
    assert Metrics(server).value("headrace_model_loads_total", **failures) == 0
    assert "cannot load 'copied'" not in server.log
    assert_sound(server)


async def _is_only(caller: Caller, model: str, *versions: int) -> bool:
    return await caller.ready_versions(model) == set(versions)


def test_version_policies_are_switched_while_the_server_runs(polled):
    """L07."""
    server, models = polled
    for version in (1, 2, 3):
        write_model(models, "policies", scaler(version), version=version)

    async def main():
        load = load_on(server, "policies", interval_s=0.01)
        async with Caller(server.grpc_url) as caller:
            await eventually(lambda: caller.is_model_ready("policies"))
            sending = asyncio.create_task(load.run(2))
            assert await caller.ready_versions("policies") == {3}
            for policy, versions in (
                ("{all: {}}", {1, 2, 3}),
                ("{specific: {versions: [1, 2]}}", {1, 2}),
                ("{latest: {num_versions: 2}}", {2, 3}),
                ("{latest: {num_versions: 1}}", {3}),
            ):
                write_config(models / "policies", f"version_policy: {policy}\n")
                await eventually(lambda: _is_only(caller, "policies", *versions))  # noqa: B023
                for version in (1, 2, 3):
                    code, _ = await code_of(caller.infer("policies", "x", floats(2), version=str(version)))
                    wanted = {grpc.StatusCode.OK} if version in versions else {UNAVAILABLE, NOT_FOUND}
                    assert code in wanted, (policy, version, code)
                got = await caller.infer("policies", "x", floats(2))
                assert got.version == max(versions)
        load.is_over = True
        await sending
        load.assert_flawless()

    run(main())
    assert_sound(server)


def _bad_config(models):
    write_config(models / "m", "max_batch_sise: 4\n")


def _contradicting_config(models):
    write_config(models / "m", "input: [{name: nothing, data_type: TYPE_FP32, dims: [4]}]\n")


def _missing_file(models):
    (models / "m" / "1" / "model.onnx").unlink()


def _truncated_file(models):
    path = models / "m" / "1" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-20])


def _empty_file(models):
    (models / "m" / "1" / "model.onnx").write_bytes(b"")


def _garbage(models):
    (models / "m" / "1" / "model.onnx").write_bytes(os.urandom(1000))


def _failing_warm_up(models):
    (models / "m" / "warmup").mkdir(exist_ok=True)
    (models / "m" / "warmup" / "index").write_bytes(np.int64(-99).tobytes())
    write_model(models, "m", picker(), config=FAILING_WARM_UP)


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (_bad_config, "max_batch_size"),
        (_contradicting_config, "nothing"),
        (_missing_file, "model.onnx"),
        (_truncated_file, "model.onnx"),
        (_empty_file, "model.onnx"),
        (_garbage, "model.onnx"),
        (_failing_warm_up, "warm-up 'impossible' failed"),
    ],
)
def test_a_reload_that_fails_leaves_the_old_version_serving_and_says_why(steady, break_it, words):
    """L02: in the answer, in the index, in the log and in the metrics."""
    server, models = steady
    before = Metrics(server)
    log_length = len(server.log)

    async def main():
        async with Caller(server.grpc_url) as caller:
            load = load_on(server, "m", interval_s=0.01)
            sending = asyncio.create_task(load.run(2))
            code, details = await code_of(caller.load("m"))
            assert code is INVALID_ARGUMENT
            assert words in details
            assert str(models) not in details
            state, reason = (await caller.index())["m", "1"]
            assert state == "READY"
            assert words in reason
            assert await caller.is_model_ready("m")
            load.is_over = True
            await sending
            load.assert_flawless()

    async def recover():
        async with Caller(server.grpc_url) as caller:
            await caller.load("m")
            assert (await caller.index())["m", "1"] == ("READY", "")

    break_it(models)
    try:
        run(main())
    finally:
        write_model(models, "m", scaler(1))
        (models / "m" / "config.yaml").unlink(missing_ok=True)
    assert words in server.log[log_length:]
    failures = {"model": "m", "outcome": "failure"}
    loads = "headrace_model_loads_total"
    assert Metrics(server).value(loads, **failures) == before.value(loads, **failures) + 1
    run(recover())
    assert_sound(server)


def test_a_load_call_with_a_wrong_configuration_is_refused_and_changes_nothing(steady):
    """L02: the configuration comes with the call."""
    server, _ = steady

    async def main():
        async with Caller(server.grpc_url) as caller:
            code, details = await code_of(caller.load("m", config='{"max_batch_sise": 4}'))
            assert code is INVALID_ARGUMENT
            assert "max_batch_size" in details
            assert (await caller.infer("m", "x", floats(2))).values[0, 0] == 1

    run(main())
    assert_sound(server)


def test_files_that_change_while_they_are_read_are_never_served_half(steady):
    """L03: a load sees one consistent snapshot, or fails and says so; the next one, undisturbed, succeeds."""
    server, models = steady
    write_model(models, "disturbed", scaler(1, PADDING_BYTES))
    whole = [scaler(factor, PADDING_BYTES).SerializeToString() for factor in (1, 2)]

    async def main():
        target = models / "disturbed" / "1" / "model.onnx"
        is_over = False

        def disturb():
            turn = 0
            while not is_over:
                data = whole[turn % 2]
                turn += 1
                with target.open("wb") as file:
                    file.write(data[: len(data) // 2])
                    file.flush()
                    file.write(data[len(data) // 2 :])
                time.sleep(0.002)

        async with Caller(server.grpc_url) as caller:
            await caller.load("disturbed")
            disturbing = asyncio.create_task(asyncio.to_thread(disturb))
            for _ in range(25):
                code, details = await code_of(caller.load("disturbed"))
                assert code in (grpc.StatusCode.OK, INVALID_ARGUMENT), details
                got = await caller.infer("disturbed", "x", floats(2))
                assert got.values[0, 0] in (1, 2)
                assert np.array_equal(got.values, floats(2) * got.values[0, 0])
            is_over = True
            await disturbing
            write_model(models, "disturbed", scaler(5))
            await caller.load("disturbed")
            assert (await caller.infer("disturbed", "x", floats(2))).values[0, 0] == 5

    run(main())
    assert_sound(server)


def test_files_truncated_after_the_load_harm_nobody(steady):
    """L04: what serves is in memory; no SIGBUS from a mapping."""
    server, models = steady
    model, content = external_scaler(3, "ones.bin")
    target = write_model(
        models, "truncated", model, files={"ones.bin": content}, config="max_batch_size: 8\n"
    )

    async def main():
        async with Caller(server.grpc_url) as caller:
            await caller.load("truncated")
            assert (await caller.infer("truncated", "x", floats(2))).values[0, 0] == 3
            os.truncate(target, 0)
            os.truncate(target.parent / "ones.bin", 0)
            for rows in (1, 2, 8) * 5:
                got = await caller.infer("truncated", "x", floats(rows))
                assert np.array_equal(got.values, floats(rows) * 3)
            target.unlink()
            assert (await caller.infer("truncated", "x", floats(2))).values[0, 0] == 3

    run(main())
    assert_sound(server)


def test_unloading_under_load_finishes_what_was_taken_on_and_refuses_the_rest(steady):
    """L05."""
    server, models = steady
    write_model(models, "spin", spinner(), config="max_batch_size: 1\ninstance_group: [{count: 1}]\n")

    async def main():
        async with Caller(server.grpc_url) as caller:
            await caller.load("spin")
            counts = [300_000, 1, 2, 3, 4]
            first = asyncio.create_task(caller.infer("spin", "spins", spins(counts[0])))
            await asyncio.sleep(0.05)
            taken_on = [
                first,
                *(asyncio.create_task(caller.infer("spin", "spins", spins(count))) for count in counts[1:]),
            ]
            await eventually(lambda: has_waiting(server, 4, "spin"))
            await caller.unload("spin")
            for _ in range(5):
                code, details = await code_of(caller.infer("spin", "spins", spins(1)))
                assert code in (NOT_FOUND, UNAVAILABLE), details
            assert not await caller.is_model_ready("spin")
            answers = await asyncio.gather(*taken_on)
            assert [each.values.item() for each in answers] == counts
            code, _ = await code_of(caller.unload("spin"))
            assert code is NOT_FOUND
            await caller.load("spin")
            assert (await caller.infer("spin", "spins", spins(2))).values.item() == 2

    run(main())
    assert_sound(server)


def test_many_loads_and_unloads_at_once_end_in_one_of_their_states_and_leak_nothing(steady):
    """L06: twenty rounds of ten calls at the same time; each is answered, and all agree on the end."""
    server, models = steady
    write_model(models, "contested", scaler(1, PADDING_BYTES))

    async def main():
        async with Caller(server.grpc_url) as caller:
            for turn in range(20):
                calls = [
                    code_of(caller.unload("contested") if (turn + call) % 2 else caller.load("contested"))
                    for call in range(10)
                ]
                codes = {code for code, _ in await asyncio.gather(*calls)}
                assert codes <= {grpc.StatusCode.OK, NOT_FOUND}, codes
                is_ready = await caller.is_model_ready("contested")
                assert await caller.ready_versions("contested") == ({1} if is_ready else set())
                code, _ = await code_of(caller.infer("contested", "x", floats(2)))
                assert (code is grpc.StatusCode.OK) == is_ready
                if turn == 4:
                    await caller.load("contested")
                    await asyncio.sleep(0.2)
                    memory_bytes, threads = resident_bytes(server), thread_count(server)
                    files = open_file_count(server)
            await caller.load("contested")
            assert (await caller.infer("contested", "x", floats(2))).values[0, 0] == 1
            await eventually(lambda: thread_count(server) <= threads + 1)
            assert open_file_count(server) <= files + 1
            assert resident_bytes(server) < memory_bytes + 25_000_000

    run(main())
    assert_sound(server)
