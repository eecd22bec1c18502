"""Who may do what: permissions of roles, for models by the pattern of their names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from headrace.core.caller import STRANGER, Caller
from headrace.errors import HeadraceError, PermissionDenied, Unauthenticated

MAX_REMEMBERED = 4096
# No model is called so; only a pattern that means every model matches it.
EVERY_MODEL = "*"
MAX_SHOWN_NAME = 128


class Permission(StrEnum):
    """What can be allowed: requests, looking (metadata, statistics), loading and unloading, settings."""

    INFER = "infer"
    READ = "read"
    CONTROL = "control"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Role:
    """For each permission, the models that it holds for, as patterns with * and ?."""

    patterns: Mapping[Permission, tuple[str, ...]] = field(default_factory=dict)


class Policy:
    """Decides; what no role allows is denied. Decisions are remembered, as the same callers come again."""

    def __init__(self, roles: Mapping[str, Role]) -> None:
        self._roles = roles
        self._remembered: dict[tuple[frozenset[str], Permission, str | None], bool] = {}

    def allows(self, caller: Caller, permission: Permission, model: str | None) -> bool:
        """Whether `caller` may; `model` None asks whether it may for any model, or for the server itself."""
        key = (caller.roles, permission, model)
        decision = self._remembered.get(key)
        if decision is None:
            decision = self._decide(caller.roles, permission, model)
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = decision
        return decision

    def check(self, caller: Caller, permission: Permission, model: str | None = None) -> None:
        """PermissionDenied, or Unauthenticated for strangers, where `caller` may not.

        Says the same whether there is such a model or not.
        """
        if not self.allows(caller, permission, model):
            raise self.refusal(caller, permission, model)

    def refusal(self, caller: Caller, permission: Permission, model: str | None) -> HeadraceError:
        what = f"'{permission}'" if model is None else f"'{permission}' for model '{model[:MAX_SHOWN_NAME]}'"
        if caller is STRANGER:
            return Unauthenticated(f"credentials are needed: this needs the permission {what}")
        return PermissionDenied(f"'{caller.name}' lacks the permission {what}")

    def _decide(self, roles: frozenset[str], permission: Permission, model: str | None) -> bool:
        patterns = [
            pattern
            for name in roles
            if name in self._roles
            for pattern in self._roles[name].patterns.get(permission, ())
        ]
        return bool(patterns) if model is None else any(fnmatchcase(model, each) for each in patterns)


class OpenPolicy(Policy):
    """Where nobody is asked who they are, everybody may do everything."""

    def __init__(self) -> None:
        super().__init__({})

    def allows(self, caller: Caller, permission: Permission, model: str | None) -> bool:
        return True
