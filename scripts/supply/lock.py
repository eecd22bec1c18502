"""What a lock file of requirements/ pins."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name


class LockError(Exception):
    """A lock file that is not what `make lock` writes."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One version of a package, and which files of it may be installed."""

    name: str
    version: str
    marker: Marker | None
    sha256: tuple[str, ...]
    wanted_by: tuple[str, ...]

    def applies(self, environment: Mapping[str, str] | None = None) -> bool:
        """Whether it is installed there; without an `environment`, here."""
        return self.marker is None or self.marker.evaluate(dict(environment or {}))


def read(path: Path) -> list[Pin]:
    """Every pin of `path`.

    Raises LockError for a line that is anything else, as an address would be, for a pin without a hash, and
    where there are none.
    """
    blocks: list[list[str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if re.match(r"[A-Za-z0-9]", line):
            blocks.append([line])
        elif blocks and re.match(r" +(#|--hash=sha256:)", line):
            blocks[-1].append(line)
        elif line.strip():
            raise LockError(f"{path}:{number}: neither a pin nor a hash: {line.strip()!r}")
    if not blocks:
        raise LockError(f"{path}: pins nothing")
    return [_pin(block, path) for block in blocks]


def _pin(block: list[str], path: Path) -> Pin:
    first = block[0].removesuffix("\\").strip()
    try:
        requirement = Requirement(first)
    except InvalidRequirement as error:
        raise LockError(f"{path}: not a pin: {first!r}") from error
    exact = re.fullmatch(r"==([^*]+)", str(requirement.specifier))
    if exact is None or requirement.url:
        raise LockError(f"{path}: not pinned to one version: {first!r}")
    text = "\n".join(block[1:])
    hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})\b", text)
    if not hashes:
        raise LockError(f"{path}: without a hash: {first!r}")
    wanted_by = re.findall(r"^ +# +(?:via +)?([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?$", text, flags=re.MULTILINE)
    return Pin(
        canonicalize_name(requirement.name),
        exact.group(1),
        requirement.marker,
        tuple(hashes),
        tuple(canonicalize_name(each) for each in wanted_by if each != "via"),
    )
