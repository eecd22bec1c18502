"""Which version answers a request: the one it names, or the newest that is ready."""

from headrace.model.model import Model
from headrace.model.registry import Registry


class Router:
    """Asked once per request, on the event loop."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def knows(self, model_name: str) -> bool:
        """Whether a version of it is ready."""
        return self._registry.newest(model_name) is not None

    def route(self, model_name: str, model_version: str) -> Model:
        """The ready model that answers. NotFound, Unavailable or InvalidArgument where none does."""
        return self._registry.find(model_name, model_version)
