"""Which group of Triton's restricted APIs each endpoint is in, and endpoints that ask for its header."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from headrace.errors import PermissionDenied
from headrace.transport.http.messages import HttpRequest
from headrace.transport.http.routes import Route
from headrace.transport.restriction import Api, Refused, Restriction

# Of the patterns in the table of endpoints, where a model's name is `{model}`; endings go first.
_ENDINGS: Mapping[str, Api] = {
    "/infer": Api.INFERENCE,
    ":predict": Api.INFERENCE,
    "/live": Api.HEALTH,
    "/ready": Api.HEALTH,
    "/config": Api.MODEL_CONFIG,
    "/stats": Api.STATISTICS,
    "/trace/setting": Api.TRACE,
    "/v2/logging": Api.LOGGING,
}
_BEGINNINGS: Mapping[str, Api] = {
    "/v1/predict/": Api.INFERENCE,
    "/v2/repository": Api.MODEL_REPOSITORY,
    # Like loading and unloading, they decide which version answers.
    "/v2/rollouts": Api.MODEL_REPOSITORY,
    "/v2/models/{model}/rollout": Api.MODEL_REPOSITORY,
    "/v2/models/{model}/route": Api.MODEL_REPOSITORY,
    "/v2/systemsharedmemory": Api.SHARED_MEMORY,
    "/v2/cudasharedmemory": Api.SHARED_MEMORY,
    "/v2": Api.METADATA,
    "/v1/models": Api.METADATA,
    "/openapi.json": Api.METADATA,
}


def group_of(path: str) -> Api | None:
    """The group of the endpoint at the pattern `path`; None for those that say nothing of the server."""
    for ending, api in _ENDINGS.items():
        if path.endswith(ending):
            return api
    for beginning, api in _BEGINNINGS.items():
        if path.startswith(beginning):
            return api
    return None


def restricted(
    routes: Iterable[Route], restrictions: Mapping[Api, Restriction], refused: Refused
) -> list[Route]:
    """`routes`, of which those in a group with a restriction answer only requests that meet it."""
    return [_asking(route, restrictions, refused) for route in routes]


def _asking(route: Route, restrictions: Mapping[Api, Restriction], refused: Refused) -> Route:
    group = group_of(route.path)
    restriction = restrictions.get(group) if group else None
    if group is None or restriction is None:
        return route

    def check(request: HttpRequest) -> None:
        if not restriction.is_met_by(request.headers.get(restriction.header)):
            error = PermissionDenied(f"This API is restricted, expecting header '{restriction.header}'")
            refused(group, request.caller, error)
            raise error
        route.check(request)

    return replace(route, check=check)
