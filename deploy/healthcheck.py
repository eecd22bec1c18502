"""Ends with status 0 where the server on this machine is ready, otherwise with 1: a container's health check.

Needs grpcio and no headrace, so that it starts quickly. HEADRACE_GRPC_PORT names another port than 8001,
unless it is what Kubernetes sets for a service called headrace-grpc (`tcp://...`). Where the port is
encrypted (HEADRACE_TLS_CERTIFICATE), a certificate may be asked for that is not here: that the port takes
connections then has to do.
"""

import os
import socket
import sys

import grpc

SERVER_READY = "/inference.GRPCInferenceService/ServerReady"
# ServerReadyResponse(ready=True), serialised.
READY = b"\x08\x01"
DEFAULT_PORT = 8001
TIMEOUT_S = 3.0


def main() -> int:
    port = os.environ.get("HEADRACE_GRPC_PORT", "")
    target = f"127.0.0.1:{port if port.isdecimal() else DEFAULT_PORT}"
    if os.environ.get("HEADRACE_TLS_CERTIFICATE"):
        return _connect(target)
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary(SERVER_READY, None, None)
        try:
            is_ready = call(b"", timeout=TIMEOUT_S) == READY
        except grpc.RpcError as error:
            print(f"no answer from {target}: {error.code().name}", file=sys.stderr)
            return 1
    if not is_ready:
        print(f"{target} is not ready", file=sys.stderr)
    return 0 if is_ready else 1


def _connect(target: str) -> int:
    host, _, port = target.partition(":")
    try:
        socket.create_connection((host, int(port)), TIMEOUT_S).close()
    except OSError as error:
        print(f"no answer from {target}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
