"""Reads the access file as a person writes it in YAML, and names each mistake in it by its place."""

import hashlib
import math
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import yaml

from headrace.errors import ConfigError
from headrace.security.access_file import ALGORITHMS, Access, Certificate, Issuer, Key, LimitRule
from headrace.security.policy import Permission, Policy, Role
from headrace.settings.suggestion import did_you_mean

LEEWAY_S = 30
MAX_LEEWAY_S = 300
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SECTIONS = ("roles", "keys", "certificates", "tokens", "anonymous", "limits")
_CERTIFICATE = ("name", "roles")
_KEY = ("name", "sha256", "roles", "expires")
_LIMIT = ("callers", "models", "requests_per_s", "burst", "concurrent")
_TOKENS = (
    *("issuer", "audience", "jwks", "algorithms", "name_claim"),
    *("roles", "roles_claim", "grants", "leeway_s"),
)


def read_access(path: Path) -> Access:
    """What the file says; ConfigError names each mistake. Files that it names are not read."""
    problems: list[str] = []
    data, document = _document(path, problems)
    access = _Reader(path.parent, problems).access(document)
    if problems:
        raise ConfigError("\n".join(f"{path}: {problem}" for problem in problems))
    return replace(access, sha256=hashlib.sha256(data).hexdigest())


def _document(path: Path, problems: list[str]) -> tuple[bytes, object]:
    """The file's bytes, and what YAML makes of them."""
    try:
        data = path.read_bytes()
        loader = _Loader(data)
        document: object = loader.get_single_data()
    except OSError as error:
        raise ConfigError(f"security.access_file: {path} cannot be read: {error.strerror}") from None
    except RecursionError:
        raise ConfigError(f"{path}: not valid YAML: nested too deeply") from None
    except (yaml.YAMLError, ValueError, OverflowError, LookupError, TypeError, AttributeError) as error:
        # What is behind the first two: the loader's own ways with values that only say they are of a type.
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    problems += loader.repeated
    return data, document


class _Loader(yaml.SafeLoader):
    """Notes the fields that are given twice, of which PyYAML takes the last without a word."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.repeated: list[str] = []

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        """Looked at here, as merge keys (<<), which may give a field once more, are not yet resolved."""
        node = super().compose_mapping_node(anchor)
        names = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            self.repeated.append(f"{name[1]!r} is given twice (from line {node.start_mark.line + 1} on)")
        return node


class _Reader:
    """Reads one document, and collects what is wrong with it."""

    def __init__(self, folder: Path, problems: list[str]) -> None:
        self._folder = folder
        self._problems = problems
        self._roles: dict[str, Role] = {}

    def access(self, document: object) -> Access:
        sections = self._mapping(document, "the file", _SECTIONS)
        self._roles = {
            name: self._role(value, f"roles.{name}")
            for name, value in self._mapping(sections.get("roles"), "roles").items()
        }
        return Access(
            Policy(self._roles),
            self._keys(sections),
            tuple(self._certificate(item, path) for item, path in self._items(sections, "certificates")),
            self._anonymous(sections.get("anonymous")),
            self._issuers(sections),
            tuple(self._limit(item, path) for item, path in self._items(sections, "limits")),
        )

    def _role(self, value: object, path: str) -> Role:
        permissions = self._mapping(value, path, tuple(each.value for each in Permission))
        patterns: dict[Permission, tuple[str, ...]] = {}
        for name, given in permissions.items():
            if name == Permission.ADMIN and isinstance(given, bool):
                given = ["*"] if given else []
            if not isinstance(given, list) or not all(isinstance(each, str) and each for each in given):
                self._refuse(f"{path}.{name}", "expected a list of models' names, as in ['fraud-*']")
            elif name in tuple(Permission):
                patterns[Permission(name)] = tuple(given)
        return Role(patterns)

    def _keys(self, sections: Mapping[str, Any]) -> Mapping[bytes, Key]:
        known = len(self._problems)
        keys = [self._key(item, path) for item, path in self._items(sections, "keys")]
        by_digest = {key.digest: key for key in keys}
        if len(by_digest) < len(keys) and len(self._problems) == known:
            self._refuse("keys", "two keys have the same sha256")
        return by_digest

    def _key(self, item: object, path: str) -> Key:
        fields = self._mapping(item, path, _KEY)
        name = self._text(fields, "name", path, "a text that says whose key it is")
        digest = fields.get("sha256")
        if not isinstance(digest, str) or _SHA256.fullmatch(digest) is None:
            self._refuse(
                f"{path}.sha256",
                "expected the SHA-256 of the key, as 64 hexadecimal digits (see headrace key)",
            )
            digest = ""
        expires_at = self._point(fields.get("expires"), f"{path}.expires")
        return Key(name, bytes.fromhex(digest), self._role_names(fields, path), expires_at)

    def _certificate(self, item: object, path: str) -> Certificate:
        fields = self._mapping(item, path, _CERTIFICATE)
        name = self._text(fields, "name", path, "a certificate's name, as in 'bob' or '*.ours'")
        return Certificate(name, self._role_names(fields, path))

    def _anonymous(self, value: object) -> frozenset[str]:
        return self._role_names(self._mapping(value, "anonymous", ("roles",)), "anonymous")

    def _issuers(self, sections: Mapping[str, Any]) -> tuple[Issuer, ...]:
        places: dict[str, str] = {}
        issuers = []
        for item, path in self._items(sections, "tokens"):
            issuer = self._issuer(item, path)
            issuers.append(issuer)
            first = places.setdefault(issuer.name, path)
            if issuer.name and first != path:
                self._refuse(f"{path}.issuer", f"{issuer.name!r} is that of {first} already")
        return tuple(issuers)

    def _issuer(self, item: object, path: str) -> Issuer:
        fields = self._mapping(item, path, _TOKENS)
        has_roles_claim = fields.get("roles_claim") is not None
        return Issuer(
            self._text(fields, "issuer", path, "what tokens have as 'iss', as in https://login.example"),
            self._audiences(fields.get("audience"), f"{path}.audience"),
            self._folder / self._text(fields, "jwks", path, "the path of a file with public keys (JWKS)"),
            self._algorithms(fields.get("algorithms"), f"{path}.algorithms"),
            self._text(fields, "name_claim", path, "a claim's name", "sub"),
            self._role_names(fields, path),
            self._text(fields, "roles_claim", path, "a claim's name") if has_roles_claim else None,
            self._grants(fields, path),
            self._number(
                fields, "leeway_s", path, 0, MAX_LEEWAY_S, f"seconds from 0 to {MAX_LEEWAY_S}", LEEWAY_S
            ),
        )

    def _audiences(self, value: object, path: str) -> tuple[str, ...]:
        return self._names([value] if isinstance(value, str) else value, path, "a text, or a list of texts")

    def _algorithms(self, value: object, path: str) -> frozenset[str]:
        if value is None:
            return frozenset(ALGORITHMS)
        names = self._names(value, path, f"some of {', '.join(ALGORITHMS)}")
        for name in names:
            if name not in ALGORITHMS:
                self._refuse(path, f"{name!r} is not possible: expected some of {', '.join(ALGORITHMS)}")
        return frozenset(names)

    def _grants(self, fields: Mapping[str, Any], path: str) -> Mapping[str, frozenset[str]]:
        """Without `grants` each role is granted by its own name."""
        if "grants" not in fields:
            return {name: frozenset((name,)) for name in self._roles}
        if fields.get("roles_claim") is None:
            self._refuse(f"{path}.grants", "needs roles_claim, the claim that has these values")
        grants = self._mapping(fields["grants"], f"{path}.grants")
        return {value: self._roles_in(names, f"{path}.grants.{value}") for value, names in grants.items()}

    def _limit(self, item: object, path: str) -> LimitRule:
        fields = self._mapping(item, path, _LIMIT)
        rate, concurrent = fields.get("requests_per_s"), fields.get("concurrent")
        if rate is None and concurrent is None:
            self._refuse(path, "limits nothing: expected requests_per_s, concurrent, or both")
        if rate is not None:
            rate = self._number(
                fields, "requests_per_s", path, math.ulp(0.0), sys.maxsize, "a number above 0"
            )
        elif "burst" in fields:
            self._refuse(f"{path}.burst", "needs requests_per_s, at which it is refilled")
        if concurrent is not None and (type(concurrent) is not int or concurrent < 1):
            self._refuse(
                f"{path}.concurrent", f"{concurrent!r} is not possible: expected a whole number from 1"
            )
        burst = None
        if rate is not None:
            burst = self._number(fields, "burst", path, 1, sys.maxsize, "a number from 1", max(1.0, rate))
        callers, models = (
            self._names(fields[name], f"{path}.{name}", "a list of names, as in ['fraud-*']")
            if name in fields
            else ()
            for name in ("callers", "models")
        )
        return LimitRule(callers, models, rate, burst, concurrent)

    def _role_names(self, fields: Mapping[str, Any], path: str) -> frozenset[str]:
        return self._roles_in(fields.get("roles", []), f"{path}.roles")

    def _roles_in(self, names: object, path: str) -> frozenset[str]:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            self._refuse(path, "expected a list of roles' names")
            return frozenset()
        for name in names:
            if name not in self._roles:
                self._refuse(path, f"there is no role {name!r}{did_you_mean(name, list(self._roles))}")
        return frozenset(names)

    def _point(self, value: object, path: str) -> datetime | None:
        """A date means its beginning; without a time zone it is UTC's."""
        if value is None:
            return None
        if isinstance(value, str):
            with suppress(ValueError):
                value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, date):
            return datetime.combine(value, time(), UTC)
        self._refuse(path, f"{value!r} is no date: expected one as in 2027-01-31")
        return None

    def _text(
        self, fields: Mapping[str, Any], name: str, path: str, expectation: str, default: str = ""
    ) -> str:
        value = fields.get(name, default)
        if isinstance(value, str) and value:
            return value
        problem = "is missing" if value is None or value == "" else f"{value!r} is no text"
        self._refuse(f"{path}.{name}", f"{problem}: expected {expectation}")
        return ""

    def _names(self, value: object, path: str, expectation: str) -> tuple[str, ...]:
        """At least one: a list that is empty would mean either nothing or everything."""
        if isinstance(value, list) and value and all(isinstance(each, str) and each for each in value):
            return tuple(value)
        self._refuse(path, f"{'is missing: ' if value is None else ''}expected {expectation}")
        return ()

    def _number(
        self,
        fields: Mapping[str, Any],
        name: str,
        path: str,
        least: float,
        most: float,
        expectation: str,
        default: float = 0.0,
    ) -> float:
        value = fields.get(name, default)
        if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most:
            return float(value)
        self._refuse(f"{path}.{name}", f"{value!r} is not possible: expected {expectation}")
        return default

    def _items(self, sections: Mapping[str, Any], name: str) -> Sequence[tuple[Any, str]]:
        """The items of a section that is a list, each with its place, as far as they have fields."""
        items = sections.get(name)
        if items is None:
            return ()
        if not isinstance(items, list):
            self._refuse(name, "expected a list")
            return ()
        places = [(item, f"{name}[{at}]") for at, item in enumerate(items)]
        for item, path in places:
            if not isinstance(item, dict):
                self._refuse(path, "expected fields with names")
        return [(item, path) for item, path in places if isinstance(item, dict)]

    def _mapping(self, value: object, path: str, known: tuple[str, ...] = ()) -> Mapping[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            self._refuse(path, "expected fields with names")
            return {}
        for name in value:
            if known and name not in known:
                self._refuse(path, f"{name!r} is not known{did_you_mean(name, list(known))}")
        return value

    def _refuse(self, path: str, problem: str) -> None:
        self._problems.append(f"{path}: {problem}")
