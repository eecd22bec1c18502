"""One call over HTTP or gRPC, told as a status and a text, whatever comes of it."""

import http.client
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from support.server import ServerProcess

INFERENCE = "/inference.GRPCInferenceService/"
OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))


@dataclass(frozen=True)
class Answer:
    """`status` is a number over HTTP and the code's name over gRPC; `text` has the body, or the details."""

    status: int | str
    text: str
    headers: Mapping[str, str]
    data: bytes = b""


def bearer(key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


def over_http(
    server: ServerProcess,
    path: str,
    key: str | None = None,
    *,
    method: str = "GET",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """`path` is sent as it is."""
    connection = http.client.HTTPConnection(server.http_url, timeout=20)
    try:
        connection.request(method, path, body or None, {**bearer(key), **(headers or {})})
        answer = connection.getresponse()
        data = answer.read()
        return Answer(answer.status, data.decode("utf-8", "replace"), answer.headers, data)
    finally:
        connection.close()


def over_grpc(
    channel: grpc.Channel,
    method: str,
    message: Any = b"",
    key: str | None = None,
    *,
    metadata: Iterable[tuple[str, str]] = (),
) -> Answer:
    """`method` with its service; `message` may be serialised already. Of a stream, all answers together."""
    data = message if isinstance(message, bytes) else message.SerializeToString()
    sent = (*bearer(key).items(), *metadata)
    try:
        answers = list(channel.unary_stream(method)(data, timeout=20, metadata=sent))
    except grpc.RpcError as error:
        return Answer(error.code().name, error.details() or "", {})
    answer = b"".join(answers)
    return Answer("OK", answer.decode("utf-8", "replace"), {}, answer)


def connect(server: ServerProcess) -> grpc.Channel:
    """A connection of its own."""
    return grpc.insecure_channel(server.grpc_url, OPTIONS)
