"""Where permissions for everything but inference are checked, and changes recorded, below every transport."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from headrace.core.caller import Caller
from headrace.errors import HeadraceError
from headrace.logs import LogValue
from headrace.model.statistics import Statistics
from headrace.scheduler.history import BatchRecord
from headrace.security.audit.log import Audit
from headrace.security.changes import Change, Changes
from headrace.security.policy import EVERY_MODEL, Permission, Policies, Policy
from headrace.security.refusals import Refusals
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


class GuardedControl:
    """What transports ask for everything else."""

    def __init__(self, service: ControlService, policies: Policies, refusals: Refusals, audit: Audit) -> None:
        self._service = service
        self._policies = policies
        self._refusals = refusals
        self._changes = Changes(audit)

    def refused(self, action: str, caller: Caller, error: HeadraceError) -> None:
        """Told of what somebody was refused before it came here."""
        self._refusals.denied(action, caller, "", error, "permission_denied")

    def of(self, caller: Caller) -> "ControlOf":
        """The control service as `caller` may use it."""
        return ControlOf(self._service, self._policies.policy, self._refusals, self._changes, caller)


class ControlOf:
    """The control service for one caller: its answers have only models that the caller may know of.

    Health and readiness of the whole server are for everyone, as probes have no credentials. Changes are
    recorded with what was before and after them; one that cannot be may be refused (audit.required).
    """

    def __init__(
        self,
        service: ControlService,
        policy: Policy,
        refusals: Refusals,
        changes: Changes,
        caller: Caller,
    ) -> None:
        self._service = service
        self._policy = policy
        self._refusals = refusals
        self._changes = changes
        self._caller = caller

    @property
    def is_open(self) -> bool:
        """True where nobody is asked who they are."""
        return self._policy.is_open

    def is_live(self) -> bool:
        return self._service.is_live()

    def is_ready(self) -> bool:
        return self._service.is_ready()

    def is_model_ready(self, name: str, version: str) -> bool:
        self._check_knows("model_ready", name)
        return self._service.is_model_ready(name, version)

    def server_metadata(self) -> ServerMetadata:
        self.check_some("server_metadata")
        return self._service.server_metadata()

    def model_metadata(self, name: str, version: str) -> ModelMetadata:
        self._check_knows("model_metadata", name)
        return self._service.model_metadata(name, version)

    def model_tensors(self, name: str, version: str) -> ModelTensors:
        self._check_knows("model_metadata", name)
        return self._service.model_tensors(name, version)

    def model_config(self, name: str, version: str) -> bytes:
        self.check("model_config", Permission.READ, name)
        return self._service.model_config(name, version)

    def statistics(self, name: str, version: str) -> Sequence[tuple[str, str, Statistics]]:
        self.check("statistics", Permission.READ, name or None)
        found = self._service.statistics(name, version)
        return [item for item in found if self._allows(Permission.READ, item[0])]

    def repository_index(self, repository: str, ready_only: bool) -> Sequence[IndexEntry]:
        self.check_some("repository_index")
        entries = self._service.repository_index(repository, ready_only)
        return [entry for entry in entries if self._knows(entry.name)]

    async def load(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        self.check("load", Permission.CONTROL, name)
        await self._changes.make(
            Change("load", self._caller, name, lambda: self._ready(name), _given(config, files)),
            self._service.load(name, config, files),
        )

    async def unload(self, name: str) -> None:
        self.check("unload", Permission.CONTROL, name)
        change = Change("unload", self._caller, name, lambda: self._ready(name))
        await self._changes.make(change, self._service.unload(name))

    async def trace_settings(
        self, model: str, updates: Mapping[str, Sequence[str]]
    ) -> Mapping[str, Sequence[str]]:
        self.check("trace_settings", Permission.ADMIN if updates else Permission.READ, model or None)
        if model:
            self._check_knows("trace_settings", model)
        if not updates:
            return self._service.trace_settings(model, {})

        async def change() -> Mapping[str, Sequence[str]]:
            return self._service.trace_settings(model, updates)

        def state() -> Any:
            return _named(self._service.trace_settings(model, {}), updates)

        made = Change("trace_settings", self._caller, model, state, dict(updates))
        return await self._changes.make(made, change())

    async def log_settings(self, updates: Mapping[str, LogValue]) -> Mapping[str, LogValue]:
        self.check("log_settings", Permission.ADMIN if updates else Permission.READ, None)
        if not updates:
            return self._service.log_settings({})

        async def change() -> Mapping[str, LogValue]:
            return self._service.log_settings(updates)

        def state() -> Any:
            return _named(self._service.log_settings({}), updates)

        made = Change("log_settings", self._caller, "", state, dict(updates))
        return await self._changes.make(made, change())

    def batches(self, name: str, version: str, limit: int) -> Sequence[BatchRecord]:
        self.check("batches", Permission.READ, name or EVERY_MODEL)
        return self._service.batches(name, version, limit)

    def models(self, name: str) -> Sequence[ModelInfo]:
        if name:
            self._check_knows("models", name)
        else:
            self.check_some("models")
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

    def check(self, action: str, permission: Permission, model: str | None) -> None:
        """Raises where the caller may not, for transports that ask before they read what it wants, too."""
        if not self._allows(permission, model):
            self._refuse(action, permission, model)

    def _knows(self, model: str | None) -> bool:
        """Whoever may use, look at or load a model may know that it is there, and what it takes and gives."""
        permissions = (Permission.READ, Permission.INFER, Permission.CONTROL)
        return any(self._allows(permission, model) for permission in permissions)

    def _check_knows(self, action: str, model: str) -> None:
        if not self._knows(model):
            self._refuse(action, Permission.READ, model)

    def check_some(self, action: str) -> None:
        """Raises where the caller may do nothing at all."""
        if not self._knows(None) and not self._allows(Permission.ADMIN, None):
            self._refuse(action, Permission.READ, None)

    def _refuse(self, action: str, permission: Permission, model: str | None) -> NoReturn:
        error = self._policy.refusal(self._caller, permission, model)
        self._refusals.denied(action, self._caller, model or "", error)
        raise error

    def _is_shown(self, service: str) -> bool:
        return service in ("", INFERENCE_SERVICE) or self._knows(service)

    def _ready(self, model: str) -> Any:
        return {"ready": list(self._service.ready_versions(model))}


def _given(config: str | None, files: Mapping[str, bytes]) -> Any:
    """What a load brings along, by digest: configurations may hold secrets."""
    if config is None:
        return None
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    return {"config": hashlib.sha256(config.encode()).hexdigest(), "files": digests}


def _named(settings: Mapping[str, Any], names: Mapping[str, Any]) -> Any:
    """Those of `settings` that `names` has."""
    return {name: value for name, value in settings.items() if name in names}
