"""Rollouts from order to end: steps, ways back, restarts, and what is kept of them."""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

import pytest

from headrace.core.plan import (
    CallableGate,
    DisagreementGate,
    ErrorRateGate,
    Gates,
    GuardRails,
    Plan,
    PrometheusGate,
    Step,
)
from headrace.core.route import Attribute, Condition, Fallback, Key, Route, Rule, Weight
from headrace.errors import (
    ExecutionFailed,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    QueueFull,
    Unavailable,
)
from headrace.repository.config import Serving
from headrace.rollout.record import RolloutState
from support.loops import run
from support.rollout_house import (
    ALL_GATES,
    PLAN,
    STEPS,
    RoutedModel,
    a_pair,
    fill_disk,
    house,
    played,
    slow_disk,
)


def test_a_good_version_goes_through_every_step_to_the_end(tmp_path):
    async def scene(on):
        started = await on.start()
        assert (started.state, started.step, started.stable, started.canary) == ("running", 0, 1, 2)
        assert on.shares() == {1: 1000}
        assert [shadow.version for shadow in on.router.route_of("m").shadows] == [2]
        await on.pass_time(6, stable=10, pairs=5)
        assert on.state.step == 1
        assert on.shares() == {1: 950, 2: 50}
        await on.pass_time(6, stable=19, canary=1)
        assert on.state.step == 2
        assert on.shares() == {1: 500, 2: 500}
        await on.pass_time(6, stable=10, canary=10)
        assert on.state.state == "done"
        assert on.shares() == {2: 1000}
        assert dict(on.router.route_of("m").labels) == {"stable": 2, "previous": 1}
        view, events = await on.service.explain("m", 0)
        assert [event.kind for event in events] == ["started", "promoted", "promoted", "promoted", "done"]
        assert view.id == started.id
        assert '"p_value"' in events[1].evidence

    played(tmp_path, scene, 1, 2)


@pytest.mark.parametrize(
    ("pair", "gate"),
    [
        (lambda index: a_pair(error=ExecutionFailed("no") if index % 10 == 0 else None), "shadow_error_rate"),
        (lambda index: a_pair(shadow_ms=5.0), "shadow_latency_p95"),
    ],
    ids=["errors", "slow"],
)
def test_a_shadow_that_fails_or_is_slow_gets_no_live_request(tmp_path, pair, gate):
    plan = replace(PLAN, steps=(replace(STEPS[0], min_duration_s=60), STEPS[3]), gates=ALL_GATES)

    async def scene(on):
        await on.start(plan)
        for index in range(3000):
            on.runs.paired([pair(index)])
            if index % 20 == 0:
                await on.pass_time(0.25, stable=20, pairs=20)
        assert on.state.state == "rolled_back"
        assert on.state.reason.startswith(gate)
        assert on.model(2).requests == []

    played(tmp_path, scene, 1, 2)


def test_a_shadow_is_not_left_before_its_times_were_compared(tmp_path):
    """Copies of a slow version are few, and come now and then."""

    async def scene(on):
        await on.start(replace(PLAN, gates=ALL_GATES))
        for second in range(120):
            if on.state.state == "running":
                on.runs.paired([a_pair(3.0, 60.0)] * 5)
                await on.pass_time(0.25, stable=20, pairs=5)
                await on.pass_time(0.75, stable=20)
                if second == 10:
                    assert "shadow_latency_p95" in on.state.reason
                    assert "too few to tell yet (0 of 40 compared)" in on.state.reason
        assert (on.state.state, on.state.step) == ("rolled_back", 0)
        assert on.state.reason.startswith("shadow_latency_p95")

    played(tmp_path, scene, 1, 2)


def test_what_leans_towards_harm_holds_the_step(tmp_path):
    plan = Plan(steps=(replace(STEPS[1], min_duration_s=2), STEPS[3]), gates=Gates(ErrorRateGate()))

    async def scene(on):
        await on.start(plan)
        await on.pass_time(1.5, stable=50, canary=5)
        await on.pass_time(0.25, stable=50, canary=5, failed=2)
        await on.pass_time(1, stable=50, canary=5)
        assert on.state.state == "running"
        assert on.state.step == 0
        assert "which is not certain yet to be more" in on.state.reason
        await on.pass_time(120, stable=50, canary=5)
        assert on.state.state == "done"

    played(tmp_path, scene, 1, 2)


def test_copies_that_found_no_place_say_nothing_of_the_version(tmp_path):
    async def scene(on):
        await on.start(replace(PLAN, steps=(replace(STEPS[0], min_duration_s=600), STEPS[3])))
        for _ in range(50):
            on.runs.paired([a_pair(error=QueueFull("full"))] * 10)
            await on.pass_time(0.25, stable=20)
        assert on.state.state == "running"

    played(tmp_path, scene, 1, 2)


def test_steps_wait_for_time_and_for_requests(tmp_path):
    async def scene(on):
        await on.start()
        await on.pass_time(4.5, pairs=50)
        assert on.state.step == 0
        await on.pass_time(1, pairs=50)
        assert on.state.step == 1
        await on.pass_time(60, stable=10)
        assert on.state.step == 1
        assert "0 of 20 requests of the canary" in on.state.reason

    played(tmp_path, scene, 1, 2)


def test_nothing_is_promoted_before_latencies_could_be_compared(tmp_path):
    async def scene(on):
        await on.start(replace(PLAN, steps=STEPS[1:], gates=ALL_GATES))
        await on.pass_time(9, stable=19, canary=1)
        assert on.state.step == 0
        assert "too few to tell yet (0 of 40 compared)" in on.state.reason
        await on.pass_time(6, stable=19, canary=1)
        assert on.state.step == 0
        assert "of 40 compared)" in on.state.reason
        await on.pass_time(8, stable=19, canary=1)
        assert on.state.step == 1

    played(tmp_path, scene, 1, 2)


def test_a_batch_that_fails_as_a_whole_is_one_incident(tmp_path):
    """As many failures one by one would be proof enough."""
    plan = replace(PLAN, steps=(replace(STEPS[1], min_duration_s=600), STEPS[3]))

    async def scene(on, make_errors, state):
        await on.start(plan)
        await on.pass_time(30, stable=50, canary=5)
        for watch in on.model(2).watches:
            watch.failed(make_errors())
        await on.pass_time(0.25, stable=50, canary=5)
        assert on.state.state == state, on.state.reason

    async def together(on):
        await scene(on, lambda: [ExecutionFailed("lost")] * 8, "running")

    async def one_by_one(on):
        await scene(on, lambda: [ExecutionFailed("no") for _ in range(8)], "rolled_back")

    played(tmp_path / "together", together, 1, 2)
    played(tmp_path / "one by one", one_by_one, 1, 2)


def test_a_version_whose_answers_differ_never_gets_a_live_request(tmp_path):
    async def scene(on):
        await on.start()
        await on.pass_time(5, stable=10, pairs=2, disagreeing=2)
        assert on.state.state == "rolled_back"
        assert "disagreement" in on.state.reason
        assert on.model(2).requests == []
        assert on.shares() == {1: 1000}

    played(tmp_path, scene, 1, 2)


@pytest.mark.parametrize(
    ("harm", "gate"),
    [({"failed": 1}, "error_rate"), ({"ms": 5.0}, "latency_p95")],
    ids=["errors", "slow"],
)
def test_a_version_that_harms_is_rolled_back(tmp_path, harm, gate):
    steps = (replace(STEPS[1], min_duration_s=600), STEPS[3])
    plan = replace(PLAN, steps=steps, gates=ALL_GATES)

    async def scene(on):
        await on.start(plan)
        await on.pass_time(60, stable=50, canary=4, **harm)
        assert on.state.state == "rolled_back"
        assert on.state.reason.startswith(gate)
        assert on.shares() == {1: 1000}

    played(tmp_path, scene, 1, 2)


def test_a_shadow_waits_for_proof_where_the_plan_asks_for_it(tmp_path):
    gates = Gates(disagreement=DisagreementGate(0.05, needs_proof=True))
    plan = replace(PLAN, gates=gates, steps=(*STEPS[:2], STEPS[-1]))

    async def scene(on):
        await on.start(plan)
        await on.pass_time(6, pairs=2)
        (gate,) = on.state.gates
        assert (gate.name, gate.verdict) == ("disagreement", "waits")
        assert "does not prove yet" in gate.detail
        assert on.state.step == 0
        await on.pass_time(10, pairs=20)
        assert on.state.step == 1

    async def promoted_early(on):
        await on.start(plan)
        await on.pass_time(1, pairs=2)
        await on.service.promote("m", "", "x", full=False)
        await on.pass_time(6, canary=20)
        assert on.state.step == 2 or on.state.state == "done"

    played(tmp_path / "a", scene, 1, 2)
    played(tmp_path / "b", promoted_early, 1, 2)


def test_a_proof_goes_on_after_a_restart(tmp_path):
    plan = replace(PLAN, gates=Gates(disagreement=DisagreementGate(0.05, needs_proof=True)))
    steps = (replace(STEPS[0], min_duration_s=0, min_requests=0), *STEPS[1:])

    async def scene(on):
        await on.start(replace(plan, steps=steps))
        await on.pass_time(2, pairs=15)
        assert on.state.step == 0

    async def after(on):
        await on.pass_time(1, pairs=15)  # 60 alone would prove nothing
        assert on.state.step == 1

    played(tmp_path, scene, 1, 2)
    played(tmp_path, after, 1, 2)


def test_a_guard_rail_ends_it_at_the_next_look(tmp_path):
    plan = Plan(steps=STEPS[1:], gates=Gates(), guard_rails=GuardRails(min_requests=10))

    async def scene(on):
        await on.start(plan)
        await on.pass_time(1, stable=10, canary=1)
        on.model(2).answer(0, failed=30)
        await on.pass_time(0.25)
        assert on.state.state == "rolled_back"
        assert "guard rail" in on.state.reason

    played(tmp_path, scene, 1, 2)


def test_an_open_circuit_breaker_ends_it(tmp_path):
    fallback = Fallback("stable", min_requests=5)
    plan = Plan(steps=STEPS[1:], gates=Gates(), guard_rails=GuardRails(min_requests=1000), fallback=fallback)

    async def scene(on):
        await on.start(plan)
        on.model(2).answer(0, failed=10)
        assert on.shares() == {1: 1000}
        await on.pass_time(0.25)
        assert on.state.state == "rolled_back"
        assert "circuit breaker" in on.state.reason

    played(tmp_path, scene, 1, 2)


def test_a_version_that_is_replaced_or_gone_is_rolled_back(tmp_path):
    async def replaced(on):
        await on.start()
        on.publish(1, 2, digest="b")
        await on.pass_time(0.25)
        assert "replaced by other files" in on.state.reason

    async def gone(on):
        await on.start()
        on.publish(1)
        await on.pass_time(4)
        assert on.state.state == "running"
        await on.pass_time(2)
        assert "has not been ready for 5 s" in on.state.reason

    played(tmp_path / "replaced", replaced, 1, 2)
    played(tmp_path / "gone", gone, 1, 2)


def test_orders(tmp_path):
    async def scene(on):
        await on.start()
        await on.service.pause("m", "lunch", "bob")
        await on.pass_time(60, stable=10, pairs=10)
        assert (on.state.state, on.state.step) == ("paused", 0)
        with pytest.raises(FailedPrecondition, match="paused already"):
            await on.service.pause("m", "", "bob")
        await on.service.resume("m", "", "bob")
        with pytest.raises(FailedPrecondition, match="not paused: it is running"):
            await on.service.resume("m", "", "bob")
        await on.service.promote("m", "", "bob", full=False)
        assert on.state.step == 1
        await on.service.promote("m", "in a hurry", "bob", full=True)
        assert on.state.step == 3
        assert on.shares() == {2: 1000}
        await on.service.promote("m", "", "bob", full=True)
        assert on.state.state == "done"
        with pytest.raises(FailedPrecondition, match="no rollout of 'm' is under way"):
            await on.service.promote("m", "", "bob", full=False)
        await on.service.roll_back("m", "customers complain", "carol")
        assert on.state.state == "rolled_back"
        assert on.shares() == {1: 1000}
        with pytest.raises(FailedPrecondition, match="nothing to roll back"):
            await on.service.roll_back("m", "", "carol")
        _, events = await on.service.explain("m", 0)
        assert [(event.kind, event.by) for event in events] == [
            ("started", "alice"),
            ("paused", "bob"),
            ("resumed", "bob"),
            ("promoted", "bob"),
            ("promoted", "bob"),
            ("done", "bob"),
            ("rolled_back", "carol"),
        ]
        assert events[4].reason == "in a hurry"

    played(tmp_path, scene, 1, 2)


def test_a_paused_rollout_still_minds_its_guard_rails(tmp_path):
    async def scene(on):
        await on.start(replace(PLAN, steps=STEPS[1:]))
        await on.service.pause("m", "", "bob")
        await on.pass_time(1, failed=20)
        assert on.state.state == "rolled_back"

    played(tmp_path, scene, 1, 2)


def test_an_aborted_rollout_leaves_requests_shared_as_they_are(tmp_path):
    async def scene(on):
        await on.start(replace(PLAN, steps=STEPS[1:]))
        await on.service.abort("m", "we stay so", "bob")
        assert on.state.state == "aborted"
        await on.pass_time(60, stable=10, canary=10, failed=10)
        assert on.shares() == {1: 950, 2: 50}
        await on.service.clear_route("m", "bob")
        assert on.shares() == {2: 1000}

    played(tmp_path, scene, 1, 2)


def test_a_step_may_wait_for_approval(tmp_path):
    plan = Plan(steps=(Step(50, min_duration_s=1, min_requests=1, approval=True), STEPS[3]), gates=Gates())

    async def scene(on):
        await on.start(plan)
        await on.pass_time(2, stable=10, canary=1)
        assert on.state.state == "waiting"
        await on.pass_time(60, stable=10, canary=1)
        assert (on.state.state, on.state.step) == ("waiting", 0)
        await on.service.promote("m", "", "bob", full=False)
        assert on.state.step == 1

    played(tmp_path, scene, 1, 2)


def test_a_version_that_waits_for_approval_is_still_rolled_back(tmp_path):
    plan = Plan(
        steps=(Step(50, min_duration_s=1, min_requests=1, approval=True), STEPS[3]),
        gates=Gates(ErrorRateGate()),
    )

    async def scene(on):
        await on.start(plan)
        await on.pass_time(2, stable=50, canary=5)
        assert on.state.state == "waiting"
        await on.pass_time(60, stable=50, canary=5, failed=1)
        assert on.state.state == "rolled_back"

    played(tmp_path, scene, 1, 2)


def test_what_cannot_be_started_is_refused_with_its_reason(tmp_path):
    async def scene(on):
        for canary, stable, error, words in (
            (1, 1, FailedPrecondition, "answers already"),
            (0, 2, FailedPrecondition, "answers already"),
            (9, 0, FailedPrecondition, "version 9 of 'm' is not ready: it is not in the repository"),
        ):
            with pytest.raises(error, match=words):
                await on.service.start_rollout("m", canary, stable, None, "x", dry_run=False)
        with pytest.raises(NotFound):
            await on.service.start_rollout("n", 0, 0, None, "x", dry_run=False)
        with pytest.raises(NotFound, match="no rollout of 'm'"):
            await on.service.explain("m", 0)
        await on.start()
        with pytest.raises(FailedPrecondition, match="being rolled out already"):
            await on.start()
        with pytest.raises(FailedPrecondition, match="is under way"):
            await on.service.set_route("m", Route((Weight(1, 1000),)), "x")

    played(tmp_path, scene, 1, 2)


def test_gates_that_the_server_does_not_offer_are_refused(tmp_path):
    async def scene(on):
        query = Plan(gates=Gates(prometheus=(PrometheusGate("q", "up", 1),)))
        with pytest.raises(InvalidArgument, match="prometheus_url"):
            await on.start(query)
        function = Plan(gates=Gates(callables=(CallableGate("slo"),)))
        with pytest.raises(InvalidArgument, match="offers none"):
            await on.start(function)

    played(tmp_path, scene, 1, 2)


def test_a_dry_run_starts_nothing(tmp_path):
    async def scene(on):
        view = await on.service.start_rollout("m", 0, 1, PLAN, "x", dry_run=True)
        assert (view.canary, view.stable, view.id) == (2, 1, 0)
        assert on.router.route_of("m") is None
        assert on.service.status("m") == []

    played(tmp_path, scene, 1, 2)


def test_versions_on_disk_are_loaded_for_a_rollout_and_for_a_route(tmp_path):
    async def scene(on):
        await on.service.set_route("m", Route((Weight(1, 1000),)), "x")
        assert on.shares() == {1: 1000}
        await on.start()
        assert on.state.canary == 2

    played(tmp_path, scene, 2, on_disk=(1,))


def test_the_version_before_is_let_go_after_its_time(tmp_path):
    async def scene(on):
        await on.start()
        await on.service.promote("m", "", "x", full=True)
        await on.service.promote("m", "", "x", full=True)
        assert 1 in on.bringing.needed("m")
        await on.pass_time(99)
        assert 1 in on.bringing.needed("m")
        await on.pass_time(2)
        assert on.bringing.needed("m") == {2}
        assert dict(on.router.route_of("m").labels) == {"stable": 2}

    played(tmp_path, scene, 1, 2)


def test_a_restart_goes_on_in_the_same_step_with_the_same_counts(tmp_path):
    async def before(on):
        await on.start(replace(PLAN, steps=STEPS[1:]))
        await on.pass_time(3, stable=20, canary=2)

    async def after(on):
        view = on.state
        assert (view.state, view.step) == ("running", 0)
        assert (view.stable_figures.requests, view.canary_figures.requests) == (240, 24)
        assert view.canary_figures.p50_ms > 0.9
        assert on.shares() == {1: 950, 2: 50}
        await on.pass_time(1.5, stable=20, canary=2)
        assert on.state.step == 0
        await on.pass_time(1, stable=20, canary=2)
        assert on.state.step == 1

    played(tmp_path, before, 1, 2)
    played(tmp_path, after, 1, 2)


def test_evidence_is_carried_over_a_restart(tmp_path):
    """No life alone sees enough to decide; together they do."""
    plan = replace(PLAN, steps=(replace(STEPS[1], min_duration_s=600), STEPS[3]))
    states = []

    async def harm(on):
        if not on.service.status("m"):
            await on.start(plan)
        for failed in (0, 1, 0, 0):  # the first look finds the versions
            await on.pass_time(0.25, stable=40, canary=6, failed=failed)
        states.append(on.state.state)

    async def alone(on):
        await on.start(plan)
        for _ in range(2):
            await harm(on)
        assert on.state.state == "running"

    played(tmp_path / "alone", alone, 1, 2)
    states.clear()
    for _ in range(40):
        if "rolled_back" not in states:
            played(tmp_path / "lives", harm, 1, 2)
    assert 2 < states.index("rolled_back") < 40


def test_the_routes_of_a_restart_are_in_force_before_any_model_is_loaded(tmp_path):
    async def before(on):
        await on.start(replace(PLAN, steps=STEPS[1:]))
        await on.service.roll_back("m", "", "x")

    async def after(on):
        assert on.router.route_of("m").default == 1
        on.publish(1, 2)
        assert on.shares() == {1: 1000}
        assert on.state.state == "rolled_back"

    played(tmp_path, before, 1, 2)
    played(tmp_path, after)


def test_of_two_servers_with_one_state_folder_one_decides(tmp_path):
    async def main():
        async with AsyncExitStack() as end_of_first:
            first = await end_of_first.enter_async_context(house(tmp_path, 1, 2))
            async with house(tmp_path, 1, 2) as second:
                await first.start(replace(PLAN, steps=STEPS[1:]))
                with pytest.raises(Unavailable, match="another server"):
                    await second.start()
                await second.controller._decide_or_follow()
                assert second.shares() == {1: 950, 2: 50}
                await end_of_first.aclose()
                await second.controller._decide_or_follow()
                assert second.state.state == "running"
                await second.service.roll_back("m", "", "x")
                assert second.shares() == {1: 1000}

    run(main())


def test_a_declared_plan_pins_the_version_and_rolls_out_each_newer_one_once(tmp_path):
    async def scene(on):
        await on.declare(Serving(plan=replace(PLAN, steps=STEPS[1:])))
        assert on.router.route_of("m").default == 1
        on.publish(1, 2)
        await on.declare()
        assert (on.state.state, on.state.origin, on.state.canary) == ("running", "config", 2)
        assert on.shares() == {1: 950, 2: 50}
        await on.service.roll_back("m", "", "x")
        on.publish(1, 2)
        await on.declare()
        assert on.state.state == "rolled_back"
        assert on.shares() == {1: 1000}
        on.publish(1, 2, digest="b")
        await on.declare()
        assert on.state.state == "running"

    played(tmp_path, scene, 1)


def test_a_declared_route_is_taken_up_when_it_changes_and_differences_are_told(tmp_path):
    declared = Route((Weight(1, 900), Weight(2, 100)))

    async def first(on):
        await on.declare(Serving(route=declared))
        assert on.shares() == {1: 900, 2: 100}
        assert on.service.route("m").set_by == "config"
        assert on.service.route("m").differences == ()
        await on.service.set_route("m", Route((Weight(1, 1000),)), "bob")
        (told,) = on.service.route("m").differences
        assert told == 'route.weights: the file says {"1": 90.0, "2": 10.0}, in force is {"1": 100.0}'

    async def again(on):
        await on.declare(Serving(route=declared))
        assert on.shares() == {1: 1000}
        await on.declare(Serving(route=replace(declared, seed="x")))
        assert on.shares() == {1: 900, 2: 100}
        await on.declare(Serving())
        assert on.shares() == {2: 1000}

    played(tmp_path, first, 1, 2)
    played(tmp_path, again, 1, 2)


def test_history_has_the_newest_first(tmp_path):
    async def scene(on):
        for _ in range(3):
            await on.start()
            await on.service.roll_back("m", "", "x")
        assert [view.id for view in await on.service.history("m", 0)] == [3, 2, 1]
        assert [view.id for view in await on.service.history("m", 2)] == [3, 2]
        view, _ = await on.service.explain("m", 2)
        assert (view.id, view.state) == (2, RolloutState.ROLLED_BACK)
        with pytest.raises(NotFound, match="no rollout 9 of 'm'"):
            await on.service.explain("m", 9)

    played(tmp_path, scene, 1, 2)


def test_an_order_that_cannot_be_kept_leaves_everything_as_it_was(tmp_path):
    async def scene(on):
        fill_disk(on)
        with pytest.raises(Unavailable, match="nothing was changed, as it cannot be kept: disk full"):
            await on.start(canary=2, stable=1)
        assert on.router.route_of("m") is None
        assert on.service.status("m") == []

    played(tmp_path, scene, 1, 2)


def test_a_version_that_is_brought_for_an_order_gets_nothing_before(tmp_path):
    async def scene(on):
        view = await on.service.start_rollout("m", 2, 1, PLAN, "x", dry_run=True)
        assert view.canary == 2
        assert set(on.registry.ready("m")) == {1}
        fill_disk(on)
        seen = []
        follow = on.lifecycle.follow

        async def watched(name):
            await follow(name)
            seen.append(on.shares(10))

        on.lifecycle.follow = watched
        with pytest.raises(Unavailable, match="nothing was changed, as it cannot be kept: disk full"):
            await on.start(canary=2, stable=1)
        assert seen[0] == {1: 10}

    played(tmp_path, scene, 1, on_disk=(2,))


def test_a_way_back_is_taken_though_the_disk_is_full_and_kept_later(tmp_path):
    async def scene(on):
        await on.start(replace(PLAN, steps=STEPS[1:]))
        disk = fill_disk(on)
        await on.service.roll_back("m", "", "x")
        assert on.shares() == {1: 1000}
        assert on.state.state == "rolled_back"
        disk.is_full = False

    async def after(on):
        assert on.state.state == "rolled_back"
        assert on.router.route_of("m").default == 1

    played(tmp_path, scene, 1, 2)
    played(tmp_path, after, 1, 2)


def test_a_way_back_that_is_kept_late_does_not_undo_what_came_after(tmp_path):
    async def scene(on):
        await on.start(replace(PLAN, steps=STEPS[1:]))
        disk = fill_disk(on)
        await on.service.roll_back("m", "", "x")
        disk.is_full = False
        await on.service.set_route("m", Route((Weight(2, 1000),)), "bob")
        await on.pass_time(1)
        assert on.shares() == {2: 1000}
        kept = {each.model: each for each in await on.journal.ask(on.journal.store.routes)}
        assert kept["m"].set_by == "bob"

    played(tmp_path, scene, 1, 2)


def test_a_way_back_does_not_wait_for_a_promotion_that_is_being_written(tmp_path):
    async def scene(on):
        await on.start(replace(PLAN, steps=STEPS[1:]))
        disk = slow_disk(on)
        promoting = asyncio.create_task(on.service.promote("m", "", "x", full=False))
        await asyncio.to_thread(disk.entered.wait)
        on.model(2).answer(0, failed=50)
        on.time_s += 0.25
        await on.look(timeout_s=0.1)
        assert on.shares() == {1: 1000}
        assert on.state.state == "rolled_back"
        disk.through.set()
        with pytest.raises(FailedPrecondition, match="rolled back meanwhile: 50 of its last 50 requests"):
            await promoting
        await on.pass_time(1)
        assert on.shares() == {1: 1000}

    async def after(on):
        assert on.shares() == {1: 1000}
        assert on.state.state == "rolled_back"
        _, events = await on.service.explain("m", 0)
        assert [event.kind for event in events] == ["started", "rolled_back"]
        await on.start()
        assert on.state.state == "running"

    played(tmp_path, scene, 1, 2)
    played(tmp_path, after, 1, 2)


def test_an_order_that_was_not_written_yet_when_it_was_rolled_back_is_never_written(tmp_path):
    async def scene(on):
        await on.start(replace(PLAN, steps=STEPS[1:]))
        disk = slow_disk(on)
        # The order waits for the way back of another model, as would one of this model.
        await on.ledger._saving.acquire()
        pausing = asyncio.create_task(on.service.pause("m", "", "x"))
        await asyncio.sleep(0)
        on.model(2).answer(0, failed=50)
        disk.through.set()
        looking = asyncio.create_task(on.look())
        await asyncio.sleep(0)
        on.ledger._saving.release()
        await looking
        with pytest.raises(FailedPrecondition, match="rolled back meanwhile"):
            await pausing
        _, events = await on.service.explain("m", 0)
        assert [event.kind for event in events] == ["started", "rolled_back"]

    played(tmp_path, scene, 1, 2)


def test_what_was_compared_with_other_files_of_the_stable_version_does_not_count(tmp_path):
    async def scene(on):
        await on.start(replace(PLAN, steps=STEPS[1:]))
        await on.pass_time(4.5, stable=20, canary=20)
        assert on.state.canary_figures.requests == 18 * 20
        await on.pass_time(0.25)  # nothing new: 4.75 s of 5
        canary = on.model(2)
        on.registry.publish("m", {1: RoutedModel(1, "other"), 2: canary})
        await on.pass_time(0.25)
        assert (on.state.state, on.state.step) == ("running", 0)
        assert on.state.canary_figures.requests == 0
        _, events = await on.service.explain("m", 0)
        assert [event.kind for event in events] == ["started", "begun_anew"]
        assert "the stable one, has other files now" in events[-1].reason
        assert json.loads(events[-1].evidence)["canary_figures"]["requests"] == 18 * 20
        await on.pass_time(4, stable=20, canary=20)
        assert on.state.step == 0
        await on.pass_time(1, stable=20, canary=20)
        assert on.state.step == 1

    played(tmp_path, scene, 1, 2)


def test_other_files_of_the_stable_version_after_a_restart_are_noticed_too(tmp_path):
    async def scene(on):
        await on.start(replace(PLAN, steps=STEPS[1:]))
        await on.pass_time(4, stable=20, canary=20)

    async def after(on):
        on.registry.publish("m", {1: RoutedModel(1, "other"), 2: RoutedModel(2)})
        await on.pass_time(0.25)
        assert on.state.canary_figures.requests == 0
        _, events = await on.service.explain("m", 0)
        assert [event.kind for event in events] == ["started", "begun_anew"]

    played(tmp_path, scene, 1, 2)
    played(tmp_path, after, 1, 2)


def test_a_paused_rollout_that_is_promoted_says_that_it_goes_on(tmp_path):
    async def scene(on):
        await on.start(replace(PLAN, steps=STEPS[1:]))
        await on.service.pause("m", "", "x")
        view = await on.service.promote("m", "looks well", "y", full=False)
        assert view.state == "running"
        assert view.reason == "looks well (it was paused, and goes on)"

    played(tmp_path, scene, 1, 2)


def test_old_rollouts_are_forgotten_with_their_decisions(tmp_path):
    async def scene(on):
        for number in range(5):
            await on.start()
            await on.service.roll_back("m", str(number), "x")
        history = await on.service.history("m", 0)
        assert [view.reason for view in history] == ["4", "3", "2"]
        tables = ("rollouts", "rollout_events")
        count = lambda table: on.journal.store.connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: E731
        counts = [(await on.journal.ask(partial(count, table)))[0] for table in tables]
        assert counts == [3, 6]
        with pytest.raises(NotFound, match="rollout 1 of 'm'"):
            await on.service.explain("m", 1)

    played(tmp_path, scene, 1, 2, keep_rollouts=3)


def test_a_stop_that_cannot_keep_anything_still_ends(tmp_path):
    async def scene(on):
        await on.start(replace(PLAN, steps=STEPS[1:]))
        fill_disk(on)

    async def after(on):
        assert on.journal.has_lock
        assert on.state.state == "running"

    played(tmp_path, scene, 1, 2)
    played(tmp_path, after, 1, 2)


def test_two_ways_back_at_once_are_one(tmp_path):
    async def scene(on):
        await on.start(replace(PLAN, steps=STEPS[1:]))
        on.model(2).answer(0, failed=50)
        orders = [on.service.roll_back("m", "", "x"), on.look(), on.service.roll_back("m", "", "y")]
        await asyncio.gather(*orders, return_exceptions=True)
        _, events = await on.service.explain("m", 0)
        assert [event.kind for event in events] == ["started", "rolled_back"]

    played(tmp_path, scene, 1, 2)


def test_counts_of_one_step_are_not_kept_for_the_next(tmp_path):
    async def scene(on):
        await on.start(replace(PLAN, steps=STEPS[1:]))
        await on.pass_time(4, stable=20, canary=20)
        before = on.runs.running("m")
        record = replace(before.record, progress=before.progress())
        await on.service.promote("m", "", "x", full=False)
        await on.ledger.save_progress([record])
        (kept,) = await on.journal.ask(on.journal.store.last)
        assert kept.step == 1
        assert "elapsed_s" not in kept.progress

    played(tmp_path, scene, 1, 2)


def test_a_rollout_holds_while_the_stable_version_is_away(tmp_path):
    async def scene(on):
        await on.start(replace(PLAN, steps=STEPS[1:]))
        canary = on.model(2)
        on.registry.publish("m", {2: canary})
        await on.pass_time(30, canary=20)
        assert (on.state.state, on.state.step) == ("running", 0)
        assert "the stable one, is not ready" in on.state.reason

    played(tmp_path, scene, 1, 2)


def test_labels_and_rules_of_the_operators_own_outlive_a_rollout(tmp_path):
    rule = Rule("r", (Condition(Key(Attribute.PARAMETER, "x"), ("1",)),), "prod")
    before = Route((Weight(1, 1000),), labels={"stable": 1, "prod": 1}, rules=(rule,))

    async def scene(on):
        await on.service.set_route("m", before, "bob")
        await on.start(replace(PLAN, steps=STEPS[1:]))
        assert on.router.find("m", "prod").version == 1
        await on.service.roll_back("m", "", "x")
        assert replace(on.router.route_of("m"), revision=0) == before

    played(tmp_path, scene, 1, 2)


def test_a_rollout_that_is_done_is_not_rolled_back_over_a_route_set_since(tmp_path):
    async def scene(on):
        await on.start()
        await on.service.promote("m", "", "x", full=True)
        await on.service.promote("m", "", "x", full=True)
        await on.service.set_route("m", Route((Weight(2, 1000),), seed="bob's"), "bob")
        with pytest.raises(FailedPrecondition, match="its route was set since"):
            await on.service.roll_back("m", "", "x")

    played(tmp_path, scene, 1, 2)


def test_a_declared_route_waits_for_its_versions(tmp_path):
    async def scene(on):
        await on.declare(Serving(route=Route((Weight(3, 1000),))))
        assert on.shares() == {2: 1000}
        assert on.declarations.needed("m") == {3}
        on.publish(1, 2, 3)
        on.time_s += 10
        await on.declare()
        assert on.shares() == {3: 1000}

    played(tmp_path, scene, 1, 2)


def test_a_route_can_be_cleared_while_no_version_is_ready(tmp_path):
    async def scene(on):
        await on.service.set_route("m", Route((Weight(1, 1000),)), "x")
        on.registry.publish("m", {})
        await on.service.clear_route("m", "x")
        assert on.router.route_of("m") is None

    played(tmp_path, scene, 1, 2)


def test_clearing_a_route_releases_no_version_that_a_plan_is_declared_for(tmp_path):
    async def scene(on):
        await on.declare(Serving(plan=replace(PLAN, steps=STEPS[1:])))
        await on.service.set_route("m", Route((Weight(1, 1000),), seed="bob's"), "bob")
        on.publish(1, 2)
        await on.declare()
        assert on.service.status("m") == []
        await on.service.clear_route("m", "bob")
        assert on.shares() == {1: 1000}
        await on.declare()
        assert on.state.state == "running"

    played(tmp_path, scene, 1)


def test_without_a_state_folder_questions_and_orders_say_why(tmp_path):
    (tmp_path / "file").write_text("")

    async def scene(on):
        for order in (on.start(), on.service.history("m", 0), on.service.explain("m", 0)):
            with pytest.raises(Unavailable, match="cannot be kept"):
                await order
        with pytest.raises(Unavailable, match="cannot be kept"):
            on.service.status("")

    played(tmp_path / "file", scene, 1, 2)


def test_a_route_after_a_rollout_refers_to_no_label_that_is_gone(tmp_path):
    plan = replace(PLAN, steps=STEPS[1:], fallback=Fallback("canary"))

    async def scene(on):
        await on.start(plan)
        await on.service.promote("m", "", "x", full=True)
        await on.service.promote("m", "", "x", full=True)
        assert on.router.route_of("m").fallback == Fallback("")

    async def after(on):
        assert on.router.route_of("m").default == 2

    played(tmp_path, scene, 1, 2)
    played(tmp_path, after, 1, 2)
