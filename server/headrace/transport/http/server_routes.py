"""What callers ask of the server and its models: liveness, readiness, metadata, configuration."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from headrace.errors import NotFound
from headrace.security.control_guard import GuardedControl
from headrace.service.answers import TensorMetadata
from headrace.transport.http.config_json import config_json
from headrace.transport.http.messages import HttpError, HttpRequest, HttpResponse, json_response
from headrace.transport.http.routes import ControlRoute, Route

MODEL = "/v2/models/{model}"
VERSION = MODEL + "/versions/{version}"


class ServerRoutes:
    def __init__(self, control: GuardedControl) -> None:
        self._control = control

    def routes(self) -> list[Route]:
        routes: list[Route] = [
            ControlRoute("GET", "/v2", self.metadata),
            ControlRoute("GET", "/v2/", self.metadata),
            ControlRoute("GET", "/v2/health/live", self.live),
            ControlRoute("GET", "/v2/health/ready", self.ready),
        ]
        for path in (MODEL, VERSION):
            routes += [
                ControlRoute("GET", path, self.model_metadata),
                ControlRoute("GET", path + "/ready", self.model_ready),
                ControlRoute("GET", path + "/config", self.model_config),
            ]
        return routes

    def live(self, request: HttpRequest) -> HttpResponse:
        return _whether("live", self._control.of(request.caller).is_live())

    def ready(self, request: HttpRequest) -> HttpResponse:
        return _whether("ready", self._control.of(request.caller).is_ready())

    def metadata(self, request: HttpRequest) -> HttpResponse:
        metadata = self._control.of(request.caller).server_metadata()
        return json_response(
            {"name": metadata.name, "version": metadata.version, "extensions": metadata.extensions}
        )

    def model_ready(self, request: HttpRequest) -> HttpResponse:
        """200, 400 where it is not ready, 404 where it is unknown."""
        name, version = which(request)
        control = self._control.of(request.caller)
        if control.is_model_ready(name, version):
            return json_response({"name": name, "ready": True})
        versions = {info.version for info in control.models(name)}
        if not versions or (version and version not in versions):
            raise NotFound(
                f"Request for unknown model: '{name}'{version and f' version {version}'} is not found"
            )
        raise HttpError(HTTPStatus.BAD_REQUEST, "Model version not ready")

    def model_metadata(self, request: HttpRequest) -> HttpResponse:
        metadata = self._control.of(request.caller).model_metadata(*which(request))
        return json_response(
            {
                "name": metadata.name,
                "versions": metadata.versions,
                "platform": metadata.platform,
                "inputs": _tensors(metadata.inputs),
                "outputs": _tensors(metadata.outputs),
                "properties": dict(metadata.properties),
            }
        )

    def model_config(self, request: HttpRequest) -> HttpResponse:
        return json_response(config_json(self._control.of(request.caller).model_config(*which(request))))


def _whether(name: str, is_so: bool) -> HttpResponse:
    """Triton answers with the status alone; the standard has a body as well."""
    return json_response({name: is_so}, HTTPStatus.OK if is_so else HTTPStatus.BAD_REQUEST)


def which(request: HttpRequest) -> tuple[str, str]:
    """The model's name and version that the path names; "" is the server's choice of version."""
    return request.params.get("model", ""), request.params.get("version", "")


def _tensors(tensors: Iterable[TensorMetadata]) -> list[dict[str, Any]]:
    return [{"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape} for tensor in tensors]
