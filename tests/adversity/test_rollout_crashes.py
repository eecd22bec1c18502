"""A server that is killed amid a rollout: nothing is lost, and no route comes that no plan asked for."""

import os
import random
import shutil
import time
from pathlib import Path

from headrace.core.plan import Gates, Plan, Step
from headrace.core.route import Route
from headrace.pb.headrace.v1 import rollouts_pb2
from headrace.repository.routing.writing import plan_message
from headrace.rollout import stages
from headrace.rollout.record import Record, RolloutState
from headrace.rollout.store import Store
from support.rollout_calls import RolloutCalls
from support.server import ServerProcess

# `make soak-rollouts` kills a hundred times.
KILLS = int(os.environ.get("ROLLOUT_KILLS", "3"))
SAMPLES = Path(__file__).parents[2] / "model_repository" / "digits"
STEP_S = 0.3
PLAN = Plan(
    steps=(
        Step(0, 1000, min_duration_s=STEP_S, min_requests=0),
        *(Step(weight, 0, min_duration_s=STEP_S, min_requests=0) for weight in (10, 50, 250, 500)),
        Step(1000, 0, min_duration_s=STEP_S, min_requests=0),
    ),
    gates=Gates(),
)


def wanted(record: Record) -> Route:
    """The one route that belongs to what is kept of a rollout."""
    match record.state:
        case RolloutState.DONE:
            return stages.done(record)
        case RolloutState.ROLLED_BACK:
            return stages.rolled_back(record)
        case _:
            return stages.under_way(record)


def check_kept(state_dir: Path, seen: rollouts_pb2.Rollout) -> Record:
    """What a killed server leaves behind; at least as far as the last answer that it gave."""
    store = Store(state_dir, keep_rollouts=100)
    try:
        (record,) = store.last()
        (kept,) = store.routes()
        events = store.events(record.id)
    finally:
        store.close()
    assert kept.route is not None
    route = wanted(record)
    assert (kept.route.weights, kept.route.shadows, dict(kept.route.labels)) == (
        route.weights,
        route.shadows,
        dict(route.labels),
    )
    assert (record.id, record.step) >= (seen.id, seen.step)
    kinds = [event.kind for event in events]
    assert kinds[0] == "started"
    assert kinds.count("promoted") == record.step
    assert (kinds[-1] == "done") == (record.state is RolloutState.DONE)
    return record


def check_taken_up(calls: RolloutCalls, record: Record) -> None:
    """The server that comes next goes on with what the one before has left."""
    (after,) = calls.status(model_name="digits").rollouts
    assert (after.id, after.version, after.stable_version) == (record.id, record.canary, record.stable)
    assert after.step >= record.step
    weights = dict(calls.route(model_name="digits").route.weights)
    assert weights.get(record.canary, 0.0) in {step.weight / 10 for step in PLAN.steps}


def start_another(calls: RolloutCalls) -> rollouts_pb2.Rollout:
    """The rollout under way; where there is none, from the version that answers to the other one."""
    last = next(iter(calls.status(model_name="digits").rollouts), None)
    if last is not None and last.state == "running":
        return last
    stable = last.version if last else 1
    return calls.start(
        model_name="digits", version=3 - stable, stable_version=stable, plan=plan_message(PLAN)
    )


def test_a_killed_server_goes_on_where_it_was(tmp_path):
    repository, state_dir = tmp_path / "models", tmp_path / "state"
    shutil.copytree(SAMPLES, repository / "digits")
    drawn = random.Random(7)
    record, met = None, set()
    for _ in range(KILLS):
        with ServerProcess(repository, f"--state-dir={state_dir}") as server:
            calls = RolloutCalls(server.grpc_url)
            try:
                if record is not None:
                    check_taken_up(calls, record)
                seen = start_another(calls)
                ends_at = time.monotonic() + drawn.uniform(0.0, 6 * STEP_S)
                while time.monotonic() < ends_at:
                    assert calls.infer_digit().model_version in ("1", "2")
                    (seen,) = calls.status(model_name="digits").rollouts
                server.kill()
            finally:
                calls.close()
        record = check_kept(state_dir, seen)
        met.add((record.state, record.step))
    assert len(met) > 1
