"""Routes and rollouts of the real server, met by clients that know nothing of them."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from headrace.pb.headrace.v1 import routing_pb2
from support.rollout_calls import RolloutCalls
from support.server import ServerProcess

SAMPLES = Path(__file__).parents[2] / "model_repository" / "digits"


@pytest.fixture(scope="module")
def server(serve: Callable[..., ServerProcess], tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    repository = tmp_path_factory.mktemp("digits")
    shutil.copytree(SAMPLES, repository / "digits")
    return serve(repository=repository)


@pytest.fixture
def calls(server: ServerProcess) -> Iterator[RolloutCalls]:
    calls = RolloutCalls(server.grpc_url)
    yield calls
    rollouts = calls.status(model_name="digits").rollouts
    if rollouts and rollouts[0].state in ("running", "paused", "waiting"):
        calls.rollback(model_name="digits")
    calls.clear_route(model_name="digits")
    calls.close()


def set_route(calls: RolloutCalls, **fields: Any) -> None:
    labels = {"stable": 1, "canary": 2}
    calls.set_route(model_name="digits", route=routing_pb2.Route(labels=labels, **fields))


def shares(calls: RolloutCalls, count: int, metadata: tuple[tuple[str, str], ...] = ()) -> Counter[str]:
    return Counter(calls.infer_digit(metadata).model_version for _ in range(count))


def over_http(server: ServerProcess, path: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    body = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 8, 8], "data": [0.0] * 64}]}
    connection = HTTPConnection(server.http_url, timeout=20)
    try:
        connection.request("POST", path, json.dumps(body), headers or {})
        answer = connection.getresponse()
        document = json.loads(answer.read())
        assert answer.status == 200, document
        return document
    finally:
        connection.close()


def test_weights_hold_over_every_protocol_together(server: ServerProcess, calls: RolloutCalls) -> None:
    set_route(calls, weights={1: 90, 2: 10})
    met = shares(calls, 500)
    met += Counter(over_http(server, "/v2/models/digits/infer")["model_version"] for _ in range(500))
    assert met == {"1": 900, "2": 100}
    told = {(share.version, share.why): share.requests for share in calls.route(model_name="digits").shares}
    assert told["1", "weights"] >= 900


def test_labels_are_versions_for_clients_that_know_nothing_of_them(
    server: ServerProcess, calls: RolloutCalls
) -> None:
    set_route(calls, weights={1: 100})
    image = np.zeros((1, 8, 8), np.float32)
    for module, url in ((tritonclient.grpc, server.grpc_url), (tritonclient.http, server.http_url)):
        with module.InferenceServerClient(url) as client:
            inputs = [module.InferInput("image", [1, 8, 8], "FP32")]
            inputs[0].set_data_from_numpy(image)
            for label, version in (("canary", "2"), ("stable", "1"), ("", "1"), ("2", "2")):
                result = client.infer("digits", inputs, model_version=label)
                response = result.get_response()
                found = response["model_version"] if isinstance(response, dict) else response.model_version
                assert found == version
                assert client.is_model_ready("digits", label)
            with pytest.raises(Exception, match="previous"):
                client.infer("digits", inputs, model_version="previous")


def test_answers_tell_their_way_on_request(server: ServerProcess, calls: RolloutCalls) -> None:
    set_route(
        calls,
        weights={1: 100},
        rules=[
            {"name": "beta", "when": [{"metadata": "x-group", "matches": ["beta*"]}], "version": "canary"}
        ],
    )
    asked = (("headrace-route", "true"),)
    assert not calls.infer_digit().parameters
    plain = calls.infer_digit(asked)
    assert plain.parameters["headrace_route"].string_param == "weights"
    ruled = calls.infer_digit((*asked, ("x-group", "beta-7")))
    assert ruled.model_version == "2"
    assert ruled.parameters["headrace_route_rule"].string_param == "beta"
    document = over_http(server, "/v2/models/digits/infer", {"X-Group": "beta", "headrace-route": "true"})
    assert document["model_version"] == "2"
    assert document["parameters"]["headrace_route"] == "rule"
    revision = document["parameters"]["headrace_route_revision"]
    assert revision == calls.route(model_name="digits").revision


def test_the_same_key_reaches_the_same_version_over_grpc_and_http(
    server: ServerProcess, calls: RolloutCalls
) -> None:
    set_route(calls, weights={1: 50, 2: 50}, sticky={"metadata": "user-id"})
    met = set()
    for user in map(str, range(20)):
        version = calls.infer_digit((("user-id", user),)).model_version
        met.add(version)
        document = over_http(server, "/v2/models/digits/infer", {"User-Id": user})
        assert document["model_version"] == version
    assert met == {"1", "2"}


def test_a_rollout_runs_to_its_end_and_back(server: ServerProcess, calls: RolloutCalls) -> None:
    step = {"min_duration_s": 0.5, "min_requests": 20}
    plan = routing_pb2.RolloutPlan(
        steps=[
            {"shadow": 100, **step},
            {"weight": 50, **step},
            {"weight": 100},
        ],
        gates={"error_rate": {}, "disagreement": {"max_percent": 60}},
    )
    started = calls.start(model_name="digits", version=2, stable_version=1, plan=plan)
    assert (started.state, started.stable_version, started.version) == ("running", 1, 2)
    with pytest.raises(grpc.RpcError) as refused:
        calls.set_route(model_name="digits", route=routing_pb2.Route(weights={1: 100}))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION  # type: ignore[attr-defined]
    ends_at = time.monotonic() + 60
    state = started
    while state.state == "running":
        assert time.monotonic() < ends_at, state
        assert calls.infer_digit().model_version in ("1", "2")
        (state,) = calls.status(model_name="digits").rollouts
    assert state.state == "done", state.reason
    assert shares(calls, 20) == {"2": 20}
    comparison = json.loads(calls.compare(model_name="digits", live_version="1", shadow_version="2").document)
    assert comparison["pairs"] >= 20
    kinds = [event.kind for event in calls.explain(model_name="digits").events]
    assert kinds == ["started", "promoted", "promoted", "done"]
    back = calls.rollback(model_name="digits", reason="just so")
    assert back.state == "rolled_back"
    assert shares(calls, 20) == {"1": 20}


def test_a_server_that_was_stopped_has_its_routes_again(tmp_path: Path) -> None:
    repository, state = tmp_path / "models", tmp_path / "state"
    shutil.copytree(SAMPLES, repository / "digits")
    with ServerProcess(repository, f"--state-dir={state}") as server:
        calls = RolloutCalls(server.grpc_url)
        set_route(calls, weights={1: 100})
        calls.close()
        assert server.terminate() == 0, server.log
    with ServerProcess(repository, f"--state-dir={state}") as server:
        calls = RolloutCalls(server.grpc_url)
        assert shares(calls, 20) == {"1": 20}
        assert calls.route(model_name="digits").set_by == "stranger"
        calls.close()


def test_a_declared_plan_rolls_out_a_version_that_appears(tmp_path: Path) -> None:
    """The version policy is the default one, the newest only; the plan keeps the one before."""
    repository = tmp_path / "models"
    model = repository / "digits"
    (model / "1").mkdir(parents=True)
    shutil.copy(SAMPLES / "1" / "model.onnx", model / "1")
    config = (SAMPLES / "config.yaml").read_text().partition("version_policy:")[0]
    steps = "[{weight: 50, min_duration_s: 1, min_requests: 5}, {weight: 100}]"
    config += f"\nrollout:\n  steps: {steps}\n  gates: {{}}\n"
    (model / "config.yaml").write_text(config)
    shutil.copy(SAMPLES / "labels.txt", model)
    arguments = ("--repository-settle-time-s=0.2", "--repository-poll-interval-s=0.5")
    with ServerProcess(repository, *arguments) as server:
        calls = RolloutCalls(server.grpc_url)
        assert shares(calls, 5) == {"1": 5}
        shutil.copytree(SAMPLES / "2", model / "2")
        ends_at, met = time.monotonic() + 60, Counter[str]()
        while not (state := calls.status(model_name="digits").rollouts) or state[0].state == "running":
            assert time.monotonic() < ends_at, server.log
            met[calls.infer_digit().model_version] += 1
        assert (state[0].state, state[0].origin) == ("done", "config")
        assert met["1"] > 5
        assert shares(calls, 20) == {"2": 20}
        calls.close()
