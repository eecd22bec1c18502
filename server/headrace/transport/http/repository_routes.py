"""The repository over HTTP: its index, and loading and unloading models."""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from headrace.errors import InvalidArgument, Unimplemented
from headrace.security.control_guard import GuardedControl
from headrace.security.policy import Permission
from headrace.service.answers import IndexEntry
from headrace.transport.http.infer_document import parse_object
from headrace.transport.http.messages import HttpRequest, HttpResponse, json_response
from headrace.transport.http.routes import ANY_SIZE, Check, ControlRoute, Route
from headrace.transport.limits import MAX_CONTROL_BYTES, Limits

CONFIG = "config"
FILE = "file:"
UNLOAD_DEPENDENTS = "unload_dependents"


class RepositoryRoutes:
    def __init__(self, control: GuardedControl, limits: Limits) -> None:
        self._control = control
        self._limits = limits

    def routes(self) -> list[Route]:
        routes: list[Route] = []
        for repository in ("/v2/repository", "/v2/repository/{repository}"):
            routes += [
                ControlRoute("POST", repository + "/index", self.index, self._check_index, MAX_CONTROL_BYTES),
                ControlRoute(  # files come with the order to load them
                    "POST",
                    repository + "/models/{model}/load",
                    self.load,
                    self._checking("load"),
                    ANY_SIZE,
                ),
                ControlRoute(
                    "POST",
                    repository + "/models/{model}/unload",
                    self.unload,
                    self._checking("unload"),
                    MAX_CONTROL_BYTES,
                ),
            ]
        return routes

    def _check_index(self, request: HttpRequest) -> None:
        self._control.of(request.caller).check_some("repository_index")

    def _checking(self, action: str) -> Check:
        def check(request: HttpRequest) -> None:
            self._control.of(request.caller).check(action, Permission.CONTROL, request.params["model"])

        return check

    def index(self, request: HttpRequest) -> HttpResponse:
        document = self._document(request)
        ready = document.get("ready", False)
        if type(ready) is not bool:
            raise InvalidArgument("Unable to parse 'ready': expected a boolean")
        entries = self._control.of(request.caller).repository_index(
            request.params.get("repository", ""), ready
        )
        return json_response([_entry(entry) for entry in entries])

    async def load(self, request: HttpRequest) -> HttpResponse:
        config, files = _load_parameters(self._parameters(request))
        await self._control.of(request.caller).load(_model_name(request), config, files)
        return HttpResponse()

    async def unload(self, request: HttpRequest) -> HttpResponse:
        for name, value in self._parameters(request).items():
            if name != UNLOAD_DEPENDENTS:
                raise InvalidArgument(f"unrecognized unload parameter '{name}'.")
            if type(value) is not bool:
                raise InvalidArgument(
                    "invalid value type for unload parameter 'unload_dependents', expected a boolean."
                )
        await self._control.of(request.caller).unload(_model_name(request))
        return HttpResponse()

    def _document(self, request: HttpRequest) -> Mapping[str, Any]:
        """The JSON of the body, which may be left out."""
        return parse_object(request.body, self._limits) if request.body else {}

    def _parameters(self, request: HttpRequest) -> Mapping[str, Any]:
        parameters = self._document(request).get("parameters", {})
        if type(parameters) is not dict:
            raise InvalidArgument("Unable to parse 'parameters': expected an object")
        return parameters


def _model_name(request: HttpRequest) -> str:
    if "repository" in request.params:
        raise Unimplemented("'repository_name' specification is not supported")
    return request.params["model"]


def _entry(entry: IndexEntry) -> dict[str, str]:
    """A model that was never loaded shows its name only."""
    if not entry.version:
        return {"name": entry.name}
    described = {"name": entry.name, "version": entry.version, "state": entry.state}
    return {**described, "reason": entry.reason} if entry.reason else described


def _load_parameters(parameters: Mapping[str, Any]) -> tuple[str | None, dict[str, bytes]]:
    """The configuration (JSON) and the files (base64) that are to be loaded instead of the repository's."""
    config: str | None = None
    files: dict[str, bytes] = {}
    for name, value in parameters.items():
        if name != CONFIG and not name.startswith(FILE):
            raise InvalidArgument(f"unrecognized load parameter '{name}'.")
        if type(value) is not str:
            raise InvalidArgument(f"invalid value type for load parameter '{name}', expected a string.")
        if name == CONFIG:
            config = value
        else:
            files[name.removeprefix(FILE)] = _decoded(name, value)
    return config, files


def _decoded(name: str, value: str) -> bytes:
    try:
        return b64decode(value, validate=True)
    except ValueError as error:
        raise InvalidArgument(f"load parameter '{name}' is not valid base64: {error}") from None
