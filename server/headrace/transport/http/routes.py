"""Which endpoint a request means: the table of paths, and how an endpoint's answer reaches its caller."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from sys import maxsize
from typing import TypeAlias
from urllib.parse import unquote

from headrace.errors import InvalidArgument
from headrace.transport.failures import to_error
from headrace.transport.http.messages import Answer, HttpError, HttpRequest, HttpResponse

MAX_REMEMBERED_PATHS = 4096
MAX_REMEMBERED_LENGTH = 256
MAX_SHOWN_PATH = 256
# Of an endpoint that reads whatever the connection lets through (http.max_body_bytes).
ANY_SIZE = maxsize

Check: TypeAlias = Callable[[HttpRequest], None]


def unchecked(request: HttpRequest) -> None:
    """For endpoints that look at no body: they, or what is behind them, say who may ask."""


@dataclass(frozen=True, slots=True)
class ControlRoute:
    """An endpoint that answers at once, or with an awaitable where it has to wait.

    In `path`, what stands in braces is any text, as in `/v2/models/{model}` and `/v1/models/{model}:predict`.
    `check` raises where the caller may not, and is asked before the body is looked at. Of a body, at most
    `max_body_bytes` are read once it is decompressed; 0 passes it over.
    """

    method: str
    path: str
    handle: Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]]
    check: Check = unchecked
    max_body_bytes: int = 0


@dataclass(frozen=True, slots=True)
class InferenceRoute:
    """An endpoint that answers later, by callback: it needs no task; `submit` may raise at once."""

    method: str
    path: str
    submit: Callable[[HttpRequest, Answer], None]
    check: Check = unchecked
    max_body_bytes: int = ANY_SIZE


Route: TypeAlias = ControlRoute | InferenceRoute


class Routes:
    """Finds the endpoint of a request and gives it the request."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        for route in routes:
            self._root.add(route)
        self._remembered: dict[str, tuple[Mapping[str, Route], Mapping[str, str]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def dispatch(self, request: HttpRequest, answer: Answer) -> None:
        """Answers through `answer`, now or later; never raises."""
        route = self.permitted(request, answer)
        if route is not None:
            self.answer(route, request, answer)

    def permitted(self, request: HttpRequest, answer: Answer) -> Route | None:
        """The endpoint that `request` means; None where `answer` was told that its caller may not."""
        try:
            route, request.params = self._find(request)
            route.check(request)
        except Exception as error:
            answer.fail(to_error(error, f"{request.method} {request.path}"))
            return None
        return route

    def answer(self, route: Route, request: HttpRequest, answer: Answer) -> None:
        """Has `route` answer what is permitted and not compressed, now or later; never raises."""
        try:
            if isinstance(route, InferenceRoute):
                route.submit(request, answer)
                return
            _check_size(request, route.max_body_bytes)
            response = route.handle(request)
        except Exception as error:
            answer.fail(to_error(error, f"{request.method} {request.path}"))
            return
        if isinstance(response, HttpResponse):
            answer.complete(response)
        else:
            task = asyncio.get_running_loop().create_task(self._answer_later(response, request, answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def wait(self, timeout_s: float) -> None:
        """Returns once no endpoint is at work, or `timeout_s` have passed; then those are cancelled."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=timeout_s)
            for task in late:
                task.cancel()

    async def _answer_later(
        self, response: Awaitable[HttpResponse], request: HttpRequest, answer: Answer
    ) -> None:
        try:
            answer.complete(await response)
        except Exception as error:
            answer.fail(to_error(error, f"{request.method} {request.path}"))

    def _find(self, request: HttpRequest) -> tuple[Route, Mapping[str, str]]:
        found = self._remembered.get(request.path)
        if found is None:
            found = self._root.find(request.path)
            self._remember(request.path, found)
        routes, params = found
        # The body that HEAD leaves out is left out where the response is written.
        route = routes.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            raise _method_error(request.method, routes)
        return route, params

    def _remember(self, path: str, found: tuple[Mapping[str, Route], Mapping[str, str]]) -> None:
        if len(path) > MAX_REMEMBERED_LENGTH:
            return
        if len(self._remembered) >= MAX_REMEMBERED_PATHS:
            self._remembered.clear()
        self._remembered[path] = found


class _Node:
    """One segment of the paths; those in braces lead on with any text before a certain ending, or none."""

    def __init__(self) -> None:
        self._next: dict[str, _Node] = {}
        self._any: dict[str, tuple[str, _Node]] = {}
        self._routes: dict[str, Route] = {}

    def add(self, route: Route) -> None:
        node = self
        for segment in route.path.split("/")[1:]:
            node = node._step(segment)
        if route.method in node._routes:
            raise ValueError(f"{route.method} {route.path} stands twice in the table; this is a bug")
        node._routes[route.method] = route

    def find(self, path: str) -> tuple[Mapping[str, Route], Mapping[str, str]]:
        """The routes of `path` by method, and its varying parts; NotFound where there are none."""
        found = self._find(path.split("/")[1:], 0, {}) if path.startswith("/") else None
        if found is None:
            raise HttpError(HTTPStatus.NOT_FOUND, f"there is nothing at {path[:MAX_SHOWN_PATH]}")
        return found

    def _find(
        self, segments: Sequence[str], at: int, params: dict[str, str]
    ) -> tuple[Mapping[str, Route], Mapping[str, str]] | None:
        """A fixed segment goes before any text, but where it leads nowhere, it is a text like any other."""
        if at == len(segments):
            return (self._routes, params) if self._routes else None
        segment = segments[at]
        fixed = self._next.get(segment)
        if fixed is not None and (found := fixed._find(segments, at + 1, params)):
            return found
        for ending, (name, node) in self._any.items():
            text = segment.removesuffix(ending)
            if text and segment.endswith(ending):
                found = node._find(segments, at + 1, {**params, name: _decoded(text)})
                if found:
                    return found
        return None

    def _step(self, segment: str) -> "_Node":
        if not segment.startswith("{"):
            return self._next.setdefault(segment, _Node())
        name, _, ending = segment[1:].partition("}")
        if ending not in self._any:
            nodes = {**self._any, ending: (name, _Node())}
            # The longest ending first: any text ends with none.
            self._any = dict(sorted(nodes.items(), key=lambda item: -len(item[0])))
        return self._any[ending][1]


def _check_size(request: HttpRequest, max_body_bytes: int) -> None:
    """InvalidArgument where the body is larger than its endpoint reads; 0 is for one that reads none."""
    if len(request.body) > max_body_bytes > 0:
        raise InvalidArgument(
            f"the request's body has {len(request.body)} bytes: at most {max_body_bytes} are allowed here"
        )


def _decoded(segment: str) -> str:
    """`segment` without its percent encoding, which is taken off once."""
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise HttpError(HTTPStatus.BAD_REQUEST, "the path is not UTF-8") from None


def _method_error(method: str, routes: Mapping[str, Route]) -> HttpError:
    allowed = ", ".join(sorted(routes))
    return HttpError(
        HTTPStatus.METHOD_NOT_ALLOWED,
        f"{method} is not possible here: expected {allowed}",
        headers=(("Allow", allowed),),
    )
