"""A route from its message: checked, with every problem told."""

from collections.abc import Sequence
from decimal import Decimal
from math import isfinite
from typing import Any

from google.protobuf.message import Message

from headrace.core.route import (
    CANARY,
    PER_MILLE,
    PREVIOUS,
    STABLE,
    Attribute,
    Condition,
    Fallback,
    Key,
    Route,
    Rule,
    Shadow,
    Weight,
    version_number,
)
from headrace.pb.headrace.v1 import routing_pb2 as pb
from headrace.repository.problems import Findings, shown
from headrace.repository.routing.limits import (
    MAX_ALL_CHARACTERS,
    MAX_ALL_PATTERNS,
    MAX_CONDITIONS,
    MAX_LABELS,
    MAX_PATTERNS,
    MAX_RULES,
    MAX_SHADOWS,
    MAX_TEXT,
    MAX_VERSIONS,
)

_LABELS = f"{STABLE}, {CANARY}, {PREVIOUS} or another word"
# Between these, numbers are written without an exponent.
_LEAST_PLAIN, _LEAST_LONG = 1e-12, 1e15
_SET_BY_ROLLOUTS = {STABLE, CANARY, PREVIOUS}


class RouteReader:
    """Reads the fields of routes, which plans have too; problems go to `findings`."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings

    def route(self, message: pb.Route, path: str = "") -> Route:
        """What `message` states. Only where nothing was refused is it a route that can be taken."""
        at = f"{path}." if path else ""
        labels = self._labels(message, at)
        weights = self._weights(message, at)
        return Route(
            weights=weights,
            shadows=self._shadows(message, f"{at}shadows", weights),
            labels=labels,
            sticky=self.sticky(message.sticky, f"{at}sticky") if message.HasField("sticky") else None,
            seed=self.text(message.seed, f"{at}seed"),
            rules=self.rules(message.rules, f"{at}rules", set(labels)),
            fallback=self.fallback(message.fallback, f"{at}fallback", set(labels))
            if message.HasField("fallback")
            else None,
        )

    def sticky(self, message: pb.Key, path: str) -> Key | None:
        """None, and a problem, where it names nothing."""
        return self._key(message, path)

    def rules(self, messages: Sequence[pb.Rule], path: str, labels: set[str]) -> tuple[Rule, ...]:
        """The rules, whose versions are numbers or one of `labels`."""
        if not self.is_within(path, len(messages), MAX_RULES):
            return ()
        rules = tuple(self._rule(each, f"{path}[{i}]", labels) for i, each in enumerate(messages))
        conditions = [condition for rule in rules for condition in rule.conditions]
        patterns = [pattern for condition in conditions for pattern in condition.patterns]
        texts = [*(rule.name for rule in rules), *(each.key.name for each in conditions), *patterns]
        self.is_within(path, len(patterns), MAX_ALL_PATTERNS, "patterns in all rules together")
        self.is_within(
            path, sum(map(len, texts)), MAX_ALL_CHARACTERS, "characters in all rules' texts together"
        )
        return rules

    def fallback(self, message: pb.Fallback, path: str, labels: set[str]) -> Fallback:
        if message.version and message.model:
            self._findings.refuse(path, "'version' and 'model' are given; keep one of them")
        if message.version:
            self._check_target(message.version, f"{path}.version", labels)
        default = Fallback()
        fallback = Fallback(
            target=message.version,
            model=self.text(message.model, f"{path}.model"),
            failure_ratio=given(message, "failure_ratio", default.failure_ratio),
            min_requests=given(message, "min_requests", default.min_requests),
            window_s=given(message, "window_s", default.window_s),
            open_s=given(message, "open_s", default.open_s),
            probes=given(message, "probes", default.probes),
        )
        self.check_range(f"{path}.failure_ratio", fallback.failure_ratio, 0.001, 1.0)
        self.check_range(f"{path}.min_requests", fallback.min_requests, 1, 1_000_000)
        self.check_range(f"{path}.window_s", fallback.window_s, 0.1, 3600.0)
        self.check_range(f"{path}.open_s", fallback.open_s, 0.1, 3600.0)
        self.check_range(f"{path}.probes", fallback.probes, 1, 1_000_000)
        return fallback

    def per_mille(self, percent: float, path: str) -> int:
        """Percent, to a tenth, as parts of a thousand."""
        per_mille = round(percent * 10) if isfinite(percent) else -1
        if not 0 <= per_mille <= PER_MILLE or abs(percent * 10 - per_mille) > 1e-6:
            self._findings.refuse(path, f"{plain(percent)} is given; expected 0 to 100 percent, to a tenth")
        return per_mille

    def check_range(self, path: str, value: float, low: float, high: float) -> None:
        if not low <= value <= high:
            expected = f"expected {plain(low)} to {plain(high)}"
            self._findings.refuse(path, f"{plain(value)} is given; {expected}")

    def text(self, text: str, path: str, most: int = MAX_TEXT) -> str:
        """`text`, and a problem where it is longer than `most` characters."""
        self.is_within(path, len(text), most, "characters")
        return text

    def is_within(self, path: str, count: int, most: int, what: str = "") -> bool:
        """False, and a problem, where there are more than `most`."""
        if count > most:
            given = f"{count} {what} are given" if what else f"{count} are given"
            self._findings.refuse(path, f"{given}; expected at most {most}")
        return count <= most

    def _weights(self, message: pb.Route, at: str) -> tuple[Weight, ...]:
        path = f"{at}weights"
        if not self.is_within(path, len(message.weights), MAX_VERSIONS):
            return ()
        weights = []
        for version in sorted(message.weights):
            self._check_version(version, f"{path}.{version}")
            weights.append(Weight(version, self.per_mille(message.weights[version], f"{path}.{version}")))
        total = sum(weight.per_mille for weight in weights)
        if total != PER_MILLE and all(map(isfinite, message.weights.values())):
            given = "no version is given" if not weights else f"they add up to {total / 10:g}"
            self._findings.refuse(path, f"{given}; expected versions with percentages that add up to 100")
        return tuple(weights)

    def _shadows(self, message: pb.Route, path: str, weights: Sequence[Weight]) -> tuple[Shadow, ...]:
        if not self.is_within(path, len(message.shadows), MAX_SHADOWS):
            return ()
        shadows = tuple(self._shadow(each, f"{path}[{i}]") for i, each in enumerate(message.shadows))
        seen = set()
        alone = {weight.version for weight in weights if weight.per_mille == PER_MILLE}
        for index, shadow in enumerate(shadows):
            at = f"{path}[{index}].version"
            if shadow.version in seen:
                self._findings.refuse(at, f"version {shadow.version} is given twice; keep one of them")
            if shadow.version in alone:
                expected = f"expected a weight of {shadow.version} below 100"
                self._findings.refuse(
                    at, f"nothing is left to compare where {shadow.version} has all requests; {expected}"
                )
            seen.add(shadow.version)
        return shadows

    def _shadow(self, message: pb.Shadow, path: str) -> Shadow:
        self._check_version(message.version, f"{path}.version")
        return Shadow(message.version, self.per_mille(given(message, "percent", 100.0), f"{path}.percent"))

    def _labels(self, message: pb.Route, at: str) -> dict[str, int]:
        labels = dict(message.labels)
        if not self.is_within(f"{at}labels", len(labels.keys() - _SET_BY_ROLLOUTS), MAX_LABELS):
            return labels
        for label, version in labels.items():
            path = f"{at}labels.{label}"
            if not label.isidentifier() or len(label) > MAX_TEXT:
                self._findings.refuse(path, f"{shown(label)} is no label; expected {_LABELS}")
            self._check_version(version, path)
        return labels

    def _rule(self, message: pb.Rule, path: str, labels: set[str]) -> Rule:
        if not message.name or len(message.name) > MAX_TEXT:
            self._findings.refuse(f"{path}.name", f"expected a name of up to {MAX_TEXT} characters")
        if not message.when:
            self._findings.refuse(f"{path}.when", "no condition is given; expected at least one")
        self._check_target(message.version, f"{path}.version", labels)
        if not self.is_within(f"{path}.when", len(message.when), MAX_CONDITIONS):
            return Rule(message.name, (), message.version)
        conditions = [self._condition(each, f"{path}.when[{i}]") for i, each in enumerate(message.when)]
        return Rule(message.name, tuple(each for each in conditions if each), message.version)

    def _condition(self, message: pb.Condition, path: str) -> Condition | None:
        if not message.matches:
            self._findings.refuse(f"{path}.matches", "nothing is given; expected texts that fit")
        key = self._key(message, path)
        if key is None or not self.is_within(f"{path}.matches", len(message.matches), MAX_PATTERNS):
            return None
        return Condition(
            key,
            tuple(self.text(each, f"{path}.matches[{i}]") for i, each in enumerate(message.matches)),
        )

    def _key(self, message: pb.Key | pb.Condition, path: str) -> Key | None:
        match message.WhichOneof("key"):
            case "metadata" if message.metadata:
                return Key(Attribute.METADATA, self.text(message.metadata, f"{path}.metadata"))
            case "parameter" if message.parameter:
                return Key(Attribute.PARAMETER, self.text(message.parameter, f"{path}.parameter"))
            case "sequence" if message.sequence:
                return Key(Attribute.SEQUENCE)
            case "caller" if message.caller:
                return Key(Attribute.CALLER)
        expected = "expected metadata or parameter with a name, sequence: true or caller: true"
        self._findings.refuse(path, f"nothing is named that requests carry; {expected}")
        return None

    def _check_version(self, version: int, path: str) -> None:
        if not 1 <= version < 10**18:
            self._findings.refuse(path, f"version {version} is given; expected 1 or more")

    def _check_target(self, target: str, path: str, labels: set[str]) -> None:
        if version_number(target) is None and target not in labels:
            known = ", ".join(sorted(labels)) or "none is given"
            self._findings.refuse(
                path, f"{shown(target)} is given; expected a version's number or one of the labels ({known})"
            )


def plain(number: float) -> str:
    """As people write it, `31536000` and `0.000000001`; only what has very many digits with an exponent."""
    if not _LEAST_PLAIN <= abs(number) < _LEAST_LONG:
        return f"{number:g}"
    return f"{Decimal(f'{number:.15g}'):f}"


def given(message: Message, field: str, default: Any) -> Any:
    """The value of an optional field, or `default` where it is not given."""
    return getattr(message, field) if message.HasField(field) else default
