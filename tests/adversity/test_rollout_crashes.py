"""A server that is killed amid a rollout: nothing is lost, and no route comes that nobody asked for."""

import os
import random
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import grpc

from headrace.core.plan import DisagreementGate, ErrorRateGate, Gates, Plan, Step
from headrace.core.route import Route, Weight
from headrace.pb.headrace.v1 import rollouts_pb2
from headrace.repository.routing.writing import plan_message, route_message
from headrace.rollout import stages
from headrace.rollout.kept_route import KeptRoute, RouteOrigin
from headrace.rollout.record import Record, RolloutState
from headrace.rollout.store import Store
from support.rollout_calls import RolloutCalls
from support.server import ServerProcess

# `make soak-rollouts` kills a hundred times.
KILLS = int(os.environ.get("ROLLOUT_KILLS", "4"))
SAMPLES = Path(__file__).parents[2] / "model_repository" / "digits"
STEP_S = 0.3
PLAN = Plan(
    steps=(
        Step(0, 1000, min_duration_s=STEP_S, min_requests=0),
        *(Step(weight, 0, min_duration_s=STEP_S, min_requests=0) for weight in (10, 50, 250, 500)),
        Step(1000, 0, min_duration_s=STEP_S, min_requests=0),
    ),
    gates=Gates(ErrorRateGate(), (), DisagreementGate()),
)
ORDERED_ROUTE = Route((Weight(1, 700), Weight(2, 300)))

# What an order, once it is answered, has made of the rollout.
ORDERS = {
    "pause": RolloutState.PAUSED,
    "rollback": RolloutState.ROLLED_BACK,
    "abort": RolloutState.ABORTED,
    "promote": None,
    "set_route": None,
}


class Order:
    """Given at a moment of its own, beside whoever looks on; the server may be killed before it answers."""

    def __init__(self, calls: RolloutCalls, kind: str, after_s: float) -> None:
        self.kind = kind
        self.is_answered = False
        self._calls = calls
        self._thread = threading.Timer(after_s, self._give)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def _give(self) -> None:
        given = {"route": route_message(ORDERED_ROUTE)} if self.kind == "set_route" else {}
        try:
            getattr(self._calls, self.kind)(model_name="digits", **given)
        except grpc.RpcError as error:
            # Too late, too early, or the server is gone.
            assert error.code() in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAVAILABLE)
        else:
            self.is_answered = True


def wanted(record: Record) -> Route:
    """The one route that belongs to what is kept of a rollout."""
    match record.state:
        case RolloutState.DONE:
            return stages.done(record)
        case RolloutState.ROLLED_BACK:
            return stages.rolled_back(record)
        case RolloutState.ABORTED:
            return stages.aborted(record)
        case _:
            return stages.under_way(record)


def check_kept(state_dir: Path, seen: rollouts_pb2.Rollout, order: Order) -> tuple[Record, KeptRoute]:
    """What a killed server leaves behind; at least as far as the last answers that it gave."""
    store = Store(state_dir, keep_rollouts=100)
    try:
        (record,) = store.last()
        (kept,) = store.routes()
        events = store.events(record.id)
    finally:
        store.close()
    assert kept.route is not None
    if kept.origin is RouteOrigin.ORDER:
        assert order.kind == "set_route"
        assert replace(kept.route, revision=0) == ORDERED_ROUTE
        assert not record.state.is_open
    else:
        assert replace(kept.route, revision=0) == wanted(record)
    assert (record.id, record.step) >= (seen.id, seen.step)
    check_order(record, kept, order)
    kinds = [event.kind for event in events]
    assert kinds[0] == "started"
    assert kinds.count("promoted") == record.step
    ends = {
        RolloutState.DONE: "done",
        RolloutState.ROLLED_BACK: "rolled_back",
        RolloutState.ABORTED: "aborted",
    }
    assert kinds[-1] == ends[record.state] if record.state in ends else set(kinds).isdisjoint(ends.values())
    return record, kept


def check_order(record: Record, kept: KeptRoute, order: Order) -> None:
    """What was answered is kept."""
    if not order.is_answered:
        return
    state = ORDERS[order.kind]
    if state is not None:
        assert record.state is state
    if order.kind == "set_route":
        assert kept.origin is RouteOrigin.ORDER


def check_taken_up(calls: RolloutCalls, record: Record, kept: KeptRoute) -> None:
    """The server that comes next goes on with what the one before has left."""
    (before,) = calls.status(model_name="digits").rollouts
    route = calls.route(model_name="digits").route
    (after,) = calls.status(model_name="digits").rollouts
    assert (before.id, before.version, before.stable_version) == (record.id, record.canary, record.stable)
    assert before.step >= record.step
    if (before.state, before.step) != (after.state, after.step):
        return  # it went on between the questions
    if record.state.is_open:
        reached = replace(record, state=RolloutState(after.state), step=after.step)
        expected = wanted(reached)
    else:
        assert kept.route is not None
        expected = kept.route
    assert dict(route.weights) == {each.version: each.per_mille / 10 for each in expected.weights}
    assert dict(route.labels) == dict(expected.labels)
    assert [each.version for each in route.shadows] == [each.version for each in expected.shadows]


def start_another(calls: RolloutCalls) -> rollouts_pb2.Rollout:
    """The rollout under way; where there is none, from the version that answers to the other one."""
    last = next(iter(calls.status(model_name="digits").rollouts), None)
    if last is not None and last.state in ("running", "paused", "waiting"):
        return calls.resume(model_name="digits") if last.state == "paused" else last
    stable = int(calls.infer_digit().model_version) if last else 1
    return calls.start(
        model_name="digits", version=3 - stable, stable_version=stable, plan=plan_message(PLAN)
    )


def test_a_killed_server_goes_on_where_it_was(tmp_path):
    repository, state_dir = tmp_path / "models", tmp_path / "state"
    shutil.copytree(SAMPLES, repository / "digits")
    drawn = random.Random(7)
    left, met = None, set()
    for life in range(KILLS):
        with ServerProcess(repository, f"--state-dir={state_dir}") as server:
            calls = RolloutCalls(server.grpc_url)
            try:
                if left is not None:
                    check_taken_up(calls, *left)
                seen = start_another(calls)
                lives_s = drawn.uniform(0.0, 6 * STEP_S)
                kind = list(ORDERS)[life % len(ORDERS)]
                order = Order(calls, kind, lives_s - drawn.uniform(-0.01, 0.03) if life % 2 else lives_s / 2)
                ends_at = time.monotonic() + lives_s
                while time.monotonic() < ends_at:
                    assert calls.infer_digit().model_version in ("1", "2")
                    (seen,) = calls.status(model_name="digits").rollouts
                server.kill()
                order.join()
            finally:
                calls.close()
        left = check_kept(state_dir, seen, order)
        met.add((left[0].state, left[0].step))
    assert len(met) > 1
