"""A server as a subprocess for each module that names its models, and clients of it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
import tritonclient.grpc

from support import onnx_models
from support.server import ServerProcess

UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ServerProcess]]:
    """Starts a server with the named models of support.onnx_models, or on a repository that is there.

    After the module it must stop as asked, and its log must tell of no bug.
    """
    with ExitStack() as stack:
        started: list[ServerProcess] = []

        def start(
            *models: str, repository: Path | None = None, arguments: tuple[str, ...] = ()
        ) -> ServerProcess:
            if repository is None:
                repository = tmp_path_factory.mktemp("repository")
                onnx_models.write_models(repository, *models)
            server = stack.enter_context(ServerProcess(repository, *arguments))
            started.append(server)
            return server

        yield start
        for server in started:
            assert server.terminate() == 0, server.log
            assert "Traceback" not in server.log, server.log
            assert "never retrieved" not in server.log, server.log


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    """Triton's client of the module's `server`."""
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        yield client


@pytest.fixture(scope="module")
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc_url, UNLIMITED) as channel:
        yield channel
