"""Who calls, by all that a caller may show, while the files that say so change."""

import asyncio
import hashlib
import json
import os
from datetime import UTC, datetime

import pytest

from headrace.core.caller import STRANGER, Caller, Proof
from headrace.errors import ConfigError, Unauthenticated
from headrace.security import authenticator as authenticators
from headrace.security.authenticator import Credentials, FileAuthenticator, NoAuthenticator
from headrace.security.client_certificate import ClientCertificate
from support.loops import until
from support.tokens import jwks, signing_key

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KEY = signing_key()
OTHER = signing_key(kid="other")
CLAIMS = {"iss": "i", "aud": "a", "sub": "ann", "exp": NOW.timestamp() + 60, "groups": ["operator"]}
TOKEN = KEY.token(CLAIMS)
ADDRESS = "10.0.0.7:4711"
DOTTED = "a.key.with-dots"
ACCESS = {
    "roles": {"scorer": {"infer": ["*"]}, "operator": {"admin": True}},
    "keys": [
        {"name": "backend", "sha256": hashlib.sha256(key.encode()).hexdigest(), "roles": ["scorer"]}
        for key in ("b", DOTTED)
    ],
    "certificates": [{"name": "*.ops", "roles": ["operator"]}],
    "tokens": [{"issuer": "i", "audience": "a", "jwks": "jwks.json", "roles_claim": "groups"}],
    "anonymous": {"roles": ["scorer"]},
    "limits": [{"concurrent": 5}],
}


class Files:
    """An access file with its keys, each change with a time of its own."""

    def __init__(self, folder):
        self.access, self.jwks = folder / "access.yaml", folder / "jwks.json"
        self._changes = 0
        self.write_access()
        self.write_jwks(KEY)

    def write_access(self, **changed):
        sections = {name: value for name, value in {**ACCESS, **changed}.items() if value is not None}
        self.write(self.access, json.dumps(sections))

    def write_jwks(self, *keys):
        self.write(self.jwks, jwks(*keys))

    def write(self, path, text):
        self._changes += 1
        path.write_text(text)
        os.utime(path, ns=(self._changes, self._changes))


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


@pytest.fixture
def changes():
    return []


@pytest.fixture
def authenticator(files, changes):
    return FileAuthenticator(files.access, lambda: NOW, lambda: changes.append(1))


def bearer(text, address=""):
    return Credentials(f"Bearer {text}", address=address)


def refusal(authenticator, credentials):
    with pytest.raises(Unauthenticated) as refused:
        authenticator.caller(credentials)
    return str(refused.value)


SCORER, OPERATOR = frozenset({"scorer"}), frozenset({"operator"})


@pytest.mark.parametrize(
    ("credentials", "caller"),
    [
        (bearer("b", ADDRESS), Caller("backend", SCORER, Proof.KEY, ADDRESS)),
        (Credentials(api_key="b", address=ADDRESS), Caller("backend", SCORER, Proof.KEY, ADDRESS)),
        (bearer(DOTTED), Caller("backend", SCORER, Proof.KEY)),
        (bearer(TOKEN, ADDRESS), Caller("ann", OPERATOR, Proof.TOKEN, ADDRESS)),
        (Credentials(f"bEARER  {TOKEN} "), Caller("ann", OPERATOR, Proof.TOKEN)),
        (
            Credentials(certificate=ClientCertificate(("x.ops",)), address=ADDRESS),
            Caller("x.ops", OPERATOR, Proof.CERTIFICATE, ADDRESS),
        ),
        (Credentials(address=ADDRESS), Caller("stranger", SCORER, Proof.NONE, ADDRESS)),
        (Credentials(), Caller("stranger", SCORER)),
    ],
)
def test_callers_say_how_they_have_shown_who_they_are(authenticator, credentials, caller):
    assert authenticator.caller(credentials) == caller


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (Credentials(api_key=TOKEN), "the API key is not known"),
        (bearer("a.b"), "the API key is not known"),
        (bearer(f"{TOKEN}.x"), "the API key is not known"),
        (bearer("a.b.c"), "the token is malformed"),
        (bearer(OTHER.token(CLAIMS)), "the token's key is not known here"),
        (bearer(f"{TOKEN}, Bearer b"), "the token is malformed"),
        (bearer(f"b, Bearer {TOKEN}"), "the token is malformed"),
        (bearer(f"{TOKEN}, Bearer {TOKEN}"), "the API key is not known"),
        (Credentials(f"Basic {TOKEN}"), "the Authorization header is not understood"),
        (Credentials(f"JWT {TOKEN}"), "the Authorization header is not understood"),
        (Credentials(TOKEN), "the Authorization header is not understood"),
    ],
)
def test_nothing_else_is_a_token(authenticator, credentials, words):
    message = refusal(authenticator, credentials)
    assert words in message and TOKEN not in message


def test_without_issuers_a_token_is_an_unknown_key(files, authenticator):
    files.write_access(tokens=None)
    assert authenticator.reload()
    assert refusal(authenticator, bearer(TOKEN)) == "the API key is not known"


def test_a_key_costs_one_digest_and_no_new_caller(authenticator, monkeypatch):
    digests, sha256 = [], hashlib.sha256
    monkeypatch.setattr(authenticators.hashlib, "sha256", lambda data: digests.append(data) or sha256(data))
    first = authenticator.caller(bearer("b", ADDRESS))
    assert authenticator.caller(bearer("b", ADDRESS)) is first
    assert authenticator.caller(bearer("b", "10.0.0.8:1")).address == "10.0.0.8:1"
    assert digests == [b"b"] * 3


def test_nobody_is_asked_and_addresses_are_kept():
    nobody = NoAuthenticator()
    assert nobody.caller(Credentials("Bearer x")) is STRANGER
    assert nobody.caller(Credentials(address=ADDRESS)) == Caller("stranger", address=ADDRESS)
    assert (nobody.limits, nobody.asks) == ((), False)


def test_credentials_of_headers():
    headers = {"authorization": "Bearer b", "x-api-key": "k", "other": "x"}
    shown = ClientCertificate(("n",))
    assert Credentials.of(headers, shown, ADDRESS) == Credentials("Bearer b", "k", shown, ADDRESS)
    assert Credentials.of({}, None) == Credentials()


def test_roles_that_are_taken_back_are_gone_at_once(files, authenticator, changes):
    assert authenticator.caller(bearer(TOKEN)).roles == OPERATOR
    assert authenticator.caller(bearer("b")).roles == SCORER
    assert not authenticator.reload() and not changes
    issuer = {**ACCESS["tokens"][0], "grants": {"operator": ["scorer"]}}
    files.write_access(tokens=[issuer], keys=[{**ACCESS["keys"][0], "roles": []}], limits=[])
    assert authenticator.reload() and not authenticator.reload() and len(changes) == 1
    assert authenticator.caller(bearer(TOKEN)).roles == SCORER
    assert authenticator.caller(bearer("b")).roles == frozenset()
    assert authenticator.limits == ()
    files.write_access(tokens=[{**issuer, "issuer": "other"}])
    assert authenticator.reload() and len(changes) == 2
    assert "issuer is not known" in refusal(authenticator, bearer(TOKEN))


def test_keys_that_are_taken_back_are_gone_at_once(files, authenticator, changes):
    assert authenticator.caller(bearer(TOKEN)).name == "ann"
    files.write_jwks(OTHER)
    assert authenticator.reload() and len(changes) == 1
    assert "key is not known" in refusal(authenticator, bearer(TOKEN))
    assert authenticator.caller(bearer(OTHER.token(CLAIMS))).name == "ann"
    assert not authenticator.reload() and len(changes) == 1


def test_missing_keys_do_not_keep_a_new_access_file_out(files, authenticator):
    files.jwks.unlink()
    files.write_access(keys=[])
    assert authenticator.reload()
    assert refusal(authenticator, bearer("b")) == "the API key is not known"
    assert authenticator.caller(bearer(TOKEN)).name == "ann"


def test_a_new_issuer_is_waited_for_until_its_keys_are_there(files, authenticator, changes, caplog):
    new = {"issuer": "n", "audience": "a", "jwks": "new.json"}
    files.write_access(tokens=[*ACCESS["tokens"], new])
    for _ in range(3):
        assert not authenticator.reload()
    assert caplog.text.count("tokens[1].jwks") == caplog.text.count("cannot be read") == 1
    assert authenticator.caller(bearer(TOKEN)).name == "ann"
    files.write(files.access.with_name("new.json"), jwks(OTHER))
    assert authenticator.reload() and len(changes) == 1
    assert authenticator.caller(bearer(OTHER.token({**CLAIMS, "iss": "n"}))).name == "ann"


def test_what_waits_gives_way_to_what_is_newer(files, authenticator):
    files.write_access(tokens=[{**ACCESS["tokens"][0], "jwks": "new.json"}], keys=[])
    assert not authenticator.reload()
    files.write(files.access, "roles: 1\n")
    assert not authenticator.reload()
    files.write(files.access.with_name("new.json"), jwks(OTHER))
    assert not authenticator.reload()
    assert authenticator.caller(bearer("b")).name == "backend"
    files.write_access()
    assert not authenticator.reload()  # it is what is in use
    assert authenticator.caller(bearer(TOKEN)).name == "ann"


def test_a_start_needs_the_keys(files):
    files.jwks.unlink()
    with pytest.raises(
        ConfigError, match=r"access\.yaml: tokens\[0\]\.jwks: .*jwks\.json cannot be read: No such"
    ):
        FileAuthenticator(files.access)
    files.write(files.jwks, "{")
    with pytest.raises(ConfigError, match=r"tokens\[0\]\.jwks: .*jwks\.json is not valid JSON"):
        FileAuthenticator(files.access)


@pytest.mark.parametrize("text", ["keys: [{name: a, expires: 2027-02-30}]\n", "a: " + "[" * 500, "\x00"])
def test_no_mistake_ends_the_following(files, text, monkeypatch, caplog):
    monkeypatch.setattr(authenticators, "RELOAD_INTERVAL_S", 0.01)

    async def follow():
        following = FileAuthenticator(files.access, lambda: NOW)
        following.start()
        files.write(files.access, text)
        await until(lambda: "not valid YAML" in caplog.text)
        files.write_access(keys=[])
        await until(lambda: "took a new access file" in caplog.text)
        await following.stop()

    caplog.set_level("INFO")
    asyncio.run(follow())
