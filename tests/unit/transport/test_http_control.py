"""The V2 endpoints over HTTP besides inference: their paths, what they take and what they answer."""

import asyncio
import json
import logging
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.protobuf import json_format

from conformance.fakes import FakeControl, FakeInference
from headrace import errors
from headrace.errors import HeadraceError, Internal, InvalidArgument, NotFound, Status
from headrace.model.statistics import Statistics
from headrace.pb.inference.model_config_pb2 import ModelConfig
from headrace.service.answers import HealthStatus, IndexEntry, ModelInfo
from headrace.settings import HttpSettings
from headrace.transport.http.config_json import config_json
from headrace.transport.http.endpoints import build_routes
from headrace.transport.http.messages import HttpRequest, HttpResponse, error_response, http_status
from headrace.transport.http.off_loop import OffLoop
from headrace.transport.http.routes import Routes
from headrace.transport.limits import Limits
from support.loops import run

SHARED_MEMORY_DISABLED = (
    "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."
)


@dataclass
class RecordedAnswer:
    """Keeps what an endpoint answers; it fails the test where that happens twice."""

    responses: list[HttpResponse] = field(default_factory=list)
    is_wanted: bool = True

    def complete(self, response: HttpResponse) -> None:
        assert not self.responses
        self.responses.append(response)

    def fail(self, error: HeadraceError) -> None:
        self.complete(error_response(error))


class Gateway:
    """Every endpoint on the two fakes, without a network."""

    def __init__(self, limits: Limits) -> None:
        self.control = FakeControl()
        self.inference = FakeInference()
        self._limits = limits

    def ask(self, method: str, path: str, body: Any = b"", **headers: str) -> HttpResponse:
        """The response to one request; a `body` that is no bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = RecordedAnswer()

        async def main() -> None:
            routes = Routes(
                build_routes(self.inference, self.control, HttpSettings(), self._limits, OffLoop())
            )
            routes.dispatch(HttpRequest(method, path, "", headers, data, 0), answer)
            await routes.wait(5)
            await asyncio.sleep(0)

        run(main())
        (response,) = answer.responses
        return response

    def get(self, path: str) -> Any:
        """The JSON at `path`."""
        return read(self.ask("GET", path))

    def refusal(self, method: str, path: str, body: Any = b"") -> tuple[int, str]:
        """The status and the text of an error, which must be all that is said."""
        response = self.ask(method, path, body)
        document = json.loads(bytes_of(response))
        assert list(document) == ["error"]
        assert response.content_type == "application/json"
        return response.status, document["error"]


@pytest.fixture
def gateway() -> Gateway:
    return Gateway(Limits())


def bytes_of(response: HttpResponse) -> bytes:
    return b"".join(map(bytes, response.body))


def read(response: HttpResponse) -> Any:
    assert response.status == 200
    assert response.content_type == "application/json"
    return json.loads(bytes_of(response))


def is_empty(response: HttpResponse, status: int = 200) -> bool:
    return response.status == status and bytes_of(response) == b""


# Health and metadata


def test_liveness_and_readiness(gateway: Gateway) -> None:
    assert gateway.get("/v2/health/live") == {"live": True}
    assert gateway.get("/v2/health/ready") == {"ready": True}


def test_a_server_that_is_not_ready_lives(gateway: Gateway) -> None:
    gateway.control.set_health("", HealthStatus.NOT_SERVING)

    assert gateway.get("/v2/health/live") == {"live": True}
    answer = gateway.ask("GET", "/v2/health/ready")
    assert (answer.status, bytes_of(answer)) == (400, b'{"ready":false}')


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_server_metadata(gateway: Gateway, path: str) -> None:
    assert gateway.get(path) == {
        "name": "headrace",
        "version": "0.1",
        "extensions": ["model_repository", "statistics"],
    }


@pytest.mark.parametrize("path", ["/v2/models/echo", "/v2/models/echo/versions/1"])
def test_a_model_that_is_ready(gateway: Gateway, path: str) -> None:
    assert gateway.get(path + "/ready") == {"name": "echo", "ready": True}


@pytest.mark.parametrize("path", ["/v2/models/echo", "/v2/models/echo/versions/1"])
def test_a_model_that_is_known_and_not_ready(gateway: Gateway, path: str) -> None:
    gateway.control.set_health("echo", HealthStatus.NOT_SERVING)

    assert gateway.refusal("GET", path + "/ready") == (400, "Model version not ready")


class EmptyControl(FakeControl):
    """Knows one model that was never loaded, and no other."""

    def models(self, name: str) -> Sequence[ModelInfo]:
        if name == "idle":
            return []
        raise NotFound(f"Request for unknown model: '{name}' is not found")


@pytest.mark.parametrize("name", ["idle", "nobody"])
def test_a_model_that_is_unknown_is_not_ready(gateway: Gateway, name: str) -> None:
    gateway.control = EmptyControl()

    assert gateway.refusal("GET", f"/v2/models/{name}/ready") == (
        404,
        f"Request for unknown model: '{name}' is not found",
    )


@pytest.mark.parametrize("path", ["/v2/models/echo", "/v2/models/echo/versions/1"])
def test_model_metadata(gateway: Gateway, path: str) -> None:
    assert gateway.get(path) == {
        "name": "echo",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 16]}],
        "outputs": [{"name": "y", "datatype": "BYTES", "shape": [-1, 2]}],
        "properties": {"sha256/1/model.onnx": "ab12"},
    }


@pytest.mark.parametrize("path", ["/v2/models/nobody", "/v2/models/nobody/config"])
def test_metadata_of_an_unknown_model(gateway: Gateway, path: str) -> None:
    assert gateway.refusal("GET", path) == (404, "Request for unknown model: 'nobody' is not found")


def test_a_name_with_a_slash_is_one_name(gateway: Gateway) -> None:
    text = "Request for unknown model: 'a/b ü' is not found"

    assert gateway.refusal("GET", "/v2/models/a%2Fb%20%C3%BC") == (404, text)


# Configuration

CONFIG = {
    "name": "m",
    "platform": "onnxruntime_onnx",
    "max_batch_size": 8,
    "version_policy": {"specific": {"versions": [1, 2**40]}},
    "input": [
        {
            "name": "x",
            "data_type": "TYPE_FP32",
            "dims": [-1, 3],
            "reshape": {"shape": [3, -1]},
            "optional": True,
        }
    ],
    "output": [{"name": "y", "data_type": "TYPE_STRING", "dims": [1], "label_filename": "labels.txt"}],
    "instance_group": [{"name": "g", "kind": "KIND_CPU", "count": 2, "rate_limiter": {"priority": 3}}],
    "dynamic_batching": {
        "preferred_batch_size": [4, 8],
        "max_queue_delay_microseconds": 2**60,
        "priority_levels": 2,
        "default_priority_level": 1,
        "default_queue_policy": {"default_timeout_microseconds": 2**33, "max_queue_size": 5},
        "priority_queue_policy": {
            "1": {"timeout_action": "DELAY", "default_timeout_microseconds": 7, "max_queue_size": 1},
            "18446744073709551615": {"default_timeout_microseconds": 2**63},
        },
    },
    "parameters": {"key": {"string_value": "17"}, "number": {"string_value": "x"}},
    "model_warmup": [
        {
            "name": "w",
            "batch_size": 1,
            "inputs": {"x": {"data_type": "TYPE_FP32", "dims": [2, 3], "zero_data": True}},
        }
    ],
    "model_transaction_policy": {"decoupled": False},
    "model_metrics": {
        "metric_control": [
            {"metric_identifier": {"family": "f"}, "histogram_options": {"buckets": [0.5, 2.0]}}
        ]
    },
}


def a_config(**fields: Any) -> ModelConfig:
    return json_format.ParseDict({**CONFIG, **fields}, ModelConfig())


def test_a_config_has_every_field_with_its_value() -> None:
    document = config_json(a_config().SerializeToString())

    assert_holds(document, CONFIG)
    assert {each.name for each in ModelConfig.DESCRIPTOR.fields if each.label == each.LABEL_REPEATED} <= set(
        document
    )


def assert_holds(document: Any, expected: Any) -> None:
    """`document` says everything that `expected` says, and may say more."""
    if isinstance(expected, dict):
        for name, value in expected.items():
            assert_holds(document[name], value)
    elif isinstance(expected, list):
        for item, value in zip(document, expected, strict=True):
            assert_holds(item, value)
    else:
        assert (type(document), document) == (type(expected), expected)


def test_a_config_is_protobufs_json_with_wide_integers_as_numbers() -> None:
    config = a_config()
    expected = json_format.MessageToDict(
        config, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )

    document = config_json(config.SerializeToString())

    assert texts_of(document) == texts_of(expected)
    assert document["dynamic_batching"]["max_queue_delay_microseconds"] == 2**60
    assert expected["dynamic_batching"]["max_queue_delay_microseconds"] == str(2**60)


def texts_of(value: Any) -> Any:
    """The same with every integer as a text, which is all that may differ."""
    if isinstance(value, dict):
        return {name: texts_of(item) for name, item in value.items()}
    if isinstance(value, list):
        return [texts_of(item) for item in value]
    return str(value) if type(value) is int else value


def test_a_config_reads_back_as_what_it_was() -> None:
    config = a_config()

    assert json_format.ParseDict(config_json(config.SerializeToString()), ModelConfig()) == config


@pytest.mark.parametrize(
    "fields",
    [
        {
            "dynamic_batching": None,
            "ensemble_scheduling": {"step": [{"model_name": "a", "model_version": -1}]},
        },
        {
            "dynamic_batching": None,
            "sequence_batching": {
                "max_sequence_idle_microseconds": 5,
                "oldest": {"max_queue_delay_microseconds": 6},
            },
        },
        {
            "optimization": {
                "gather_kernel_buffer_threshold": 3,
                "cuda": {"graph_spec": [{"input": {"x": {"dim": [1]}}}]},
            }
        },
        {"version_policy": {"latest": {"num_versions": 3}}},
    ],
    ids=lambda fields: list(fields)[-1],
)
def test_configs_of_other_kinds_read_back_and_hold_no_wide_text(fields: dict[str, Any]) -> None:
    config = a_config(**fields)

    document = config_json(config.SerializeToString())

    assert json_format.ParseDict(document, ModelConfig()) == config
    assert_holds(document, {name: value for name, value in fields.items() if value is not None})


def test_an_empty_config_has_its_defaults() -> None:
    document = config_json(b"")

    assert document["name"] == ""
    assert document["max_batch_size"] == 0
    assert document["input"] == []
    assert document["parameters"] == {}
    assert "dynamic_batching" not in document


@pytest.mark.parametrize("path", ["/v2/models/echo/config", "/v2/models/echo/versions/1/config"])
def test_the_config_endpoint(gateway: Gateway, path: str) -> None:
    config = gateway.get(path)

    assert (config["name"], config["max_batch_size"], config["backend"]) == ("echo", 8, "onnxruntime")


# Statistics


@pytest.mark.parametrize(
    "path", ["/v2/models/stats", "/v2/models/echo/stats", "/v2/models/echo/versions/1/stats"]
)
def test_statistics(gateway: Gateway, path: str) -> None:
    ((statistics,),) = gateway.get(path).values()

    assert statistics.pop("last_inference") > 1_600_000_000_000
    assert statistics == {
        "name": "echo",
        "version": "1",
        "inference_count": 3,
        "execution_count": 1,
        "inference_stats": {
            "success": {"count": 2, "ns": 3000},
            "fail": {"count": 0, "ns": 0},
            "queue": {"count": 2, "ns": 30},
            "compute_input": {"count": 2, "ns": 200},
            "compute_infer": {"count": 2, "ns": 400},
            "compute_output": {"count": 2, "ns": 600},
            "cache_hit": {"count": 0, "ns": 0},
            "cache_miss": {"count": 0, "ns": 0},
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": 3,
                "compute_input": {"count": 1, "ns": 100},
                "compute_infer": {"count": 1, "ns": 200},
                "compute_output": {"count": 1, "ns": 300},
            }
        ],
        "memory_usage": [],
    }


class IdleControl(FakeControl):
    """Two versions, of which neither was asked anything; keeps what was asked for."""

    def statistics(self, name: str, version: str) -> Sequence[tuple[str, str, Statistics]]:
        self.calls.append(("statistics", name, version))
        return [("a", "1", Statistics()), ("a", "2", Statistics())]


def test_statistics_of_what_was_never_asked(gateway: Gateway) -> None:
    gateway.control = IdleControl()

    first, second = gateway.get("/v2/models/a/stats")["model_stats"]

    assert (first["version"], second["version"]) == ("1", "2")
    assert set(first["inference_stats"]) == {
        "success",
        "fail",
        "queue",
        "compute_input",
        "compute_infer",
        "compute_output",
        "cache_hit",
        "cache_miss",
    }
    assert first["batch_stats"] == []
    assert first["last_inference"] == 0


def test_statistics_are_of_what_the_path_names(gateway: Gateway) -> None:
    gateway.control = IdleControl()

    for path in ("/v2/models/stats", "/v2/models/a/stats", "/v2/models/a/versions/2/stats"):
        gateway.get(path)

    assert gateway.control.calls == [
        ("statistics", "", ""),
        ("statistics", "a", ""),
        ("statistics", "a", "2"),
    ]


# The repository


@pytest.mark.parametrize(
    ("body", "ready_only"), [(b"", False), ({}, False), ({"ready": False}, False), ({"ready": True}, True)]
)
def test_the_repository_index(gateway: Gateway, body: Any, ready_only: bool) -> None:
    entries = read(gateway.ask("POST", "/v2/repository/index", body))

    unloaded = {"name": "idle", "version": "2", "state": "UNAVAILABLE", "reason": "unloaded"}
    assert entries == [{"name": "echo", "version": "1", "state": "READY"}] + [unloaded] * (not ready_only)
    assert gateway.control.calls == [("index", "", ready_only)]


def test_the_index_of_a_named_repository(gateway: Gateway) -> None:
    read(gateway.ask("POST", "/v2/repository/mine/index"))

    assert gateway.control.calls == [("index", "mine", False)]


class NamesControl(FakeControl):
    def repository_index(self, repository: str, ready_only: bool) -> Sequence[IndexEntry]:
        return [IndexEntry("never"), IndexEntry("bad\udcff", "1", "UNAVAILABLE", "no \udcfe file")]


def test_a_model_that_was_never_loaded_shows_its_name_only(gateway: Gateway) -> None:
    gateway.control = NamesControl()

    never, odd = read(gateway.ask("POST", "/v2/repository/index"))

    assert never == {"name": "never"}
    assert odd == {"name": "bad?", "version": "1", "state": "UNAVAILABLE", "reason": "no ? file"}


@pytest.mark.parametrize("ready", [1, "true", None, []], ids=repr)
def test_an_index_of_unclear_readiness(gateway: Gateway, ready: Any) -> None:
    refusal = gateway.refusal("POST", "/v2/repository/index", {"ready": ready})

    assert refusal == (400, "Unable to parse 'ready': expected a boolean")
    assert gateway.control.calls == []


@pytest.mark.parametrize("body", [b"", {}, {"parameters": {}}])
def test_load(gateway: Gateway, body: Any) -> None:
    assert is_empty(gateway.ask("POST", "/v2/repository/models/m/load", body))

    assert gateway.control.calls == [("load", "m", None, {})]


def test_load_with_a_config_and_files(gateway: Gateway) -> None:
    content = bytes(range(256))
    parameters = {
        "config": '{"backend": "onnxruntime"}',
        "file:1/model.onnx": b64encode(content).decode(),
        "file:labels.txt": "",
    }

    response = gateway.ask("POST", "/v2/repository/models/m/load", {"parameters": parameters})

    assert is_empty(response)
    files = {"1/model.onnx": content, "labels.txt": b""}
    assert gateway.control.calls == [("load", "m", '{"backend": "onnxruntime"}', files)]


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"confg": "{}"}, "unrecognized load parameter 'confg'."),
        ({"File:1/model.onnx": ""}, "unrecognized load parameter 'File:1/model.onnx'."),
        ({"config": {}}, "invalid value type for load parameter 'config', expected a string."),
        ({"config": None}, "invalid value type for load parameter 'config', expected a string."),
        ({"file:a": 1}, "invalid value type for load parameter 'file:a', expected a string."),
        ({"file:a": ["YQ=="]}, "invalid value type for load parameter 'file:a', expected a string."),
        ([], "Unable to parse 'parameters': expected an object"),
        ("config", "Unable to parse 'parameters': expected an object"),
    ],
)
def test_refused_load_parameters(gateway: Gateway, parameters: Any, text: str) -> None:
    refusal = gateway.refusal("POST", "/v2/repository/models/m/load", {"parameters": parameters})

    assert refusal == (400, text)
    assert gateway.control.calls == []


@pytest.mark.parametrize(
    "value",
    [
        "a",
        "YQ",
        "YQ=",
        "Y Q==",
        "YQ==\n",
        "YQ==YQ==",
        "YQ-_",
        "===",
        "!!!!",
        "é",
    ],
)
def test_files_that_are_not_base64(gateway: Gateway, value: str) -> None:
    status, text = gateway.refusal(
        "POST", "/v2/repository/models/m/load", {"parameters": {"config": "{}", "file:a": value}}
    )

    assert status == 400
    assert text.startswith("load parameter 'file:a' is not valid base64: ")
    assert gateway.control.calls == []


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"\xff"])
@pytest.mark.parametrize(
    "path", ["/v2/repository/index", "/v2/repository/models/m/load", "/v2/repository/models/m/unload"]
)
def test_repository_requests_that_are_no_objects(gateway: Gateway, path: str, body: bytes) -> None:
    status, text = gateway.refusal("POST", path, body)

    assert status == 400
    assert text.startswith("failed to parse the request JSON buffer: ")
    assert gateway.control.calls == []


def test_a_load_that_fails(gateway: Gateway) -> None:
    text = "load failed for model 'm': version 1 is at UNAVAILABLE state: no file"
    gateway.control.load_error = InvalidArgument(text)

    assert gateway.refusal("POST", "/v2/repository/models/m/load") == (400, text)


@pytest.mark.parametrize(
    "body",
    [b"", {}, {"parameters": {"unload_dependents": True}}, {"parameters": {"unload_dependents": False}}],
)
def test_unload(gateway: Gateway, body: Any) -> None:
    assert is_empty(gateway.ask("POST", "/v2/repository/models/m%2Fn/unload", body))

    assert gateway.control.calls == [("unload", "m/n")]


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"force": True}, "unrecognized unload parameter 'force'."),
        (
            {"unload_dependents": 1},
            "invalid value type for unload parameter 'unload_dependents', expected a boolean.",
        ),
        (
            {"unload_dependents": None},
            "invalid value type for unload parameter 'unload_dependents', expected a boolean.",
        ),
        ([], "Unable to parse 'parameters': expected an object"),
    ],
)
def test_refused_unload_parameters(gateway: Gateway, parameters: Any, text: str) -> None:
    refusal = gateway.refusal("POST", "/v2/repository/models/m/unload", {"parameters": parameters})

    assert refusal == (400, text)
    assert gateway.control.calls == []


@pytest.mark.parametrize("action", ["load", "unload"])
def test_a_named_repository_is_not_supported(gateway: Gateway, action: str) -> None:
    refusal = gateway.refusal("POST", f"/v2/repository/mine/models/m/{action}")

    assert refusal == (501, "'repository_name' specification is not supported")
    assert gateway.control.calls == []


# Settings


def test_log_settings_are_read_and_changed(gateway: Gateway) -> None:
    before = gateway.get("/v2/logging")

    changed = read(gateway.ask("POST", "/v2/logging", {"log_info": False, "log_verbose_level": 2}))

    assert before == {"log_info": True, "log_verbose_level": 0, "log_file": ""}
    assert changed == {"log_info": False, "log_verbose_level": 2, "log_file": ""}
    assert gateway.get("/v2/logging") == changed


def test_a_request_without_log_settings_changes_none(gateway: Gateway) -> None:
    before = gateway.get("/v2/logging")

    assert read(gateway.ask("POST", "/v2/logging")) == before
    assert read(gateway.ask("POST", "/v2/logging", {})) == before


@pytest.mark.parametrize("value", [1.5, None, [True], {}], ids=repr)
def test_log_settings_of_no_known_type(gateway: Gateway, value: Any) -> None:
    before = gateway.get("/v2/logging")

    refusal = gateway.refusal("POST", "/v2/logging", {"log_verbose_level": 1, "log_info": value})

    assert refusal == (400, "log setting 'log_info' is no string, integer or boolean")
    assert gateway.get("/v2/logging") == before


@pytest.mark.parametrize(("path", "model"), [("/v2/trace/setting", ""), ("/v2/models/m/trace/setting", "m")])
def test_trace_settings_are_read(gateway: Gateway, path: str, model: str) -> None:
    assert gateway.get(path) == {"trace_level": ["OFF"], "trace_rate": "1000"}
    assert gateway.control.calls == [("trace", model, {})]


@pytest.mark.parametrize(("path", "model"), [("/v2/trace/setting", ""), ("/v2/models/m/trace/setting", "m")])
def test_trace_settings_are_changed(gateway: Gateway, path: str, model: str) -> None:
    updates = {"trace_level": ["TIMESTAMPS", "TENSORS"], "trace_rate": "7", "trace_count": None}

    settings = read(gateway.ask("POST", path, updates))

    assert settings == {"trace_level": ["OFF"], "trace_rate": "1000"}
    values = {"trace_level": ["TIMESTAMPS", "TENSORS"], "trace_rate": ["7"], "trace_count": []}
    assert gateway.control.calls == [("trace", model, values)]


@pytest.mark.parametrize("value", [1, True, {}, ["OFF", 1], [None]], ids=repr)
def test_trace_settings_that_are_no_text(gateway: Gateway, value: Any) -> None:
    refusal = gateway.refusal("POST", "/v2/trace/setting", {"trace_level": value})

    assert refusal == (400, "trace setting 'trace_level' is no string and no list of strings")
    assert gateway.control.calls == []


@pytest.mark.parametrize("path", ["/v2/logging", "/v2/trace/setting", "/v2/models/m/trace/setting"])
def test_settings_that_are_no_objects(gateway: Gateway, path: str) -> None:
    assert gateway.refusal("POST", path, b"[]") == (
        400,
        "failed to parse the request JSON buffer: expected an object",
    )


# Shared memory


@pytest.mark.parametrize("kind", ["systemsharedmemory", "cudasharedmemory"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/status"),
        ("GET", "/region/r/status"),
        ("POST", "/region/r/register"),
        ("POST", "/region/r/unregister"),
        ("POST", "/unregister"),
    ],
)
def test_shared_memory_is_refused(gateway: Gateway, kind: str, method: str, path: str) -> None:
    assert gateway.refusal(method, f"/v2/{kind}{path}") == (501, SHARED_MEMORY_DISABLED)


# Paths, methods and errors


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v2", "GET"),
        ("POST", "/v2/health/ready", "GET"),
        ("GET", "/v2/models/m/infer", "POST"),
        ("DELETE", "/v2/models/m", "GET"),
        ("GET", "/v2/repository/index", "POST"),
        ("PUT", "/v2/logging", "GET, POST"),
    ],
)
def test_another_method(gateway: Gateway, method: str, path: str, allowed: str) -> None:
    response = gateway.ask(method, path)

    assert response.status == 405
    assert dict(response.headers)["Allow"] == allowed
    assert list(json.loads(bytes_of(response))) == ["error"]


@pytest.mark.parametrize(
    "path",
    ["/v1", "/v2/nothing", "/v2/models/m/nothing", "/v2/models//ready", "/v2/models/m/ready/", "", "*"],
)
def test_a_path_that_leads_nowhere(gateway: Gateway, path: str) -> None:
    status, _ = gateway.refusal("GET", path)

    assert status == 404


HTTP_CODES = {
    Status.CANCELLED: 400,
    Status.UNKNOWN: 400,
    Status.INVALID_ARGUMENT: 400,
    Status.DEADLINE_EXCEEDED: 504,
    Status.NOT_FOUND: 404,
    Status.PERMISSION_DENIED: 403,
    Status.UNAUTHENTICATED: 401,
    Status.ALREADY_EXISTS: 400,
    Status.FAILED_PRECONDITION: 409,
    Status.RESOURCE_EXHAUSTED: 429,
    Status.UNIMPLEMENTED: 501,
    Status.INTERNAL: 500,
    Status.UNAVAILABLE: 503,
}
ERRORS = [
    each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, HeadraceError)
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_each_error_has_its_code(gateway: Gateway, error: type[HeadraceError]) -> None:
    gateway.inference.errors["m"] = error("as it is: ü")

    refusal = gateway.refusal("POST", "/v2/models/m/infer", {"inputs": []})

    assert refusal == (HTTP_CODES[error.status], "as it is: ü")


def test_statuses_that_no_error_has_yet_are_told_as_well() -> None:
    for status, code in (
        (Status.PERMISSION_DENIED, 403),
        (Status.UNAUTHENTICATED, 401),
        (Status.DATA_LOSS, 500),
    ):
        error = Internal("x")
        error.status = status  # type: ignore[misc]
        assert http_status(error) == code


def test_a_bug_is_logged_and_not_told(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        status, text = gateway.refusal("POST", "/v2/models/bug/infer", {"inputs": []})

    assert status == 500
    assert "secret" not in text
    assert "a secret of /etc/headrace" in caplog.text


# Inference as an endpoint


def test_inference_names_model_and_version_by_its_path(gateway: Gateway) -> None:
    gateway.ask("POST", "/v2/models/a%20b/versions/2/infer", {"inputs": []})
    gateway.ask("POST", "/v2/models/echo/infer", {"inputs": []})

    asked = [(each.model_name, each.model_version) for each in gateway.inference.requests]
    assert asked == [("a b", "2"), ("echo", "")]


def test_inference_answers_with_the_outputs(gateway: Gateway) -> None:
    tensor = {"name": "x", "datatype": "UINT8", "shape": [1, 2], "data": [[1, 2]]}

    document = read(gateway.ask("POST", "/v2/models/echo/infer", {"id": "7", "inputs": [tensor]}))

    assert document == {
        "id": "7",
        "model_name": "echo",
        "model_version": "1",
        "outputs": [{"name": "x", "datatype": "UINT8", "shape": [1, 2], "data": [1, 2]}],
    }


def test_timings_by_header_and_by_parameter(gateway: Gateway) -> None:
    by_header = read(
        gateway.ask("POST", "/v2/models/echo/infer", {"inputs": []}, **{"headrace-timings": "true"})
    )
    by_parameter = read(
        gateway.ask("POST", "/v2/models/echo/infer", {"inputs": [], "parameters": {"headrace_timings": True}})
    )
    without = read(gateway.ask("POST", "/v2/models/echo/infer", {"inputs": []}))

    assert by_header["parameters"] == by_parameter["parameters"]
    assert by_header["parameters"]["headrace_total_us"] == 60
    assert "parameters" not in without


def test_an_answer_that_cannot_be_written_is_an_error(gateway: Gateway) -> None:
    size = b'{"inputs":[{"name":"x","datatype":"FP16","shape":[1],"parameters":{"binary_data_size":2}}]}'
    headers = {"inference-header-content-length": str(len(size))}

    response = gateway.ask("POST", "/v2/models/echo/infer", size + bytes(2), **headers)

    assert response.status == 400
    assert json.loads(bytes_of(response))["error"] == (
        "sending FP16 data via JSON is not supported. Please use the binary data format"
    )
