"""A route from its message: checked, with every problem told."""

from collections.abc import Iterable
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
)
from headrace.pb.headrace.v1 import routing_pb2 as pb
from headrace.repository.problems import Findings, shown

MAX_VERSIONS = 16
MAX_RULES = 64
MAX_SHADOWS = 8
MAX_TEXT = 256

_LABELS = f"{STABLE}, {CANARY}, {PREVIOUS} or another word"


class RouteReader:
    """Reads the fields of routes, which plans have too; problems go to `findings`."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings

    def route(self, message: pb.Route, path: str = "") -> Route:
        """What `message` states. Only where nothing was refused is it a route that can be taken."""
        at = f"{path}." if path else ""
        self._check_counts(message, at)
        labels = self._labels(message, at)
        return Route(
            weights=self._weights(message, at),
            shadows=tuple(self._shadow(each, f"{at}shadows[{i}]") for i, each in enumerate(message.shadows)),
            labels=labels,
            sticky=self.sticky(message.sticky, f"{at}sticky") if message.HasField("sticky") else None,
            seed=message.seed,
            rules=self.rules(message.rules, f"{at}rules", set(labels)),
            fallback=self.fallback(message.fallback, f"{at}fallback", set(labels))
            if message.HasField("fallback")
            else None,
        )

    def sticky(self, message: pb.Key, path: str) -> Key | None:
        """None, and a problem, where it names nothing."""
        return self._key(message, path)

    def rules(self, messages: Iterable[pb.Rule], path: str, labels: set[str]) -> tuple[Rule, ...]:
        """The rules, whose versions are numbers or one of `labels`."""
        return tuple(self._rule(each, f"{path}[{i}]", labels) for i, each in enumerate(messages))

    def fallback(self, message: pb.Fallback, path: str, labels: set[str]) -> Fallback:
        if message.version and message.model:
            self._findings.refuse(path, "'version' and 'model' are given; keep one of them")
        if message.version:
            self._check_target(message.version, f"{path}.version", labels)
        default = Fallback()
        fallback = Fallback(
            target=message.version,
            model=message.model,
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
            self._findings.refuse(path, f"{percent:g} is given; expected 0 to 100 percent, to a tenth")
        return per_mille

    def check_range(self, path: str, value: float, low: float, high: float) -> None:
        if not low <= value <= high:
            self._findings.refuse(path, f"{value:g} is given; expected {low:g} to {high:g}")

    def _check_counts(self, message: pb.Route, at: str) -> None:
        for field, most in (("weights", MAX_VERSIONS), ("shadows", MAX_SHADOWS), ("rules", MAX_RULES)):
            count = len(getattr(message, field))
            if count > most:
                self._findings.refuse(f"{at}{field}", f"{count} are given; expected at most {most}")

    def _weights(self, message: pb.Route, at: str) -> tuple[Weight, ...]:
        path = f"{at}weights"
        weights = []
        for version in sorted(message.weights):
            self._check_version(version, f"{path}.{version}")
            weights.append(Weight(version, self.per_mille(message.weights[version], f"{path}.{version}")))
        total = sum(weight.per_mille for weight in weights)
        if total != PER_MILLE:
            given = "no version is given" if not weights else f"they add up to {total / 10:g}"
            self._findings.refuse(path, f"{given}; expected versions with percentages that add up to 100")
        return tuple(weights)

    def _shadow(self, message: pb.Shadow, path: str) -> Shadow:
        self._check_version(message.version, f"{path}.version")
        return Shadow(message.version, self.per_mille(given(message, "percent", 100.0), f"{path}.percent"))

    def _labels(self, message: pb.Route, at: str) -> dict[str, int]:
        labels = dict(message.labels)
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
        conditions = [self._condition(each, f"{path}.when[{i}]") for i, each in enumerate(message.when)]
        return Rule(message.name, tuple(each for each in conditions if each), message.version)

    def _condition(self, message: pb.Condition, path: str) -> Condition | None:
        if not message.matches:
            self._findings.refuse(f"{path}.matches", "nothing is given; expected texts that fit")
        key = self._key(message, path)
        return Condition(key, tuple(message.matches)) if key else None

    def _key(self, message: pb.Key | pb.Condition, path: str) -> Key | None:
        match message.WhichOneof("key"):
            case "metadata" if message.metadata:
                return Key(Attribute.METADATA, message.metadata)
            case "parameter" if message.parameter:
                return Key(Attribute.PARAMETER, message.parameter)
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
        is_number = target.isascii() and target.isdecimal() and int(target[:18]) > 0
        if not is_number and target not in labels:
            known = ", ".join(sorted(labels)) or "none is given"
            self._findings.refuse(
                path, f"{shown(target)} is given; expected a version's number or one of the labels ({known})"
            )


def given(message: Message, field: str, default: Any) -> Any:
    """The value of an optional field, or `default` where it is not given."""
    return getattr(message, field) if message.HasField(field) else default
