"""The methods' side of streaming calls: order, flow control, and how they end."""

from collections.abc import Callable

import pytest

from headrace.core.caller import STRANGER
from headrace.core.request import InferenceRequest, InferenceResponse, Reply
from headrace.errors import DeadlineExceeded, HeadraceError, Internal, Unavailable, Unimplemented
from headrace.pb.grpc.health.v1 import health_pb2
from headrace.pb.inference import grpc_service_pb2 as pb
from headrace.service.answers import HealthStatus
from headrace.transport.grpc.health import HealthWatch
from headrace.transport.grpc.infer_stream import MAX_UNANSWERED, InferStream
from headrace.transport.grpc.reflection import ReflectionStream
from headrace.transport.limits import Limits


class FakeCall:
    caller = STRANGER
    arrived_ns = 1
    deadline_ns = 99
    peer = "test"

    def __init__(self, **metadata: str) -> None:
        self._metadata = metadata

    def metadata(self, key: str) -> str | None:
        return self._metadata.get(key.replace("-", "_"))


class FakeStream:
    """Keeps what the method does."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.ended: list[HeadraceError | None] = []
        self.is_reading = True

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def finish(self) -> None:
        self.ended.append(None)

    def fail(self, error: HeadraceError) -> None:
        self.ended.append(error)

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True


class FakeInference:
    def __init__(self) -> None:
        self.waiting: list[tuple[InferenceRequest, Reply]] = []

    def submit(self, request: InferenceRequest, reply: Reply) -> None:
        self.waiting.append((request, reply))

    def answer(self, index: int) -> None:
        request, reply = self.waiting[index]
        reply.complete(InferenceResponse("m", "1", request.id, []))


class Streaming:
    """An InferStream between the two fakes."""

    def __init__(self, **metadata: str) -> None:
        self.stream = FakeStream()
        self.inference = FakeInference()
        self.handler = InferStream(self.inference, Limits(), FakeCall(**metadata), self.stream)

    def receive(self, *ids: str) -> None:
        for each in ids:
            self.handler.receive(pb.ModelInferRequest(model_name="m", id=each).SerializeToString())

    @property
    def sent_ids(self) -> list[str]:
        return [pb.ModelStreamInferResponse.FromString(data).infer_response.id for data in self.stream.sent]


def test_an_answer_waits_for_those_before_it() -> None:
    streaming = Streaming()
    streaming.receive("a", "b", "c")

    streaming.inference.answer(2)
    streaming.inference.answer(1)
    assert streaming.sent_ids == []
    streaming.inference.answer(0)

    assert streaming.sent_ids == ["a", "b", "c"]
    assert streaming.stream.ended == []


def test_the_stream_ends_with_its_last_answer() -> None:
    streaming = Streaming()
    streaming.receive("a")
    streaming.handler.receive_end()
    assert streaming.stream.ended == []

    streaming.inference.answer(0)

    assert streaming.stream.ended == [None]


def test_reading_pauses_at_the_bound_and_goes_on_below_it() -> None:
    streaming = Streaming()
    streaming.receive(*map(str, range(MAX_UNANSWERED)))
    assert not streaming.stream.is_reading

    streaming.inference.answer(1)
    assert not streaming.stream.is_reading
    streaming.inference.answer(0)

    assert streaming.stream.is_reading


def test_answers_wait_for_a_caller_who_does_not_read() -> None:
    streaming = Streaming()
    streaming.receive("a", "b")
    streaming.handler.pause_writing()
    streaming.inference.answer(0)
    streaming.inference.answer(1)
    streaming.handler.receive_end()
    assert (streaming.sent_ids, streaming.stream.ended) == ([], [])

    streaming.handler.resume_writing()

    assert (streaming.sent_ids, streaming.stream.ended) == (["a", "b"], [None])


def test_a_deadline_ends_the_stream_behind_the_answers_before_it() -> None:
    streaming = Streaming()
    streaming.receive("a", "b")
    _, late = streaming.inference.waiting[1]
    late.fail(DeadlineExceeded("late"))
    assert (streaming.sent_ids, streaming.stream.ended) == ([], [])

    streaming.inference.answer(0)

    assert streaming.sent_ids == ["a"]
    assert [type(error) for error in streaming.stream.ended] == [DeadlineExceeded]


def test_nobody_is_waited_for_once_the_call_is_over() -> None:
    streaming = Streaming()
    streaming.receive("a")
    _, reply = streaming.inference.waiting[0]
    assert reply.is_wanted

    streaming.handler.close()
    streaming.inference.answer(0)

    assert not reply.is_wanted
    assert streaming.stream.sent == []


def test_an_error_as_status_waits_for_its_turn_and_ends_the_stream() -> None:
    streaming = Streaming(triton_grpc_error="true")
    streaming.receive("a", "b", "c")
    error = Unavailable("Exceeds maximum queue size")
    streaming.inference.waiting[1][1].fail(error)
    assert streaming.stream.ended == []

    streaming.inference.answer(0)
    streaming.inference.answer(2)

    assert streaming.sent_ids == ["a"]
    assert streaming.stream.ended == [error]


def test_drain_answers_what_was_received() -> None:
    streaming = Streaming()
    streaming.receive("a")

    streaming.handler.drain()
    assert not streaming.stream.is_reading
    streaming.inference.answer(0)

    assert streaming.sent_ids == ["a"]
    assert not streaming.stream.is_reading
    (error,) = streaming.stream.ended
    assert isinstance(error, Unavailable)


def test_stream_requests_carry_the_calls_deadline_and_wish_for_timings() -> None:
    streaming = Streaming(headrace_timings="true")
    streaming.receive("a")

    request, _ = streaming.inference.waiting[0]
    assert (request.deadline_ns, request.wants_timings) == (99, True)


class FakeControl:
    def __init__(self) -> None:
        self.status = HealthStatus.SERVING
        self.listeners: list[Callable[[], None]] = []

    def of(self, caller: object) -> "FakeControl":
        return self

    def health(self, service: str) -> HealthStatus:
        return self.status

    def watch_health(self, changed: Callable[[], None]) -> Callable[[], None]:
        self.listeners.append(changed)
        return lambda: self.listeners.remove(changed)

    def change(self, status: HealthStatus) -> None:
        self.status = status
        for changed in self.listeners:
            changed()


def a_watch() -> tuple[FakeControl, FakeStream, HealthWatch]:
    control, stream = FakeControl(), FakeStream()
    watch = HealthWatch(control, FakeCall(), stream)  # type: ignore[arg-type]
    return control, stream, watch


def statuses(stream: FakeStream) -> list[int]:
    return [health_pb2.HealthCheckResponse.FromString(data).status for data in stream.sent]


def test_a_watcher_who_does_not_read_gets_the_latest_only() -> None:
    control, stream, watch = a_watch()
    watch.receive(b"")
    watch.pause_writing()
    control.change(HealthStatus.NOT_SERVING)
    control.change(HealthStatus.SERVICE_UNKNOWN)
    assert statuses(stream) == [1]

    watch.resume_writing()

    assert statuses(stream) == [1, 3]


def test_a_watch_leaves_nothing_behind() -> None:
    control, _, watch = a_watch()
    watch.receive(b"")

    watch.close()

    assert control.listeners == []


def test_a_watch_takes_exactly_one_message() -> None:
    _, _, watch = a_watch()
    with pytest.raises(Unimplemented):
        watch.receive_end()
    watch.receive(b"")
    watch.receive_end()
    with pytest.raises(Unimplemented):
        watch.receive(b"")


def test_reflection_is_held_up_by_a_caller_who_does_not_read() -> None:
    stream = FakeStream()
    handler = ReflectionStream(["a.B"], stream)
    handler.pause_writing()
    assert not stream.is_reading
    handler.resume_writing()
    assert stream.is_reading
    with pytest.raises(Internal):
        handler.receive(b"\xff")
