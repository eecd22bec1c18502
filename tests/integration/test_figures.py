"""What the server says of its own work: statistics, the metrics page, the timings of one request."""

import time
import urllib.request
from collections.abc import Callable

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.utils import InferenceServerException

from headrace.pb.inference import grpc_service_pb2 as pb
from support.server import ServerProcess

INFER = "/inference.GRPCInferenceService/ModelInfer"
STAGES = (
    "headrace_queue_us",
    "headrace_batch_wait_us",
    "headrace_compute_input_us",
    "headrace_compute_infer_us",
    "headrace_compute_output_us",
)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def server(serve: Callable[..., ServerProcess]) -> ServerProcess:
    names = ("identity_fp32", "lookup", "sums", "reshaped", "fixed_batch", "identity_int64", "steps")
    return serve(*names)


def send(client: triton.InferenceServerClient, model: str, array: np.ndarray, **options: object) -> None:
    kind = "INT64" if array.dtype == np.int64 else "FP32"
    tensor = triton.InferInput("x", list(array.shape), kind).set_data_from_numpy(array)
    client.infer(model, [tensor], **options)


def counts(client: triton.InferenceServerClient, model: str) -> dict[str, int]:
    (statistics,) = client.get_inference_statistics(model).model_stats
    stages = statistics.inference_stats
    return {field.name: getattr(stages, field.name).count for field in stages.DESCRIPTOR.fields} | {
        "inferences": statistics.inference_count,
        "executions": statistics.execution_count,
    }


def scrape(server: ServerProcess) -> Samples:
    with urllib.request.urlopen(server.metrics_url, timeout=10) as response:
        text = response.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(samples: Samples, name: str, model: str, version: str = "1", **labels: str) -> float:
    return samples[name, frozenset({"model": model, "version": version, **labels}.items())]


def test_each_request_raises_every_stage(client: triton.InferenceServerClient) -> None:
    before = counts(client, "identity_fp32")

    for number in range(1, 21):
        send(client, "identity_fp32", np.ones((3, 2), np.float32))

        now = counts(client, "identity_fp32")
        for stage in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
            assert now[stage] == before[stage] + number
        assert now["inferences"] == before["inferences"] + 3 * number
        assert now["executions"] == before["executions"] + number
        assert now["fail"] == now["cache_hit"] == now["cache_miss"] == 0


def test_the_time_of_a_request_is_the_sum_of_its_stages(client: triton.InferenceServerClient) -> None:
    for _ in range(10):
        send(client, "steps", np.array([100]))

    (statistics,) = client.get_inference_statistics("steps").model_stats
    stages = statistics.inference_stats
    parts = (stages.queue, stages.compute_input, stages.compute_infer, stages.compute_output)

    assert 0 < sum(part.ns for part in parts) <= stages.success.ns
    assert abs(time.time() * 1000 - statistics.last_inference) < 60_000


def test_batches_are_told_by_size(client: triton.InferenceServerClient) -> None:
    for rows in (1, 2, 2, 5):
        send(client, "identity_int64", np.ones((rows, 1), np.int64))

    (statistics,) = client.get_inference_statistics("identity_int64").model_stats

    sizes = {batch.batch_size: batch.compute_infer.count for batch in statistics.batch_stats}
    assert sizes == {1: 1, 2: 2, 5: 1}


def test_failures_are_counted_as_what_they_are(
    client: triton.InferenceServerClient, server: ServerProcess
) -> None:
    send(client, "lookup", np.array([[1]]))
    for wrong in (np.array([[99]]), np.ones((1, 1), np.float32), np.ones((33, 1), np.int64)):
        with pytest.raises(InferenceServerException):
            send(client, "lookup", wrong)

    samples = scrape(server)

    assert counts(client, "lookup") | {"success": 1, "fail": 3, "executions": 1} == counts(client, "lookup")
    assert of(samples, "nv_inference_request_success_total", "lookup") == 1
    assert of(samples, "nv_inference_request_failure_total", "lookup", reason="BACKEND") == 1
    assert of(samples, "nv_inference_request_failure_total", "lookup", reason="OTHER") == 2
    assert of(samples, "nv_inference_request_failure_total", "lookup", reason="REJECTED") == 0


def test_metrics_count_requests_rows_and_batches(
    client: triton.InferenceServerClient, server: ServerProcess
) -> None:
    for rows in (1, 2, 3, 4):
        send(client, "reshaped", np.ones((rows, 1), np.float32))

    samples = scrape(server)

    assert of(samples, "nv_inference_request_success_total", "reshaped") == 4
    assert of(samples, "nv_inference_count_total", "reshaped") == 10
    assert of(samples, "nv_inference_exec_count_total", "reshaped") == 4
    assert of(samples, "nv_inference_pending_request_count", "reshaped") == 0
    assert of(samples, "headrace_batch_size_sum", "reshaped") == 10
    assert of(samples, "headrace_batch_size_bucket", "reshaped", le="2") == 2
    assert of(samples, "headrace_request_seconds_count", "reshaped") == 4
    assert of(samples, "headrace_model_state", "reshaped", state="READY") == 1
    total_us = of(samples, "nv_inference_request_duration_us_total", "reshaped")
    assert 0 < of(samples, "nv_inference_compute_infer_duration_us_total", "reshaped") < total_us


def test_the_metrics_page_has_tritons_own_names(server: ServerProcess) -> None:
    """The parser gives counters an ending that the page, as Triton's, does not have."""
    with urllib.request.urlopen(server.metrics_url, timeout=10) as response:
        lines = response.read().decode().splitlines()

    names = {line.partition("{")[0] for line in lines if not line.startswith("#")}
    assert {
        "nv_inference_request_success",
        "nv_inference_request_failure",
        "nv_inference_count",
        "nv_inference_exec_count",
        "nv_inference_request_duration_us",
        "nv_inference_queue_duration_us",
        "nv_inference_compute_input_duration_us",
        "nv_inference_compute_infer_duration_us",
        "nv_inference_compute_output_duration_us",
        "nv_inference_pending_request_count",
    } <= names


def test_unknown_models_do_not_become_labels(
    client: triton.InferenceServerClient, server: ServerProcess
) -> None:
    before = len(scrape(server))
    for number in range(50):
        with pytest.raises(InferenceServerException):
            send(client, f"nobody-{number}", np.ones((1, 1), np.float32))

    samples = scrape(server)

    assert len(samples) <= before + 1
    assert (
        samples[
            "headrace_rejected_total", frozenset({("model", ""), ("version", ""), ("reason", "not_found")})
        ]
        >= 50
    )


def test_padding_is_counted_apart(client: triton.InferenceServerClient) -> None:
    """A graph with a batch of four runs four rows for one; one is what the caller asked for."""
    send(client, "fixed_batch", np.ones((1, 3), np.float32))

    assert counts(client, "fixed_batch")["inferences"] == 1


def timings(response: pb.ModelInferResponse) -> dict[str, int]:
    return {name: parameter.int64_param for name, parameter in response.parameters.items()}


@pytest.mark.parametrize("asked_by", ["parameter", "metadata"])
def test_timings_of_one_request(channel: grpc.Channel, asked_by: str) -> None:
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="INT64", shape=[1])
    request = pb.ModelInferRequest(
        model_name="steps", inputs=[tensor], raw_input_contents=[np.array([400]).tobytes()]
    )
    if asked_by == "parameter":
        request.parameters["headrace_timings"].bool_param = True
    metadata = [("headrace-timings", "true")] if asked_by == "metadata" else []

    began_us = time.monotonic_ns() // 1000
    data = channel.unary_unary(INFER)(request.SerializeToString(), metadata=metadata, timeout=10)
    elapsed_us = time.monotonic_ns() // 1000 - began_us

    got = timings(pb.ModelInferResponse.FromString(data))
    assert set(got) == {*STAGES, "headrace_total_us", "headrace_batch_rows"}
    assert got["headrace_batch_rows"] == 1
    assert sum(got[stage] for stage in STAGES) <= got["headrace_total_us"] <= elapsed_us
    assert got["headrace_compute_infer_us"] > 1000


def test_nobody_gets_timings_unasked(channel: grpc.Channel) -> None:
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="INT64", shape=[1])
    request = pb.ModelInferRequest(
        model_name="steps", inputs=[tensor], raw_input_contents=[np.array([0]).tobytes()]
    )

    data = channel.unary_unary(INFER)(request.SerializeToString(), timeout=10)

    assert not pb.ModelInferResponse.FromString(data).parameters
