"""Who calls: a name and the roles that it has."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """`name` is for people, in logs; `roles` are those of the access file. None of both is a stranger."""

    name: str
    roles: frozenset[str] = frozenset()


STRANGER = Caller("stranger")
