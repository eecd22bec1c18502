"""What of a request fulfils a rule: patterns stand for whole texts, in which only * and ? mean others."""

import re
from string import ascii_letters

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.route import Attribute, Condition, Key, Rule
from headrace.router.keys import Rules
from support.routing import a_request

KEY = Key(Attribute.PARAMETER, "k")


def fits(text, *patterns):
    rules = Rules([Rule("r", (Condition(KEY, patterns),), "1")])
    return rules.first(a_request(parameters={"k": text})) is not None


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("beta", "beta"),
        ("internal-7", "internal-*"),
        ("internal-", "internal-*"),
        ("a7c", "a?c"),
        ("a\nc", "a?c"),
        ("a\nb\nc", "a*c"),
        ("a\n", "a*"),
        ("[ab]", "[ab]"),
        ("[!a]", "[!a]"),
        ("[", "["),
        ("[[x]", "[[*]"),
        ("[]", "[]"),
        ("a.b|c(d)^$\\", "a.b|c(d)^$\\"),
        ("abcabd", "*ab?"),
    ],
)
def test_a_text_that_fits_fulfils(text, pattern):
    assert fits(text, pattern)
    assert fits(text, "other", pattern)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("a", "[ab]"),
        ("b", "[!a]"),
        ("beta-2", "beta"),
        ("my-beta", "beta"),
        ("beta\n", "beta"),
        ("ac", "a?c"),
        ("axb", "a.b"),
        ("Beta", "beta"),
        ("ab", "a|b"),
    ],
)
def test_a_text_that_fits_in_part_does_not_fulfil(text, pattern):
    assert not fits(text, pattern)


@settings(max_examples=300, deadline=None)
@given(st.text("ab[]!-*?\n", min_size=1, max_size=8), st.text("ab[]!-\n", min_size=1, max_size=8))
def test_only_two_characters_stand_for_others(pattern, text):
    plain = "".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in pattern)
    assert fits(text, pattern) == (re.fullmatch(plain, text, re.DOTALL) is not None)


def test_many_stars_are_no_search_without_end():
    assert not fits("a" * 20_000, "*a" * 100 + "*b")
    assert not fits("a" * 20_000, "*a?" * 80 + "*b*")
    assert fits(ascii_letters * 400, "*z*Z" * 60)
