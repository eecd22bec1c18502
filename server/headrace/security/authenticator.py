"""Who calls, by an API key or a certificate; the access file is read again when it changes."""

import hashlib
import hmac
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from headrace.core.caller import STRANGER, Caller
from headrace.errors import ConfigError, Unauthenticated
from headrace.security.access_file import Access, read_access
from headrace.security.policy import OpenPolicy, Policy
from headrace.security.repeating import Repeating

_log = logging.getLogger(__name__)

BEARER = "bearer"
RELOAD_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a caller shows: its Authorization and X-API-Key headers, and the names of its certificate."""

    authorization: str | None = None
    api_key: str | None = None
    certificate_names: tuple[str, ...] = ()

    @classmethod
    def of(cls, headers: Mapping[str, str], certificate_names: tuple[str, ...]) -> "Credentials":
        """Those in `headers`, whose names are in lower case."""
        return cls(headers.get("authorization"), headers.get("x-api-key"), certificate_names)


class NoAuthenticator:
    """Nobody is asked who they are."""

    asks = False
    policy: Policy = OpenPolicy()

    def caller(self, credentials: Credentials) -> Caller:
        return STRANGER

    def start(self) -> None: ...

    async def stop(self) -> None: ...


class FileAuthenticator:
    """Knows the keys and certificates of an access file."""

    asks = True

    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Reads the file; ConfigError names each mistake."""
        self._path = path
        self._now = now
        self._stamp = _stamp(path)
        self._access: Access = read_access(path)
        self._following = Repeating(RELOAD_INTERVAL_S, self.reload)

    @property
    def policy(self) -> Policy:
        return self._access.policy

    def start(self) -> None:
        """Follows the file from now on."""
        self._following.start()

    async def stop(self) -> None:
        await self._following.stop()

    def caller(self, credentials: Credentials) -> Caller:
        """Who shows `credentials`; Unauthenticated where a key is shown that is not known."""
        key = _key_of(credentials)
        if key is not None:
            return self._owner_of(key)
        for certificate in self._access.certificates:
            for name in credentials.certificate_names:
                if fnmatchcase(name, certificate.name):
                    return Caller(name, certificate.roles)
        return Caller(STRANGER.name, self._access.anonymous) if self._access.anonymous else STRANGER

    def reload(self) -> bool:
        """Takes what the file holds now; True where that has changed and is right."""
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self._access = read_access(self._path)
        except ConfigError as error:
            _log.error("the access file in use stays, as the new one does not do: %s", error)
            return False
        _log.info("took a new access file: %d keys", len(self._access.keys))
        return True

    def _owner_of(self, key: str) -> Caller:
        """Found by its digest: how long that takes tells nothing of a key that is close."""
        digest = hashlib.sha256(key.encode()).digest()
        known = self._access.keys.get(digest)
        if known is None or not hmac.compare_digest(known.digest, digest):
            raise Unauthenticated("the API key is not known")
        if known.expires_at is not None and known.expires_at <= self._now():
            raise Unauthenticated(f"the API key of '{known.name}' has expired")
        return Caller(known.name, known.roles)


Authenticator = NoAuthenticator | FileAuthenticator


def _key_of(credentials: Credentials) -> str | None:
    if credentials.authorization is not None:
        scheme, _, token = credentials.authorization.strip().partition(" ")
        if scheme.lower() != BEARER or not token.strip():
            raise Unauthenticated("the Authorization header is not understood: expected 'Bearer <key>'")
        return token.strip()
    return credentials.api_key


def names_in(certificate: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The common and the alternative names of a certificate as Python's ssl gives it."""
    if not certificate:
        return ()
    subject = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    others = [value for _, value in certificate.get("subjectAltName", ())]
    return tuple(dict.fromkeys([*subject, *others]))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
