"""A configuration text as a tree: mappings, lists and scalars as written, each with its line."""

from dataclasses import dataclass
from typing import TypeAlias

MAX_TEXT_BYTES = 1 << 20
MAX_NODES = 20_000
MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value as written; `is_quoted` tells the text "8" from the number 8."""

    text: str
    line: int = 0
    is_quoted: bool = False

    @property
    def is_null(self) -> bool:
        """True where nothing was written, or null."""
        return not self.is_quoted and self.text in ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True, slots=True)
class ListNode:
    """Values in order."""

    items: tuple["Node", ...]
    line: int = 0


@dataclass(frozen=True, slots=True)
class MappingNode:
    """Values by key; the keys are unique."""

    entries: tuple[tuple[Scalar, "Node"], ...]
    line: int = 0


Node: TypeAlias = Scalar | ListNode | MappingNode
