"""Names in a repository: which are models, versions, leftovers of other tools, and safe relative paths."""

import re

from headrace.errors import LoadError

_MODEL = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_VERSION = re.compile(r"[1-9][0-9]{0,18}")
_LAST_VERSION = 2**63 - 1
_LEFTOVER_ENDINGS = ("~", ".tmp", ".temp", ".part", ".partial", ".crdownload", ".swp", ".swx")
_LEFTOVERS = frozenset({"lost+found", "@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN"})
_FORBIDDEN_CHARACTERS = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\\]")


class PathRefused(LoadError):
    """A path that could lead out of its folder."""


def is_model_name(name: str) -> bool:
    """True for 1 to 128 of `A-Z a-z 0-9 . _ -` without a leading dot."""
    return _MODEL.fullmatch(name) is not None


def version_number(name: str) -> int | None:
    """The version that a folder of this name holds: a positive decimal of 64 bits without leading zeros."""
    if _VERSION.fullmatch(name) is None or int(name) > _LAST_VERSION:
        return None
    return int(name)


def is_leftover(name: str) -> bool:
    """True for hidden and temporary names, and for the folders that file systems and shares add."""
    return name.startswith(".") or name.endswith(_LEFTOVER_ENDINGS) or name in _LEFTOVERS


def components(path: str) -> tuple[str, ...]:
    """The components of a relative `path` that stays in its folder; PathRefused says why it does not.

    A component `.` is dropped, as a graph may name `./weights.bin`.
    """
    if not path:
        raise PathRefused("the path is empty")
    if _FORBIDDEN_CHARACTERS.search(path):
        raise PathRefused(f"{path!a} holds a backslash or a control character")
    if path.startswith("/") or re.match("[A-Za-z]:", path):
        raise PathRefused(f"{path!r} is an absolute path; expected one relative to its folder")
    parts = tuple(part for part in path.split("/") if part != ".")
    if ".." in parts:
        raise PathRefused(f"{path!r} has a '..'; expected a path that stays in its folder")
    if not parts or "" in parts:
        raise PathRefused(f"{path!r} has an empty component; expected the path of a file")
    return parts
