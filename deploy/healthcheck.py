"""Ends with status 0 where the server on this machine is ready, otherwise with 1: a container's health check.

Needs grpcio and no headrace, so that it starts quickly. HEADRACE_GRPC_PORT names another port than 8001,
unless it is what Kubernetes sets for a service called headrace-grpc (`tcp://...`).
"""

import os
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


if __name__ == "__main__":
    sys.exit(main())
