"""What a gate outside the server says."""

from dataclasses import dataclass

MAX_DETAIL_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class GateAnswer:
    """`is_passed` is None where nothing can be said yet, and the rollout waits; `detail` says why."""

    is_passed: bool | None
    detail: str


def waits(detail: str) -> GateAnswer:
    return GateAnswer(None, shortened(detail))


def shortened(detail: str) -> str:
    """`detail` in one line that fits a table and a database, which take no halves of characters."""
    line = " ".join(detail.encode("utf-8", "replace").decode().split())
    if len(line) <= MAX_DETAIL_CHARACTERS:
        return line
    return line[: MAX_DETAIL_CHARACTERS - 1] + "…"
