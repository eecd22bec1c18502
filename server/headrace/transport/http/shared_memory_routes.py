"""The shared memory endpoints, which this server knows and does not do."""

from headrace.errors import Unimplemented
from headrace.transport.http.messages import HttpRequest, HttpResponse
from headrace.transport.http.routes import ControlRoute, Route
from headrace.transport.parameters import SHARED_MEMORY_DISABLED


class SharedMemoryRoutes:
    def routes(self) -> list[Route]:
        routes: list[Route] = []
        for kind in ("/v2/systemsharedmemory", "/v2/cudasharedmemory"):
            for path in (kind, kind + "/region/{region}"):
                routes.append(ControlRoute("GET", path + "/status", self.refuse))
                routes.append(ControlRoute("POST", path + "/unregister", self.refuse))
            routes.append(ControlRoute("POST", kind + "/region/{region}/register", self.refuse))
        return routes

    def refuse(self, request: HttpRequest) -> HttpResponse:
        raise Unimplemented(SHARED_MEMORY_DISABLED)
