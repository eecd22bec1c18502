"""ModelStreamInfer: many requests on one call, answered in the order in which they came."""

import time
from collections import deque

from headrace.core.request import InferenceResponse
from headrace.errors import DeadlineExceeded, HeadraceError, Unauthenticated, Unavailable
from headrace.transport.failures import to_error
from headrace.transport.grpc.calls import Call, Method, Stream, StreamMethod
from headrace.transport.grpc.decode import parse_request, read_request
from headrace.transport.grpc.encode import encode_stream_error, encode_stream_response
from headrace.transport.grpc.infer import ROUTE_METADATA, TIMINGS_METADATA, InferenceService
from headrace.transport.limits import UNASKED_BYTES, Limits

PATH = "/inference.GRPCInferenceService/ModelStreamInfer"
ERROR_AS_STATUS_METADATA = "triton_grpc_error"
MAX_UNANSWERED = 256


class ModelStreamInfer:
    """Opens a handler for each stream."""

    def __init__(self, service: InferenceService, limits: Limits) -> None:
        self._service = service
        self._limits = limits

    def methods(self) -> list[Method]:
        return [StreamMethod(PATH, self.open)]

    def open(self, call: Call, stream: Stream) -> "InferStream":
        return InferStream(self._service, self._limits, call, stream)


class InferStream:
    """One stream: keeps each answer until those before it are sent.

    At most MAX_UNANSWERED requests wait for an answer or for it to be sent; then no more are read, so that a
    caller who sends without reading holds up nobody else.
    """

    def __init__(self, service: InferenceService, limits: Limits, call: Call, stream: Stream) -> None:
        self._service = service
        self._limits = limits
        self._call = call
        self._stream = stream
        self._wants_timings = call.metadata(TIMINGS_METADATA) == "true"
        self._wants_route = call.metadata(ROUTE_METADATA) == "true"
        self._is_error_a_status = call.metadata(ERROR_AS_STATUS_METADATA) == "true"
        self._unanswered: deque[_OrderedReply] = deque()
        self._is_writable = True
        self._is_reading_paused = False
        self._is_last_received = False
        self._is_draining = False
        self._is_over = False

    @property
    def is_over(self) -> bool:
        return self._is_over

    def receive(self, data: bytes) -> None:
        if len(data) > UNASKED_BYTES:
            self._service.check_some(self._call.caller)
        message, raws = parse_request(data)
        reply = _OrderedReply(self, message.id, self._is_error_a_status)
        self._unanswered.append(reply)
        if len(self._unanswered) >= MAX_UNANSWERED:
            self._is_reading_paused = True
            self._stream.pause_reading()
        try:
            request = read_request(message, raws, time.monotonic_ns(), self._call.deadline_ns, self._limits)
            request.caller = self._call.caller
            request.metadata = self._call.metadata
        except Unauthenticated as error:
            reply.end(error)
            return
        except HeadraceError as error:
            reply.fail(error)
            return
        if self._wants_timings:
            request.wants_timings = True
        if self._wants_route:
            request.wants_route = True
        self._service.submit(request, reply)

    def receive_end(self) -> None:
        self._is_last_received = True
        self.send_answered()

    def pause_writing(self) -> None:
        self._is_writable = False

    def resume_writing(self) -> None:
        self._is_writable = True
        self.send_answered()

    def drain(self) -> None:
        self._is_draining = True
        self._stream.pause_reading()
        self.send_answered()

    def close(self) -> None:
        self._is_over = True
        self._unanswered.clear()

    def send_answered(self) -> None:
        """Sends the answers that no earlier request holds up, as far as the caller reads."""
        unanswered = self._unanswered
        while unanswered and self._is_writable:
            answer = unanswered[0].answer
            if answer is None:
                break
            unanswered.popleft()
            if isinstance(answer, HeadraceError):
                self._stream.fail(answer)
                self.close()
            else:
                self._stream.send(answer)
        if not self._is_over:
            self._end_or_read_on()

    def _end_or_read_on(self) -> None:
        if self._unanswered:
            is_full = len(self._unanswered) >= MAX_UNANSWERED
            if self._is_reading_paused and not is_full and not self._is_draining:
                self._is_reading_paused = False
                self._stream.resume_reading()
        elif self._is_last_received:
            self._is_over = True
            self._stream.finish()
        elif self._is_draining:
            self._is_over = True
            self._stream.fail(Unavailable("the server is shutting down and takes no more requests"))


class _OrderedReply:
    """A reply that keeps its answer until its turn has come: a message to send, or an error to end with."""

    __slots__ = ("_id", "_is_error_a_status", "_stream", "answer")

    def __init__(self, stream: InferStream, request_id: str, is_error_a_status: bool) -> None:
        self._stream = stream
        self._id = request_id
        self._is_error_a_status = is_error_a_status
        self.answer: bytes | HeadraceError | None = None

    @property
    def is_wanted(self) -> bool:
        return not self._stream.is_over

    def complete(self, response: InferenceResponse) -> None:
        try:
            self._settle(encode_stream_response(response))
        except Exception as error:
            self.fail(to_error(error, PATH))

    def fail(self, error: HeadraceError) -> None:
        """A deadline is the whole call's: once it has passed, the stream ends with that status."""
        if self._is_error_a_status or isinstance(error, DeadlineExceeded):
            self.end(error)
        else:
            self._settle(encode_stream_error(self._id, str(error)))

    def end(self, error: HeadraceError) -> None:
        """Ends the stream with `error`, once the requests before this one are answered."""
        self._settle(error)

    def _settle(self, answer: bytes | HeadraceError) -> None:
        self.answer = answer
        self._stream.send_answered()
