"""What a caller's certificate says, in either of its forms."""

import ipaddress
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from headrace.security.client_certificate import (
    MAX_REMEMBERED,
    UNREADABLE,
    ClientCertificate,
    name_bytes,
    read_client_certificate,
)

KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
ALTERNATIVES = (
    x509.DNSName("bob"),
    x509.DNSName("b.ops"),
    x509.RFC822Name("bob@ours.example"),
    x509.UniformResourceIdentifier("spiffe://ours/b"),
    x509.IPAddress(ipaddress.ip_address("10.0.0.7")),
    x509.IPAddress(ipaddress.ip_address("::1")),
    x509.RegisteredID(NameOID.COMMON_NAME),
    x509.DirectoryName(ISSUER),
)
NAMES = ("bob", "b.ops", "bob@ours.example", "spiffe://ours/b", "10.0.0.7", "::1")


def named(*pairs):
    return x509.Name([x509.NameAttribute(oid, text, kind) for oid, text, kind in pairs])


def common(text, kind=_ASN1Type.UTF8String):
    return named((NameOID.COMMON_NAME, text, kind))


def signed(subject, alternatives=(), *, serial=7, issuer=ISSUER):
    builder = x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=KEY.public_key(),
        serial_number=serial,
        not_valid_before=datetime(2026, 1, 1, tzinfo=UTC),
        not_valid_after=datetime(2027, 1, 1, tzinfo=UTC),
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(KEY, hashes.SHA256())


@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM])
def test_names_are_the_common_and_the_alternative_ones_each_once(encoding):
    data = signed(common("bob"), ALTERNATIVES).public_bytes(encoding)
    assert read_client_certificate(data) == ClientCertificate(NAMES, name_bytes(ISSUER), 7)


@pytest.mark.parametrize(
    ("subject", "alternatives", "names"),
    [
        (x509.Name([]), ALTERNATIVES[3:4], ("spiffe://ours/b",)),
        (common("bob"), (), ("bob",)),
        (x509.Name([]), (), ()),
        (named((NameOID.ORGANIZATION_NAME, "ours", None)), (), ()),
        (x509.Name([*common("a"), *common("b")]), (), ("a", "b")),
    ],
)
def test_names_that_are_not_there_are_none(subject, alternatives, names):
    data = signed(subject, alternatives).public_bytes(Encoding.DER)
    assert read_client_certificate(data).names == names


def test_what_cannot_be_read_names_nobody():
    whole = signed(common("bob")).public_bytes(Encoding.DER)
    broken_names = signed(common("bob"), [x509.DNSName("b.ops")]).public_bytes(Encoding.DER)
    for data in (b"", b"x", whole[:-1], whole + b"x", broken_names.replace(b"b.ops", b"b.\xff\xffs")):
        assert read_client_certificate(data) is UNREADABLE
    assert UNREADABLE.names == ()


def test_certificates_that_are_remembered_are_bounded():
    data = signed(common("bob")).public_bytes(Encoding.DER)
    assert read_client_certificate(data) is read_client_certificate(bytes(bytearray(data)))
    for number in range(MAX_REMEMBERED + 1):
        read_client_certificate(b"%d" % number)
    assert read_client_certificate.cache_info().currsize == MAX_REMEMBERED


def test_names_that_are_written_differently_are_equal():
    """As OpenSSL compares them when it looks for who has signed."""
    ours = name_bytes(common("Our  Authority "))
    assert name_bytes(common("Our Authority", _ASN1Type.PrintableString)) == ours
    assert name_bytes(common("our authority", _ASN1Type.BMPString)) == ours
    assert name_bytes(common("OurAuthority")) != ours
    assert name_bytes(named((NameOID.ORGANIZATION_NAME, "Our Authority", None))) != ours


def test_parts_of_a_name_have_an_order_and_those_of_a_part_have_none():
    first, second = common("a").rdns[0], named((NameOID.ORGANIZATION_NAME, "o", None)).rdns[0]
    assert name_bytes(x509.Name([first, second])) != name_bytes(x509.Name([second, first]))
    both = [*first, *second]
    one_way, other_way = (
        x509.Name([x509.RelativeDistinguishedName(each)]) for each in (both, reversed(both))
    )
    assert name_bytes(one_way) == name_bytes(other_way)
