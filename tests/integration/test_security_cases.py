"""Who gets at what, whatever they try: every entrance, with every kind of credentials that do not do."""

import hashlib
import hmac
import http.client
import json
import queue
import time
import urllib.request
from contextlib import ExitStack, closing
from datetime import date
from pathlib import Path

import grpc
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tritonclient.grpc import service_pb2 as pb

from headrace.pb.headrace.v1 import admin_pb2, rollouts_pb2
from headrace.settings import GrpcSettings, HttpSettings
from headrace.transport.grpc.methods import build_methods
from headrace.transport.http.endpoints import build_routes
from headrace.transport.http.off_loop import OffLoop
from headrace.transport.limits import DEFAULT_LIMITS
from support import onnx_models
from support.auditing import records
from support.calling import INFERENCE, bearer, connect, over_grpc, over_http
from support.certificates import Authority
from support.rollouts import FakeRollouts, guarded
from support.server import ServerProcess
from support.tokens import base64url, jwks, signing_key, unsigned

MINE, THEIRS, MISSING = "own-scores", "payroll-forecast", "nothing-at-all"
NAMES = ("mine", "theirs", "reader", "loader", "operator", "late")
KEYS = {name: f"key-of-{name}-0123456789" for name in NAMES}
EVERYTHING = {"infer": ["*"], "read": ["*"], "control": ["*"], "admin": True}
SIGNING = signing_key("RS256", "first")
ISSUER = {"issuer": "https://login.example", "audience": "headrace", "jwks": "jwks.json"}
ACCESS = {
    "roles": {
        "mine": {"infer": [MINE], "read": [MINE], "control": [MINE]},
        "theirs": {"infer": [THEIRS], "read": [THEIRS], "control": [THEIRS]},
        "reader": {"infer": ["*"], "read": ["*"]},
        "loader": {"control": ["*"]},
        "operator": EVERYTHING,
        "late": EVERYTHING,
    },
    "keys": [
        {"name": f"caller-{name}", "sha256": hashlib.sha256(key.encode()).hexdigest(), "roles": [name]}
        | ({"expires": date(2020, 1, 1)} if name == "late" else {})
        for name, key in KEYS.items()
    ],
    "tokens": [{**ISSUER, "roles": ["operator"]}],
}
EXPLICIT = ("--model-control-mode=explicit", "--load-model=*")
INFER = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}]}'
# What is open to everybody; what is not done, whoever asks.
OPEN_ROUTES = {"/", "/v2/health/live", "/v2/health/ready", "/docs", "/docs/{file}"}
OPEN_METHODS = {"ServerLive", "ServerReady", "Check", "List", "Watch", "ServerReflectionInfo"}
NOT_DONE = ("SharedMemory", "sharedmemory", "{repository}")
# Only for the tables of what there is: nobody asks it.
ROLLOUTS = guarded(FakeRollouts())
BODIES = {
    "/infer": INFER,
    ":predict": b'{"instances": [[1]]}',
    "/v2/logging": b'{"log_verbose_level": 1}',
    "/trace/setting": b'{"trace_level": ["OFF"]}',
}


def token(key=SIGNING, **changed):
    return key.token({**claims(), **changed})


def claims():
    return {"iss": ISSUER["issuer"], "aud": "headrace", "sub": "ann", "exp": time.time() + 600}


def confused(secret):
    """A token that is signed with the issuer's public key as a shared secret."""
    signed = unsigned({"alg": "HS256", "typ": "JWT", "kid": "first"}, claims())
    return f"{signed}.{base64url(hmac.digest(secret, signed.encode(), 'sha256'))}"


def public(encoding):
    return SIGNING.public.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


WRONG = {
    "nothing": {},
    "an unknown key": bearer("key-of-nobody"),
    "an unknown key as X-API-Key": {"x-api-key": "key-of-nobody"},
    "a key in capitals": bearer(KEYS["operator"].upper()),
    "the digest of a key": bearer(hashlib.sha256(KEYS["operator"].encode()).hexdigest()),
    "a key that has expired": bearer(KEYS["late"]),
    "a token that has expired": bearer(token(exp=time.time() - 60)),
    "a token of tomorrow": bearer(token(nbf=time.time() + 86400)),
    "a token for another server": bearer(token(aud="another")),
    "a token of another issuer": bearer(token(iss="https://attacker.example")),
    "a token of another key": bearer(token(signing_key("RS256", "first"))),
    "a token without a signature": bearer(f"{unsigned({'alg': 'none', 'kid': 'first'}, claims())}."),
    "a token signed with the public key as PEM": bearer(confused(public(serialization.Encoding.PEM))),
    "a token signed with the public key as DER": bearer(confused(public(serialization.Encoding.DER))),
    "a token signed with the public key as JWK": bearer(confused(json.dumps(SIGNING.jwk()).encode())),
}


def write_access(folder, access=ACCESS):
    (folder / "jwks.json").write_text(jwks(SIGNING))
    path = folder / "access.yaml"
    path.write_text(yaml.safe_dump(access))
    return path


def write_repository(folder):
    for name in (MINE, THEIRS):
        onnx_models.write(folder, name, onnx_models.identity("FP32"))
    return folder


@pytest.fixture(scope="module")
def server(serve, tmp_path_factory):
    access_file = write_access(tmp_path_factory.mktemp("access"))
    repository = write_repository(tmp_path_factory.mktemp("models"))
    arguments = (f"--access-file={access_file}", *EXPLICIT, "--log-verbose-level=1")
    return serve(repository=repository, arguments=arguments)


@pytest.fixture(scope="module")
def polling(serve):
    return serve("identity_fp32")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts a server whose access file may change; gives it and the folder of that file."""
    with ExitStack() as stack:

        def start(name, *arguments):
            folder = tmp_path_factory.mktemp(name)
            access_file = write_access(folder)
            started = ServerProcess(
                write_repository(folder / "models"), f"--access-file={access_file}", *EXPLICIT, *arguments
            )
            return stack.enter_context(started), folder

        yield start


@pytest.fixture
def untouched(server):
    """The server, which has to stay as it is: no model executed, loaded or gone, no setting changed."""
    before = state(server)
    yield server
    assert state(server) == before


def state(server):
    """What was executed, what is loaded and what is set, as the operator sees it."""
    paths = ("/v2/models/stats", "/v2/logging", "/v2/trace/setting")
    seen = [over_http(server, path, KEYS["operator"]) for path in paths]
    index = over_http(server, "/v2/repository/index", KEYS["operator"], method="POST")
    assert [answer.status for answer in (*seen, index)] == [200] * 4
    return [answer.text for answer in (*seen, index)]


def routes():
    """(method, path with its places, body) of each endpoint that is not for everybody."""
    for route in build_routes(None, None, HttpSettings(), DEFAULT_LIMITS, OffLoop(), ROLLOUTS):
        if route.path in OPEN_ROUTES or any(part in route.path for part in NOT_DONE):
            continue
        found = [body for ending, body in BODIES.items() if route.path.endswith(ending)]
        body = found[0] if found else b"[[1]]" if "/v1/predict" in route.path else b""
        yield route.method, route.path, body if route.method == "POST" else b""


def methods(model):
    """(path, message) of each method that is not for everybody, each as would be answered."""
    message = infer_message(model)
    named = {
        "ModelInfer": message,
        "ModelStreamInfer": message,
        "ModelReady": pb.ModelReadyRequest(name=model),
        "ServerMetadata": pb.ServerMetadataRequest(),
        "ModelMetadata": pb.ModelMetadataRequest(name=model),
        "ModelConfig": pb.ModelConfigRequest(name=model),
        "ModelStatistics": pb.ModelStatisticsRequest(name=model),
        "RepositoryIndex": pb.RepositoryIndexRequest(),
        "RepositoryModelLoad": pb.RepositoryModelLoadRequest(model_name=model),
        "RepositoryModelUnload": pb.RepositoryModelUnloadRequest(model_name=model),
        "TraceSetting": trace_message(model),
        "LogSettings": log_message(),
        "Batches": admin_pb2.BatchesRequest(model_name=model),
        "Models": admin_pb2.ModelsRequest(model_name=model),
        **rollout_messages(model),
    }
    for path in build_methods(None, None, GrpcSettings(), DEFAULT_LIMITS, ROLLOUTS):
        name = path.rpartition("/")[2]
        if name not in OPEN_METHODS and not any(part in name for part in NOT_DONE):
            yield path, named[name]


def infer_message(model):
    message = pb.ModelInferRequest(model_name=model)
    message.inputs.add(name="x", datatype="FP32", shape=[1, 1]).contents.fp32_contents.append(1)
    return message


def rollout_messages(model):
    order = rollouts_pb2.RolloutRequest(model_name=model)
    route = rollouts_pb2.RouteRequest(model_name=model)
    setting = rollouts_pb2.SetRouteRequest(model_name=model)
    setting.route.weights[1] = 100
    return {
        "Start": rollouts_pb2.StartRolloutRequest(model_name=model),
        "Status": rollouts_pb2.RolloutStatusRequest(model_name=model),
        **dict.fromkeys(("Pause", "Resume", "Rollback", "Abort"), order),
        "Promote": rollouts_pb2.PromoteRequest(model_name=model),
        "History": rollouts_pb2.RolloutHistoryRequest(model_name=model),
        "Explain": rollouts_pb2.ExplainRolloutRequest(model_name=model),
        "Compare": rollouts_pb2.CompareRequest(model_name=model, live_version="1", shadow_version="2"),
        **dict.fromkeys(("GetRoute", "ClearRoute"), route),
        "SetRoute": setting,
    }


def trace_message(model):
    message = pb.TraceSettingRequest(model_name=model)
    message.settings["trace_level"].value.append("OFF")
    return message


def log_message():
    message = pb.LogSettingsRequest()
    message.settings["log_verbose_level"].uint32_param = 1
    return message


def infer(server, model, key):
    return over_http(server, f"/v2/models/{model}/infer", key, method="POST", body=INFER)


AS_STATUS = (("triton_grpc_error", "true"),)


# Without credentials, and with wrong ones.


@pytest.mark.parametrize("shown", WRONG.values(), ids=WRONG)
def test_no_endpoint_does_anything_for_whoever_shows(untouched, shown):
    tried = 0
    for method, path, body in routes():
        path = path.format(model=MINE, version="1")
        answer = over_http(untouched, path, method=method, body=body, headers=shown)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), (path, answer.text)
        tried += 1
    assert tried > 34


@pytest.mark.parametrize("shown", WRONG.values(), ids=WRONG)
def test_no_method_does_anything_for_whoever_shows(untouched, channel, shown):
    tried = 0
    for path, message in methods(MINE):
        answer = over_grpc(channel, path, message, metadata=(*shown.items(), *AS_STATUS))
        assert answer.status == "UNAUTHENTICATED", (path, answer)
        tried += 1
    assert tried >= 27


def test_clocks_may_differ_by_seconds_and_not_by_minutes(server):
    now = time.time()
    for changed, status in (
        ({"exp": now - 15}, 200),
        ({"exp": now - 90}, 401),
        ({"nbf": now + 15}, 200),
        ({"nbf": now + 90}, 401),
        ({"iat": now + 15}, 200),
        ({"iat": now + 90}, 401),
    ):
        assert over_http(server, f"/v2/models/{MINE}", token(**changed)).status == status, changed


# What is neither JSON, nor compressed as its header says.
MALFORMED = [(b"{", {}), (b"[" * 2000, {}), (b"no gzip", {"content-encoding": "gzip"})]


@pytest.mark.parametrize(("body", "headers"), MALFORMED)
def test_strangers_are_refused_before_it_is_told_what_is_wrong_with_their_bodies(untouched, body, headers):
    tried = 0
    for method, path, _ in routes():
        path = path.format(model=MINE, version="1")
        answer = over_http(untouched, path, method=method, body=body, headers=headers)
        assert answer.status == 401, (path, answer.text)
        tried += 1
    assert tried > 34


@pytest.mark.parametrize(("body", "headers"), MALFORMED)
def test_callers_are_refused_before_it_is_told_what_is_wrong_with_their_bodies(untouched, body, headers):
    for method, path, _ in routes():
        if "{model}" in path:
            way = path.format(model=THEIRS, version="1")
            answer = over_http(untouched, way, KEYS["mine"], method=method, body=body, headers=headers)
            assert answer.status == 403, (path, answer.text)


# With those of somebody else.


def test_no_endpoint_tells_another_tenant_of_a_model_or_does_anything_to_it(untouched):
    tried = 0
    for method, path, body in routes():
        if "{model}" not in path:
            continue
        there, missing = (
            over_http(
                untouched, path.format(model=model, version="1"), KEYS["mine"], method=method, body=body
            )
            for model in (THEIRS, MISSING)
        )
        assert there.status == missing.status == 403, (path, there.text)
        assert there.text.replace(THEIRS, MISSING) == missing.text
        tried += 1
    assert tried > 28


def test_no_method_tells_another_tenant_of_a_model_or_does_anything_to_it(untouched, channel):
    tried = 0
    for (path, message), (_, absent) in zip(methods(THEIRS), methods(MISSING), strict=True):
        if message == absent:  # it names no model
            continue
        there, missing = (
            over_grpc(channel, path, each, KEYS["mine"], metadata=AS_STATUS) for each in (message, absent)
        )
        assert there.status == missing.status == "PERMISSION_DENIED", (path, there)
        assert there.text.replace(THEIRS, MISSING) == missing.text
        tried += 1
    assert tried >= 24


def test_settings_of_the_server_are_for_administrators(untouched, channel):
    for key in ("mine", "reader", "loader"):
        for path, body in (
            ("/v2/logging", BODIES["/v2/logging"]),
            ("/v2/trace/setting", b'{"log_frequency": "0"}'),
        ):
            answer = over_http(untouched, path, KEYS[key], method="POST", body=body)
            assert answer.status == 403, (key, path, answer.text)
        for method, message in (("LogSettings", log_message()), ("TraceSetting", trace_message(""))):
            assert over_grpc(channel, INFERENCE + method, message, KEYS[key]).status == "PERMISSION_DENIED"


def test_what_lists_models_leaves_out_those_of_others(server, channel):
    """Health and reflection among them: they answer strangers, too."""
    paths = (
        "/v2",
        "/v2/models/stats",
        "/v1/models",
        "/openapi.json",
        "/docs",
        "/v2/trace/setting",
        "/v2/logging",
    )
    told = [over_http(server, path, KEYS["mine"]) for path in paths]
    told.append(over_http(server, "/v2/repository/index", KEYS["mine"], method="POST"))
    for path, message in methods(""):
        if not path.endswith(("Infer", "Load", "Unload", "LogSettings", "TraceSetting")):
            told.append(over_grpc(channel, path, message, KEYS["mine"]))
    for key in (None, KEYS["mine"]):
        told.append(over_grpc(channel, "/grpc.health.v1.Health/List", b"", key))
        told += [reflected(channel, asked, key) for asked in REFLECTION]
    assert [answer.status for answer in told].count("OK") >= 10
    assert not [answer for answer in told if THEIRS in answer.text]
    assert [answer for answer in told if MINE in answer.text]


REFLECTION = (
    reflection_pb2.ServerReflectionRequest(list_services=""),
    reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService"),
    reflection_pb2.ServerReflectionRequest(file_by_filename="grpc_service.proto"),
    reflection_pb2.ServerReflectionRequest(file_containing_symbol=MISSING),
)


def reflected(channel, asked, key):
    return over_grpc(channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", asked, key)


@pytest.mark.parametrize("key", [None, "mine"])
def test_health_knows_models_of_others_as_little_as_those_that_are_not_there(channel, key):
    service = "/grpc.health.v1.Health/"
    for model in (THEIRS, MISSING):
        asked = health_pb2.HealthCheckRequest(service=model)
        checked = over_grpc(channel, service + "Check", asked, KEYS.get(key))
        assert (checked.status, checked.text) == ("NOT_FOUND", f"unknown service '{model}'")
        watching = channel.unary_stream(service + "Watch")(
            asked.SerializeToString(), timeout=20, metadata=tuple(bearer(KEYS.get(key)).items())
        )
        status = health_pb2.HealthCheckResponse.FromString(next(iter(watching))).status
        assert status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watching.cancel()


# By detours.


DETOURS = [
    "/v2/models/{mine}/../{theirs}/infer",
    "/v2/models/{mine}/versions/../../{theirs}/infer",
    "/v2/models/{mine}%2f..%2f{theirs}/infer",
    "/v2/models/{mine}%2f%2e%2e%2f{theirs}/infer",
    "/v2/models/{theirs}%2f..%2f{mine}/infer",
    "/v2/models/./{theirs}/infer",
    "/v2/models//{theirs}/infer",
    "//v2/models/{theirs}/infer",
    "/v2/models/{theirs}/infer/",
    "/v2/models/{theirs}//infer",
    "/v2/models/{theirs};{mine}/infer",
    "/v2/models/{mine};/{theirs}/infer",
    "/v2/models/{theirs}%00/infer",
    "/v2/models/{theirs}%00{mine}/infer",
    "/v2/models/{theirs}%20/infer",
    "/v2/models/%70ayroll-forecast/infer",
    "/v2/models/%2570ayroll-forecast/infer",
    "/v2/models/PAYROLL-FORECAST/infer",
    "/v2/models/{theirs}?model={mine}",
    "/v2/models/{theirs}/infer?model={mine}",
    "/v2/models/{mine}?/../{theirs}/infer",
    "/v2/models/{mine}%3f/infer",
    "/v2/models/{mine},{theirs}/infer",
    "/v2/models/{theirs}%EF%BC%8F/infer",
    "/v1/models/{theirs}:predict",
    "/v1/models/{theirs}:predict:predict",
    "/v1/models/{mine}:predict%2f..%2f{theirs}:predict",
    "/v1/models/{mine}/../{theirs}:predict",
    "/v1/predict/{theirs}",
    "/v1/predict/{theirs}/",
    "/v1/predict/{mine}/../{theirs}",
    "/v1/predict/{theirs}/versions/1",
    "http://localhost/v2/models/{theirs}/infer",
    "http://{mine}@localhost/v2/models/{theirs}/infer",
]


@pytest.mark.parametrize("path", DETOURS)
def test_no_detour_over_http_leads_to_the_model_of_others(untouched, path):
    for body in (INFER, b'{"instances": [[1]]}', b"[[1]]"):
        way = path.format(mine=MINE, theirs=THEIRS)
        answer = over_http(untouched, way, KEYS["mine"], method="POST", body=body)
        assert answer.status in (400, 403, 404, 405), answer.text


def test_a_body_and_headers_do_not_choose_another_model(server):
    body = json.dumps({**json.loads(INFER), "model_name": THEIRS, "model": THEIRS, "model_version": "7"})
    headers = {"x-original-url": f"/v2/models/{THEIRS}/infer", "x-http-method-override": "DELETE"}
    path = f"/v2/models/{MINE}/infer"
    answer = over_http(server, path, KEYS["mine"], method="POST", body=body.encode(), headers=headers)
    assert json.loads(answer.text)["model_name"] == MINE


@pytest.mark.parametrize(
    "path",
    [
        "/inference.GRPCInferenceService//ModelInfer",
        "//inference.GRPCInferenceService/ModelInfer",
        "/inference.GRPCInferenceService/ModelInfer/",
        "/inference.GRPCInferenceService/modelinfer",
        "/inference.grpcinferenceservice/ModelInfer",
        "/inference.GRPCInferenceService/ModelInfer%00",
        "/inference.GRPCInferenceService/%4dodelInfer",
        "/inference.GRPCInferenceService/./ModelInfer",
        "/inference.GRPCInferenceService/ServerLive/../ModelInfer",
        "/inference.GRPCInferenceService;x/ModelInfer",
        "/GRPCInferenceService/ModelInfer",
        "/inference.v2.GRPCInferenceService/ModelInfer",
        "/nvidia.inferenceserver.GRPCService/ModelInfer",
        "/grpc.health.v1.Health/ModelInfer",
        "/v2/models/payroll-forecast/infer",
    ],
)
def test_no_other_name_of_a_method_leads_anywhere(untouched, channel, path):
    """Not even for who may do everything: there is one name for each."""
    answer = over_grpc(channel, path, infer_message(THEIRS), KEYS["operator"])
    assert answer.status == "UNIMPLEMENTED"


def test_a_stream_that_was_let_in_reaches_no_other_model(server, channel):
    executed = executions(server, THEIRS)
    asked = [infer_message(model) for model in (MINE, THEIRS, MINE)]
    answers = [
        pb.ModelStreamInferResponse.FromString(data)
        for data in channel.stream_stream(INFERENCE + "ModelStreamInfer")(
            iter([each.SerializeToString() for each in asked]),
            timeout=20,
            metadata=tuple(bearer(KEYS["mine"]).items()),
        )
    ]
    assert [bool(answer.error_message) for answer in answers] == [False, True, False]
    assert "lacks the permission 'infer'" in answers[1].error_message
    assert executions(server, THEIRS) == executed


def executions(server, model):
    answer = over_http(server, f"/v2/models/{model}/stats", KEYS["operator"])
    (statistics,) = json.loads(answer.text)["model_stats"]
    return statistics["inference_count"], statistics["execution_count"]


# Keys.


@pytest.mark.parametrize("name", ["Authorization", "X-API-Key"])
def test_two_credentials_over_http_and_to_the_metrics_are_none(server, name):
    prefix = "Bearer " if name == "Authorization" else ""
    for keys in (("operator", "wrong"), ("wrong", "operator"), ("operator", "reader")):
        for address, path in ((server.http_url, "/v2"), (f"127.0.0.1:{server.metrics_port}", "/metrics")):
            with closing(http.client.HTTPConnection(address, timeout=10)) as connection:
                connection.putrequest("GET", path)
                for key in keys:
                    connection.putheader(name, prefix + KEYS.get(key, key))
                connection.endheaders()
                with connection.getresponse() as answer:
                    assert answer.status == 401, (path, keys)


def test_a_right_key_does_not_help_a_wrong_one(server, channel):
    """A proxy that adds a key of its own must not let in who brought another."""
    shown = {**bearer("key-of-nobody"), "x-api-key": KEYS["operator"]}
    assert over_http(server, "/v2", headers=shown).status == 401
    answer = over_grpc(channel, INFERENCE + "ServerMetadata", metadata=tuple(shown.items()))
    assert answer.status == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    "path",
    [
        "/v2?key={key}",
        "/v2?api_key={key}",
        "/v2?apikey={key}",
        "/v2?x-api-key={key}",
        "/v2?token={key}",
        "/v2?authorization=Bearer%20{key}",
        "/v2;api_key={key}",
        "/v2#{key}",
        "http://{key}@127.0.0.1/v2",
        "http://operator:{key}@127.0.0.1/v2",
    ],
)
def test_a_key_in_the_url_is_refused_and_kept_out_of_the_answer(server, path):
    answer = over_http(server, path.format(key=KEYS["operator"]), headers={"Host": "localhost"})
    assert answer.status in (400, 401, 404)
    if answer.status != 404:  # there it is part of a path, which is told back to who sent it
        assert KEYS["operator"] not in answer.text


def test_keys_and_tokens_are_in_no_log_no_answer_no_metric_and_no_record(start):
    server, _ = start("secrets", "--log-verbose-level=2", "--audit-inference-sample-rate=1")
    shown = [*KEYS.values(), "key-of-nobody-0123456789", token(), token(exp=1), token(aud="another")]
    told = []
    with connect(server) as channel:
        for text in shown:
            for headers in (bearer(text), {"x-api-key": text}, {"authorization": text}):
                told += [
                    over_http(
                        server, f"/v2/models/{THEIRS}/infer", method="POST", body=INFER, headers=headers
                    ),
                    over_http(server, "/v2/nowhere", headers=headers),
                    over_grpc(
                        channel, INFERENCE + "ModelInfer", infer_message(MINE), metadata=headers.items()
                    ),
                ]
        told.append(over_http(server, f"/v2/models/{MINE}", KEYS["operator"]))
    request = urllib.request.Request(server.metrics_url, headers=bearer(KEYS["operator"]))
    with urllib.request.urlopen(request, timeout=10) as scraped:
        metrics = scraped.read().decode()
    assert server.terminate() == 0
    kept = b"".join(path.read_bytes() for path in server.state_dir.rglob("*") if path.is_file())
    places = (*[answer.text for answer in told], server.log, metrics, kept.decode("latin-1"))
    signatures = [text.rpartition(".")[2] for text in shown]
    assert not [text for text in signatures if any(text in place for place in places)]


@pytest.fixture(scope="module")
def after_a_second(start):
    """What callers with open connections, calls and streams get a second after their key was taken back."""
    server, folder = start("revoked")
    told = {}
    with connect(server) as channel, closing(http.client.HTTPConnection(server.http_url, timeout=10)) as kept:
        stream = Stream(channel, KEYS["mine"])
        watching = channel.unary_stream("/grpc.health.v1.Health/Watch")(
            health_pb2.HealthCheckRequest(service=MINE).SerializeToString(),
            timeout=4,
            metadata=tuple(bearer(KEYS["mine"]).items()),
        )
        assert status_of(next(watching)) == health_pb2.HealthCheckResponse.SERVING
        assert (ask_again(kept), stream.ask()) == (200, "")
        executed = executions(server, MINE)

        others = [each for each in ACCESS["keys"] if each["name"] != "caller-mine"]
        write_access(folder, {**ACCESS, "keys": others})
        time.sleep(1)

        told["connection"] = ask_again(kept)
        told["call"] = over_grpc(channel, INFERENCE + "ModelInfer", infer_message(MINE), KEYS["mine"]).status
        told["stream"] = stream.ask()
        told["executed"] = executions(server, MINE) != executed
        for action in ("unload", "load"):
            path = f"/v2/repository/models/{MINE}/{action}"
            assert over_http(server, path, KEYS["operator"], method="POST").status == 200
        told["watch"] = set()
        with pytest.raises(grpc.RpcError):
            for data in watching:
                told["watch"].add(status_of(data))
        stream.end()
    return told


def status_of(data):
    return health_pb2.HealthCheckResponse.FromString(data).status


def ask_again(connection):
    connection.request("POST", f"/v2/models/{MINE}/infer", INFER, bearer(KEYS["mine"]))
    with connection.getresponse() as answer:
        answer.read()
        return answer.status


def test_a_key_that_is_taken_back_is_refused_within_a_second_on_open_connections(after_a_second):
    assert (after_a_second["connection"], after_a_second["call"]) == (401, "UNAUTHENTICATED")


def test_a_key_that_is_taken_back_is_refused_within_a_second_on_open_streams(after_a_second):
    assert after_a_second["stream"] != ""
    assert not after_a_second["executed"]


def test_a_health_watch_tells_no_more_once_its_key_is_taken_back(after_a_second):
    assert after_a_second["watch"] <= {health_pb2.HealthCheckResponse.SERVICE_UNKNOWN}


class Stream:
    """A stream of requests that stays open."""

    def __init__(self, channel, key):
        self._asked = queue.SimpleQueue()
        self._answers = channel.stream_stream(INFERENCE + "ModelStreamInfer")(
            iter(self._asked.get, None), timeout=60, metadata=tuple(bearer(key).items())
        )

    def ask(self):
        """What is wrong, or nothing."""
        self._asked.put(infer_message(MINE).SerializeToString())
        try:
            return pb.ModelStreamInferResponse.FromString(next(self._answers)).error_message
        except grpc.RpcError as error:
            return error.details()

    def end(self):
        self._asked.put(None)
        self._answers.cancel()


# Loading and unloading.


def test_nobody_loads_or_unloads_unless_the_operator_wants_that(polling):
    unwanted = "explicit model load / unload is not allowed if polling is enabled"
    with connect(polling) as channel:
        for action in ("load", "unload"):
            path = f"/v2/repository/models/identity_fp32/{action}"
            answer = over_http(polling, path, method="POST")
            assert (answer.status, json.loads(answer.text)["error"]) == (503, unwanted)
            method = f"{INFERENCE}RepositoryModel{action.title()}"
            for message in (
                pb.RepositoryModelLoadRequest(model_name="identity_fp32"),
                pb.RepositoryModelLoadRequest(repository_name="identity_fp32"),  # as KServe has it
            ):
                answer = over_grpc(channel, method, message)
                assert (answer.status, answer.text) == ("UNAVAILABLE", unwanted)
    assert over_http(polling, "/v2/models/identity_fp32/ready").status == 200


def test_loading_is_a_permission_of_its_own(server, channel):
    for key, status, code in (("reader", 403, "PERMISSION_DENIED"), ("loader", 200, "OK")):
        load = over_http(server, f"/v2/repository/models/{MINE}/load", KEYS[key], method="POST")
        message = pb.RepositoryModelLoadRequest(model_name=MINE)
        assert load.status == status
        assert over_grpc(channel, INFERENCE + "RepositoryModelLoad", message, KEYS[key]).status == code
        assert over_grpc(channel, INFERENCE + "LogSettings", log_message(), KEYS[key]).status != "OK"
    assert infer(server, MINE, KEYS["loader"]).status == 403
    assert over_http(server, f"/v2/models/{MINE}/stats", KEYS["loader"]).status == 403


@pytest.mark.parametrize("host", ["attacker.example", "attacker.example:8002", "localhost.attacker.example"])
def test_no_port_is_reached_by_a_web_page_under_a_name_of_its_own(polling, host):
    """As DNS rebinding would have it: the page's name points to this machine."""
    for address, path in ((polling.http_url, "/v2"), (f"127.0.0.1:{polling.metrics_port}", "/metrics")):
        with closing(http.client.HTTPConnection(address, timeout=10)) as connection:
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            assert (answer.status, b"identity_fp32" in answer.read()) == (403, False), path


# What is recorded.


@pytest.fixture(scope="module")
def recorded(start):
    """The audit log of a server where one caller was denied everything, and another changed what there is.

    Over gRPC the model was that of others, over HTTP one that is not there; of a second 20 denials are kept.
    """
    server, _ = start("recorded")
    operator = KEYS["operator"]
    with connect(server) as channel:
        for at, (path, message) in enumerate(methods(THEIRS)):
            over_grpc(channel, path, message, KEYS["mine"])
            time.sleep(1.0 if at % 15 == 0 else 0)
        for at, (method, path, body) in enumerate(routes()):
            path = path.format(model=MISSING, version="1")
            over_http(server, path, KEYS["mine"], method=method, body=body)
            time.sleep(1.0 if at % 15 == 0 else 0)
        for method, message in (
            ("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name=MINE)),
            ("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name=MINE)),
            ("TraceSetting", trace_message(MINE)),
            ("LogSettings", log_message()),
        ):
            assert over_grpc(channel, INFERENCE + method, message, operator).status == "OK"
    for path, body in (
        (f"/v2/repository/models/{MINE}/unload", b""),
        (f"/v2/repository/models/{MINE}/load", b""),
        (f"/v2/models/{MINE}/trace/setting", BODIES["/trace/setting"]),
        ("/v2/logging", BODIES["/v2/logging"]),
    ):
        assert over_http(server, path, operator, method="POST", body=body).status == 200
    assert server.terminate() == 0
    return records(server.state_dir)


ROLLOUT_ACTIONS = {
    *("rollout_start", "rollout_status", "rollout_pause", "rollout_resume", "rollout_promote"),
    *("rollout_rollback", "rollout_abort", "rollout_history", "rollout_explain", "rollout_compare"),
    *("route", "route_set", "route_clear"),
}
OF_A_MODEL = {
    "infer",
    "model_ready",
    "model_metadata",
    "model_config",
    "statistics",
    "load",
    "unload",
    "trace_settings",
    *ROLLOUT_ACTIONS,
}


@pytest.mark.parametrize(
    ("model", "actions"),
    [(THEIRS, OF_A_MODEL | {"batches", "models"}), (MISSING, OF_A_MODEL)],
    ids=["gRPC", "HTTP"],
)
def test_each_denial_is_recorded_with_who_what_and_why(recorded, model, actions):
    denied = [each for each in recorded if each["model"] == model]
    assert {each["action"] for each in denied} == actions
    for each in denied:
        assert (each["caller"], each["proof"], each["roles"]) == ("caller-mine", "key", ["mine"])
        assert (each["is_allowed"], each["outcome"]) == (False, "")
        assert "lacks the permission" in each["reason"]
        assert each["address"].startswith("127.0.0.1:")


def test_denials_that_are_of_no_model_are_recorded_too(recorded):
    denied = {each["action"] for each in recorded if not each["is_allowed"] and not each["model"]}
    assert denied == {"log_settings", "trace_settings"}


def test_each_change_is_recorded_with_who_made_it_over_either_protocol(recorded):
    changes = [each for each in recorded if each["caller"] == "caller-operator"]
    actions = ["unload", "load", "trace_settings", "log_settings"]
    assert [(each["action"], each["outcome"]) for each in changes] == [
        (action, outcome) for _ in range(2) for action in actions for outcome in ("begun", "done")
    ]
    assert all(each["is_allowed"] and each["proof"] == "key" for each in changes)


# What the system shows of the process.


def test_secrets_are_in_neither_environment_nor_command_line(tmp_path):
    certificate = Authority(tmp_path).sign("server")
    write_access(tmp_path)
    (tmp_path / "headrace.yaml").write_text(
        json.dumps(
            {
                "tls": {"certificate": str(certificate.certificate), "key": str(certificate.key)},
                "security": {"access_file": str(tmp_path / "access.yaml")},
                "grpc": {"restricted_protocols": ["logging:admin-key=open-sesame"]},
            }
        )
    )
    given = {"SOME_VARIABLE": "of the user's own"}
    with ServerProcess(
        write_repository(tmp_path / "models"),
        f"--config={tmp_path / 'headrace.yaml'}",
        environment=given,
        is_encrypted=True,
    ) as server:
        for proc in (Path(f"/proc/{server.pid}"), *Path(f"/proc/{server.pid}/task").iterdir()):
            for child in (proc / "children").read_text().split() if (proc / "children").exists() else ():
                raise AssertionError(f"the server has a child {child}")
            shown = (proc / "environ").read_bytes() + (proc / "cmdline").read_bytes()
            assert b"SOME_VARIABLE" in shown
            lines = certificate.key.read_text().splitlines()
            secrets = [*lines, *KEYS.values(), "open-sesame", *[each["sha256"] for each in ACCESS["keys"]]]
            assert not [secret for secret in secrets if secret.encode() in shown]
        opened = {str(link.readlink()) for link in Path(f"/proc/{server.pid}/fd").iterdir()}
        assert str(certificate.key) not in opened
