"""Folders on disk and in memory: files from within, and from nowhere else."""

import os
import threading
from pathlib import Path

import pytest

from headrace.repository.files.disk import DiskFolder
from headrace.repository.files.folder import EntryKind, FileRefused
from headrace.repository.files.memory import MemoryFolder
from headrace.repository.files.names import (
    PathRefused,
    components,
    is_leftover,
    is_model_name,
    version_number,
)

LIMIT = 1000


@pytest.fixture
def folder(tmp_path: Path):
    (tmp_path / "outside").write_text("secret")
    inside = tmp_path / "inside"
    (inside / "sub").mkdir(parents=True)
    (inside / "file").write_text("content")
    (inside / "sub" / "deep").write_text("deep content")
    with DiskFolder.open(inside, "m/1") as opened:
        yield opened


@pytest.mark.parametrize(("path", "content"), [("file", b"content"), ("./sub/./deep", b"deep content")])
def test_a_file_inside_is_read(folder: DiskFolder, path: str, content: bytes) -> None:
    assert folder.read(path, LIMIT) == content


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "../outside",
        "sub/../../outside",
        "sub/../file",
        "/etc/passwd",
        "//etc/passwd",
        "C:/windows",
        "..\\outside",
        "sub\\deep",
        "file\0",
        "\nfile",
        "sub//deep",
        "sub/",
        "\ud800",
    ],
)
def test_a_path_that_could_lead_out_is_refused(folder: DiskFolder, path: str) -> None:
    with pytest.raises(PathRefused):
        folder.read(path, LIMIT)
    with pytest.raises(PathRefused):
        MemoryFolder("m", {path: b""})


@pytest.mark.parametrize("path", ["%2e%2e/outside", "..;/outside", "．．/outside"])
def test_an_encoded_path_is_only_a_name(folder: DiskFolder, path: str) -> None:
    with pytest.raises(FileRefused, match="does not exist"):
        folder.read(path, LIMIT)


def test_a_symbolic_link_is_never_followed(folder: DiskFolder, tmp_path: Path) -> None:
    (tmp_path / "inside" / "link").symlink_to("../outside")
    (tmp_path / "inside" / "loop").symlink_to(".")
    with pytest.raises(FileRefused, match="symbolic link"):
        folder.read("link", LIMIT)
    with pytest.raises(FileRefused, match="symbolic link"):
        folder.read("loop/file", LIMIT)
    assert folder.entries()["link"] is EntryKind.LINK


def test_a_hard_link_is_refused(folder: DiskFolder, tmp_path: Path) -> None:
    os.link(tmp_path / "outside", tmp_path / "inside" / "twin")
    with pytest.raises(FileRefused, match="2 hard links"):
        folder.read("twin", LIMIT)


def test_a_named_pipe_is_refused_without_waiting(folder: DiskFolder, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "inside" / "pipe")
    with pytest.raises(FileRefused, match="not a regular file"):
        folder.read("pipe", LIMIT)


@pytest.mark.parametrize(
    ("path", "reason"),
    [("sub", "not a regular file|is a folder"), ("file/x", "not a folder"), ("none", "not exist")],
)
def test_what_is_not_a_file_is_refused(folder: DiskFolder, path: str, reason: str) -> None:
    with pytest.raises(FileRefused, match=reason):
        folder.read(path, LIMIT)


def test_a_file_over_the_limit_is_refused(folder: DiskFolder) -> None:
    with pytest.raises(FileRefused, match="holds 7 bytes; at most 6"):
        folder.read("file", 6)


def test_renames_during_reads_never_lead_outside(folder: DiskFolder, tmp_path: Path) -> None:
    inside, done = tmp_path / "inside", threading.Event()
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "deep").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "evil")

    def swap() -> None:
        while not done.is_set():
            (inside / "sub").rename(inside / "aside")
            (tmp_path / "link").rename(inside / "sub")
            (inside / "sub").rename(tmp_path / "link")
            (inside / "aside").rename(inside / "sub")

    attacker = threading.Thread(target=swap)
    attacker.start()
    try:
        for _ in range(1000):
            try:
                assert folder.read("sub/deep", LIMIT) == b"deep content"
            except FileRefused:
                continue
    finally:
        done.set()
        attacker.join()


def test_a_fingerprint_tells_a_change_and_skips_leftovers(folder: DiskFolder, tmp_path: Path) -> None:
    before = folder.fingerprint()
    (tmp_path / "inside" / ".file.swp").write_text("x")
    (tmp_path / "inside" / "file.tmp").write_text("x")
    assert folder.fingerprint() == before
    (tmp_path / "inside" / "sub" / "deep").write_text("other content")
    assert folder.fingerprint() != before
    assert [stamp.path for stamp in before] == ["file", "sub/deep"]


def test_a_folder_in_memory_answers_like_one_on_disk() -> None:
    folder = MemoryFolder("m", {"1/model.onnx": b"a", "labels.txt": b"b"})
    assert folder.entries() == {"1": EntryKind.FOLDER, "labels.txt": EntryKind.FILE}
    assert folder.enter("1").read("model.onnx", LIMIT) == b"a"
    with pytest.raises(FileRefused, match="not among the files"):
        folder.read("none", LIMIT)
    with pytest.raises(FileRefused, match="not among the files"):
        folder.enter("2")
    with pytest.raises(FileRefused, match="at most 0"):
        folder.read("labels.txt", 0)


def test_files_in_memory_must_not_contradict_one_another() -> None:
    with pytest.raises(FileRefused, match="twice"):
        MemoryFolder("m", {"1/a": b"", "1/./a": b""})
    with pytest.raises(FileRefused, match="both a file and a folder"):
        MemoryFolder("m", {"1": b"", "1/a": b""})


@pytest.mark.parametrize("name", ["digits", "a.b", "A-1_b", "x" * 128, "1"])
def test_a_models_name(name: str) -> None:
    assert is_model_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "x" * 129, "%2e", "m\n", "m\0", "модель", "é"]
)
def test_what_is_not_a_models_name(name: str) -> None:
    assert not is_model_name(name)


@pytest.mark.parametrize(
    ("name", "number"),
    [("1", 1), ("10", 10), ("9223372036854775807", 2**63 - 1)]
    + [
        (name, None)
        for name in ("0", "01", "-1", "+1", "1.0", "v1", "", "9999999999999999999", "١", "1\n", "latest")
    ],
)
def test_a_version_is_a_positive_decimal(name: str, number: int | None) -> None:
    assert version_number(name) == number


@pytest.mark.parametrize("name", [".git", "model~", "m.tmp", "m.part", "m.swp", "lost+found", "@eaDir"])
def test_leftovers_of_other_tools(name: str) -> None:
    assert is_leftover(name)


def test_components_drop_the_dot() -> None:
    assert components("./a/./b") == ("a", "b")
