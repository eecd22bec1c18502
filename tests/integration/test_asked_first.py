"""Who may do nothing makes the server read nothing large, over gRPC; who may little learns little."""

import hashlib

import pytest
import yaml
from tritonclient.grpc import service_pb2 as pb

from headrace.settings import GrpcSettings
from headrace.transport.grpc.calls import ControlMethod
from headrace.transport.grpc.methods import build_methods
from headrace.transport.limits import DEFAULT_LIMITS, MAX_CONTROL_BYTES, UNASKED_BYTES
from support import onnx_models
from support.auditing import records, wait_until
from support.calling import INFERENCE, connect, over_grpc, over_http
from support.rollouts import FakeRollouts, guarded
from support.server import ServerProcess

MODEL, MISSING = "scores", "nothing-at-all"
KEYS = {name: f"key-of-{name}-0123456789" for name in ("operator", "settings")}
ACCESS = {
    "roles": {
        "operator": {"infer": ["*"], "read": ["*"], "control": ["*"], "admin": True},
        "settings": {"admin": True},
    },
    "keys": [
        {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "roles": [name]}
        for name, key in KEYS.items()
    ],
}
# No message: reading it would fail otherwise.
GARBAGE = b"\xff" * (UNASKED_BYTES + 1)
ROLLOUTS = guarded(FakeRollouts())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("asked")


@pytest.fixture(scope="module")
def server(folder):
    access_file = folder / "access.yaml"
    access_file.write_text(yaml.safe_dump(ACCESS))
    onnx_models.write(folder / "models", MODEL, onnx_models.identity("FP32"))
    with ServerProcess(folder / "models", f"--access-file={access_file}") as started:
        yield started


def paths():
    methods = build_methods(None, None, GrpcSettings(reflection=False), DEFAULT_LIMITS, ROLLOUTS)
    return list(methods)


@pytest.mark.parametrize("path", [path for path in paths() if not path.endswith("/Watch")])
def test_nothing_large_is_read_for_strangers(server, path):
    with connect(server) as channel:
        assert over_grpc(channel, path, GARBAGE).status == "UNAUTHENTICATED"


@pytest.mark.parametrize("path", paths())
def test_orders_are_small_but_for_files_to_load(server, path):
    methods = build_methods(None, None, GrpcSettings(reflection=False), DEFAULT_LIMITS, ROLLOUTS)
    with connect(server) as channel:
        answer = over_grpc(channel, path, b"\xff" * (MAX_CONTROL_BYTES + 1), KEYS["operator"])
    if isinstance(methods[path], ControlMethod) and not path.endswith("/RepositoryModelLoad"):
        assert answer.status == "INVALID_ARGUMENT"
        assert f"takes at most {MAX_CONTROL_BYTES}" in answer.text
    else:
        assert answer.status == "INTERNAL"
        assert "is not a valid" in answer.text


def trace(model):
    message = pb.TraceSettingRequest(model_name=model)
    message.settings["trace_level"].value.append("OFF")
    return message


def test_who_may_change_settings_does_not_learn_which_models_there_are(server):
    path = INFERENCE + "TraceSetting"
    with connect(server) as channel:
        there, missing = (
            over_grpc(channel, path, trace(name), KEYS["settings"]) for name in (MODEL, MISSING)
        )
        assert there.status == missing.status == "PERMISSION_DENIED"
        assert there.text.replace(MODEL, MISSING) == missing.text
    told = [
        over_http(
            server,
            f"/v2/models/{name}/trace/setting",
            KEYS["settings"],
            method="POST",
            body=b'{"trace_level": ["OFF"]}',
        )
        for name in (MODEL, MISSING)
    ]
    assert [answer.status for answer in told] == [403, 403]
    assert told[0].text.replace(MODEL, MISSING) == told[1].text


def test_a_change_of_what_there_is_not_is_recorded(server):
    with connect(server) as channel:
        answer = over_grpc(channel, INFERENCE + "TraceSetting", trace(MISSING), KEYS["operator"])
    assert answer.status == "NOT_FOUND"

    def outcomes():
        kept = records(server.state_dir)
        return [each["outcome"] for each in kept if each["model"] == MISSING and each["caller"] == "operator"]

    wait_until(lambda: outcomes() == ["begun", "failed"])
    assert "never awaited" not in server.log
