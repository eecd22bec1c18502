"""A loop in a thread of its own for servers and asynchronous clients, and each gRPC transport on it."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import grpc
import pytest
import uvloop

from conformance.fakes import FakeControl, FakeInference
from headrace.settings import GrpcSettings
from headrace.transport.grpc.calls import Method
from headrace.transport.grpc.grpcio import GrpcioTransport
from headrace.transport.grpc.methods import build_methods
from headrace.transport.limits import DEFAULT_LIMITS
from support.entrances import open_entrance

T = TypeVar("T")

TIMEOUT_S = 20


class Transport(Protocol):
    async def start(self) -> int: ...

    async def stop(self, grace_s: float) -> None: ...


TRANSPORTS: dict[str, Callable[[GrpcSettings, Mapping[str, Method]], Transport]] = {
    "grpcio": GrpcioTransport,
}


class Loop:
    """An event loop that other threads can hand work to, and that keeps what went unhandled in it."""

    def __init__(self) -> None:
        self.unhandled: list[Mapping[str, Any]] = []
        self._loop = uvloop.new_event_loop()
        self._loop.set_exception_handler(lambda loop, context: self.unhandled.append(context))
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT_S)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """What `function` returns, called on the loop."""

        async def work() -> T:
            return function(*arguments)

        return self.run(work())

    def until(self, condition: Callable[[], bool]) -> None:
        """Waits for `condition`, which is asked on the loop."""

        async def work() -> None:
            async with asyncio.timeout(TIMEOUT_S):
                while not condition():  # noqa: ASYNC110  conditions of any kind, asked from outside
                    await asyncio.sleep(0.005)

        self.run(work())

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass
class Serving:
    """A transport that serves the two fakes."""

    loop: Loop
    transport: Transport
    port: int
    inference: FakeInference
    control: FakeControl
    channels: list[grpc.Channel] = field(default_factory=list)

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def channel(self, **options: int) -> grpc.Channel:
        """A synchronous channel without limits of its own."""
        unlimited = {"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1}
        arguments = unlimited | {f"grpc.{name}": value for name, value in options.items()}
        channel = grpc.insecure_channel(self.target, list(arguments.items()))
        self.channels.append(channel)
        return channel


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.stop()


@pytest.fixture(params=TRANSPORTS)
def serve(loop: Loop, request: pytest.FixtureRequest) -> Iterator[Callable[..., Serving]]:
    """Starts a transport with the given settings; stops it after the test, which must leave no error."""
    started: list[Serving] = []

    def start(**settings: Any) -> Serving:
        grpc_settings = GrpcSettings(**{"port": 0, **settings})
        inference, control = FakeInference(), FakeControl()
        methods = build_methods(inference, control, grpc_settings, DEFAULT_LIMITS)
        transport = TRANSPORTS[request.param](grpc_settings, methods, open_entrance())
        port = loop.run(transport.start())
        serving = Serving(loop, transport, port, inference, control)
        started.append(serving)
        return serving

    loop.unhandled.clear()
    yield start
    for serving in started:
        for channel in serving.channels:
            channel.close()
        loop.run(serving.transport.stop(1))
    assert loop.unhandled == []


@pytest.fixture
def server(serve: Callable[..., Serving]) -> Serving:
    return serve()


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What a caller does is no reason for the server to log a warning."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
