"""Gates that are functions of the operator's own: whatever they do, the rollout goes on or waits."""

import asyncio
import json
import re
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
import yaml

from headrace.errors import ConfigError
from headrace.repository.routing.reading import parse_plan
from headrace.rollout.outside.functions import GateFunctions
from headrace.rollout.outside.gate_answer import MAX_DETAIL_CHARACTERS, GateAnswer
from support.loops import run, until


@pytest.fixture
def offer(monkeypatch):
    """Functions of a module of their own, loaded; by their names."""

    def load(timeout_s=5.0, **functions):
        module = types.ModuleType("gates_of_a_test")
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        gates = GateFunctions([f"gates_of_a_test:{name}" for name in functions], timeout_s)
        gates.load()
        return gates

    return load


def call(gates, name="check", evidence=None):
    return run(gates.call(name, evidence or {}))


async def later(value):
    await asyncio.sleep(0.01)
    return value


YES, NO = GateAnswer(True, "the function says yes"), GateAnswer(False, "the function says no")


@pytest.mark.parametrize("is_coroutine", [False, True])
@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (True, YES),
        (False, NO),
        (None, GateAnswer(None, "the function waits")),
        ((True, "12 orders"), GateAnswer(True, "12 orders")),
        ((False, "no\norders"), GateAnswer(False, "no orders")),
        ((None, ""), GateAnswer(None, "the function waits")),
        (np.float64(2) > 1, YES),
        ((True, "x" * 1000), GateAnswer(True, "x" * (MAX_DETAIL_CHARACTERS - 1) + "…")),
    ],
)
def test_an_answer_is_a_verdict_with_or_without_a_detail(offer, is_coroutine, value, answer):
    def plain(evidence):
        return value

    async def coroutine(evidence):
        return await later(value)

    assert call(offer(check=coroutine if is_coroutine else plain)) == answer


@pytest.mark.parametrize("value", [1, "yes", (True, 1), (True,), [True, "a"], (1, "a"), 0.0])
def test_another_answer_waits_and_says_what_was_expected(offer, value):
    answer = call(offer(check=lambda _: value))
    assert answer.is_passed is None
    assert answer.detail == (
        f"the function answered {value!r}: expected True, False or None, or one of them and a text"
    )


def test_a_coroutine_that_hides_behind_a_plain_function_is_no_answer(offer):
    answer = call(offer(check=lambda _: later(True)))
    assert answer.is_passed is None
    assert "the function answered <coroutine object later" in answer.detail


def test_the_evidence_is_the_functions_own_to_change(offer):
    evidence = {"model": "digits", "gates": [{"name": "latency"}]}

    def check(given):
        assert isinstance(given, dict)
        given["gates"][0]["name"] = "changed"
        return True, given["model"]

    assert call(offer(check=check), evidence=evidence) == GateAnswer(True, "digits")
    assert evidence["gates"][0]["name"] == "latency"


def test_objects_that_can_be_called_do_as_well(offer):
    class Plain:
        def __call__(self, evidence):
            return True

    class Coroutine:
        async def __call__(self, evidence):
            return False

    gates = offer(plain=Plain(), coroutine=Coroutine())
    assert call(gates, "plain") == YES
    assert call(gates, "coroutine") == NO


@pytest.mark.parametrize("is_coroutine", [False, True])
@pytest.mark.parametrize("error", [ValueError("no data"), SystemExit(3), KeyboardInterrupt()])
def test_what_a_function_raises_is_the_detail(offer, error, is_coroutine):
    def plain(evidence):
        raise error

    async def coroutine(evidence):
        raise error

    answer = call(offer(check=coroutine if is_coroutine else plain))
    assert answer.is_passed is None
    assert type(error).__name__ in answer.detail
    assert str(error) in answer.detail


def test_a_coroutine_that_cancels_itself_waits(offer):
    async def check(evidence):
        raise asyncio.CancelledError

    assert call(offer(check=check)) == GateAnswer(None, "the call was cancelled")


def test_a_function_that_hangs_is_not_called_again_until_it_returns(offer):
    go_on, calls = threading.Event(), []

    def check(evidence):
        calls.append(1)
        go_on.wait(10)
        return True

    async def main():
        gates = offer(timeout_s=0.05, check=check, other=lambda _: True)
        assert await gates.call("check", {}) == GateAnswer(None, "no answer within 0.05 s")
        for _ in range(3):
            assert await gates.call("check", {}) == GateAnswer(None, "an earlier call still runs")
        assert await gates.call("other", {}) == YES
        assert len(calls) == 1
        go_on.set()
        function = gates._functions["check"]
        await until(lambda: not function._threads.are_busy)
        assert await gates.call("check", {}) == YES

    run(main())


def test_calls_for_several_rollouts_take_turns(offer):
    under_way, most = [], []

    def check(evidence):
        under_way.append(1)
        most.append(len(under_way))
        time.sleep(0.01)
        under_way.pop()
        return True, evidence["model"]

    async def main():
        gates = offer(check=check)
        return await asyncio.gather(*(gates.call("check", {"model": name}) for name in "abcd"))

    assert run(main()) == [GateAnswer(True, name) for name in "abcd"]
    assert max(most) == 1


def test_who_waits_for_his_turn_waits_for_a_while_only(offer):
    async def check(evidence):
        await asyncio.sleep(60)

    async def main():
        gates = offer(timeout_s=0.1, check=check)
        first, second = await asyncio.gather(gates.call("check", {}), gates.call("check", {}))
        assert first == GateAnswer(None, "no answer within 0.1 s")
        assert second.is_passed is None
        await gates.stop()

    run(main())


def test_a_coroutine_that_hangs_is_cancelled(offer):
    async def check(evidence):
        await asyncio.sleep(60)

    async def main():
        gates = offer(timeout_s=0.05, check=check)
        for _ in range(2):
            assert await gates.call("check", {}) == GateAnswer(None, "no answer within 0.05 s")
            await asyncio.sleep(0.01)

    run(main())


def test_a_coroutine_that_will_not_be_cancelled_is_not_called_again(offer):
    released, calls = asyncio.Event(), []

    async def check(evidence):
        calls.append(1)
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        return True

    async def main():
        gates = offer(timeout_s=0.05, check=check)
        assert await gates.call("check", {}) == GateAnswer(None, "no answer within 0.05 s")
        assert await gates.call("check", {}) == GateAnswer(None, "an earlier call still runs")
        assert len(calls) == 1
        released.set()
        await gates.stop()
        assert await gates.call("check", {}) == YES

    run(main())


def test_who_asked_may_leave(offer):
    async def check(evidence):
        await asyncio.sleep(60)

    async def main():
        gates = offer(check=check)
        task = asyncio.get_running_loop().create_task(gates.call("check", {}))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])
        began = time.monotonic()
        await gates.stop()
        assert time.monotonic() - began < 1

    run(main())


def test_a_name_that_is_not_offered_waits(offer):
    answer = call(offer(check=lambda _: True, other=lambda _: True), "chekc")
    assert answer == GateAnswer(
        None, "the server offers no function of this name: rollout.gate_functions has check, other"
    )
    assert call(GateFunctions(()), "x").detail.endswith("rollout.gate_functions has none")


def test_functions_have_names_of_their_own_or_given_ones():
    gates = GateFunctions(("slo=os.path:exists", "os.path:isdir"))
    gates.load()
    assert gates.names == ("slo", "isdir")
    gates.load()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("nonsense", "'nonsense' is not valid: expected name=package.module:function, or"),
        ("a=b", "'a=b' is not valid: expected"),
        ("=os:getcwd", "'=os:getcwd' is not valid: expected"),
        ("os:path.exists", "'os:path.exists' is not valid: expected"),
        ("no_such_module:x", r"cannot be imported \(ModuleNotFoundError: No module named 'no_such_module'\)"),
        ("os:no_such_function", r"cannot be imported \(module 'os' has no 'no_such_function'\): expected"),
        ("os:sep", "'os:sep' is of type str, and no function: expected"),
        ("os:getpid", None),
        ("shutil:move", r"cannot be called with the evidence alone \(missing a required argument: 'dst'\)"),
        ("..os:getcwd", "cannot be imported"),
    ],
)
def test_a_function_that_does_not_do_is_refused_at_the_start(given, problem):
    gates = GateFunctions((given,))
    if problem is None:
        problem = "cannot be called with the evidence alone"
    with pytest.raises(ConfigError, match=rf"^rollout\.gate_functions: .*{problem}"):
        gates.load()


def test_a_module_that_fails_is_refused_with_its_reason(tmp_path, monkeypatch):
    (tmp_path / "gates_that_fail.py").write_text("raise RuntimeError('no licence')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot be imported \(RuntimeError: no licence\)"):
        GateFunctions(("gates_that_fail:check",)).load()


def test_two_functions_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="'exists' is given twice: expected other names"):
        GateFunctions(("os.path:exists", "exists=os.path:isdir")).load()


def test_the_pages_function_and_plan_do_as_they_are(offer):
    page = (Path(__file__).parents[4] / "docs" / "rollout-gates.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)  # noqa: S102  our own page
    gates = offer(check=names["check"])

    evidence = {"canary_figures": {"requests": 12, "p99_ms": 50.0}}
    assert call(gates, evidence=evidence) == GateAnswer(None, "12 of 500 requests")
    evidence["canary_figures"]["requests"] = 500
    assert call(gates, evidence=evidence) == GateAnswer(False, "p99 is 50.0 ms, 40 ms may be")

    plan = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)[0]
    gates = parse_plan(json.dumps(yaml.safe_load(plan)["rollout"]), "the page").gates
    assert [gate.name for gate in (*gates.prometheus, *gates.callables)] == ["checkout_errors", "slo"]
