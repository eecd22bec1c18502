"""grpc.health.v1.Health: the health of the server and of each model, once or as it changes."""

from collections.abc import Callable

from headrace.errors import HeadraceError, NotFound, ResourceExhausted, Unavailable, Unimplemented
from headrace.pb.grpc.health.v1 import health_pb2 as pb
from headrace.security.control_guard import ControlOf, GuardedControl
from headrace.service.answers import HealthStatus
from headrace.transport.grpc.calls import (
    NO_MESSAGE,
    Call,
    ControlMethod,
    Method,
    Stream,
    StreamMethod,
)
from headrace.transport.grpc.parse import parse

SERVICE = "/grpc.health.v1.Health/"
MAX_LISTED = 100  # gRFC A90

_STATUSES = {
    HealthStatus.SERVING: pb.HealthCheckResponse.SERVING,
    HealthStatus.NOT_SERVING: pb.HealthCheckResponse.NOT_SERVING,
    HealthStatus.SERVICE_UNKNOWN: pb.HealthCheckResponse.SERVICE_UNKNOWN,
}


class HealthMethods:
    def __init__(self, control: GuardedControl) -> None:
        self._control = control

    def methods(self) -> list[Method]:
        return [
            ControlMethod(SERVICE + "Check", self.check),
            ControlMethod(SERVICE + "List", self.list),
            StreamMethod(SERVICE + "Watch", self.watch),
        ]

    def check(self, data: bytes, call: Call) -> bytes:
        service = parse(pb.HealthCheckRequest, data).service
        status = self._control.of(call.caller).health(service)
        if status is HealthStatus.SERVICE_UNKNOWN:
            raise NotFound(f"unknown service '{service}'")
        return _response(status).SerializeToString()

    def list(self, data: bytes, call: Call) -> bytes:
        parse(pb.HealthListRequest, data)
        services = self._control.of(call.caller).health_services()
        if len(services) > MAX_LISTED:
            raise ResourceExhausted(
                f"{len(services)} services have a status, but at most {MAX_LISTED} can be listed: use Check"
            )
        return pb.HealthListResponse(
            statuses={service: _response(status) for service, status in services.items()}
        ).SerializeToString()

    def watch(self, call: Call, stream: Stream) -> "HealthWatch":
        return HealthWatch(self._control, call, stream)


class HealthWatch:
    """One Watch call: sends a status at once, then each time it has changed.

    A caller who reads too slowly misses what happened in between, and gets the latest.
    """

    def __init__(self, control: GuardedControl, call: Call, stream: Stream) -> None:
        self._control = control
        self._call = call
        self._stream = stream
        self._service: str | None = None
        self._sent: HealthStatus | None = None
        self._is_writable = True
        self._stop_watching: Callable[[], None] | None = None

    def receive(self, data: bytes) -> None:
        if self._service is not None:
            raise Unimplemented("Watch takes one request message, but got another")
        self._service = parse(pb.HealthCheckRequest, data).service
        self._stop_watching = self._of_caller().watch_health(self._send_if_changed)
        self._send_if_changed()

    def receive_end(self) -> None:
        if self._service is None:
            raise Unimplemented(NO_MESSAGE)

    def pause_writing(self) -> None:
        self._is_writable = False

    def resume_writing(self) -> None:
        self._is_writable = True
        self._send_if_changed()

    def drain(self) -> None:
        self._send_if_changed()
        self._stream.fail(Unavailable("the server is shutting down"))

    def close(self) -> None:
        if self._stop_watching is not None:
            self._stop_watching()
            self._stop_watching = None

    def _of_caller(self) -> ControlOf:
        """As the caller may use it now, which may be less than when the watch began."""
        return self._control.of(self._call.caller)

    def _send_if_changed(self) -> None:
        if self._service is None or not self._is_writable:
            return
        try:
            status = self._of_caller().health(self._service)
        except HeadraceError as error:
            self._stream.fail(error)
            return
        if status is not self._sent:
            self._sent = status
            self._stream.send(_response(status).SerializeToString())


def _response(status: HealthStatus) -> pb.HealthCheckResponse:
    return pb.HealthCheckResponse(status=_STATUSES[status])
