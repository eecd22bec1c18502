"""The loader: from files to a model that serves, or an error that says why not."""

import asyncio
import gc
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import numpy as np
import pytest
from onnx import numpy_helper

from headrace.backend.onnx import OnnxSession
from headrace.errors import (
    ConfigError,
    InvalidArgument,
    LoadError,
    NotFound,
    QueueFull,
    Unavailable,
    WorkerLost,
)
from headrace.instance.group import InstanceGroup
from headrace.instance.planner import Machine
from headrace.model.loader import Loader
from headrace.model.model import Model
from headrace.repository.override import Override
from headrace.repository.repository import Repository
from headrace.scheduler.scheduler import Scheduler
from headrace.settings import ExecutionSettings
from support.adversity_models import FOREVER, filler, picker, scaler, spinner, write_model
from support.loops import run, until
from support.scheduling import RecordedReply, request, tensor

NOTHING = Override()
ENDLESS_WARM_UP = """
max_batch_size: 8
parameters: {execution_timeout_ms: {string_value: "100"}}
model_warmup:
  - name: endless
    batch_size: 1
    inputs: {spins: {data_type: TYPE_INT64, dims: [1], input_data_file: endless}}
"""


@asynccontextmanager
async def loader(path, machine=None, **settings):
    executor = ThreadPoolExecutor(2)
    execution = ExecutionSettings(**settings)
    loop = asyncio.get_running_loop()
    yield Loader(Repository(path), machine or Machine(2), execution, executor, loop)
    executor.shutdown()


async def load(each, name="m", others=0):
    return await each.load(name, 1, NOTHING, others)


def send(model, input_name, array):
    reply = RecordedReply()
    model.submit(request(array, inputs=[tensor(input_name, array)]), reply)
    return reply


def test_a_loaded_model_answers_and_knows_what_it_is_made_of(tmp_path):
    write_model(tmp_path, "m", scaler(3), config="instance_group: [{count: 2}]\n")

    async def main():
        async with loader(tmp_path, inline_limit_us=0) as each:
            model = await load(each)
            x = np.ones((2, 4), np.float32)
            reply = send(model, "x", x)
            await model.drain()
            np.testing.assert_array_equal(reply.values, x * 3)
            assert (model.name, model.version, model.is_able) == ("m", 1, True)
            assert list(model.facts.sha256) == ["model.onnx"]
            assert model.facts.load_duration_ns > 0
            assert model.cpu_instance_count == 2
            assert model.statistics.success.count == 1
            await model.retire()
            assert not model.is_able

    run(main())


@pytest.mark.parametrize("inline_limit_us", [0, 10_000], ids=["on threads", "on the loop"])
def test_a_retired_model_is_gone_without_the_garbage_collector(tmp_path, inline_limit_us):
    """It would hold up everything, and never looks at what was loaded when the server started."""
    write_model(tmp_path, "m", scaler(3))

    async def main():
        async with loader(tmp_path, inline_limit_us=inline_limit_us) as each:
            others = parts_of_models([])
            model = await load(each)
            assert len(parts_of_models(others)) == 4
            reply = send(model, "x", np.ones((2, 4), np.float32))
            await model.retire()
            assert reply.answer_count == 1
            del model
            await asyncio.sleep(0)
            assert parts_of_models(others) == []

    gc.collect()
    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()


def parts_of_models(others):
    """All parts of models that there are in the process, but `others`."""
    kinds, known = (Model, Scheduler, InstanceGroup, OnnxSession), {id(other) for other in others}
    return [each for each in gc.get_objects() if isinstance(each, kinds) and id(each) not in known]


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("max_batch_sise: 1\n", ConfigError, "max_batch_size"),
        ("instance_group: [{kind: KIND_GPU}]\n", LoadError, "asks for KIND_GPU, but no GPU can be used"),
    ],
)
def test_what_cannot_be_loaded_says_why(tmp_path, text, error, words):
    write_model(tmp_path, "m", scaler(1), config=text)

    async def main():
        async with loader(tmp_path) as each:
            with pytest.raises(error, match=words):
                await load(each)
            with pytest.raises(NotFound):
                await load(each, "n")

    run(main())


def test_auto_on_a_machine_without_gpus_falls_back_with_a_remark(tmp_path, caplog):
    write_model(tmp_path, "m", scaler(1), config="instance_group: [{kind: KIND_AUTO, gpus: [0]}]\n")

    async def main():
        async with loader(tmp_path) as each:
            model = await load(each)
            assert str(model.facts.placements[0].device) == "cpu"
            await model.retire()

    run(main())
    assert any("it runs on the CPU" in record.getMessage() for record in caplog.records)


def test_a_warm_up_that_hangs_is_interrupted_and_a_load_error(tmp_path):
    """W10."""
    (tmp_path / "m" / "warmup").mkdir(parents=True)
    (tmp_path / "m" / "warmup" / "endless").write_bytes(np.int64(FOREVER).tobytes())
    write_model(tmp_path, "m", spinner(), config=ENDLESS_WARM_UP)

    async def main():
        async with loader(tmp_path) as each:
            started = time.monotonic()
            with pytest.raises(LoadError, match="warm-up 'endless' failed"):
                await load(each)
            assert time.monotonic() - started < 5
        async with loader(tmp_path, warmup=False) as each:
            model = await load(each)
            await model.retire()

    run(main())


def test_a_model_that_hangs_on_zeros_is_loaded_in_time_all_the_same(tmp_path, caplog):
    """W10: nobody asked for zeros. (Each of its executions ends, but long after its limit.)"""
    text = 'max_batch_size: 8\nparameters: {execution_timeout_ms: {string_value: "100"}}\n'
    write_model(tmp_path, "m", spinner(at_least=1_500_000), config=text + "dynamic_batching: {}\n")

    async def main():
        async with loader(tmp_path) as each:
            started = time.monotonic()
            model = await load(each)
            seconds = time.monotonic() - started
            reply = send(model, "spins", np.array([[1]]))
            await until(lambda: reply.answer_count == 1)
            assert isinstance(reply.errors[0], WorkerLost)
            await model.retire()
            assert seconds < 3

    run(main())
    assert any("warm-up with zeros failed" in record.getMessage() for record in caplog.records)


def test_zeros_that_do_not_suit_a_model_do_not_keep_it_from_serving(tmp_path, caplog):
    model = picker()
    del model.graph.initializer[0]
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(0, np.int64), "ten_fold"))
    write_model(tmp_path, "m", model)

    async def main():
        async with loader(tmp_path) as each:
            model = await load(each)
            assert model.is_able
            await model.retire()

    run(main())
    assert any("warm-up with zeros failed" in record.getMessage() for record in caplog.records)


def test_a_models_own_queue_bound_is_kept_and_the_default_applies_otherwise(tmp_path):
    write_model(tmp_path, "m", spinner())
    text = "dynamic_batching: {default_queue_policy: {max_queue_size: 3}}\nmax_batch_size: 2\n"
    write_model(tmp_path, "small", spinner(), config=text)

    async def main():
        async with loader(tmp_path, default_max_queue_size=5) as each:
            models = [await load(each), await load(each, "small")]
            assert [model.max_queue_size for model in models] == [5, 3]
            replies = [send(models[1], "spins", np.array([[1]])) for _ in range(3)]
            with pytest.raises(QueueFull, match="Exceeds maximum queue size"):
                send(models[1], "spins", np.array([[1]]))
            for model in models:
                await model.drain()
            assert [reply.answer_count for reply in replies] == [1, 1, 1]
            assert models[1].statistics.rejected == {"queue_full": 1}
            for model in models:
                await model.retire()

    run(main())


def test_a_request_that_is_wrong_is_counted_and_refused(tmp_path):
    write_model(tmp_path, "m", scaler(1))

    async def main():
        async with loader(tmp_path) as each:
            model = await load(each)
            with pytest.raises(InvalidArgument):
                send(model, "nothing", np.zeros((1, 4), np.float32))
            assert model.statistics.fail.count == 1
            await model.retire()

    run(main())


def test_aborting_answers_what_waits_and_interrupts_what_executes(tmp_path):
    """L11."""
    write_model(tmp_path, "m", spinner(), config="max_batch_size: 1\ninstance_group: [{count: 1}]\n")

    async def main():
        async with loader(tmp_path) as each:
            model = await load(each)
            stuck = send(model, "spins", np.array([[FOREVER]]))
            await asyncio.sleep(0.05)
            waiting = send(model, "spins", np.array([[1]]))
            started = time.monotonic()
            await model.abort(Unavailable("Server exiting"))
            assert time.monotonic() - started < 3
            assert [str(error) for error in waiting.errors] == ["Server exiting"]
            await until(lambda: stuck.answer_count == 1)
            assert not model.is_able

    run(main())


def inline_count(model) -> int:
    return sum(slot.is_inline for slot in model._group.slots)


@pytest.mark.parametrize(
    ("graph", "is_inline"),
    [
        (scaler(1), True),
        (spinner(), False),
        (filler(), False),
    ],
    ids=["fixed_cost", "loop", "cost_by_value"],
)
def test_only_models_of_a_fixed_and_small_cost_execute_on_the_loop(tmp_path, graph, is_inline):
    """O06: whatever may take long, for whatever input, has a thread."""
    write_model(tmp_path, "m", graph)

    async def main():
        async with loader(tmp_path, inline_limit_us=10_000) as each:
            model = await load(each)
            assert (inline_count(model) > 0) == is_inline
            await model.retire()
        async with loader(tmp_path, inline_limit_us=0) as each:
            model = await load(each)
            assert inline_count(model) == 0
            await model.retire()

    run(main())
