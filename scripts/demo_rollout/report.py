"""What the rollouts of the demonstration have come to: figures, promises, a table."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from demo_rollout.pace import QUANTILE, Pace
from demo_rollout.traffic import Answer, Outcome, between, quantile_s
from headrace.pb.headrace.v1 import rollouts_pb2 as pb
from samples.sample import Rows

HARMED_LIMIT = 0.005

DONE, ROLLED_BACK = "done", "rolled_back"
GOOD = "the better model"
WRONG = "wrong weights"
SLOW = "slow"
FAILING = "fails 1 in 50"
SHADOW_FIRST, LIVE_AT_ONCE = "shadow first", "5 % at once"
HEADINGS = (
    *("VERSION", "WHAT IT IS", "ROLLED OUT", "DECISION", "AT STEP", "SECONDS"),
    *("REQUESTS", "BY IT", "HARMED", "SHARE", "FAILED", "SLOW", "WRONG", "PUT RIGHT"),
    *("MEDIAN MS", "STABLE'S"),
)
LEGEND = f"""\
HARMED  of REQUESTS: FAILED, SLOW and WRONG, each once
SLOW    answers of the new version that came later than {QUANTILE:.0%} of the stable version's in the same
        seconds, less the {1 - QUANTILE:.0%} that do where it is as quick; none where chance gives as many"""
_TEXTS = 5  # columns of text, before those of numbers


@dataclass(frozen=True, slots=True)
class Expectation:
    """A version, what is to be known of it, and how its rollout is to end."""

    version: int
    what: str
    way: str
    state: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One rollout. `live` requests came while it went on, of which the new version answered `by_new`.

    Harmed are those that failed, whoever failed them; those that the new version answered wrongly where the
    stable version is right; and those that it answered slowly, which `Pace` counts; each is counted once.
    Those that were `put_right` it answered rightly where the stable version is wrong. After the end `strays`
    were answered by the version that should answer no more. The medians are those of callers.
    """

    version: int
    what: str
    way: str
    expected: str
    state: str
    step: str
    reason: str
    seconds: float
    live: int
    by_new: int
    failed: int
    slow: int
    wrong: int
    put_right: int
    strays: int
    median_ms: float
    stable_median_ms: float

    @property
    def harmed(self) -> int:
        return self.failed + self.slow + self.wrong

    @property
    def share(self) -> float:
        return _share(self.harmed, self.live)

    def to_document(self) -> dict[str, Any]:
        return {**asdict(self), "harmed": self.harmed, "share_harmed": self.share}


@dataclass(frozen=True, slots=True)
class Promise:
    """A sentence, and whether it has come true."""

    text: str
    is_kept: bool


def finding(
    expectation: Expectation, rollout: pb.Rollout, answers: Sequence[Answer], is_stable_right: Rows
) -> Finding:
    """Of a rollout that has ended; `is_stable_right` says it for each image."""
    live = between(answers, rollout.started_at, rollout.ended_at)
    by_new = [answer for answer in live if answer.version == rollout.version]
    by_stable = [answer for answer in live if answer.version == rollout.stable_version]
    pace = Pace(by_stable, rollout.stable_version)
    wrong = [each for each in by_new if each.outcome is Outcome.WRONG and is_stable_right[each.image]]
    others = [each for each in by_new if each.outcome is Outcome.RIGHT or not is_stable_right[each.image]]
    loser = rollout.stable_version if rollout.state == DONE else rollout.version
    after = between(answers, rollout.ended_at, float("inf"))
    return Finding(
        version=rollout.version,
        what=expectation.what,
        way=expectation.way,
        expected=expectation.state,
        state=rollout.state,
        step=step_name(rollout, rollout.step),
        reason=rollout.reason,
        seconds=rollout.ended_at - rollout.started_at,
        live=len(live),
        by_new=len(by_new),
        failed=sum(each.outcome is Outcome.FAILED for each in live),
        slow=pace.slow(others),
        wrong=len(wrong),
        put_right=sum(each.outcome is Outcome.RIGHT and not is_stable_right[each.image] for each in by_new),
        strays=sum(each.version == loser for each in after),
        median_ms=quantile_s(by_new, 0.5) * 1000,
        stable_median_ms=quantile_s(by_stable, 0.5) * 1000,
    )


def step_name(rollout: pb.Rollout, number: int) -> str:
    """What the new version gets at a step."""
    step = rollout.plan.steps[number]
    return f"{step.weight:g} %" if step.weight else f"shadow {step.shadow:g} %"


def promises(findings: Sequence[Finding]) -> list[Promise]:
    """What a rollout is for, and whether it did it; where a version was tried more than once, each time."""
    tried: dict[str, list[Finding]] = defaultdict(list)
    for each in findings:
        tried[f"version {each.version} ({each.what}, {each.way})"].append(each)
    kept = [promise for name, rollouts in tried.items() for promise in _promises_of(name, rollouts)]
    strays = sum(each.strays for each in findings)
    kept.append(Promise("after a decision nobody is answered by the version that has lost", not strays))
    return kept


def _promises_of(name: str, rollouts: Sequence[Finding]) -> Iterator[Promise]:
    """Of rollouts of the same version in the same way."""
    is_as_expected = all(each.state == each.expected for each in rollouts)
    failed, by_new = sum(each.failed for each in rollouts), sum(each.by_new for each in rollouts)
    if rollouts[0].expected == DONE:
        yield Promise(f"{name} answers everything, and no request has failed", is_as_expected and not failed)
        return
    yield Promise(f"{name} is rolled back", is_as_expected)
    if rollouts[0].way == SHADOW_FIRST and rollouts[0].what in (WRONG, SLOW):
        yield Promise(f"{name} is found by its shadow: nobody has got its answers", not by_new and not failed)
    if rollouts[0].what == FAILING:
        share = _share(sum(each.harmed for each in rollouts), sum(each.live for each in rollouts))
        yield Promise(
            f"{name} has harmed {share:.2%} of the requests, fewer than {HARMED_LIMIT:.1%}",
            share < HARMED_LIMIT,
        )


def table(findings: Sequence[Finding]) -> str:
    """A line for each rollout."""
    rows = [HEADINGS, *(_row(each) for each in findings)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column < _TEXTS else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    )


def _row(each: Finding) -> tuple[str, ...]:
    return (
        *(str(each.version), each.what, each.way, each.state.replace("_", " "), each.step),
        f"{each.seconds:.1f}",
        *map(str, (each.live, each.by_new, each.harmed)),
        f"{each.share:.2%}",
        *map(str, (each.failed, each.slow, each.wrong, each.put_right)),
        f"{each.median_ms:.1f}" if each.by_new else "-",
        f"{each.stable_median_ms:.1f}",
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
