"""Who may call what: every endpoint of every protocol, without credentials and with some."""

import hashlib
import http.client
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request

import grpc
import pytest
import tritonclient.grpc
import tritonclient.http

from headrace.settings import GrpcSettings, HttpSettings
from headrace.transport.grpc.calls import StreamMethod
from headrace.transport.grpc.methods import build_methods
from headrace.transport.http.endpoints import build_routes
from headrace.transport.http.off_loop import OffLoop
from headrace.transport.limits import DEFAULT_LIMITS
from support import onnx_models
from support.rollouts import FakeRollouts, guarded
from support.server import ServerProcess

KEYS = {"scorer": "key-of-a-scorer", "reader": "key-of-a-reader", "operator": "key-of-an-operator"}
ACCESS = {
    "roles": {
        "scorer": {"infer": ["identity_*"]},
        "reader": {"read": ["identity_*"]},
        "operator": {"read": ["*"], "control": ["*"], "admin": True},
    },
    "keys": [
        {"name": f"the {name}", "sha256": hashlib.sha256(key.encode()).hexdigest(), "roles": [name]}
        for name, key in KEYS.items()
    ],
}
INPUTS = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}]}
# What probes ask, and the page that has nothing of this server in it.
OPEN_ROUTES = {"/", "/v2/health/live", "/v2/health/ready", "/docs", "/docs/{file}"}
OPEN_METHODS = {
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}
# Only for the tables of what there is: nobody asks it.
ROLLOUTS = guarded(FakeRollouts())
PLACES = {"model": "identity_fp32", "version": "1", "region": "r", "repository": "r", "file": "docs.js"}


@pytest.fixture(scope="module")
def access_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("access") / "access.yaml"
    path.write_text(json.dumps(ACCESS))  # JSON is YAML
    return path


@pytest.fixture(scope="module")
def server(serve, access_file):
    modes = ("--model-control-mode=explicit", "--load-model=*")
    return serve("identity_fp32", "sums", arguments=(f"--access-file={access_file}", *modes))


def ask(server, path, key=None, method="GET", body=None, header="Authorization"):
    """The status, the body and the headers of an answer."""
    value = f"Bearer {key}" if header == "Authorization" else key
    headers = {header: value} if key else {}
    request = urllib.request.Request(f"http://{server.http_url}{path}", body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers


def infer(server, model, key, **options):
    body = json.dumps(INPUTS).encode()
    return ask(server, f"/v2/models/{model}/infer", key, "POST", body, **options)


def call(server, path, key=None, data=b""):
    """The status of a gRPC call."""
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    with grpc.insecure_channel(server.grpc_url) as channel:
        try:
            channel.unary_unary(path)(data, timeout=10, metadata=metadata)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_no_route_answers_a_stranger(server):
    tried = 0
    for route in build_routes(None, None, HttpSettings(), DEFAULT_LIMITS, OffLoop(), ROLLOUTS):
        path = route.path.format(**PLACES)
        status, body, headers = ask(server, path, method=route.method)
        if route.path in OPEN_ROUTES:
            assert status == 200, path
        elif "sharedmemory" in path:
            assert status == 501, path  # whoever asks
        else:
            assert (status, headers["WWW-Authenticate"]) == (401, "Bearer"), (path, body)
            tried += 1
    assert tried > 34


@pytest.mark.parametrize("key", [None, "wrong"])
def test_no_method_answers_a_stranger(server, key):
    tried = 0
    for path, method in build_methods(None, None, GrpcSettings(), DEFAULT_LIMITS, ROLLOUTS).items():
        if (path in OPEN_METHODS and key is None) or "SharedMemory" in path:
            continue
        if isinstance(method, StreamMethod):
            metadata = (("authorization", f"Bearer {key}"),) if key else ()
            status = stream(server, path, (*metadata, ("triton_grpc_error", "true")))
        else:
            status = call(server, path, key)
        assert status is grpc.StatusCode.UNAUTHENTICATED, path
        tried += 1
    assert tried >= 25


def stream(server, path, metadata):
    with grpc.insecure_channel(server.grpc_url) as channel:
        try:
            list(channel.stream_stream(path)(iter([b""]), timeout=10, metadata=metadata))
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_what_a_key_allows_is_allowed_and_nothing_else(server):
    scorer, reader, operator = KEYS.values()
    assert infer(server, "identity_fp32", scorer)[0] == 200
    assert infer(server, "identity_fp32", scorer, header="X-API-Key")[0] == 200
    assert infer(server, "identity_fp32", reader)[0] == 403
    assert infer(server, "identity_fp32", operator)[0] == 403
    assert infer(server, "sums", scorer)[0] == 403
    assert ask(server, "/v2/models/identity_fp32/stats", reader)[0] == 200
    assert ask(server, "/v2/models/identity_fp32/stats", scorer)[0] == 403
    assert ask(server, "/v2/repository/models/sums/unload", reader, "POST")[0] == 403
    assert ask(server, "/v2/logging", reader, "POST", b'{"log_verbose_level": 1}')[0] == 403
    assert ask(server, "/v2/logging", operator, "POST", b'{"log_verbose_level": 0}')[0] == 200


def test_a_model_that_a_caller_may_not_use_is_as_one_that_there_is_not(server):
    for key in (KEYS["scorer"], KEYS["reader"]):
        there, missing = (infer(server, name, key) for name in ("sums", "nixx"))
        assert there[0] == missing[0] == 403
        assert there[1].replace(b"sums", b"nixx") == missing[1]
        assert ask(server, "/v2/models/sums/ready", key)[0] == 403
        assert ask(server, "/v2/models/nixx/ready", key)[0] == 403
    health = b"\x0a\x04"
    assert call(server, "/grpc.health.v1.Health/Check", data=health + b"sums") is grpc.StatusCode.NOT_FOUND


def test_lists_have_what_the_caller_may_know(server):
    reader, operator = KEYS["reader"], KEYS["operator"]
    for key, names in ((reader, {"identity_fp32"}), (operator, {"identity_fp32", "sums"})):
        index = json.loads(ask(server, "/v2/repository/index", key, "POST")[1])
        assert {entry["name"] for entry in index} == names
        statistics = json.loads(ask(server, "/v2/models/stats", key)[1])["model_stats"]
        assert {entry["name"] for entry in statistics} == names
        assert set(json.loads(ask(server, "/v1/models", key)[1])["models"]) == names
        described = json.loads(ask(server, "/openapi.json", key)[1])
        assert set(described["components"]["schemas"]["Model"]["enum"]) == names


@pytest.mark.parametrize(
    "path",
    [
        "//v2/models/identity_fp32",
        "/v2//models/identity_fp32",
        "/V2/models/identity_fp32",
        "/v2/models/identity_fp32/",
        "/v2/models/identity_fp32;x",
        "/v2/./models/identity_fp32",
        "/v2/health/../models/identity_fp32",
        "/v2/health/ready/../../models/identity_fp32",
        "/v2%2fmodels%2fidentity_fp32",
        "/v2/models/%69dentity_fp32",
        "/v2/models/identity_fp32%00",
        "/v2/models/identity_fp32?x=/v2/health/ready",
        "http://x/v2/models/identity_fp32",
    ],
)
def test_no_trick_with_a_path_goes_round_it(server, path):
    connection = http.client.HTTPConnection(server.http_url, timeout=10)
    connection.request("GET", path)
    assert connection.getresponse().status in (400, 401, 404)
    connection.close()


def test_headers_are_the_same_in_any_case_and_two_of_them_are_none(server):
    for name in ("AUTHORIZATION", "authorization"):
        request = urllib.request.Request(f"http://{server.http_url}/v2")
        request.headers = {name: f"bEaReR {KEYS['reader']}"}
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200
    connection = http.client.HTTPConnection(server.http_url, timeout=10)
    connection.putrequest("GET", "/v2")
    for key in (KEYS["reader"], "other"):
        connection.putheader("Authorization", f"Bearer {key}")
    connection.endheaders()
    assert connection.getresponse().status == 401
    connection.close()


@pytest.mark.parametrize("keys", [("reader", "wrong"), ("wrong", "reader"), ("reader", "scorer")])
def test_two_credentials_of_a_grpc_call_are_none(server, keys):
    metadata = [("authorization", f"Bearer {KEYS.get(key, key)}") for key in keys]
    with grpc.insecure_channel(server.grpc_url) as channel, pytest.raises(grpc.RpcError) as refused:
        method = channel.unary_unary("/inference.GRPCInferenceService/ServerMetadata")
        method(b"", timeout=10, metadata=metadata)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_keys_in_the_url_are_none(server):
    assert ask(server, f"/v2?api_key={KEYS['reader']}")[0] == 401


def test_metrics_are_for_who_may_read_of_every_model(server):
    for key, status in ((None, 401), ("wrong", 401), (KEYS["reader"], 403), (KEYS["operator"], 200)):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(server.metrics_url, headers=headers)
            ) as answer:
                assert answer.status == status
        except urllib.error.HTTPError as error:
            with error:
                assert error.code == status


def test_tritons_clients_send_keys_as_headers(server):
    headers = {"authorization": f"Bearer {KEYS['reader']}"}
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        assert client.get_model_metadata("identity_fp32", headers=headers).name == "identity_fp32"
    with tritonclient.http.InferenceServerClient(server.http_url) as client:
        assert client.get_model_metadata("identity_fp32", headers=headers)["name"] == "identity_fp32"


def test_keys_are_in_no_log(server):
    infer(server, "identity_fp32", KEYS["scorer"])
    infer(server, "identity_fp32", "wrong-key-of-somebody")
    assert not [key for key in (*KEYS.values(), "wrong-key-of-somebody") if key in server.log]


def test_a_new_key_works_and_one_that_is_taken_back_does_not_within_a_second(tmp_path):
    onnx_models.write_models(tmp_path / "models", "identity_fp32")
    path = tmp_path / "access.yaml"
    path.write_text(json.dumps(ACCESS))
    made = command("key", "somebody", "--role", "scorer")
    key = made.split()[1]
    sha256 = made.split("sha256: ")[1].split()[0]
    with ServerProcess(tmp_path / "models", f"--access-file={path}") as server:
        assert infer(server, "identity_fp32", key)[0] == 401
        mine = {"name": "somebody", "sha256": sha256, "roles": ["scorer"]}
        path.write_text(json.dumps({**ACCESS, "keys": [mine]}))
        time.sleep(1.5)
        assert infer(server, "identity_fp32", key)[0] == 200
        assert infer(server, "identity_fp32", KEYS["scorer"])[0] == 401


def test_commands_take_a_key(server):
    shown = command("models", "--json", "--url", server.grpc_url, "--api-key", KEYS["reader"])
    assert [model["name"] for model in json.loads(shown)] == ["identity_fp32"]


def command(*words):
    ran = subprocess.run(
        (sys.executable, "-m", "headrace.cli.main", *words), capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("header", [("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.example")])
def test_pages_of_other_sites_change_nothing(server, header):
    request = urllib.request.Request(f"http://{server.http_url}/v2/repository/models/sums/unload", b"")
    request.headers = {header[0]: header[1], "Authorization": f"Bearer {KEYS['operator']}"}
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    with refused.value:
        assert refused.value.code == 403
