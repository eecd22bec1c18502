"""Who calls: a name, how that was shown, and the roles that it has."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Proof(StrEnum):
    """How a caller has shown who it is."""

    NONE = "none"
    KEY = "key"
    TOKEN = "token"
    CERTIFICATE = "certificate"


@dataclass(frozen=True, slots=True)
class Caller:
    """`name` is for people, in logs, and tells callers of the same `proof` apart; `roles` are those of the
    access file. `address` is where it calls from, as in `10.0.0.7:4711`, "" where nobody has asked.
    """

    name: str
    roles: frozenset[str] = frozenset()
    proof: Proof = Proof.NONE
    address: str = ""


STRANGER = Caller("stranger")


def address_of(peer: tuple[Any, ...] | None) -> str:
    """`peer`, as a socket has it, in the form of `Caller.address`."""
    if not peer:
        return ""
    host, port = peer[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
