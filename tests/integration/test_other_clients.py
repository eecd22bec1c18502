"""Clients made of nothing but grpcio and generated messages, whatever pool these are registered in."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from headrace.pb.inference import grpc_service_pb2 as pb
from support.server import ServerProcess

PROTOS = Path(__file__).resolve().parents[2] / "protos"
SERVICE = "/inference.GRPCInferenceService/"

OURS = """
from headrace.pb.inference import grpc_service_pb2 as ours
"""

TRITONS = """
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as theirs, service_pb2_grpc
"""

USE_BOTH = """
import sys
import grpc
import numpy as np

url = sys.argv[1]
with grpc.insecure_channel(url) as channel:
    fields = dict(
        model_name="identity_int64",
        inputs=[dict(name="x", datatype="INT64", shape=[1, 2])],
        raw_input_contents=[np.array([[3, 4]]).tobytes()],
    )
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    by_theirs = stub.ModelInfer(theirs.ModelInferRequest(**fields)).raw_output_contents
    call = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        ours.ModelInferRequest.SerializeToString,
        ours.ModelInferResponse.FromString,
    )
    by_ours = call(ours.ModelInferRequest(**fields)).raw_output_contents
    assert list(by_theirs) == list(by_ours) == [np.array([[3, 4]]).tobytes()]
with triton.InferenceServerClient(url) as client:
    assert client.get_model_metadata("identity_int64").inputs[0].datatype == "INT64"
print("both work")
"""

GENERATED = """
import sys
import grpc
from inference import grpc_service_pb2 as pb, grpc_service_pb2_grpc

with grpc.insecure_channel(sys.argv[1]) as channel:
    stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    assert stub.ModelConfig(pb.ModelConfigRequest(name="identity_int64")).config.max_batch_size == 32
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="INT64", shape=[1, 1])
    tensor.contents.int64_contents.append(7)
    request = pb.ModelInferRequest(model_name="identity_int64", inputs=[tensor])
    assert stub.ModelInfer(request).raw_output_contents == [(7).to_bytes(8, "little")]
    answers = list(stub.ModelStreamInfer(iter([request] * 3)))
    assert [answer.infer_response.model_name for answer in answers] == ["identity_int64"] * 3
print("generated stubs work")
"""


@pytest.fixture(scope="module")
def server(serve: Callable[..., ServerProcess]) -> ServerProcess:
    return serve("identity_int64", "identity_bytes")


def run_script(code: str, *arguments: str, folder: Path | None = None) -> str:
    """What a Python process of its own prints; warnings are errors there, too."""
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize("imports", [OURS + TRITONS, TRITONS + OURS], ids=["ours first", "Triton's first"])
def test_our_messages_and_tritons_in_one_process(server: ServerProcess, imports: str) -> None:
    assert run_script(imports + USE_BOTH, server.grpc_url) == "both work"


def test_stubs_generated_from_the_protos(server: ServerProcess, tmp_path: Path) -> None:
    sources = [str(path.relative_to(PROTOS)) for path in (PROTOS / "inference").glob("*.proto")]
    outputs = [f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}"]
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", *outputs, *sources]
    subprocess.run(protoc, check=True, capture_output=True, timeout=60)

    assert run_script(GENERATED, server.grpc_url, folder=tmp_path) == "generated stubs work"


def test_our_messages_over_a_plain_channel(channel: grpc.Channel) -> None:
    metadata = channel.unary_unary(
        SERVICE + "ModelMetadata",
        pb.ModelMetadataRequest.SerializeToString,
        pb.ModelMetadataResponse.FromString,
    )(pb.ModelMetadataRequest(name="identity_bytes"))

    assert [tensor.datatype for tensor in metadata.inputs] == ["BYTES"]
    (key,) = [key for key in metadata.properties if key.startswith("sha256/")]
    assert key == "sha256/1/model.onnx"
    assert len(metadata.properties[key]) == 64


def test_a_stream_over_a_plain_channel(channel: grpc.Channel) -> None:
    def request(value: int) -> pb.ModelInferRequest:
        tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="INT64", shape=[1, 1])
        raw = value.to_bytes(8, "little")
        return pb.ModelInferRequest(
            model_name="identity_int64", id=str(value), inputs=[tensor], raw_input_contents=[raw]
        )

    call = channel.stream_stream(
        SERVICE + "ModelStreamInfer",
        pb.ModelInferRequest.SerializeToString,
        pb.ModelStreamInferResponse.FromString,
    )
    answers = list(call(iter([request(value) for value in range(100)]), timeout=20))

    assert [answer.infer_response.id for answer in answers] == [str(value) for value in range(100)]
    assert [answer.infer_response.raw_output_contents[0][0] for answer in answers] == list(range(100))


def test_a_method_that_is_not_there(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(SERVICE + "ModelGuess")(b"")

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
