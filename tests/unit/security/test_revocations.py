"""Which certificates have been revoked, while the file that says so changes."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from headrace.errors import ConfigError, Unauthenticated
from headrace.security.audit.log import NoAuditLog
from headrace.security.authenticator import Credentials, NoAuthenticator
from headrace.security.certificates import Certificates
from headrace.security.client_certificate import UNREADABLE, read_client_certificate
from headrace.security.entrance import Entrance
from headrace.security.refusals import Refusals
from headrace.security.revocations import Revocations
from headrace.settings import TlsSettings
from support.certificates import DAY, Authority

REVOKED = "the certificate has been revoked"


@pytest.fixture
def ours(tmp_path):
    return Authority(tmp_path, "ours")


@pytest.fixture
def theirs(tmp_path):
    return Authority(tmp_path, "theirs")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "revoked.crl"


def trust(*authorities):
    return b"".join(each.file.read_bytes() for each in authorities)


def shown(files):
    return read_client_certificate(files.certificate.read_bytes())


def is_revoked(revocations, files):
    try:
        revocations.check(shown(files))
    except Unauthenticated as error:
        assert str(error) == REVOKED
        return True
    return False


def test_lists_of_several_authorities_hold_for_their_own_certificates(ours, theirs, file):
    bob, alice, eve = ours.sign("bob"), ours.sign("alice"), theirs.sign("eve")
    file.write_bytes(b"first\n" + ours.revocations(bob) + b"second\n" + theirs.revocations(eve))
    revocations = Revocations(file, trust(theirs, ours))
    assert [is_revoked(revocations, each) for each in (bob, alice, eve)] == [True, False, True]


def test_several_lists_of_one_authority_add_up(ours, file):
    bob, alice = ours.sign("bob"), ours.sign("alice")
    file.write_bytes(ours.revocations(bob) + ours.revocations(alice) + ours.revocations())
    revocations = Revocations(file, trust(ours))
    assert is_revoked(revocations, bob) and is_revoked(revocations, alice)


def test_an_authority_without_a_list_has_revoked_nothing(ours, theirs, file):
    file.write_bytes(ours.revocations(ours.sign("bob")))
    assert not is_revoked(Revocations(file, trust(ours, theirs)), theirs.sign("eve"))


def test_an_authority_with_a_new_key_revokes_what_it_signed_with_the_old_one(tmp_path, ours, file):
    renewed = Authority(tmp_path, "ours", file_name="renewed")
    bob = ours.sign("bob")
    file.write_bytes(renewed.revocations(bob))
    assert is_revoked(Revocations(file, trust(ours, renewed)), bob)


def test_a_list_that_writes_its_authority_differently_is_its_list(ours, file):
    bob = ours.sign("bob")
    same = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "OURS")])
    file.write_bytes(ours.revocations(bob, name=same))
    assert is_revoked(Revocations(file, trust(ours)), bob)


def test_a_certificate_that_cannot_be_read_is_refused(ours, file):
    file.write_bytes(ours.revocations())
    with pytest.raises(Unauthenticated, match="the certificate cannot be read"):
        Revocations(file, trust(ours)).check(UNREADABLE)


DELTA = x509.DeltaCRLIndicator(1)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
INDIRECT = x509.IssuingDistributionPoint(
    full_name=None,
    relative_name=None,
    only_contains_user_certs=False,
    only_contains_ca_certs=False,
    only_some_reasons=None,
    indirect_crl=True,
    only_contains_attribute_certs=False,
)


@pytest.mark.parametrize(
    ("extension", "is_critical", "words"),
    [
        (DELTA, True, "list 1, of 'CN=ours', has only changes: expected a complete list"),
        (INDIRECT, True, "list 1, of 'CN=ours', has certificates of others: expected a list of its own"),
        (UNKNOWN, True, "list 1, of 'CN=ours', demands what is not understood here (1.2.3.4)"),
    ],
)
def test_lists_that_say_something_else_are_refused(ours, file, extension, is_critical, words):
    file.write_bytes(ours.revocations(extensions=[(extension, is_critical)]))
    assert refusal(file, ours) == f"tls.client_crl: {file}: {words}"


def test_what_is_not_critical_may_be_there(ours, file):
    file.write_bytes(ours.revocations(extensions=[(UNKNOWN, False), (x509.CRLNumber(1), False)]))
    Revocations(file, trust(ours))


def refusal(file, *authorities):
    with pytest.raises(ConfigError) as refused:
        Revocations(file, trust(*authorities))
    return str(refused.value)


def test_mistakes_are_named(tmp_path, ours, theirs, file):
    assert refusal(file, ours) == f"tls.client_crl: {file} cannot be read: No such file or directory"
    file.write_bytes(ours.file.read_bytes())
    assert f"{file} has no revocation lists: expected -----BEGIN X509 CRL-----" in refusal(file, ours)
    whole = ours.revocations(ours.sign("bob"))
    file.write_bytes(whole + whole[:-40])
    assert "list 2 cannot be read" in refusal(file, ours)
    file.write_bytes(whole + theirs.revocations())
    assert "list 2 is of 'CN=theirs', which is none of the authorities" in refusal(file, ours)
    file.write_bytes(Authority(tmp_path, "ours", file_name="impostor").revocations())
    assert "list 1 is not signed by 'CN=ours' as that is in tls.client_ca" in refusal(file, ours)


@pytest.mark.parametrize("may_sign_lists", [True, False])
def test_only_an_authority_that_may_sign_lists_does(tmp_path, file, may_sign_lists):
    usages = dict.fromkeys(
        (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
            *("key_agreement", "encipher_only", "decipher_only"),
        ),
        False,
    )
    usage = x509.KeyUsage(**usages, key_cert_sign=True, crl_sign=may_sign_lists)
    authority = Authority(tmp_path, usage=usage)
    file.write_bytes(authority.revocations())
    if may_sign_lists:
        Revocations(file, trust(authority))
    else:
        assert "list 1 is not signed by 'CN=authority'" in refusal(file, authority)


def test_a_new_file_is_taken_and_one_that_does_not_do_is_not(ours, theirs, file, caplog):
    caplog.set_level("INFO")
    bob, alice = ours.sign("bob"), ours.sign("alice")
    file.write_bytes(ours.revocations(bob))
    revocations = Revocations(file, trust(ours))
    assert not revocations.reload(trust(ours))
    for broken in (b"", b"x", theirs.revocations(alice)):
        file.write_bytes(broken)
        assert [revocations.reload(trust(ours)) for _ in range(3)] == [False] * 3
        assert is_revoked(revocations, bob)
    file.unlink()
    assert [revocations.reload(trust(ours)) for _ in range(3)] == [False] * 3
    assert caplog.text.count("the revocation lists in use stay") == 3
    file.write_bytes(ours.revocations(alice))
    assert revocations.reload(trust(ours))
    assert "took new revocation lists: 1, with 1 certificates" in caplog.text
    assert is_revoked(revocations, alice) and not is_revoked(revocations, bob)


def test_a_list_is_taken_once_its_authority_is_trusted(ours, theirs, file):
    eve = theirs.sign("eve")
    file.write_bytes(ours.revocations())
    revocations = Revocations(file, trust(ours))
    file.write_bytes(theirs.revocations(eve))
    assert not revocations.reload(trust(ours))
    assert revocations.reload(trust(theirs))
    assert is_revoked(revocations, eve)


def test_an_overdue_list_holds_and_is_warned_of_once(ours, file, caplog):
    bob = ours.sign("bob")
    file.write_bytes(ours.revocations(bob, lasts=timedelta(hours=1)))
    now = datetime.now(UTC)
    revocations = Revocations(file, trust(ours), lambda: now)
    revocations.warn_of_overdue()
    assert not caplog.records
    now += DAY
    for _ in range(3):
        revocations.warn_of_overdue()
    assert caplog.text.count("the revocation list of 'CN=ours' was to be replaced by") == 1
    assert is_revoked(revocations, bob)
    file.write_bytes(ours.revocations(bob, lasts=timedelta(hours=2)))
    assert revocations.reload(trust(ours))
    revocations.warn_of_overdue()
    assert caplog.text.count("was to be replaced by") == 2


def test_the_entrance_refuses_counts_and_wants_to_know_of_every_call(ours, file):
    bob, alice = ours.sign("bob"), ours.sign("alice")
    file.write_bytes(ours.revocations(bob))
    refusals = Refusals(NoAuditLog())
    entrance = Entrance(NoAuthenticator(), refusals, revocations=Revocations(file, trust(ours)))
    assert entrance.wants_all
    for refused in range(1, 3):
        with pytest.raises(Unauthenticated, match=REVOKED):
            entrance.caller(Credentials(certificate=shown(bob), address="10.0.0.7:4711"))
        assert refusals.counts == {("", "unauthenticated"): refused}
    assert entrance.caller(Credentials(certificate=shown(alice))).name == "stranger"
    assert entrance.caller(Credentials()).name == "stranger"
    assert not Entrance(NoAuthenticator(), refusals).wants_all


def test_pair_and_revocations_do_not_wait_for_each_other(tmp_path, ours, file):
    server, bob = ours.sign("server"), ours.sign("bob")
    file.write_bytes(ours.revocations())
    certificates = Certificates(TlsSettings(server.certificate, server.key, ours.file, file))
    pair, chain = certificates.pair, server.certificate.read_bytes()
    server.certificate.write_bytes(b"x")
    file.write_bytes(ours.revocations(bob))
    assert certificates.reload()
    assert certificates.pair == pair and is_revoked(certificates.revocations, bob)
    server.certificate.write_bytes(chain + ours.file.read_bytes())
    file.write_bytes(b"x")
    assert certificates.reload()
    assert certificates.pair != pair and is_revoked(certificates.revocations, bob)


def test_lists_need_authorities(ours, file):
    server = ours.sign("server")
    with pytest.raises(ConfigError, match=r"tls.client_crl: has no effect without tls.client_ca"):
        TlsSettings(server.certificate, server.key, None, file)
    certificates = Certificates(TlsSettings(server.certificate, server.key, ours.file))
    assert certificates.revocations is None and not certificates.reload()
