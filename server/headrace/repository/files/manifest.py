"""A version's SHA256SUMS, as `sha256sum` writes it: what its files were when somebody vouched for them."""

import re
from collections.abc import Iterable, Mapping

from headrace.repository.files.folder import FileRefused, Folder
from headrace.repository.files.names import PathRefused, components

MANIFEST = "SHA256SUMS"
MAX_BYTES = 4 << 20
# Digest, blank, the mark of a text or a binary file, path.
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")


def check_manifest(
    version: Folder,
    sha256: Mapping[str, str],
    *,
    is_required: bool = False,
    without: frozenset[str] = frozenset(),
) -> None:
    """FileRefused where the version's manifest, if it has one, does not vouch for what was read.

    `sha256` has the digests of the very bytes that will be loaded. Files that are listed have to be there,
    and all that are there have to be listed, those `without` excepted.
    """
    if MANIFEST not in version.entries():
        if is_required:
            raise FileRefused(f"{version.place} has no {MANIFEST} (repository.require_manifest)")
        return
    listed = _read(version)
    for path, digest in sha256.items():
        if path not in listed:
            raise FileRefused(f"{version.place}/{path} is not listed in {MANIFEST}")
        if listed[path] != digest:
            raise FileRefused(
                f"{version.place}/{path} has the sha256 {digest}, but {MANIFEST} says {listed[path]}"
            )
    stamps = version.fingerprint(without | {MANIFEST})
    present = {stamp.path for stamp in stamps} or set(sha256)
    _refuse_any(version, listed.keys() - present, f"is listed in {MANIFEST}, but not there")
    _refuse_any(version, present - listed.keys(), f"is not listed in {MANIFEST}")


def _read(version: Folder) -> Mapping[str, str]:
    """The digests, in lower case, by path."""
    listed: dict[str, str] = {}
    try:
        lines = version.read(MANIFEST, MAX_BYTES).decode().splitlines()
    except UnicodeDecodeError:
        raise FileRefused(f"{version.place}/{MANIFEST} is no text") from None
    for number, line in enumerate(lines, 1):
        found = _LINE.fullmatch(line)
        if found is None:
            raise FileRefused(
                f"{version.place}/{MANIFEST}:{number}: expected a sha256, two blanks and a path, as "
                "sha256sum writes them"
            )
        try:
            path = "/".join(components(found[2].removeprefix("./")))
        except PathRefused as error:
            raise FileRefused(f"{version.place}/{MANIFEST}:{number}: {error}") from None
        listed[path] = found[1].lower()
    return listed


def _refuse_any(version: Folder, paths: Iterable[str], reason: str) -> None:
    for path in sorted(paths):
        raise FileRefused(f"{version.place}/{path} {reason}")
