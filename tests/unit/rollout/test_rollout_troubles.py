"""What goes wrong around rollouts: disks that hang, orders that cross, versions that come and go."""

import asyncio
from dataclasses import replace

import pytest

from headrace.core.plan import CallableGate, Gates, GuardRails, Plan, Step
from headrace.core.route import Attribute, Fallback, Key, Route, Weight
from headrace.errors import (
    ConfigError,
    ExecutionFailed,
    FailedPrecondition,
    HeadraceError,
    InvalidArgument,
    QueueFull,
    Unavailable,
)
from headrace.repository.config import Serving
from headrace.rollout import store
from headrace.rollout.decision import Judgement, Verdict
from headrace.rollout.kept_route import RouteOrigin
from headrace.rollout.tally import Incidents, Tally
from headrace.state.database import open_database
from support.loops import run
from support.rollout_house import PLAN, STEPS, RoutedModel, a_pair, fill_disk, house, played, slow_disk

LIVE = replace(PLAN, steps=STEPS[1:])
ALL_TO = {version: Route((Weight(version, 1000),)) for version in (1, 2, 3)}


async def writing(on, disk, order):
    """`order` as a task that waits for the disk."""
    disk.entered.clear()
    task = asyncio.create_task(order)
    await asyncio.to_thread(disk.entered.wait, 10)
    return task


def fail(model, count, error=ExecutionFailed):
    for watch in list(model.watches):
        for _ in range(count):
            watch.failed([error("no")])


# Disks that hang


def test_an_order_to_go_back_does_not_wait_for_a_promotion_that_is_being_written(tmp_path):
    async def scene(on):
        await on.start(LIVE)
        disk = slow_disk(on)
        promoting = await writing(on, disk, on.service.promote("m", "", "x", full=False))
        going_back = asyncio.create_task(on.service.roll_back("m", "", "y"))
        await asyncio.sleep(0)
        assert on.shares() == {1: 1000}
        disk.through.set()
        with pytest.raises(FailedPrecondition, match="rolled back meanwhile: by order"):
            await promoting
        assert (await going_back).state == "rolled_back"

    played(tmp_path, scene, 1, 2)


def test_guard_rails_are_looked_at_while_a_disk_hangs(tmp_path):
    """Through what the controller does, with comparisons that are due to be kept."""

    async def scene(on):
        await on.start(LIVE)
        on.comparer.take([a_pair()])
        disk = slow_disk(on)
        pausing = await writing(on, disk, on.service.pause("m", "", "x"))
        for _ in range(3):
            on.time_s += 20
            await asyncio.wait_for(on.controller.look(), 1)
        fail(on.model(2), 50)
        await asyncio.wait_for(on.controller.look(), 1)
        assert on.shares() == {1: 1000}
        disk.through.set()
        with pytest.raises(FailedPrecondition, match="rolled back meanwhile"):
            await pausing

    played(tmp_path, scene, 1, 2)


def test_what_was_overtaken_by_a_way_back_is_not_written(tmp_path):
    """Neither events nor a restart know of a promotion that never came into force."""

    async def scene(on):
        await on.start(LIVE)
        await on.service.promote("m", "", "x", full=True)
        disk = slow_disk(on)
        ending = await writing(on, disk, on.service.promote("m", "", "x", full=False))
        fail(on.model(2), 50)
        on.time_s += 0.25
        await on.look(timeout_s=0.1)
        disk.through.set()
        with pytest.raises(FailedPrecondition, match="rolled back meanwhile: 50 of its last 50"):
            await ending
        await on.look()
        _, events = await on.service.explain("m", 0)
        assert [event.kind for event in events] == ["started", "promoted", "rolled_back"]
        assert on.ledger.counts["m", "rolled_back"] == 1
        assert ("m", "done") not in on.ledger.counts

    async def after(on):
        assert on.state.state == "rolled_back"
        assert on.shares() == {1: 1000}

    played(tmp_path, scene, 1, 2)
    played(tmp_path, after, 1, 2)


def test_a_pin_that_could_not_be_kept_is_kept_later(tmp_path):
    async def scene(on):
        disk = fill_disk(on)
        await on.declare(Serving(plan=LIVE))
        await on.look()
        assert on.shares() == {1: 1000}
        disk.is_full = False
        await on.look()
        (kept,) = await on.journal.ask(on.journal.store.routes)
        assert (kept.model, kept.origin, kept.route.default) == ("m", RouteOrigin.CONFIG, 1)

    played(tmp_path, scene, 1)


def test_a_declared_route_that_is_removed_while_the_disk_is_full_goes_in_the_end(tmp_path):
    async def scene(on):
        await on.declare(Serving(route=ALL_TO[1]))
        disk = fill_disk(on)
        await on.declare(Serving())
        assert on.router.route_of("m") is not None
        disk.is_full = False
        on.time_s += 10
        await on.declare()
        assert on.router.route_of("m") is None
        assert await on.journal.ask(on.journal.store.declared_routes) == {}

    played(tmp_path, scene, 1, 2)


def test_that_a_step_began_anew_is_kept_as_soon_as_it_can_be(tmp_path):
    async def scene(on):
        await on.start(LIVE)
        await on.pass_time(2, stable=20, canary=20)
        disk = fill_disk(on)
        on.registry.publish("m", {1: RoutedModel(1, "other"), 2: on.model(2)})
        await on.pass_time(1)
        disk.is_full = False
        await on.pass_time(1)
        _, events = await on.service.explain("m", 0)
        assert [event.kind for event in events] == ["started", "begun_anew"]

    played(tmp_path, scene, 1, 2)


@pytest.mark.parametrize("what", ["bad \udcff", object()], ids=["half a character", "no JSON"])
def test_a_way_back_is_kept_whatever_is_known_of_it(tmp_path, what):
    """What no database takes is not worth a way back; nor are others held up by it."""
    plan = replace(LIVE, gates=Gates(callables=(CallableGate("slo"),)))

    async def scene(on):
        on.service._check_gates = lambda plan: None
        await on.start(plan)
        on.runs.running("m").outside["slo"] = Judgement("slo", Verdict.FAILED, str(what), {"what": what})
        await on.pass_time(1)
        assert on.shares() == {1: 1000}
        await on.service.set_route("m", ALL_TO[1], "bob")

    async def after(on):
        assert on.state.state == "rolled_back"

    played(tmp_path, scene, 1, 2)
    played(tmp_path, after, 1, 2)


def test_a_rollout_whose_evidence_cannot_be_told_is_rolled_back_and_harms_no_other(tmp_path):
    async def scene(on):
        on.lifecycle.known_names = ["m", "n"]
        on.registry.publish("n", {1: RoutedModel(1), 2: RoutedModel(2)})
        for name in ("m", "n"):
            await on.service.start_rollout(name, 2, 1, LIVE, "x", dry_run=False)

        def refuse():
            raise ArithmeticError("a gate's")

        on.runs.running("m").evidence = refuse
        fail(on.model(2), 50)
        fail(on.registry.ready("n")[2], 50)
        on.time_s += 0.25
        await on.look()
        assert [on.service.status(name)[0].state for name in ("m", "n")] == ["rolled_back"] * 2

    played(tmp_path, scene, 1, 2)


def test_routes_are_read_from_a_state_that_cannot_be_written(tmp_path, monkeypatch):
    async def scene(on):
        await on.start(LIVE)
        assert on.shares() == {1: 950, 2: 50}

    async def read_only(on):
        assert on.shares() == {1: 950, 2: 50}
        with pytest.raises(Unavailable, match="cannot be kept: no space"):
            await on.service.roll_back("m", "", "x")
        with pytest.raises(Unavailable, match="cannot be kept: no space"):
            on.service.status("m")
        monkeypatch.undo()
        await on.controller._open()
        assert (await on.service.roll_back("m", "", "x")).state == "rolled_back"
        assert on.shares() == {1: 1000}

    def refuse(folder):
        raise OSError("no space")

    played(tmp_path, scene, 1, 2)
    monkeypatch.setattr(store, "open_database", refuse)
    played(tmp_path, read_only, 1, 2)


def test_where_no_routes_were_ever_kept_none_are_missed(tmp_path, monkeypatch):
    """A database that only others have written, and that cannot be written now."""
    open_database(tmp_path).execute("CREATE TABLE another (id INTEGER)").connection.close()

    def refuse(folder):
        raise OSError("no space")

    async def scene(on):
        assert on.router.route_of("m") is None

    monkeypatch.setattr(store, "open_database", refuse)
    played(tmp_path, scene, 1, 2)


def test_a_server_does_not_start_where_nobody_knows_which_version_answers(tmp_path):
    (tmp_path / "headrace.sqlite3").write_bytes(b"no database" * 1000)

    async def scene(on):
        raise AssertionError("it has started")

    with pytest.raises(ConfigError, match=r"headrace\.sqlite3 cannot be read: .*not a database.*routes"):
        played(tmp_path, scene, 1, 2)


# Orders that cross


def test_what_is_due_is_asked_once_the_model_is_nobody_elses(tmp_path):
    async def scene(on):
        await on.declare(Serving(plan=LIVE))
        on.publish(1, 2, 3)
        async with on.runs.lock("m"):
            starting = asyncio.create_task(
                on.rollouts.start_declared("m", LIVE, lambda: on.declarations._due_version("m"))
            )
            await asyncio.sleep(0)
            on.declarations.look()
            assert not on.declarations._working
            kept = on.book.following("m", ALL_TO[2], RouteOrigin.ORDER, "bob")
            on.book.take(kept)
        await starting
        assert on.service.route("m").set_by == "bob"
        assert on.service.status("m") == []

    played(tmp_path, scene, 1)


def test_a_caller_called_rollout_is_a_caller(tmp_path):
    async def scene(on):
        await on.start()
        for _ in range(2):
            await on.service.promote("m", "", "x", full=True)
        await on.service.set_route("m", ALL_TO[2], "rollout")
        with pytest.raises(FailedPrecondition, match="its route was set since"):
            await on.service.roll_back("m", "", "x")
        await on.declare(Serving(plan=LIVE))
        await on.service.set_route("m", ALL_TO[2], "config")
        on.publish(1, 2, 3)
        await on.declare()
        assert on.service.route("m").set_by == "config"
        assert "set by config; new versions are not rolled out" in on.service.route("m").differences[0]

    played(tmp_path, scene, 1, 2)


def test_a_version_that_was_rolled_back_is_not_tried_again_though_its_rollout_is_forgotten(tmp_path):
    async def scene(on):
        await on.declare(Serving(plan=LIVE))
        on.publish(1, 2, 3)
        await on.declare()
        assert on.state.canary == 3
        await on.service.roll_back("m", "bad", "x")
        for _ in range(3):
            await on.start(LIVE, canary=2, stable=1)
            await on.service.roll_back("m", "", "x")

    async def after(on):
        await on.declare(Serving(plan=LIVE))
        assert [view.canary for view in await on.service.history("m", 0)] == [2, 2, 2]

    played(tmp_path, scene, 1, keep_rollouts=3)
    played(tmp_path, after, 1, 2, 3, keep_rollouts=3)


# Versions that come and go


def test_an_approval_that_was_waited_for_is_not_one_of_what_was_forgotten(tmp_path):
    steps = (Step(50, min_duration_s=5, min_requests=10, approval=True), STEPS[3])

    async def scene(on):
        await on.start(Plan(steps=steps, gates=Gates()))
        await on.pass_time(6, stable=10, canary=1)
        assert on.state.state == "waiting"
        on.registry.publish("m", {1: RoutedModel(1, "other"), 2: on.model(2)})
        await on.pass_time(1)
        assert on.state.state == "running"
        await on.pass_time(6, stable=10, canary=1)
        assert on.state.state == "waiting"

    played(tmp_path, scene, 1, 2)


def test_copies_of_the_old_files_do_not_count_for_the_new(tmp_path):
    async def scene(on):
        await on.start()
        await on.pass_time(1, stable=10)
        on.registry.publish("m", {1: RoutedModel(1, "other"), 2: on.model(2)})
        await on.look()
        late = replace(a_pair(error=ExecutionFailed("no")), at_ns=int((on.time_s - 1) * 1e9))
        for _ in range(20):
            on.runs.paired([late] * 10)
            await on.pass_time(0.25)
        assert on.state.state == "running"
        on.runs.paired([replace(late, at_ns=int(on.time_s * 1e9))] * 100)
        on.runs.paired([replace(a_pair(), at_ns=int(on.time_s * 1e9))] * 100)

    played(tmp_path, scene, 1, 2)


def test_neither_time_nor_requests_count_while_the_stable_version_is_away(tmp_path):
    async def scene(on):
        await on.start(LIVE)
        stable, canary = on.model(1), on.model(2)
        on.registry.publish("m", {2: canary})
        await on.pass_time(6, canary=20)
        on.registry.publish("m", {1: stable, 2: canary})
        await on.pass_time(0.25, stable=1, canary=1)
        assert (on.state.step, on.state.canary_figures.requests) == (0, 1)

    played(tmp_path, scene, 1, 2)


def test_nothing_is_promoted_to_a_version_that_is_away(tmp_path):
    async def scene(on):
        await on.start(LIVE)
        on.registry.publish("m", {1: on.model(1)})
        with pytest.raises(FailedPrecondition, match="version 2 of 'm' is not ready"):
            await on.service.promote("m", "", "x", full=False)

    played(tmp_path, scene, 1, 2)


def test_why_a_rollout_is_paused_is_told_for_as_long_as_it_is(tmp_path):
    async def scene(on):
        await on.start(LIVE)
        await on.service.pause("m", "the shop is closing", "x")
        await on.pass_time(1, stable=10)
        assert (on.state.state, on.state.reason) == ("paused", "the shop is closing")

    played(tmp_path, scene, 1, 2)


def test_a_canary_is_away_for_as_long_as_it_was_missed(tmp_path):
    async def scene(on):
        await on.start(LIVE)
        await on.pass_time(1, stable=10, canary=1)
        on.time_s += 6  # nobody looked, and it went a moment ago
        on.registry.publish("m", {1: on.model(1)})
        await on.look()
        assert on.state.state == "running"
        await on.pass_time(5)
        assert on.state.state == "rolled_back"
        assert "has not been ready for 5 s" in on.state.reason

    played(tmp_path, scene, 1, 2)


def test_an_order_that_fails_leaves_no_version_loaded(tmp_path):
    async def scene(on):
        await on.service.set_route("m", ALL_TO[1], "x")
        on.lifecycle.on_disk |= {2}
        fill_disk(on)
        needed, follow = [], on.lifecycle.follow

        async def watched(name):
            needed.append(set(on.bringing.needed(name)))
            await follow(name)

        on.lifecycle.follow = watched
        with pytest.raises(Unavailable, match="disk full"):
            await on.start()
        await asyncio.sleep(0.05)
        assert needed == [{1, 2}, {1}]

    played(tmp_path, scene, 1)


def test_a_canary_that_answers_everybody_is_the_stable_version_after_an_abort(tmp_path):
    async def scene(on):
        await on.start(LIVE)
        await on.service.promote("m", "", "x", full=True)
        await on.service.abort("m", "", "x")
        route = on.router.route_of("m")
        assert (route.default, dict(route.labels)) == (2, {"stable": 2})
        await on.service.roll_back("m", "", "x")
        assert on.shares() == {1: 1000}

    played(tmp_path, scene, 1, 2)


@pytest.mark.parametrize(("other", "words"), [("m", "cannot stand in for itself"), ("n", "no model 'n'")])
def test_a_model_that_cannot_stand_in_is_refused(tmp_path, other, words):
    fallback = Fallback("", other)

    async def scene(on):
        for order in (
            on.start(replace(LIVE, fallback=fallback)),
            on.service.set_route("m", replace(ALL_TO[1], fallback=fallback), "x"),
        ):
            with pytest.raises(InvalidArgument, match=words):
                await order
        await on.declare(Serving(route=replace(ALL_TO[1], fallback=fallback)))
        assert words in on.service.route("m").differences[-1]
        await on.declare(Serving(route=ALL_TO[1]))
        assert on.service.route("m").differences == ()

    played(tmp_path, scene, 1, 2)


def test_a_declared_plan_that_no_version_can_be_rolled_out_by_is_told(tmp_path):
    plan = replace(LIVE, gates=Gates(callables=(CallableGate("nobody"),)))

    async def scene(on):
        await on.declare(Serving(plan=plan))
        (told,) = on.service.route("m").differences
        assert "no version can be rolled out by its plan" in told
        assert "'nobody'" in told
        await on.declare(Serving(plan=LIVE))
        assert on.service.route("m").differences == ()

    played(tmp_path, scene, 1)


def test_a_plan_in_the_file_is_held_against_the_one_under_way_whoever_began_it(tmp_path):
    async def scene(on):
        await on.declare(Serving(plan=LIVE))
        on.publish(1, 2)
        await on.start(None)
        assert on.service.route("m").differences == ()
        await on.declare(Serving(plan=replace(LIVE, false_alarm_rate=0.05)))
        (told,) = on.service.route("m").differences
        assert "rollout.false_alarm_rate: the file says 0.05, in force is 0.01" in told

    played(tmp_path, scene, 1)


# What counts


def test_failures_that_come_one_by_one_are_incidents_of_their_own():
    incidents = Incidents()
    for _ in range(8):
        incidents.add([ExecutionFailed("no")])  # each may lie where the one before did
    assert incidents.take() == (8, 8)


def test_failures_that_come_together_are_one_incident():
    together, tally = ExecutionFailed("lost"), Tally()
    tally.failed([together] * 3 + [ExecutionFailed("no"), InvalidArgument("bad")])
    tally.failed([together] * 2)
    for _ in range(4):
        tally.failed([QueueFull("full")])
    block = tally.take()
    assert (block.failures, block.squares) == (11, 9 + 1 + 1 + 4 + 16)
    assert tally.take().failures == 0


def wave(on):
    """A look in which a third of the requests fail, whichever version they are for."""
    on.time_s += 0.25
    for version, good, bad in ((1, 100, 50), (2, 10, 5)):
        errors: list[HeadraceError] = [InvalidArgument("bad") for _ in range(bad)]
        for watch in list(on.model(version).watches):
            watch.answered([10**6] * good)
            for error in errors:
                watch.failed([error])


@pytest.mark.parametrize("first_live_step", [0, 1], ids=["at once", "after a shadow"])
def test_what_meets_both_versions_alike_is_held_against_none(tmp_path, first_live_step):
    """The stable version's requests from before the canary had any are of another stretch of time."""
    plan = replace(
        PLAN, steps=STEPS if first_live_step else STEPS[1:], guard_rails=GuardRails(error_share=0.9)
    )

    async def scene(on):
        await on.start(plan)
        await on.pass_time(5.25 if first_live_step else 4.75, stable=100, pairs=5)
        assert on.state.step == first_live_step
        for _ in range(8):
            wave(on)
            await on.look()
        assert on.state.state == "running", on.state.reason

    played(tmp_path, scene, 1, 2)


def test_answers_of_gates_outside_are_of_one_step(tmp_path):
    steps = (replace(STEPS[1], min_duration_s=0, min_requests=0),) * 2
    plan = Plan(steps=(*steps, STEPS[3]), gates=Gates(callables=(CallableGate("slo"),)))

    async def scene(on):
        on.service._check_gates = lambda plan: None
        await on.start(plan)
        on.runs.running("m").outside["slo"] = Judgement("slo", Verdict.PASSED, "well")
        await on.pass_time(2)
        assert on.state.step == 1
        assert [(gate.name, gate.verdict) for gate in on.state.gates] == [("slo", "waits")]

    played(tmp_path, scene, 1, 2)


@pytest.mark.parametrize("is_declared", [False, True])
def test_keys_and_fallback_of_a_plan_outlive_it(tmp_path, is_declared):
    plan = replace(LIVE, fallback=Fallback("", "other"), sticky=Key(Attribute.CALLER), seed="s")

    async def main():
        async with house(tmp_path, 1) as on:
            on.lifecycle.known_names = ["m", "other"]
            if is_declared:
                await on.declare(Serving(plan=plan))
            on.publish(1, 2)
            if is_declared:
                await on.declare()
            else:
                await on.start(plan)
            for _ in range(2):
                await on.service.promote("m", "", "x", full=True)
            route = on.router.route_of("m")
            assert (route.fallback, route.sticky, route.seed) == (plan.fallback, plan.sticky, "s")

    run(main())
