"""`headrace rollout` against a server that has nothing but rollouts."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from headrace.cli import rollout, rollout_watch, screen
from headrace.cli.rollout_words import latency, rate, span, time_of
from headrace.core.plan import Plan, Step
from headrace.errors import FailedPrecondition, Unavailable
from headrace.rollout.answers import EventView, Figures, GateView, RolloutView
from headrace.rollout.comparison.comparison import Comparison
from headrace.rollout.decision import Verdict
from headrace.rollout.gates import statistical_gates
from headrace.security.policy import Policy, Role
from support.commands import Ran
from support.rollouts import (
    EVIDENCE,
    MODEL,
    ROLLOUT,
    STARTED_AT_S,
    WIDE,
    FakeRollouts,
    serving,
)

BY = "operator"
PLAN = """\
steps:
  - {weight: 10, min_requests: 5}
  - {weight: 100}
false_alarm_rate: 0.05
"""
EVERYTHING = """\
steps:
  - {shadow: 50, min_duration_s: 5}
  - {weight: 5.5, shadow: 10, approval: true}
  - {weight: 100}
gates:
  error_rate: {max_increase_percent: 1, needs_proof: true}
  latency: [{percentile: 99.9, max_ratio: 2}]
  disagreement: {max_percent: 3}
  prometheus: [{name: orders, query: 'orders{job="shop"}', min: 0.03, max: 9}]
  callables: [{name: slo}]
guard_rails: {latency_ms: 500}
false_alarm_rate: 0.05
keep_previous_s: 120
sticky: {metadata: user-id}
fallback: {version: stable}
"""
READ_PLAN = Plan(
    steps=(Step(100, min_requests=5), Step(1000, min_duration_s=0.0, min_requests=0)), false_alarm_rate=0.05
)


@pytest.fixture
def service() -> FakeRollouts:
    return FakeRollouts()


@pytest.fixture
def ask(service: FakeRollouts, run: Callable[..., Ran]) -> Iterator[Callable[..., Ran]]:
    """Runs `headrace rollout` with the server's address."""
    with serving(service) as url:
        yield lambda *words: run("rollout", *words, "--url", url)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the command slept."""
    slept: list[float] = []
    monkeypatch.setattr(rollout_watch.time, "sleep", slept.append)
    return slept


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> list[float]:
    """Somebody looks; how long the command slept is recorded."""
    monkeypatch.setattr(rollout_watch, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "40")
    return slept


def line_of(ran: Ran, beginning: str) -> str:
    (line,) = [line for line in ran.lines if line.startswith(beginning)]
    return line


# Starting


def test_start_leaves_the_choice_to_the_server_and_shows_what_began(service, ask):
    ran = ask("start", MODEL)

    assert ran.status == 0
    assert service.wishes == [("start", MODEL, 0, 0, None, BY, False)]
    assert ran.lines[0] == "digits: version 2 -> 3, rollout 7"
    assert line_of(ran, "step ").split(maxsplit=1)[1].startswith("3 of 6: weight 5 %, ")


@pytest.mark.parametrize("name", ["plan.yaml", "plan.yml", "plan"])
def test_start_takes_versions_and_a_plan(service, ask, tmp_path, name):
    (tmp_path / name).write_text(PLAN)

    ran = ask("start", MODEL, "--to", 3, "--from", 2, "--plan", tmp_path / name, "--dry-run")

    assert ran.status == 0
    assert service.calls == [("start", MODEL, 3, 2, READ_PLAN, BY, True)]
    assert ran.lines[0] == (
        "digits: nothing was started; version 2 -> 3 is possible, "
        f"by the plan in {tmp_path / name}, with the default gates"
    )


def test_a_dry_run_shows_what_would_happen_and_no_figures(ask, tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(EVERYTHING)

    ran = ask("start", MODEL, "--plan", path, "--dry-run")

    assert ran.lines == [
        f"digits: nothing was started; version 2 -> 3 is possible, by the plan in {path}",
        "",
        "STEP  THE NEW VERSION GETS             AT LEAST FOR",
        "   1  copies of 50 %                   5 s, 100 compared pairs",
        "   2  weight 5.5 % and copies of 10 %  1 min, 100 requests, then waits for promote",
        "   3  weight 100 %                     -",
        "",
        "GATE           PASSES WHILE",
        "error_rate     it fails at most 1 percentage points more often, once that is proven",
        "latency_p99.9  it takes at most 2 times as long as the stable version",
        "disagreement   at most 3 % of the compared answers differ",
        'orders         orders{job="shop"} is at least 0.03 and at most 9',
        "slo            the server's function of this name says so",
        "",
        "guard rails: back at once above 50 % failures or a p99 of 500 ms, from 10 requests within 10 s on",
        "false alarms: in at most 5 % of such rollouts",
        "the version before stays loaded for 2 min after the end",
        "sticky by metadata:user-id",
        "fallback to version stable, from 50% failures of 20 requests within 10 s",
    ]


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        (None, "the default plan"),
        ("", "the default plan, which {path} leaves as it is"),
        ("steps: []", "the default plan, which {path} leaves as it is"),
        ("gates: {}", "the plan in {path}, with the default steps"),
        ("steps: [{weight: 100}]", "the plan in {path}, with the default gates"),
        ("false_alarm_rate: 0.02", "the plan in {path}"),
    ],
)
def test_a_dry_run_says_what_is_the_default(ask, tmp_path, text, origin):
    path = tmp_path / "plan.yaml"
    path.write_text(text or "")

    ran = ask("start", MODEL, "--dry-run", *(() if text is None else ("--plan", path)))

    assert ran.lines[0].endswith(f", by {origin.format(path=path)}")
    assert ("no gates: only guard rails decide" in ran.lines) is (text == "gates: {}")


def test_a_dry_run_names_the_configuration_where_that_has_the_plan(service, ask, monkeypatch):
    async def start(*_: object, dry_run: bool) -> RolloutView:
        return replace(ROLLOUT, plan=READ_PLAN)

    monkeypatch.setattr(service, "start_rollout", start)

    assert (
        ask("start", MODEL, "--dry-run")
        .lines[0]
        .endswith("by the plan of the model's configuration, with the default gates")
    )


def test_a_plan_may_be_json(service, ask, tmp_path):
    path = tmp_path / "plan.json"
    steps = [{"weight": 10, "min_requests": 5}, {"weight": 100}]
    path.write_text(json.dumps({"steps": steps, "falseAlarmRate": 0.05}))

    assert ask("start", MODEL, "--plan", path).status == 0
    assert service.wishes == [("start", MODEL, 0, 0, READ_PLAN, BY, False)]


def test_everything_that_is_wrong_with_a_plan_is_told_before_the_server_is_asked(service, ask, tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("steps:\n  - weight: 200\n  - wieght: 100\n")

    ran = ask("start", MODEL, "--plan", path)

    assert ran.status == 2
    assert ran.err == f"headrace: {path}:3: steps[1].wieght: unknown field 'wieght'; did you mean 'weight'?\n"
    assert service.calls == []


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file or directory"), (b"\xff\xfe", "is not UTF-8")]
)
def test_a_plan_that_cannot_be_read(ask, tmp_path, content, reason):
    path = tmp_path / "plan.yaml"
    if content is not None:
        path.write_bytes(content)

    ran = ask("start", MODEL, "--plan", path)

    assert ran.status == 2
    assert ran.err.startswith(f"headrace: --plan: {path}")
    assert reason in ran.err


@pytest.mark.parametrize("words", [("--to", "0"), ("--from", "-1"), ("--to", "x")])
def test_versions_are_numbers_from_one(service, ask, words):
    assert ask("start", MODEL, *words).status == 2
    assert service.calls == []


def test_what_the_server_refuses_is_said_in_its_words(service, ask):
    service.error = FailedPrecondition("version 3 of 'digits' is being rolled out already")

    ran = ask("start", MODEL)

    assert ran.status == 1
    assert ran.err.endswith("FAILED_PRECONDITION: version 3 of 'digits' is being rolled out already\n")


# Status


def test_status_has_everything_that_decides(ask):
    ran = ask("status", MODEL)

    assert ran.status == 0
    assert line_of(ran, "state").startswith("state    running, started by ann (command) at ")
    assert line_of(ran, "reason") == "reason   the step lasts 18 s more"
    assert line_of(ran, "step").endswith("of 1 min, 600 of 100 requests")
    assert line_of(ran, "weights") == "weights  version 2: 95 %, version 3: 5 %"
    assert line_of(ran, "pairs") == "pairs    80 compared, 2 differ (2.50 %)"
    assert line_of(ran, "2 stable").split() == [
        *["2", "stable", str(WIDE), "12", "0.00", "%"],
        *["1.2", "ms", "3.5", "ms", "9.0", "ms"],
    ]
    assert line_of(ran, "3 canary").split()[2:8] == ["600", "3", "0.50", "%", "850", "µs"]
    assert line_of(ran, "error_rate").split()[1] == "passed"
    assert line_of(ran, "latency_p95").split(maxsplit=2)[1:] == ["waits", "p95 is 3.4 ms"]


def test_a_step_that_only_listens_needs_compared_pairs(service, ask):
    service.rollouts = [replace(ROLLOUT, step=0, plan=Plan(steps=(Step(0, 1000, approval=True), Step(1000))))]

    ran = ask("status", MODEL)

    assert "1 of 2: copies of 100 %, " in line_of(ran, "step")
    assert line_of(ran, "step").endswith(", 80 of 100 compared pairs, then waits for promote")
    assert line_of(ran, "weights") == "weights  version 2: 100 %, version 3: 0 %"


def test_a_step_that_needs_nothing_tells_what_it_has(service, ask):
    service.rollouts = [replace(ROLLOUT, step=5, ended_at_s=STARTED_AT_S + 125, state="done")]

    assert line_of(ask("status", MODEL), "step") == "step     6 of 6: weight 100 %, 30 s, 600 requests"


@pytest.mark.parametrize(
    ("state", "weights"),
    [
        ("done", "version 2: 0 %, version 3: 100 %"),
        ("rolled_back", "version 2: 100 %, version 3: 0 %"),
        ("aborted", "version 2: 95 %, version 3: 5 %"),
    ],
)
def test_a_rollout_that_has_ended(service, ask, state, weights):
    service.rollouts = [replace(ROLLOUT, state=state, ended_at_s=STARTED_AT_S + 3700, gates=())]

    ran = ask("status", MODEL)

    at = time_of(STARTED_AT_S + 3700)
    assert line_of(ran, "state").startswith(f"state    {state} at {at} after 1 h 1 min, started by")
    assert line_of(ran, "weights") == f"weights  {weights}"
    assert "VERDICT" not in ran.out


def test_gates_that_pass_what_they_have_not_seen_are_untested(service, ask):
    gates = statistical_gates(replace(Plan(), steps=(Step(0, 1000), Step(500), Step(1000))))
    for gate in gates:
        gate.begin_step(Step(1000))
    judgements = [gate.judge() for gate in gates]
    service.rollouts = [
        replace(ROLLOUT, gates=tuple(GateView(each.gate, each.verdict, each.detail) for each in judgements))
    ]

    ran = ask("status", MODEL)

    assert {each.verdict for each in judgements} == {Verdict.PASSED}
    for each in judgements:
        assert line_of(ran, f"{each.gate} ").split(maxsplit=2)[1:] == ["untested", each.detail]


@pytest.mark.parametrize(
    ("verdict", "detail", "shown"),
    [
        ("passed", "p95 is 20 ms; too few to tell yet (3 of 40 compared)", "untested"),
        ("waits", "no requests to compare yet", "waits"),
        ("passed", "0.00% of the canary's requests failed", "passed"),
    ],
)
def test_a_verdict_is_told_as_it_was_found(service, ask, verdict, detail, shown):
    service.rollouts = [replace(ROLLOUT, gates=(GateView("gate", verdict, detail),))]

    assert line_of(ask("status", MODEL), "gate").split(maxsplit=2)[1:] == [shown, detail]


def test_of_many_those_that_have_ended_are_short(service, ask):
    ended = replace(ROLLOUT, model="other", state="done", ended_at_s=STARTED_AT_S + 60, reason="all is well")
    service.rollouts = [ROLLOUT, ended]

    ran = ask("status")

    assert ran.out.count("VERDICT") == 1
    assert ran.lines[-3] == "other: version 2 -> 3, rollout 7"
    assert ran.lines[-1] == "reason   all is well"


def test_versions_that_were_asked_nothing_have_no_figures(service, ask):
    service.rollouts = [replace(ROLLOUT, canary_figures=Figures())]

    assert line_of(ask("status", MODEL), "3 canary").split() == ["3", "canary", "0", "0", "-", "-", "-", "-"]


def test_where_there_is_none_it_says_so(service, ask):
    service.rollouts = []

    for words in (("status",), ("status", MODEL), ("history", MODEL)):
        ran = ask(*words)
        assert (ran.status, ran.out) == (0, "there has been no rollout\n")


def test_status_as_json_has_numbers(ask):
    (document,) = ask("status", "--json", MODEL).json

    assert (document["id"], document["state"], document["stable"]["requests"]) == (7, "running", WIDE)
    assert document["plan"]["steps"][2]["weight"] == 5.0


def test_texts_of_the_server_do_nothing_to_the_terminal(service, ask):
    service.rollouts = [replace(ROLLOUT, reason="\x1b[2Jgone\nreally")]

    assert r"reason   \x1b[2Jgone\nreally" in ask("status", MODEL).lines


def test_a_model_that_is_unknown(ask):
    ran = ask("status", "nobody")

    assert ran.status == 1
    assert "NOT_FOUND: Request for unknown model: 'nobody' is not found" in ran.err


# Watching


def coming(service: FakeRollouts, *rollouts: RolloutView) -> None:
    """One after another, each time that the status is asked for; the last one then stays."""
    left = list(rollouts)

    def status(model: str) -> list[RolloutView]:
        return [left.pop(0) if len(left) > 1 else left[0]]

    service.status = status


def views(service: FakeRollouts, *states: str) -> None:
    """The same rollout in one state after another."""
    ends_at_s = {"running": 0.0}
    coming(
        service,
        *(
            replace(ROLLOUT, state=state, ended_at_s=ends_at_s.get(state, STARTED_AT_S + 100))
            for state in states
        ),
    )


def test_watch_draws_until_the_rollout_has_ended(service, ask, terminal):
    views(service, "running", "running", "done")

    ran = ask("status", MODEL, "--watch")

    assert ran.status == 0
    assert terminal == [1.0, 1.0]
    assert ran.out.count("\x1b[H") == 2
    page, last = ran.out.split("\x1b[?1049l")
    assert "\x1b[?1049h" in page and "running" in page
    assert last.startswith("digits: version 2 -> 3, rollout 7\nstate    done at ")
    assert "\x1b" not in last


@pytest.mark.parametrize(("state", "status"), [("done", 0), ("rolled_back", 1), ("aborted", 1)])
def test_a_watched_start_ends_as_its_rollout_does(service, ask, terminal, state, status):
    views(service, "running", state)

    assert ask("start", MODEL, "--watch").status == status


def changes(ran: Ran) -> list[str]:
    """What was told line by line, without the time."""
    shown = [line.split("  ", 1) for line in ran.out.split("digits: version")[0].splitlines()]
    assert all(len(time) == len("2030-01-01 00:00:00") for time, _ in shown)
    return [text for _, text in shown]


@pytest.mark.parametrize(
    ("words", "status"), [(("start", MODEL), 1), (("status", MODEL), 0)], ids=["start", "status"]
)
def test_without_a_terminal_each_change_has_a_line_and_the_end_its_status(service, ask, slept, words, status):
    waiting = replace(ROLLOUT, step=3, reason="latency_p95: p95 is 3.4 ms")
    coming(
        service,
        ROLLOUT,
        replace(ROLLOUT, reason="the step lasts 17 s more"),
        waiting,
        replace(waiting, reason="latency_p95: p95 is 12 ms"),
        replace(waiting, state="paused", reason=""),
        replace(ROLLOUT, state="rolled_back", ended_at_s=STARTED_AT_S + 100),
    )

    ran = ask(*words, "--watch")

    assert ran.status == status
    assert changes(ran) == [
        "digits: 2 -> 3 is running at step 3 of 6 (weight 5 %): the step lasts 18 s more",
        "digits: 2 -> 3 is running at step 4 of 6 (weight 25 %): latency_p95: p95 is 3.4 ms",
        "digits: 2 -> 3 is paused at step 4 of 6 (weight 25 %)",
    ]
    assert "state    rolled_back at " in ran.out
    assert "\x1b" not in ran.out


@pytest.mark.parametrize(("state", "status"), [("done", 0), ("rolled_back", 1), ("aborted", 1)])
def test_a_start_that_is_watched_without_a_terminal_ends_as_its_rollout_does(
    service, ask, slept, state, status
):
    views(service, "running", state)

    assert ask("start", MODEL, "--watch").status == status


def test_a_rollout_that_the_server_has_forgotten_did_not_go_well(service, ask, slept):
    service.status = lambda model: []

    ran = ask("start", MODEL, "--watch")

    assert (ran.status, ran.lines[-1]) == (1, "there has been no rollout")


def test_lines_do_nothing_to_whoever_reads_them(service, ask, slept):
    coming(
        service,
        replace(ROLLOUT, reason="\x1b[2Jgone\nreally"),
        replace(ROLLOUT, state="done", ended_at_s=STARTED_AT_S + 100),
    )

    assert changes(ask("status", MODEL, "--watch"))[0].endswith(r": \x1b[2Jgone\nreally")


def is_away(service: FakeRollouts, *answers: bool) -> None:
    """Where it is False, the server does not answer."""
    answering, coming = service.status, iter(answers)

    def status(model: str) -> object:
        if not next(coming):
            raise Unavailable("the server is stopping")
        return answering(model)

    service.status = status


def test_without_a_terminal_a_server_that_is_away_is_asked_again_and_that_is_told_once(service, ask, slept):
    views(service, "running", "running", "done")
    is_away(service, False, False, True, False, True, True)

    ran = ask("start", MODEL, "--watch")

    assert ran.status == 0
    troubles = [line.endswith("the server is stopping; asked again") for line in changes(ran)]
    assert troubles == [False, True, True]
    assert len(slept) == 6


def test_a_server_that_is_away_for_a_moment_is_asked_again(service, ask, terminal):
    views(service, "running", "done")
    is_away(service, True, False, True)

    ran = ask("status", MODEL, "--watch")

    assert ran.status == 0
    assert "the server is stopping; asked again" in ran.out
    assert "state    done" in ran.out.split("\x1b[?1049l")[1]


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Somebody presses Ctrl-C at the third look; how long the command slept is recorded."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(rollout_watch.time, "sleep", sleep)
    return slept


def test_watching_all_goes_on_until_it_is_interrupted(service, ask, terminal, interrupted):
    service.rollouts = []

    ran = ask("status", "--watch")

    assert (ran.status, len(interrupted)) == (0, 3)
    assert ran.out.endswith("\x1b[?1049lthere has been no rollout\n")


def test_without_a_terminal_an_interrupt_ends_it_with_what_is_known(service, ask, interrupted):
    other = replace(ROLLOUT, model="other", step=0)
    service.rollouts = [ROLLOUT, other]

    ran = ask("status", "--watch")

    assert (ran.status, len(interrupted)) == (0, 3)
    assert [line.split("  ")[1].split(":")[0] for line in ran.lines[:2]] == ["digits", "other"]
    assert [line for line in ran.lines if ": version" in line] == [
        "digits: version 2 -> 3, rollout 7",
        "other: version 2 -> 3, rollout 7",
    ]


def test_a_small_terminal_shows_what_fits(ask, service, terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("LINES", "6")
    views(service, "running", "done")

    page = ask("status", MODEL, "--watch").out.split("\x1b[?1049l")[0]

    shown = page.split("\x1b[H")[1].replace("\x1b[K", "").split("\n")
    assert shown[:2] == ["digits: version 2 ->", "state    running, st"]
    assert shown[4] == "…"


@pytest.mark.parametrize(
    "words", [("start", MODEL, "--dry-run"), ("start", MODEL, "--json"), ("status", "--json")]
)
def test_what_cannot_be_watched_is_refused(service, ask, words):
    ran = ask(*words, "--watch")

    assert (ran.status, ran.err) == (2, f"headrace: --watch: nothing to watch with {words[-1]}\n")
    assert service.calls == []


# Orders


@pytest.mark.parametrize(
    ("order", "call", "state"),
    [
        ("pause", "pause", "paused"),
        ("resume", "resume", "running"),
        ("rollback", "roll_back", "rolled_back"),
        ("abort", "abort", "aborted"),
    ],
)
def test_orders(service, ask, order, call, state):
    ran = ask(order, MODEL, "--reason", "a look first")

    assert service.wishes == [(call, MODEL, "a look first", BY)]
    assert (ran.status, ran.out) == (0, f"digits: 2 -> 3 is {state} at step 3 of 6 (weight 5 %)\n")


@pytest.mark.parametrize(("words", "full"), [((), False), (("--full",), True)])
def test_promote(service, ask, words, full):
    ran = ask("promote", MODEL, *words)

    assert service.wishes == [("promote", MODEL, "", BY, full)]
    assert ran.out == "digits: 2 -> 3 is running at step 4 of 6 (weight 25 %)\n"


def test_an_order_as_json(ask):
    assert ask("pause", MODEL, "--json", "--reason", "why").json["reason"] == "why"


def test_orders_of_who_may_not(run):
    service = FakeRollouts()
    with serving(service, Policy({"operator": Role({})})) as url:
        ran = run("rollout", "abort", MODEL, "--url", url)

    assert ran.status == 1
    assert "PERMISSION_DENIED: 'operator' lacks the permission 'control' for model 'digits'" in ran.err
    assert service.calls == []


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("pause", MODEL, "--raeson", "x"), "--raeson: is not an option; did you mean '--reason'?"),
        (("rolback", MODEL), "invalid choice: 'rolback'"),
        (("abort",), "the following arguments are required: MODEL"),
        (("compare", MODEL, "1"), "the following arguments are required: SHADOW"),
    ],
    ids=["option", "action", "model", "version"],
)
def test_wrong_words_are_refused(run, words, reason):
    ran = run("rollout", *words)

    assert ran.status == 2
    assert reason in ran.err


# Looking back


def test_history_is_a_table_newest_first(service, ask):
    older = replace(
        ROLLOUT, id=6, state="done", step=5, ended_at_s=STARTED_AT_S + 90_000, reason="all is well"
    )
    service.rollouts = [ROLLOUT, older]

    ran = ask("history", MODEL)

    assert service.calls == [("history", MODEL, 20)]
    assert ran.lines[1].split()[:6] == ["7", "2", "->", "3", "running", "3/6"]
    assert ran.lines[2].split()[4:6] == ["done", "6/6"]
    assert ran.lines[2].endswith("1 d 1 h  ann  all is well")
    assert [each["id"] for each in ask("history", MODEL, "--limit", "0", "--json").json] == [7, 6]


def test_explain_tells_every_decision_with_its_evidence(service, ask):
    ran = ask("explain", MODEL, "--id", "7")

    assert service.calls == [("explain", MODEL, 7)]
    assert ran.lines[0] == "digits: version 2 -> 3, rollout 7, running"
    heads = [line for line in ran.lines if " by " in line and line.startswith(time_of(STARTED_AT_S)[:10])]
    assert [head.split("  ")[1] for head in heads] == [
        "started by ann, step 1 of 6 (copies of 100 %)",
        "promoted by headrace, step 2 of 6 (weight 1 %)",
        "paused by bob, step 2 of 6 (weight 1 %)",
    ]
    for line in (
        "    after 61 s; passed: error_rate",
        "    weight_percent 1, elapsed_s 61.5",
        "    canary_figures: requests 600, failures 3, p95_ms 3",
        "        error_rate: passed, 0.50% of the canary's requests failed",
        "            canary_requests 600, p_value 0.1235, alpha 0.003333",
        r"    a look\x1b[2J first",
        "    no document",
    ):
        assert line in ran.lines


def test_evidence_of_any_kind_is_told(service, ask):
    odd = {"notes": ["one", 2.5, None, True], "more": {"deep": {"a": [1]}}, "empty": [], "all_is_well": False}
    service.events = [EventView(STARTED_AT_S, "held", 99, "", "headrace", json.dumps(odd))]

    ran = ask("explain", MODEL)

    assert ran.lines[3].endswith("  held by headrace, step 100")
    assert ran.lines[4:] == [
        "    all_is_well false",
        "    notes:",
        "        one",
        "        2.5",
        "        null",
        "        true",
        '    more: deep {"a": [1]}',
    ]


def test_explain_as_json_has_the_evidence_as_a_document(ask):
    document = ask("explain", MODEL, "--json").json

    assert document["rollout"]["id"] == 7
    assert [event["evidence"] for event in document["events"]] == [{}, EVIDENCE, "no document"]


def test_compare_shows_a_picture_of_the_document(service, ask):
    service.document = json.dumps(Comparison(MODEL, 2, 3).to_document())

    ran = ask("compare", MODEL, "stable", "3")

    assert service.calls == [("compare", MODEL, "stable", "3")]
    assert ran.status == 0
    assert ran.lines[0] == "digits: version 2 and shadow 3"
    assert "no pairs were compared" in ran.lines


@pytest.mark.parametrize(("columns", "width"), [("60", 60), ("300", 100)])
@pytest.mark.parametrize("is_ascii", [False, True])
def test_a_picture_is_as_wide_as_the_terminal_and_of_its_characters(
    ask, monkeypatch, columns, width, is_ascii
):
    seen = []

    def report(document: object, width: int, *, is_ascii: bool) -> str:
        seen.append((width, is_ascii))
        return ""

    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(rollout, "report", report)
    monkeypatch.setattr(rollout, "shows", lambda text: not is_ascii)

    assert ask("compare", MODEL, "1", "2").status == 0
    assert seen == [(width, is_ascii)]


@pytest.mark.parametrize(("encoding", "has_bars"), [("ascii", False), ("utf-8", True)])
def test_what_a_character_set_has(monkeypatch, encoding, has_bars):
    monkeypatch.setattr(screen.sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))

    assert screen.shows("█") is has_bars


def test_compare_as_json_is_the_document_itself(ask):
    assert ask("compare", MODEL, "1", "2", "--json").out == '{"pairs": 80}\n'


# Words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (192, "3 min 12 s"),
        (3605, "1 h"),
        (7500, "2 h 5 min"),
        (86_400 * 3 + 3600 * 4 + 59, "3 d 4 h"),
    ],
)
def test_spans_have_their_two_largest_units(seconds, text):
    assert span(seconds) == text


def test_of_nothing_there_is_no_rate_and_no_latency():
    assert (rate(0, 0), rate(1, 8), latency(0.0), latency(0.5)) == ("-", "12.50 %", "-", "500 µs")


def test_help_has_examples(run):
    ran = run("rollout", "--help")

    assert ran.status == 0
    assert "headrace rollout start digits --to 4 --from 3 --plan careful.yaml --watch" in ran.out
    assert "--from the one that it is to take over from" in ran.out
    assert "exit status:" in ran.out
