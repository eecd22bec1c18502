"""Inference, from a decoded request to its reply, free of any transport."""

from headrace.core.request import InferenceRequest, Reply
from headrace.errors import HeadraceError, InvalidArgument, Unavailable
from headrace.router.router import Router

# How much of a request's id a message shows, in characters.
SHOWN_ID = 128


class InferenceService:
    """What every transport submits its requests to."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._is_accepting = True
        self.refused_counts: dict[str, int] = {}

    def submit(self, request: InferenceRequest, reply: Reply) -> None:
        """Answers `request` through `reply`, exactly once: later, or at once where it cannot be taken on."""
        try:
            if not self._is_accepting:
                raise Unavailable("Server exiting")
            self._router.route(request.model_name, request.model_version).submit(request, reply)
        except HeadraceError as error:
            self._refuse(request, error, reply)

    def stop_accepting(self) -> None:
        """From now on every new request is answered that the server is exiting."""
        self._is_accepting = False

    def _refuse(self, request: InferenceRequest, error: HeadraceError, reply: Reply) -> None:
        reason = type(error).__name__
        self.refused_counts[reason] = self.refused_counts.get(reason, 0) + 1
        if isinstance(error, InvalidArgument):
            error = InvalidArgument(f"[request id: {request.id[:SHOWN_ID] or '<id_unknown>'}] {error}")
        reply.fail(error)
