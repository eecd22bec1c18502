import json
from dataclasses import asdict

import pytest

from benchmarks import h2load, in_process, memory
from benchmarks.memory import Point
from benchmarks.models import tiny
from benchmarks.report import Figure, Report, at_least, at_most, ratios, to_markdown, to_text
from benchmarks.summary import percentile, slope
from headrace.pb.inference.grpc_service_pb2 import ModelInferRequest

H2LOAD_OUTPUT = """\
finished in 1.31s, 7604.56 req/s, 1.02MB/s
requests: 10000 total, 10000 started, 10000 done, 10000 succeeded, 0 failed, 0 errored, 0 timeout
"""


def test_percentile_is_a_sample_that_the_share_does_not_exceed() -> None:
    samples = list(range(100, 0, -1))

    assert (percentile(samples, 50), percentile(samples, 99), percentile(samples, 100)) == (50, 99, 100)
    assert percentile([7.0], 99) == 7.0


def test_slope_of_a_line_is_its_own() -> None:
    assert slope([(x, 3 * x + 10) for x in range(10)]) == pytest.approx(3)
    assert slope([(1, 5), (1, 9)]) == 0


def test_rate_and_latencies_are_read_from_h2load() -> None:
    assert h2load.read_rate(H2LOAD_OUTPUT) == 7604.56
    assert h2load.read_latencies_us("1700000000\t200\t250\n1700000001\t200\t310\n") == (250, 310)


def test_output_without_a_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="printed no rate"):
        h2load.read_rate("could not connect")


def test_frame_is_a_flag_the_length_and_the_message() -> None:
    assert h2load.frame(b"abc") == b"\x00\x00\x00\x00\x03abc"


def test_request_carries_the_rows_of_its_network() -> None:
    request = ModelInferRequest.FromString(tiny().request(rows=3))

    assert request.model_name == "tiny"
    assert list(request.inputs[0].shape) == [3, 16]
    assert len(request.raw_input_contents[0]) == 3 * 16 * 4


def test_ratios_pair_what_was_measured_side_by_side() -> None:
    assert ratios([2.0, 9.0], [1.0, 3.0]) == (2.0, 3.0)


def test_goal_is_judged_by_the_median() -> None:
    assert Figure("rate", (0.5, 0.8, 0.9), goal=at_least(0.75)).is_good
    assert not Figure("growth", (1.0, 1.2, 1.3), goal=at_most(1.1)).is_good


def test_report_survives_being_kept_and_read() -> None:
    report = Report(
        (Figure("rate", (0.5, 0.8), goal=at_least(0.75)), Figure("time", (1.0,), "s")), ("a note",)
    )

    assert Report.read(json.loads(json.dumps(asdict(report)))) == report


def test_report_is_written_for_people_and_as_a_table() -> None:
    report = Report((Figure("rate", (0.5, 0.8, 0.9), "1/s", at_least(0.75)),))

    assert "rate  0.8 1/s  (0.5 to 0.9)  [goal ≥ 0.75: met]" in to_text("overhead", report)
    assert "| `overhead` | rate | 0.8 1/s | 0.5 to 0.9 | ≥ 0.75 |" in to_markdown({"overhead": report})


def test_plans_share_the_cores_in_every_way_that_may_pay() -> None:
    found = {(plan.sessions, plan.intra_op_threads) for plan in in_process.plans(2, (1,))}

    assert found == {(1, 1), (1, 2), (2, 1), (2, 2)}


def test_growth_is_taken_after_the_warm_up() -> None:
    points = [Point(done, 10 if done <= 10 else 1000 + done) for done in range(1, 101)]

    assert memory.growth(points) == pytest.approx(1100 / 1020)
    assert memory.bytes_each(points) == pytest.approx(1)
