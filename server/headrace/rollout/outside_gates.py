"""Gates that are answered outside the rollout: by a Prometheus server, or by functions of the operator's."""

import asyncio
import logging
from collections.abc import Awaitable, Iterator, Sequence
from functools import partial

from headrace.core.plan import Plan
from headrace.errors import InvalidArgument
from headrace.rollout.decision import Judgement, Verdict
from headrace.rollout.outside.functions import GateFunctions
from headrace.rollout.outside.gate_answer import GateAnswer
from headrace.rollout.outside.prometheus import Prometheus
from headrace.rollout.run import Run

logger = logging.getLogger(__name__)

# How often each gate is asked, in seconds, and how often in a row it has to say no: one bad reading is none.
ASK_INTERVAL_S = 5.0
REFUSALS_IN_A_ROW = 3


class OutsideGates:
    """Asks, and leaves the answers with the run; whoever does not answer makes it wait."""

    def __init__(self, prometheus: Prometheus, functions: GateFunctions) -> None:
        self._prometheus = prometheus
        self._functions = functions
        self._asked_at_s: dict[int, float] = {}
        self._refusals: dict[tuple[int, str], int] = {}
        self._asking: dict[int, asyncio.Task[None]] = {}

    def check(self, plan: Plan) -> None:
        """InvalidArgument where `plan` wants what the server does not offer."""
        if plan.gates.prometheus and not self._prometheus.is_configured:
            raise InvalidArgument(
                "gates.prometheus: this server asks no Prometheus: expected rollout.prometheus_url to be set"
            )
        for gate in plan.gates.callables:
            if gate.name not in self._functions.names:
                offered = ", ".join(self._functions.names) or "none"
                raise InvalidArgument(
                    f"gates.callables: '{gate.name}' is given: this server offers {offered} "
                    "(rollout.gate_functions)"
                )

    def look(self, runs: Sequence[Run], now_s: float) -> None:
        """Asks the gates of those runs whose turn it is; returns at once."""
        known = {run.record.id for run in runs}
        for ended in self._asked_at_s.keys() - known:
            del self._asked_at_s[ended]
        self._refusals = {key: count for key, count in self._refusals.items() if key[0] in known}
        for run in runs:
            gates, identity = run.record.plan.gates, run.record.id
            if not (gates.prometheus or gates.callables) or identity in self._asking:
                continue
            if now_s - self._asked_at_s.get(identity, -ASK_INTERVAL_S) >= ASK_INTERVAL_S:
                self._asked_at_s[identity] = now_s
                task = asyncio.get_running_loop().create_task(self._ask(run))
                self._asking[identity] = task
                task.add_done_callback(partial(self._asked, identity))

    async def stop(self) -> None:
        """Asks no more."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._functions.stop()

    def _asked(self, identity: int, task: asyncio.Task[None]) -> None:
        del self._asking[identity]
        if not task.cancelled() and (error := task.exception()):
            logger.error("asking the gates of rollout %d failed: this is a bug", identity, exc_info=error)

    async def _ask(self, run: Run) -> None:
        names, questions = zip(*self._questions(run), strict=True)
        answers = await asyncio.gather(*questions)
        for name, answer in zip(names, answers, strict=True):
            run.outside[name] = self._judgement(run, name, answer)

    def _questions(self, run: Run) -> Iterator[tuple[str, Awaitable[GateAnswer]]]:
        record = run.record
        for query in record.plan.gates.prometheus:
            yield query.name, self._prometheus.ask(query, record.model, record.canary, record.stable)
        for function in record.plan.gates.callables:
            yield function.name, self._functions.call(function.name, run.evidence())

    def _judgement(self, run: Run, name: str, answer: GateAnswer) -> Judgement:
        key = (run.record.id, name)
        refusals = self._refusals[key] = self._refusals.get(key, 0) + 1 if answer.is_passed is False else 0
        if answer.is_passed:
            return Judgement(name, Verdict.PASSED, answer.detail)
        if refusals >= REFUSALS_IN_A_ROW:
            return Judgement(name, Verdict.FAILED, f"{answer.detail} ({refusals} times in a row)")
        if refusals:
            detail = f"{answer.detail} ({refusals} of {REFUSALS_IN_A_ROW} times in a row)"
            return Judgement(name, Verdict.WAITS, detail)
        return Judgement(name, Verdict.WAITS, answer.detail)
