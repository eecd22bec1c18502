"""What the real server writes into its audit log: changes, refusals, and requests where that is asked for."""

import hashlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from support import onnx_models
from support.auditing import records
from support.server import ServerProcess

KEYS = {"operator": "secret-key-of-an-operator", "scorer": "secret-key-of-a-scorer"}
ACCESS = {
    "roles": {
        "operator": {"infer": ["*"], "read": ["*"], "control": ["*"], "admin": True},
        "scorer": {"infer": ["identity_*"]},
    },
    "keys": [
        {"name": f"the {name}", "sha256": hashlib.sha256(key.encode()).hexdigest(), "roles": [name]}
        for name, key in KEYS.items()
    ],
}
EXPLICIT = ("--model-control-mode=explicit", "--load-model=*")


def headers(name):
    return {"authorization": f"Bearer {KEYS[name]}"}


@pytest.fixture
def start(tmp_path):
    """A server with an access file; what it recorded is read once it has stopped."""
    onnx_models.write_models(tmp_path / "models", "identity_fp32", "identity_int64")
    path = tmp_path / "access.yaml"
    path.write_text(json.dumps(ACCESS))
    return lambda *arguments: ServerProcess(
        tmp_path / "models", f"--access-file={path}", *EXPLICIT, *arguments
    )


def stopped(server):
    """What was recorded between the start and the stop, once the server has stopped."""
    assert server.terminate() == 0
    found = records(server.state_dir)
    assert [found[0]["action"], found[-1]["action"]] == ["server_start", "server_stop"]
    return found[1:-1]


def infer(client, module, name, model="identity_fp32"):
    tensor = module.InferInput("x", [1, 1], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 1), np.float32))
    return client.infer(model, [tensor], headers=headers(name))


def test_changes_are_recorded_with_who_what_where_and_the_values(start):
    with start() as server:
        with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
            client.unload_model("identity_int64", headers=headers("operator"))
        with tritonclient.http.InferenceServerClient(server.http_url) as client:
            client.load_model("identity_int64", headers=headers("operator"))
            client.update_log_settings({"log_verbose_level": 1}, headers=headers("operator"))
            infer(client, tritonclient.http, "scorer")
        found = stopped(server)

    ready, none = {"ready": ["1"]}, {"ready": []}
    assert [(each["action"], each["outcome"], each["old"], each["new"]) for each in found] == [
        ("unload", "begun", ready, None),
        ("unload", "done", ready, none),
        ("load", "begun", none, None),
        ("load", "done", none, ready),
        ("log_settings", "begun", {"log_verbose_level": 0}, {"log_verbose_level": 1}),
        ("log_settings", "done", {"log_verbose_level": 0}, {"log_verbose_level": 1}),
    ]
    for each in found:
        assert (each["caller"], each["proof"], each["roles"]) == ("the operator", "key", ["operator"])
        assert each["address"].startswith("127.0.0.1:")
        assert each["is_allowed"]
    assert {each["model"] for each in found[:4]} == {"identity_int64"}


def test_a_change_that_fails_is_recorded_with_the_reason(start):
    with start() as server:
        with tritonclient.http.InferenceServerClient(server.http_url) as client:
            with pytest.raises(InferenceServerException):
                client.load_model("not-there", headers=headers("operator"))
            with pytest.raises(InferenceServerException):
                client.load_model(
                    "identity_fp32",
                    headers=headers("operator"),
                    config=json.dumps({"max_batch_size": "many", "parameters": {"password": {}}}),
                )
        found = stopped(server)
    assert [(each["action"], each["outcome"]) for each in found] == [
        ("load", "begun"),
        ("load", "failed"),
    ] * 2
    assert "not-there" in found[1]["reason"]
    assert found[2]["new"]["config"] and "password" not in json.dumps(found[2])


def test_a_change_whose_caller_leaves_is_recorded_to_its_end(start):
    with start() as server:
        with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
            client.unload_model("identity_int64", headers=headers("operator"))
            for timeout_s in (0.001, 0.002, 0.004, 0.008, 0.016, 0.03, 0.06, 0.1):
                with suppress(InferenceServerException):
                    client.load_model("identity_int64", headers=headers("operator"), client_timeout=timeout_s)
                if becomes_ready(client, "identity_int64"):
                    break
        found = [each for each in stopped(server) if each["action"] == "load"]
    assert [each["outcome"] for each in found] == ["begun", "done"]
    assert found[-1]["new"] == {"ready": ["1"]}


def becomes_ready(client, model):
    """Whether a load that was begun, if one was, comes to its end."""
    ends_at = time.monotonic() + 1
    while time.monotonic() < ends_at:
        if client.is_model_ready(model, headers=headers("operator")):
            return True
    return False


def test_refusals_are_recorded_over_every_protocol(start):
    with start() as server:
        with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
            for attempt in (
                lambda: client.unload_model("identity_fp32", headers=headers("scorer")),
                lambda: infer(client, tritonclient.grpc, "scorer", "other"),
                lambda: client.get_model_config("identity_fp32"),
                lambda: client.get_server_metadata(headers={"authorization": "Bearer wrong-secret"}),
            ):
                with pytest.raises(InferenceServerException):
                    attempt()
        for url in (f"http://{server.http_url}/v2/models/identity_fp32/stats", server.metrics_url):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(url, timeout=10)
            refused.value.close()
        found = stopped(server)
    assert [(each["action"], each["caller"], each["model"]) for each in found] == [
        ("unload", "the scorer", "identity_fp32"),
        ("infer", "the scorer", "other"),
        ("model_config", "stranger", "identity_fp32"),
        ("authenticate", "stranger", ""),
        ("statistics", "stranger", "identity_fp32"),
        ("metrics", "stranger", ""),
    ]
    for each in found:
        assert not each["is_allowed"]
        assert each["reason"]
    assert found[0]["address"].startswith("127.0.0.1:")
    assert "wrong-secret" not in json.dumps(found)


def test_requests_are_recorded_by_sampling(start):
    with start("--audit-inference-sample-rate=0.25") as server:
        with tritonclient.http.InferenceServerClient(server.http_url) as client:
            for _ in range(20):
                infer(client, tritonclient.http, "scorer")
        found = stopped(server)
    assert len(found) == 5
    for each in found:
        assert (each["action"], each["model"], each["version"]) == ("infer", "identity_fp32", "1")
        assert (each["caller"], each["outcome"]) == ("the scorer", "done")


def test_a_server_that_cannot_start_has_not_stopped(tmp_path):
    state_dir = tmp_path / "state"
    (tmp_path / "models").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "headrace.cli.main", "serve", f"--state-dir={state_dir}"]
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [*command, f"--model-repository={tmp_path}/models", f"--http-port={port}", "--grpc-port=0"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert ended.returncode == 1
    assert "cannot listen" in ended.stderr
    assert records(state_dir) == []


def test_without_an_access_file_changes_are_recorded_with_the_address(tmp_path):
    onnx_models.write_models(tmp_path, "identity_fp32")
    with ServerProcess(tmp_path, *EXPLICIT) as server:
        with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
            client.unload_model("identity_fp32")
        with tritonclient.http.InferenceServerClient(server.http_url) as client:
            client.load_model("identity_fp32")
        found = stopped(server)
    assert [(each["action"], each["caller"], each["proof"]) for each in found] == [
        *[("unload", "stranger", "none")] * 2,
        *[("load", "stranger", "none")] * 2,
    ]
    assert all(each["address"].startswith("127.0.0.1:") for each in found)


def test_keys_are_nowhere_in_the_log_or_the_state_folder(start):
    with start("--audit-inference-sample-rate=1") as server:
        with tritonclient.http.InferenceServerClient(server.http_url) as client:
            infer(client, tritonclient.http, "scorer")
            client.unload_model("identity_fp32", headers=headers("operator"))
        stopped(server)
        kept = b"".join(path.read_bytes() for path in server.state_dir.rglob("*") if path.is_file())
        for key in KEYS.values():
            assert key.encode() not in kept
            assert key not in server.log


def test_the_command_verifies_what_the_server_wrote(start):
    with start() as server:
        with tritonclient.http.InferenceServerClient(server.http_url) as client:
            client.unload_model("identity_fp32", headers=headers("operator"))
        stopped(server)
        command = [sys.executable, "-m", "headrace.cli.main", "audit", "verify"]
        ran = subprocess.run(
            [*command, f"--state-dir={server.state_dir}"], capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.startswith("4 records")


def test_where_it_is_required_a_change_that_cannot_be_recorded_is_refused(tmp_path):
    onnx_models.write_models(tmp_path / "models", "identity_fp32")
    required = ("--audit-required=true", *EXPLICIT)
    with ServerProcess(tmp_path / "models", *required) as server:
        for path in server.state_dir.iterdir():
            path.unlink()
        server.state_dir.rmdir()
        server.state_dir.write_text("in the way")
        with tritonclient.http.InferenceServerClient(server.http_url) as client:
            with pytest.raises(InferenceServerException, match="cannot be recorded") as refused:
                client.unload_model("identity_fp32")
            assert refused.value.status() == "503"
            assert client.is_model_ready("identity_fp32")
        server.state_dir.unlink()


def test_an_access_file_that_changes_is_recorded(start, tmp_path):
    with start() as server:
        changed = {**ACCESS, "keys": ACCESS["keys"][:1]}
        (tmp_path / "access.yaml").write_text(json.dumps(changed))
        with tritonclient.http.InferenceServerClient(server.http_url) as client:
            ends_at = time.monotonic() + 10
            with pytest.raises(InferenceServerException):
                while time.monotonic() < ends_at:
                    infer(client, tritonclient.http, "scorer")
        found = [each for each in stopped(server) if each["action"] == "access_file"]
    (record,) = found
    assert record["new"]["sha256"] == hashlib.sha256(json.dumps(changed).encode()).hexdigest()
    assert record["old"]["sha256"] != record["new"]["sha256"]
