"""`headrace route` against a server that has nothing but rollouts."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from headrace.core.route import Attribute, Fallback, Key, Route, Shadow, Weight
from headrace.errors import FailedPrecondition
from headrace.repository.routing.writing import route_json
from headrace.rollout.answers import RouteView
from support.commands import Ran
from support.rollouts import MODEL, ROUTE, WIDE, FakeRollouts, serving

BY = "operator"


@pytest.fixture
def service() -> FakeRollouts:
    return FakeRollouts()


@pytest.fixture
def ask(service: FakeRollouts, run: Callable[..., Ran]) -> Iterator[Callable[..., Ran]]:
    """Runs `headrace route` with the server's address."""
    with serving(service) as url:
        yield lambda *words: run("route", *words, "--url", url)


def was_set(service: FakeRollouts) -> Route:
    ((name, model, route, by),) = service.wishes
    assert (name, model, by) == ("set_route", MODEL, BY)
    return route


def test_show_has_every_part_of_a_route(ask):
    ran = ask("show", MODEL)

    assert ran.status == 0
    assert ran.lines[0] == "digits: revision 4, set by ann"
    rows = [line.split() for line in ran.lines]
    assert ["2", "94.5", "%", "stable"] in rows
    assert ["3", "5.5", "%", "canary", "half-open"] in rows
    assert [str(WIDE), "10.5", "%", "wide"] in rows
    assert ["3", "rule", "7"] in rows
    for line in (
        "sticky by metadata:user-id",
        "seed s",
        "rule beta: to canary where parameter:tier is beta or in-*",
        "fallback to version stable, from 50% failures of 20 requests within 10 s",
        "differs from the configuration:",
        "  weights: 2 has 94.5, 100 in the configuration",
    ):
        assert line in ran.lines


def test_show_says_where_no_route_is_set(service, ask):
    service.route_view = RouteView(MODEL, None)

    assert ask("show", MODEL).out == "digits: no route is set, the newest version answers\n"


def test_show_as_json_has_numbers(service, ask):
    document = ask("show", MODEL, "--json").json

    assert document["route"]["labels"] == {"stable": 2, "canary": 3, "wide": WIDE}
    assert document["revision"] == 4
    service.route_view = RouteView(MODEL, None)
    assert "route" not in ask("show", MODEL, "--json").json


def test_set_takes_everything_as_words(service, ask):
    ran = ask(
        *("set", MODEL, "1=94.5", "2=5.5%", "--shadow", "3=10", "--shadow", "4"),
        *("--label", "stable=1", "--label", "canary=2", "--sticky", "metadata:user-id"),
        *("--fallback", "stable", "--seed", "x"),
    )

    assert ran.status == 0
    assert was_set(service) == Route(
        weights=(Weight(1, 945), Weight(2, 55)),
        shadows=(Shadow(3, 100), Shadow(4, 1000)),
        labels={"stable": 1, "canary": 2},
        sticky=Key(Attribute.METADATA, "user-id"),
        seed="x",
        fallback=Fallback(target="stable"),
    )
    assert ["1", "94.5", "%", "stable"] in [line.split() for line in ran.lines]


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("metadata:x:y", Key(Attribute.METADATA, "x:y")),
        ("parameter:tenant", Key(Attribute.PARAMETER, "tenant")),
        ("sequence", Key(Attribute.SEQUENCE)),
        ("caller", Key(Attribute.CALLER)),
    ],
    ids=["metadata", "parameter", "sequence", "caller"],
)
def test_keys(service, ask, word, key):
    assert ask("set", MODEL, "1=100", "--sticky", word).status == 0
    assert was_set(service).sticky == key


@pytest.mark.parametrize(
    ("word", "fallback"), [("2", Fallback(target="2")), ("model:spare", Fallback(model="spare"))]
)
def test_fallbacks(service, ask, word, fallback):
    assert ask("set", MODEL, "1=100", "--fallback", word).status == 0
    assert was_set(service).fallback == fallback


@pytest.mark.parametrize("name", ["route.yaml", "route.json"])
def test_set_takes_a_file(service, ask, tmp_path, name):
    (tmp_path / name).write_text(route_json(ROUTE) if "json" in name else yaml_of(ROUTE))

    assert ask("set", MODEL, "--file", tmp_path / name).status == 0
    assert was_set(service) == replace(ROUTE, revision=0)


def yaml_of(route: Route) -> str:
    """JSON is YAML, where no number is quoted."""
    text = route_json(route)
    for version in (2, 3, WIDE):
        text = text.replace(f': "{version}"', f": {version}")
    return json.dumps(json.loads(text), indent=2)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "route: weights: no version is given; expected versions with percentages that add up to 100"),
        (("1=90",), "route: weights: they add up to 90; expected versions with percentages"),
        (("1=nan",), "route: weights.1: nan is given; expected 0 to 100 percent, to a tenth"),
        (("1=100", "0=0"), "route: weights.0: version 0 is given; expected 1 or more"),
        (("1=50", "1=50"), "'1=50': version 1 is given twice"),
        (("1",), "a share: '1' is not valid: expected VERSION=PERCENT, as in 2=5"),
        (("=5",), "a share: '=5' is not valid: expected VERSION=PERCENT, as in 2=5"),
        (("x=5",), "'x=5' is not valid: expected a version's number in place of 'x'"),
        (("1=x",), "'1=x' is not valid: expected percent in place of 'x'"),
        (("1=100", "--shadow", "x"), "'x' is not valid: expected a version's number in place of 'x'"),
        (("1=100", "--label", "canary"), "--label: 'canary' is not valid: expected NAME=VERSION"),
        (("1=100", "--label", "a=1", "--label", "a=2"), "--label: 'a' is given twice"),
        (("1=100", "--sticky", "metdata:x"), "--sticky: 'metdata:x' is not valid: expected metadata:NAME"),
        (("1=100", "--sticky", "metadata"), "--sticky: 'metadata' is not valid: expected metadata:NAME"),
        (("1=100", "--sticky", "caller:x"), "--sticky: 'caller:x' is not valid: expected metadata:NAME"),
        (("1=100", "--fallback", "spare"), "route: fallback.version: 'spare' is given; expected a version's"),
    ],
    ids=lambda value: "-".join(value) or "nothing" if isinstance(value, tuple) else None,
)
def test_words_that_are_refused(service, ask, words, reason):
    ran = ask("set", MODEL, *words)

    assert ran.status == 2
    assert ran.err.startswith(f"headrace: {reason}")
    assert service.calls == []


def test_a_file_that_is_refused(service, ask, tmp_path):
    path = tmp_path / "route.yaml"
    path.write_text("weights: {1: 60}\nlables: {canary: 2}\n")

    ran = ask("set", MODEL, "--file", path)

    assert ran.status == 2
    assert "route.yaml:2: lables: unknown field 'lables'; did you mean 'labels'?" in ran.err
    assert service.calls == []


def test_a_route_is_in_a_file_or_in_words(service, ask, tmp_path):
    ran = ask("set", MODEL, "1=100", "--file", tmp_path / "route.yaml")

    assert ran.status == 2
    assert ran.err == "headrace: --file: expected the whole route there, or all of it as arguments\n"


def test_clear(service, ask):
    ran = ask("clear", MODEL)

    assert service.wishes == [("clear_route", MODEL, BY)]
    assert ran.out == "digits: no route is set, the newest version answers\n"


@pytest.mark.parametrize("words", [("clear", MODEL), ("set", MODEL, "1=100")], ids=["clear", "set"])
def test_what_the_server_refuses_is_said_in_its_words(service, ask, words):
    service.error = FailedPrecondition("a rollout of 'digits' is under way")

    ran = ask(*words)

    assert ran.status == 1
    assert ran.err.endswith("FAILED_PRECONDITION: a rollout of 'digits' is under way\n")


def test_a_server_without_rollouts_says_so(server, run):
    ran = run("route", "show", MODEL, "--url", server.url)

    assert ran.status == 1
    assert "does not know /headrace.v1.Rollouts/GetRoute" in ran.err


def test_help_has_examples(run):
    ran = run("route", "set", "--help")

    assert ran.status == 0
    assert "VERSION=PERCENT" in ran.out
    assert "headrace route set digits --file route.yaml" in run("route", "--help").out
