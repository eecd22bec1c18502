"""A caller's certificate, as far as it tells who calls: read in one way, whichever port it is shown to."""

from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import NameOID

MAX_REMEMBERED = 1024
_PEM = b"-----BEGIN"
_NAMES = (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier, x509.IPAddress)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """Whom it names, and what its authority knows it by: `serial` is its own among those of `issuer`.

    `names` are the common name and then the alternative ones (DNS, e-mail, URI, IP), each once; `issuer` is
    the authority's name, as `name_bytes` has it.
    """

    names: tuple[str, ...] = ()
    issuer: bytes = b""
    serial: int = 0


# What a certificate says that TLS has taken, but that is not as it has to be (RFC 5280 §4): it names nobody.
UNREADABLE = ClientCertificate()


@lru_cache(MAX_REMEMBERED)
def read_client_certificate(data: bytes) -> ClientCertificate:
    """What the certificate in `data`, PEM or DER, says; UNREADABLE where that cannot be known."""
    read = x509.load_pem_x509_certificate if data.startswith(_PEM) else x509.load_der_x509_certificate
    try:
        certificate = read(data)
        names = (*_common_names(certificate), *_alternative_names(certificate))
        issuer = name_bytes(certificate.issuer)
    except (ValueError, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType):
        return UNREADABLE
    return ClientCertificate(tuple(dict.fromkeys(names)), issuer, certificate.serial_number)


def name_bytes(name: x509.Name) -> bytes:
    """Equal for names that are equal: case, blanks and kind of text do not count (RFC 5280 §7.1).

    OpenSSL takes an authority that writes its name in one way in its certificate, and in another where it
    signs; with the DER of the names such a caller would be in no list.
    """
    parts = [
        sorted((each.oid.dotted_string, " ".join(str(each.value).casefold().split())) for each in part)
        for part in name.rdns
    ]
    return repr(parts).encode()


def _common_names(certificate: x509.Certificate) -> tuple[str, ...]:
    attributes = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return tuple(each.value for each in attributes if isinstance(each.value, str))


def _alternative_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in names if isinstance(name, _NAMES))
