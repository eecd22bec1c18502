"""A comparison's figures over many pairs, and that it goes on from what was written down."""

import json
from math import inf, nan

import numpy as np
import pytest
from pairing import output, pair, timings

from headrace.errors import ExecutionFailed, InvalidArgument, QueueFull, WorkerLost
from headrace.rollout.comparison.comparison import Comparison
from headrace.rollout.comparison.differences import compare
from headrace.rollout.comparison.examples import KEPT_EXAMPLES

MS = 1_000_000


def comparison(*pairs, **changes):
    made = Comparison("m", 1, 2, **changes)
    add(made, *pairs)
    return made


def add(made, *pairs):
    return made.add(pairs, compare(pairs, made.tolerance))


def number(live, shadow, **changes):
    return pair([output("y", [[live]])], [output("y", [[shadow]])], **changes)


def scores(live, shadow, **changes):
    return pair([output("s", [live])], [output("s", [shadow])], **changes)


def random_pairs(seed, count=30):
    random = np.random.default_rng(seed)
    pairs = []
    for index in range(count):
        live = random.random((1, 4))
        shadow = live + random.normal(size=(1, 4)) * 10.0 ** random.integers(-12, 0)
        label = ["a", "b", "c"][index % 3]
        pairs.append(
            pair(
                [output("s", live), output("t", [[label]], "BYTES")],
                [output("s", shadow), output("t", [[label if index % 5 else "z"]], "BYTES")],
                request_id=f"{seed}-{index}",
                at_ns=seed * 1000 + index + 1,
                live_ns=int(random.integers(1000, 10**8)),
                shadow_ns=int(random.integers(1000, 10**8)),
                live_timings=timings(int(random.integers(1000, 10**7)), 4),
                shadow_timings=timings(int(random.integers(1000, 10**7)), 1) if index % 2 else None,
                inputs=[output("x", live)],
            )
        )
    failures = [
        pair(ExecutionFailed(f"live {seed}"), []),
        pair([], WorkerLost(f"shadow {seed}")),
        pair(ExecutionFailed("both"), InvalidArgument("both")),
        pair([], QueueFull("full")),
        number(1.0, nan),
        pair([output("y", [[1.0]])], []),
    ]
    return pairs + failures


def test_pairs_and_those_that_disagree_are_counted():
    made = comparison()

    assert add(made, number(1.0, 1.0), number(1.0, 2.0)) == (2, 1)
    assert add(made, number(1.0, 1.0)) == (1, 0)

    assert (made.pairs, made.answered, made.disagreeing) == (3, 3, 1)


def test_errors_are_counted_by_whose_they_are():
    made = comparison()

    counted = add(
        made,
        pair(ExecutionFailed("a"), []),
        pair([], ExecutionFailed("b")),
        pair([], InvalidArgument("c")),
        pair(ExecutionFailed("d"), WorkerLost("e")),
        pair([], QueueFull("f")),
    )

    assert counted == (4, 3)
    assert (made.pairs, made.answered, made.disagreeing) == (4, 0, 3)
    document = made.to_document()
    assert document["errors"] == {"live_only": 1, "shadow_only": 2, "both": 1, "refused": 1}
    messages = {kind: [each["message"] for each in kept] for kind, kept in document["error_examples"].items()}
    assert messages == {"live_only": ["a"], "shadow_only": ["b", "c"], "both": ["e"], "refused": ["f"]}


def test_error_examples_are_the_last_and_short():
    made = comparison(*[pair([], ExecutionFailed(f"{index} " + "x" * 10_000)) for index in range(50)])

    kept = made.to_document()["error_examples"]["shadow_only"]

    assert [each["message"].split()[0] for each in kept] == ["47", "48", "49"]
    assert max(len(each["message"]) for each in kept) <= 300


def test_output_figures_are_those_of_all_pairs():
    made = comparison(number(1.0, 1.5), number(4.0, 5.0))
    add(made, number(2.0, 2.0))

    found = made.to_document()["outputs"]["y"]

    assert found["kinds"] == {"numbers": 3}
    assert (found["counts"]["pairs"], found["counts"]["disagreeing"]) == (3, 2)
    assert found["mean_absolute"] == pytest.approx(0.5)
    assert found["max_absolute"] == 1.0
    assert found["max_relative"] == pytest.approx(1 / 3)
    assert found["mean_relative"] == pytest.approx((1 / 3 + 1 / 5) / 3)
    assert found["spread"]["count"] == 3


def test_what_disagrees_is_told_by_its_kind():
    made = comparison(
        scores([0.1, 0.9], [0.9, 0.1]),
        pair([output("t", ["a"], "BYTES")], [output("t", ["b"], "BYTES")]),
        number(1.0, inf),
        pair([output("gone", [[1.0]])], []),
    )

    counts = {name: found["counts"] for name, found in made.to_document()["outputs"].items()}

    assert counts["s"]["argmax_differs"] == 1
    assert counts["t"]["label_differs"] == 1
    assert counts["y"]["broken"] == 1
    assert counts["gone"]["unlike"] == 1
    assert made.disagreeing == 4


def test_latencies_of_both_and_of_the_difference():
    pairs = [number(1.0, 1.0, live_ns=10 * MS, shadow_ns=ms * MS) for ms in (4, 12, 12, 12)]

    latency = comparison(*pairs).to_document()["latency"]["total"]

    assert latency["live"]["mean"] == 10 * MS
    assert latency["shadow"]["p50"] == pytest.approx(12 * MS, rel=0.06)
    assert latency["difference"]["mean"] == pytest.approx(0)
    assert latency["difference"]["p5"] == pytest.approx(-6 * MS, rel=0.06)
    assert latency["difference"]["p95"] == pytest.approx(2 * MS, rel=0.06)


def test_executions_are_compared_where_both_are_known():
    made = comparison(
        number(1.0, 1.0, live_timings=timings(8 * MS, 4), shadow_timings=timings(2 * MS, 1)),
        number(1.0, 1.0, live_timings=timings(8 * MS, 4)),
    )

    latency = made.to_document()["latency"]

    assert latency["execution"]["live"]["count"] == 1
    assert latency["execution"]["difference"]["mean"] == -6 * MS
    assert (latency["live_rows"], latency["shadow_rows"]) == (4, 1)
    assert latency["total"]["live"]["count"] == 2


def test_the_worst_examples_are_those_that_disagree_then_those_that_differ_most():
    made = comparison(scores([0.5, 0.4], [0.4, 0.5], request_id="other best"))
    for index in range(40):
        add(made, scores([1.0, 0.5], [1.0, 0.5 + index / 100], request_id=str(index)))
    add(made, number(1.0, nan, request_id="nan"))

    worst = made.to_document()["worst"]

    assert len(worst) == KEPT_EXAMPLES
    assert [each["request_id"] for each in worst[:3]] == ["nan", "other best", "39"]
    assert worst[0]["difference"] is None
    assert [each["disagrees"] for each in worst[:3]] == [True, True, False]
    assert worst[-1]["request_id"] == "22"


def test_equal_answers_are_no_examples():
    assert comparison(number(1.0, 1.0)).to_document()["worst"] == []


@pytest.mark.parametrize("keeps", [False, True])
def test_examples_have_inputs_only_where_they_may_be_kept(keeps):
    made = comparison(number(1.0, 2.0, inputs=[output("x", [[3.0]])]), keeps_inputs=keeps)

    (example,) = made.to_document()["worst"]

    assert ("inputs" in example) is keeps
    if keeps:
        assert example["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [1, 1], "values": [3.0]}]


def test_examples_are_short_whatever_answers_are():
    live = [output("y", np.zeros((1, 10_000))), output("t", [["long" * 1000] * 100], "BYTES")]
    shadow = [output("y", np.ones((1, 10_000))), output("t", [["other" * 1000] * 100], "BYTES")]
    made = comparison(pair(live, shadow, request_id="r" * 10_000))

    (example,) = made.to_document()["worst"]

    assert len(json.dumps(example)) < 6000
    assert example["live"][0]["shape"] == [1, 10_000]


def test_document_stays_small_over_many_pairs():
    made = comparison()
    sizes = []
    for seed in range(12):
        add(made, *random_pairs(seed, 200))
        sizes.append(len(json.dumps(made.to_document())))

    assert sizes[-1] < 1.2 * sizes[2]


@pytest.mark.parametrize("keeps", [False, True])
def test_documents_resume_exactly(keeps):
    made = comparison(*random_pairs(1), *random_pairs(2), keeps_inputs=keeps, tolerance=0.01)
    document = json.loads(json.dumps(made.to_document(), allow_nan=False))

    again = Comparison.from_document(document)
    assert again.to_document() == document
    for each in (made, again):
        add(each, *random_pairs(3))

    assert again.to_document() == made.to_document()


def test_documents_of_another_format_are_refused():
    document = comparison().to_document() | {"format": 7}

    with pytest.raises(ValueError, match="format 7 is not known"):
        Comparison.from_document(document)


def test_values_that_json_lacks_are_texts():
    made = comparison(number(inf, nan))

    (example,) = made.to_document()["worst"]

    assert example["live"][0]["values"] == ["inf"]
    assert example["shadow"][0]["values"] == ["nan"]


def test_half_floats_are_shown_as_numbers():
    made = comparison(
        pair([output("y", [[1.5]], "BF16")], [output("y", [[2.5]], "BF16")]),
        pair([output("y", [[1.5]], "FP16")], [output("y", [[2.5]], "FP16")]),
    )

    assert [each["live"][0]["values"] for each in made.to_document()["worst"]] == [[1.5], [1.5]]
