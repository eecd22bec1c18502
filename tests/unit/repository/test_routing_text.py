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
from headrace.pb.headrace.v1 import routing_pb2 as pb
from headrace.repository.problems import Findings, InvalidConfig
from headrace.repository.repository import Repository
from headrace.repository.routing.limits import MAX_ALL_CHARACTERS, MAX_ALL_PATTERNS
from headrace.repository.routing.reading import parse_plan, parse_route, plan_of, route_of
from headrace.repository.routing.writing import plan_json, plan_message, route_json, route_message
from headrace.repository.text.document import MAX_TEXT_BYTES

texts = st.text('abc-*?é[]"\\\n\0\x7f\u2028😀', min_size=1, max_size=8)
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
    copied = versions.filter(lambda version: weights.get(version) != 1000)
    return Route(
        weights=tuple(Weight(version, weights[version]) for version in sorted(weights)),
        shadows=tuple(
            draw(
                st.lists(
                    st.builds(Shadow, copied, st.integers(0, 1000)),
                    max_size=3,
                    unique_by=lambda shadow: shadow.version,
                )
            )
        ),
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


def the_largest_rules(letter):
    """64 rules of 16 conditions, with all the patterns and characters that they may have together."""
    left = MAX_ALL_CHARACTERS - 64 * (1 + 16)
    share, more = divmod(left, MAX_ALL_PATTERNS)
    lengths = iter([share + (index < more) for index in range(MAX_ALL_PATTERNS)])
    key = Key(Attribute.METADATA, letter)
    return tuple(
        Rule(
            letter,
            tuple(Condition(key, tuple(letter * next(lengths) for _ in range(4))) for _ in range(16)),
            "9" * 18,
        )
        for _ in range(64)
    )


def the_largest_route(letter, label_letter):
    first = 10**17
    return Route(
        weights=tuple(Weight(first + i, 63 if i < 8 else 62) for i in range(16)),
        shadows=tuple(Shadow(first + i, 999) for i in range(8)),
        labels={
            "stable": first,
            "canary": first,
            "previous": first,
            **{f"{label_letter * 254}{i:02}": 10**18 - 1 for i in range(64)},
        },
        sticky=Key(Attribute.METADATA, letter * 256),
        seed=letter * 256,
        rules=the_largest_rules(letter),
        fallback=Fallback("", letter * 256, 1 / 3, 10**6, 100 / 3, 100 / 3, 10**6),
    )


def the_largest_plan(letter):
    return Plan(
        steps=(*[Step(333, 333, 1e6 / 3, 2**32 - 1, approval=True)] * 49, Step(1000)),
        gates=Gates(
            ErrorRateGate(0.12345678901, needs_proof=True),
            tuple(LatencyGate(0.951 + i / 1000, 4 / 3) for i in range(20)),
            DisagreementGate(0.12345678901, needs_proof=True),
            tuple(
                PrometheusGate(f"{letter * 254}{i:02}", letter * 4096, -1.7e308, 1.7e308) for i in range(20)
            ),
            tuple(CallableGate(f"{letter * 253}f{i:02}") for i in range(20)),
        ),
        guard_rails=GuardRails(0.12345678901, 100 / 3, 10**6, 100 / 3),
        sticky=Key(Attribute.METADATA, letter * 256),
        seed=letter * 256,
        rules=the_largest_rules(letter),
        fallback=Fallback("", letter * 256, 1 / 3, 10**6, 100 / 3, 100 / 3, 10**6),
    )


@pytest.mark.parametrize(("letter", "share"), [("é", 1 / 4), ("😀", 1 / 4), ('"', 1 / 2), ("\x01", 5 / 6)])
def test_the_largest_route_and_plan_are_read_again(letter, share):
    route, plan = the_largest_route(letter, "é"), the_largest_plan(letter)
    assert route_of(route_message(route), Findings("x")) == route
    assert plan_of(plan_message(plan), Findings("x")) == plan
    assert parse_route(route_json(route), "x") == route
    assert parse_plan(plan_json(plan), "x") == plan
    assert max(len(route_json(route)), len(plan_json(plan))) < MAX_TEXT_BYTES * share


def test_texts_of_their_longest_are_read_again():
    longest = Condition(Key(Attribute.PARAMETER, "é" * 256), ("é" * 256,) * 32)
    route = Route((Weight(1, 1000),), rules=(Rule("é" * 256, (longest,), "1"),))
    assert parse_route(route_json(route), "x") == route


def a_rule(conditions=1, patterns=1, pattern="a"):
    condition = pb.Condition(metadata="k", matches=[pattern] * patterns)
    return pb.Rule(name="r", when=[condition] * conditions, version="1")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"weights": dict.fromkeys(range(1, 18), 0)}, "weights: 17 are given; expected at most 16"),
        ({"labels": {f"l{i}": 1 for i in range(65)}}, "labels: 65 are given; expected at most 64"),
        (
            {"shadows": [pb.Shadow(version=i) for i in range(2, 11)]},
            "shadows: 9 are given; expected at most 8",
        ),
        ({"rules": [a_rule()] * 65}, "rules: 65 are given; expected at most 64"),
        ({"rules": [a_rule(17)]}, "rules[0].when: 17 are given; expected at most 16"),
        ({"rules": [a_rule(1, 33)]}, "rules[0].when[0].matches: 33 are given; expected at most 32"),
        ({"rules": [a_rule(16, 32)] * 9}, "rules: 4608 patterns in all rules together are given"),
        ({"rules": [a_rule(16, 9, "a" * 256)]}, "characters in all rules' texts together are given"),
        ({"rules": [a_rule(1, 1, "a" * 257)]}, "rules[0].when[0].matches[0]: 257 characters are given"),
        ({"sticky": pb.Key(metadata="a" * 257)}, "sticky.metadata: 257 characters are given"),
        ({"sticky": pb.Key(parameter="a" * 257)}, "sticky.parameter: 257 characters are given"),
        ({"seed": "a" * 257}, "seed: 257 characters are given; expected at most 256"),
        ({"fallback": pb.Fallback(model="a" * 257)}, "fallback.model: 257 characters are given"),
        ({"fallback": pb.Fallback(version="9" * 5000)}, "fallback.version: '999"),
        ({"fallback": pb.Fallback(version="1" * 19)}, "fallback.version: '111"),
        ({"fallback": pb.Fallback(version="٣")}, "fallback.version: '٣' is given"),
        ({"fallback": pb.Fallback(version="000")}, "fallback.version: '000' is given"),
        ({"rules": [pb.Rule(name="r", version="9" * 5000)]}, "rules[0].version: '999"),
    ],
    ids=range(18),
)
def test_a_message_beyond_a_limit_is_refused_with_its_field(fields, words):
    with pytest.raises(InvalidConfig) as refused:
        route_of(pb.Route(**{"weights": {1: 100}, **fields}), Findings("route"))
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"steps": [pb.RolloutStep(weight=100)] * 51}, "steps: 51 are given; expected at most 50"),
        ({"rules": [a_rule()] * 65}, "rules: 65 are given; expected at most 64"),
        ({"seed": "a" * 257}, "seed: 257 characters are given"),
        ({"gates": pb.RolloutGates(latency=[pb.LatencyGate()] * 21)}, "gates.latency: 21 are given"),
        ({"gates": pb.RolloutGates(callables=[pb.CallableGate(name="a")] * 21)}, "gates.callables: 21"),
        (
            {"gates": pb.RolloutGates(prometheus=[pb.PrometheusGate(name="a", query="a" * 4097, min=1)])},
            "gates.prometheus[0].query: 4097 characters are given; expected at most 4096",
        ),
        (
            {"gates": pb.RolloutGates(callables=[pb.CallableGate(name="a" * 257)])},
            "gates.callables[0].name: 257 characters are given",
        ),
    ],
    ids=range(7),
)
def test_a_plan_beyond_a_limit_is_refused_with_its_field(fields, words):
    with pytest.raises(InvalidConfig) as refused:
        plan_of(pb.RolloutPlan(**fields), Findings("plan"))
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("false_alarm_rate: 0", "false_alarm_rate: 0 is given; expected 0.000000001 to 0.5"),
        ("keep_previous_s: 31536000.5", "31536000.5 is given; expected 0 to 31536000"),
        ("keep_previous_s: 1.0e+300", "1e+300 is given; expected 0 to 31536000"),
        ("guard_rails: {latency_ms: 0.0001}", "0.0001 is given; expected 0.001 to 3600000"),
        ("guard_rails: {error_percent: 0.07}", "0.07 is given; expected 0.1 to 100"),
        ("guard_rails: {window_s: 0.1}", "0.1 is given; expected 1 to 3600"),
        ("steps: [{weight: 12345678}, {weight: 100}]", "12345678 is given; expected 0 to 100 percent"),
    ],
    ids=range(7),
)
def test_limits_are_written_as_people_write_numbers(text, words):
    with pytest.raises(InvalidConfig) as refused:
        parse_plan(text, "plan.yaml", is_json=False)
    assert words in str(refused.value)


@pytest.mark.parametrize("share", ["nan", "inf", "-inf"])
def test_shares_of_which_one_is_no_number_are_not_added_up(share):
    with pytest.raises(InvalidConfig) as refused:
        route_of(pb.Route(weights={1: float(share), 2: 1}), Findings("route"))
    assert str(refused.value) == (
        f"route: weights.1: {share} is given; expected 0 to 100 percent, to a tenth"
    )


@pytest.mark.parametrize("field", ["min", "max"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_limit_of_a_query_has_to_be_finite(field, value):
    gate = pb.PrometheusGate(name="a", query="up", **{field: value})
    with pytest.raises(InvalidConfig) as refused:
        plan_of(pb.RolloutPlan(gates=pb.RolloutGates(prometheus=[gate])), Findings("plan"))
    assert f"gates.prometheus[0].{field}: {value:g} is given; expected a finite number" in str(refused.value)


@pytest.mark.parametrize("target", ["9" * 5000, "1" * 19, "٣", "²", "0", "-1", "", "canary"])
def test_what_is_no_number_and_no_label_means_no_version(target):
    route = Route((Weight(1, 1000),), rules=(Rule("r", (), target),), fallback=Fallback(target))
    assert route.number(target) is None
    assert route.versions == {1}


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


def test_a_share_with_more_digits_than_are_written_is_rounded_when_it_is_read():
    gates = pb.RolloutGates(error_rate=pb.ErrorRateGate(max_increase_percent=100 / 3))
    plan = plan_of(pb.RolloutPlan(gates=gates), Findings("x"))
    assert parse_plan(plan_json(plan), "x") == plan


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
        (
            "weights: {1: 100}\nshadows: [{version: 2}, {version: 2}]",
            "shadows[1].version: version 2 is given twice",
        ),
        ("weights: {1: 100}\nshadows: [{version: 1}]", "shadows[0].version: nothing is left to compare"),
        ("weights: {1: 99.99999999}\nshadows: [{version: 1}]", "shadows[0].version: nothing is left"),
    ],
    ids=range(23),
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
        (
            "gates: {disagreement: {needs_proof: true, max_percent: 0}}",
            "gates.disagreement.needs_proof: no number of requests proves a max_percent of 0",
        ),
        (
            "gates: {disagreement: {needs_proof: true}}\nsteps: [{weight: 100}]",
            "gates.disagreement.needs_proof: nothing is proven where no answers are compared",
        ),
        ("gates: {prometheus: [{name: a, query: up}]}", "neither min nor max is given"),
        ("gates: {prometheus: [{name: a, min: 1}]}", "gates.prometheus[0].query: nothing is given"),
        ("gates: {callables: [{name: ''}]}", "gates.callables[0]"),
        ("gates: {callables: [{name: a}, {name: a}]}", "gates.callables[1].name: 'a' is what two gates"),
        (
            "gates: {prometheus: [{name: a, query: up, min: 1}], callables: [{name: a}]}",
            "gates.callables[0].name: 'a' is what two gates",
        ),
        *(
            (f"gates: {{callables: [{{name: {name}}}]}}", f"name: '{name}' is what a built-in gate is called")
            for name in (
                "error_rate",
                "disagreement",
                "latency_p99.9",
                "shadow_error_rate",
                "shadow_latency_p95",
            )
        ),
        ("gates: {latency: [{percentile: 95}, {}]}", "gates.latency[1].percentile: 95 is given twice"),
        ("gates: {latency: [{percentile: 99}, {percentile: 99.00001}]}", "99 is given twice"),
        (
            "gates: {error_rate: {needs_proof: true, max_increase_percent: 0.0000000001}}",
            "gates.error_rate.needs_proof",
        ),
        ("guard_rails: {error_percent: 0}", "guard_rails.error_percent: 0 is given"),
        ("guard_rails: {window_s: 0}", "guard_rails.window_s"),
        ("false_alarm_rate: 0.9", "false_alarm_rate: 0.9 is given"),
        ("rules: [{name: a, when: [{caller: true, matches: [a]}], version: previous}]", "(canary, stable)"),
    ],
    ids=range(27),
)
def test_a_plan_that_is_wrong_is_refused_with_its_field(text, words):
    with pytest.raises(InvalidConfig) as refused:
        parse_plan(text, "plan.yaml", is_json=False)
    assert words in str(refused.value)


def model_with(tmp_path, text):
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "config.yaml").write_text(text)
    return Repository(tmp_path)


def test_sections_are_held_to_the_same_limits(tmp_path):
    rule = '{name: r, when: [{caller: true, matches: ["%s"]}], version: "1"}' % ("é" * 257)
    with pytest.raises(InvalidConfig, match=r"config.yaml:3: .*matches\[0\]: 257 characters are given"):
        model_with(tmp_path, f"route:\n  weights: {{1: 100}}\n  rules: [{rule}]\n").read_serving("m")


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
