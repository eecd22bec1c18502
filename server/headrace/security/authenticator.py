"""Who calls, by an API key, a token or a certificate; the access file is read again when it changes."""

import hashlib
import hmac
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from headrace.core.caller import STRANGER, Caller, Proof
from headrace.errors import ConfigError, Unauthenticated
from headrace.security.access_file import Access, LimitRule
from headrace.security.access_reader import read_access
from headrace.security.client_certificate import ClientCertificate
from headrace.security.jwks import KeyFile, stamp_of
from headrace.security.policy import OpenPolicy, Policy
from headrace.security.repeating import Repeating
from headrace.security.tokens import Tokens, key_files_of

_log = logging.getLogger(__name__)

BEARER = "bearer"
RELOAD_INTERVAL_S = 0.5
# RFC 7515 §3.1: header, claims, signature.
DOTS_OF_TOKEN = 2


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a caller shows: its Authorization and X-API-Key headers, and its certificate.

    `address` is where it calls from, "" where nobody needs to know.
    """

    authorization: str | None = None
    api_key: str | None = None
    certificate: ClientCertificate | None = None
    address: str = ""

    @classmethod
    def of(
        cls, headers: Mapping[str, str], certificate: ClientCertificate | None, address: str = ""
    ) -> "Credentials":
        """Those in `headers`, whose names are in lower case."""
        return cls(headers.get("authorization"), headers.get("x-api-key"), certificate, address)


class NoAuthenticator:
    """Nobody is asked who they are."""

    asks = False
    sha256 = ""
    policy: Policy = OpenPolicy()
    limits: tuple[LimitRule, ...] = ()

    def caller(self, credentials: Credentials) -> Caller:
        return Caller(STRANGER.name, address=credentials.address) if credentials.address else STRANGER

    def start(self) -> None: ...

    async def stop(self) -> None: ...


class FileAuthenticator:
    """Knows the keys, issuers of tokens and certificates of an access file."""

    asks = True

    def __init__(
        self,
        path: Path,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Reads the file and those that it names; ConfigError names each mistake.

        `changed` is called each time that other contents have come into use.
        """
        self._path = path
        self._now = now
        self._changed = changed
        self._following = Repeating(RELOAD_INTERVAL_S, self.reload)
        self._stamp = stamp_of(path)
        # The newest contents, as long as a file of keys that they name cannot be read.
        self._next: Access | None = None
        self._key_files: Mapping[Path, KeyFile] = {}
        self._take(read_access(path))

    @property
    def policy(self) -> Policy:
        return self._access.policy

    @property
    def limits(self) -> tuple[LimitRule, ...]:
        return self._access.limits

    @property
    def sha256(self) -> str:
        """That of the access file in use, which need not be the one that is there."""
        return self._access.sha256

    def start(self) -> None:
        """Follows the files from now on."""
        self._following.start()

    async def stop(self) -> None:
        await self._following.stop()

    def caller(self, credentials: Credentials) -> Caller:
        """Who shows `credentials`; Unauthenticated where a key or token is shown that does not hold."""
        bearer, address = _bearer_in(credentials), credentials.address
        if bearer is not None:
            return self._owner_of(bearer, address, may_be_token=True)
        if credentials.api_key is not None:
            return self._owner_of(credentials.api_key, address, may_be_token=False)
        names = credentials.certificate.names if credentials.certificate is not None else ()
        for known in self._access.certificates:
            for name in names:
                if fnmatchcase(name, known.name):
                    return Caller(name, known.roles, Proof.CERTIFICATE, address)
        return Caller(STRANGER.name, self._access.anonymous, Proof.NONE, address)

    def reload(self) -> bool:
        """Takes what the files hold now; True where that has changed and is right."""
        has_changed = self._reload_file()
        has_changed = self._tokens.reload() or has_changed
        if has_changed:
            self._changed()
        return has_changed

    def _reload_file(self) -> bool:
        try:
            stamp = stamp_of(self._path)
            if stamp != self._stamp:
                self._stamp, self._next = stamp, None
                self._next = read_access(self._path)
            if self._next is None or self._next.sha256 == self._access.sha256:
                self._next = None
                return False
            self._take(self._next)
        except ConfigError as error:
            self._complain(str(error))
            return False
        _log.info(
            "took a new access file: %d keys, %d issuers of tokens",
            len(self._access.keys),
            len(self._access.tokens),
        )
        return True

    def _take(self, access: Access) -> None:
        """What was allowed until now is forgotten. ConfigError where a file of keys is not yet there."""
        self._key_files = key_files_of(access.tokens, self._path, self._key_files)
        self._access = access
        self._tokens = Tokens(access.tokens, self._key_files, self._now)
        self._callers: dict[bytes, Caller] = {}
        self._next = None
        self._complaint = ""

    def _complain(self, reason: str) -> None:
        if reason != self._complaint:
            _log.error("the access file in use stays, as the new one does not do: %s", reason)
        self._complaint = reason

    def _owner_of(self, text: str, address: str, *, may_be_token: bool) -> Caller:
        """A key is found by its digest: how long that takes tells nothing of a key that is close."""
        digest = hashlib.sha256(text.encode()).digest()
        known = self._access.keys.get(digest)
        if known is None or not hmac.compare_digest(known.digest, digest):
            if may_be_token and self._access.tokens and text.count(".") == DOTS_OF_TOKEN:
                return self._tokens.caller(text, digest, address)
            raise Unauthenticated("the API key is not known")
        if known.expires_at is not None and known.expires_at <= self._now():
            raise Unauthenticated(f"the API key of '{known.name}' has expired")
        caller = self._callers.get(digest)
        if caller is None or caller.address != address:
            caller = self._callers[digest] = Caller(known.name, known.roles, Proof.KEY, address)
        return caller


Authenticator = NoAuthenticator | FileAuthenticator


def _bearer_in(credentials: Credentials) -> str | None:
    if credentials.authorization is None:
        return None
    scheme, _, text = credentials.authorization.strip().partition(" ")
    if scheme.lower() != BEARER or not text.strip():
        raise Unauthenticated(
            "the Authorization header is not understood: expected 'Bearer <key>' or 'Bearer <token>'"
        )
    return text.strip()
