"""JSON web tokens that callers send, against the real server, over gRPC and HTTP."""

import http.client
import json
import time
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from support import onnx_models
from support.server import ServerProcess
from support.tokens import base64url, jwks, signing_key, unsigned

MODEL = "identity_fp32"
KEY = signing_key("RS256", "first")
ACCESS = {
    "roles": {"scorer": {"infer": ["identity_*"]}, "reader": {"read": ["*"]}},
    "tokens": [
        {
            "issuer": "https://login.example",
            "audience": "headrace",
            "jwks": "jwks.json",
            "roles_claim": "scope",
        }
    ],
}


def write_files(folder):
    """An access file, and beside it the file of keys that it names."""
    (folder / "access.yaml").write_text(json.dumps(ACCESS))  # JSON is YAML
    (folder / "jwks.json").write_text(jwks(KEY))
    return folder / "access.yaml"


@pytest.fixture(scope="module")
def server(serve, tmp_path_factory):
    return serve(MODEL, arguments=(f"--access-file={write_files(tmp_path_factory.mktemp('access'))}",))


def token(role="scorer", key=KEY, **changed):
    claims = {"iss": "https://login.example", "aud": "headrace", "sub": "ann", "scope": f"openid {role}"}
    return key.token({**claims, "exp": time.time() + 300, **changed})


def over_grpc(server, headers):
    """The status and the message of an inference."""
    tensor = tritonclient.grpc.InferInput("x", [1, 1], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 1), np.float32))
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        try:
            result = client.infer(MODEL, [tensor], headers=headers)
        except InferenceServerException as error:
            return error.status().removeprefix("StatusCode."), error.message()
    assert result.as_numpy("y") == 1
    return "OK", ""


def over_http(server, headers):
    inputs = [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}]
    request = urllib.request.Request(
        f"http://{server.http_url}/v2/models/{MODEL}/infer", json.dumps({"inputs": inputs}).encode()
    )
    request.headers.update(headers)  # add_header would change the letters' case
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())["error"]


def bearer(text):
    return {"authorization": f"Bearer {text}"}


def test_a_token_does_what_its_roles_allow(server):
    assert over_grpc(server, bearer(token())) == ("OK", "")
    assert over_http(server, bearer(token())) == (200, "")
    with tritonclient.http.InferenceServerClient(server.http_url) as client:
        assert client.get_model_metadata(MODEL, headers=bearer(token("reader")))["name"] == MODEL


@pytest.mark.parametrize("role", ["reader", "nobody", ""])
def test_a_token_does_nothing_else(server, role):
    words = f"'ann' lacks the permission 'infer' for model '{MODEL}'"
    assert over_grpc(server, bearer(token(role))) == ("PERMISSION_DENIED", words)
    assert over_http(server, bearer(token(role))) == (403, words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (token(exp=time.time() - 60), "the token has expired"),
        (token(aud="someone"), "the token is for another audience"),
        (token(iss="https://attacker.example"), "the token's issuer is not known here"),
        (token(key=signing_key("RS256", "first")), "the token's signature does not fit"),
        (token(key=signing_key("RS256", "second")), "the token's key is not known here"),
        (f"{unsigned({'alg': 'none'}, {'iss': 'https://login.example'})}.", "algorithm is not allowed"),
        ("a.b.c", "the token is malformed"),
        (f"{base64url(b'[' * 3000)}.{base64url(b'{}')}.x", "the token is malformed"),
        (token(x="x" * 8192), "the token is longer than 8192 bytes"),
    ],
    ids=lambda value: value[:20] if " " in value else "",
)
def test_a_token_that_does_not_hold_is_refused_with_the_reason(server, text, words):
    for status, answer in (
        ("UNAUTHENTICATED", over_grpc(server, bearer(text))),
        (401, over_http(server, bearer(text))),
    ):
        assert answer[0] == status and words in answer[1]


def test_headers_and_schemes_are_the_same_in_any_case(server):
    text = token()
    for name in ("AUTHORIZATION", "authorization", "Authorization", "aUTHORIZATION"):
        for scheme in ("bearer", "BEARER", "Bearer", "bEARER"):
            assert over_http(server, {name: f"{scheme} {text}"}) == (200, ""), (name, scheme)
    for scheme in ("bearer", "BEARER"):
        assert over_grpc(server, {"authorization": f"{scheme} {text}"}) == ("OK", "")


def test_other_schemes_are_not_understood(server):
    for value in (f"Basic {token()}", "Basic YW5uOnNlY3JldA==", f"Digest {token()}", token(), "Bearer", ""):
        status, message = over_http(server, {"Authorization": value})
        assert status == 401 and "the Authorization header is not understood" in message, value
        assert over_grpc(server, {"authorization": value})[0] == "UNAUTHENTICATED"


def test_two_headers_over_http_are_none(server):
    texts = [(token(), token()), (token(), "x"), ("x", token()), (token(), token("reader"))]
    for first, second in texts:
        connection = http.client.HTTPConnection(server.http_url, timeout=10)
        connection.putrequest("GET", f"/v2/models/{MODEL}")
        connection.putheader("Authorization", f"Bearer {first}")
        connection.putheader("authorization", f"Bearer {second}")
        connection.endheaders()
        assert connection.getresponse().status in (400, 401)
        connection.close()


def test_a_token_that_is_no_header_is_none(server):
    for path in (f"/v2?access_token={token('reader')}", f"/v2?token={token('reader')}"):
        connection = http.client.HTTPConnection(server.http_url, timeout=10)
        connection.request("GET", path, headers={"Cookie": f"authorization=Bearer {token('reader')}"})
        assert connection.getresponse().status == 401
        connection.close()
    assert over_http(server, {"X-API-Key": token()}) == (401, "the API key is not known")


def test_a_token_of_a_megabyte_harms_nobody(server):
    text = f"{'a' * 2**19}.{'b' * 2**19}.c"
    try:
        status, _ = over_http(server, bearer(text))
    except OSError:  # the answer came, and the connection went, before all was sent
        status = 431
    assert status == 431
    with (
        grpc.insecure_channel(server.grpc_url, [("grpc.max_metadata_size", 2**22)]) as channel,
        pytest.raises(grpc.RpcError) as refused,
    ):
        path = "/inference.GRPCInferenceService/ServerMetadata"
        channel.unary_unary(path)(b"", timeout=10, metadata=(("authorization", f"Bearer {text}"),))
    assert refused.value.code() is not grpc.StatusCode.OK
    assert over_grpc(server, bearer(token())) == ("OK", "")


def test_tokens_are_in_no_log(server):
    texts = [token(), token("reader"), token(exp=1)]
    for text in texts:
        over_http(server, bearer(text))
        over_grpc(server, bearer(text))
    assert not [part for text in texts for part in text.split(".")[1:] if part in server.log]


def test_new_keys_hold_within_two_seconds_and_old_ones_no_longer(tmp_path):
    onnx_models.write_models(tmp_path / "models", MODEL)
    access_file = write_files(tmp_path)
    new = signing_key("ES256", "second")
    old_token, new_token = token(), token(key=new)
    with ServerProcess(tmp_path / "models", f"--access-file={access_file}") as server:
        assert over_http(server, bearer(old_token)) == (200, "")
        assert over_grpc(server, bearer(new_token))[0] == "UNAUTHENTICATED"
        (tmp_path / "jwks.json").write_text(jwks(new))
        time.sleep(2)
        assert over_grpc(server, bearer(new_token)) == ("OK", "")
        assert over_http(server, bearer(old_token)) == (401, "the token's key is not known here")

        (tmp_path / "jwks.json").unlink()
        time.sleep(2)
        assert over_http(server, bearer(new_token)) == (200, "")
        assert server.log.count("the keys for tokens in use stay") == 1


def test_a_start_names_the_keys_that_are_missing(tmp_path):
    onnx_models.write_models(tmp_path / "models", MODEL)
    access_file = write_files(tmp_path)
    (tmp_path / "jwks.json").unlink()
    with (
        pytest.raises(AssertionError) as ended,
        ServerProcess(tmp_path / "models", f"--access-file={access_file}"),
    ):
        pass
    log = str(ended.value)
    assert f"{access_file}: tokens[0].jwks: {tmp_path / 'jwks.json'} cannot be read: No such file" in log
    assert "the server ended with status" in log and "Traceback" not in log
