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
from headrace.rollout.answers import EventView, Figures
from headrace.rollout.comparison.comparison import Comparison
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
def terminal(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Somebody looks; how long the command slept is recorded."""
    slept: list[float] = []
    monkeypatch.setattr(rollout, "is_terminal", lambda: True)
    monkeypatch.setattr(rollout_watch.time, "sleep", slept.append)
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
    assert ran.lines[0] == "digits: version 2 -> 3, a rollout that is not started"


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


def views(service: FakeRollouts, *states: str) -> None:
    """One state after another, each time that the status is asked for."""
    coming = [
        replace(ROLLOUT, state=state, ended_at_s=0.0 if state == "running" else STARTED_AT_S + 100)
        for state in states
    ]

    def status(model: str) -> list[object]:
        return [coming.pop(0) if len(coming) > 1 else coming[0]]

    service.status = status


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


def test_where_nobody_looks_watch_shows_it_once(service, ask, monkeypatch):
    monkeypatch.setattr(rollout_watch.time, "sleep", lambda _: pytest.fail("waited"))

    ran = ask("status", MODEL, "--watch")

    assert (ran.status, ran.out.count("digits: version")) == (0, 1)
    assert "\x1b" not in ran.out


def test_a_server_that_is_away_for_a_moment_is_asked_again(service, ask, terminal, monkeypatch):
    views(service, "running", "done")
    answering, answers = service.status, iter([True, False, True])

    def status(model: str) -> object:
        if not next(answers):
            raise Unavailable("the server is stopping")
        return answering(model)

    service.status = status
    ran = ask("status", MODEL, "--watch")

    assert ran.status == 0
    assert "the server is stopping; asked again" in ran.out
    assert "state    done" in ran.out.split("\x1b[?1049l")[1]


def test_watching_all_goes_on_until_it_is_interrupted(service, ask, terminal, monkeypatch):
    service.rollouts = []
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(rollout_watch.time, "sleep", sleep)
    ran = ask("status", "--watch")

    assert (ran.status, len(slept)) == (0, 3)
    assert ran.out.endswith("\x1b[?1049lthere has been no rollout\n")


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
    assert "exit status:" in ran.out
