"""A route made ready: for each turn and for each bucket of keys the target that it means now."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

from headrace.core.request import InferenceRequest, Parameters, Reply
from headrace.core.route import PER_MILLE, Fallback, Route
from headrace.errors import Unavailable
from headrace.model.model import Model
from headrace.router.breaker import BreakerState
from headrace.router.keys import Rules, key_reader
from headrace.router.target import Listener, Target
from headrace.router.turns import Hash, buckets, turns

# Of the requests for a version that is half open, one in so many tries it.
PROBE_INTERVAL = 10

# Why a version is chosen where it is not the request itself that says which one.
SHARED = ("weights", "sticky")


def standing(route: Route, ready: Container[int]) -> int | None:
    """The version that stands for the model now, if one does.

    The route's default where it is `ready`, else of those that have weights the ready one with the largest.
    """
    if route.default in ready:
        return route.default
    weights = [weight for weight in route.weights if weight.version in ready]
    return max(weights, key=lambda weight: weight.per_mille).version if weights else None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a route meets: the ready versions of its model, the states of their breakers, the model that
    stands in for it, if there is one, and the shadows.
    """

    models: Mapping[int, Model]
    broken: Mapping[int, BreakerState]
    other: Model | None
    listeners: Sequence[Listener] = ()


class Probing:
    """Sends one request in `PROBE_INTERVAL` to a version that failed, and the others to its substitute."""

    def __init__(self, tried: Target, substitute: Target) -> None:
        self._tried = tried
        self._substitute = substitute
        self._turn = 0

    def submit(self, request: InferenceRequest, reply: Reply) -> None:
        self._turn = (self._turn + 1) % PROBE_INTERVAL
        (self._substitute if self._turn else self._tried).submit(request, reply)


Choice = Target | Probing


class ActiveRoute:
    """Chooses for each request; made anew whenever the route, a version or a breaker changes."""

    def __init__(self, name: str, route: Route, around: Surroundings, turn: int = 0) -> None:
        """`turn` goes on where the one before stopped."""
        self.turn = turn
        self._name = name
        self._route = route
        self._around = around
        self._targets: dict[tuple[int, str, str], Target] = {}
        self._choices: dict[tuple[int, str, str], Choice] = {}
        shares = self._shares()
        self._by_turn = [self._choice(version, "weights") for version in self._turned(shares)]
        self._rules = Rules(route.rules) if route.rules else None
        self._by_rule = [self._ruled(rule.target, rule.name) for rule in route.rules]
        self._read_key = key_reader(route.sticky) if route.sticky else None
        self._hash = Hash(f"{name}\n{route.seed}")
        by_bucket = self._bucketed(shares) if route.sticky else ()
        self._by_bucket = [self._choice(version, "sticky") for version in by_bucket]

    def choose(self, request: InferenceRequest) -> Choice:
        """Unavailable where none of the route's versions is ready."""
        if self._rules is not None and (ruled := self._ruled_for(request)) is not None:
            return ruled
        if not self._by_turn:
            raise Unavailable(
                f"Request for unknown model: '{self._name}' has no version of its route at ready state"
            )
        if self._read_key is not None and (key := self._read_key(request)) is not None:
            return self._by_bucket[self._hash.bucket(key)]
        turn = self.turn
        self.turn = turn + 1 if turn < PER_MILLE - 1 else 0
        return self._by_turn[turn]

    def _ruled_for(self, request: InferenceRequest) -> Choice | None:
        index = self._rules.first(request) if self._rules else None
        return None if index is None else self._by_rule[index]

    def counts(self) -> Iterator[tuple[str, str, str, int]]:
        """Model, version, why, and how many requests, of each target."""
        for (_, why, _), target in self._targets.items():
            yield target.model.name, str(target.model.version), why, target.count

    def _shares(self) -> dict[int, int]:
        """The share of each version that is ready; whoever stands for the model gets that of the others."""
        ready = [weight for weight in self._route.weights if weight.version in self._around.models]
        shares = {weight.version: weight.per_mille for weight in ready}
        missing = PER_MILLE - sum(shares.values())
        main = standing(self._route, self._around.models)
        if missing and main is not None:
            shares[main] = shares.get(main, 0) + missing
        return shares

    def _turned(self, shares: Mapping[int, int]) -> Iterator[int]:
        versions = list(shares)
        return (versions[index] for index in turns(list(shares.values()))) if versions else iter(())

    def _bucketed(self, shares: Mapping[int, int]) -> Iterator[int]:
        if not shares:
            return iter(())
        versions = list(shares)
        default = self._route.default
        main = versions.index(default) if default in shares else 0
        return (versions[index] for index in buckets(list(shares.values()), main))

    def _ruled(self, target: str, rule: str) -> Choice | None:
        """None where its version is not ready, so that the rule's requests go by the weights."""
        version = self._route.number(target)
        return self._choice(version, "rule", rule) if version in self._around.models else None

    def _choice(self, version: int | None, why: str, rule: str = "") -> Choice:
        assert version is not None
        key = (version, why, rule)
        if key not in self._choices:
            self._choices[key] = self._guarded(version, why, rule)
        return self._choices[key]

    def _guarded(self, version: int, why: str, rule: str) -> Choice:
        """The version's target, or what takes its place while it is broken out of."""
        target = self._target(version, why, rule)
        state = self._around.broken.get(version, BreakerState.CLOSED)
        substitute = self._substitute(version) if state is not BreakerState.CLOSED else None
        if substitute is None:
            return target
        return substitute if state is BreakerState.OPEN else Probing(target, substitute)

    def _target(self, version: int, why: str, rule: str) -> Target:
        notes: Parameters = {"headrace_route": why, "headrace_route_revision": self._route.revision}
        if rule:
            notes = {**notes, "headrace_route_rule": rule}
        model = self._around.models[version]
        target = Target(model, notes, self._around.listeners, is_shared=why in SHARED)
        self._targets[version, why, rule] = target
        return target

    def _substitute(self, version: int) -> Target | None:
        """Who answers for `version`; None where nobody can."""
        fallback = self._route.fallback
        model = self._fallback_model(fallback) if fallback else None
        if model is None or model is self._around.models[version]:
            return None
        key = (version, "fallback", "")
        if key not in self._targets:
            notes: Parameters = {
                "headrace_route": "fallback",
                "headrace_route_revision": self._route.revision,
                "headrace_fallback_for": str(version),
            }
            self._targets[key] = Target(model, notes, self._around.listeners, is_substitute=True)
        return self._targets[key]

    def _fallback_model(self, fallback: Fallback) -> Model | None:
        if fallback.model:
            return self._around.other
        number = self._route.number(fallback.target) if fallback.target else self._route.default
        if number is None or self._around.broken.get(number, BreakerState.CLOSED) is not BreakerState.CLOSED:
            return None
        return self._around.models.get(number)
