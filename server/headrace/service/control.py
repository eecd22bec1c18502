"""The control service: everything a caller may ask or change besides inference, free of any transport."""

from collections.abc import Callable, Mapping, Sequence

from headrace.core.tensor import TensorSpec
from headrace.errors import InvalidArgument, NotFound, Unavailable, Unimplemented
from headrace.logs import LogControl, LogValue
from headrace.model.lifecycle import Lifecycle
from headrace.model.model import Model
from headrace.model.registry import Registry, VersionStatus
from headrace.model.state import ModelState
from headrace.model.statistics import Statistics
from headrace.repository.override import Override
from headrace.router.router import Router
from headrace.scheduler.history import BatchRecord
from headrace.service.answers import (
    HealthStatus,
    IndexEntry,
    ModelInfo,
    ModelMetadata,
    ModelTensors,
    ServerMetadata,
    TensorMetadata,
)
from headrace.service.health import Health
from headrace.settings import ModelControlMode
from headrace.version import VERSION

EXTENSIONS = (
    "classification",
    "model_repository",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "logging",
)

NO_TRACE: Mapping[str, Sequence[str]] = {
    "trace_level": ("OFF",),
    "trace_rate": ("1000",),
    "trace_count": ("-1",),
    "log_frequency": ("0",),
    "trace_file": ("",),
    "trace_mode": ("triton",),
}


class ControlService:
    """Answers about the server and its models, in words of the V2 protocol."""

    def __init__(
        self,
        server_name: str,
        mode: ModelControlMode,
        registry: Registry,
        router: Router,
        lifecycle: Lifecycle,
        health: Health,
        logs: LogControl,
    ) -> None:
        self._server_name = server_name
        self._mode = mode
        self._registry = registry
        self._router = router
        self._lifecycle = lifecycle
        self._health = health
        self._logs = logs

    def is_live(self) -> bool:
        """True as long as anybody can ask."""
        return True

    def is_ready(self) -> bool:
        return self._health.is_ready

    def is_model_ready(self, name: str, version: str) -> bool:
        """False for what is unknown, too; InvalidArgument where `version` is no version."""
        try:
            model = self._router.find(name, version)
        except (NotFound, Unavailable):
            return False
        return self._health.is_model_ready(model)

    def server_metadata(self) -> ServerMetadata:
        return ServerMetadata(self._server_name, VERSION, EXTENSIONS)

    def model_metadata(self, name: str, version: str) -> ModelMetadata:
        """Of the version asked for, or of the default; with the sha256 of every listed version's files."""
        model = self._router.find(name, version)
        listed = [model] if version else list(self._registry.ready(name).values())
        batches = model.config.max_batch_size > 0
        return ModelMetadata(
            name=name,
            versions=tuple(str(each.version) for each in listed),
            platform=model.config.platform,
            inputs=tuple(_tensor_metadata(spec, batches=batches) for spec in model.config.inputs),
            outputs=tuple(_tensor_metadata(spec, batches=batches) for spec in model.config.outputs),
            properties=_properties(listed),
        )

    def model_tensors(self, name: str, version: str) -> ModelTensors:
        """Of the version asked for, or of the default."""
        config = self._router.find(name, version).config
        return ModelTensors(name, config.max_batch_size, config.inputs, config.outputs, config.image)

    def model_config(self, name: str, version: str) -> bytes:
        """The completed configuration as a serialised inference.ModelConfig."""
        return self._router.find(name, version).config.triton

    def statistics(self, name: str, version: str) -> Sequence[tuple[str, str, Statistics]]:
        """(name, version, statistics) of every ready version that is meant; "" means all."""
        try:
            models = [self._router.find(name, version)] if version else self._named(name)
        except NotFound:
            if self._router.default(name):
                text = f"requested model version is not available for model '{name}'"
            else:
                text = f"requested model '{name}' is not available"
            raise InvalidArgument(text) from None
        return [(model.name, str(model.version), model.statistics) for model in models]

    def repository_index(self, repository: str, ready_only: bool) -> Sequence[IndexEntry]:
        """Every version that was ever tried, and the names of models that never were."""
        if repository:
            raise Unimplemented("'repository_name' specification is not supported")
        entries: list[IndexEntry] = []
        for name in self._lifecycle.known_names:
            statuses = self._registry.statuses(name)
            entries += [_index_entry(name, status) for status in statuses]
            if not statuses:
                entries.append(IndexEntry(name))
        return [entry for entry in entries if not ready_only or entry.state == ModelState.READY.value]

    def ready_versions(self, name: str) -> Sequence[str]:
        """The versions of `name` that are ready, in their order; none where it is unknown."""
        return [str(version) for version in sorted(self._registry.ready(name))]

    async def load(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        """Loads or reloads a model, from the repository or from what the call brings along."""
        self._check_explicit()
        if files and config is None:
            raise InvalidArgument("files are given without the 'config' parameter that describes them")
        await self._lifecycle.load(name, Override(config or "", files))

    async def unload(self, name: str) -> None:
        """Unloads a model; callers of it are told that it is unknown from now on."""
        self._check_explicit()
        await self._lifecycle.unload(name)

    def trace_settings(self, model: str, updates: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
        """Tracing is off; whoever wants to switch it on is told that it is not there."""
        if model:
            self._router.find(model, "")
        for key, values in updates.items():
            if key not in NO_TRACE:
                raise InvalidArgument(f"unknown trace setting '{key}': expected one of {', '.join(NO_TRACE)}")
            if values and list(values) != list(NO_TRACE[key]):
                raise Unimplemented(
                    f"trace setting '{key}' cannot be changed: this server does not trace yet"
                )
        return NO_TRACE

    def log_settings(self, updates: Mapping[str, LogValue]) -> Mapping[str, LogValue]:
        self._logs.update(updates)
        return self._logs.current()

    def batches(self, name: str, version: str, limit: int) -> Sequence[BatchRecord]:
        """The last batches of one version, or of all ready ones, by time."""
        models = [self._router.find(name, version)] if version else self._named(name)
        records = [record for model in models for record in model.history.last()]
        records.sort(key=lambda record: record.closed_at_ns)
        return records[-limit:] if limit else records

    def models(self, name: str) -> Sequence[ModelInfo]:
        """How each version is run, those that are not ready included."""
        if name and name not in self._lifecycle.known_names:
            raise NotFound(f"Request for unknown model: '{name}' is not found")
        names = [name] if name else self._lifecycle.known_names
        return [self._model_info(each, status) for each in names for status in self._registry.statuses(each)]

    def health(self, service: str) -> HealthStatus:
        return self._health.of(service)

    def health_services(self) -> Mapping[str, HealthStatus]:
        return self._health.services()

    def watch_health(self, changed: Callable[[], None]) -> Callable[[], None]:
        """`changed` is called on the loop after any health change; returns what ends the watch."""
        return self._health.watch(changed)

    def _named(self, name: str) -> Sequence[Model]:
        """The ready versions of `name`, or of every model where it is ""."""
        if not name:
            return list(self._registry.models())
        self._router.find(name, "")
        return list(self._registry.ready(name).values())

    def _model_info(self, name: str, status: VersionStatus) -> ModelInfo:
        model = self._registry.ready(name).get(status.version)
        if model is None:
            return ModelInfo(name, str(status.version), status.state.value, status.reason)
        placements = model.facts.placements
        return ModelInfo(
            name=name,
            version=str(status.version),
            state=status.state.value,
            reason=status.reason,
            max_batch_size=model.config.max_batch_size,
            instances=len(placements),
            threads_per_instance=max(placement.threads for placement in placements),
            device=", ".join(sorted({str(placement.device) for placement in placements})),
            queue_depth=model.queue_depth,
            max_queue_size=model.max_queue_size,
            load_duration_us=model.facts.load_duration_ns // 1000,
            is_default=model is self._router.default(name),
        )

    def _check_explicit(self) -> None:
        if self._mode is ModelControlMode.POLL:
            raise Unavailable("explicit model load / unload is not allowed if polling is enabled")
        if self._mode is ModelControlMode.NONE:
            raise Unavailable("explicit model load / unload is not allowed: model_control_mode is none")


def _index_entry(name: str, status: VersionStatus) -> IndexEntry:
    return IndexEntry(name, str(status.version), status.state.value, status.reason)


def _tensor_metadata(spec: TensorSpec, *, batches: bool) -> TensorMetadata:
    shape = (-1, *spec.dims) if batches else spec.dims
    return TensorMetadata(spec.name, spec.datatype.value, shape)


def _properties(models: Sequence[Model]) -> Mapping[str, str]:
    """`sha256/<version>/<file>` for each file, and what the graph says of itself."""
    properties = {
        f"sha256/{model.version}/{file}": digest
        for model in models
        for file, digest in model.facts.sha256.items()
    }
    for model in models:
        properties |= {
            f"metadata/{model.version}/{key}": value for key, value in model.facts.metadata.items()
        }
    return properties
