"""What callers may ask of rollouts and routes, and order."""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from headrace.core.plan import Plan
from headrace.core.route import Route, version_number
from headrace.errors import ConfigError, InvalidArgument, NotFound, Unavailable
from headrace.model.lifecycle import Lifecycle
from headrace.rollout.answers import EventView, RolloutView, RouteView, ShareView
from headrace.rollout.controller import RolloutController
from headrace.rollout.declarations import Declarations
from headrace.rollout.differences import differences
from headrace.rollout.journal import Journal
from headrace.rollout.record import Record
from headrace.rollout.rollouts import Rollouts
from headrace.rollout.route_book import RouteBook
from headrace.rollout.run import view_of
from headrace.rollout.runs import Runs
from headrace.router.router import Router

T = TypeVar("T")


class RolloutService:
    """Turns orders and questions into those of the parts that know; `by` is who gives an order.

    `comparison(model, live, shadow)` gives what was learned of two versions' answers; `check_gates` raises
    InvalidArgument where a plan wants a gate that there is not.
    """

    def __init__(
        self,
        controller: RolloutController,
        runs: Runs,
        rollouts: Rollouts,
        declarations: Declarations,
        book: RouteBook,
        journal: Journal,
        router: Router,
        lifecycle: Lifecycle,
        comparison: Callable[[str, int, int], Mapping[str, Any] | None],
        check_gates: Callable[[Plan], None],
    ) -> None:
        self._controller = controller
        self._runs = runs
        self._rollouts = rollouts
        self._declarations = declarations
        self._book = book
        self._journal = journal
        self._router = router
        self._lifecycle = lifecycle
        self._comparison = comparison
        self._check_gates = check_gates

    async def start_rollout(
        self, model: str, canary: int, stable: int, plan: Plan | None, by: str, *, dry_run: bool
    ) -> RolloutView:
        self._check(model)
        plan = plan or self._declarations.plan(model) or Plan()
        self._check_gates(plan)
        record = await _kept(self._rollouts.start(model, canary, stable, plan, by, dry_run=dry_run))
        return view_of(record) if dry_run else self._view(model)

    def status(self, model: str) -> Sequence[RolloutView]:
        self._controller.check_knows()
        if not model:
            return [self._view(name) for name in self._runs.models()]
        self._check_known(model)
        return [self._view(model)] if self._runs.last(model) else []

    async def pause(self, model: str, reason: str, by: str) -> RolloutView:
        self._check(model)
        return await self._carried_out(model, self._rollouts.pause(model, reason, by))

    async def resume(self, model: str, reason: str, by: str) -> RolloutView:
        self._check(model)
        return await self._carried_out(model, self._rollouts.resume(model, reason, by))

    async def promote(self, model: str, reason: str, by: str, *, full: bool) -> RolloutView:
        self._check(model)
        return await self._carried_out(model, self._rollouts.promote(model, reason, by, full=full))

    async def roll_back(self, model: str, reason: str, by: str) -> RolloutView:
        self._check(model)
        return await self._carried_out(model, self._rollouts.roll_back(model, reason, by))

    async def abort(self, model: str, reason: str, by: str) -> RolloutView:
        self._check(model)
        return await self._carried_out(model, self._rollouts.abort(model, reason, by))

    async def history(self, model: str, limit: int) -> Sequence[RolloutView]:
        self._check_known(model)
        self._controller.check_knows()
        records = await self._journal.ask(lambda: self._journal.store.history(model, limit))
        return [self._view_of(record) for record in records]

    async def explain(self, model: str, rollout_id: int) -> tuple[RolloutView, Sequence[EventView]]:
        self._check_known(model)
        self._controller.check_knows()
        last = self._runs.last(model)
        wanted = rollout_id or (last.id if last else 0)
        record = await self._journal.ask(lambda: self._journal.store.one(model, wanted))
        if record is None:
            what = f"rollout {rollout_id} of '{model}'" if rollout_id else f"rollout of '{model}'"
            raise NotFound(f"there is no {what}")
        events = await self._journal.ask(lambda: self._journal.store.events(wanted))
        views = [
            EventView(each.at_s, each.kind, each.step, each.reason, each.by, json.dumps(dict(each.evidence)))
            for each in events
        ]
        return self._view_of(record), views

    def compare(self, model: str, live: str, shadow: str) -> str:
        self._check_known(model)
        live_version, shadow_version = (self._number(model, each) for each in (live, shadow))
        document = self._comparison(model, live_version, shadow_version)
        if document is None:
            raise NotFound(
                f"no answers of versions {live_version} and {shadow_version} of '{model}' were compared: "
                f"expected version {shadow_version} to be a shadow, by a rollout or by a route"
            )
        return json.dumps(dict(document))

    def route(self, model: str) -> RouteView:
        self._check_known(model)
        kept = self._book.get(model)
        route = kept.route if kept else None
        run = self._runs.running(model)
        differing = differences(self._declarations.serving(model), kept, run.record.plan if run else None)
        trouble = self._declarations.trouble(model)
        breakers = self._router.breakers(model)
        return RouteView(
            model,
            route,
            kept.set_by if kept and route else "",
            tuple(self._shares(model)),
            {version: state.value for version, state in breakers.items()},
            (*differing, *([trouble] if trouble else ())),
        )

    async def set_route(self, model: str, route: Route, by: str) -> RouteView:
        self._check(model)
        await _kept(self._rollouts.set_route(model, route, by))
        return self.route(model)

    async def clear_route(self, model: str, by: str) -> RouteView:
        self._check(model)
        has_plan = self._declarations.plan(model) is not None
        await _kept(self._rollouts.clear_route(model, by, has_plan=has_plan))
        return self.route(model)

    async def _carried_out(self, model: str, order: Awaitable[Record]) -> RolloutView:
        await _kept(order)
        return self._view(model)

    def _check(self, model: str) -> None:
        self._check_known(model)
        self._controller.check_decides()

    def _check_known(self, model: str) -> None:
        if model not in self._lifecycle.known_names:
            raise NotFound(f"Request for unknown model: '{model}' is not found")

    def _number(self, model: str, target: str) -> int:
        route = self._router.route_of(model)
        number = route.number(target) if route else version_number(target)
        if not number:
            raise InvalidArgument(
                f"'{target[:64]}' is given: expected a version's number or a label of its route"
            )
        return number

    def _view(self, model: str) -> RolloutView:
        run = self._runs.running(model)
        if run is not None:
            return run.view()
        record = self._runs.last(model)
        if record is None:
            raise NotFound(f"there has been no rollout of '{model}'")
        return view_of(record)

    def _view_of(self, record: Record) -> RolloutView:
        run = self._runs.running(record.model)
        return run.view() if run is not None and run.record.id == record.id else view_of(record)

    def _shares(self, model: str) -> Iterator[ShareView]:
        for name, version, why, count in self._router.counts():
            if name == model and count:
                yield ShareView(version, why, count)


async def _kept(order: Awaitable[T]) -> T:
    """What `order` gives; Unavailable where it cannot be kept, so that nothing was changed."""
    try:
        return await order
    except (ConfigError, OSError) as error:
        raise Unavailable(f"nothing was changed, as it cannot be kept: {error}") from error
