"""What the access file says: roles, who has them, and how much they may ask for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from headrace.security.policy import Policy

# The signatures that can be checked with a public key alone (RFC 7518 §3.1, RFC 8037 §3.1).
ALGORITHMS = (
    *("RS256", "RS384", "RS512"),
    *("PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512"),
    "EdDSA",
)


@dataclass(frozen=True, slots=True)
class Key:
    """An API key of which only the SHA-256 is known, in bytes; `expires_at` None is never."""

    name: str
    digest: bytes
    roles: frozenset[str]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Certificate:
    """Callers whose certificate has a name (common or alternative) that the pattern `name` matches."""

    name: str
    roles: frozenset[str]


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose JSON web tokens are believed: those whose `iss` is `name`, for one of `audiences`.

    `jwks` is the file of its public keys. Everybody with a token has `roles`, and for each value of the claim
    at `roles_claim` those in `grants`.
    """

    name: str
    audiences: tuple[str, ...]
    jwks: Path
    algorithms: frozenset[str] = frozenset(ALGORITHMS)
    name_claim: str = "sub"
    roles: frozenset[str] = frozenset()
    roles_claim: str | None = None
    grants: Mapping[str, frozenset[str]] = field(default_factory=dict)
    leeway_s: float = 30.0


@dataclass(frozen=True, slots=True)
class LimitRule:
    """How much requests to models may come to. `callers` and `models` are patterns of names, () is all.

    A rule that names callers counts for each caller apart, one that names models for each model apart, and
    one that names both for each pair; one that names neither counts all together. `requests_per_s` refills a
    bucket of `burst` requests; `concurrent` counts requests that are not yet answered. None is no limit.
    """

    callers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    requests_per_s: float | None = None
    burst: float | None = None
    concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """All that the file says; `anonymous` has the roles of those who show nothing, `sha256` is the file's."""

    policy: Policy
    keys: Mapping[bytes, Key]
    certificates: tuple[Certificate, ...]
    anonymous: frozenset[str]
    tokens: tuple[Issuer, ...] = ()
    limits: tuple[LimitRule, ...] = ()
    sha256: str = ""
