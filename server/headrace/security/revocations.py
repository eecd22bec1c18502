"""Certificates that callers' authorities have taken back, by the revocation lists in a file (RFC 5280 §5)."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from headrace.errors import ConfigError, Unauthenticated
from headrace.security.client_certificate import UNREADABLE, ClientCertificate, name_bytes

_log = logging.getLogger(__name__)

_BEGIN = b"-----BEGIN X509 CRL-----"


@dataclass(frozen=True, slots=True)
class RevocationList:
    """Serial numbers of certificates that `issuer` (as `name_bytes` has it) has taken back.

    `name` is that of the issuer for people. A newer list is there at `next_update`, None: it does not say.
    """

    name: str
    issuer: bytes
    serials: frozenset[int]
    next_update: datetime | None


class Revocations:
    """Keeps the newest lists that work; where they do not it is logged, and those before them stay."""

    def __init__(
        self, path: Path, authorities: bytes, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Reads the lists; ConfigError names one that does not do.

        Each has to be signed by one of `authorities`, whose certificates these are in PEM.
        """
        self._path = path
        self._now = now
        self._seen = (_read_file(path), authorities)
        self._lists = _lists_in(path, *self._seen)
        self._serials = _serials_in(self._lists)
        self._complaint = ""
        self._warned: set[tuple[bytes, datetime]] = set()

    def check(self, certificate: ClientCertificate) -> None:
        """Unauthenticated where it has been revoked; one of an authority without a list holds."""
        if certificate == UNREADABLE:
            raise Unauthenticated("the certificate cannot be read")
        if certificate.serial in self._serials.get(certificate.issuer, ()):
            raise Unauthenticated("the certificate has been revoked")

    def reload(self, authorities: bytes) -> bool:
        """Takes what the file holds now; True where that has changed and works."""
        try:
            seen = (_read_file(self._path), authorities)
            if seen == self._seen:
                return False
            # Not tried again until something changes: a long list takes a while to read.
            self._seen = seen
            lists = _lists_in(self._path, *seen)
        except ConfigError as error:
            self._complain(str(error))
            return False
        self._lists, self._serials, self._complaint = lists, _serials_in(lists), ""
        revoked = sum(len(each.serials) for each in lists)
        _log.info("took new revocation lists: %d, with %d certificates", len(lists), revoked)
        return True

    def warn_of_overdue(self) -> None:
        """Once for each list that should have been replaced: it holds, as without it more would be let in."""
        now = self._now()
        for each in self._lists:
            if each.next_update is None or now < each.next_update:
                continue
            if (each.issuer, each.next_update) not in self._warned:
                self._warned.add((each.issuer, each.next_update))
                _log.warning(
                    "the revocation list of '%s' was to be replaced by %s: it is used until then",
                    each.name,
                    each.next_update.isoformat(),
                )

    def _complain(self, reason: str) -> None:
        """Once for each reason, as the file is read again and again."""
        if reason != self._complaint:
            _log.error("the revocation lists in use stay, as the new ones do not do: %s", reason)
        self._complaint = reason


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"tls.client_crl: {path} cannot be read: {error.strerror}") from None


def _serials_in(lists: Sequence[RevocationList]) -> Mapping[bytes, frozenset[int]]:
    """By issuer, whose lists may be several: each may have signed with another key."""
    serials: dict[bytes, frozenset[int]] = {}
    for each in lists:
        serials[each.issuer] = serials.get(each.issuer, frozenset()) | each.serials
    return serials


def _lists_in(path: Path, content: bytes, authorities: bytes) -> Sequence[RevocationList]:
    blocks = content.split(_BEGIN)[1:]
    if not blocks:
        raise ConfigError(f"tls.client_crl: {path} has no revocation lists: expected {_BEGIN.decode()}")
    try:
        signers = x509.load_pem_x509_certificates(authorities)
        return [_list_in(_BEGIN + block, signers, f"list {at}") for at, block in enumerate(blocks, 1)]
    except ValueError as error:
        raise ConfigError(f"tls.client_crl: {path}: {error}") from None


def _list_in(block: bytes, authorities: Sequence[x509.Certificate], place: str) -> RevocationList:
    """ValueError says what is wrong with it."""
    try:
        read = x509.load_pem_x509_crl(block)
        issuer, name = name_bytes(read.issuer), read.issuer.rfc4514_string()
        serials = frozenset(each.serial_number for each in read)
        problem = _problem_of(read)
    except (ValueError, x509.DuplicateExtension) as error:
        raise ValueError(f"{place} cannot be read: {error}") from None
    if problem:
        raise ValueError(f"{place}, of '{name}', {problem}")
    named = [each for each in authorities if name_bytes(each.subject) == issuer]
    if not named:
        raise ValueError(f"{place} is of '{name}', which is none of the authorities in tls.client_ca")
    if not any(_has_signed(authority, read) for authority in named):
        raise ValueError(f"{place} is not signed by '{name}' as that is in tls.client_ca")
    return RevocationList(name, issuer, serials, read.next_update_utc)


def _problem_of(read: x509.CertificateRevocationList) -> str:
    """Why its serial numbers are not all that its issuer has taken back, "" where they are."""
    for extension in read.extensions:
        value = extension.value
        if isinstance(value, x509.DeltaCRLIndicator):
            return "has only changes: expected a complete list"
        if isinstance(value, x509.IssuingDistributionPoint) and value.indirect_crl:
            return "has certificates of others: expected a list of its own"
        if extension.critical and isinstance(value, x509.UnrecognizedExtension):
            return f"demands what is not understood here ({extension.oid.dotted_string})"
    return ""


def _has_signed(authority: x509.Certificate, read: x509.CertificateRevocationList) -> bool:
    try:
        usages = [each.value for each in authority.extensions if isinstance(each.value, x509.KeyUsage)]
        may_sign = all(usage.crl_sign for usage in usages)  # RFC 5280 §6.3.3 (f)
        return may_sign and read.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except (TypeError, UnsupportedAlgorithm):  # a kind of key or signature that is not known here
        return False
