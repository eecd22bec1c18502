"""The table of all HTTP endpoints."""

from headrace.security.control_guard import GuardedControl
from headrace.security.rollout_guard import GuardedRollouts
from headrace.settings import HttpSettings
from headrace.transport.http.docs import Docs
from headrace.transport.http.infer import Infer, InferenceService
from headrace.transport.http.kserve_v1 import KServeV1
from headrace.transport.http.off_loop import OffLoop
from headrace.transport.http.predict import Predict
from headrace.transport.http.repository_routes import RepositoryRoutes
from headrace.transport.http.restricted import restricted
from headrace.transport.http.rollout_routes import RolloutRoutes
from headrace.transport.http.routes import Route
from headrace.transport.http.server_routes import ServerRoutes
from headrace.transport.http.settings_routes import SettingsRoutes
from headrace.transport.http.shared_memory_routes import SharedMemoryRoutes
from headrace.transport.http.statistics_routes import StatisticsRoutes
from headrace.transport.limits import Limits
from headrace.transport.restriction import read_restrictions


def build_routes(
    inference: InferenceService,
    control: GuardedControl,
    settings: HttpSettings,
    limits: Limits,
    off_loop: OffLoop,
    rollouts: GuardedRollouts | None = None,
) -> list[Route]:
    """Every endpoint; `routes.Routes` finds the one that a request means.

    ConfigError where a restriction is wrong. Without `rollouts` there are no endpoints for them.
    """
    docs = Docs(control, has_rollouts=rollouts is not None).routes() if settings.docs else []
    routes: list[Route] = [
        *docs,
        *Infer(inference, control, limits).routes(),
        *Predict(inference, control, limits, off_loop).routes(),
        *KServeV1(inference, control, limits).routes(),
        *ServerRoutes(control).routes(),
        *StatisticsRoutes(control).routes(),
        *RepositoryRoutes(control, limits).routes(),
        *SettingsRoutes(control, limits).routes(),
        *SharedMemoryRoutes().routes(),
    ]
    if rollouts is not None:
        routes += RolloutRoutes(rollouts, limits).routes()
    restrictions = read_restrictions("http.restricted_apis", settings.restricted_apis)
    return restricted(routes, restrictions, control.refused) if restrictions else routes
