"""Requests that try for what is beside the models: files, other machines, the server's own insides."""

import base64
import hashlib
import json
import re
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from urllib.parse import quote

import pytest
from onnx import helper
from tritonclient.grpc import service_pb2 as pb

from headrace.pb.headrace.v1 import admin_pb2
from support import onnx_models
from support.calling import INFERENCE, connect, over_grpc, over_http
from support.tokens import signing_key

EXPLICIT = ("--model-control-mode=explicit", "--load-model=*", "--limits-max-json-values=10000")
INFER = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}]}'
GOOD = onnx_models.identity("FP32").SerializeToString()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A repository, and beside it a model that is none of its own."""
    above = tmp_path_factory.mktemp("above")
    onnx_models.write_models(above / "models", "identity_fp32", "lookup", "fill", "select", "external")
    onnx_models.write(above, "beside", onnx_models.identity("FP32"))
    return above


@pytest.fixture(scope="module")
def server(serve, folders):
    return serve(repository=folders / "models", arguments=EXPLICIT)


def post(server, path, document=None, key=None, **options):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return over_http(server, path, key, method="POST", body=b"" if document is None else body, **options)


def index(server):
    return post(server, "/v2/repository/index").text


# Names and versions that could be paths.


NAMES = [
    ".",
    "..",
    "../beside",
    "../../above/beside",
    "models/../../beside",
    "identity_fp32/../../beside",
    "./identity_fp32",
    "identity_fp32/",
    "identity_fp32/.",
    "identity_fp32/1",
    "/etc/passwd",
    "//etc/passwd",
    "..\\beside",
    "%2e%2e%2fbeside",
    "%252e%252e",
    "..%c0%afbeside",
    "‥/beside",
    "．．/beside",
    "․․/beside",
    "..∕beside",
    "..／beside",
    "identity_fp32\0",
    "identity_fp32\0.onnx",
    "\0",
    "identity_fp32\n",
    "identity_fp32\u202e",
    "ıdentity_fp32",
    "~root",
    "$HOME",
    "`id`",
    "{identity_fp32}",
    "*",
    "identity_*",
    "..." * 3413,
    "x" * 10_240,
    "../" * 3413 + "etc",
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:24])
def test_a_name_is_never_a_path_over_http(server, name):
    before = index(server)
    shown = encoded_name(name)
    for method, path, body in (
        ("POST", "/v2/models/{}/infer", INFER),
        ("POST", "/v2/models/{}/versions/1/infer", INFER),
        ("POST", "/v1/predict/{}", b"[[1]]"),
        ("POST", "/v1/models/{}:predict", b'{"instances": [[1]]}'),
        ("GET", "/v2/models/{}", b""),
        ("GET", "/v2/models/{}/config", b""),
        ("GET", "/v2/models/{}/stats", b""),
        ("GET", "/v2/models/{}/ready", b""),
        ("GET", "/v1/models/{}", b""),
        ("GET", "/v2/models/{}/trace/setting", b""),
        ("POST", "/v2/repository/models/{}/load", b""),
        ("POST", "/v2/repository/models/{}/unload", b""),
        ("GET", "/docs/{}", b""),
    ):
        answer = over_http(server, path.format(shown), method=method, body=body)
        assert answer.status in (400, 404), (path, answer)
        assert len(answer.text) < 3000
    assert load_over_http(server, name, {}, {"1/model.onnx": GOOD}).status in (400, 404)
    assert index(server) == before


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:24])
def test_a_name_is_never_a_path_to_what_looks_and_loads_over_grpc(server, channel, name):
    before = index(server)
    for path, message in (
        (INFERENCE + "ModelStatistics", pb.ModelStatisticsRequest(name=name)),
        (INFERENCE + "TraceSetting", pb.TraceSettingRequest(model_name=name)),
        (INFERENCE + "RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name=name)),
        (INFERENCE + "RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name=name)),
        ("/headrace.v1.Admin/Batches", admin_pb2.BatchesRequest(model_name=name)),
        ("/headrace.v1.Admin/Models", admin_pb2.ModelsRequest(model_name=name)),
    ):
        assert over_grpc(channel, path, message).status in ("INVALID_ARGUMENT", "NOT_FOUND"), path
    loaded = load_over_grpc(channel, name, {}, {"1/model.onnx": GOOD})
    assert loaded.status in ("INVALID_ARGUMENT", "NOT_FOUND")
    assert index(server) == before


VERSIONS = [
    "..",
    "../1",
    "1/..",
    "/1",
    "-1",
    "0",
    "+1",
    " 1",
    "1\0",
    "1\n",
    "١",
    "１",
    "1e0",
    "9" * 5000,
]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: ascii(version)[:24])
def test_a_version_is_never_a_path_over_http(server, version):
    shown = encoded_name(version)
    for method, path, body in (
        ("POST", "/v2/models/identity_fp32/versions/{}/infer", INFER),
        ("POST", "/v1/predict/identity_fp32/versions/{}", b"[[1]]"),
        ("GET", "/v2/models/identity_fp32/versions/{}", b""),
        ("GET", "/v2/models/identity_fp32/versions/{}/config", b""),
        ("GET", "/v2/models/identity_fp32/versions/{}/stats", b""),
        ("GET", "/v2/models/identity_fp32/versions/{}/ready", b""),
    ):
        answer = over_http(server, path.format(shown), method=method, body=body)
        assert answer.status in (400, 404), (path, answer)


FILES = ["../x", "/x", "1/../../x", "1/..", "..", "", "1//model.onnx", "1\\model.onnx", "1/\0", "C:/x"]


@pytest.mark.parametrize("file", FILES, ids=ascii)
def test_files_of_a_load_call_stay_where_they_belong(server, channel, folders, file):
    before = sorted(folders.rglob("*"))
    files = {"1/model.onnx": GOOD, file: b"x"}
    for answer in (load_over_http(server, "new", {}, files), load_over_grpc(channel, "new", {}, files)):
        assert answer.status in (400, "INVALID_ARGUMENT"), answer
    assert sorted(folders.rglob("*")) == before


def encoded_name(name):
    """As one segment of a path, whatever is in it."""
    return quote(name, safe="").replace(".", "%2E")


def load_over_http(server, name, config, files, key=None):
    text = config if isinstance(config, str) else json.dumps(config)
    encoded = {f"file:{path}": base64.b64encode(data).decode() for path, data in files.items()}
    document = {"parameters": {"config": text, **encoded}}
    return post(server, f"/v2/repository/models/{encoded_name(name)}/load", document, key)


def load_over_grpc(channel, name, config, files, key=None):
    message = pb.RepositoryModelLoadRequest(model_name=name)
    message.parameters["config"].string_param = config if isinstance(config, str) else json.dumps(config)
    for path, data in files.items():
        message.parameters[f"file:{path}"].bytes_param = data
    return over_grpc(channel, INFERENCE + "RepositoryModelLoad", message, key)


# Documents.


ENDPOINTS = [
    "/v2/models/identity_fp32/infer",
    "/v1/predict/identity_fp32",
    "/v1/models/identity_fp32:predict",
    "/v2/repository/index",
    "/v2/repository/models/identity_fp32/load",
    "/v2/repository/models/identity_fp32/unload",
    "/v2/logging",
    "/v2/trace/setting",
    "/v2/models/identity_fp32/trace/setting",
]
DOCUMENTS = {
    "lists within lists": b"[" * 100_000 + b"]" * 100_000,
    "objects within objects": b'{"parameters":' * 50_000 + b"1" + b"}" * 50_000,
    "deep and without an end": b'{"inputs":' + b"[" * 1_000_000,
    "NaN": b'{"parameters": {"x": NaN}, "inputs": [[NaN]]}',
    "infinity": b'{"parameters": {"x": -Infinity}, "instances": [[1e999]], "inputs": [[1e999]]}',
    "too many values": b'{"parameters": [' + b"1," * 20_000 + b"1]}",
    "too many keys": b"{" + b",".join(b'"%d":1' % at for at in range(20_000)) + b"}",
    "an integer of a megabyte": b'{"log_verbose_level": ' + b"9" * 1_000_000 + b"}",
    "a text without an end": b'{"parameters": "' + b"x" * 100_000,
    "no UTF-8": b'{"parameters": "\xff\xfe"}',
    "half a surrogate pair": b'{"parameters": {"\\ud800": "\\udfff"}, "inputs": "\\ud800"}',
    "UTF-16": '{"parameters": {}}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"parameters": 1}',
    "NUL": b'{"parameters": \0}',
    "two documents": b"{}{}",
    "a comment": b'{/* */"parameters": 1}',
    "a comma too many": b'{"parameters": 1,}',
}


@pytest.mark.parametrize("body", DOCUMENTS.values(), ids=DOCUMENTS)
def test_documents_that_are_none_are_refused_by_every_endpoint(server, body):
    before = index(server), over_http(server, "/v2/logging").text
    for path in ENDPOINTS:
        answer = post(server, path, body, headers={"content-type": "application/json"})
        assert answer.status == 400, (path, answer.text[:200])
        assert json.loads(answer.text)["error"]
    assert (index(server), over_http(server, "/v2/logging").text) == before


CONFIGS = {
    "lists within lists": "[" * 100_000,
    "objects within objects": '{"parameters":' * 50_000 + "1" + "}" * 50_000,
    "NaN": '{"max_batch_size": NaN}',
    "infinity": '{"max_batch_size": 1e999}',
    "a long integer": '{"max_batch_size": ' + "9" * 5000 + "}",
    "a key twice": '{"max_batch_size": 1, "max_batch_size": 2}',
    "half a surrogate pair": '{"name": "\\ud800"}',
    "NUL": '{"name": "\\u0000"}',
    "no object": "[]",
    "an alias": "&a [*a]",
    "two megabytes": '{"name": "' + "x" * 2_000_000 + '"}',
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_configurations_that_are_none_are_refused_over_either_protocol(server, channel, config):
    before = index(server)
    for answer in (
        load_over_http(server, "identity_fp32", config, {}),
        load_over_grpc(channel, "identity_fp32", config, {}),
        load_over_http(server, "new", config, {"1/model.onnx": GOOD}),
        load_over_grpc(channel, "new", config, {"1/model.onnx": GOOD}),
    ):
        assert answer.status in (400, "INVALID_ARGUMENT"), answer.text[:300]
        assert len(answer.text) <= 2100
    assert json.loads(index(server))[0]["name"] and "new" not in index(server)
    assert over_http(server, "/v2/models/identity_fp32/ready").status == 200
    assert len(json.loads(index(server))) == len(json.loads(before))


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/xml", b"<x/>", 415),
        ("multipart/form-data; boundary=x", b"--x--", 415),
        ("application/x-python-pickle", b"cos\nsystem\n(S'id'\ntR.", 415),
        ("application/json; charset=utf-16", "[[1]]".encode("utf-16"), 400),
        ("text/csv\x0b", b"1", 415),
        ("image/svg+xml", b"<svg/>", 415),
        ("text/html", b"<script>", 415),
    ],
)
def test_bodies_of_other_kinds_are_refused(server, kind, body, status):
    answer = post(server, "/v1/predict/identity_fp32", body, headers={"content-type": kind})
    assert answer.status in (status, 400)


@pytest.mark.parametrize("kind", ["text/html", "*/*", "application/xml", "text/html,application/json"])
def test_whatever_is_accepted_an_error_is_json_and_never_a_page(server, kind):
    for path in ("/<script>alert(1)</script>", "/v2/models/%3Cscript%3Ealert(1)%3C%2Fscript%3E", "/docs/<b>"):
        answer = over_http(server, path, headers={"accept": kind})
        assert (answer.status, answer.headers["content-type"]) == (404, "application/json")


# Requests within requests.


UNLOAD = b"POST /v2/repository/models/identity_fp32/unload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
HEAD = b"POST /v2/models/lookup/infer HTTP/1.1\r\nHost: x\r\n"
SMUGGLED = {
    "length, then chunks": b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    % (5 + len(UNLOAD)),
    "chunks, then length": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n",
    "chunks twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "chunks that are hidden": b"Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "chunks behind a space": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(UNLOAD),
    "lengths with a comma": b"Content-Length: 0, %d\r\n\r\n" % len(UNLOAD),
    "a folded length": b"X: y\r\n Content-Length: %d\r\n\r\n" % len(UNLOAD),
    "a bare line feed": b"X: y\nContent-Length: 0\r\n\r\n",
    "a bare carriage return": b"X: y\rContent-Length: 0\r\n\r\n",
    "a chunk's size with a sign": b"Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n",
    "a chunk's line feed": b"Transfer-Encoding: chunked\r\n\r\n0\n\r\n",
}


@pytest.mark.parametrize("rest", SMUGGLED.values(), ids=SMUGGLED)
def test_no_request_within_another_is_executed(server, rest):
    answers = exchange(server, HEAD + rest + UNLOAD)
    assert re.findall(rb"HTTP/1\.1 (\d+)", answers) == [b"400"]
    assert b"Connection: close" in answers
    assert over_http(server, "/v2/models/identity_fp32/ready").status == 200


def exchange(server, data):
    """All that is answered to `data` until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.http_port), 10) as connection:
        connection.sendall(data)
        answers = b""
        with suppress(ConnectionResetError):
            while more := connection.recv(65536):
                answers += more
        return answers


# Addresses.


class Listener:
    """Another machine's port, which nobody is to call; `callers` counts who did."""

    def __init__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/x"
        self.callers = 0
        self._is_over = False
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self):
        while True:
            connection, _ = self._socket.accept()
            connection.close()
            if self._is_over:
                return
            self.callers += 1

    def close(self):
        self._is_over = True
        socket.create_connection(self._socket.getsockname()).close()
        self._thread.join(10)
        self._socket.close()


@pytest.fixture
def elsewhere():
    listener = Listener()
    yield listener
    listener.close()
    assert listener.callers == 0


def configs_with(url):
    texts = {"string_value": url}
    tensor = {"data_type": "TYPE_FP32", "dims": [1], "input_data_file": url}
    accelerator = {"name": "tensorrt", "parameters": {"trt_engine_cache_path": url}}
    return [
        {"name": url},
        {"platform": url},
        {"backend": url},
        {"runtime": url},
        {"default_model_filename": url},
        {"cc_model_filenames": {"7.5": url}},
        {"metric_tags": {url: url}},
        {"parameters": {url: texts, "image_input": texts, "profile": texts, "execution_env_path": texts}},
        {"model_operations": {"op_library_filename": [url]}},
        {"model_repository_agents": {"agents": [{"name": url, "parameters": {"url": url}}]}},
        {"output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [-1], "label_filename": url}]},
        {"input": [{"name": url, "data_type": "TYPE_FP32", "dims": [-1]}]},
        {"model_warmup": [{"name": url, "batch_size": 1, "inputs": {"x": tensor}}]},
        {"optimization": {"execution_accelerators": {"cpu_execution_accelerator": [accelerator]}}},
        {"ensemble_scheduling": {"step": [{"model_name": url, "model_version": -1}]}},
        {"response_cache": {"enable": True}, "version_policy": {"specific": {"versions": [1]}}},
    ]


def test_addresses_in_loads_are_not_followed(server, channel, elsewhere):
    graph, _ = onnx_models.external()
    for entry in graph.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = elsewhere.url
    graph.doc_string = graph.producer_name = graph.domain = elsewhere.url
    for config in configs_with(elsewhere.url):
        for load, to in ((load_over_http, server), (load_over_grpc, channel)):
            load(to, "new", config, {"1/model.onnx": GOOD})
            load(to, "identity_fp32", config, {})
    for files in (
        {"1/model.onnx": graph.SerializeToString()},
        {elsewhere.url: b"x", "1/model.onnx": GOOD},
        {"1/model.onnx": elsewhere.url.encode()},
    ):
        load_over_http(server, "new", {}, files)
        load_over_grpc(channel, "new", {}, files)
    for action in ("load", "unload"):
        name = quote(elsewhere.url, safe="")
        assert post(server, f"/v2/repository/models/{name}/{action}").status == 400 + 4 * (action == "unload")
    post(server, "/v2/repository/models/new/unload")
    assert post(server, "/v2/repository/models/identity_fp32/load").status == 200


def test_addresses_in_requests_are_not_followed(server, channel, elsewhere):
    url = elsewhere.url
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}
    shared = {"shared_memory_region": url, "shared_memory_byte_size": 4}
    wishes = {"url": url, "callback": url, "webhook": url}
    for document in (
        {"id": url, "parameters": wishes, "inputs": [tensor]},
        {"inputs": [{**tensor, "data": [url]}]},
        {"inputs": [{**tensor, "data": url}]},
        {"inputs": [{**tensor, "name": url}]},
        {"inputs": [{**tensor, "parameters": {**wishes, **shared}}]},
        {"inputs": [tensor], "outputs": [{"name": url, "parameters": wishes}]},
    ):
        post(server, "/v2/models/identity_fp32/infer", document)
    for kind in ("application/json", "text/plain", "text/csv", "image/png", "image/svg+xml", "text/uri-list"):
        for body in (url.encode(), json.dumps([url]).encode(), f'<svg><image href="{url}"/></svg>'.encode()):
            post(server, "/v1/predict/identity_fp32", body, headers={"content-type": kind})
    headers = dict.fromkeys(("referer", "x-forwarded-host", "origin", "traceparent", "location", "via"), url)
    over_http(server, "/v2", headers=headers)
    over_http(server, url, headers={"Host": "localhost"})
    for path in ("/v2/logging", "/v2/trace/setting"):
        for name in ("log_file", "trace_file", "trace_level", "log_format"):
            post(server, path, {name: url})
    message = pb.ModelInferRequest(model_name=url, id=url)
    message.parameters["url"].string_param = url
    over_grpc(channel, INFERENCE + "ModelInfer", message)
    region = pb.SystemSharedMemoryRegisterRequest(name=url, key=url, byte_size=1)
    over_grpc(channel, INFERENCE + "SystemSharedMemoryRegister", region)


def test_addresses_in_tokens_and_access_files_are_not_followed(serve, folders, tmp_path, elsewhere):
    key = signing_key("RS256", "first")
    issuer = {"issuer": elsewhere.url, "audience": "headrace", "jwks": "jwks.json"}
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [key.jwk(x5u=elsewhere.url)]}))
    (tmp_path / "access.yaml").write_text(json.dumps({"tokens": [issuer]}))
    server = serve(repository=folders / "models", arguments=(f"--access-file={tmp_path / 'access.yaml'}",))
    other = signing_key("RS256", "other")
    for header in ({"jku": elsewhere.url}, {"x5u": elsewhere.url}, {"kid": elsewhere.url}):
        token = other.token({"iss": elsewhere.url, "aud": "headrace", "sub": "x", "exp": 2**33}, **header)
        assert over_http(server, "/v2", token).status == 401

    (tmp_path / "fetched.yaml").write_text(json.dumps({"tokens": [{**issuer, "jwks": elsewhere.url}]}))
    command = (sys.executable, "-m", "headrace.cli.main", "serve", f"--model-repository={folders / 'models'}")
    ended = subprocess.run(
        (*command, f"--access-file={tmp_path / 'fetched.yaml'}", "--grpc-port=0", "--http-port=0"),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert ended.returncode == 1
    assert "tokens[0].jwks" in ended.stderr


# What answers give away.


MINE, OTHER, OTHER_CALLER = "fill", "external", "somebody-else"
KEYS = {"narrow": "key-of-a-narrow-caller", "loader": "key-of-a-loader", OTHER_CALLER: "key-of-somebody-else"}
ACCESS = {
    "roles": {
        "narrow": {"infer": [MINE, "lookup", "select"]},
        "loader": {"control": ["new*", MINE]},
        "role-of-others": {"infer": ["*"], "read": ["*"], "control": ["*"], "admin": True},
    },
    "keys": [
        {
            "name": name,
            "sha256": hashlib.sha256(key.encode()).hexdigest(),
            "roles": [name if name != OTHER_CALLER else "role-of-others"],
        }
        for name, key in KEYS.items()
    ],
}
# Tracebacks, source files, objects' addresses, and absolute paths; none of the requests below has one.
INSIDES = re.compile(
    r"Traceback|File \"|\.py\b|site-packages|\b0x[0-9a-f]{8,}|<headrace|memfd|"
    r"(?<![\w.<:/])/(?!v[12]\b|docs\b|nowhere\b|metrics\b|config\b)[a-zA-Z_]+/\w"
)


@pytest.fixture(scope="module")
def guarded(serve, folders, tmp_path_factory):
    path = tmp_path_factory.mktemp("access") / "access.yaml"
    path.write_text(json.dumps(ACCESS))
    return serve(repository=folders / "models", arguments=(f"--access-file={path}", *EXPLICIT))


def gives_away(answers, folders):
    """Those of `answers` that tell of what their caller has no business with."""
    others = (OTHER, OTHER_CALLER, "role-of-others", str(folders), "psm_", "/dev/shm", "headrace.")
    return [
        answer.text
        for answer in answers
        if INSIDES.search(answer.text) or any(each in answer.text for each in others)
    ]


def tensor(datatype, shape, data, name="shape"):
    return {"inputs": [{"name": name, "datatype": datatype, "shape": shape, "data": data}]}


def test_failing_requests_tell_nothing_of_the_server_or_of_others(guarded, folders):
    key = KEYS["narrow"]
    answers = []
    with connect(guarded) as channel:
        for document in (
            tensor("INT64", [2], [2**25, 2**25]),
            tensor("INT64", [2], [2**62, 2**62]),
            tensor("INT64", [2], [-1, 2]),
            tensor("INT64", [3], [1, 2, 3]),
            tensor("FP32", [2], [1, 2]),
            tensor("FP16", [2], [1, 2]),
            tensor("INT64", [2], ["x", None]),
            tensor("INT64", [2], [1, 2], name="none"),
            {**tensor("INT64", [2], [1, 1]), "outputs": [{"name": "none"}]},
            {**tensor("INT64", [2], [1, 1]), "parameters": {"sequence_id": -1, "priority": -1}},
            {
                **tensor("INT64", [2], [1, 1]),
                "outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}],
            },
            {"inputs": []},
            [],
            b"{",
            b"",
        ):
            answers.append(post(guarded, f"/v2/models/{MINE}/infer", document, key))
        answers.append(post(guarded, "/v2/models/lookup/infer", tensor("INT64", [1, 1], [99], name="x"), key))
        for name in (MINE, OTHER, "nothing"):
            for version in ("", "/versions/7", "/versions/x"):
                answers.append(post(guarded, f"/v2/models/{name}{version}/infer", INFER, key))
                for ending in ("", "/config", "/stats", "/ready"):
                    answers.append(over_http(guarded, f"/v2/models/{name}{version}{ending}", key))
            answers.append(post(guarded, f"/v1/predict/{name}?top_k=x", b"[[1]]", key))
            answers.append(post(guarded, f"/v1/predict/{name}", b"\x93NUMPY\x01\x00", key))
            answers.append(
                post(guarded, f"/v1/predict/{name}", b"GIF89a", key, headers={"content-type": "image/gif"})
            )
            answers.append(post(guarded, f"/v1/models/{name}:predict", {"instances": [{"x": 1}]}, key))
            for action in ("load", "unload"):
                answers.append(post(guarded, f"/v2/repository/models/{name}/{action}", None, key))
            for method in ("ModelMetadata", "ModelConfig", "ModelReady", "ModelStatistics"):
                message = getattr(pb, f"{method}Request")(name=name, version="7")
                answers.append(over_grpc(channel, INFERENCE + method, message, key))
            answers.append(
                over_grpc(channel, INFERENCE + "ModelInfer", pb.ModelInferRequest(model_name=name), key)
            )
            answers.append(
                over_grpc(channel, INFERENCE + "TraceSetting", pb.TraceSettingRequest(model_name=name), key)
            )
        for path in build_paths():
            answers += [
                over_http(guarded, path, key, method=method)
                for method in ("GET", "POST", "DELETE", "OPTIONS")
            ]
        for method in (
            "ModelInfer",
            "ModelConfig",
            "RepositoryIndex",
            "LogSettings",
            "NoSuchMethod",
            "ServerMetadata",
        ):
            answers.append(over_grpc(channel, INFERENCE + method, b"\xff\xff\xff", key))
        answers.append(over_grpc(channel, INFERENCE + "SystemSharedMemoryStatus", b"", key))
        answers += [
            over_grpc(channel, "/headrace.v1.Admin/Models", b"", shown) for shown in (None, "wrong", key)
        ]
    # The caller's own words come back to it; what it named itself is no news.
    told = [answer for answer in answers if f"'{OTHER}'" not in answer.text]
    assert len(told) > 100
    assert gives_away(told, folders) == []


def build_paths():
    return (
        "/",
        "/nowhere",
        "/v2",
        "/v2/models/stats",
        "/v2/repository/index",
        "/v2/logging",
        "/v1/models",
        "/docs/x",
    )


def broken(**fields):
    """A graph of one node that does not do."""
    node = helper.make_node(fields.pop("op", "Identity"), ["x"] * fields.pop("inputs", 1), ["y"], **fields)
    value = onnx_models.value
    return onnx_models.model([node], [value("x", "FP32", (3, 4))], [value("y", "FP32", (3, 4))])


def failing_loads():
    """(configuration, files) by what is wrong."""
    graphs = {
        "an unknown operator": broken(op="NoSuchOperator"),
        "shapes that do not fit": broken(op="MatMul", inputs=2),
        "an attribute that is not there": broken(op="Softmax", nothing=1),
        "too many inputs": broken(inputs=3),
        "an unknown domain": broken(domain="nowhere.example"),
    }
    yield from (
        ({"max_batch_size": 0}, {"1/model.onnx": graph.SerializeToString()}) for graph in graphs.values()
    )
    yield {}, {"1/model.onnx": b"\x08\x08nonsense"}
    yield {}, {"1/model.onnx": GOOD[:-20]}
    yield {}, {"1/model.onnx": b""}
    yield {}, {"1/other.onnx": GOOD}
    yield {}, {"model.onnx": GOOD}
    yield (
        {"max_batch_size": 8, "input": [{"name": "z", "data_type": "TYPE_INT8", "dims": [3]}]},
        {"1/model.onnx": GOOD},
    )
    yield {"instance_group": [{"kind": "KIND_GPU", "gpus": [7]}]}, {"1/model.onnx": GOOD}
    yield {"optimization": {"graph": {"level": 99}}}, {"1/model.onnx": GOOD}
    yield {"parameters": {"intra_op_thread_count": {"string_value": "many"}}}, {"1/model.onnx": GOOD}
    yield {"model_warmup": [{"name": "w", "batch_size": 1, "inputs": {"q": {}}}]}, {"1/model.onnx": GOOD}
    yield (
        {"output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [-1], "label_filename": "l"}]},
        {"1/model.onnx": GOOD},
    )
    external, _ = onnx_models.external()
    yield {}, {"1/model.onnx": external.SerializeToString()}
    yield {}, {"1/model.onnx": external.SerializeToString(), "1/weights.bin": b"x"}


def test_failing_loads_tell_nothing_of_the_server_or_of_others(guarded, folders):
    key = KEYS["loader"]
    answers = []
    with connect(guarded) as channel:
        for config, files in failing_loads():
            answers.append(load_over_http(guarded, "new", config, files, key))
            answers.append(load_over_grpc(channel, "new", config, files, key))
        answers += [
            load_over_http(guarded, "new-and-missing", {}, {}, key),
            post(guarded, "/v2/repository/index", None, key),
        ]
        reasons = over_grpc(channel, "/headrace.v1.Admin/Models", b"", key)
    refused = [answer for answer in answers if answer.status in (400, "INVALID_ARGUMENT")]
    assert len(refused) > 30
    assert gives_away([*answers, reasons], folders) == []
