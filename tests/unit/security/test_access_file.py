"""The access file, who a caller is by it, and what the caller may then do."""

import hashlib
import os
from datetime import UTC, datetime, timedelta

import pytest

from headrace.core.caller import STRANGER, Caller, Proof
from headrace.errors import ConfigError, PermissionDenied, Unauthenticated
from headrace.security.access_file import ALGORITHMS, Issuer, LimitRule
from headrace.security.access_reader import read_access
from headrace.security.authenticator import Credentials, FileAuthenticator
from headrace.security.client_certificate import ClientCertificate
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


BACKEND = Caller("backend", frozenset({"scorer"}), Proof.KEY)
NEW = Caller("new", frozenset({"scorer", "operator"}), Proof.KEY)
OPS = Caller("a.ops", frozenset({"operator"}), Proof.CERTIFICATE)


@pytest.mark.parametrize(
    ("credentials", "caller"),
    [
        (Credentials("Bearer b"), BACKEND),
        (Credentials("bearer   b "), BACKEND),
        (Credentials(api_key="n"), NEW),
        (Credentials(certificate=ClientCertificate(("x", "a.ops"))), OPS),
        (Credentials("Bearer b", certificate=ClientCertificate(("a.ops",))), BACKEND),
        (Credentials(certificate=ClientCertificate(("ops",))), STRANGER),
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
        ("keys: 0\n", "keys: expected a list"),
        ("keys: [{}, 5]\n", "keys[1]: expected fields with names"),
        ("keys: [{name: 5}]\n", "keys[0].name: 5 is no text"),
        ("roles: {}\nkeys: []\nroles: {}\n", "'roles' is given twice (from line 1 on)"),
        ("roles:\n  a: {infer: ['*'], infer: []}\n", "'infer' is given twice (from line 2 on)"),
        ("keys: [{name: a, expires: 2027-02-30}]\n", "not valid YAML: day is out of range for month"),
        (f"keys: {'[' * 500}\n", "not valid YAML: nested too deeply"),
        ("tokens: {}\n", "tokens: expected a list"),
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


def test_a_merged_field_that_is_given_again_is_no_mistake(file):
    """What is merged (<<) may be overwritten, also where one merges what has merged."""
    file.write_text(
        "roles:\n  a: &a {infer: [x], read: [x]}\n  b: &b {<<: *a, read: [y]}\n  c: {<<: *b, infer: [z]}\n"
    )
    policy = read_access(file).policy
    caller = Caller("c", frozenset({"c"}), Proof.KEY)
    assert policy.allows(caller, Permission.INFER, "z") and not policy.allows(caller, Permission.INFER, "x")
    assert policy.allows(caller, Permission.READ, "y") and not policy.allows(caller, Permission.READ, "x")


def test_issuers_of_tokens_are_read(file):
    file.write_text(
        TEXT
        + """\
tokens:
  - {issuer: "https://login.example", audience: headrace, jwks: keys/jwks.json}
  - issuer: ci
    audience: [a, b]
    jwks: /etc/jwks.json
    algorithms: [ES256, EdDSA]
    name_claim: email
    roles: [scorer]
    roles_claim: realm_access.roles
    grants: {ml-team: [operator], nobody: []}
    leeway_s: 0.5
  - {issuer: named, audience: a, jwks: j, roles_claim: scope}
"""
    )
    plain, full, named = read_access(file).tokens
    by_name = {"scorer": frozenset({"scorer"}), "operator": frozenset({"operator"})}
    assert plain == Issuer(
        "https://login.example", ("headrace",), file.parent / "keys/jwks.json", grants=by_name
    )
    assert (plain.algorithms, plain.leeway_s) == (frozenset(ALGORITHMS), 30)
    assert str(full.jwks) == "/etc/jwks.json"
    assert full == Issuer(
        "ci",
        ("a", "b"),
        full.jwks,
        frozenset({"ES256", "EdDSA"}),
        "email",
        frozenset({"scorer"}),
        "realm_access.roles",
        {"ml-team": frozenset({"operator"}), "nobody": frozenset()},
        0.5,
    )
    assert (named.roles_claim, named.grants) == ("scope", by_name)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"issuer": None}, "tokens[0].issuer: is missing"),
        ({"issuer": 5}, "tokens[0].issuer: 5 is no text"),
        ({"audience": None}, "tokens[0].audience: is missing"),
        ({"audience": "''"}, "tokens[0].audience: expected a text, or a list of texts"),
        ({"audience": "[]"}, "tokens[0].audience: expected"),
        ({"audience": "[a, 5]"}, "tokens[0].audience: expected"),
        ({"jwks": None}, "tokens[0].jwks: is missing"),
        ({"jwks": "[a]"}, "tokens[0].jwks: ['a'] is no text"),
        (
            {"algorithms": "[HS256]"},
            "tokens[0].algorithms: 'HS256' is not possible: expected some of RS256, ",
        ),
        ({"algorithms": "[none]"}, "tokens[0].algorithms: 'none' is not possible"),
        ({"algorithms": "[rs256]"}, "tokens[0].algorithms: 'rs256' is not possible"),
        ({"algorithms": "[]"}, "tokens[0].algorithms: expected some of RS256, "),
        ({"algorithms": "RS256"}, "tokens[0].algorithms: expected some of RS256, "),
        ({"name_claim": "''"}, "tokens[0].name_claim: is missing"),
        ({"name_claim": "[sub]"}, "tokens[0].name_claim: ['sub'] is no text"),
        ({"roles": "[scorrer]"}, "tokens[0].roles: there is no role 'scorrer'; did you mean 'scorer'?"),
        ({"roles_claim": "5"}, "tokens[0].roles_claim: 5 is no text"),
        ({"roles_claim": "a", "grants": "[a]"}, "tokens[0].grants: expected fields with names"),
        ({"roles_claim": "a", "grants": "{a: scorer}"}, "tokens[0].grants.a: expected a list of roles"),
        ({"roles_claim": "a", "grants": "{a: [x]}"}, "tokens[0].grants.a: there is no role 'x'"),
        ({"grants": "{a: [scorer]}"}, "tokens[0].grants: needs roles_claim"),
        ({"leeway_s": "301"}, "tokens[0].leeway_s: 301 is not possible: expected seconds from 0 to 300"),
        ({"leeway_s": "-1"}, "tokens[0].leeway_s: -1 is not possible"),
        ({"leeway_s": "true"}, "tokens[0].leeway_s: True is not possible"),
        ({"leeway_s": ".nan"}, "tokens[0].leeway_s: nan is not possible"),
        ({"leeway_s": "'30'"}, "tokens[0].leeway_s: '30' is not possible"),
        ({"isuer": "x"}, "tokens[0]: 'isuer' is not known; did you mean 'issuer'?"),
        ({"secret": "x"}, "tokens[0]: 'secret' is not known"),
    ],
)
def test_what_is_wrong_with_an_issuer_is_named(file, fields, problem):
    given = {"issuer": "i", "audience": "a", "jwks": "j", **fields}
    lines = [f"{name}: {value}" for name, value in given.items() if value is not None]
    refuse(file, f"tokens: [{{{', '.join(lines)}}}]\n", problem)


def test_all_mistakes_are_named_at_once(file):
    one = "{issuer: i, audience: a, jwks: j}"
    refuse(
        file,
        f"tokens: [{one}, {{issuer: o}}, {one}]\nlimits: [{{}}]\nkey: 1\n",
        "the file: 'key' is not known; did you mean 'keys'?",
        "tokens[1].audience: is missing",
        "tokens[1].jwks: is missing",
        "tokens[2].issuer: 'i' is that of tokens[0] already",
        "limits[0]: limits nothing",
    )


def test_limits_are_read(file):
    file.write_text(
        TEXT
        + """\
limits:
  - {callers: ["*"], requests_per_s: 100}
  - {models: [fraud-*, x], requests_per_s: 0.5, burst: 10, concurrent: 2}
  - {requests_per_s: 0.5}
  - {concurrent: 1}
"""
    )
    limits = (
        LimitRule(callers=("*",), requests_per_s=100, burst=100),
        LimitRule(models=("fraud-*", "x"), requests_per_s=0.5, burst=10, concurrent=2),
        LimitRule(requests_per_s=0.5, burst=1),
        LimitRule(concurrent=1),
    )
    assert read_access(file).limits == FileAuthenticator(file).limits == limits


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("{}", "limits[0]: limits nothing: expected requests_per_s, concurrent, or both"),
        ("{callers: [a]}", "limits[0]: limits nothing"),
        ("{concurrent: 1, callers: a}", "limits[0].callers: expected a list of names"),
        ("{concurrent: 1, callers: []}", "limits[0].callers: expected a list of names"),
        ("{concurrent: 1, models: [5]}", "limits[0].models: expected a list of names"),
        ("{concurrent: 0}", "limits[0].concurrent: 0 is not possible: expected a whole number from 1"),
        ("{concurrent: 1.0}", "limits[0].concurrent: 1.0 is not possible"),
        ("{concurrent: true}", "limits[0].concurrent: True is not possible"),
        ("{requests_per_s: 0}", "limits[0].requests_per_s: 0 is not possible: expected a number above 0"),
        ("{requests_per_s: -1}", "limits[0].requests_per_s: -1 is not possible"),
        ("{requests_per_s: true}", "limits[0].requests_per_s: True is not possible"),
        ("{requests_per_s: .inf}", "limits[0].requests_per_s: inf is not possible"),
        ("{requests_per_s: .nan}", "limits[0].requests_per_s: nan is not possible"),
        ("{requests_per_s: '5'}", "limits[0].requests_per_s: '5' is not possible"),
        ("{requests_per_s: 5, burst: 0.5}", "limits[0].burst: 0.5 is not possible: expected a number from 1"),
        ("{requests_per_s: 5, burst: true}", "limits[0].burst: True is not possible"),
        ("{concurrent: 5, burst: 5}", "limits[0].burst: needs requests_per_s"),
        ("{concurrent: 1, model: [a]}", "limits[0]: 'model' is not known; did you mean 'models'?"),
        ("5", "limits[0]: expected fields with names"),
    ],
)
def test_what_is_wrong_with_a_limit_is_named(file, rule, problem):
    refuse(file, f"limits: [{rule}]\n", problem)


def refuse(file, text, *problems):
    """A file with `text` in it, after what is right, is refused for these reasons and no other."""
    file.write_text(TEXT + text)
    with pytest.raises(ConfigError) as refused:
        read_access(file)
    lines = str(refused.value).split("\n")
    assert len(lines) == len(problems), lines
    for line, problem in zip(lines, problems, strict=True):
        assert line.startswith(f"{file}: {problem}"), line


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"access_file: .* cannot be read: No such file"):
        FileAuthenticator(tmp_path / "nix")


POLICY = Policy(
    {
        "scorer": Role({Permission.INFER: ("fraud-*",)}),
        "reader": Role({Permission.READ: ("*",)}),
    }
)
SCORER = Caller("s", frozenset({"scorer"}), Proof.KEY)
BOTH = Caller("b", frozenset({"scorer", "reader"}), Proof.KEY)


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
    for caller, kind, words in (
        (STRANGER, Unauthenticated, "credentials are needed"),
        (SCORER, PermissionDenied, "'s' lacks the permission 'read' for model 'x'"),
    ):
        assert not POLICY.allows(caller, Permission.READ, "x")
        with pytest.raises(kind, match=words):
            raise POLICY.refusal(caller, Permission.READ, "x")


def test_an_open_server_allows_everything():
    assert OpenPolicy().allows(STRANGER, Permission.ADMIN, "x")


def test_decisions_that_are_remembered_are_bounded():
    for number in range(10_000):
        POLICY.allows(SCORER, Permission.INFER, f"fraud-{number}")
    assert len(POLICY._remembered) <= 4096


def test_time_zones_of_expiry(file):
    """Midnight at UTC+2 is 22:00 of the day before at UTC."""
    late = FileAuthenticator(file, lambda: datetime(2026, 6, 1, 22, tzinfo=UTC))
    with pytest.raises(Unauthenticated):
        late.caller(Credentials("Bearer n"))
    early = FileAuthenticator(file, lambda: datetime(2026, 6, 1, 22, tzinfo=UTC) - timedelta(seconds=1))
    assert early.caller(Credentials("Bearer n")).name == "new"


def test_one_letter_for_any_does_not_stand_for_every_model():
    caller = Caller("ann", frozenset({"reader"}), Proof.KEY)
    for pattern, holds in (("*", True), ("**", True), ("?", False), ("m*", False)):
        policy = Policy({"reader": Role({Permission.READ: (pattern,)})})
        assert policy.allows(caller, Permission.READ, EVERY_MODEL) is holds, pattern


@pytest.mark.parametrize("text", ["roles: !!bool foo", "roles: !!timestamp foo", "roles: !!int ''"])
def test_values_that_only_say_they_are_of_a_type_are_no_yaml(tmp_path, text):
    path = tmp_path / "access.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_access(path)
