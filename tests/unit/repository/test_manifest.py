"""SHA256SUMS: which lists vouch for a version's files, and which do not."""

import json
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from headrace.errors import ConfigError, LoadError
from headrace.repository.files.manifest import MANIFEST
from headrace.repository.override import Override
from headrace.repository.repository import Repository
from support import onnx_models

CONFIG = '{"backend": "onnxruntime"}'


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A version with external data, so that two files are read."""
    onnx_models.write_models(tmp_path, "external")
    return tmp_path / "external" / "1"


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def lines(version: Path) -> list[str]:
    files = [path for path in sorted(version.rglob("*")) if path.is_file() and path.name != MANIFEST]
    return [f"{digest(path)}  {path.relative_to(version)}" for path in files]


def write(version: Path, *listed: str) -> None:
    (version / MANIFEST).write_text("".join(f"{line}\n" for line in listed))


def read(version: Path, **options: bool) -> None:
    Repository(version.parents[1], **options).read("external", 1)


def refusal(version: Path, **options: bool) -> str:
    with pytest.raises(LoadError) as caught:
        read(version, **options)
    return str(caught.value)


def test_what_sha256sum_writes_is_taken(version: Path) -> None:
    for words in (("sha256sum",), ("sha256sum", "--binary")):
        names = sorted(path.name for path in version.iterdir() if path.name != MANIFEST)
        written = subprocess.run(
            [*words, *names], cwd=version, capture_output=True, text=True, check=True
        ).stdout
        (version / MANIFEST).write_text(written)
        read(version, require_manifest=True)


def test_without_one_a_version_is_loaded_unless_one_is_required(version: Path) -> None:
    read(version)
    assert "has no SHA256SUMS (repository.require_manifest)" in refusal(version, require_manifest=True)


@pytest.mark.parametrize("name", ["model.onnx", "weights.bin"])
def test_a_file_that_was_exchanged_is_refused(version: Path, name: str) -> None:
    write(version, *lines(version))
    path = version / name
    expected = digest(path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    reason = f"external/1/{name} has the sha256 {digest(path)}, but SHA256SUMS says {expected}"
    assert reason in refusal(version)


def test_a_file_that_is_not_listed_is_refused(version: Path) -> None:
    write(version, lines(version)[0])
    assert "external/1/weights.bin is not listed in SHA256SUMS" in refusal(version)
    write(version, *lines(version))
    (version / "more.txt").write_text("more")
    assert "external/1/more.txt is not listed in SHA256SUMS" in refusal(version)


def test_a_file_that_is_listed_and_gone_is_refused(version: Path) -> None:
    write(version, *lines(version), f"{'0' * 64}  gone.bin")
    assert "external/1/gone.bin is listed in SHA256SUMS, but not there" in refusal(version)


def test_golden_requests_are_vouched_for_like_everything_that_is_read(version: Path) -> None:
    (version / "golden").mkdir()
    path = version / "golden" / "a.json"
    x = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0, 0, 0, 0]}
    path.write_text(json.dumps({"inputs": [x], "outputs": [{"name": "y", "finite": True}]}))
    write(version, *lines(version))
    read(version, require_manifest=True)

    path.write_text(path.read_text() + "\n")
    assert "external/1/golden/a.json has the sha256" in refusal(version)

    write(version, *[line for line in lines(version) if "golden" not in line])
    assert "external/1/golden/a.json is not listed in SHA256SUMS" in refusal(version)


def test_the_marker_of_readiness_and_hidden_files_need_not_be_listed(version: Path) -> None:
    write(version, *lines(version))
    (version / "READY").touch()
    (version / ".hidden").touch()
    Repository(version.parents[1], ready_marker="READY", require_manifest=True).read("external", 1)
    assert "READY is not listed" in refusal(version)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("model.onnx", ":1: expected a sha256, two blanks and a path, as sha256sum writes them"),
        (f"{'0' * 63}  model.onnx", ":1: expected a sha256"),
        (f"{'0' * 64} model.onnx", ":1: expected a sha256"),
        (f"{'0' * 64}  ../model.onnx", ":1: '../model.onnx' has a '..'"),
        (f"{'0' * 64}  /etc/passwd", ":1: '/etc/passwd' is an absolute path"),
        ("", ":1: expected a sha256"),
    ],
)
def test_lines_that_are_none_are_refused(version: Path, line: str, reason: str) -> None:
    write(version, line)
    assert f"external/1/SHA256SUMS{reason}" in refusal(version)


def test_a_list_that_is_no_text_or_a_link_is_refused(version: Path) -> None:
    (version / MANIFEST).write_bytes(b"\xff\xfe")
    assert "external/1/SHA256SUMS is no text" in refusal(version)
    (version / MANIFEST).unlink()
    (version / MANIFEST).symlink_to(version / "model.onnx")
    assert "symbolic link" in refusal(version)


def test_files_of_a_load_request_are_held_to_it_too(tmp_path: Path) -> None:
    data = onnx_models.identity("FP32").SerializeToString()
    repository = Repository(tmp_path, require_manifest=True)
    files = {"1/model.onnx": data}
    with pytest.raises(LoadError, match="has no SHA256SUMS"):
        repository.read("m", 1, Override(CONFIG, files))
    good = f"{sha256(data).hexdigest()}  model.onnx\n".encode()
    repository.read("m", 1, Override(CONFIG, {**files, f"1/{MANIFEST}": good}))
    bad = f"{'0' * 64}  model.onnx\n".encode()
    with pytest.raises((LoadError, ConfigError), match="but SHA256SUMS says"):
        repository.read("m", 1, Override(CONFIG, {**files, f"1/{MANIFEST}": bad}))
