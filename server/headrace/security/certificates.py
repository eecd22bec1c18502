"""The server's certificate: read, checked, and read again when its files change, for every port alike."""

import logging
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from headrace.errors import ConfigError
from headrace.security.repeating import Repeating
from headrace.security.revocations import Revocations
from headrace.settings import TlsSettings

_log = logging.getLogger(__name__)

# A certificate that ends sooner is warned of.
SOON = timedelta(days=14)
# Whose files others may read.
_PRIVATE_KEY_MODE = 0o077


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate's chain and its key in PEM; `client_ca` signs callers' certificates, if any are asked."""

    chain: bytes
    key: bytes
    client_ca: bytes | None


class Certificates:
    """Keeps the newest pair that works; one that does not is logged, and the one before it stays.

    `revocations` are of callers' certificates; None where no list is named.
    """

    def __init__(self, settings: TlsSettings) -> None:
        """Reads the files; ConfigError names the one that does not do."""
        self._settings = settings
        self.pair = self._seen = _read(settings)
        self._context = _context_of(self.pair, settings)
        self.expires_at = _end_of(self.pair, settings)
        self.revocations = _revocations_of(self.pair, settings)
        self._complaint = ""
        self._following = Repeating(settings.reload_interval_s, self.reload)

    def start(self) -> None:
        """Follows the files from now on."""
        _warn_of_open_key(self._settings)
        self._warn_of_end()
        if self.revocations is not None:
            self.revocations.warn_of_overdue()
        self._following.start()

    async def stop(self) -> None:
        await self._following.stop()

    def listener_context(self) -> ssl.SSLContext:
        """A context for a listener; each of its connections gets the pair that is newest when it begins."""
        context = _context_of(self.pair, self._settings)
        # Called in every handshake, also where the client names no server.
        context.sni_callback = self._use_newest
        return context

    def reload(self) -> bool:
        """Takes what the files hold now; True where that has changed and works.

        Revocations do not wait for a pair that is broken for the moment, nor does a pair for them.
        """
        has_changed = self._reload_pair()
        if self.revocations is None or self.pair.client_ca is None:
            return has_changed
        has_changed = self.revocations.reload(self.pair.client_ca) or has_changed
        self.revocations.warn_of_overdue()
        return has_changed

    def _reload_pair(self) -> bool:
        try:
            pair = _read(self._settings)
            if pair == self._seen:
                return False
            context, expires_at = _context_of(pair, self._settings), _end_of(pair, self._settings)
        except (ConfigError, OSError) as error:  # OSError: of this moment, such as too many open files
            self._complain(str(error))
            return False
        self._seen, self._complaint = pair, ""
        self.pair, self._context, self.expires_at = pair, context, expires_at
        _log.info("took a new certificate, valid until %s", expires_at.isoformat())
        self._warn_of_end()
        return True

    def _complain(self, reason: str) -> None:
        """Once for each reason, as the files are read again and again."""
        if reason != self._complaint:
            self._complaint = reason
            _log.error("the certificate in use stays, as the new one does not do: %s", reason)

    def _use_newest(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = self._context

    def _warn_of_end(self) -> None:
        if self.expires_at - datetime.now(UTC) < SOON:
            _log.warning("the certificate ends on %s", self.expires_at.isoformat())


def _read(settings: TlsSettings) -> Pair:
    return Pair(
        _read_file("certificate", settings.certificate),
        _read_file("key", settings.key),
        _read_file("client_ca", settings.client_ca) if settings.client_ca else None,
    )


def _read_file(field: str, path: Path | None) -> bytes:
    if path is None:
        raise ConfigError(f"tls.{field}: is missing: expected the path of a PEM file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"tls.{field}: {path} cannot be read: {error.strerror}") from None


def _revocations_of(pair: Pair, settings: TlsSettings) -> Revocations | None:
    if settings.client_crl is None or pair.client_ca is None:
        return None
    return Revocations(settings.client_crl, pair.client_ca)


def _context_of(pair: Pair, settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        with _as_file(pair.chain) as chain, _as_file(pair.key) as key:
            context.load_cert_chain(chain, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"tls.certificate: {settings.certificate} and {settings.key} are no certificate and its key: "
            f"{_reason(error)}"
        ) from None
    if pair.client_ca is not None:
        # A session that is taken up again is not checked against the authorities of the moment. TLS 1.2 has
        # no switch for that here.
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(cadata=pair.client_ca.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(
                f"tls.client_ca: {settings.client_ca} has no certificates: {_reason(error)}"
            ) from None
    return context


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """`data` under a path, in memory: what was read is what is loaded, and no key is written anywhere."""
    descriptor = os.memfd_create("pem")
    try:
        os.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _no_password() -> str:
    """Asked for where a key is encrypted; OpenSSL would ask at the terminal."""
    raise ValueError("the key is encrypted: expected one without a passphrase")


def _end_of(pair: Pair, settings: TlsSettings) -> datetime:
    try:
        return x509.load_pem_x509_certificate(pair.chain).not_valid_after_utc
    except ValueError as error:
        raise ConfigError(f"tls.certificate: {settings.certificate} is no certificate: {error}") from None


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error) or type(error).__name__


def _warn_of_open_key(settings: TlsSettings) -> None:
    if settings.key is not None and settings.key.stat().st_mode & _PRIVATE_KEY_MODE:
        _log.warning("others on this machine may read the key %s: expected mode 0600", settings.key)
