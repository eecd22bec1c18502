"""Inference, from a decoded request to its reply, free of any transport."""

from collections import Counter

from headrace.core.request import InferenceRequest, Reply, about
from headrace.errors import HeadraceError, InvalidArgument
from headrace.router.router import Destination, Router


class InferenceService:
    """What every transport submits its requests to."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self.unrouted_counts: Counter[str] = Counter()

    def submit(self, request: InferenceRequest, reply: Reply) -> None:
        """Answers `request` through `reply`, exactly once: later, or at once where it cannot be taken on."""
        try:
            self._route(request).submit(request, reply)
        except HeadraceError as error:
            self._refuse(request, error, reply)

    def knows(self, model_name: str) -> bool:
        """Whether there is a model of this name that is ready."""
        return self._router.knows(model_name)

    def _route(self, request: InferenceRequest) -> Destination:
        """Who answers; what no model is found for is counted here, all else by the model."""
        try:
            return self._router.route(request)
        except HeadraceError as error:
            self.unrouted_counts[error.status.name.lower()] += 1
            raise

    def _refuse(self, request: InferenceRequest, error: HeadraceError, reply: Reply) -> None:
        if isinstance(error, InvalidArgument):
            error = about(request, error)
        reply.fail(error)
