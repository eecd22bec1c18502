"""ModelStatistics: what each version has done since it was loaded, in the protocol's words."""

from headrace.model.statistics import BatchSizeStatistics, Duration, Statistics
from headrace.pb.inference import grpc_service_pb2 as pb
from headrace.security.control_guard import GuardedControl
from headrace.transport.grpc.calls import Call, ControlMethod, Method
from headrace.transport.grpc.parse import parse
from headrace.transport.grpc.server_methods import SERVICE


class StatisticsMethods:
    def __init__(self, control: GuardedControl) -> None:
        self._control = control

    def methods(self) -> list[Method]:
        return [ControlMethod(SERVICE + "ModelStatistics", self.model_statistics)]

    def model_statistics(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.ModelStatisticsRequest, data)
        versions = self._control.of(call.caller).statistics(request.name, request.version)
        return pb.ModelStatisticsResponse(
            model_stats=[_model(name, version, statistics) for name, version, statistics in versions]
        ).SerializeToString()


def _model(name: str, version: str, statistics: Statistics) -> pb.ModelStatistics:
    batches = [statistics.batches[size] for size in sorted(statistics.batches)]
    return pb.ModelStatistics(
        name=name,
        version=version,
        last_inference=statistics.last_inference_ms,
        inference_count=statistics.inference_count,
        execution_count=statistics.execution_count,
        inference_stats=_stages(statistics),
        batch_stats=[_batch_size(batch) for batch in batches],
    )


def _stages(statistics: Statistics) -> pb.InferStatistics:
    """All eight, as perf_analyzer reads each of them; there is no response cache to hit or miss."""
    return pb.InferStatistics(
        success=_duration(statistics.success),
        fail=_duration(statistics.fail),
        queue=_duration(statistics.queue),
        compute_input=_duration(statistics.compute_input),
        compute_infer=_duration(statistics.compute_infer),
        compute_output=_duration(statistics.compute_output),
        cache_hit=pb.StatisticDuration(),
        cache_miss=pb.StatisticDuration(),
    )


def _batch_size(batch: BatchSizeStatistics) -> pb.InferBatchStatistics:
    return pb.InferBatchStatistics(
        batch_size=batch.batch_size,
        compute_input=_duration(batch.compute_input),
        compute_infer=_duration(batch.compute_infer),
        compute_output=_duration(batch.compute_output),
    )


def _duration(duration: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=duration.count, ns=duration.ns)
