"""Files are whole or as they were."""

import hashlib

import pytest

from paddle_ernie_tiny.files import sha256, write_text


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "第一\n")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "第二" * 100_000 + "\ud800")
    assert path.read_bytes() == "第一\n".encode()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"], "nothing half-written stays"


def test_sha256_is_of_the_bytes_in_their_order(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_bytes("好".encode() * 1_000_000)
    second.write_bytes(b"x")
    assert sha256(first) == hashlib.sha256(first.read_bytes()).hexdigest()
    assert sha256(first, second) == hashlib.sha256(first.read_bytes() + b"x").hexdigest()
