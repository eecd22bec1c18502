"""headrace.v1.Admin: what the V2 protocol has no words for."""

from headrace.pb.headrace.v1 import admin_pb2 as pb
from headrace.scheduler.history import BatchRecord
from headrace.security.control_guard import GuardedControl
from headrace.service.answers import ModelInfo
from headrace.transport.grpc.calls import Call, ControlMethod, Method
from headrace.transport.grpc.parse import parse

SERVICE = "/headrace.v1.Admin/"


class AdminMethods:
    def __init__(self, control: GuardedControl) -> None:
        self._control = control

    def methods(self) -> list[Method]:
        return [
            ControlMethod(SERVICE + "Batches", self.batches),
            ControlMethod(SERVICE + "Models", self.models),
        ]

    def batches(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.BatchesRequest, data)
        records = self._control.of(call.caller).batches(
            request.model_name, request.model_version, request.limit
        )
        return pb.BatchesResponse(batches=[_batch(record) for record in records]).SerializeToString()

    def models(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.ModelsRequest, data)
        infos = self._control.of(call.caller).models(request.model_name)
        return pb.ModelsResponse(models=[_model(info) for info in infos]).SerializeToString()


def _batch(record: BatchRecord) -> pb.Batch:
    return pb.Batch(
        model_version=record.model_version,
        closed_at_ns=record.closed_at_ns,
        requests=record.requests,
        rows=record.rows,
        padding_rows=record.padding_rows,
        waited_us=record.waited_us,
        closed_because=record.closed_because.value,
        instance=record.instance,
        executed_us=record.executed_us,
        compute_input_us=record.compute_input_us,
        compute_infer_us=record.compute_infer_us,
        compute_output_us=record.compute_output_us,
        error=record.error,
    )


def _model(info: ModelInfo) -> pb.Model:
    return pb.Model(
        name=info.name,
        version=info.version,
        state=info.state,
        reason=info.reason,
        max_batch_size=info.max_batch_size,
        instances=info.instances,
        threads_per_instance=info.threads_per_instance,
        device=info.device,
        queue_depth=info.queue_depth,
        max_queue_size=info.max_queue_size,
        load_duration_us=info.load_duration_us,
        is_default=info.is_default,
    )
