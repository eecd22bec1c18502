"""Routes: who answers, by weights, keys, rules and labels, and what if a version is not there."""

import asyncio
import gc
from collections import Counter
from contextlib import contextmanager
from weakref import ref

import pytest

from headrace.core.caller import Caller, Proof
from headrace.core.route import Attribute, Condition, Fallback, Key, Route, Rule, Shadow, Weight
from headrace.errors import ExecutionFailed, InvalidArgument, NotFound, QueueFull, Unavailable
from headrace.router.router import Router
from support.loops import run
from support.routing import a_request, publish, registry_of


class Scene:
    """A router over some ready versions of the models m and n."""

    def __init__(self, loop, *versions, listeners=None):
        self.registry = registry_of(m=list(versions), n=[7])
        self.router = Router(self.registry, loop, listeners)

    def ask(self, **request):
        """The version that answers, and the request with its notes."""
        asked = a_request(**request)
        self.router.route(asked).submit(asked, None)
        (model,) = [
            model
            for each in self.registry.models()
            if (model := each).requests and model.requests[-1] is asked
        ]
        return model.version, asked

    def shares(self, count, **request):
        return Counter(self.ask(**request)[0] for _ in range(count))


def scene(test, *versions):
    """Runs `test(scene)` on a loop."""

    async def main():

        return test(Scene(asyncio.get_running_loop(), *versions))

    return run(main())


def split(stable, canary, **more):
    return Route((Weight(1, stable), Weight(2, canary)), labels={"stable": 1, "canary": 2}, **more)


def test_without_a_route_the_newest_version_answers():
    def test(on):
        assert on.ask()[0] == 2
        assert on.ask(version="1")[0] == 1
        assert on.ask(version="stable")[0] == 2
        assert on.router.default("m").version == 2
        assert on.router.route_of("m") is None
        assert not on.router.needed("m")

    scene(test, 1, 2)


def test_weights_are_exact_and_a_named_version_gets_its_request():
    def test(on):
        on.router.set_route("m", split(937, 63))
        assert on.shares(1000) == {1: 937, 2: 63}
        assert on.shares(1000) == {1: 937, 2: 63}
        assert on.ask(version="2")[0] == 2
        assert on.shares(1000) == {1: 937, 2: 63}
        assert on.ask(name="n")[0] == 7

    scene(test, 1, 2)


def test_labels_stand_for_versions():
    def test(on):
        on.router.set_route("m", split(1000, 0))
        assert on.ask(version="canary")[0] == 2
        assert on.ask(version="stable")[0] == 1
        assert on.router.find("m", "").version == 1
        with pytest.raises(InvalidArgument, match="not a decimal number"):
            on.ask(version="previous")
        with pytest.raises(NotFound):
            on.ask(version="9")

    scene(test, 1, 2)


def test_the_default_is_the_stable_version_though_there_is_a_newer_one():
    def test(on):
        on.router.set_route("m", Route((Weight(1, 1000),), labels={"stable": 1}))
        assert on.router.default("m").version == 1
        publish(on.registry, "m", 1, 2, 3)
        assert on.router.default("m").version == 1
        assert on.shares(10) == {1: 10}
        on.router.set_route("m", None)
        assert on.ask()[0] == 3

    scene(test, 1, 2)


@pytest.mark.parametrize(
    ("key", "carried"),
    [
        (Key(Attribute.METADATA, "User-Id"), lambda text: {"metadata": {"user-id": text}}),
        (Key(Attribute.PARAMETER, "user"), lambda text: {"parameters": {"user": text}}),
        (Key(Attribute.SEQUENCE), lambda text: {"parameters": {"sequence_id": text}}),
        (Key(Attribute.CALLER), lambda text: {"caller": Caller(text, proof=Proof.KEY)}),
    ],
    ids=["metadata", "parameter", "sequence", "caller"],
)
def test_the_same_key_always_reaches_the_same_version(key, carried):
    def test(on):
        on.router.set_route("m", split(500, 500, sticky=key))
        first = {text: on.ask(**carried(text))[0] for text in map(str, range(1, 200))}
        assert set(first.values()) == {1, 2}
        assert all(on.ask(**carried(text))[0] == version for text, version in first.items())
        on.router.set_route("m", split(500, 500, sticky=key, seed="other"))
        assert any(on.ask(**carried(text))[0] != version for text, version in first.items())

    scene(test, 1, 2)


def test_requests_without_the_key_go_by_the_weights():
    def test(on):
        on.router.set_route("m", split(900, 100, sticky=Key(Attribute.CALLER)))
        assert on.shares(1000) == {1: 900, 2: 100}
        on.router.set_route("m", split(900, 100, sticky=Key(Attribute.SEQUENCE)))
        assert on.shares(1000, parameters={"sequence_id": 0}) == {1: 900, 2: 100}

    scene(test, 1, 2)


def test_rules_come_before_weights_and_the_first_that_fits_decides():
    beta = Condition(Key(Attribute.METADATA, "X-Group"), ("beta*", "gamma"))
    flag = Condition(Key(Attribute.PARAMETER, "fast"), ("true",))
    rules = (Rule("both", (beta, flag), "1"), Rule("beta", (beta,), "canary"))

    def test(on):
        on.router.set_route("m", split(1000, 0, rules=rules))
        assert on.ask()[0] == 1
        version, asked = on.ask(metadata={"x-group": "beta-7"}, wants_route=True)
        assert version == 2
        assert asked.notes["headrace_route"] == "rule"
        assert asked.notes["headrace_route_rule"] == "beta"
        assert on.ask(metadata={"x-group": "alphabeta"})[0] == 1
        assert on.ask(metadata={"x-group": "gamma"}, parameters={"fast": True})[0] == 1
        assert on.ask(metadata={"x-group": "gamma"}, version="1")[0] == 1

    scene(test, 1, 2)


def test_a_rule_whose_version_is_not_there_leaves_its_requests_to_the_weights():
    rule = Rule("beta", (Condition(Key(Attribute.PARAMETER, "beta"), ("*",)),), "9")

    def test(on):
        on.router.set_route("m", split(1000, 0, rules=(rule,)))
        assert on.ask(parameters={"beta": 1})[0] == 1

    scene(test, 1, 2)


def test_answers_tell_of_their_route_only_where_asked():
    def test(on):
        assert on.ask()[1].notes is None
        assert on.ask(wants_route=True)[1].notes == {"headrace_route": "newest"}
        on.router.set_route("m", split(1000, 0))
        assert on.ask()[1].notes is None
        told = on.ask(wants_route=True)[1].notes
        assert told == {"headrace_route": "weights", "headrace_route_revision": 0}
        assert on.ask(version="1", wants_route=True)[1].notes == {"headrace_route": "version"}
        assert on.ask(version="canary", wants_route=True)[1].notes == {"headrace_route": "label"}

    scene(test, 1, 2)


def test_the_share_of_a_version_that_is_not_ready_goes_to_the_default():
    def test(on):
        on.router.set_route("m", split(900, 100))
        publish(on.registry, "m", 1)
        assert on.shares(100) == {1: 100}
        publish(on.registry, "m", 2)
        assert on.shares(100) == {2: 100}
        publish(on.registry, "m", 3)
        with pytest.raises(Unavailable, match="no version of its route"):
            on.ask()
        publish(on.registry, "m", 1, 2)
        assert on.shares(1000) == {1: 900, 2: 100}

    scene(test, 1, 2)


def test_counts_outlive_changes_of_the_route():
    def test(on):
        on.router.set_route("m", split(900, 100))
        on.shares(1000)
        publish(on.registry, "m", 1, 2)
        on.router.set_route("m", split(500, 500))
        on.shares(1000)
        on.router.set_route("m", None)
        assert {(version, why): count for _, version, why, count in on.router.counts() if count} == {
            ("1", "weights"): 1400,
            ("2", "weights"): 600,
        }

    scene(test, 1, 2)


def test_a_route_needs_every_version_that_it_names():
    route = Route(
        (Weight(1, 1000),),
        shadows=(Shadow(4),),
        labels={"stable": 1, "previous": 5},
        rules=(Rule("r", (), "3"),),
        fallback=Fallback("6"),
    )
    assert route.versions == {1, 3, 4, 5, 6}


def broken_twice(model, error, times):
    for _ in range(times):
        model.watches[0].failed([error])


def test_a_version_whose_executions_fail_is_broken_out_of_and_tried_again():
    fallback = Fallback("stable", min_requests=10, open_s=0.05, probes=3)

    async def main():

        on = Scene(asyncio.get_running_loop(), 1, 2)
        on.router.set_route("m", split(500, 500, fallback=fallback))
        canary = on.registry.ready("m")[2]
        broken_twice(canary, QueueFull("full"), 100)
        assert on.router.breakers("m") == {1: "closed", 2: "closed"}
        broken_twice(canary, ExecutionFailed("no"), 10)
        assert on.router.breakers("m") == {1: "closed", 2: "open"}
        assert on.shares(1000) == {1: 1000}
        told = next(asked.notes for asked in (on.ask()[1] for _ in range(10)) if asked.notes is not None)
        assert told["headrace_route"] == "fallback"
        assert told["headrace_fallback_for"] == "2"
        assert on.ask(version="2")[0] == 2
        await asyncio.sleep(0.1)
        assert on.router.breakers("m")[2] == "half-open"
        assert 30 <= on.shares(1000)[2] <= 60
        broken_twice(canary, ExecutionFailed("no"), 1)
        assert on.router.breakers("m")[2] == "open"
        await asyncio.sleep(0.1)
        canary.watches[0].answered([1, 2, 3])
        assert on.router.breakers("m")[2] == "closed"
        assert on.shares(1000) == {1: 500, 2: 500}

    run(main())


def test_another_model_may_answer_for_a_broken_one():
    def test(on):
        route = Route((Weight(1, 1000),), fallback=Fallback(model="n", min_requests=1))
        on.router.set_route("m", route)
        broken_twice(on.registry.ready("m")[1], ExecutionFailed("no"), 5)
        version, asked = on.ask()
        assert version == 7
        assert asked.notes["headrace_fallback_for"] == "1"

    scene(test, 1)


def test_a_model_that_stands_in_may_be_replaced_meanwhile():
    def test(on):
        route = Route((Weight(1, 1000),), fallback=Fallback(model="n", min_requests=1))
        on.router.set_route("m", route)
        broken_twice(on.registry.ready("m")[1], ExecutionFailed("no"), 5)
        publish(on.registry, "n", 8)
        assert on.ask()[0] == 8
        on.registry.publish("n", {})
        assert on.ask()[0] == 1

    scene(test, 1)


def test_a_model_that_is_loaded_anew_has_a_new_breaker():
    def test(on):
        route = split(500, 500, fallback=Fallback(min_requests=1))
        on.router.set_route("m", route)
        old = on.registry.ready("m")[2]
        broken_twice(old, ExecutionFailed("no"), 5)
        assert on.router.breakers("m")[2] == "open"
        publish(on.registry, "m", 1, 2)
        assert on.router.breakers("m")[2] == "closed"
        assert old.watches == []

    scene(test, 1, 2)


def test_a_model_without_its_route_is_watched_no_more():
    def test(on):
        on.router.set_route("m", split(500, 500, fallback=Fallback()))
        assert all(model.watches for model in on.registry.ready("m").values())
        on.router.set_route("m", None)
        assert not any(model.watches for model in on.registry.ready("m").values())

    scene(test, 1, 2)


def test_only_requests_whose_version_the_route_has_chosen_are_shared():
    beta = Rule("beta", (Condition(Key(Attribute.PARAMETER, "beta"), ("*",)),), "canary")

    def test(on):
        assert not on.ask()[1].is_shared
        on.router.set_route("m", split(500, 500, rules=(beta,), sticky=Key(Attribute.PARAMETER, "user")))
        assert on.ask()[1].is_shared
        assert on.ask(parameters={"user": "u"})[1].is_shared
        assert not on.ask(parameters={"beta": 1})[1].is_shared
        assert not on.ask(version="2")[1].is_shared
        assert not on.ask(version="canary")[1].is_shared

    scene(test, 1, 2)


def test_what_is_answered_for_another_version_is_not_shared():
    def test(on):
        on.router.set_route("m", split(0, 1000, fallback=Fallback("stable", min_requests=1)))
        broken_twice(on.registry.ready("m")[2], ExecutionFailed("no"), 1)
        version, asked = on.ask()
        assert (version, asked.is_shared) == (1, False)

    scene(test, 1, 2)


@contextmanager
def no_garbage_collection():
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def without_route(on):
    on.router.set_route("m", None)
    publish(on.registry, "m", 1)


def with_another_route(on):
    on.router.set_route("m", split(900, 100, fallback=Fallback("stable", min_requests=5)))
    publish(on.registry, "m", 1, 2)


def with_other_models(on):
    publish(on.registry, "m", 1, 2)


def with_a_changed_route_and_other_models(on):
    on.router.set_route("m", split(900, 100, fallback=Fallback("stable", min_requests=1)))
    publish(on.registry, "m", 1, 2)


@pytest.mark.parametrize(
    "go_on", [without_route, with_another_route, with_other_models, with_a_changed_route_and_other_models]
)
@pytest.mark.parametrize("failures", [0, 1], ids=["closed", "open"])
def test_models_that_are_gone_do_not_wait_for_the_garbage_collector(go_on, failures):
    def test(on):
        on.router.set_route("m", split(500, 500, fallback=Fallback("stable", min_requests=1)))
        broken_twice(on.registry.ready("m")[2], ExecutionFailed("no"), failures)
        on.shares(20)
        models = [ref(model) for model in on.registry.ready("m").values()]
        breakers = [ref(watch) for model in models for watch in model().watches]
        go_on(on)
        assert [gone() for gone in (*models, *breakers)] == [None] * 4

    with no_garbage_collection():
        scene(test, 1, 2)


def test_a_change_of_the_route_leaves_open_breakers_open():
    fallback = Fallback("stable", min_requests=1, open_s=0.05, probes=1)

    async def main():

        on = Scene(asyncio.get_running_loop(), 1, 2)
        on.router.set_route("m", split(500, 500, fallback=fallback))
        canary = on.registry.ready("m")[2]
        broken_twice(canary, ExecutionFailed("no"), 1)
        on.router.set_route("m", split(100, 900, fallback=fallback))
        assert on.router.breakers("m") == {1: "closed", 2: "open"}
        assert on.shares(100) == {1: 100}
        assert len(canary.watches) == 1
        await asyncio.sleep(0.1)
        assert on.router.breakers("m")[2] == "half-open"
        canary.watches[0].answered([1])
        assert on.shares(1000) == {1: 100, 2: 900}

    run(main())


def test_other_settings_of_the_fallback_make_new_breakers():
    def test(on):
        on.router.set_route("m", split(500, 500, fallback=Fallback("stable", min_requests=1)))
        canary = on.registry.ready("m")[2]
        broken_twice(canary, ExecutionFailed("no"), 1)
        on.router.set_route("m", split(500, 500, fallback=Fallback("stable", min_requests=2)))
        assert on.router.breakers("m") == {1: "closed", 2: "closed"}
        assert len(canary.watches) == 1

    scene(test, 1, 2)


def test_a_version_that_has_left_the_route_is_watched_no_more():
    def test(on):
        on.router.set_route("m", split(500, 500, fallback=Fallback()))
        on.router.set_route("m", Route((Weight(1, 1000),), fallback=Fallback()))
        assert on.router.breakers("m") == {1: "closed"}
        assert on.registry.ready("m")[2].watches == []

    scene(test, 1, 2)


class RecordedListeners:
    """Makes no shadows; remembers for which routes it was asked."""

    def __init__(self):
        self.asked = []

    def of(self, name, shadows):
        self.asked.append(shadows)
        return ()


def test_a_route_that_cannot_be_followed_leaves_the_old_one_in_force():
    async def main():

        listeners = RecordedListeners()
        on = Scene(asyncio.get_running_loop(), 1, 2, listeners=listeners)
        good = split(900, 100, shadows=(Shadow(2),), fallback=Fallback("stable"))
        on.router.set_route("m", good)
        on.shares(10)
        with pytest.raises((AttributeError, TypeError)):
            on.router.set_route("m", split(500, 500, rules=(Rule("broken", (), None),)))
        assert on.router.route_of("m") is good
        assert listeners.asked == [good.shadows]
        assert on.router.breakers("m") == {1: "closed", 2: "closed"}
        assert sum(count for *_, count in on.router.counts()) == 10
        assert on.shares(1000) == {1: 900, 2: 100}

    run(main())


def test_while_the_default_is_not_ready_the_largest_share_stands_for_the_model():
    route = Route((Weight(1, 600), Weight(2, 100), Weight(3, 300)), labels={"stable": 1})

    def stands(on):
        default = on.router.default("m")
        assert on.router.find("m", "") is default
        return default.version

    def test(on):
        on.router.set_route("m", route)
        assert stands(on) == 1
        publish(on.registry, "m", 2, 3, 4)
        assert stands(on) == 3
        assert on.shares(1000) == {2: 100, 3: 900}
        publish(on.registry, "m", 2, 4)
        assert stands(on) == 2
        assert on.shares(10) == {2: 10}
        publish(on.registry, "m", 4)
        assert on.router.default("m") is None
        with pytest.raises(Unavailable, match="version 1"):
            on.router.find("m", "")

    scene(test, 1, 2, 3, 4)
