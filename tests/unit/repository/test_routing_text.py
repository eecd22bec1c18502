"""Routes and plans as text: what is written is read again, and what is wrong is told with field and line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.plan import (
    DEFAULT_GATES,
    DEFAULT_STEPS,
    CallableGate,
    DisagreementGate,
    ErrorRateGate,
    Gates,
    GuardRails,
    LatencyGate,
    Plan,
    PrometheusGate,
    Step,
)
from headrace.core.route import Attribute, Condition, Fallback, Key, Route, Rule, Shadow, Weight
from headrace.repository.problems import InvalidConfig
from headrace.repository.repository import Repository
from headrace.repository.routing.reading import parse_plan, parse_route
from headrace.repository.routing.writing import plan_json, route_json

texts = st.text("abc-*?é", min_size=1, max_size=8)
names = st.text("abcxyz", min_size=1, max_size=8)
versions = st.integers(1, 10**17)
keys = st.one_of(
    st.builds(Key, st.just(Attribute.METADATA), texts),
    st.builds(Key, st.just(Attribute.PARAMETER), texts),
    st.just(Key(Attribute.SEQUENCE)),
    st.just(Key(Attribute.CALLER)),
)
conditions = st.builds(Condition, keys, st.lists(texts, min_size=1, max_size=3).map(tuple))
rules = st.lists(
    st.builds(
        Rule, texts, st.lists(conditions, min_size=1, max_size=3).map(tuple), st.sampled_from(["stable", "7"])
    ),
    max_size=3,
).map(tuple)
fallbacks = st.builds(
    Fallback,
    st.sampled_from(["", "stable", "3"]),
    st.just(""),
    st.sampled_from([0.001, 0.25, 1.0]),
    st.integers(1, 1000),
    st.floats(0.1, 3600),
    st.floats(0.1, 3600),
    st.integers(1, 1000),
)


@st.composite
def routes(draw):
    shares = draw(st.dictionaries(versions, st.integers(0, 300), min_size=1, max_size=3))
    last = draw(versions.filter(lambda version: version not in shares))
    weights = {**shares, last: 1000 - sum(shares.values())}
    return Route(
        weights=tuple(Weight(version, weights[version]) for version in sorted(weights)),
        shadows=tuple(draw(st.lists(st.builds(Shadow, versions, st.integers(0, 1000)), max_size=3))),
        labels={"stable": last, **draw(st.dictionaries(names, versions, max_size=2))},
        sticky=draw(st.none() | keys),
        seed=draw(st.text(max_size=5)),
        rules=draw(rules),
        fallback=draw(st.none() | fallbacks),
    )


@settings(max_examples=150, deadline=None)
@given(routes())
def test_a_route_that_is_written_is_read_again(route):
    text = route_json(route)
    assert parse_route(text, "x") == route
    assert route_json(parse_route(text, "x")) == text


PLAN = Plan(
    steps=(Step(0, 500, 1.5, 7), Step(1, 333, 0.0, 0, approval=True), Step(1000, 0, 3.0, 4)),
    gates=Gates(
        ErrorRateGate(0.07, needs_proof=True),
        (LatencyGate(0.5, 2.0), LatencyGate(0.999, 1.0)),
        DisagreementGate(0.0),
        (PrometheusGate("q", "up{a='b'}", 0.5), PrometheusGate("r", "down", None, 0.0)),
        (CallableGate("slo"),),
    ),
    guard_rails=GuardRails(0.25, 12.5, 3, 2.0),
    false_alarm_rate=0.001,
    keep_previous_s=0.0,
    sticky=Key(Attribute.CALLER),
    seed="s",
    rules=(Rule("r", (Condition(Key(Attribute.SEQUENCE), ("1*",)),), "canary"),),
    fallback=Fallback("stable"),
)


@pytest.mark.parametrize("plan", [PLAN, Plan(), Plan(gates=Gates())], ids=["full", "default", "no gates"])
def test_a_plan_that_is_written_is_read_again(plan):
    text = plan_json(plan)
    assert parse_plan(text, "x") == plan
    assert plan_json(parse_plan(text, "x")) == text


def test_an_empty_plan_is_the_default_one():
    plan = parse_plan("{}", "x")
    assert (plan.steps, plan.gates) == (DEFAULT_STEPS, DEFAULT_GATES)


def test_the_last_step_lasts_for_nothing_unless_it_is_told():
    plan = parse_plan("steps: [{weight: 5}, {weight: 100}]", "x", is_json=False)
    assert [(step.min_duration_s, step.min_requests) for step in plan.steps] == [(60.0, 100), (0.0, 0)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "weights: no version is given"),
        ("weights: {1: 60, 2: 41}", "weights: they add up to 101; expected versions with percentages"),
        ("weights: {1: 99.95, 2: 0.05}", "weights.1: 99.95 is given; expected 0 to 100 percent, to a tenth"),
        ("weights: {1: 110, 2: -10}", "weights.2: -10 is given"),
        ("weights: {0: 100}", "weights.0: version 0 is given; expected 1 or more"),
        ("weights: {one: 100}", "weights.one"),
        ("weights: {1: 100}\nlabel: {a: 1}", "unknown field 'label'; did you mean 'labels'?"),
        ("weights: {1: 100}\nlabels: {'12': 1}", "'12' is no label"),
        ("weights: {1: 100}\nshadows: [{version: 2, percent: 101}]", "shadows[0].percent: 101 is given"),
        ("weights: {1: 100}\nshadows: [{percent: 1}]", "shadows[0].version: version 0 is given"),
        ("weights: {1: 100}\nsticky: {metadata: ''}", "sticky: nothing is named that requests carry"),
        ("weights: {1: 100}\nsticky: {caller: false}", "sticky: nothing is named"),
        ("weights: {1: 100}\nsticky: {caller: true, sequence: true}", "excludes"),
        ("weights: {1: 100}\nrules: [{name: a, version: '1'}]", "rules[0].when: no condition is given"),
        ("weights: {1: 100}\nrules: [{when: [{caller: true, matches: [a]}], version: '1'}]", "rules[0].name"),
        (
            "weights: {1: 100}\nrules: [{name: a, when: [{caller: true, matches: [a]}], version: canary}]",
            "rules[0].version: 'canary' is given; expected a version's number or one of the labels (none",
        ),
        (
            "weights: {1: 100}\nrules: [{name: a, when: [{caller: true}], version: '1'}]",
            "rules[0].when[0].matches: nothing is given",
        ),
        ("weights: {1: 100}\nfallback: {version: '1', model: n}", "'version' and 'model' are given"),
        ("weights: {1: 100}\nfallback: {failure_ratio: 1.5}", "fallback.failure_ratio: 1.5 is given"),
        ("weights: {1: 100}\nfallback: {window_s: .nan}", "fallback.window_s"),
    ],
    ids=range(20),
)
def test_a_route_that_is_wrong_is_refused_with_its_field(text, words):
    with pytest.raises(InvalidConfig) as refused:
        parse_route(text, "route.yaml", is_json=False)
    assert words in str(refused.value)
    assert str(refused.value).startswith("route.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps: [{weight: 5}]", "steps[0].weight: 5 is given; expected 100, as it is the last step"),
        (
            "steps: [{weight: 50}, {weight: 5}, {weight: 100}]",
            "expected at least that of the step before, 50",
        ),
        ("steps: [{}, {weight: 100}]", "steps[0]: the canary would get nothing"),
        ("steps: [{weight: 100, shadow: 5}]", "steps[0].shadow: nothing is left to copy"),
        ("steps: [{weight: 100, min_duration_s: -1}]", "min_duration_s: -1 is given"),
        ("gates: {latency: [{percentile: 0}]}", "gates.latency[0].percentile"),
        ("gates: {latency: [{max_ratio: 0.5}]}", "gates.latency[0].max_ratio: 0.5 is given"),
        ("gates: {error_rate: {needs_proof: true}}", "gates.error_rate.needs_proof"),
        ("gates: {prometheus: [{name: a, query: up}]}", "neither min nor max is given"),
        ("gates: {prometheus: [{name: a, min: 1}]}", "gates.prometheus[0].query: nothing is given"),
        ("gates: {callables: [{name: ''}]}", "gates.callables[0]"),
        ("guard_rails: {error_percent: 0}", "guard_rails.error_percent: 0 is given"),
        ("guard_rails: {window_s: 0}", "guard_rails.window_s"),
        ("false_alarm_rate: 0.9", "false_alarm_rate: 0.9 is given"),
        ("rules: [{name: a, when: [{caller: true, matches: [a]}], version: previous}]", "(canary, stable)"),
    ],
    ids=range(15),
)
def test_a_plan_that_is_wrong_is_refused_with_its_field(text, words):
    with pytest.raises(InvalidConfig) as refused:
        parse_plan(text, "plan.yaml", is_json=False)
    assert words in str(refused.value)


def model_with(tmp_path, text):
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "config.yaml").write_text(text)
    return Repository(tmp_path)


def test_a_configuration_has_a_route_or_a_plan(tmp_path):
    repository = model_with(tmp_path, "route:\n  weights: {1: 100}\n")
    assert repository.read_serving("m").route == Route((Weight(1, 1000),))
    assert repository.read_serving("m").plan is None


def test_a_rollout_section_without_a_word_is_the_default_plan(tmp_path):
    assert model_with(tmp_path, "max_batch_size: 8\nrollout:\n").read_serving("m").plan == Plan()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "max_batch_size: 8\nroute:\n  weights: {1: 50}\n",
            "config.yaml:3: route.weights: they add up to 50",
        ),
        ("rollout:\n  steps:\n  - {weight: 5}\n", "config.yaml:3: rollout.steps[0].weight: 5 is given"),
        ("rollout: {}\nroute:\n  weights: {1: 100}\n", "keep one of them"),
        ("rollout: {gate: {}}\n", "did you mean 'gates'?"),
    ],
    ids=["weights", "steps", "both", "misspelt"],
)
def test_sections_that_are_wrong_are_refused_with_their_line(tmp_path, text, words):
    with pytest.raises(InvalidConfig) as refused:
        model_with(tmp_path, text).read_serving("m")
    assert words in str(refused.value)
