"""Real models behind a router: a shadow's answers are compared with the live ones."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import numpy as np

from headrace.core.request import InferenceRequest
from headrace.core.route import Route, Shadow, Weight
from headrace.errors import ExecutionFailed
from headrace.instance.planner import Machine
from headrace.model.lifecycle import Lifecycle
from headrace.model.loader import Loader
from headrace.model.registry import Registry
from headrace.repository.repository import Repository
from headrace.router.router import Router
from headrace.router.shadow.meter import Reading
from headrace.router.shadow.mirrors import Mirrors
from headrace.router.shadow.spare import SpareCapacity
from headrace.settings import ExecutionSettings
from support.loops import run, until
from support.onnx_models import halves, identity, lookup, write
from support.scheduling import RecordedReply, tensor

SHADOWED = Route(weights=(Weight(1, 1000),), shadows=(Shadow(2),))


class IdleMachine:
    """On which everything is to spare."""

    def __init__(self):
        self.wall_s = 0.0

    def read(self):
        self.wall_s += 0.1
        return Reading(self.wall_s, 0.0, 0.0, None)


class Sink:
    def __init__(self):
        self.pairs = []

    def take(self, pairs):
        self.pairs += pairs


class Served:
    def __init__(self, registry, lifecycle, router, mirrors, sink):
        self.registry = registry
        self.lifecycle = lifecycle
        self.router = router
        self.mirrors = mirrors
        self.sink = sink

    def ask(self, number):
        reply = RecordedReply()
        asked = InferenceRequest(
            "m", "", str(number), [tensor("x", np.array([[number]], np.int64))], [], {}, 0
        )
        self.router.route(asked).submit(asked, reply)
        return reply


@asynccontextmanager
async def served(folder):
    loop = asyncio.get_running_loop()
    executor, disk, registry = ThreadPoolExecutor(1), Repository(folder), Registry()
    loader = Loader(disk, Machine(2), ExecutionSettings(), executor, loop)
    lifecycle = Lifecycle(disk, registry, loader, executor, loop)
    await lifecycle.apply(await lifecycle.rescan())
    sink = Sink()
    mirrors = Mirrors(
        lambda name, version: registry.ready(name).get(version),
        registry.models,
        SpareCapacity(IdleMachine().read, 2),
        sink,
        loop,
    )
    router = Router(registry, loop, mirrors)
    router.set_route("m", SHADOWED)
    yield Served(registry, lifecycle, router, mirrors, sink)
    mirrors.stop()
    assert await lifecycle.stop(5)
    executor.shutdown()


def values(response):
    return np.frombuffer(response.outputs[0].data, np.int64).tolist()


def test_every_answer_is_compared_with_the_shadows(tmp_path):
    write(tmp_path, "m", identity("INT64", ("batch", 1)), "version_policy: all\n")
    write(tmp_path, "m", halves(), version=2)

    async def main():
        async with served(tmp_path) as server:
            replies = [server.ask(number) for number in range(20)]
            await until(lambda: len(server.sink.pairs) == 20)

            assert [reply.responses[0].model_version for reply in replies] == ["1"] * 20
            assert all(reply.responses[0].timings is None for reply in replies)
            by_id = {int(pair.request_id): pair for pair in server.sink.pairs}
            for number, pair in by_id.items():
                assert values(pair.live) == [number]
                assert values(pair.shadow) == [number // 2]
                assert pair.live_timings.batch_rows and pair.shadow_timings.batch_rows
            statistics = server.registry.ready("m")[2].statistics
            assert statistics.success.count == 20

    run(main())


def test_a_shadow_that_fails_harms_no_live_answer(tmp_path):
    write(tmp_path, "m", identity("INT64", ("batch", 1)), "version_policy: all\n")
    write(tmp_path, "m", lookup(), version=2)

    async def main():
        async with served(tmp_path) as server:
            replies = [server.ask(number) for number in (5, 10_000)]
            await until(lambda: len(server.sink.pairs) == 2)

            assert [reply.answer_count for reply in replies] == [1, 1]
            assert not [error for reply in replies for error in reply.errors]
            by_id = {pair.request_id: pair for pair in server.sink.pairs}
            assert values(by_id["5"].shadow) == [55]
            assert isinstance(by_id["10000"].shadow, ExecutionFailed)

    run(main())


def test_live_answers_go_on_while_the_shadow_is_unloaded(tmp_path):
    write(tmp_path, "m", identity("INT64", ("batch", 1)), "version_policy: all\n")
    folder = write(tmp_path, "m", halves(), version=2)

    async def main():
        async with served(tmp_path) as server:
            replies = [server.ask(number) for number in range(10)]
            (folder / "2" / "model.onnx").unlink()
            (folder / "2").rmdir()
            await server.lifecycle.apply(await server.lifecycle.rescan())
            replies += [server.ask(number) for number in range(10)]
            await until(lambda: sum(count for *_, count in server.mirrors.counts()) == 20)

            assert all(len(reply.responses) == 1 for reply in replies)
            counts = {outcome: count for _, _, outcome, count in server.mirrors.counts()}
            assert counts["dropped_not_ready"] >= 10

    run(main())
