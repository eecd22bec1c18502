"""Golden requests: a version answers them as expected before it is ready, or is not loaded."""

import time
from collections.abc import Iterator

from headrace.backend.base import Backend
from headrace.core.request import NO_PARAMETERS, InferenceRequest, InferenceResponse, RequestedOutput
from headrace.errors import HeadraceError
from headrace.model.comparison import differences
from headrace.model.signature import Signature, queue_policies
from headrace.model.time_limit import time_limit
from headrace.repository.golden.request import GoldenRequest
from headrace.repository.problems import InvalidModel, Problem
from headrace.repository.repository import VersionSource
from headrace.scheduler.batch import Batch, Layout
from headrace.scheduler.history import ClosedBecause

# After so many mistakes the rest is not run: they are told one by one.
MAX_TOLD = 20


class GoldenCheck:
    """Holds the backends of one version against its golden requests.

    Each request is admitted, joined, padded, executed and cut as a live one is that finds an empty queue.
    """

    def __init__(self, source: VersionSource) -> None:
        self._requests = source.golden
        self._name = source.name
        self._version = str(source.version)
        self._layout = Layout.of(source.config, self._version)
        self._signature = Signature(source.config, queue_policies(source.config, 1))

    def run(self, backend: Backend, device: str, timeout_s: float) -> None:
        """Blocks while all are executed; InvalidModel names what was not answered as expected on `device`.

        Each may take `timeout_s` seconds, any time where that is 0.
        """
        problems: list[Problem] = []
        for request in self._requests:
            try:
                response = self._execute(request, backend, device, timeout_s)
            except HeadraceError as error:
                # It may have been interrupted, which a backend does not get over.
                problems.append(Problem(request.file, "", f"failed on {device}: {error}"))
                break
            problems += self._compare(request, response, device)
            if len(problems) >= MAX_TOLD:
                break
        if problems:
            raise InvalidModel(problems)

    def _execute(
        self, golden: GoldenRequest, backend: Backend, device: str, timeout_s: float
    ) -> InferenceResponse:
        """The answer; HeadraceError where there is none."""
        now_ns = time.monotonic_ns()
        outputs = [RequestedOutput(output.name) for output in golden.outputs]
        request = InferenceRequest(
            self._name, self._version, "", list(golden.inputs), outputs, NO_PARAMETERS, now_ns
        )
        entry = self._signature.admit(request, _Nobody())
        batch = Batch(self._layout, [entry], entry.rows, now_ns, ClosedBecause.NOT_BATCHED, device)
        with time_limit(backend, timeout_s):
            batch.execute(backend)
        (outcome,) = batch.outcomes
        if isinstance(outcome, HeadraceError):
            raise outcome
        return outcome

    def _compare(self, golden: GoldenRequest, response: InferenceResponse, device: str) -> Iterator[Problem]:
        for expected, tensor in zip(golden.outputs, response.outputs, strict=True):
            for difference in differences(expected, tensor, batches=self._layout.batches):
                yield Problem(golden.file, f"output {expected.name!r} on {device}", difference)


class _Nobody:
    """The reply of a request whose answer is taken from its batch."""

    is_wanted = True

    def complete(self, response: InferenceResponse) -> None:
        """Never called: no scheduler knows of the request."""

    def fail(self, error: HeadraceError) -> None:
        """Never called, either."""
