"""Large files arrive whole, though they are read and written in pieces."""

import os
from io import BufferedReader
from pathlib import Path

import pytest

from headrace.repository.files import pieces
from headrace.repository.files.pieces import PIECE_BYTES, InPieces


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, 3 * PIECE_BYTES + 5])
def test_what_was_written_is_read(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    with (tmp_path / "file").open("wb") as file:
        pieces.write(file.fileno(), content)
    assert (tmp_path / "file").read_bytes() == content
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    with BufferedReader(InPieces(descriptor)) as reader:
        assert reader.read(size + 1) == content
    with pytest.raises(OSError):
        os.fstat(descriptor)


def test_no_read_is_longer_than_a_piece(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(3 * PIECE_BYTES))
    with InPieces(os.open(tmp_path / "file", os.O_RDONLY)) as file:
        assert file.readinto(bytearray(3 * PIECE_BYTES)) == PIECE_BYTES
