"""Builds wheel and sdist from a clean copy of the source, byte for byte the same each time."""

import gzip
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from supply import source_tree

UMASK = 0o022


class BuildError(Exception):
    """A build that failed; its output has been shown."""


def build(root: Path, output: Path, epoch: int, check_tools: bool = True) -> list[Path]:
    """Puts sdist and wheel of the tree at `root` into `output`; the wheel is built from the sdist.

    The tools are those of this interpreter's environment; `check_tools` asks whether they are the ones
    that pyproject.toml names.
    """
    with TemporaryDirectory() as folder:
        source, built = Path(folder) / "source", Path(folder) / "built"
        source_tree.copy(root, source, epoch)
        _run_build(source, built, epoch, check_tools)
        output.mkdir(parents=True, exist_ok=True)
        return [_delivered(path, output, epoch) for path in sorted(built.iterdir())]


def _run_build(source: Path, output: Path, epoch: int, check_tools: bool) -> None:
    words = ["--no-isolation", "--outdir", str(output), str(source)]
    if not check_tools:
        words.insert(0, "--skip-dependency-check")
    done = subprocess.run(
        [sys.executable, "-m", "build", *words],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
        umask=UMASK,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        print(done.stdout, file=sys.stderr)
        raise BuildError("the build failed: see its output above")


def _delivered(path: Path, output: Path, epoch: int) -> Path:
    content = path.read_bytes()
    delivered = output / path.name
    delivered.write_bytes(_normalised(content, epoch) if path.name.endswith(".tar.gz") else content)
    return delivered


def _normalised(sdist: bytes, epoch: int) -> bytes:
    """The archive in order of names, without what setuptools writes of who built it, and when."""
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(sdist)) as given,
        gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=epoch) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as written,
    ):
        for member in sorted(given.getmembers(), key=lambda each: each.name):
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = epoch
            member.pax_headers = {}
            written.addfile(member, given.extractfile(member) if member.isfile() else None)
    return packed.getvalue()
