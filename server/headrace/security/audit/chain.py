"""The chain of records: each has the hash of the one before, so that a change shows in all that follow."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Self, TypeAlias

from headrace.security.audit.content import Content, canonical

# A record's fields by name, as an export has them: sequence, those of Content, previous, hash.
Record: TypeAlias = Mapping[str, object]

NO_HASH = "0" * 64
# The action of a record of an archive; its `new` has `last` and `hash` of the last record in that.
ARCHIVE = "audit_archive"


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


# Before the first record.
BEGINNING = Head()


@dataclass(frozen=True, slots=True)
class Verdict:
    """How far a chain is intact behind `begin`, and what is wrong with the next record, "" if nothing is."""

    begin: Head
    head: Head
    problem: str = ""

    @property
    def count(self) -> int:
        """Records that are intact."""
        return self.head.sequence - self.begin.sequence


def link(content: Content, before: Head) -> Record:
    """The record of `content` that follows `before`."""
    record = {"sequence": before.sequence + 1, **content._asdict(), "previous": before.hash}
    return {**record, "hash": hash_of(record)}


def hash_of(record: Record) -> str:
    """SHA-256 of the canonical JSON of all fields but `hash`."""
    content = {name: value for name, value in record.items() if name != "hash"}
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def verify(records: Iterable[Record], kept: Head | None = None, begin: Head | None = BEGINNING) -> Verdict:
    """Checks every record up to the first that does not fit, and that the one of `kept` is among them.

    They follow `begin`; where it is None, the first one tells what they follow. What stood before them has to
    be accounted for: one of them tells of its archive, or `kept` is its last.
    """
    if begin is None:
        return _verify_rest(records, kept)
    walk = _Walk(begin, kept)
    problem = walk.through(records)
    if problem or walk.is_begin_known:
        return Verdict(begin, walk.head, problem)
    return Verdict(begin, begin, f"no record tells of the archive that ends with {begin}")


def _verify_rest(records: Iterable[Record], kept: Head | None) -> Verdict:
    """Of records that may be a whole chain, or follow those of an archive."""
    following = iter(records)
    first = next(following, None)
    if first is None:
        return verify((), kept)
    begin = _before(first)
    walk = _Walk(begin, kept)
    problem = walk.through(chain((first,), following))
    if walk.is_begin_known:
        return Verdict(begin, walk.head, problem)
    missing = f"record 1 is missing: {begin.sequence + 1} stands in its place"
    return Verdict(BEGINNING, BEGINNING, f"{missing}, and {problem}" if problem else missing)


class _Walk:
    """Takes one record after the other, each to follow the one before."""

    def __init__(self, begin: Head, kept: Head | None) -> None:
        self._begin = begin
        self._kept = kept
        self._is_kept_found = kept in (None, BEGINNING, begin)
        self.head = begin
        self.is_begin_known = begin in (BEGINNING, kept)

    def through(self, records: Iterable[Record]) -> str:
        """What is wrong with the first that is not right, or with all of them; "" where nothing is."""
        return next(filter(None, map(self._take, records)), "") or self._missing()

    def _take(self, record: Record) -> str:
        problem = _problem_of(record, self.head)
        if problem:
            return problem
        head, kept = Head(self.head.sequence + 1, str(record["hash"])), self._kept
        self.head = head
        if not self.is_begin_known:
            self.is_begin_known = _archived(record) == self._begin
        if kept is None or head.sequence != kept.sequence:
            return ""
        self._is_kept_found = True
        return "" if head == kept else _differs(head, kept)

    def _missing(self) -> str:
        kept, begin = self._kept, self._begin
        if kept is None or self._is_kept_found:
            return ""
        if kept.sequence > begin.sequence:
            return f"record {kept.sequence} is missing: the log ends with {self.head}"
        if kept.sequence == begin.sequence:
            return _differs(begin, kept)
        return f"record {kept.sequence} was archived: what is here begins with {begin.sequence + 1}"


def _differs(head: Head, kept: Head) -> str:
    return f"record {head.sequence} has the hash {head.hash}: expected {kept.hash}"


def _before(record: Record) -> Head:
    """What `record` says that it follows."""
    sequence, previous = record.get("sequence"), record.get("previous")
    if isinstance(sequence, int) and isinstance(previous, str) and sequence > 1:
        return Head(sequence - 1, previous)
    return BEGINNING


def _archived(record: Record) -> Head | None:
    """The end of the archive that `record` tells of."""
    new = record.get("new")
    if record.get("action") != ARCHIVE or not isinstance(new, dict):
        return None
    return Head(new.get("last", 0), new.get("hash", ""))


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
