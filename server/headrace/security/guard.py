"""The one place where permissions are checked, below every transport: what a transport can call is here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from headrace.core.caller import Caller
from headrace.core.request import InferenceRequest, Reply
from headrace.logs import LogValue
from headrace.model.statistics import Statistics
from headrace.scheduler.history import BatchRecord
from headrace.security.policy import EVERY_MODEL, Permission, Policy
from headrace.service.answers import (
    HealthStatus,
    IndexEntry,
    ModelInfo,
    ModelMetadata,
    ModelTensors,
    ServerMetadata,
)
from headrace.service.control import ControlService
from headrace.service.health import INFERENCE_SERVICE
from headrace.service.inference import InferenceService


class Policies(Protocol):
    """Where the policy of the moment is."""

    @property
    def policy(self) -> Policy: ...


class GuardedInference:
    """What transports submit requests to."""

    def __init__(self, service: InferenceService, policies: Policies) -> None:
        self._service = service
        self._policies = policies

    def check(self, caller: Caller, model: str) -> None:
        """PermissionDenied or Unauthenticated where `submit` would refuse, before a request has been read."""
        self._policies.policy.check(caller, Permission.INFER, model)

    def submit(self, request: InferenceRequest, reply: Reply) -> None:
        """Answers through `reply`, now or later; never raises."""
        policy, caller, name = self._policies.policy, request.caller, request.model_name
        if policy.allows(caller, Permission.INFER, name):
            self._service.submit(request, reply)
        else:
            reply.fail(policy.refusal(caller, Permission.INFER, name))


class GuardedControl:
    """What transports ask for everything else."""

    def __init__(self, service: ControlService, policies: Policies) -> None:
        self._service = service
        self._policies = policies

    def of(self, caller: Caller) -> "ControlOf":
        """The control service as `caller` may use it."""
        return ControlOf(self._service, self._policies.policy, caller)


class ControlOf:
    """The control service for one caller: its answers have only models that the caller may know of.

    Health and readiness of the whole server are for everyone, as probes have no credentials.
    """

    def __init__(self, service: ControlService, policy: Policy, caller: Caller) -> None:
        self._service = service
        self._policy = policy
        self._caller = caller

    def is_live(self) -> bool:
        return self._service.is_live()

    def is_ready(self) -> bool:
        return self._service.is_ready()

    def is_model_ready(self, name: str, version: str) -> bool:
        self._check_knows(name)
        return self._service.is_model_ready(name, version)

    def server_metadata(self) -> ServerMetadata:
        self._check_any()
        return self._service.server_metadata()

    def model_metadata(self, name: str, version: str) -> ModelMetadata:
        self._check_knows(name)
        return self._service.model_metadata(name, version)

    def model_tensors(self, name: str, version: str) -> ModelTensors:
        self._check_knows(name)
        return self._service.model_tensors(name, version)

    def model_config(self, name: str, version: str) -> bytes:
        self._check(Permission.READ, name)
        return self._service.model_config(name, version)

    def statistics(self, name: str, version: str) -> Sequence[tuple[str, str, Statistics]]:
        self._check(Permission.READ, name or None)
        found = self._service.statistics(name, version)
        return [item for item in found if self._allows(Permission.READ, item[0])]

    def repository_index(self, repository: str, ready_only: bool) -> Sequence[IndexEntry]:
        self._check_any()
        entries = self._service.repository_index(repository, ready_only)
        return [entry for entry in entries if self._knows(entry.name)]

    async def load(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        self._check(Permission.CONTROL, name)
        await self._service.load(name, config, files)

    async def unload(self, name: str) -> None:
        self._check(Permission.CONTROL, name)
        await self._service.unload(name)

    def trace_settings(self, model: str, updates: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
        self._check(Permission.ADMIN if updates else Permission.READ, model or None)
        return self._service.trace_settings(model, updates)

    def log_settings(self, updates: Mapping[str, LogValue]) -> Mapping[str, LogValue]:
        self._check(Permission.ADMIN if updates else Permission.READ, None)
        return self._service.log_settings(updates)

    def batches(self, name: str, version: str, limit: int) -> Sequence[BatchRecord]:
        self._check(Permission.READ, name or EVERY_MODEL)
        return self._service.batches(name, version, limit)

    def models(self, name: str) -> Sequence[ModelInfo]:
        if name:
            self._check_knows(name)
        else:
            self._check_any()
        return [info for info in self._service.models(name) if self._knows(info.name)]

    def health(self, service: str) -> HealthStatus:
        """Of a model that the caller may not know of, as of one that there is not."""
        if not self._is_shown(service):
            return HealthStatus.SERVICE_UNKNOWN
        return self._service.health(service)

    def health_services(self) -> Mapping[str, HealthStatus]:
        services = self._service.health_services()
        return {service: status for service, status in services.items() if self._is_shown(service)}

    def watch_health(self, changed: Callable[[], None]) -> Callable[[], None]:
        return self._service.watch_health(changed)

    def _allows(self, permission: Permission, model: str | None) -> bool:
        return self._policy.allows(self._caller, permission, model)

    def _check(self, permission: Permission, model: str | None) -> None:
        self._policy.check(self._caller, permission, model)

    def _knows(self, model: str | None) -> bool:
        """Whoever may use, look at or load a model may know that it is there, and what it takes and gives."""
        permissions = (Permission.READ, Permission.INFER, Permission.CONTROL)
        return any(self._allows(permission, model) for permission in permissions)

    def _check_knows(self, model: str) -> None:
        if not self._knows(model):
            raise self._policy.refusal(self._caller, Permission.READ, model)

    def _check_any(self) -> None:
        if not self._knows(None) and not self._allows(Permission.ADMIN, None):
            raise self._policy.refusal(self._caller, Permission.READ, None)

    def _is_shown(self, service: str) -> bool:
        return service in ("", INFERENCE_SERVICE) or self._knows(service)
