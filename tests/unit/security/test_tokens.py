"""Tokens: which ones hold, for how long, and whose they are."""

import base64
import hashlib
import hmac
import json
import logging
import os
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.utils import der_to_raw_signature

from headrace.core.caller import Caller, Proof
from headrace.errors import ConfigError, Unauthenticated
from headrace.security.access_file import ALGORITHMS, Issuer
from headrace.security.jwks import KeyFile
from headrace.security.tokens import MAX_REMEMBERED, Tokens, key_files_of
from support.tokens import base64url, ed448_key, jwks, sha256, signing_key, unsigned

NOW_S = 1_780_000_000
LEEWAY_S = 30
ISSUER = "https://login.example"
CLAIMS = {"iss": ISSUER, "aud": "headrace", "sub": "ann", "exp": NOW_S + 300}
SCORER, OPERATOR = frozenset({"scorer"}), frozenset({"operator"})

EC = signing_key("ES256", "ec")
RSA = signing_key("RS256", "rsa")
ATTACKER = signing_key("RS256", "rsa")


class Clock:
    """Stands still."""

    def __init__(self):
        self.now_s = NOW_S

    def __call__(self):
        return datetime.fromtimestamp(self.now_s, UTC)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "jwks.json"
    path.write_text(jwks(EC, RSA))
    return path


@pytest.fixture
def issuer(file):
    return Issuer(ISSUER, ("headrace", "other"), file, roles=SCORER, leeway_s=LEEWAY_S)


@pytest.fixture
def tokens(issuer, clock):
    return tokens_of(issuer, clock)


def tokens_of(issuer, clock=None):
    return Tokens([issuer], {issuer.jwks: KeyFile(issuer.jwks)}, clock or Clock())


def claims(**changed):
    """The usual claims, changed; those that are None are left out."""
    return {name: value for name, value in {**CLAIMS, **changed}.items() if value is not None}


def caller(tokens, token, address=""):
    return tokens.caller(token, sha256(token), address)


def refusal(tokens, token):
    """Why `token` is refused; what is said has nothing of it, and nothing of it is remembered."""
    with pytest.raises(Unauthenticated) as refused:
        caller(tokens, token)
    message = str(refused.value)
    assert len(message) < 120 and message.startswith("the token")
    assert not [part for part in token.split(".") if len(part) > 7 and part in message]
    assert str(next(iter(tokens._key_files))) not in message
    assert sha256(token) not in tokens._remembered
    return message


def write(path, text, stamp=[1]):  # noqa: B006  each change has a time of its own
    stamp[0] += 1
    path.write_text(text)
    os.utime(path, ns=(stamp[0], stamp[0]))


def test_a_token_says_who_calls(tokens):
    token = EC.token(CLAIMS)
    expected = Caller("ann", SCORER, Proof.TOKEN, "10.0.0.7:1")
    assert caller(tokens, token, "10.0.0.7:1") == expected
    again = caller(tokens, token, "10.0.0.7:1")
    assert again == expected and again is caller(tokens, token, "10.0.0.7:1")
    assert caller(tokens, token, "10.0.0.8:1").address == "10.0.0.8:1"
    assert caller(tokens, token).address == ""


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_kind_of_key_and_signature_is_taken(issuer, algorithm):
    key = signing_key(algorithm)
    issuer.jwks.write_text(jwks(key))
    assert caller(tokens_of(issuer), key.token(CLAIMS)).name == "ann"
    assert "not allowed" in refusal(tokens_of(replace(issuer, algorithms=frozenset())), key.token(CLAIMS))


def test_ed448_is_taken(issuer):
    key = ed448_key()
    issuer.jwks.write_text(jwks(key))
    assert caller(tokens_of(issuer), key.token(CLAIMS)).name == "ann"


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "NONE", "", "HS256", "rs256", "RS1", "ES256K"])
def test_no_other_algorithm_is(tokens, algorithm):
    for signature in ("", base64url(b"x" * 256), RSA.token(CLAIMS).split(".")[2]):
        token = f"{unsigned({'alg': algorithm, 'kid': 'rsa'}, CLAIMS)}.{signature}"
        assert refusal(tokens, token) == "the token's algorithm is not allowed here"


@pytest.mark.parametrize("algorithm", [None, 1, ["RS256"], {"RS256": 1}, True])
def test_an_algorithm_is_a_text(tokens, algorithm):
    assert "algorithm" in refusal(tokens, f"{unsigned({'alg': algorithm, 'kid': 'rsa'}, CLAIMS)}.AAAA")


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_public_key_is_no_shared_secret(tokens, algorithm):
    """Whoever has the public key could sign with it, if the token's word for its algorithm were taken."""
    pem, der = (
        RSA.public.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
        for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER)
    )
    for secret in (pem, pem.strip(), der, json.dumps(RSA.jwk()).encode(), b""):
        signed = unsigned({"alg": algorithm, "kid": "rsa"}, CLAIMS)
        signature = hmac.digest(secret, signed.encode(), f"sha{algorithm[2:]}")
        assert "algorithm" in refusal(tokens, f"{signed}.{base64url(signature)}")


def test_symmetric_keys_are_not_used_and_told_of_once(issuer, caplog):
    secret = b"s" * 32
    issuer.jwks.write_text(jwks({"kty": "oct", "kid": "s", "k": base64url(secret), "alg": "HS256"}, EC))
    tokens = tokens_of(issuer)
    signed = unsigned({"alg": "HS256", "kid": "s"}, CLAIMS)
    assert "algorithm" in refusal(
        tokens, f"{signed}.{base64url(hmac.digest(secret, signed.encode(), 'sha256'))}"
    )
    assert "key is not known" in refusal(tokens, EC.token(CLAIMS, kid="s"))
    assert caller(tokens, EC.token(CLAIMS)).name == "ann"
    tokens.reload()
    (line,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "keys[0] is symmetric" in line.getMessage()
    assert base64url(secret) not in caplog.text


@pytest.mark.parametrize(
    "kid",
    [
        "other",
        "RSA",
        "rsa ",
        "",
        "../../../../dev/null",
        "/dev/null",
        "file:///etc/passwd",
        "rsa' OR '1'='1",
        "x' UNION SELECT 'key' --",
        "rsa\x00",
        "*",
        "k" * 4000,
    ],
)
def test_a_key_is_found_by_its_exact_name(tokens, kid):
    assert refusal(tokens, RSA.token(CLAIMS, kid=kid)) == "the token's key is not known here"


@pytest.mark.parametrize("kid", [1, ["rsa"], {"rsa": 1}, True, 0])
def test_a_keys_name_is_a_text(tokens, kid):
    assert "header" in refusal(tokens, RSA.token(CLAIMS, kid=kid))


def test_a_token_without_a_kid_needs_a_set_where_one_key_fits(issuer):
    tokens = tokens_of(issuer)
    assert caller(tokens, EC.token(CLAIMS, kid=None)).name == "ann"
    assert caller(tokens, RSA.token(CLAIMS, kid=None)).name == "ann"
    assert "signature" in refusal(tokens, ATTACKER.token(CLAIMS, kid=None))
    issuer.jwks.write_text(jwks(EC, signing_key("ES256", "second")))
    both = tokens_of(issuer)
    assert "does not name the key" in refusal(both, EC.token(CLAIMS, kid=None))
    assert "does not name the key" in refusal(both, RSA.token(CLAIMS, kid=None))
    assert caller(both, EC.token(CLAIMS)).name == "ann"


def test_keys_in_the_header_are_not_used(tokens):
    own = ATTACKER.jwk()
    for header in (
        {"jwk": own},
        {"jwk": own, "kid": None},
        {"jku": "https://attacker.example/jwks.json"},
        {"jku": "file:///tmp/jwks.json"},
        {"x5u": "https://attacker.example/cert.pem"},
        {"x5c": ["MIIB"]},
        {"x5c": [], "x5t": "AAAA", "x5t#S256": "AAAA"},
    ):
        assert refusal(tokens, ATTACKER.token(CLAIMS, **header)) == "the token's signature does not fit"
        right = {"kid": "rsa", **header}
        assert caller(tokens, RSA.token(CLAIMS, **{**right, "kid": "rsa"})).name == "ann"


@pytest.mark.parametrize(
    ("header", "of"),
    [
        ({"alg": "RS256", "kid": "ec"}, RSA),
        ({"alg": "PS256", "kid": "ec"}, RSA),
        ({"alg": "ES256", "kid": "rsa"}, EC),
        ({"alg": "ES384", "kid": "ec"}, EC),
        ({"alg": "EdDSA", "kid": "ec"}, EC),
        ({"alg": "EdDSA", "kid": "rsa"}, RSA),
    ],
)
def test_a_key_has_to_fit_the_algorithm(tokens, header, of):
    assert refusal(tokens, of.token(CLAIMS, **header)) == "the token's key does not fit its algorithm"


def test_es256_needs_its_own_curve(issuer):
    key = signing_key("ES384", "p384")
    issuer.jwks.write_text(jwks(key))
    tokens = tokens_of(issuer)
    signed = unsigned({"alg": "ES256", "kid": "p384"}, CLAIMS)
    signature = der_to_raw_signature(
        key.private.sign(signed.encode(), ec.ECDSA(hashes.SHA256())), key.private.curve
    )
    assert "does not fit its algorithm" in refusal(tokens, f"{signed}.{base64url(signature)}")
    assert caller(tokens, key.token(CLAIMS)).name == "ann"


@pytest.mark.parametrize(
    "fields",
    [
        {"use": "enc"},
        {"use": None},
        {"alg": "PS256"},
        {"alg": "RSA-OAEP"},
        {"alg": "HS256"},
        {"alg": ["RS256"]},
        {"key_ops": ["sign"]},
        {"key_ops": "verify-not"},
        {"key_ops": 1},
        {"kty": "EC"},
        {"kty": ["RSA"]},
        {"kty": "oct"},
        {"n": "!"},
        {"n": 5},
        {"n": ""},
        {"e": "AQ"},
        {"d": "AQAB"},
        {"kid": 5},
    ],
)
def test_keys_that_are_not_for_this_are_not_used(issuer, fields, caplog):
    issuer.jwks.write_text(jwks(EC, RSA.jwk(**fields)))
    tokens = tokens_of(issuer)
    assert "key" in refusal(tokens, RSA.token(CLAIMS))
    assert "key" in refusal(tokens, RSA.token(CLAIMS, kid=None))
    assert caller(tokens, EC.token(CLAIMS)).name == "ann"


@pytest.mark.parametrize(
    "fields", [{"use": "sig"}, {"alg": "RS256"}, {"key_ops": ["verify"]}, {"x5c": ["x"]}]
)
def test_keys_that_are_for_this_are(issuer, fields):
    issuer.jwks.write_text(jwks(RSA.jwk(**fields)))
    assert caller(tokens_of(issuer), RSA.token(CLAIMS)).name == "ann"


def test_private_keys_are_not_used_and_told_of(issuer, caplog):
    secret = base64url(EC.private.private_numbers().private_value.to_bytes(32, "big"))
    issuer.jwks.write_text(jwks(RSA, EC.jwk(d=secret)))
    assert "key is not known" in refusal(tokens_of(issuer), EC.token(CLAIMS))
    assert "keys[1] is a private key" in caplog.text and secret not in caplog.text


def test_keys_that_are_too_weak_are_not_used(issuer, caplog):
    small = signing_key("RS256", "small", bits=1024)
    issuer.jwks.write_text(jwks(small, signing_key("ES256K", "k"), 5))
    tokens = tokens_of(issuer)
    assert "key is not known" in refusal(tokens, small.token(CLAIMS))
    assert "keys[0] has 1024 bits: expected at least 2048" in caplog.text
    assert "keys[1] fits no algorithm; keys[2] is no object" in caplog.text
    assert "has no key that can be used" in caplog.text


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_who_changes_a_token_has_none(tokens, changed):
    for key in (EC, RSA):
        parts = key.token(CLAIMS).split(".")
        if changed == 2:
            parts[2] = base64url(bytes(len(base64.urlsafe_b64decode(parts[2] + "=="))))
        else:
            others = key.token(claims(sub="eve"), typ="at+jwt").split(".")
            parts[changed] = others[changed]
        assert refusal(tokens, ".".join(parts)) == "the token's signature does not fit"


@pytest.mark.parametrize(
    "signature", ["", "AAAA", base64url(bytes(64)), base64url(b"\xff" * 64), base64url(bytes(65))]
)
def test_no_signature_is_none(tokens, signature):
    """Neither are two numbers of nought, which fit every message where nobody looks."""
    assert "signature" in refusal(tokens, f"{unsigned({'alg': 'ES256', 'kid': 'ec'}, CLAIMS)}.{signature}")


@pytest.mark.parametrize("crit", [["b64"], ["exp"], [], "exp", None, [1], {}])
def test_whatever_is_critical_is_refused(tokens, crit):
    head = unsigned({"alg": "ES256", "kid": "ec", "crit": crit, "b64": True, "exp": 1}, CLAIMS)
    assert "header demands" in refusal(tokens, f"{head}.AAAA")
    for header in ({"crit": ["b64"], "b64": True}, {"crit": ["exp"], "exp": 1}):
        assert "header demands" in refusal(tokens, EC.token(CLAIMS, **header))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"iss": None}, "issuer is not known"),
        ({"iss": ""}, "issuer is not known"),
        ({"iss": ISSUER + "/"}, "issuer is not known"),
        ({"iss": ISSUER.upper()}, "issuer is not known"),
        ({"iss": [ISSUER]}, "issuer is not known"),
        ({"iss": {ISSUER: 1}}, "issuer is not known"),
        ({"aud": None}, "has no 'aud'"),
        ({"aud": ""}, "has no 'aud'"),
        ({"aud": []}, "has no 'aud'"),
        ({"aud": "headrac"}, "another audience"),
        ({"aud": "HEADRACE"}, "another audience"),
        ({"aud": "headrace other"}, "another audience"),
        ({"aud": ["someone", "else"]}, "another audience"),
        ({"aud": {"headrace": 1}}, "another audience"),
        ({"aud": ["headrace", 1]}, "another audience"),
        ({"aud": 1}, "another audience"),
        ({"exp": None}, "has no 'exp'"),
        ({"exp": str(NOW_S + 300)}, "'exp' is no time"),
        ({"exp": True}, "'exp' is no time"),
        ({"exp": [NOW_S + 300]}, "'exp' is no time"),
        ({"exp": float("nan")}, "'exp' is no time"),
        ({"exp": float("inf")}, "'exp' is no time"),
        ({"exp": 10**400}, "'exp' is no time"),
        ({"exp": NOW_S * 1000}, "'exp' is no time"),
        ({"exp": 0}, "has expired"),
        ({"exp": -1}, "has expired"),
        ({"nbf": "0"}, "'nbf' is no time"),
        ({"nbf": False}, "'nbf' is no time"),
        ({"nbf": float("-inf")}, "'nbf' is no time"),
        ({"iat": "0"}, "'iat' is no time"),
        ({"iat": float("nan")}, "'iat' is no time"),
        ({"sub": None}, "'sub' is no name"),
        ({"sub": ""}, "'sub' is no name"),
        ({"sub": "  "}, "'sub' is no name"),
        ({"sub": 5}, "'sub' is no name"),
        ({"sub": ["ann"]}, "'sub' is no name"),
        ({"sub": "ann\nERROR all is lost"}, "'sub' is no name"),
        ({"sub": "ann\u202e"}, "'sub' is no name"),
        ({"sub": "\ud800"}, "'sub' is no name"),
        ({"sub": "a" * 257}, "'sub' is no name"),
    ],
)
def test_claims_have_to_be_right(tokens, changed, words):
    assert words in refusal(tokens, EC.token(claims(**changed)))


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
def test_a_time_that_is_null_is_none(tokens, name):
    assert f"'{name}' is no time" in refusal(tokens, EC.token({**CLAIMS, name: None}))


@pytest.mark.parametrize("audience", ["headrace", "other", ["headrace"], ["someone", "other"]])
def test_one_of_our_audiences_is_enough(tokens, audience):
    assert caller(tokens, EC.token(claims(aud=audience))).name == "ann"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"exp": NOW_S - LEEWAY_S + 1}, None),
        ({"exp": NOW_S - LEEWAY_S + 0.5}, None),
        ({"exp": NOW_S - LEEWAY_S}, "the token has expired"),
        ({"nbf": NOW_S + LEEWAY_S}, None),
        ({"nbf": NOW_S + LEEWAY_S + 1}, "the token does not hold yet"),
        ({"iat": NOW_S + LEEWAY_S}, None),
        ({"iat": NOW_S + LEEWAY_S + 1}, "the token does not hold yet"),
        ({"iat": NOW_S - 10**6, "nbf": 0}, None),
    ],
)
def test_clocks_may_differ_a_little(tokens, changed, words):
    token = EC.token(claims(**changed))
    if words is None:
        assert caller(tokens, token).name == "ann"
    else:
        assert refusal(tokens, token) == words


def test_a_remembered_token_holds_no_longer_than_it_says(tokens, clock):
    token = EC.token(claims(nbf=NOW_S))
    for now_s, words in (
        (NOW_S - LEEWAY_S - 1, "the token does not hold yet"),
        (NOW_S - LEEWAY_S, None),
        (NOW_S + 300 + LEEWAY_S - 1, None),
        (NOW_S - LEEWAY_S - 1, "the token does not hold yet"),
        (NOW_S, None),
        (NOW_S + 300 + LEEWAY_S, "the token has expired"),
    ):
        clock.now_s = now_s
        if words is None:
            assert caller(tokens, token).name == "ann"
        else:
            assert refusal(tokens, token) == words


def of(header, payload):
    """A token whose parts are these bytes."""
    return f"{base64url(header)}.{base64url(payload)}.AAAA"


RIGHT = EC.token(CLAIMS)
MALFORMED = {
    "nothing": "..",
    "no base64": "a.b.c",
    "two parts": "a.b",
    "four parts": "a.b.c.d",
    "two tokens": f"{RIGHT}.{RIGHT}",
    "padding": RIGHT + "=",
    "a line's end": RIGHT + "\n",
    "blanks": RIGHT.replace(".", " ."),
    "two headers": RIGHT + ", Bearer x",
    "letters": "é" + RIGHT,
    "a header that is a list": of(b"[1]", b"{}"),
    "claims that are a list": of(b"{}", b"[1]"),
    "no JSON": of(b"{}", b"{"),
    "no UTF-8": of(b"\xff\xfe\x00", b"{}"),
    "a deep header": of(b"[" * 3000, b"{}"),
    "deep claims": of(b"{}", b"[" * 3000),
    "deep objects": of(b"{}", b'{"a":' * 1000),
    "detached claims": unsigned({"alg": "ES256", "b64": False}, CLAIMS) + ".AAAA",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_token_is_malformed(tokens, name):
    assert "the token is malformed" in refusal(tokens, MALFORMED[name])


def test_a_long_token_is_not_looked_at(tokens):
    padded = EC.token(claims(x="x" * 8192))
    assert refusal(tokens, padded) == "the token is longer than 8192 bytes"
    assert refusal(tokens, "a" * 2**19 + "." + "b" * 2**19 + ".c") == "the token is longer than 8192 bytes"
    assert caller(tokens, EC.token(claims(x="x" * 5000))).name == "ann"


def test_what_is_remembered_is_bounded(tokens):
    """The newest, so that those who call now are among them."""
    signed = unsigned({"alg": "ES256", "kid": "ec"}, CLAIMS)
    names = [EC.token(claims(sub=f"caller-{number}")) for number in range(10_000)]
    for number, token in enumerate(names):
        assert caller(tokens, token).name == f"caller-{number}"
    assert len(tokens._remembered) == MAX_REMEMBERED
    assert sha256(names[-1]) in tokens._remembered and sha256(names[0]) not in tokens._remembered
    for number in range(100):
        with pytest.raises(Unauthenticated):
            caller(tokens, f"{signed}.{base64url(hashlib.sha512(bytes([number])).digest())}")
    assert sha256(names[-MAX_REMEMBERED]) in tokens._remembered
    assert caller(tokens, names[0]).name == "caller-0"


def test_a_remembered_token_costs_no_signature(tokens, monkeypatch):
    token = RSA.token(CLAIMS)
    first = caller(tokens, token)
    monkeypatch.setattr("headrace.security.tokens._verified_claims", None)
    assert caller(tokens, token) is first


def test_keys_change_while_tokens_are_remembered(issuer, caplog):
    tokens = tokens_of(issuer)
    old, new = EC.token(CLAIMS), signing_key("ES256", "new")
    assert caller(tokens, old).name == "ann"
    assert "key is not known" in refusal(tokens, new.token(CLAIMS))

    write(issuer.jwks, jwks(EC, new))
    assert tokens.reload() and not tokens.reload()
    assert caller(tokens, new.token(CLAIMS)).name == caller(tokens, old).name == "ann"

    write(issuer.jwks, jwks(new))
    assert tokens.reload()
    assert "key is not known" in refusal(tokens, old)
    assert caller(tokens, new.token(CLAIMS)).name == "ann"

    write(issuer.jwks, jwks(signing_key("ES256", "new")))
    assert tokens.reload()
    assert "signature" in refusal(tokens, new.token(CLAIMS))

    write(issuer.jwks, jwks())
    assert tokens.reload()
    assert "key is not known" in refusal(tokens, new.token(CLAIMS))
    assert "has no key that can be used" in caplog.text


def test_broken_keys_leave_those_in_use_and_are_told_of_once(issuer, caplog):
    tokens = tokens_of(issuer)

    def lines():
        return [record for record in caplog.records if record.levelno == logging.ERROR]

    issuer.jwks.unlink()
    for _ in range(3):
        assert not tokens.reload()
    assert len(lines()) == 1 and "cannot be read: No such file" in lines()[0].getMessage()
    for _ in range(2):
        write(issuer.jwks, '{"keys": [')
        assert not tokens.reload() and not tokens.reload()
    assert len(lines()) == 2 and "is not valid JSON" in lines()[1].getMessage()
    assert caller(tokens, EC.token(CLAIMS)).name == "ann"
    write(issuer.jwks, "[]")
    assert not tokens.reload()
    assert len(lines()) == 3 and "is no JWKS" in lines()[2].getMessage()

    write(issuer.jwks, jwks(EC))
    assert tokens.reload()
    assert caller(tokens, EC.token(CLAIMS)).name == "ann"
    assert "key is not known" in refusal(tokens, RSA.token(CLAIMS))
    write(issuer.jwks, "[]")
    assert not tokens.reload()
    assert len(lines()) == 4


def test_broken_keys_are_read_again_until_they_are_right(issuer):
    """Though nothing of the file changes that tells of it, as where it was not permitted to read."""
    tokens = tokens_of(issuer)
    right = jwks(RSA)
    for text in ("x" * len(right), right):
        assert caller(tokens, EC.token(CLAIMS)).name == "ann"
        issuer.jwks.write_text(text)
        os.utime(issuer.jwks, ns=(1, 1))
        has_changed = tokens.reload()
    assert has_changed
    assert caller(tokens, RSA.token(CLAIMS)).name == "ann"
    assert "key is not known" in refusal(tokens, EC.token(CLAIMS))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not valid JSON"),
        (b"\xff\xfe\xfd", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON: nested too deeply"),
        (b"{}", "is no JWKS"),
        (b'{"keys": {}}', "is no JWKS"),
        (b" " * (2**20 + 1), "has more than 1048576 bytes"),
        (jwks(EC, signing_key("ES256", "ec")).encode(), "keys[1]: its 'kid' is that of another key already"),
    ],
)
def test_wrong_files_of_keys_are_named(issuer, content, problem):
    issuer.jwks.write_bytes(content)
    missing = replace(issuer, name="b", jwks=issuer.jwks.with_name("nix"))
    with pytest.raises(ConfigError) as refused:
        key_files_of([issuer, missing], issuer.jwks.with_name("access.yaml"), {})
    first, second = str(refused.value).split("\n")
    assert first.startswith(f"{issuer.jwks.with_name('access.yaml')}: tokens[0].jwks: {issuer.jwks}")
    assert problem in first
    assert "tokens[1].jwks" in second and "cannot be read: No such file" in second


def test_keys_of_two_kinds_may_share_a_name(issuer):
    issuer.jwks.write_text(jwks(EC.jwk(kid="same"), RSA.jwk(kid="same")))
    tokens = tokens_of(issuer)
    assert caller(tokens, EC.token(CLAIMS, kid="same")).name == "ann"
    assert caller(tokens, RSA.token(CLAIMS, kid="same")).name == "ann"


def test_issuers_do_not_sign_for_each_other(tmp_path, issuer, clock):
    theirs = signing_key("ES256", "ec")
    other = Issuer("https://other", ("headrace",), tmp_path / "other.json", roles=OPERATOR)
    other.jwks.write_text(jwks(theirs))
    issuers = [issuer, other]
    tokens = Tokens(issuers, key_files_of(issuers, tmp_path / "a.yaml", {}), clock)
    assert caller(tokens, theirs.token(claims(iss="https://other"))).roles == OPERATOR
    assert caller(tokens, EC.token(CLAIMS)).roles == SCORER
    assert "signature" in refusal(tokens, EC.token(claims(iss="https://other")))
    assert "signature" in refusal(tokens, theirs.token(CLAIMS))


GRANTS = {"ml-team": OPERATOR, "both": SCORER | OPERATOR, "ops team": OPERATOR}


@pytest.mark.parametrize(
    ("path", "changed", "roles"),
    [
        ("groups", {"groups": ["ml-team"]}, {"scorer", "operator"}),
        (
            "groups",
            {"groups": ["nix", 5, None, {"ml-team": 1}, ["ml-team"], "ml-team"]},
            {"scorer", "operator"},
        ),
        ("groups", {"groups": "nix ml-team"}, {"scorer", "operator"}),
        ("groups", {"groups": "ML-TEAM ml-teams"}, {"scorer"}),
        ("groups", {"groups": ["ops team"]}, {"scorer", "operator"}),
        ("groups", {"groups": {"ml-team": True}}, {"scorer"}),
        ("groups", {"groups": True}, {"scorer"}),
        ("groups", {}, {"scorer"}),
        ("realm_access.roles", {"realm_access": {"roles": ["both"]}}, {"scorer", "operator"}),
        ("realm_access.roles", {"realm_access": ["roles"]}, {"scorer"}),
        ("realm_access.roles", {"realm_access": {"roles": {}}}, {"scorer"}),
        ("https://a.example/roles", {"https://a.example/roles": ["ml-team"]}, {"scorer", "operator"}),
    ],
)
def test_roles_come_from_a_claim(issuer, path, changed, roles):
    tokens = tokens_of(replace(issuer, roles_claim=path, grants=GRANTS))
    assert caller(tokens, EC.token(claims(**changed))).roles == roles


def test_names_come_from_the_claim_that_has_them(issuer):
    tokens = tokens_of(replace(issuer, name_claim="user.email"))
    token = EC.token(claims(sub=5, jti=5, user={"email": "ann@example"}))
    assert caller(tokens, token).name == "ann@example"
    assert "'user.email' is no name" in refusal(tokens, EC.token(CLAIMS))
