"""Keys that sign JSON web tokens, and tokens of any content, right ones and wrong ones."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from jwt import PyJWS
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

_ALGORITHMS = PyJWS()
_CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1, "ES256K": ec.SECP256K1}


@dataclass(frozen=True)
class SigningKey:
    """A key that signs by `algorithm`, called `kid` unless that is None."""

    algorithm: str
    kid: str | None
    private: PrivateKeyTypes

    @property
    def public(self) -> Any:
        return self.private.public_key()

    def jwk(self, **fields: object) -> dict[str, Any]:
        """Its public part as a JSON web key, with `fields` added."""
        kinds = {"R": RSAAlgorithm, "P": RSAAlgorithm, "E": ECAlgorithm, "O": OKPAlgorithm}
        kind = OKPAlgorithm if self.algorithm == "EdDSA" else kinds[self.algorithm[0]]
        name = {} if self.kid is None else {"kid": self.kid}
        return {**kind.to_jwk(self.public, as_dict=True), **name, **fields}

    def token(self, claims: Mapping[str, Any], **header: object) -> str:
        """A token with `claims`; fields of `header` that are None are left out."""
        head = {"typ": "JWT", "alg": self.algorithm, "kid": self.kid, **header}
        signed = unsigned({name: value for name, value in head.items() if value is not None}, claims)
        signature = _ALGORITHMS.get_algorithm_by_name(self.algorithm).sign(signed.encode(), self.private)
        return f"{signed}.{base64url(signature)}"


def signing_key(algorithm: str = "ES256", kid: str | None = "one", bits: int = 2048) -> SigningKey:
    """A new key; `bits` are those of an RSA key."""
    if algorithm in _CURVES:
        return SigningKey(algorithm, kid, ec.generate_private_key(_CURVES[algorithm]()))
    if algorithm == "EdDSA":
        return SigningKey(algorithm, kid, ed25519.Ed25519PrivateKey.generate())
    return SigningKey(algorithm, kid, rsa.generate_private_key(65537, bits))


def ed448_key(kid: str | None = "one") -> SigningKey:
    return SigningKey("EdDSA", kid, ed448.Ed448PrivateKey.generate())


def unsigned(header: Mapping[str, Any], claims: Any) -> str:
    """Header and claims of a token, without the dot before its signature."""
    return ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))


def jwks(*keys: SigningKey | Mapping[str, Any]) -> str:
    """The text of a JWKS file."""
    return json.dumps({"keys": [key.jwk() if isinstance(key, SigningKey) else key for key in keys]})


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
