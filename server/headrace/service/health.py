"""Readiness and health: of the server, of its gRPC service, and of each model by name."""

from collections.abc import Callable, Mapping

from headrace.model.model import Model
from headrace.model.registry import Registry
from headrace.router.router import Router
from headrace.service.answers import HealthStatus

INFERENCE_SERVICE = "inference.GRPCInferenceService"


class Health:
    """Ready once the first models are loaded, no longer ready as soon as the server is told to stop."""

    def __init__(self, registry: Registry, router: Router) -> None:
        self._registry = registry
        self._router = router
        self._has_started = False
        self._is_stopping = False
        self._listeners: list[Callable[[], None]] = []
        registry.listen(self._changed)

    def started(self) -> None:
        """The models of the start are loaded, or known not to be loadable."""
        self._has_started = True
        self._changed()

    def stopping(self) -> None:
        """No new requests are wanted; load balancers look elsewhere from now on."""
        self._is_stopping = True
        self._changed()

    @property
    def is_ready(self) -> bool:
        """True while requests are wanted and every ready model has an instance to execute them."""
        is_serving = self._has_started and not self._is_stopping
        return is_serving and all(model.is_able for model in self._registry.models())

    def is_model_ready(self, model: Model | None) -> bool:
        return model is not None and model.is_able and not self._is_stopping

    def of(self, service: str) -> HealthStatus:
        """The health of `service`: "" for all, the inference service's name, or a model's name."""
        return self.services().get(service, HealthStatus.SERVICE_UNKNOWN)

    def services(self) -> Mapping[str, HealthStatus]:
        server = _status(self.is_ready)
        models = {name: self._model_status(name) for name in self._registry.names()}
        return {**models, "": server, INFERENCE_SERVICE: server}

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """`changed` is called after anything that may change a health; returns what ends that."""
        self._listeners.append(changed)
        return lambda: self._listeners.remove(changed)

    def _model_status(self, name: str) -> HealthStatus:
        return _status(self._has_started and self.is_model_ready(self._router.default(name)))

    def _changed(self) -> None:
        for changed in list(self._listeners):
            changed()


def _status(is_serving: bool) -> HealthStatus:
    return HealthStatus.SERVING if is_serving else HealthStatus.NOT_SERVING
