"""New versions that do not answer their golden requests: refused with the reason while the old ones serve."""

import asyncio
import json

import grpc
import numpy as np
import pytest

from adversity.clients import EXPLICIT, Answer, Caller, Load, code_of, eventually, floats, run
from adversity.observing import Metrics, assert_sound
from support.adversity_models import remove_version, scaler, write_model
from support.server import ServerProcess

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
POLL = ("--repository-poll-interval-s=0.2", "--repository-settle-time-s=0.5")
ROWS = floats(2)


def golden(factor: float) -> dict[str, bytes]:
    """What a version that multiplies by `factor` must answer."""
    x = {"name": "x", "datatype": "FP32", "shape": list(ROWS.shape), "data": ROWS.tolist()}
    y = {"name": "y", "data": (ROWS * factor).tolist()}
    return {"golden/rows.json": json.dumps({"inputs": [x], "outputs": [y]}).encode()}


def write_version(models, name: str, version: int, factor: float) -> None:
    """A version that multiplies by `factor`, and that has to multiply by its number."""
    write_model(models, name, scaler(factor), version=version, files=golden(version))


def version_times_x(got: Answer) -> str:
    return "" if np.array_equal(got.values, ROWS * got.version) else f"wrong: {got}"


def failures_of(server: ServerProcess, model: str) -> float:
    return Metrics(server).value("headrace_model_loads_total", model=model, outcome="failure")


@pytest.fixture(scope="module")
def explicit(tmp_path_factory):
    """A server in explicit mode, and its repository."""
    models = tmp_path_factory.mktemp("golden") / "models"
    models.mkdir()
    write_version(models, "m", 1, 1)
    with ServerProcess(models, *EXPLICIT) as server:
        yield server, models


def test_a_load_call_gets_the_reason_and_the_old_version_goes_on(explicit):
    server, models = explicit

    async def main():
        load = Load(server.grpc_url, "m", "x", ROWS, version_times_x, interval_s=0.01)
        async with Caller(server.grpc_url) as caller:
            sending = asyncio.create_task(load.run(2))
            write_version(models, "m", 2, 3)
            code, details = await code_of(caller.load("m"))
            reason = (
                "m/2/golden/rows.json: output 'y' on cpu: 8 of 8 elements are off; the worst, [1, 3], is "
                "24.0, but 16.0 is expected, off by 8 with a tolerance of 0.0017"
            )
            assert code is INVALID_ARGUMENT
            assert details == f"load failed for model 'm': version 2 is at UNAVAILABLE state: {reason}"
            assert (await caller.index())["m", "2"] == ("UNAVAILABLE", reason)
            assert await caller.ready_versions("m") == {1}
            assert (await caller.infer("m", "x", ROWS)).version == 1

            write_version(models, "m", 2, 2)
            await caller.load("m")
            assert await caller.ready_versions("m") == {2}
        load.is_over = True
        await sending
        load.assert_flawless()
        assert set(load.answers) == {1, 2}

    run(main())
    assert failures_of(server, "m") == 1
    assert "'m' version 2 answers all golden requests (1) as expected" in server.log
    assert_sound(server)


def test_a_version_replaced_in_place_by_a_wrong_one_goes_on_as_it_was(explicit):
    server, models = explicit
    write_version(models, "replaced", 1, 1)

    async def main():
        async with Caller(server.grpc_url) as caller:
            await caller.load("replaced")
            write_version(models, "replaced", 1, 2)
            code, _ = await code_of(caller.load("replaced"))
            assert code is INVALID_ARGUMENT
            state, reason = (await caller.index())["replaced", "1"]
            assert state == "READY"
            assert "replaced/1/golden/rows.json: output 'y' on cpu" in reason
            assert reason.endswith("; the version loaded before goes on serving")
            assert np.array_equal((await caller.infer("replaced", "x", ROWS)).values, ROWS)

    run(main())
    assert_sound(server)


def test_a_golden_request_that_does_not_suit_the_model_is_a_reason_too(explicit):
    server, models = explicit
    write_model(
        models, "unsuited", scaler(1), files={"golden/a.json": b'{"inputs": [], "outputs": [{"name": "z"}]}'}
    )

    async def main():
        async with Caller(server.grpc_url) as caller:
            code, details = await code_of(caller.load("unsuited"))
            assert code is INVALID_ARGUMENT
            assert "unsuited/1/golden/a.json: inputs: input 'x' is missing" in details
            assert (
                "unsuited/1/golden/a.json: outputs[0].name: the model has no output 'z'; it has y" in details
            )

    run(main())
    assert_sound(server)


def test_in_poll_mode_a_wrong_version_is_passed_over_until_its_files_are_right(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    write_version(models, "m", 1, 1)

    async def main(server):
        load = Load(server.grpc_url, "m", "x", ROWS, version_times_x, interval_s=0.01)
        async with Caller(server.grpc_url) as caller:
            await eventually(lambda: caller.is_model_ready("m"))
            sending = asyncio.create_task(load.run(2))
            write_version(models, "m", 2, 5)
            await eventually(lambda: failures_of(server, "m") == 1)
            state, reason = (await caller.index())["m", "2"]
            assert state == "UNAVAILABLE"
            assert "m/2/golden/rows.json: output 'y' on cpu: 8 of 8 elements are off" in reason
            assert await caller.ready_versions("m") == {1}

            write_version(models, "m", 2, 2)
            await eventually(lambda: is_only(caller, 2))
            remove_version(models, "m", 2)
            await eventually(lambda: is_only(caller, 1))
        load.is_over = True
        await sending
        load.assert_flawless()
        assert set(load.answers) == {1, 2}

    async def is_only(caller, version):
        return await caller.ready_versions("m") == {version}

    with ServerProcess(models, *POLL) as server:
        run(main(server))
        assert_sound(server)


def test_a_server_may_refuse_versions_that_nobody_vouches_for(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    write_version(models, "tried", 1, 1)
    write_model(models, "untried", scaler(1))

    async def main(server):
        async with Caller(server.grpc_url) as caller:
            index = await caller.index()
            assert index["tried", "1"] == ("READY", "")
            reason = "untried/1 has no golden requests (repository.require_golden)"
            assert index["untried", "1"] == ("UNAVAILABLE", reason)

    with ServerProcess(models, *EXPLICIT, "--require-golden") as server:
        run(main(server))
        assert_sound(server)
