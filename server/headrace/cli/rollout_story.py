"""What happened to a rollout, in its order, each decision with what was known when it was taken."""

import json
from collections.abc import Iterator
from typing import Any

from headrace.cli.rollout_words import is_open, span, step_of, time_of, versions
from headrace.logs import escape
from headrace.pb.headrace.v1 import rollouts_pb2 as pb

_INDENT = " " * 4
# What evidence repeats of the rollout, and of an event.
_TOLD = frozenset({"model", "stable", "canary", "step"})
# What a gate's line begins with.
_HEADING = ("name", "verdict", "detail")


def story(answer: pb.ExplainRolloutResponse, now_s: float) -> str:
    rollout = answer.rollout
    lines = [f"{rollout.model_name}: version {versions(rollout)}, rollout {rollout.id}, {rollout.state}"]
    until_s = now_s if is_open(rollout) else rollout.ended_at
    lines.append(
        f"started by {rollout.started_by} ({rollout.origin}) at {time_of(rollout.started_at)}, "
        f"{'has gone on for' if is_open(rollout) else 'lasted'} {span(until_s - rollout.started_at)}"
    )
    for event in answer.events:
        lines += ["", *_event(event, rollout)]
    return "\n".join(map(escape, lines))


def parsed_evidence(text: str) -> Any:
    """The document in `text`; the text where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _event(event: pb.RolloutEvent, rollout: pb.Rollout) -> Iterator[str]:
    yield f"{time_of(event.at)}  {event.kind} by {event.by}, {step_of(rollout, event.step)}"
    if event.reason:
        yield _INDENT + event.reason
    evidence = parsed_evidence(event.evidence)
    if isinstance(evidence, dict):
        yield from _facts({name: value for name, value in evidence.items() if name not in _TOLD}, _INDENT)
    elif evidence:
        yield _INDENT + _word(evidence)


def _facts(document: dict[str, Any], indent: str) -> Iterator[str]:
    """Single values in one line; then a line for each object, and for each item of a list."""
    single = {name: value for name, value in document.items() if not isinstance(value, dict | list)}
    if single:
        yield indent + _joined(single)
    for name, value in document.items():
        if isinstance(value, dict) and value:
            yield f"{indent}{name}: {_joined(value)}"
        elif isinstance(value, list) and value:
            yield f"{indent}{name}:"
            for item in value:
                yield from _item(item, indent + _INDENT)


def _item(item: Any, indent: str) -> Iterator[str]:
    """A gate begins with its name, its verdict and its detail; its numbers are in the next line."""
    if not isinstance(item, dict):
        yield indent + _word(item)
        return
    heading = [_word(item[name]) for name in _HEADING if name in item]
    if heading:
        name, *rest = heading
        yield indent + (f"{name}: {', '.join(rest)}" if rest else name)
        indent += _INDENT
    yield from _facts({name: value for name, value in item.items() if name not in _HEADING}, indent)


def _joined(document: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_word(value)}" for name, value in document.items())


def _word(value: Any) -> str:
    """Numbers to four digits; lists and objects as JSON."""
    match value:
        case float():
            return f"{value:.4g}"
        case str():
            return value
        case _:
            return json.dumps(value)
