"""Denials: equal ones and very many are counted, so that strangers cannot fill the log."""

from headrace.core.caller import Caller, Proof
from headrace.security.audit.content import content_of
from headrace.security.audit.denials import MAX_WINDOWS, WINDOW_S, WRITTEN_PER_SECOND, Denials
from support.auditing import Clock, denial


def taken(denials, *events):
    return [denials.take(content_of(each)) for each in events]


def test_equal_denials_are_written_once_and_counted():
    clock = Clock()
    denials = Denials(clock)

    assert taken(denials, *[denial()] * 4) == [True, False, False, False]
    clock.now += WINDOW_S - 0.1
    assert denials.due() == []
    clock.now += 0.1
    (repeated,) = denials.due()
    assert (repeated.model, repeated.reason, repeated.repeats) == ("digits", "no", 3)
    assert denials.due(is_ending=True) == []
    assert taken(denials, denial()) == [True]


def test_a_denial_that_is_not_repeated_is_written_once():
    clock = Clock()
    denials = Denials(clock)
    taken(denials, denial())
    clock.now += WINDOW_S

    assert denials.due() == []
    assert not denials.has_any


def test_a_repeat_shows_the_latest_of_them():
    denials = Denials(Clock())
    strangers = [Caller("stranger", address=f"10.0.0.7:{port}") for port in (1, 2, 3)]

    assert taken(denials, *(denial(caller=each) for each in strangers)) == [True, False, False]
    assert [each.address for each in denials.due(is_ending=True)] == ["10.0.0.7:3"]


def test_denials_differ_by_what_who_whence_and_why():
    denials = Denials(Clock())
    bob = Caller("bob", proof=Proof.KEY, address="10.0.0.7:1")
    different = [
        denial(caller=bob),
        denial(caller=bob, model="cancer"),
        denial(caller=bob, action="load"),
        denial(caller=bob, reason="never"),
        denial(caller=Caller("eve", proof=Proof.KEY, address="10.0.0.7:1")),
        denial(caller=Caller("bob", proof=Proof.TOKEN, address="10.0.0.7:1")),
        denial(caller=Caller("bob", proof=Proof.KEY, address="10.0.0.8:1")),
        denial(caller=Caller("bob", proof=Proof.KEY, address="[::1]:1")),
        denial(caller=Caller("bob", proof=Proof.KEY)),
    ]

    assert all(taken(denials, *different))


def test_very_many_are_counted_together():
    clock = Clock()
    denials = Denials(clock)

    assert sum(taken(denials, *(denial(f"m{n}") for n in range(1000)))) == WRITTEN_PER_SECOND
    clock.now += WINDOW_S
    (summary,) = denials.due()
    assert summary.reason == "980 more denials were not recorded one by one"
    assert (summary.action, summary.is_allowed, summary.repeats) == ("denials", False, 980)
    assert denials.due(is_ending=True) == []


def test_the_next_second_has_its_own_share():
    clock = Clock()
    denials = Denials(clock)
    written = 0
    for second in range(5):
        written += sum(taken(denials, *(denial(f"m{second}/{n}") for n in range(100))))
        clock.now += 1

    assert written == 5 * WRITTEN_PER_SECOND


def test_what_is_remembered_is_bounded_though_nobody_writes():
    clock = Clock()
    denials = Denials(clock)
    written = 0
    for n in range(10_000):
        written += sum(taken(denials, denial(f"m{n}")))
        clock.now += 0.1

    assert written == MAX_WINDOWS
    (summary,) = denials.due(is_ending=True)
    assert summary.repeats == 10_000 - MAX_WINDOWS
