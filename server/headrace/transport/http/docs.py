"""The description of the endpoints at /openapi.json, and a page at /docs to read it and to try calls from."""

from functools import lru_cache
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path

from headrace.security.control_guard import GuardedControl
from headrace.transport.http.messages import HttpError, HttpRequest, HttpResponse, json_response
from headrace.transport.http.openapi import describe
from headrace.transport.http.routes import ControlRoute, Route

OWN = Path(__file__).parent / "static"
# What the page loads; Swagger UI's files come from the package swagger-ui-py, whose code is not used.
OWN_FILES = frozenset({"docs.css", "docs.js"})
SWAGGER_FILES = frozenset({"swagger-ui.css", "swagger-ui-bundle.js"})

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_HTML = "text/html; charset=utf-8"
# The page loads from, and calls, this server alone.
_POLICY = (
    (
        "Content-Security-Policy",
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
_KEPT = (("Cache-Control", "max-age=3600"),)


class Docs:
    def __init__(self, control: GuardedControl, *, has_rollouts: bool = False) -> None:
        self._control = control
        self._has_rollouts = has_rollouts

    def routes(self) -> list[Route]:
        return [
            ControlRoute("GET", "/openapi.json", self.description),
            ControlRoute("GET", "/docs", self.page),
            ControlRoute("GET", "/docs/{file}", self.file),
        ]

    def description(self, request: HttpRequest) -> HttpResponse:
        control = self._control.of(request.caller)
        response = json_response(describe(control, has_rollouts=self._has_rollouts))
        response.may_be_coded = True
        return response

    def page(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse((_read(OWN / "docs.html"),), content_type=_HTML, headers=_POLICY)

    def file(self, request: HttpRequest) -> HttpResponse:
        name = request.params["file"]
        path = _path_of(name)
        if path is None:
            raise HttpError(HTTPStatus.NOT_FOUND, f"the page has no file '{name[:64]}'")
        return HttpResponse(
            (_read(path),), content_type=_TYPES[path.suffix], headers=_POLICY + _KEPT, may_be_coded=True
        )


def _path_of(name: str) -> Path | None:
    if name in OWN_FILES:
        return OWN / name
    if name not in SWAGGER_FILES:
        return None
    package = find_spec("swagger_ui")
    if package is None or not package.submodule_search_locations:
        raise HttpError(
            HTTPStatus.NOT_IMPLEMENTED, "the page needs the package swagger-ui-py, which is not installed"
        )
    return Path(package.submodule_search_locations[0], "static", name)


@lru_cache(maxsize=8)
def _read(path: Path) -> bytes:
    return path.read_bytes()
