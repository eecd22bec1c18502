"""Who may do what: permissions of roles, for models by the pattern of their names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Protocol

from headrace.core.caller import Caller, Proof
from headrace.errors import HeadraceError, PermissionDenied, Unauthenticated

MAX_REMEMBERED = 4096
MAX_REMEMBERED_NAME = 256
# No model is called so. Only this pattern, which fits every model, holds for it.
EVERY_MODEL = "*"
MAX_SHOWN_NAME = 128


class Permission(StrEnum):
    """What can be allowed: requests, looking (metadata, statistics), loading and unloading, settings."""

    INFER = "infer"
    READ = "read"
    CONTROL = "control"
    ADMIN = "admin"


class Policies(Protocol):
    """Where the policy of the moment is."""

    @property
    def policy(self) -> "Policy": ...


@dataclass(frozen=True, slots=True)
class Role:
    """For each permission, the models that it holds for, as patterns with * and ?."""

    patterns: Mapping[Permission, tuple[str, ...]] = field(default_factory=dict)


class Policy:
    """Decides; what no role allows is denied. Decisions are remembered, as the same callers come again."""

    is_open = False

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
            if model is None or len(model) <= MAX_REMEMBERED_NAME:
                self._remembered[key] = decision
        return decision

    def refusal(self, caller: Caller, permission: Permission, model: str | None) -> HeadraceError:
        """PermissionDenied, or Unauthenticated for strangers; the same whether there is such a model."""
        what = f"'{permission}'" if model is None else f"'{permission}' for model '{model[:MAX_SHOWN_NAME]}'"
        if caller.proof is Proof.NONE:
            return Unauthenticated(f"credentials are needed: this needs the permission {what}")
        return PermissionDenied(f"'{caller.name}' lacks the permission {what}")

    def _decide(self, roles: frozenset[str], permission: Permission, model: str | None) -> bool:
        patterns = [
            pattern
            for name in roles
            if name in self._roles
            for pattern in self._roles[name].patterns.get(permission, ())
        ]
        if model is None:
            return bool(patterns)
        if model == EVERY_MODEL:
            return any(set(pattern) == {EVERY_MODEL} for pattern in patterns)
        return any(fnmatchcase(model, pattern) for pattern in patterns)


class OpenPolicy(Policy):
    """Where nobody is asked who they are, everybody may do everything."""

    is_open = True

    def __init__(self) -> None:
        super().__init__({})

    def allows(self, caller: Caller, permission: Permission, model: str | None) -> bool:
        return True
