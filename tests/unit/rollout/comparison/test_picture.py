"""A comparison's picture shows what its document has, in the width that there is."""

import json
import unicodedata

import numpy as np
import pytest
from pairing import output, pair, timings

from headrace.errors import ExecutionFailed, QueueFull
from headrace.rollout.comparison.comparison import Comparison
from headrace.rollout.comparison.differences import compare
from headrace.rollout.comparison.picture import report

MS = 1_000_000


def document(*pairs):
    made = Comparison("digits", 1, 2)
    made.add(pairs, compare(pairs))
    return json.loads(json.dumps(made.to_document()))


def example(difference=0.0, **changes):
    live, shadow = [[0.9, 0.1]], [[0.9 - difference, 0.1 + difference]]
    known = {
        "live_timings": timings(8 * MS, 4),
        "shadow_timings": timings(2 * MS, 1),
        "live_ns": 10 * MS,
        "shadow_ns": 20 * MS,
    }
    return pair([output("scores", live)], [output("scores", shadow)], **{**known, **changes})


def many():
    random = np.random.default_rng(1)
    pairs = [example(10.0 ** random.uniform(-8, -0.1), request_id=f"r{index}") for index in range(100)]
    failed = [pair([], ExecutionFailed("it broke")), pair([], QueueFull("full"))]
    texts = pair([output("text", ["é"], "BYTES")], [output("text", ["日本"], "BYTES")])
    return document(*pairs, *failed, texts)


def places(line):
    return sum(1 + (unicodedata.east_asian_width(character) in "WF") for character in line)


def test_picture_says_how_many_agree():
    text = report(document(*[example()] * 3, example(0.9)))

    assert "digits: version 1 and shadow 2" in text
    assert "agree 75.00%" in text
    assert "4 pairs, 1 disagree" in text
    assert "1 have another best class" in text


def test_all_is_said_only_of_all():
    nearly = document(example())
    nearly |= {"pairs": 1_000_000, "disagreeing": 1}

    assert "agree 99.99%" in report(nearly)
    assert "agree 100.00%" in report(document(example()))


def test_nothing_compared_is_said_so():
    assert "no pairs were compared" in report(document())


def test_differences_have_a_bar_a_power_of_ten():
    lines = report(document(*[example(0.005)] * 4, example(0.0005))).splitlines()

    bars = {line.split()[0]: line.count("█") for line in lines if line.strip().startswith("1e")}
    assert bars["1e-03"] > 3 * bars["1e-04"] > 0


def test_latencies_stand_side_by_side():
    text = report(document(example(), example()))

    assert "to the answer, live" in text and "10.0 ms" in text
    assert "to the answer, shadow" in text and "20.0 ms" in text
    assert "execution, shadow" in text and "2.0 ms" in text
    assert "rows in a batch: 4.0 live, 1.0 shadow" in text
    assert "median +" in text


def test_errors_and_the_worst_are_shown():
    text = report(many())

    assert "1 failed in the shadow only, the last:" in text
    assert "ExecutionFailed: it broke" in text
    assert "1 refused by the shadow" in text
    assert "the worst 5 of 20 kept examples:" in text
    assert "日本" in text


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_lines_keep_to_the_width(width):
    assert max(places(line) for line in report(many(), width).splitlines()) <= width


@pytest.mark.parametrize("width", [40, 80])
def test_plain_pictures_are_ascii(width):
    text = report(many(), width, is_ascii=True)

    assert text.isascii()
    assert "###" in text
    assert max(len(line) for line in text.splitlines()) <= width


def test_what_a_caller_sent_does_not_act_on_the_terminal():
    text = report(document(example(0.5, request_id="\x1b[31mred\nline")))

    assert "\x1b" not in text
    assert "\\x1b[31mred\\nline" in text


def test_texts_that_are_equal_have_no_figures():
    tensor = output("text", ["a"], "BYTES")

    text = report(document(pair([tensor], [tensor])))

    assert "output text (labels): 0 of 1 disagree" in text
    assert "absolute" not in text
