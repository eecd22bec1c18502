"""Statistics of each version since it was loaded, in the protocol's words."""

from typing import Any

from headrace.model.statistics import Duration, Statistics
from headrace.security.control_guard import GuardedControl
from headrace.transport.http.messages import HttpRequest, HttpResponse, json_response
from headrace.transport.http.routes import ControlRoute, Route
from headrace.transport.http.server_routes import MODEL, VERSION, which

_NOTHING = {"count": 0, "ns": 0}


class StatisticsRoutes:
    def __init__(self, control: GuardedControl) -> None:
        self._control = control

    def routes(self) -> list[Route]:
        paths = ("/v2/models/stats", MODEL + "/stats", VERSION + "/stats")
        return [ControlRoute("GET", path, self.statistics) for path in paths]

    def statistics(self, request: HttpRequest) -> HttpResponse:
        versions = self._control.of(request.caller).statistics(*which(request))
        return json_response(
            {"model_stats": [_model(name, version, statistics) for name, version, statistics in versions]}
        )


def _model(name: str, version: str, statistics: Statistics) -> dict[str, Any]:
    """All eight stages, as perf_analyzer reads each of them; there is no response cache to hit or miss."""
    batches = [statistics.batches[size] for size in sorted(statistics.batches)]
    return {
        "name": name,
        "version": version,
        "last_inference": statistics.last_inference_ms,
        "inference_count": statistics.inference_count,
        "execution_count": statistics.execution_count,
        "inference_stats": {
            "success": _duration(statistics.success),
            "fail": _duration(statistics.fail),
            "queue": _duration(statistics.queue),
            "compute_input": _duration(statistics.compute_input),
            "compute_infer": _duration(statistics.compute_infer),
            "compute_output": _duration(statistics.compute_output),
            "cache_hit": _NOTHING,
            "cache_miss": _NOTHING,
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": batch.batch_size,
                "compute_input": _duration(batch.compute_input),
                "compute_infer": _duration(batch.compute_infer),
                "compute_output": _duration(batch.compute_output),
            }
            for batch in batches
        ],
        "memory_usage": [],
    }


def _duration(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.ns}
