"""Models and requests as a router sees them, without anything that executes."""

from collections.abc import Callable, Mapping

from headrace.core.caller import STRANGER, Caller
from headrace.core.request import NO_PARAMETERS, InferenceRequest, Parameters
from headrace.model.registry import Registry


class FakeModel:
    """Counts what it is given, and lets its watches be told of anything."""

    def __init__(self, version: int, name: str = "m") -> None:
        self.name = name
        self.version = version
        self.requests: list[InferenceRequest] = []
        self.watches: list[object] = []

    def submit(self, request: InferenceRequest, reply: object) -> None:
        self.requests.append(request)

    def watch(self, watch: object) -> Callable[[], None]:
        self.watches.append(watch)
        return lambda: self.watches.remove(watch)

    def watch_ability(self, changed: Callable[[], None]) -> None: ...


def registry_of(**models: list[int]) -> Registry:
    """A registry in which these versions are ready."""
    registry = Registry()
    for name, versions in models.items():
        publish(registry, name, *versions)
    return registry


def publish(registry: Registry, name: str, *versions: int) -> dict[int, FakeModel]:
    """From now on new models of these versions are ready."""
    ready = {version: FakeModel(version, name) for version in versions}
    registry.publish(name, ready)  # type: ignore[arg-type]
    return ready


def a_request(
    version: str = "",
    name: str = "m",
    parameters: Parameters = NO_PARAMETERS,
    metadata: Mapping[str, str] | None = None,
    caller: Caller = STRANGER,
    *,
    wants_route: bool = False,
) -> InferenceRequest:
    return InferenceRequest(
        name,
        version,
        "",
        [],
        [],
        parameters,
        0,
        caller=caller,
        metadata=(metadata or {}).get,
        wants_route=wants_route,
    )
