"""The lifecycle: memory follows the repository or its callers, and no failure takes away what serves."""

import asyncio
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from headrace.errors import HeadraceError, LoadError, NotFound, Unavailable
from headrace.model import retirement
from headrace.model.lifecycle import Lifecycle
from headrace.model.registry import Registry
from headrace.model.state import ModelState
from headrace.repository.override import Override
from headrace.repository.repository import Repository
from support.adversity_models import remove_version, scaler, write_config, write_model
from support.loops import run, until

READY, UNAVAILABLE, LOADING, UNLOADING = (
    ModelState.READY,
    ModelState.UNAVAILABLE,
    ModelState.LOADING,
    ModelState.UNLOADING,
)


class FakeModel:
    """A loaded version that retires when `may_end` is set."""

    cpu_instance_count = 1
    facts = SimpleNamespace(load_duration_ns=1_000_000)

    def __init__(self, name, version, statistics):
        self.name = name
        self.version = version
        self.statistics = statistics or object()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.events = []

    def watch_ability(self, changed):
        self.changed = changed

    async def retire(self):
        await self.may_end.wait()
        self.events.append("retired")

    async def drain(self):
        await self.may_end.wait()

    async def abort(self, error):
        self.events.append(error)


class FakeLoader:
    """Loads at once, or as `gate` and `failures` (by version) say; `loads` remembers all of it."""

    def __init__(self):
        self.loads = []
        self.others = []
        self.failures = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.models = []

    async def load(self, name, version, override, other_cpu_instances, statistics=None):
        self.loads.append((name, version))
        self.others.append(other_cpu_instances)
        await self.gate.wait()
        if version in self.failures:
            raise self.failures[version]
        self.models.append(FakeModel(name, version, statistics))
        return self.models[-1]


class Rig:
    """A lifecycle over a repository on disk, with a loader that only pretends."""

    def __init__(self, path: Path):
        loop = asyncio.get_running_loop()
        self.executor = ThreadPoolExecutor(1)
        self.repository = Repository(path)
        self.registry = Registry()
        self.loader = FakeLoader()
        self.lifecycle = Lifecycle(self.repository, self.registry, self.loader, self.executor, loop)

    async def follow(self):
        await self.lifecycle.apply(await self.lifecycle.rescan())

    def states(self, name="m"):
        return {status.version: status.state for status in self.registry.statuses(name)}

    def reason(self, version, name="m"):
        return {status.version: status.reason for status in self.registry.statuses(name)}[version]

    async def stop(self):
        assert await self.lifecycle.stop(5)
        self.executor.shutdown()


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def test_memory_goes_back_to_the_system_once_for_all_that_went_meanwhile(repository, monkeypatch):
    given_back = []
    monkeypatch.setattr(retirement, "MEMORY_KEPT_S", 0.05)
    monkeypatch.setattr(retirement, "_give_memory_back", lambda: given_back.append("once"))
    for name in ("m", "n"):
        write_model(repository, name, scaler(1))

    async def main():
        rig = Rig(repository)
        await rig.follow()
        for name in ("m", "n"):
            await rig.lifecycle.unload(name)
        await until(lambda: given_back)
        await asyncio.sleep(0.1)
        assert given_back == ["once"]
        await rig.lifecycle.load("m")
        await rig.lifecycle.unload("m")
        await until(lambda: len(given_back) == 2)
        await rig.stop()

    run(main())


def test_what_could_not_be_loaded_is_not_kept(repository):
    """An error remembers everything that its traceback reaches: only what it says stays."""
    write_model(repository, "m", scaler(1))
    reached = []

    class Refusing(FakeLoader):
        async def load(self, *order):
            data = np.zeros(3)
            reached.append(weakref.ref(data))
            raise LoadError(f"refused with {data.size} numbers")

    async def main():
        rig = Rig(repository)
        rig.lifecycle._loader = Refusing()
        await rig.follow()
        with pytest.raises(LoadError, match="refused with 3 numbers"):
            await rig.lifecycle.load("m")
        await asyncio.sleep(0)
        assert [data() for data in reached] == [None, None]
        assert rig.reason(1) == "refused with 3 numbers"
        await rig.stop()

    run(main())


def test_what_is_new_is_loaded_and_what_is_unchanged_is_not_loaded_again(repository):
    write_model(repository, "m", scaler(1))
    write_model(repository, "n", scaler(1))

    async def main():
        rig = Rig(repository)
        await rig.follow()
        assert sorted(rig.loader.loads) == [("m", 1), ("n", 1)]
        await rig.follow()
        assert len(rig.loader.loads) == 2
        write_model(repository, "m", scaler(2))
        await rig.follow()
        assert rig.loader.loads[2:] == [("m", 1)]
        write_config(repository / "n", "max_batch_size: 3\n")
        await rig.follow()
        assert rig.loader.loads[3:] == [("n", 1)]
        await rig.stop()

    run(main())


def test_a_new_version_is_ready_before_the_old_one_leaves(repository):
    write_model(repository, "m", scaler(1))

    async def main():
        rig = Rig(repository)
        await rig.follow()
        write_model(repository, "m", scaler(2), version=2)
        rig.loader.gate.clear()
        following = asyncio.create_task(rig.follow())
        await until(lambda: len(rig.loader.loads) == 2)
        assert rig.registry.find("m", "").version == 1
        assert rig.states() == {1: READY, 2: LOADING}
        old = rig.loader.models[0]
        old.may_end.clear()
        rig.loader.gate.set()
        await following
        assert rig.registry.find("m", "").version == 2
        assert rig.states() == {1: UNLOADING, 2: READY}
        assert old.events == []
        old.may_end.set()
        await until(lambda: rig.states() == {1: UNAVAILABLE, 2: READY})
        assert old.events == ["retired"]
        await rig.stop()

    run(main())


def test_a_version_that_fails_takes_nothing_away_and_is_tried_again_when_its_files_change(repository):
    """L02."""
    write_model(repository, "m", scaler(1))

    async def main():
        rig = Rig(repository)
        await rig.follow()
        write_model(repository, "m", scaler(2), version=2)
        rig.loader.failures[2] = LoadError("the graph is broken")
        await rig.follow()
        await rig.follow()
        assert rig.loader.loads == [("m", 1), ("m", 2)]
        assert rig.registry.find("m", "").version == 1
        assert rig.states() == {1: READY, 2: UNAVAILABLE}
        assert rig.reason(2) == "the graph is broken"
        assert rig.lifecycle.load_counts == {("m", "success"): 1, ("m", "failure"): 1}
        rig.loader.failures.clear()
        write_model(repository, "m", scaler(3), version=2)
        await rig.follow()
        assert rig.registry.find("m", "").version == 2
        await rig.stop()

    run(main())


def test_a_replacement_that_fails_leaves_its_predecessor_ready_and_says_why(repository):
    """L02."""
    write_model(repository, "m", scaler(1))

    async def main():
        rig = Rig(repository)
        await rig.follow()
        serving = rig.registry.find("m", "")
        rig.loader.failures[1] = ValueError("out of luck")
        write_model(repository, "m", scaler(2))
        await rig.follow()
        assert rig.registry.find("m", "") is serving
        assert rig.states() == {1: READY}
        assert rig.reason(1) == "ValueError: out of luck; the version loaded before goes on serving"
        await rig.stop()

    run(main())


def test_a_wrong_configuration_refuses_every_version_once_and_its_repair_loads_them(repository):
    """L02, L16."""
    write_model(repository, "m", scaler(1), config="max_batch_sise: 1\n")

    async def main():
        rig = Rig(repository)
        await rig.follow()
        await rig.follow()
        assert rig.states() == {1: UNAVAILABLE}
        assert "max_batch_size" in rig.reason(1)
        assert rig.lifecycle.load_counts == {("m", "failure"): 1}
        write_config(repository / "m", "max_batch_size: 1\n")
        await rig.follow()
        assert rig.states() == {1: READY}
        assert rig.reason(1) == ""
        await rig.stop()

    run(main())


def test_a_version_policy_loads_and_unloads(repository):
    """L07."""
    for version in (1, 2, 3):
        write_model(repository, "m", scaler(version), version=version)

    async def main():
        rig = Rig(repository)
        for policy, ready in (
            ("{latest: {num_versions: 2}}", [2, 3]),
            ("{specific: {versions: [1]}}", [1]),
            ("{all: {}}", [1, 2, 3]),
        ):
            write_config(repository / "m", f"version_policy: {policy}\n")
            await rig.follow()
            assert list(rig.registry.ready("m")) == ready
        await rig.stop()

    run(main())


def test_a_model_that_is_gone_is_unloaded_and_forgotten(repository):
    write_model(repository, "m", scaler(1))
    write_model(repository, "m", scaler(2), version=2)

    async def main():
        rig = Rig(repository)
        await rig.follow()
        (repository / "m").rename(repository.parent / "m")
        await rig.follow()
        with pytest.raises(NotFound):
            rig.registry.find("m", "")
        await until(lambda: rig.states() == {})
        assert rig.lifecycle.known_names == []
        await rig.stop()

    run(main())


def test_versions_that_came_and_went_leave_no_trace(repository):
    write_model(repository, "m", scaler(1))

    async def main():
        rig = Rig(repository)
        await rig.follow()
        for version in range(2, 12):
            write_model(repository, "m", scaler(version), version=version)
            remove_version(repository, "m", version - 1)
            await rig.follow()
        await until(lambda: rig.states() == {11: READY})
        assert [model.events for model in rig.loader.models[:-1]] == [["retired"]] * 10
        await rig.stop()

    run(main())


def test_an_order_to_load_loads_anew_though_nothing_changed_and_keeps_counting(repository):
    write_model(repository, "m", scaler(1))

    async def main():
        rig = Rig(repository)
        await rig.lifecycle.load("m")
        await rig.lifecycle.load("m")
        first, second = rig.loader.models
        assert rig.registry.find("m", "") is second
        assert second.statistics is first.statistics
        await until(lambda: first.events == ["retired"])
        assert rig.states() == {1: READY}
        await rig.stop()

    run(main())


def test_an_order_that_cannot_be_carried_out_says_why(repository):
    write_model(repository, "m", scaler(1))
    write_model(repository, "wrong", scaler(1), config="max_batch_sise: 1\n")
    write_model(repository, "none", scaler(1), config="version_policy: {specific: {versions: [9]}}\n")

    async def main():
        rig = Rig(repository)
        rig.loader.failures[1] = LoadError("too large")
        for name, words in (
            ("m", "version 1 is at UNAVAILABLE state: too large"),
            ("wrong", "max_batch_size"),
            ("none", "no version to serve"),
            ("missing", "failed to poll from model repository"),
            ("../m", "failed to poll from model repository"),
        ):
            with pytest.raises(HeadraceError, match=words):
                await rig.lifecycle.load(name)
        with pytest.raises(NotFound, match="'missing'"):
            await rig.lifecycle.unload("missing")
        await rig.stop()

    run(main())


def test_a_wrong_override_is_refused_though_the_files_are_the_same(repository):
    """L02."""
    write_model(repository, "m", scaler(1))

    async def main():
        rig = Rig(repository)
        await rig.lifecycle.load("m")
        serving = rig.registry.find("m", "")
        for _ in range(2):
            with pytest.raises(LoadError, match="max_batch_size"):
                await rig.lifecycle.load("m", Override('{"max_batch_sise": 1}', {}))
        assert rig.registry.find("m", "") is serving
        await rig.stop()

    run(main())


def test_an_override_with_files_needs_nothing_on_disk(repository):
    async def main():
        rig = Rig(repository)
        await rig.lifecycle.load("m", Override("{}", {"1/model.onnx": scaler(1).SerializeToString()}))
        assert rig.registry.find("m", "").version == 1
        await rig.stop()

    run(main())


def test_whoever_orders_a_load_and_leaves_does_not_stop_it(repository):
    write_model(repository, "m", scaler(1))

    async def main():
        rig = Rig(repository)
        rig.loader.gate.clear()
        order = asyncio.create_task(rig.lifecycle.load("m"))
        await until(lambda: rig.loader.loads)
        order.cancel()
        await asyncio.wait([order])
        rig.loader.gate.set()
        await until(lambda: rig.registry.ready("m"))
        await rig.stop()

    run(main())


def test_orders_for_one_model_are_carried_out_one_after_the_other(repository):
    """L06."""
    write_model(repository, "m", scaler(1))

    async def main():
        rig = Rig(repository)
        await rig.lifecycle.load("m")
        orders = [rig.lifecycle.unload("m") if turn % 2 else rig.lifecycle.load("m") for turn in range(20)]
        results = await asyncio.gather(*orders, return_exceptions=True)
        assert all(result is None or isinstance(result, NotFound) for result in results)
        await rig.lifecycle.load("m")
        await rig.lifecycle.unload("m")
        assert not rig.registry.ready("m")
        with pytest.raises(NotFound):
            await rig.lifecycle.unload("m")
        await until(lambda: all(model.events == ["retired"] for model in rig.loader.models))
        await until(lambda: rig.states() == {1: UNAVAILABLE})
        assert rig.reason(1) == "unloaded"
        await rig.stop()

    run(main())


def test_loading_again_while_the_old_one_still_ends_does_not_call_it_unavailable(repository):
    write_model(repository, "m", scaler(1))

    async def main():
        rig = Rig(repository)
        await rig.lifecycle.load("m")
        old = rig.loader.models[0]
        old.may_end.clear()
        await rig.lifecycle.unload("m")
        assert rig.states() == {1: UNLOADING}
        await rig.lifecycle.load("m")
        old.may_end.set()
        await until(lambda: old.events == ["retired"])
        await asyncio.sleep(0.01)
        assert rig.states() == {1: READY}
        await rig.stop()

    run(main())


def test_instances_of_other_models_are_counted_when_cores_are_shared(repository):
    for name in "abc":
        write_model(repository, name, scaler(1))

    async def main():
        rig = Rig(repository)
        for name in "abcb":
            await rig.lifecycle.load(name)
        assert rig.loader.others == [0, 1, 2, 2]
        await rig.stop()

    run(main())


def test_stopping_drains_in_time_or_fails_the_rest(repository):
    """L10, L11."""
    write_model(repository, "m", scaler(1))
    write_model(repository, "n", scaler(1))

    async def main():
        rig = Rig(repository)
        await rig.follow()
        stuck, well = rig.loader.models
        stuck.may_end.clear()
        assert not await rig.lifecycle.stop(0.05)
        for model in (stuck, well):
            (error,) = model.events
            assert isinstance(error, Unavailable)
        rig.executor.shutdown()

    run(main())


def test_stopping_ends_what_still_retires(repository):
    """L11: an unloaded model whose last request hangs."""
    write_model(repository, "m", scaler(1))

    async def main():
        rig = Rig(repository)
        await rig.lifecycle.load("m")
        rig.loader.models[0].may_end.clear()
        await rig.lifecycle.unload("m")
        assert not await rig.lifecycle.stop(0.05)
        rig.executor.shutdown()

    run(main())


def test_versions_that_are_needed_are_served_whatever_the_policy_says(repository):
    write_model(repository, "m", scaler(1))
    write_model(repository, "m", scaler(2), version=2)

    async def main():
        rig = Rig(repository)
        await rig.follow()
        assert set(rig.registry.ready("m")) == {2}
        rig.lifecycle.needed = lambda name: frozenset({1})
        assert rig.lifecycle.loadable("m") == {1, 2}
        await rig.lifecycle.follow("m")
        assert set(rig.registry.ready("m")) == {1, 2}
        await rig.follow()
        assert set(rig.registry.ready("m")) == {1, 2}
        remove_version(repository, "m", 1)
        await rig.follow()
        assert set(rig.registry.ready("m")) == {1, 2}
        rig.lifecycle.needed = lambda name: frozenset()
        await rig.lifecycle.follow("m")
        assert set(rig.registry.ready("m")) == {2}
        await rig.stop()

    run(main())


def test_following_needs_brings_nothing_else(repository):
    """In explicit mode a new version waits for a load call, and an unloaded model stays so."""
    write_model(repository, "m", scaler(1))

    async def main():
        rig = Rig(repository)
        await rig.lifecycle.load("m")
        write_model(repository, "m", scaler(2), version=2)
        await rig.lifecycle.follow("m")
        assert set(rig.registry.ready("m")) == {1}
        rig.lifecycle.needed = lambda name: frozenset({1})
        await rig.lifecycle.unload("m")
        await rig.lifecycle.follow("m")
        assert not rig.registry.ready("m")
        await rig.stop()

    run(main())


def test_what_a_call_has_brought_along_is_not_taken_away_by_needs(repository):
    write_model(repository, "m", scaler(1))

    async def main():
        rig = Rig(repository)
        files = {"3/model.onnx": scaler(1).SerializeToString()}
        await rig.lifecycle.load("m", Override("{}", files))
        await rig.lifecycle.follow("m")
        assert set(rig.registry.ready("m")) == {3}
        assert rig.lifecycle.loadable("m") == frozenset()
        await rig.stop()

    run(main())


def test_what_a_configuration_declares_is_told_before_versions_change(repository):
    write_model(repository, "m", scaler(1))
    (repository / "m" / "config.yaml").write_text("rollout: {}\n")

    async def main():
        rig = Rig(repository)
        told = []
        rig.lifecycle.declared = lambda name, serving: told.append(
            (name, serving, set(rig.registry.ready("m")))
        )
        await rig.follow()
        (name, serving, ready), *_ = told
        assert (name, ready) == ("m", set())
        assert serving.plan is not None
        remove_version(repository, "m", 1)
        (repository / "m" / "config.yaml").unlink()
        (repository / "m").rmdir()
        await rig.follow()
        assert told[-1][1] is None
        await rig.stop()

    run(main())
