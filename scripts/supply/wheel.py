"""What a wheel says of itself."""

import hashlib
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from supply.target import Target


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel's METADATA, and the digest of the whole file."""

    file: str
    name: str
    version: str
    summary: str
    sha256: str
    requirements: tuple[Requirement, ...]

    def needs(self, target: Target) -> list[Requirement]:
        """The direct requirements of those who install it there."""
        return [each for each in self.requirements if _applies(each, target)]


def read(path: Path) -> Wheel:
    """The wheel at `path`."""
    metadata = _metadata(path)
    return Wheel(
        file=path.name,
        name=canonicalize_name(metadata["Name"]),
        version=metadata["Version"],
        summary=metadata["Summary"],
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        requirements=tuple(Requirement(each) for each in metadata.get_all("Requires-Dist", [])),
    )


def _applies(requirement: Requirement, target: Target) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(target.environment)


def _metadata(path: Path) -> Message:
    with ZipFile(path) as archive:
        [name] = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())
