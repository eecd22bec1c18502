"""The public keys of an issuer of tokens, from a file of JSON web keys (JWKS, RFC 7517) that may change."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWTError
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from headrace.errors import ConfigError, Unauthenticated

_log = logging.getLogger(__name__)

MAX_FILE_BYTES = 2**20
# RFC 7518 §3.3.
MIN_RSA_BITS = 2048
_READERS: Mapping[str, Callable[[dict[str, Any]], object]] = {
    "RSA": RSAAlgorithm.from_jwk,
    "EC": ECAlgorithm.from_jwk,
    "OKP": OKPAlgorithm.from_jwk,
}
_RSA = frozenset(f"{family}{bits}" for family in ("RS", "PS") for bits in (256, 384, 512))
# RFC 7518 §3.4: each has its one curve.
_OF_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}

VerificationKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key with its name, if it has one, and the algorithms whose signatures it may check."""

    kid: str | None
    key: VerificationKey
    algorithms: frozenset[str]


class KeySet:
    """The keys of an issuer, as tokens ask for them."""

    def __init__(self, keys: Sequence[PublicKey]) -> None:
        self._keys = keys
        self._named: dict[str, list[PublicKey]] = {}
        for key in keys:
            if key.kid is not None:
                self._named.setdefault(key.kid, []).append(key)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, kid: str | None, algorithm: str) -> VerificationKey:
        """The key called `kid`, or without a name the only one that fits; Unauthenticated where none does."""
        named = self._keys if kid is None else self._named.get(kid)
        if named is None:
            raise Unauthenticated("the token's key is not known here")
        fitting = [each for each in named if algorithm in each.algorithms]
        if kid is None and len(fitting) != 1:
            raise Unauthenticated("the token does not name the key that has signed it (kid)")
        if not fitting:
            raise Unauthenticated("the token's key does not fit its algorithm")
        return fitting[0].key


class KeyFile:
    """Keeps the newest keys of a file; one that is broken or missing leaves those in use in place."""

    def __init__(self, path: Path) -> None:
        """Reads the file; ConfigError says why that cannot be."""
        self._path = path
        self._stamp = stamp_of(path)
        self.keys = _read(path)
        self._complaint = ""

    def reload(self) -> bool:
        """Takes what the file holds now; True where that has changed and is right."""
        stamp = stamp_of(self._path)
        if stamp == self._stamp:
            return False
        try:
            self.keys = _read(self._path)
        except ConfigError as error:
            self._complain(str(error))
            return False
        # Only of what was right: the other is read again, as permissions may change, which no stamp shows.
        self._stamp = stamp
        self._complaint = ""
        _log.info("took new keys for tokens from %s: %d", self._path, len(self.keys))
        return True

    def _complain(self, reason: str) -> None:
        if reason != self._complaint:
            _log.error("the keys for tokens in use stay, as the new ones do not do: %s", reason)
        self._complaint = reason


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """What changes when the file does; None where there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path) -> KeySet:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} has more than {MAX_FILE_BYTES} bytes")
    try:
        document = json.loads(content)
    except RecursionError:
        raise ConfigError(f"{path} is not valid JSON: nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ConfigError(f"{path} is no JWKS: expected an object with a list of 'keys'")
    return KeySet(_keys_in(document["keys"], path))


def _keys_in(items: Sequence[object], path: Path) -> Sequence[PublicKey]:
    """Those that can be used; the log tells of the others, once for a file."""
    keys: list[PublicKey] = []
    known: set[tuple[str, str]] = set()
    unused = []
    for at, item in enumerate(items):
        try:
            key = _key_of(item)
        except ValueError as error:
            unused.append(f"keys[{at}] {error}")
            continue
        names = {(key.kid, algorithm) for algorithm in key.algorithms if key.kid is not None}
        if known & names:
            raise ConfigError(f"{path}: keys[{at}]: its 'kid' is that of another key already")
        known |= names
        if key.algorithms:
            keys.append(key)
    if unused:
        _log.warning("keys of %s are not used: %s", path, "; ".join(unused))
    if not keys:
        _log.warning("%s has no key that can be used: every token of its issuer is refused", path)
    return keys


def _key_of(jwk: object) -> PublicKey:
    """ValueError says why it is none."""
    if not isinstance(jwk, dict):
        raise ValueError("is no object")
    kid = jwk.get("kid")
    if not isinstance(kid, str | None):
        raise ValueError("has a 'kid' that is no text")
    if jwk.get("kty") == "oct":
        raise ValueError("is symmetric: who can check its signatures can make them")
    if "d" in jwk:
        raise ValueError("is a private key: expected the public one alone")
    key = _material(jwk)
    algorithms = _algorithms_of(key)
    if not algorithms:
        raise ValueError("fits no algorithm")
    if "alg" in jwk:
        algorithms = algorithms.intersection(name for name in algorithms if name == jwk["alg"])
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        algorithms = frozenset()
    return PublicKey(kid, key, algorithms)


def _material(jwk: dict[str, Any]) -> VerificationKey:
    read = _READERS.get(str(jwk.get("kty")))
    if read is None:
        raise ValueError("is of a kind that is not known")
    try:
        key = read(jwk)
    except (PyJWTError, UnsupportedAlgorithm, KeyError, TypeError, ValueError):
        raise ValueError("cannot be read") from None
    if not isinstance(key, VerificationKey):
        raise ValueError("is no public key")
    if isinstance(key, RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        raise ValueError(f"has {key.key_size} bits: expected at least {MIN_RSA_BITS}")
    return key


def _algorithms_of(key: VerificationKey) -> frozenset[str]:
    if isinstance(key, RSAPublicKey):
        return _RSA
    if isinstance(key, EllipticCurvePublicKey):
        return frozenset(name for curve, name in _OF_CURVES.items() if curve == key.curve.name)
    return frozenset(("EdDSA",))
