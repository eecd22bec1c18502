"""The demonstration of rollouts: its versions are broken as it says, and its figures are what happened."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from demo_rollout import report, server, story, versions
from demo_rollout.pace import Pace
from demo_rollout.traffic import Answer, Digits, Outcome, Traffic
from headrace.cli.check import check
from headrace.pb.headrace.v1 import rollouts_pb2, routing_pb2
from headrace.repository.repository import Repository

DIGITS = Digits.load()
NETWORK = onnx.load(server.SAMPLES / "digits" / "2" / "model.onnx")
BEGAN_S = 1_800_000_000.0


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def median_s(call: Callable[[], object]) -> float:
    times = []
    for _ in range(15):
        began_s = time.perf_counter()
        call()
        times.append(time.perf_counter() - began_s)
    return sorted(times)[len(times) // 2]


def fails(running: onnxruntime.InferenceSession, place: int) -> bool:
    try:
        running.run(["label"], {"image": DIGITS.images[place : place + 1]})
    except Exception as error:
        assert "out of data bounds" in str(error)
        return True
    return False


def test_wrong_weights_give_other_answers_to_most_images() -> None:
    answered = versions.labels(versions.with_wrong_weights(NETWORK), DIGITS.images)

    assert np.mean(answered != versions.labels(NETWORK, DIGITS.images)) > 0.5


def test_slow_version_gives_the_same_answers_in_several_times_the_time() -> None:
    good, slow = session(NETWORK), session(versions.slowed(NETWORK))
    outputs, inputs = ["probabilities", "label"], {"image": DIGITS.images[:8]}

    for ours, theirs in zip(slow.run(outputs, inputs), good.run(outputs, inputs), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert median_s(lambda: slow.run(outputs, inputs)) > 2 * median_s(lambda: good.run(outputs, inputs))


def test_failing_version_fails_the_same_few_images_each_time_and_answers_the_rest_alike() -> None:
    running = session(versions.failing(NETWORK, DIGITS.images))

    failed = np.array([fails(running, place) for place in range(len(DIGITS.images))])

    assert 0.01 < failed.mean() < 0.04
    assert failed.tolist() == [fails(running, place) for place in range(len(DIGITS.images))]
    (answered,) = running.run(["label"], {"image": DIGITS.images[~failed]})
    assert (answered.ravel() == versions.labels(NETWORK, DIGITS.images)[~failed]).all()


def test_golden_requests_refuse_wrong_weights_and_nothing_else(tmp_path: Path) -> None:
    repository = server.Repository(tmp_path, story.DECLARED_PLAN)
    repository.add(2)
    repository.add(4, versions.slowed(NETWORK, rounds=1))
    repository.add(5, versions.failing(NETWORK, DIGITS.images))
    before = check(Repository(repository.path), ["digits"], runs_golden=True)
    repository.add(3, versions.with_wrong_weights(NETWORK))
    after = check(Repository(repository.path), ["digits"], runs_golden=True)

    assert not before.problems
    assert after.problems
    assert all(problem.file.startswith("digits/3/golden/") for problem in after.problems)


def test_callers_are_answered_by_the_version_that_is_stable() -> None:
    with server.running(story.DECLARED_PLAN) as running:
        answers = asyncio.run(answers_of(running.url))
        bugs = running.bugs()

    assert len(answers) > 100
    assert {answer.version for answer in answers} == {1}
    assert sum(answer.outcome is Outcome.RIGHT for answer in answers) > 0.9 * len(answers)
    assert not bugs


async def answers_of(url: str) -> Sequence[Answer]:
    traffic = Traffic(url, server.MODEL, DIGITS, rate=200)
    traffic.start()
    await asyncio.sleep(1.0)
    await traffic.stop()
    return traffic.answers


def busy(median_s: float, count: int, seed: int, *, begin_s: float = 0.0) -> list[Answer]:
    """A hundred answers a second, as of a machine that has much to do."""
    times = median_s * np.random.default_rng(seed).lognormal(sigma=0.6, size=count)
    return [an_answer(begin_s + number / 100, took_s) for number, took_s in enumerate(times.tolist())]


@pytest.mark.parametrize("seed", range(20))
def test_version_that_is_as_quick_makes_nobody_wait(seed: int) -> None:
    pace = Pace(busy(0.0316, 2000, 100 + seed), stable=2)

    assert pace.slow(busy(0.0316, 500, seed, begin_s=5.0)) == 0


def test_version_that_is_slow_on_a_loaded_machine_is_counted() -> None:
    pace = Pace(busy(0.0316, 2000, 1), stable=2)

    assert 250 < pace.slow(busy(0.1, 500, 2, begin_s=5.0)) < 400


def test_answer_is_slow_beside_those_of_its_own_time() -> None:
    calm = [an_answer(number / 100, 0.01) for number in range(300)]
    stalled = [an_answer(10 + number / 100, 1.0) for number in range(300)]

    pace = Pace([*calm, *stalled], stable=2)

    assert pace.slow([an_answer(1.0, 0.5)] * 40) == 38
    assert pace.slow([an_answer(11.0, 0.5)] * 40) == 0
    assert pace.slow([an_answer(1.0, 0.01)] * 40) == 0


def test_few_late_answers_may_be_chance_and_without_the_stable_version_nothing_is_known() -> None:
    pace = Pace([an_answer(number / 100, 0.01) for number in range(300)], stable=2)

    assert pace.slow([an_answer(1.0, 0.5)]) == 1
    assert pace.slow([an_answer(1.0, 0.5), *[an_answer(1.0, 0.005)] * 9]) == 0
    assert pace.slow([an_answer(20.0, 0.5)] * 40) == 0
    assert pace.slow([]) == 0


def test_harmed_requests_are_counted_once_each() -> None:
    is_stable_right = np.array([True, False])
    stable = [an_answer(number / 100, 0.01) for number in range(996)]
    by_new = [
        an_answer(1.0, 0.9, version=5, outcome=Outcome.WRONG),
        an_answer(1.0, 0.9, version=5, outcome=Outcome.WRONG, image=1),
        an_answer(1.0, 0.9, version=5, image=1),
    ]
    failed = [an_answer(1.0, 0.01, version=0, outcome=Outcome.FAILED)]
    after = [an_answer(10.5, 0.01), an_answer(10.5, 0.01, version=5)]

    found = report.finding(
        report.Expectation(5, report.FAILING, "5 % at once", report.ROLLED_BACK),
        a_rollout("rolled_back"),
        [*stable, *by_new, *failed, *after],
        is_stable_right,
    )

    assert (found.live, found.by_new) == (1000, 3)
    assert (found.failed, found.slow, found.wrong, found.put_right) == (1, 2, 1, 1)
    assert found.share == 0.004
    assert found.strays == 1
    assert found.step == "5 %"


@pytest.mark.parametrize("state", ["done", "not decided"])
def test_promise_is_broken_where_a_bad_version_is_not_rolled_back(state: str) -> None:
    rollouts = [a_finding("rolled_back"), a_finding(state)]

    assert [promise.is_kept for promise in report.promises(rollouts)] == [False, True, True]
    assert state in report.table(rollouts)


def test_promise_is_broken_where_too_many_requests_are_harmed() -> None:
    failed = [an_answer(1.0, 0.01, version=0, outcome=Outcome.FAILED)] * 3
    answered = [an_answer(2.0, 0.01)] * 497

    harmless = report.promises([a_finding("rolled_back", answered)])
    harmful = report.promises([a_finding("rolled_back", [*failed, *answered])])

    assert all(promise.is_kept for promise in harmless)
    assert [promise.text for promise in harmful if not promise.is_kept] == [
        "version 5 (fails 1 in 50, 5 % at once) has harmed 0.60% of the requests, fewer than 0.5%"
    ]


@pytest.mark.parametrize("what", [report.SLOW, report.WRONG])
def test_promise_is_broken_where_a_live_request_meets_what_its_shadow_should_have_found(what: str) -> None:
    by_new = [an_answer(1.0, 0.01, version=5)]

    kept = report.promises([a_finding("rolled_back", what=what, way=report.SHADOW_FIRST)])
    broken = report.promises([a_finding("rolled_back", by_new, what=what, way=report.SHADOW_FIRST)])

    assert all(promise.is_kept for promise in kept)
    assert [promise.text for promise in broken if not promise.is_kept] == [
        f"version 5 ({what}, shadow first) is found by its shadow: nobody has got its answers"
    ]


def a_finding(
    state: str,
    answers: Sequence[Answer] = (),
    *,
    what: str = report.FAILING,
    way: str = report.LIVE_AT_ONCE,
) -> report.Finding:
    expectation = report.Expectation(5, what, way, report.ROLLED_BACK)
    return report.finding(expectation, a_rollout(state), answers, np.array([True]))


def a_rollout(state: str) -> rollouts_pb2.Rollout:
    """Of version 5 beside version 2, for ten seconds."""
    return rollouts_pb2.Rollout(
        version=5,
        stable_version=2,
        state=state,
        plan=routing_pb2.RolloutPlan(steps=[routing_pb2.RolloutStep(weight=5)]),
        started_at=BEGAN_S,
        ended_at=BEGAN_S + 10,
    )


def an_answer(
    at_s: float, took_s: float, *, version: int = 2, outcome: Outcome = Outcome.RIGHT, image: int = 0
) -> Answer:
    return Answer(image, BEGAN_S + at_s, took_s, outcome, version)
