"""The shadows of all models' routes: where the router gets its listeners from."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from headrace.core.route import Shadow
from headrace.model.model import Model
from headrace.router.shadow.mirror import Mirror
from headrace.router.shadow.outcome import Outcome
from headrace.router.shadow.pair import Sink
from headrace.router.shadow.pump import Pump
from headrace.router.shadow.spare import SpareCapacity


def never(model: str) -> bool:
    """Where nobody's payloads may be captured."""
    return False


class Mirrors:
    """Implements the router's `Listeners`. Lives on the event loop.

    `find` gives the ready model of a version, `models` every ready model; `captures_inputs` says by a model's
    name whether pairs may have the inputs of its requests.
    """

    def __init__(
        self,
        find: Callable[[str, int], Model | None],
        models: Callable[[], Iterable[Model]],
        capacity: SpareCapacity,
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        captures_inputs: Callable[[str], bool] = never,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._mirrors: dict[tuple[str, int], Mirror] = {}
        self._clock_ns = clock_ns
        self._pump = Pump(find, models, capacity, sink, loop, captures_inputs, clock_ns)

    def of(self, name: str, shadows: Sequence[Shadow]) -> Sequence[Mirror]:
        """A mirror for each of `shadows`; those that `name` had besides get no copies any more."""
        for (model, _), mirror in self._mirrors.items():
            if model == name:
                mirror.sample(0)
        return [self._mirror(name, shadow) for shadow in shadows]

    def counts(self) -> Iterator[tuple[str, str, str, int]]:
        """What became of sampled requests: model, the shadow's version, an Outcome's value, and how many."""
        for (model, version), mirror in self._mirrors.items():
            for outcome in Outcome:
                yield model, str(version), outcome.value, mirror.count(outcome)

    def stop(self) -> None:
        """No more copies are made or submitted; the pairs that there are go to the sink."""
        self._pump.stop()
        for mirror in self._mirrors.values():
            mirror.stop()

    def _mirror(self, name: str, shadow: Shadow) -> Mirror:
        mirror = self._mirrors.get((name, shadow.version))
        if mirror is None:
            mirror = Mirror(name, shadow.version, self._pump.wake, self._clock_ns)
            self._mirrors[name, shadow.version] = mirror
            self._pump.add(mirror)
        mirror.sample(shadow.per_mille)
        return mirror
