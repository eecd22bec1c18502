"""What a record holds of an event: bounded, and safe for databases and readers."""

import hashlib
import json
import math
from datetime import UTC, datetime, timedelta

import pytest

from headrace.core.caller import Caller
from headrace.security.audit.content import MAX_ROLES, MAX_VALUE_BYTES, canonical, content_of, timestamp
from support.auditing import BOB, event

ODD = 'a"b\\c\n\x1b[31m\u202e\u2028é😀'


def test_an_event_is_recorded_with_all_that_is_known_of_it():
    content = content_of(
        event("log_settings", model="", version="3", reason="why", old={"level": 0}, new={"level": 2})
    )

    assert content._asdict() == {
        "time": content.time,
        "action": "log_settings",
        "caller": "bob",
        "proof": "key",
        "address": "10.0.0.7:4711",
        "roles": ("auditor", "operator"),
        "model": "",
        "version": "3",
        "is_allowed": True,
        "outcome": "done",
        "reason": "why",
        "old": {"level": 0},
        "new": {"level": 2},
        "repeats": 0,
    }


def test_time_is_utc_with_microseconds():
    before, at, after = (
        datetime.now(UTC),
        datetime.fromisoformat(content_of(event()).time),
        datetime.now(UTC),
    )

    assert before <= at + timedelta(microseconds=1) <= after + timedelta(microseconds=2)
    assert at.utcoffset() == timedelta()
    assert timestamp(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05.000000Z"
    assert len(content_of(event()).time) == len("2026-01-02T03:04:05.000000Z")


def test_texts_are_bounded():
    long = "x" * 100_000
    content = content_of(
        event(
            long,
            caller=Caller(long, frozenset({long})),
            model=long,
            version=long,
            reason=long,
            outcome=long,
        )
    )

    names = (
        content.action,
        content.caller,
        content.model,
        content.version,
        content.outcome,
        *content.roles,
    )
    assert set(names) == {"x" * 255 + "…"}
    assert content.reason == "x" * 1023 + "…"


def test_roles_are_bounded():
    roles = frozenset(f"role{n:03d}" for n in range(1000))

    assert len(content_of(event(caller=Caller("bob", roles))).roles) == MAX_ROLES


def test_odd_characters_stay_as_they_are():
    assert content_of(event(model=ODD)).model == ODD


def test_nul_and_half_surrogate_pairs_are_spelt_out():
    assert content_of(event(model="a\0b\ud800c")).model == "a\\x00b\\ud800c"
    assert len(content_of(event(model="\ud800" * 1000)).model) == 256


@pytest.mark.parametrize(
    ("value", "recorded"),
    [
        ({1: "a", "1": "b"}, {"1": "b"}),
        ((1, 2.5, None, True), [1, 2.5, None, True]),
        ({"half": "\ud800"}, {"half": "?"}),
        ("😀", "😀"),
        (math.nan, {"unreadable": "float"}),
        ({"a": object()}, {"unreadable": "dict"}),
        ([10**5000], {"unreadable": "list"}),
    ],
)
def test_values_are_what_json_makes_of_them(value, recorded):
    assert content_of(event(old=value)).old == recorded


def test_values_that_are_too_deep_are_not_read():
    deep = []
    for _ in range(100_000):
        deep = [deep]

    assert content_of(event(new=deep)).new == {"unreadable": "list"}


def test_large_values_are_recorded_by_their_digest():
    value = {"text": "x" * MAX_VALUE_BYTES}
    encoded = canonical(value).encode()

    assert content_of(event(new=value)).new == {
        "sha256": hashlib.sha256(encoded).hexdigest(),
        "bytes": len(encoded),
    }


def test_a_value_that_changes_later_is_recorded_as_it_was():
    value = {"level": 1}
    content = content_of(event(old=value))
    value["level"] = 2

    assert content.old == {"level": 1}


def test_canonical_form_survives_being_read():
    values = [{"b": [1, -0.0, 1e300, 0.1], "a": ODD}, content_of(event(caller=BOB, model=ODD))._asdict()]

    for value in values:
        assert canonical(json.loads(canonical(value))) == canonical(value)
        assert canonical(value).isascii()
        assert "\n" not in canonical(value)
