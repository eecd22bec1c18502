"""Services in memory, for suites that are about transports."""

from collections.abc import Callable, Mapping, Sequence

from headrace.core.caller import Caller
from headrace.core.request import InferenceRequest, InferenceResponse, Reply, Timings
from headrace.core.tensor import Tensor
from headrace.errors import HeadraceError, NotFound
from headrace.model.statistics import BatchTimes, Statistics
from headrace.pb.inference.model_config_pb2 import ModelConfig
from headrace.scheduler.history import BatchRecord, ClosedBecause
from headrace.security.policy import Permission
from headrace.service.answers import (
    HealthStatus,
    IndexEntry,
    ModelInfo,
    ModelMetadata,
    ModelTensors,
    ServerMetadata,
    TensorMetadata,
)
from headrace.service.control import ControlService

TIMINGS = Timings(
    queue_ns=10_000,
    batch_wait_ns=2_000,
    compute_input_ns=3_000,
    compute_infer_ns=40_000,
    compute_output_ns=5_000,
    batch_rows=4,
)


class FakeInference:
    """Answers by the model's name: `echo` gives the inputs back, `hold` waits for `release`, others fail."""

    def __init__(self) -> None:
        self.requests: list[InferenceRequest] = []
        self.held: list[tuple[InferenceRequest, Reply]] = []
        self.errors: dict[str, HeadraceError] = {}

    def check(self, caller: Caller, model: str) -> None:
        """Everybody may do everything."""

    def check_some(self, caller: Caller) -> None:
        """Everybody may."""

    def submit(self, request: InferenceRequest, reply: Reply) -> None:
        self.requests.append(request)
        if request.model_name == "echo":
            reply.complete(echo(request))
        elif request.model_name == "hold":
            self.held.append((request, reply))
        elif request.model_name == "bug":
            raise RuntimeError("a secret of /etc/headrace")
        else:
            text = f"Request for unknown model: '{request.model_name}' is not found"
            reply.fail(self.errors.get(request.model_name, NotFound(text)))

    def release(self, index: int) -> None:
        """Answers the held request at `index`."""
        request, reply = self.held[index]
        reply.complete(echo(request))


def echo(request: InferenceRequest) -> InferenceResponse:
    """The inputs as outputs, their data as views, as the server's own batches give them."""
    outputs = [Tensor(each.name, each.datatype, each.shape, memoryview(each.data)) for each in request.inputs]
    timings = TIMINGS if request.wants_timings else None
    return InferenceResponse(request.model_name, "1", request.id, outputs, timings=timings)


class FakeControl(ControlService):
    """One model, `echo`, with one version; whatever is changed is recorded."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.statuses = {"": HealthStatus.SERVING, "echo": HealthStatus.SERVING}
        self.listeners: list[Callable[[], None]] = []
        self.log_values: dict[str, bool | int | str] = {
            "log_info": True,
            "log_verbose_level": 0,
            "log_file": "",
        }
        self.load_error: HeadraceError | None = None

    def of(self, caller: Caller) -> "FakeControl":
        """Everybody may do everything."""
        return self

    def check(self, action: str, permission: Permission, model: str | None) -> None:
        """Everybody may do everything."""

    def check_some(self, action: str) -> None:
        """Everybody may do something."""

    def is_live(self) -> bool:
        return True

    def is_ready(self) -> bool:
        return self.statuses[""] is HealthStatus.SERVING

    def is_model_ready(self, name: str, version: str) -> bool:
        return self.statuses.get(name) is HealthStatus.SERVING and version in ("", "1")

    def server_metadata(self) -> ServerMetadata:
        return ServerMetadata("headrace", "0.1", ("model_repository", "statistics"))

    def model_metadata(self, name: str, version: str) -> ModelMetadata:
        self._check(name)
        return ModelMetadata(
            name,
            ("1",),
            "onnxruntime_onnx",
            (TensorMetadata("x", "FP32", (-1, 16)),),
            (TensorMetadata("y", "BYTES", (-1, 2)),),
            {"sha256/1/model.onnx": "ab12"},
        )

    def model_tensors(self, name: str, version: str) -> ModelTensors:
        """Of any model: requests to those that are unknown are refused by `FakeInference`."""
        return ModelTensors(name, 8, (), (), None)

    def model_config(self, name: str, version: str) -> bytes:
        self._check(name)
        return ModelConfig(name=name, max_batch_size=8, backend="onnxruntime").SerializeToString()

    def statistics(self, name: str, version: str) -> Sequence[tuple[str, str, Statistics]]:
        statistics = Statistics()
        statistics.add_batch(BatchTimes(2, 3, 5, 100, 200, 300), [10, 20], [1000, 2000])
        return [("echo", "1", statistics)]

    def repository_index(self, repository: str, ready_only: bool) -> Sequence[IndexEntry]:
        self.calls.append(("index", repository, ready_only))
        entries = [IndexEntry("echo", "1", "READY"), IndexEntry("idle", "2", "UNAVAILABLE", "unloaded")]
        return entries[:1] if ready_only else entries

    async def load(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        self.calls.append(("load", name, config, dict(files)))
        if self.load_error is not None:
            raise self.load_error

    async def unload(self, name: str) -> None:
        self.calls.append(("unload", name))

    async def trace_settings(
        self, model: str, updates: Mapping[str, Sequence[str]]
    ) -> Mapping[str, Sequence[str]]:
        self.calls.append(("trace", model, {name: list(values) for name, values in updates.items()}))
        return {"trace_level": ["OFF"], "trace_rate": ["1000"]}

    async def log_settings(self, updates: Mapping[str, bool | int | str]) -> Mapping[str, bool | int | str]:
        self.log_values |= updates
        return self.log_values

    def batches(self, name: str, version: str, limit: int) -> Sequence[BatchRecord]:
        self.calls.append(("batches", name, version, limit))
        return [BatchRecord("1", 7, 2, 3, 1, 40, ClosedBecause.FULL, "echo_0", 50, 1, 2, 3, "")]

    def models(self, name: str) -> Sequence[ModelInfo]:
        return [ModelInfo("echo", "1", "READY", "", 8, 1, 2, "cpu", 0, 128, 900, True)]

    def health(self, service: str) -> HealthStatus:
        return self.statuses.get(service, HealthStatus.SERVICE_UNKNOWN)

    def health_services(self) -> Mapping[str, HealthStatus]:
        return self.statuses

    def watch_health(self, changed: Callable[[], None]) -> Callable[[], None]:
        self.listeners.append(changed)
        return lambda: self.listeners.remove(changed)

    def set_health(self, service: str, status: HealthStatus) -> None:
        self.statuses[service] = status
        for changed in list(self.listeners):
            changed()

    def _check(self, name: str) -> None:
        if name != "echo":
            raise NotFound(f"Request for unknown model: '{name}' is not found")
