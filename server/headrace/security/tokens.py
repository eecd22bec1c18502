"""Who calls by a JSON web token (RFC 7519), which has been signed by an issuer of the access file."""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jwt
from jwt.types import Options

from headrace.core.caller import Caller, Proof
from headrace.errors import ConfigError, Unauthenticated
from headrace.security.access_file import Issuer
from headrace.security.jwks import KeyFile, VerificationKey

MAX_TOKEN_BYTES = 8192
MAX_REMEMBERED = 4096
MAX_NAME_LENGTH = 256
# Later than any year that a date may have, and a number of seconds that a float has exactly.
_LAST_S = 2.0**40
_FORM = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)
# Times are compared here, on a clock that can be given; the others are claims that mean nothing here.
_OPTIONS: Options = {
    "require": ["iss", "aud"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_sub": False,
    "verify_jti": False,
}


@dataclass(frozen=True, slots=True)
class _Verified:
    """A caller, and from when until when its token holds."""

    caller: Caller
    begins_s: float
    ends_s: float


class Tokens:
    """Verifies tokens; those that hold are remembered, as the same ones come again and signatures cost.

    A token that is wrong is not: whoever sends such chooses how many there are.
    """

    def __init__(
        self, issuers: Sequence[Issuer], key_files: Mapping[Path, KeyFile], now: Callable[[], datetime]
    ) -> None:
        """`key_files` has the file of each issuer."""
        self._issuers = {issuer.name: issuer for issuer in issuers}
        self._key_files = key_files
        self._now = now
        self._remembered: dict[bytes, _Verified] = {}

    def caller(self, token: str, digest: bytes, address: str = "") -> Caller:
        """Who calls with `token`, whose SHA-256 is `digest`; Unauthenticated says why nobody does."""
        now_s = self._now().timestamp()
        known = self._remembered.get(digest)
        if known is None or not known.begins_s <= now_s < known.ends_s:
            self._remembered.pop(digest, None)
            known = self._verify(token, now_s)
            self._remember(digest, known)
        caller = known.caller
        if caller.address != address:
            caller = Caller(caller.name, caller.roles, caller.proof, address)
            self._remembered[digest] = _Verified(caller, known.begins_s, known.ends_s)
        return caller

    def reload(self) -> bool:
        """Takes the keys that the files hold now; True where any have changed."""
        changed = [file for file in self._key_files.values() if file.reload()]
        if changed:
            self._remembered.clear()
        return bool(changed)

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[digest] = verified

    def _verify(self, token: str, now_s: float) -> _Verified:
        header, claims = _unverified(token)
        name = claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise Unauthenticated("the token's issuer is not known here")
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
            raise Unauthenticated("the token's algorithm is not allowed here")
        kid = header.get("kid")
        # Nothing critical (RFC 7515 §4.1.11) is understood here, not even what PyJWT understands.
        if "crit" in header or not isinstance(kid, str | None):
            raise Unauthenticated("the token's header demands what is not understood here")
        # Keys and addresses of keys in the header (jwk, jku, x5c, x5u) are whoever's: never looked at.
        key = self._key_files[issuer.jwks].keys.find(kid, algorithm)
        claims = _verified_claims(token, key, algorithm, issuer)
        begins_s, ends_s = _times(claims, issuer.leeway_s)
        if now_s >= ends_s:
            raise Unauthenticated("the token has expired")
        if now_s < begins_s:
            raise Unauthenticated("the token does not hold yet")
        return _Verified(_caller_of(claims, issuer), begins_s, ends_s)


def key_files_of(
    issuers: Sequence[Issuer], access_file: Path, known: Mapping[Path, KeyFile]
) -> Mapping[Path, KeyFile]:
    """The file of each issuer; those that are `known` stay as they are. ConfigError names each mistake.

    So a new access file, which may take something back, does not wait for a file of keys that is missing for
    the moment.
    """
    files: dict[Path, KeyFile] = {}
    problems = []
    for at, issuer in enumerate(issuers):
        path = issuer.jwks
        try:
            files[path] = files.get(path) or known.get(path) or KeyFile(path)
        except ConfigError as error:
            problems.append(f"{access_file}: tokens[{at}].jwks: {error}")
    if problems:
        raise ConfigError("\n".join(problems))
    return files


def _unverified(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Header and claims as anybody may have written them; most of what is wrong is refused by these."""
    if len(token) > MAX_TOKEN_BYTES:
        raise Unauthenticated(f"the token is longer than {MAX_TOKEN_BYTES} bytes")
    if _FORM.fullmatch(token) is None:
        raise _malformed()
    header, claims, _ = token.split(".")
    return _part(header), _part(claims)


def _part(text: str) -> Mapping[str, Any]:
    try:
        part = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError):
        raise _malformed() from None
    if not isinstance(part, dict):
        raise _malformed()
    return part


def _malformed() -> Unauthenticated:
    return Unauthenticated("the token is malformed: expected a signed JSON web token")


def _verified_claims(token: str, key: VerificationKey, algorithm: str, issuer: Issuer) -> Mapping[str, Any]:
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            options=_OPTIONS,
            audience=issuer.audiences,
            issuer=issuer.name,
        )
    except jwt.InvalidSignatureError:
        raise Unauthenticated("the token's signature does not fit") from None
    except jwt.DecodeError:
        raise _malformed() from None
    except jwt.MissingRequiredClaimError as error:
        raise Unauthenticated(f"the token has no '{error.claim}'") from None
    except jwt.InvalidAudienceError:
        raise Unauthenticated("the token is for another audience") from None
    except jwt.PyJWTError:
        raise Unauthenticated("the token is not valid") from None


def _times(claims: Mapping[str, Any], leeway_s: float) -> tuple[float, float]:
    """From when until when the token holds, the difference of clocks taken in."""
    times = {name: _time(claims[name], name) for name in ("exp", "nbf", "iat") if name in claims}
    if "exp" not in times:
        raise Unauthenticated("the token has no 'exp': expected one that expires")
    begins_s = max(times.get("nbf", -_LAST_S), times.get("iat", -_LAST_S))
    return begins_s - leeway_s, times["exp"] + leeway_s


def _time(value: object, name: str) -> float:
    # NaN is not within any bounds.
    if isinstance(value, int | float) and not isinstance(value, bool) and -_LAST_S <= value <= _LAST_S:
        return float(value)
    raise Unauthenticated(f"the token's '{name}' is no time: expected seconds since 1970")


def _caller_of(claims: Mapping[str, Any], issuer: Issuer) -> Caller:
    name = _claim(claims, issuer.name_claim)
    # It will stand in logs and messages.
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > MAX_NAME_LENGTH:
        raise Unauthenticated(f"the token's '{issuer.name_claim}' is no name: expected a text of one line")
    return Caller(name, _roles_of(claims, issuer), Proof.TOKEN)


def _roles_of(claims: Mapping[str, Any], issuer: Issuer) -> frozenset[str]:
    if issuer.roles_claim is None:
        return issuer.roles
    values = _claim(claims, issuer.roles_claim)
    if isinstance(values, str):
        values = values.split()
    if not isinstance(values, list):
        return issuer.roles
    granted = [issuer.grants[value] for value in values if isinstance(value, str) and value in issuer.grants]
    return issuer.roles.union(*granted)


def _claim(claims: Mapping[str, Any], path: str) -> object:
    """The claim of exactly this name, as names that are URLs have dots; otherwise what is at the path."""
    if path in claims:
        return claims[path]
    found: object = claims
    for name in path.split("."):
        if not isinstance(found, dict):
            return None
        found = found.get(name)
    return found
