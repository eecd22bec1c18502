"""ModelInfer: one request, one answer."""

from typing import Protocol

from headrace.core.caller import Caller
from headrace.core.request import InferenceRequest, InferenceResponse, Reply
from headrace.errors import HeadraceError
from headrace.transport.failures import to_error
from headrace.transport.grpc.calls import Answer, Call, InferenceMethod, Method
from headrace.transport.grpc.decode import decode_request
from headrace.transport.grpc.encode import encode_response
from headrace.transport.limits import UNASKED_BYTES, Limits

PATH = "/inference.GRPCInferenceService/ModelInfer"
TIMINGS_METADATA = "headrace-timings"
ROUTE_METADATA = "headrace-route"


class InferenceService(Protocol):
    def check_some(self, caller: Caller) -> None:
        """PermissionDenied or Unauthenticated where `submit` would refuse whatever the caller asks for."""
        ...

    def submit(self, request: InferenceRequest, reply: Reply) -> None:
        """Answers through `reply`, now or later; never raises."""
        ...


class ModelInfer:
    """Decodes requests, hands them to the service, and encodes its answers."""

    def __init__(self, service: InferenceService, limits: Limits) -> None:
        self._service = service
        self._limits = limits

    def methods(self) -> list[Method]:
        return [InferenceMethod(PATH, self.submit)]

    def submit(self, data: bytes, call: Call, answer: Answer) -> None:
        try:
            if len(data) > UNASKED_BYTES:
                self._service.check_some(call.caller)
            request = decode_request(data, call.arrived_ns, call.deadline_ns, self._limits)
        except Exception as error:
            answer.fail(to_error(error, PATH))
            return
        request.caller = call.caller
        request.metadata = call.metadata
        if call.metadata(TIMINGS_METADATA) == "true":
            request.wants_timings = True
        if call.metadata(ROUTE_METADATA) == "true":
            request.wants_route = True
        self._service.submit(request, _EncodingReply(answer))


class _EncodingReply:
    """A reply that answers a call with the response's bytes."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    @property
    def is_wanted(self) -> bool:
        return self._answer.is_wanted

    def complete(self, response: InferenceResponse) -> None:
        try:
            data = encode_response(response)
        except Exception as error:  # one answer that cannot be written must not harm the others of its batch
            self._answer.fail(to_error(error, PATH))
            return
        self._answer.complete(data)

    def fail(self, error: HeadraceError) -> None:
        self._answer.fail(error)
