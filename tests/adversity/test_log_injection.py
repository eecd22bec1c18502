"""Texts that would write log lines of their own or steer a terminal: each stays one harmless line."""

import base64
import hashlib
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.parse import quote

import grpc
import pytest
from onnx import ModelProto, helper
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.grpc import service_pb2 as pb

from adversity.clients import EXPLICIT
from support import onnx_models
from support.auditing import records, wait_until
from support.calling import INFERENCE, bearer, connect, over_grpc, over_http
from support.server import ServerProcess

FORGED = "forged by a caller"
LINES = f"2030-01-01T00:00:00.000Z error   {FORGED}"
OBJECT = f'"}}{{"level":"error","message":"{FORGED}"}}'
# Line ends, escape sequences of 7 and 8 bits, DEL, and marks and overrides of the direction of text.
STEERING = "\x1b[31mred\x1b]0;title\x07\x9b2J\x08\x7f\u200e\u200f\u061c\u202e\u2066"
EVIL = f"a\n{LINES}\r\n{OBJECT}\n\u0085{LINES}\u2028{LINES}\u2029\v\f{STEERING}end"
NUL = f"nul\0{EVIL}"
LONG = f"{'x' * 10_240}{EVIL}"
TEXTS = {"evil": EVIL, "with NUL": NUL, "long": LONG, "half a pair": f"\ud800{EVIL}"}
STEERS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
HEAD = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?:debug|info|warning|error) +"

KEYS = {EVIL: "key-of-evil", "operator": "key-of-operator"}
EVERYTHING = {"infer": ["*"], "read": ["*"], "control": ["*"], "admin": True}
ACCESS = {
    "roles": {EVIL: {"infer": ["nothing"]}, "operator": EVERYTHING},
    "keys": [
        {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "roles": [name]}
        for name, key in KEYS.items()
    ],
}
OPERATOR = KEYS["operator"]
INFER = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}]}


@pytest.fixture(scope="module", params=["text", "json"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    onnx_models.write(folder / "models", "good", onnx_models.identity("FP32"))
    onnx_models.write(folder / "models", "broken", onnx_models.identity("FP32"), json.dumps({EVIL: 1}))
    (folder / "models" / EVIL.replace("/", "")[:80]).mkdir()
    access_file = folder / "access.yaml"
    access_file.write_text(json.dumps(ACCESS))
    arguments = (f"--access-file={access_file}", f"--log-format={request.param}", "--log-verbose-level=1")
    with ServerProcess(folder / "models", *EXPLICIT, *arguments) as server:
        send_everything(server)
        access_file.write_text(json.dumps({**ACCESS, EVIL: 1}))
        wait_until(lambda: "access file in use stays" in server.log)
        access_file.write_text(json.dumps(ACCESS))
        time.sleep(1)
        yield server
        assert server.terminate() == 0


def send_everything(server: ServerProcess) -> None:
    """Each text at each place that a caller can fill."""
    with connect(server) as channel:
        for text in TEXTS.values():
            for key in (None, KEYS[EVIL], OPERATOR):
                send_over_http(server, text, key)
                send_over_grpc(channel, text.encode("utf-8", "replace").decode(), key)
        for at, (config, graph) in enumerate(loads()):
            document = {
                "parameters": {"config": config, "file:1/model.onnx": base64.b64encode(graph).decode()}
            }
            path = f"/v2/repository/models/{('new', 'good')[at % 2]}/load"
            over_http(server, path, OPERATOR, method="POST", body=json.dumps(document).encode())
            time.sleep(0.1)  # of one cause ten lines are written in a second
    for value in (EVIL, STEERING, LONG, "a\rb", "a\nb", "\x1b[31m", "a\0b"):
        for name in ("User-Agent", "Authorization", "Host", "X-Request-Id", "Content-Type", value):
            send_raw(server, f"GET /v2 HTTP/1.1\r\nHost: x\r\n{name}: {value}\r\n\r\n")
        send_raw(server, f"GET /v2/models/{value} HTTP/1.1\r\nHost: x\r\n\r\n")
        send_raw(server, f"{value} /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
        send_raw(server, value)


def send_over_http(server: ServerProcess, text: str, key: str | None) -> None:
    name = quote(text.encode("utf-8", "surrogatepass"), safe="")
    infer = {**INFER, "id": text, "parameters": {text: text}}
    for path, document in (
        (f"/v2/models/{name}/infer", infer),
        ("/v2/models/good/infer", infer),
        (f"/v2/models/good/versions/{name}/infer", infer),
        ("/v2/models/good/infer", {"inputs": [{**INFER["inputs"][0], "name": text, "datatype": text}]}),
        ("/v2/models/good/infer", {**INFER, "outputs": [{"name": text}]}),
        (f"/v2/repository/models/{name}/load", {}),
        (f"/v2/repository/models/{name}/unload", {}),
        ("/v2/repository/models/good/load", {"parameters": {text: text}}),
        ("/v2/repository/models/good/load", {"parameters": {"config": text}}),
        ("/v2/repository/models/good/load", {"parameters": {"config": "{}", f"file:{text}": text}}),
        ("/v2/logging", {text: text}),
        ("/v2/logging", {"log_format": text}),
        ("/v2/trace/setting", {text: text}),
        (f"/v1/predict/good?{name}={name}", {}),
        (f"/v1/models/{name}:predict", {}),
        (f"/{name}", {}),
    ):
        over_http(server, path, key, method="POST", body=json.dumps(document).encode())


def send_over_grpc(channel: grpc.Channel, text: str, key: str | None) -> None:
    infer = pb.ModelInferRequest(model_name=text, model_version=text, id=text)
    infer.parameters[text].string_param = text
    load = pb.RepositoryModelLoadRequest(model_name=text)
    load.parameters[text].string_param = text
    settings = pb.LogSettingsRequest()
    settings.settings[text].string_param = text
    for method, message in (
        ("ModelInfer", infer),
        ("ModelInfer", pb.ModelInferRequest(model_name="good", id=text)),
        ("ModelConfig", pb.ModelConfigRequest(name=text, version=text)),
        ("ModelStatistics", pb.ModelStatisticsRequest(name=text)),
        ("RepositoryModelLoad", load),
        ("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name=text)),
        ("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name=text)),
        ("RepositoryIndex", pb.RepositoryIndexRequest(repository_name=text)),
        ("LogSettings", settings),
        ("TraceSetting", pb.TraceSettingRequest(model_name=text)),
    ):
        metadata = [("evil-bin", text.encode())] if len(text) < 2000 else []
        over_grpc(channel, INFERENCE + method, message, key, metadata=metadata)  # type: ignore[arg-type]


def loads() -> Iterator[tuple[str, bytes]]:
    """Configurations and graphs with the text in them: some are refused, others remarked on."""
    good = onnx_models.identity("FP32").SerializeToString()
    text = {"string_value": EVIL}
    output = {"name": "y", "data_type": "TYPE_FP32", "dims": [-1]}
    for config in (
        {EVIL: 1},
        {"name": EVIL},
        {"backend": EVIL},
        {"default_model_filename": EVIL},
        {"parameters": {EVIL: text, f"imag_input{EVIL}": text}},
        {"parameters": {"image_input": text}},
        {"metric_tags": {EVIL: EVIL}},
        {"instance_group": [{"name": EVIL, "kind": "KIND_CPU", "count": 1}]},
        {"input": [{"name": EVIL, "data_type": "TYPE_FP32", "dims": [-1]}]},
        {"output": [{**output, "label_filename": EVIL}]},
        {"model_warmup": [{"name": EVIL, "batch_size": 1, "inputs": {EVIL: {"zero_data": True}}}]},
        {"version_policy": {EVIL: {}}},
    ):
        yield json.dumps(config), good
    yield EVIL, good
    for graph in graphs():
        yield json.dumps({"max_batch_size": 0}), graph.SerializeToString()


def graphs() -> Iterator[ModelProto]:
    value = onnx_models.value
    for node in (
        helper.make_node("MatMul", ["x", "x"], ["y"], name=EVIL),
        helper.make_node(EVIL, ["x"], ["y"]),
        helper.make_node("Identity", ["x"], ["y"], domain=EVIL),
        helper.make_node("Identity", [EVIL], ["y"]),
    ):
        yield onnx_models.model([node], [value("x", "FP32", (3, 4))], [value("y", "FP32", (3, 4))])
    told = onnx_models.identity("FP32")
    told.producer_name = told.domain = told.doc_string = told.graph.name = EVIL
    helper.set_model_props(told, {EVIL: EVIL})
    yield told


def send_raw(server: ServerProcess, data: str) -> None:
    with socket.create_connection(("127.0.0.1", server.http_port), 10) as connection:
        connection.sendall(data.encode("utf-8", "replace"))
        connection.shutdown(socket.SHUT_WR)
        try:
            connection.recv(65536)
        except ConnectionResetError:
            return


def test_each_line_of_the_log_is_one_that_the_server_meant(server: ServerProcess) -> None:
    log = server.log
    assert log.count(FORGED) > 10, "nothing got as far as the log"
    assert STEERS.findall(log) == []
    lines = log.splitlines()
    if lines[0].startswith("{"):
        for line in lines:
            assert set(json.loads(line)) <= {"time", "level", "logger", "message"}
            assert json.loads(line)["message"] != FORGED
        return
    table = [line.startswith("MODEL ") for line in lines].index(True)
    end = [line.startswith("try: ") for line in lines].index(True)
    for line in lines[:table] + lines[end + 1 :]:
        assert re.match(HEAD, line), line
        assert not re.match(HEAD + FORGED, line), line


def test_long_names_make_no_long_lines(server: ServerProcess) -> None:
    assert max(map(len, server.log.splitlines())) < 20_000


def command(*words: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        (sys.executable, "-m", "headrace.cli.main", *map(str, words)),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


@pytest.mark.parametrize("server", ["text"], indirect=True)
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
def test_the_audit_log_is_listed_a_line_a_record(server: ServerProcess, form: tuple[str, ...]) -> None:
    found = records(server.state_dir)
    assert any(EVIL in record["caller"] for record in found)
    assert any(record["model"].startswith("nul\\x00a\n") for record in found)
    last = found[-1]["sequence"]
    ran = command("audit", "list", f"--state-dir={server.state_dir}", "--last=0", *form)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert STEERS.findall(ran.stdout) == []
    lines = ran.stdout.split("\n")[:-1]
    if form:
        assert [json.loads(line)["sequence"] for line in lines][:last] == list(range(1, last + 1))
    else:
        assert [int(line.split()[0]) for line in lines[1 : last + 1]] == list(range(1, last + 1))


@pytest.mark.parametrize("server", ["text"], indirect=True)
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
def test_models_are_listed_a_line_a_version(server: ServerProcess, form: tuple[str, ...]) -> None:
    ran = command("models", f"--url={server.grpc_url}", f"--api-key={OPERATOR}", *form)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert FORGED in ran.stdout
    assert STEERS.findall(ran.stdout) == []
    if form:
        assert {"good", "broken"} <= {model["name"] for model in json.loads(ran.stdout)}
    else:
        assert not [
            line for line in ran.stdout.splitlines()[1:] if not re.match(r"(good|broken|new) +\d", line)
        ]


@pytest.mark.parametrize("server", ["text"], indirect=True)
@pytest.mark.parametrize(
    "words", [("models",), ("batches",), ("infer", "--random=1")], ids=lambda words: words[0]
)
def test_each_line_of_a_commands_complaint_says_whose_it_is(
    server: ServerProcess, words: tuple[str, ...]
) -> None:
    action, *options = words
    ran = command(action, EVIL, *options, f"--url={server.grpc_url}", f"--api-key={OPERATOR}")
    assert (ran.returncode, ran.stdout) == (1, "")
    lines = ran.stderr.split("\n")[:-1]
    assert FORGED in ran.stderr
    assert [line for line in lines if STEERS.search(line) or not line.startswith("headrace: ")] == []


@pytest.mark.parametrize("server", ["text"], indirect=True)
def test_metrics_can_be_read_whatever_tags_are_called(server: ServerProcess) -> None:
    config = json.dumps({"metric_tags": {EVIL: EVIL, "a": f'"}} 1\n{FORGED.replace(" ", "_")} 1\n'}})
    document = {"parameters": {"config": config}}
    body = json.dumps(document).encode()
    path = "/v2/repository/models/good/load"
    assert over_http(server, path, OPERATOR, method="POST", body=body).status == 200
    connection = socket.create_connection(("127.0.0.1", server.metrics_port), 10)
    with connection, connection.makefile("rb") as file:
        request = (
            f"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer(OPERATOR)['authorization']}\r\n\r\n"
        )
        connection.sendall(request.encode())
        text = file.read().partition(b"\r\n\r\n")[2].decode()
    families = list(text_string_to_metric_families(text))
    assert any(EVIL in sample.labels.values() for family in families for sample in family.samples)
    assert not [line for line in text.split("\n") if line.startswith(FORGED.replace(" ", "_"))]
