"""Rate and concurrency limits of the access file, over gRPC and HTTP."""

import hashlib
import http.client
import json
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from support import onnx_models
from support.server import ServerProcess

KEYS = {name: f"key-of-{name}" for name in ("slow", "modest", "free", "parallel")}
ROLES = {"everything": {"infer": ["*"], "read": ["*"], "control": ["*"], "admin": True}}
LIMITS = [
    {"callers": ["slow"], "requests_per_s": 0.2, "burst": 3},
    {"callers": ["modest"], "models": ["identity_*"], "requests_per_s": 0.2, "burst": 1},
    {"callers": ["parallel"], "concurrent": 2},
]


def access(limits):
    keys = [
        {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "roles": ["everything"]}
        for name, key in KEYS.items()
    ]
    return json.dumps({"roles": ROLES, "keys": keys, "limits": limits})


@pytest.fixture
def server(tmp_path):
    onnx_models.write_models(tmp_path / "models", "identity_fp32", "sums", "steps")
    path = tmp_path / "access.yaml"
    path.write_text(access(LIMITS))
    with ServerProcess(tmp_path / "models", f"--access-file={path}") as process:
        process.access_file = path
        yield process


ONE = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}


def post(server, key, model="identity_fp32", tensor=ONE):
    """The status, the headers and the body of an answer."""
    document = {"inputs": [tensor]}
    connection = http.client.HTTPConnection(server.http_url, timeout=20)
    headers = {"Authorization": f"Bearer {KEYS[key]}"}
    connection.request("POST", f"/v2/models/{model}/infer", json.dumps(document), headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def call(server, key, model="identity_fp32"):
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        tensor = tritonclient.grpc.InferInput("x", [1, 1], "FP32")
        tensor.set_data_from_numpy(np.ones((1, 1), np.float32))
        return client.infer(model, [tensor], headers={"authorization": f"Bearer {KEYS[key]}"})


def rejected(server, reason):
    """The metric, by model."""
    request = urllib.request.Request(server.metrics_url, headers={"Authorization": f"Bearer {KEYS['free']}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = [line for line in lines if line.startswith("headrace_rejected_total") and reason in line]
    return {line.split('model="')[1].split('"')[0]: float(line.rpartition(" ")[2]) for line in found}


def test_more_than_the_rate_is_refused_with_when_to_come_again(server):
    for _ in range(3):
        assert post(server, "slow")[0] == 200
    status, headers, body = post(server, "slow")
    assert (status, headers["Retry-After"]) == (429, "5")
    assert "'slow' may send" in json.loads(body)["error"]
    with pytest.raises(InferenceServerException) as refused:
        call(server, "slow")
    assert refused.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
    assert post(server, "free")[0] == 200
    assert rejected(server, "rate_limit") == {"identity_fp32": 2}


def test_grpc_is_told_when_to_come_again_in_its_own_form(server):
    assert post(server, "modest")[0] == 200
    with grpc.insecure_channel(server.grpc_url) as channel, pytest.raises(grpc.RpcError) as refused:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        infer(b"\x0a\x0didentity_fp32", metadata=(("authorization", f"Bearer {KEYS['modest']}"),), timeout=10)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    (pushback,) = [
        value for key, value in refused.value.trailing_metadata() if key == "grpc-retry-pushback-ms"
    ]
    assert 1000 < int(pushback) <= 5000


def test_a_rule_for_some_models_leaves_others_alone(server):
    assert post(server, "modest")[0] == 200
    assert post(server, "modest")[0] == 429
    assert post(server, "modest", "sums")[0] == 400  # other inputs: it was let through to the model


def test_a_refilled_bucket_gives_again(server):
    server.access_file.write_text(access([{"callers": ["free"], "requests_per_s": 2, "burst": 1}]))
    time.sleep(1.2)
    assert post(server, "free")[0] == 200
    status, headers, _ = post(server, "free")
    assert (status, headers["Retry-After"]) == (429, "1")
    time.sleep(0.6)
    assert post(server, "free")[0] == 200
    assert post(server, "slow")[0] == 200  # whose rule has gone


def test_only_so_many_requests_of_a_caller_are_under_way_and_places_come_back(server):
    steps = {"name": "x", "datatype": "INT64", "shape": [1], "data": [3000]}

    def status():
        return post(server, "parallel", "steps", steps)[0]

    with ThreadPoolExecutor(8) as pool:
        statuses = [future.result() for future in [pool.submit(status) for _ in range(8)]]
    assert sorted(statuses) == [200] * 2 + [429] * 6
    assert status() == 200
    assert rejected(server, "concurrency_limit") == {"steps": 6}


def test_made_up_models_are_not_named_in_the_metrics(server):
    for _ in range(3):
        assert post(server, "slow", "made-up")[0] == 404
    assert post(server, "slow", "made-up")[0] == 429
    assert rejected(server, "rate_limit") == {"": 1}


def test_streams_are_held_to_the_limits_too(server):
    heard = []
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        tensor = tritonclient.grpc.InferInput("x", [1, 1], "FP32")
        tensor.set_data_from_numpy(np.ones((1, 1), np.float32))
        client.start_stream(
            lambda result, error: heard.append(error), headers={"authorization": f"Bearer {KEYS['slow']}"}
        )
        for _ in range(5):
            client.async_stream_infer("identity_fp32", [tensor])
        client.stop_stream()
    assert [error is None for error in heard] == [True, True, True, False, False]
    assert "'slow' may send" in str(heard[-1])
