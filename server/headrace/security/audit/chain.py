"""The chain of records: each has the hash of the one before, so that a change shows in all that follow."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self, TypeAlias

from headrace.security.audit.content import Content, canonical

# A record's fields by name, as an export has them: sequence, those of Content, previous, hash.
Record: TypeAlias = Mapping[str, object]

NO_HASH = "0" * 64


@dataclass(frozen=True, slots=True)
class Head:
    """The last record of a chain: whoever keeps it elsewhere can tell that the chain was cut or rewritten."""

    sequence: int = 0
    hash: str = NO_HASH

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of `SEQ:HASH`; ValueError where `text` is none."""
        sequence, _, digest = text.partition(":")
        if len(bytes.fromhex(digest)) != len(NO_HASH) // 2:
            raise ValueError(text)
        return cls(int(sequence), digest.lower())

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How far a chain is intact, and what is wrong with the record behind that, "" where nothing is."""

    head: Head
    problem: str = ""


def link(content: Content, before: Head) -> Record:
    """The record of `content` that follows `before`."""
    record = {"sequence": before.sequence + 1, **content._asdict(), "previous": before.hash}
    return {**record, "hash": hash_of(record)}


def hash_of(record: Record) -> str:
    """SHA-256 of the canonical JSON of all fields but `hash`."""
    content = {name: value for name, value in record.items() if name != "hash"}
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def verify(records: Iterable[Record], kept: Head | None = None) -> Verdict:
    """Checks every record up to the first that does not fit, and that the one of `kept` is among them."""
    head, is_found = Head(), kept is None or kept == Head()
    for record in records:
        problem = _problem_of(record, head)
        if problem:
            return Verdict(head, problem)
        head = Head(head.sequence + 1, str(record["hash"]))
        if kept is not None and head.sequence == kept.sequence:
            if head != kept:
                return Verdict(head, f"record {head.sequence} has the hash {head.hash}: expected {kept.hash}")
            is_found = True
    if kept is not None and not is_found:
        return Verdict(head, f"record {kept.sequence} is missing: the log ends with {head}")
    return Verdict(head)


def _problem_of(record: Record, before: Head) -> str:
    expected = before.sequence + 1
    sequence = record.get("sequence")
    if sequence != expected:
        return f"record {expected} is missing: {sequence!r} stands in its place"
    if record.get("previous") != before.hash:
        return f"record {expected} does not follow the one before it: its 'previous' is another hash"
    try:
        is_right = record.get("hash") == hash_of(record)
    except (TypeError, ValueError):
        is_right = False
    return "" if is_right else f"record {expected} was changed: its hash is not that of its fields"
