"""Log and trace settings over HTTP: read, and changed where the request has values."""

from typing import Any

from headrace.errors import InvalidArgument
from headrace.security.control_guard import GuardedControl
from headrace.security.policy import Permission
from headrace.transport.http.infer_document import parse_object
from headrace.transport.http.messages import HttpRequest, HttpResponse, json_response
from headrace.transport.http.routes import ControlRoute, Route
from headrace.transport.http.server_routes import MODEL
from headrace.transport.limits import MAX_CONTROL_BYTES, Limits

LOGGING = "/v2/logging"
TRACE = "/trace/setting"


class SettingsRoutes:
    def __init__(self, control: GuardedControl, limits: Limits) -> None:
        self._control = control
        self._limits = limits

    def routes(self) -> list[Route]:
        routes: list[Route] = [
            ControlRoute("GET", LOGGING, self.log_settings),
            ControlRoute("POST", LOGGING, self.log_settings, self._check_log, MAX_CONTROL_BYTES),
        ]
        for path in ("/v2" + TRACE, MODEL + TRACE):
            routes += [
                ControlRoute("GET", path, self.trace_settings),
                ControlRoute("POST", path, self.trace_settings, self._check_trace, MAX_CONTROL_BYTES),
            ]
        return routes

    def _check_log(self, request: HttpRequest) -> None:
        self._control.of(request.caller).check("log_settings", _needed(request), None)

    def _check_trace(self, request: HttpRequest) -> None:
        model = request.params.get("model")
        self._control.of(request.caller).check("trace_settings", _needed(request), model)

    async def log_settings(self, request: HttpRequest) -> HttpResponse:
        updates = self._updates(request)
        for name, value in updates.items():
            if type(value) not in (bool, int, str):
                raise InvalidArgument(f"log setting '{name}' is no string, integer or boolean")
        return json_response(dict(await self._control.of(request.caller).log_settings(updates)))

    async def trace_settings(self, request: HttpRequest) -> HttpResponse:
        updates = {name: _texts(name, value) for name, value in self._updates(request).items()}
        control = self._control.of(request.caller)
        settings = await control.trace_settings(request.params.get("model", ""), updates)
        return json_response(
            {name: list(values) if name == "trace_level" else values[0] for name, values in settings.items()}
        )

    def _updates(self, request: HttpRequest) -> dict[str, Any]:
        if request.method == "GET" or not request.body:
            return {}
        return dict(parse_object(request.body, self._limits))


def _needed(request: HttpRequest) -> Permission:
    """A body is taken for a change before it is read, and for none where it then has no values."""
    return Permission.ADMIN if request.body else Permission.READ


def _texts(name: str, value: Any) -> list[str]:
    """The values of a trace setting; null or nothing clears it."""
    if value is None or value == "":
        return []
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) for item in values):
        raise InvalidArgument(f"trace setting '{name}' is no string and no list of strings")
    return values
