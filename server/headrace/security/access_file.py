"""The access file: roles, API keys and callers' certificates, as a person writes them in YAML."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import yaml

from headrace.errors import ConfigError
from headrace.security.policy import Permission, Policy, Role
from headrace.settings.suggestion import did_you_mean

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SECTIONS = ("roles", "keys", "certificates", "anonymous")


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
    """All that the file says; `anonymous` has the roles of those who show nothing."""

    policy: Policy
    keys: Mapping[bytes, Key]
    certificates: tuple[Certificate, ...]
    anonymous: frozenset[str]


def read_access(path: Path) -> Access:
    """What the file says; ConfigError names each mistake."""
    try:
        document = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"security.access_file: {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    reader = _Reader()
    access = reader.access(document)
    if reader.problems:
        raise ConfigError("\n".join(f"{path}: {problem}" for problem in reader.problems))
    return access


class _Reader:
    """Reads one document, and collects what is wrong with it."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._roles: dict[str, Role] = {}

    def access(self, document: object) -> Access:
        sections = self._mapping(document, "the file", _SECTIONS)
        self._roles = {
            name: self._role(value, f"roles.{name}")
            for name, value in self._mapping(sections.get("roles"), "roles").items()
        }
        keys = [self._key(item, f"keys[{at}]") for at, item in enumerate(self._list(sections, "keys"))]
        certificates = [
            self._certificate(item, f"certificates[{at}]")
            for at, item in enumerate(self._list(sections, "certificates"))
        ]
        anonymous = self._mapping(sections.get("anonymous"), "anonymous", ("roles",))
        by_digest = {key.digest: key for key in keys if key is not None}
        if len(by_digest) < len(keys) and not self.problems:
            self.problems.append("keys: two keys have the same sha256")
        return Access(
            Policy(self._roles),
            by_digest,
            tuple(each for each in certificates if each is not None),
            self._role_names(anonymous, "anonymous"),
        )

    def _role(self, value: object, path: str) -> Role:
        permissions = self._mapping(value, path, tuple(each.value for each in Permission))
        patterns: dict[Permission, tuple[str, ...]] = {}
        for name, given in permissions.items():
            if name == Permission.ADMIN and isinstance(given, bool):
                given = ["*"] if given else []
            if not isinstance(given, list) or not all(isinstance(each, str) and each for each in given):
                self.problems.append(f"{path}.{name}: expected a list of models' names, as in ['fraud-*']")
            elif name in tuple(Permission):
                patterns[Permission(name)] = tuple(given)
        return Role(patterns)

    def _key(self, item: object, path: str) -> Key | None:
        fields = self._mapping(item, path, ("name", "sha256", "roles", "expires"))
        name, digest = fields.get("name"), fields.get("sha256")
        if not isinstance(name, str) or not name:
            self.problems.append(f"{path}.name: is missing: expected a text that says whose key it is")
            return None
        if not isinstance(digest, str) or _SHA256.fullmatch(digest) is None:
            self.problems.append(
                f"{path}.sha256: expected the SHA-256 of the key, as 64 hexadecimal digits (see headrace key)"
            )
            return None
        expires_at = self._point(fields.get("expires"), f"{path}.expires")
        return Key(name, bytes.fromhex(digest), self._role_names(fields, path), expires_at)

    def _certificate(self, item: object, path: str) -> Certificate | None:
        fields = self._mapping(item, path, ("name", "roles"))
        name = fields.get("name")
        if not isinstance(name, str) or not name:
            self.problems.append(
                f"{path}.name: is missing: expected a certificate's name, as in 'bob' or '*.ours'"
            )
            return None
        return Certificate(name, self._role_names(fields, path))

    def _role_names(self, fields: Mapping[str, Any], path: str) -> frozenset[str]:
        names = fields.get("roles", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            self.problems.append(f"{path}.roles: expected a list of roles' names")
            return frozenset()
        for name in names:
            if name not in self._roles:
                hint = did_you_mean(name, list(self._roles))
                self.problems.append(f"{path}.roles: there is no role {name!r}{hint}")
        return frozenset(names)

    def _point(self, value: object, path: str) -> datetime | None:
        """A date means its beginning; without a time zone it is UTC's."""
        if value is None:
            return None
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, date):
            return datetime.combine(value, time(), UTC)
        self.problems.append(f"{path}: {value!r} is no date: expected one as in 2027-01-31")
        return None

    def _list(self, sections: Mapping[str, Any], name: str) -> list[Any]:
        items = sections.get(name) or []
        if isinstance(items, list):
            return items
        self.problems.append(f"{name}: expected a list")
        return []

    def _mapping(self, value: object, path: str, known: tuple[str, ...] = ()) -> Mapping[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            self.problems.append(f"{path}: expected fields with names")
            return {}
        for name in value:
            if known and name not in known:
                self.problems.append(f"{path}: {name!r} is not known{did_you_mean(name, list(known))}")
        return value
