"""Where a route sends a request: one version's model, and those who listen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace.core.request import InferenceRequest, Parameters, Reply
from headrace.model.model import Model


class Listener(Protocol):
    """A shadow: gets copies of some requests."""

    def is_next(self) -> bool:
        """Whether it gets a copy of this request; asked once per request."""
        ...

    def listen(self, request: InferenceRequest, reply: Reply, live: Model) -> Reply:
        """The reply to give to the `live` model instead of `reply`."""
        ...


@dataclass(slots=True, eq=False)
class Target:
    """A model and why it is chosen; `count` has the requests that it got, `notes` what answers may say of it.

    Where it `is_substitute`, answers say so whether or not they are asked. Where it `is_shared`, it is chosen
    by weights or by a key, and its requests say so.
    """

    model: Model
    notes: Parameters
    listeners: Sequence[Listener] = ()
    is_substitute: bool = False
    is_shared: bool = False
    count: int = 0

    def submit(self, request: InferenceRequest, reply: Reply) -> None:
        """Takes `request` on, as a model does."""
        self.count += 1
        request.is_shared = self.is_shared
        if self.is_substitute or request.wants_route:
            request.notes = self.notes
        for listener in self.listeners:
            if listener.is_next():
                reply = listener.listen(request, reply, self.model)
        self.model.submit(request, reply)
