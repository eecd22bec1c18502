"""The access file, who a caller is by it, and what the caller may then do."""

import hashlib
import os
from datetime import UTC, datetime, timedelta

import pytest

from headrace.core.caller import STRANGER, Caller
from headrace.errors import ConfigError, PermissionDenied, Unauthenticated
from headrace.security.authenticator import Credentials, FileAuthenticator, names_in
from headrace.security.policy import EVERY_MODEL, OpenPolicy, Permission, Policy, Role

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def digest(key):
    return hashlib.sha256(key.encode()).hexdigest()


TEXT = f"""\
roles:
  scorer: {{infer: ["fraud-*"], read: ["fraud-*"]}}
  operator: {{read: ["*"], control: ["*"], admin: true}}
keys:
  - {{name: backend, sha256: {digest("b")}, roles: [scorer]}}
  - {{name: old, sha256: {digest("o")}, roles: [scorer], expires: 2026-05-31}}
  - {{name: new, sha256: {digest("n")}, roles: [scorer, operator], expires: 2026-06-02T00:00:00+02:00}}
certificates:
  - {{name: "*.ops", roles: [operator]}}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "access.yaml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def authenticator(file):
    return FileAuthenticator(file, lambda: NOW)


@pytest.mark.parametrize(
    ("credentials", "caller"),
    [
        (Credentials("Bearer b"), Caller("backend", frozenset({"scorer"}))),
        (Credentials("bearer   b "), Caller("backend", frozenset({"scorer"}))),
        (Credentials(api_key="n"), Caller("new", frozenset({"scorer", "operator"}))),
        (Credentials(certificate_names=("x", "a.ops")), Caller("a.ops", frozenset({"operator"}))),
        (Credentials("Bearer b", certificate_names=("a.ops",)), Caller("backend", frozenset({"scorer"}))),
        (Credentials(certificate_names=("ops",)), STRANGER),
        (Credentials(), STRANGER),
    ],
)
def test_callers_are_known_by_key_or_certificate(authenticator, credentials, caller):
    assert authenticator.caller(credentials) == caller


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (Credentials("Bearer B"), "the API key is not known"),
        (Credentials("Bearer b, Bearer b"), "the API key is not known"),
        (Credentials(api_key=""), "the API key is not known"),
        (Credentials(api_key=digest("b")), "the API key is not known"),
        (Credentials("Bearer o"), "the API key of 'old' has expired"),
        (Credentials("Basic Yjpi"), "the Authorization header is not understood"),
        (Credentials("Bearer"), "the Authorization header is not understood"),
        (Credentials("b"), "the Authorization header is not understood"),
    ],
)
def test_who_shows_something_wrong_is_no_stranger_but_refused(authenticator, credentials, words):
    with pytest.raises(Unauthenticated, match=words) as refused:
        authenticator.caller(credentials)
    assert (
        credentials.api_key is None
        or not credentials.api_key
        or credentials.api_key not in str(refused.value)
    )


def test_strangers_may_have_roles(file):
    file.write_text(TEXT + "anonymous: {roles: [scorer]}\n")
    assert FileAuthenticator(file).caller(Credentials()).roles == {"scorer"}


def test_a_changed_file_holds_at_once_and_a_wrong_one_not_at_all(file, authenticator, caplog):
    file.write_text(TEXT.replace(digest("b"), digest("c")))
    os.utime(file, ns=(1, 1))
    assert authenticator.reload()
    assert authenticator.caller(Credentials("Bearer c")).name == "backend"
    with pytest.raises(Unauthenticated):
        authenticator.caller(Credentials("Bearer b"))

    file.write_text("roles: 1\n")
    os.utime(file, ns=(2, 2))
    assert not authenticator.reload()
    assert authenticator.caller(Credentials("Bearer c")).name == "backend"
    assert "the access file in use stays" in caplog.text

    file.unlink()
    assert not authenticator.reload()
    assert authenticator.caller(Credentials("Bearer c")).name == "backend"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("role: {}\n", "the file: 'role' is not known; did you mean 'roles'?"),
        ("roles: {a: {infre: ['*']}}\n", "roles.a: 'infre' is not known; did you mean 'infer'?"),
        ("roles: {a: {infer: '*'}}\n", "roles.a.infer: expected a list of models' names"),
        ("roles: [a]\n", "roles: expected fields with names"),
        ("keys: {a: 1}\n", "keys: expected a list"),
        ("keys: [{sha256: x}]\n", "keys[0].name: is missing"),
        ("keys: [{name: a, sha256: secret}]\n", "keys[0].sha256: expected the SHA-256 of the key"),
        (f"keys: [{{name: a, sha256: {digest('a')}, roles: [b]}}]\n", "keys[0].roles: there is no role 'b'"),
        (f"keys: [{{name: a, sha256: {digest('a')}, expires: soon}}]\n", "'soon' is no date"),
        (
            f"keys: [{{name: a, sha256: {digest('a')}}}, {{name: b, sha256: {digest('a')}}}]\n",
            "two keys have the same sha256",
        ),
        ("certificates: [{roles: []}]\n", "certificates[0].name: is missing"),
        ("anonymous: {roles: [x]}\n", "anonymous.roles: there is no role 'x'"),
        ("a: &a [*a]\n", "is not known"),
        ("!!python/object/apply:os.system [id]\n", "not valid YAML"),
        ("- 1\n", "the file: expected fields with names"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(file, text, problem):
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        FileAuthenticator(file)
    assert problem in str(refused.value)
    assert str(file) in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"access_file: .* cannot be read: No such file"):
        FileAuthenticator(tmp_path / "nix")


POLICY = Policy(
    {
        "scorer": Role({Permission.INFER: ("fraud-*",)}),
        "reader": Role({Permission.READ: ("*",)}),
    }
)
SCORER = Caller("s", frozenset({"scorer"}))
BOTH = Caller("b", frozenset({"scorer", "reader"}))


@pytest.mark.parametrize(
    ("caller", "permission", "model", "is_allowed"),
    [
        (SCORER, Permission.INFER, "fraud-eu", True),
        (SCORER, Permission.INFER, "FRAUD-eu", False),
        (SCORER, Permission.INFER, "not-fraud-eu", False),
        (SCORER, Permission.READ, "fraud-eu", False),
        (SCORER, Permission.INFER, None, True),
        (SCORER, Permission.INFER, EVERY_MODEL, False),
        (BOTH, Permission.READ, EVERY_MODEL, True),
        (BOTH, Permission.CONTROL, "x", False),
        (STRANGER, Permission.READ, "x", False),
        (Caller("x", frozenset({"gone"})), Permission.READ, "x", False),
    ],
)
def test_only_what_a_role_allows_is_allowed(caller, permission, model, is_allowed):
    for _ in range(2):  # the second time it is remembered
        assert POLICY.allows(caller, permission, model) is is_allowed


def test_refusals_tell_strangers_from_those_who_may_not():
    with pytest.raises(Unauthenticated, match="credentials are needed"):
        POLICY.check(STRANGER, Permission.READ, "x")
    with pytest.raises(PermissionDenied, match="'s' lacks the permission 'read' for model 'x'"):
        POLICY.check(SCORER, Permission.READ, "x")


def test_an_open_server_allows_everything():
    OpenPolicy().check(STRANGER, Permission.ADMIN, "x")


def test_decisions_that_are_remembered_are_bounded():
    for number in range(10_000):
        POLICY.allows(SCORER, Permission.INFER, f"fraud-{number}")
    assert len(POLICY._remembered) <= 4096


def test_names_of_a_certificate_as_python_gives_it():
    certificate = {
        "subject": ((("countryName", "DE"),), (("commonName", "bob"),)),
        "subjectAltName": (("DNS", "bob"), ("DNS", "b.ops"), ("URI", "spiffe://ours/b")),
    }
    assert names_in(certificate) == ("bob", "b.ops", "spiffe://ours/b")
    assert names_in(None) == names_in({}) == ()


def test_time_zones_of_expiry(file):
    """Midnight at UTC+2 is 22:00 of the day before at UTC."""
    late = FileAuthenticator(file, lambda: datetime(2026, 6, 1, 22, tzinfo=UTC))
    with pytest.raises(Unauthenticated):
        late.caller(Credentials("Bearer n"))
    early = FileAuthenticator(file, lambda: datetime(2026, 6, 1, 22, tzinfo=UTC) - timedelta(seconds=1))
    assert early.caller(Credentials("Bearer n")).name == "new"
