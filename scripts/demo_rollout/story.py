"""The story: one good version is rolled out, three others are tried, and the server tells what it decides."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping

import onnx

from demo_rollout import versions
from demo_rollout.control import Control
from demo_rollout.report import (
    DONE,
    FAILING,
    GOOD,
    LIVE_AT_ONCE,
    ROLLED_BACK,
    SHADOW_FIRST,
    SLOW,
    WRONG,
    Expectation,
    Finding,
    Promise,
    finding,
    promises,
    step_name,
)
from demo_rollout.server import MODEL, SAMPLES, RunningServer
from demo_rollout.traffic import Digits, Traffic
from headrace.pb.headrace.v1 import rollouts_pb2 as pb
from headrace.pb.headrace.v1 import routing_pb2

# As in production, but for the times: every gate is the default one.
DECLARED_PLAN = """\
rollout:                    # every new version takes over like this
  steps:
    - {weight: 0, shadow: 100, min_duration_s: 15, min_requests: 10}
    - {weight: 1, min_duration_s: 12, min_requests: 20}
    - {weight: 5, min_duration_s: 8, min_requests: 80}
    - {weight: 25, min_duration_s: 5, min_requests: 200}
    - {weight: 50, min_duration_s: 5, min_requests: 300}
    - {weight: 100}
"""
LIVE_PLAN = routing_pb2.RolloutPlan(
    steps=[routing_pb2.RolloutStep(weight=weight) for weight in (5, 25, 50, 100)]
)

# Chance decides when a failing version is found; tried so often, its harm is no matter of luck.
TIMES = ("once more", "a third time", "a last time")

POLL_INTERVAL_S = 0.2
# How often is told how a step stands while nothing is decided.
TELL_INTERVAL_S = 4.0
# For how long only the stable version answers before a rollout, and afterwards.
LULL_S = 2.0
AFTER_S = 1.0
LOAD_TIMEOUT_S = 20.0
DECISION_TIMEOUT_S = 90.0


class Story:
    """Told to a caller of `say`, sentence by sentence, while `traffic` goes on."""

    def __init__(
        self,
        server: RunningServer,
        traffic: Traffic,
        control: Control,
        digits: Digits,
        say: Callable[[str], None],
    ) -> None:
        self.findings: list[Finding] = []
        self.promises: list[Promise] = []
        self._server = server
        self._traffic = traffic
        self._control = control
        self._say = say
        self._last_id = 0
        self._models = _models(digits)
        self._is_right = {
            number: versions.labels(self._models[number], digits.images) == digits.labels for number in (1, 2)
        }

    async def play(self) -> None:
        """Leaves what was found in `findings` and `promises`."""
        await self._good()
        await self._wrong()
        await self._slow()
        await self._failing()
        self.promises += promises(self.findings)

    async def _good(self) -> None:
        self._say(f"version 1 answers; it is right {self._accuracy(1)} of the time. Version 2 is copied in:")
        await self._copied_in(Expectation(2, GOOD, SHADOW_FIRST, DONE))

    async def _wrong(self) -> None:
        self._say("version 3 is copied in: its last layer was shuffled. Its golden requests are version 2's:")
        self._server.repository.add(3, self._models[3])
        state, reason = await self._settled_state(3)
        self._say(f"    version 3 is {state}: {_in_short(reason)}")
        self.promises.append(
            Promise(f"golden requests keep version 3 ({WRONG}) from being loaded", state == "UNAVAILABLE")
        )
        self._say("nobody wrote golden requests for it, let us say; they are removed:")
        self._server.repository.remove_golden(3)
        await self._watched(Expectation(3, WRONG, SHADOW_FIRST, ROLLED_BACK))

    async def _slow(self) -> None:
        self._say("version 4 is copied in: it answers as version 2 does, and computes much for nothing:")
        await self._copied_in(Expectation(4, SLOW, SHADOW_FIRST, ROLLED_BACK))
        self._say("version 4 once more, by order, with a plan that begins at 5 %:")
        await self._ordered(Expectation(4, SLOW, LIVE_AT_ONCE, ROLLED_BACK))

    async def _failing(self) -> None:
        self._say("version 5 is copied in: it answers as version 2 does, but for one image in 50:")
        await self._copied_in(Expectation(5, FAILING, SHADOW_FIRST, ROLLED_BACK))
        for which in TIMES:
            self._say(f"version 5 {which}, by order, with a plan that begins at 5 %:")
            await self._ordered(Expectation(5, FAILING, LIVE_AT_ONCE, ROLLED_BACK))

    async def _copied_in(self, expectation: Expectation) -> None:
        """The rollout starts by itself."""
        await asyncio.sleep(LULL_S)
        self._server.repository.add(expectation.version, self._models[expectation.version])
        await self._watched(expectation)

    async def _ordered(self, expectation: Expectation) -> None:
        await asyncio.sleep(LULL_S)
        await self._control.start(expectation.version, LIVE_PLAN)
        await self._watched(expectation)

    async def _watched(self, expectation: Expectation) -> None:
        """Until the next rollout has ended; what it has done is then among the findings."""
        rollout = await self._started(expectation.version)
        ended = await self._decided(rollout)
        await asyncio.sleep(AFTER_S)
        is_right = self._is_right[rollout.stable_version]
        found = finding(expectation, ended, self._traffic.answers, is_right)
        self.findings.append(found)
        self._tell_finding(found)

    async def _started(self, version: int) -> pb.Rollout:
        deadline_s = time.monotonic() + LOAD_TIMEOUT_S
        while time.monotonic() < deadline_s:
            rollout = await self._control.last()
            if rollout is not None and rollout.id > self._last_id and rollout.version == version:
                self._last_id = rollout.id
                return rollout
            await asyncio.sleep(POLL_INTERVAL_S)
        state = await self._control.version_state(version)
        raise RuntimeError(f"version {version} is not rolled out after {LOAD_TIMEOUT_S:g} s: {state}")

    async def _decided(self, rollout: pb.Rollout) -> pb.Rollout:
        """Tells each decision as it comes; a rollout that is not decided in time is rolled back by order."""
        told, told_at_s = 0, time.monotonic()
        deadline_s = told_at_s + DECISION_TIMEOUT_S
        while True:
            events = await self._control.events(rollout.id)
            for event in events[told:]:
                self._tell(rollout, event)
            if len(events) > told:
                told, told_at_s = len(events), time.monotonic()
            standing = await self._control.last()
            assert standing is not None
            if standing.ended_at and told == len(await self._control.events(rollout.id)):
                return standing
            if time.monotonic() - told_at_s > TELL_INTERVAL_S:
                told_at_s = time.monotonic()
                self._tell_standing(standing)
            if time.monotonic() > deadline_s and not standing.ended_at:
                return await self._given_up(rollout)
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _given_up(self, rollout: pb.Rollout) -> pb.Rollout:
        self._say(f"    no decision within {DECISION_TIMEOUT_S:g} s: it is rolled back by order")
        ended = await self._control.roll_back("the demonstration does not wait any longer")
        ended.state = "not decided"
        return ended

    def _tell(self, rollout: pb.Rollout, event: pb.RolloutEvent) -> None:
        place = f"step {event.step + 1} of {len(rollout.plan.steps)}, {step_name(rollout, event.step)}"
        self._say(f"    {event.kind.replace('_', ' ')}, {place}: {event.reason}")
        for name, verdict, detail in _gates(json.loads(event.evidence or "{}")):
            self._say(f"        {name} {verdict}: {detail}")

    def _tell_standing(self, rollout: pb.Rollout) -> None:
        sides = ((rollout.version, rollout.canary), (rollout.stable_version, rollout.stable))
        seen = [f"{rollout.pairs} compared pairs"] if rollout.pairs else []
        seen += [_figures(version, figures) for version, figures in sides if figures.requests]
        place = f"{rollout.state}, {step_name(rollout, rollout.step)}: {rollout.reason}"
        self._say(f"    {place} ({'; '.join(seen)})" if seen else f"    {place}")

    def _tell_finding(self, found: Finding) -> None:
        self._say(
            f"    {found.state.replace('_', ' ')} after {found.seconds:.1f} s; of {found.live} live requests "
            f"version {found.version} answered {found.by_new}: {found.failed} failed, {found.slow} slow, "
            f"{found.wrong} wrong"
        )
        if found.by_new:
            self._say(
                f"    its median was {found.median_ms:.1f} ms, that of the stable version "
                f"{found.stable_median_ms:.1f} ms, as callers saw it"
            )
        self._say("")

    async def _settled_state(self, version: int) -> tuple[str, str]:
        """A version's state and its reason, once it is neither unknown nor being loaded."""
        deadline_s = time.monotonic() + LOAD_TIMEOUT_S
        while time.monotonic() < deadline_s:
            state, reason = await self._control.version_state(version)
            if state in ("READY", "UNAVAILABLE"):
                return state, reason
            await asyncio.sleep(POLL_INTERVAL_S)
        raise RuntimeError(f"version {version} was neither loaded nor refused within {LOAD_TIMEOUT_S:g} s")

    def _accuracy(self, version: int) -> str:
        return f"{self._is_right[version].mean():.1%}"


def _models(digits: Digits) -> dict[int, onnx.ModelProto]:
    """Every version of the story by its number."""
    linear, network = (onnx.load(SAMPLES / MODEL / str(number) / "model.onnx") for number in (1, 2))
    return {
        1: linear,
        2: network,
        3: versions.with_wrong_weights(network),
        4: versions.slowed(network),
        5: versions.failing(network, digits.images),
    }


def _figures(version: int, figures: pb.VersionFigures) -> str:
    """What a version's live requests came to; copies are told of by the gates."""
    return (
        f"version {version}: {figures.requests} requests, {figures.failures} failed, "
        f"p95 {figures.p95_ms:.1f} ms"
    )


def _gates(evidence: Mapping[str, object]) -> list[tuple[str, str, str]]:
    """Name, verdict and detail of each gate, as it was when the decision was taken."""
    gates = evidence.get("gates")
    if not isinstance(gates, list):
        return []
    return [(str(each["name"]), str(each["verdict"]), str(each["detail"])) for each in gates]


def _in_short(reason: str, limit: int = 200) -> str:
    text = " ".join(reason.split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


async def play(server: RunningServer, rate: float, say: Callable[[str], None]) -> Story:
    """The whole story, with `rate` requests a second. grpc.aio.AioRpcError where an order is refused."""
    digits = Digits.load()
    traffic = Traffic(server.url, MODEL, digits, rate)
    control = Control(server.url, MODEL)
    story = Story(server, traffic, control, digits, say)
    traffic.start()
    try:
        await story.play()
    finally:
        await traffic.stop()
        await control.close()
    return story
