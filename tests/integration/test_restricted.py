"""Triton's restricted protocols and the Host header, through the real server and clients others wrote."""

import http.client
import os
import queue
import subprocess
import sys

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

GRPC_HEADER, SECRET = "triton-grpc-protocol-admin-key", "open-sesame"


@pytest.fixture(scope="module")
def server(serve):
    return serve(
        "identity_fp32",
        arguments=(
            f"--grpc-restricted-protocol=model-repository,logging,inference:admin-key={SECRET}",
            f"--http-restricted-api=model-repository,logging,inference:admin-key={SECRET}",
            "--http-restricted-api=statistics:other=x",
        ),
    )


@pytest.fixture(scope="module")
def over_grpc(server):
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        yield client


@pytest.fixture(scope="module")
def over_http(server):
    with tritonclient.http.InferenceServerClient(server.http_url) as client:
        yield client


def inputs(module):
    tensor = module.InferInput("x", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 2), np.float32))
    return [tensor]


@pytest.mark.parametrize("headers", [None, {"other": SECRET}, {GRPC_HEADER: "wrong"}, {"admin-key": SECRET}])
def test_grpc_asks_for_the_header_as_triton_does(over_grpc, headers):
    for call in (
        lambda: over_grpc.get_model_repository_index(headers=headers),
        lambda: over_grpc.get_log_settings(headers=headers),
        lambda: over_grpc.infer("identity_fp32", inputs(tritonclient.grpc), headers=headers),
    ):
        with pytest.raises(InferenceServerException) as caught:
            call()
        assert caught.value.status() == "StatusCode.UNAVAILABLE"
        assert caught.value.message() == f"This protocol is restricted, expecting header '{GRPC_HEADER}'"


@pytest.mark.parametrize("headers", [None, {"admin-key": "wrong"}, {GRPC_HEADER: SECRET}])
def test_http_asks_for_the_header_as_triton_does(over_http, headers):
    for call in (
        lambda: over_http.get_model_repository_index(headers=headers),
        lambda: over_http.get_log_settings(headers=headers),
        lambda: over_http.infer("identity_fp32", inputs(tritonclient.http), headers=headers),
    ):
        with pytest.raises(InferenceServerException) as caught:
            call()
        assert caught.value.status() == "403"
        assert caught.value.message() == "This API is restricted, expecting header 'admin-key'"


def test_whoever_sends_the_header_is_answered(over_grpc, over_http):
    for client, module, headers in (
        (over_grpc, tritonclient.grpc, {GRPC_HEADER: SECRET}),
        (over_http, tritonclient.http, {"Admin-Key": SECRET}),
    ):
        client.get_model_repository_index(headers=headers)
        client.get_log_settings(headers=headers)
        answer = client.infer("identity_fp32", inputs(module), headers=headers)
        assert answer.as_numpy("y").tolist() == [[1, 1]]


def test_a_stream_is_inference_too(over_grpc):
    heard: queue.SimpleQueue[object] = queue.SimpleQueue()
    over_grpc.start_stream(lambda result, error: heard.put(error))
    assert f"expecting header '{GRPC_HEADER}'" in str(heard.get(timeout=10))
    over_grpc.stop_stream()


def test_other_groups_ask_for_nothing_or_for_their_own_header(over_grpc, over_http):
    assert over_grpc.is_server_ready() and over_http.is_server_ready()
    assert over_grpc.get_model_metadata("identity_fp32").name == "identity_fp32"
    assert over_grpc.get_inference_statistics("identity_fp32").model_stats
    with pytest.raises(InferenceServerException, match="expecting header 'other'"):
        over_http.get_inference_statistics("identity_fp32", headers={"admin-key": SECRET})
    assert over_http.get_inference_statistics("identity_fp32", headers={"other": "x"})["model_stats"]


def test_settings_are_printed_without_the_secret():
    command = [sys.executable, "-m", "headrace.cli.main", "serve", "--print-settings"]
    environment = {**os.environ, "HEADRACE_GRPC_RESTRICTED_PROTOCOLS": f"logging:k={SECRET}"}
    printed = subprocess.run(
        [*command, f"--http-restricted-api=logging:k={SECRET}"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    ).stdout
    assert SECRET not in printed
    assert printed.count("[hidden]") == 2


def test_a_mistake_ends_the_start_and_does_not_show_the_secret(tmp_path):
    command = [sys.executable, "-m", "headrace.cli.main", "serve", f"--model-repository={tmp_path}"]
    wrong = f"--grpc-restricted-protocol=loging:k={SECRET}"
    ended = subprocess.run([*command, wrong], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert ended.returncode != 0
    assert "grpc.restricted_protocols: there is no group 'loging'; did you mean 'logging'?" in ended.stderr
    assert SECRET not in ended.stderr + ended.stdout


def test_a_web_page_does_not_reach_the_server_under_a_name_of_its_own(server):
    """As DNS rebinding would have it: the page's name points to this machine."""
    connection = http.client.HTTPConnection(*server.http_url.split(":"), timeout=10)
    for host, status in (("attacker.example", 403), ("localhost", 200), ("attacker.example:8000", 403)):
        connection.request("GET", "/v2", headers={"Host": host})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == status, body
    assert b"http.allowed_hosts" in body
    connection.close()
